# make demo | test | lint | bench | constraints | clean      (PYTHON=python3.12 names another Python)
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKSPACE := demo-workspace
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
export PIP_ROOT_USER_ACTION := ignore

.PHONY: help demo test lint bench constraints clean

help:
	@echo "make demo         install into $(VENV) and run the flights job in $(WORKSPACE)/"
	@echo "make test         lint, types and tests (CI=true: nothing may be skipped)"
	@echo "make lint         lint and types only"
	@echo "make bench        the measurements of benchmarks/"
	@echo "make constraints  resolve every extra anew and pin it in constraints.txt"
	@echo "make clean        remove $(VENV), $(WORKSPACE)/ and what tools left"

demo: $(VENV)/.demo
	@rm -rf $(WORKSPACE)
	@$(BIN)/python -m examples.flights --workspace $(WORKSPACE)

test: lint
	@echo "Testing …"
	@$(BIN)/python -m pytest -n 2 -q

lint: $(VENV)/.dev
	@echo "Checking style and types …"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "Run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/mypy

bench: $(VENV)/.bench
	@ls benchmarks/[a-z]*.py >/dev/null 2>&1 || { echo "There is nothing to measure in benchmarks/."; exit 1; }
	@for script in benchmarks/[a-z]*.py; do \
		name=$$(basename $$script .py); echo "== $$name"; $(BIN)/python -m benchmarks.$$name; \
	done

# The stamps say what is installed; a changed pyproject.toml or constraints.txt installs again.
$(VENV)/.demo: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing Headwater into $(VENV) (a minute, the first time) …"
	@$(PIP) install --constraint constraints.txt --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing Headwater and its development tools into $(VENV) (a minute, the first time) …"
	@$(PIP) install --constraint constraints.txt --editable '.[demo,dev]'
	@touch $(VENV)/.demo $@

$(VENV)/.bench: $(VENV)/.dev
	@echo "Installing the peers to measure against …"
	@$(PIP) install --constraint constraints.txt --editable '.[bench]'
	@touch $@

$(VENV)/.python:
	@command -v $(PYTHON) >/dev/null || { echo "Headwater needs Python 3.11 or newer, and there is no '$(PYTHON)'."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Headwater needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)."; \
		echo "Name another one: make PYTHON=python3.12 demo"; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }
	@touch $@

constraints: $(VENV)/.python
	@echo "Resolving every extra …"
	@$(PIP) install --dry-run --ignore-installed --report - --editable '.[all,bench,dev]' \
		| $(BIN)/python .ci/constraints.py > constraints.new
	@mv constraints.new constraints.txt

clean:
	@rm -rf $(VENV) $(WORKSPACE) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis constraints.new
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
