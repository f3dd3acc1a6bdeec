#!/bin/sh
# The RUN lines of the Dockerfile, on a copy of the tracked files, in a folder of their own: for machines without a
# container engine. Says what each step is, stops at the first that fails, and ends with the entry point's help.
set -eu
cd "$(dirname "$0")/.."
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
git ls-files -z | xargs -0 cp --parents --target-directory="$work/src"
cd "$work/src"
sed -n 's/^RUN //p' Dockerfile | while IFS= read -r step; do
  step="$(printf '%s' "$step" | sed "s|/opt/featcache|$work/venv|g")"
  echo "+ $step"
  sh -c "$step"
done
"$work/venv/bin/featcache" --help > /dev/null
echo "the image's steps work"
