# Two commands do everything on a fresh machine: `make run` and `make test`. Python 3.11 or newer with venv is all they need.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: bench compiled run demo test test-all check format lock clean help

help:            ## what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 16

run: $(VENV)/runtime compiled   ## set everything up and run the authority (ARGS="--advertise NAME …")
	$(BIN)/edgeward up $(ARGS)

demo: $(VENV)/runtime compiled  ## the whole of it in ten seconds, leaving nothing behind
	$(BIN)/edgeward demo

test: $(VENV)/development compiled  ## set everything up and run the tests
	$(BIN)/python -m pytest -n auto -m "not slow" $(ARGS)

test-all: $(VENV)/development compiled  ## the slow tests too
	$(BIN)/python -m pytest -n auto $(ARGS)

check: $(VENV)/development  ## format, lint, types, layers, documentation
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py tests/test_docs.py

bench: $(VENV)/runtime compiled  ## what one server process spends (needs Go)
	$(BIN)/python benchmarks/server.py $(ARGS)

format: $(VENV)/development  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix src tests benchmarks examples
	$(BIN)/ruff format src tests benchmarks examples

lock: $(VENV)/development  ## pin every dependency again, with hashes
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links --no-header -o requirements.lock pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links --no-header --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml

clean:           ## remove the virtual environment and the caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

compiled: $(VENV)/runtime  # also where PYTHONDONTWRITEBYTECODE is set: else every start of a process compiles 160 files anew
	@$(BIN)/python -m compileall -q src

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: edgeward needs Python 3.11 or newer; say which: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/runtime: $(VENV)/python requirements.lock pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/development: $(VENV)/runtime requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
