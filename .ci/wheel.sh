#!/bin/sh
# Build the wheel, install it into an environment of its own, and run tests against what was installed:
# the packaging and import tests, and the pipeline from image files to metrics.
set -eu
cd "$(dirname "$0")/.."
python="$1"
rm -rf build dist ./*.egg-info
"$python" -m build --wheel --outdir dist . > /dev/null
# Its own environment, but with the heavy dependencies of the first one in reach.
sites="$("$python" -P -c 'import sys; print(*(p for p in sys.path if p.endswith("-packages")), sep="\n")')"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --no-deps dist/*.whl
own="$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
# A .pth line would also run the editable install's finder; a plain path entry after our own does not.
echo "$sites" > "$own/heavy.pth"
cp -r tests pyproject.toml .gitignore "$work/"
mkdir "$work/empty"
cd "$work/empty"
"$work/venv/bin/python" -P -c 'import featcache, featcache.cache, featcache.cli, sys
assert all(m.__file__.startswith(sys.prefix) for m in (featcache, featcache.cache, featcache.cli)), "not the wheel"'
PYTHONSAFEPATH=1 "$work/venv/bin/python" -m pytest -q -p no:cacheprovider -c "$work/pyproject.toml" \
  --rootdir "$work" "$work/tests/test_imports.py" "$work/tests/cli/test_pipeline.py" "$work/tests/reports/test_html.py"
