#!/bin/sh
# Build the sdist, install it into an environment of its own (with the heavy packages of the first in reach), and
# run the tests that it carries against what was installed.
set -eu
cd "$(dirname "$0")/.."
python="$1"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"$python" -m build --sdist --outdir "$work/dist" . > /dev/null
tar -xzf "$work"/dist/*.tar.gz -C "$work"
"$python" -m venv "$work/venv"
sites="$("$python" -P -c 'import sys; print(*(p for p in sys.path if p.endswith("-packages")), sep="\n")')"
own="$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
"$work/venv/bin/python" -m pip install --quiet --no-deps "$work"/dist/*.tar.gz
echo "$sites" > "$own/heavy.pth"
cd "$work"/featcache-*/
PYTHONSAFEPATH=1 "$work/venv/bin/python" -m pytest -q -p no:cacheprovider tests/test_imports.py tests/cli/test_pipeline.py tests/studies/test_schema.py
