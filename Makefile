# make demo | test | lint | docs | bench | calibrate
# PYTHON picks the interpreter: `make test PYTHON=python3.13` works in .venv-3.13, without it everything is in .venv.

ifeq ($(origin PYTHON), undefined)
PYTHON := $(shell for python in python3.11 python3; do $$python -c '' 2>/dev/null && echo $$python && break; done)
VENV := .venv
endif
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
ifeq ($(VERSION),)
$(error PYTHON must be an interpreter that runs, 3.11 or newer; '$(PYTHON)' does not. Give its full path: make test PYTHON=/path/to/python3.13)
endif
VENV ?= .venv-$(VERSION)

CONSTRAINTS := $(wildcard constraints/py$(subst .,,$(VERSION)).txt)
INSTALL := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(addprefix --constraint ,$(CONSTRAINTS))
BIN := $(VENV)/bin
PYTEST_WORKERS ?= 2

export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0

.PHONY: demo test lint docs bench calibrate

demo: $(VENV)/.stamp-run  ## fit, bands, comparison, report on the embedded data (2 to 6 minutes on two cores)
	$(BIN)/bayesfactor demo --out demo

test: $(VENV)/.stamp-dev  ## import contracts, then every test (about an hour on two cores)
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS)

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell bayesfactor tests benchmarks examples docs README.md CHANGELOG.md CONTRIBUTING.md

docs: $(VENV)/.stamp-docs
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.stamp-dev  ## prints the table and writes it into docs/performance.md
	$(BIN)/python -m benchmarks

calibrate: $(VENV)/.stamp-dev  ## simulation-based calibration and coverage, in chunks that resume
	$(BIN)/python -m benchmarks.calibrate

# A stamp is younger than pyproject.toml when what it stands for is installed.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.stamp-run: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@echo "Installing bayesfactor into $(VENV) (JAX and its companions: a few minutes the first time)"
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.stamp-dev: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@echo "Installing bayesfactor with its test tools into $(VENV) (a few minutes the first time)"
	$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.stamp-run

$(VENV)/.stamp-docs: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@echo "Installing bayesfactor with its documentation tools into $(VENV)"
	$(INSTALL) --editable '.[docs]'
	@touch $@ $(VENV)/.stamp-run
