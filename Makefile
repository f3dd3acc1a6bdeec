# Everything here sets itself up on a machine that has Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test slow gpu-test bench fuzz check lint words types layers wheel test-oldest release-check docs format clean

help: ## Say what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(VENV)/installed ## Make .venv and install featcache with all that the demo and the tests need

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@# setuptools warns of folders that could hide an editable package; these are the package itself.
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[demo,dev]'
	@touch $@

demo: install ## The whole pipeline on real photographs and real fakes; ends in a table and a report
	$(BIN)/featcache demo

test: install ## The default test suite, in two processes
	PYTHONSAFEPATH=1 $(BIN)/python -m pytest -m "not slow and not gpu" -n 2 --dist loadfile --durations=10

slow: install ## The tests that take minutes
	PYTHONSAFEPATH=1 $(BIN)/python -m pytest -m slow

gpu-test: install ## The tests that need a CUDA device
	PYTHONSAFEPATH=1 $(BIN)/python -m pytest -m gpu -rs

bench: install ## One benchmark: make bench NAME=extract (passes, scaling, parts, peers, probing, manifest, metrics, coverage, store_read, crash, bit_flips)
	$(BIN)/python -m benchmarks.$(NAME)

fuzz: install ## A minute of fuzzing of everything that reads files from anybody (installs atheris)
	$(BIN)/python -m pip install --quiet atheris
	PYTHONSAFEPATH=1 $(BIN)/python benchmarks/fuzz_readers.py -max_total_time=60

check: lint words types layers ## Style, docstrings, words, types and layers

words: install
	$(BIN)/python .ci/docstrings.py
	$(BIN)/python .ci/terms.py
	$(BIN)/codespell featcache cli cache docs README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md .ci

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	sh .ci/overlay.sh
	$(BIN)/mypy

layers: install
	sh .ci/overlay.sh
	cd build/overlay && ../../$(BIN)/lint-imports --no-cache --config ../../pyproject.toml

wheel: install ## Build the wheel, install it into an environment of its own and test what was installed
	sh .ci/wheel.sh $(BIN)/python

test-oldest: ## The default suite on the oldest dependencies that pyproject.toml allows, in .venv-oldest
	$(PYTHON) -m venv .venv-oldest
	$(PYTHON) .ci/oldest.py > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install --quiet --constraint .venv-oldest/constraints.txt --editable '.[viz,dev]'
	PYTHONSAFEPATH=1 .venv-oldest/bin/python -m pytest -m "not slow and not gpu" -n 2 --dist loadfile -W ignore::DeprecationWarning

release-check: wheel ## Wheel and sdist, each installed and tested; the steps of the Dockerfile
	sh .ci/sdist.sh $(BIN)/python
	sh .ci/docker-steps.sh

docs: install ## Build the site into build/site; a warning is an error
	sh .ci/overlay.sh
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/mkdocs build --quiet

format: install ## Put the code into its style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove what was built (not the demo, not the store)
	rm -rf build dist *.egg-info $(VENV) .venv-oldest
