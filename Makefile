# Everything here sets itself up on a machine that has Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test slow check lint types layers wheel format clean

help: ## Say what there is to make
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/installed ## Make .venv and install featcache with all that the demo and the tests need

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[demo,dev]'
	@touch $@

demo: install ## The whole pipeline on real photographs and real fakes; ends in a table and a report
	$(BIN)/featcache demo

test: install ## The default test suite
	PYTHONSAFEPATH=1 $(BIN)/python -m pytest -m "not slow and not gpu"

slow: install ## The tests that take minutes
	PYTHONSAFEPATH=1 $(BIN)/python -m pytest -m slow

check: lint types layers ## Style, types and layers

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

format: install ## Put the code into its style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove what was built (not the demo, not the store)
	rm -rf build dist *.egg-info $(VENV)
