#!/bin/sh
# build/overlay/featcache: the package as it is installed, made of links to the sources, for tools that
# read files and cannot run an editable install's import hook.
set -eu
cd "$(dirname "$0")/.."
rm -rf build/overlay
mkdir -p build/overlay/featcache
for entry in featcache/*; do
  [ "$entry" = featcache/__pycache__ ] || ln -s "../../../$entry" build/overlay/featcache/
done
ln -s ../../../cache build/overlay/featcache/cache
ln -s ../../../cli build/overlay/featcache/cli
