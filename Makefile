# Everyday commands for users and developers. They need make, and Python 3.11 to 3.13 with pip.
# The environment lives in .venv; exact versions are in constraints.txt.

# The first suitable interpreter of these, or the one you name: make PYTHON=/opt/python3.12/bin/python3 demo
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1 && echo $$python && break; done)
BIN := .venv/bin
INSTALLED := .venv/.installed
INSTALLED_JAX := .venv/.installed-jax
# One test process per core, but at most four: more would not fit in memory.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal
PIP := $(BIN)/python -m pip --disable-pip-version-check

# The core must work on every backend. Applications, and code that never touches a backend, are left out.
JAX_TESTS := $(addprefix tests/,costs cutting engine graph loop network runs/test_resume.py test_losses_metrics.py)

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all test-jax lint format bench mutants constraints clean
.DELETE_ON_ERROR:

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

install: $(INSTALLED) ## the environment in .venv; does nothing if it is up to date

demo: $(INSTALLED) ## shrink an edge detector on real photographs; prints before, after and the page
	$(BIN)/shrinknet demo

test: $(INSTALLED) ## the tests, without the slow ones
	$(PYTEST)

test-all: $(INSTALLED) ## all tests
	$(PYTEST) -m "slow or not slow"

test-jax: $(INSTALLED_JAX) ## the core's tests on the JAX backend
	KERAS_BACKEND=jax $(PYTEST) $(JAX_TESTS)

lint: $(INSTALLED) ## style, types and the direction of the imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(INSTALLED) ## speed, as ratios measured in one run
	$(BIN)/python tools/bench.py

mutants: $(INSTALLED) ## inject bugs that break each invariant; the tests must notice
	$(BIN)/python tools/mutants.py

constraints: $(INSTALLED) ## rewrite constraints.txt with today's versions
	$(BIN)/python tools/constraints.py

clean: ## remove build and cache files; keeps the environment and your runs
	rm -rf build dist runs/demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || test -n "$(PYTHON)" || { \
		echo "shrinknet needs Python 3.11, 3.12 or 3.13; found: $$(python3 --version 2>&1 || echo none)." >&2; \
		echo "Install one, or pass its path: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@# Debian's python3 has no ensurepip without python3-venv. In that case its own pip installs into the environment.
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv >/dev/null 2>&1 \
		|| { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python .venv/bin/python install -q pip; }
	@echo "Installing shrinknet and its dependencies into .venv (about 700 MB the first time)"
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	@touch $@

$(INSTALLED_JAX): $(INSTALLED)
	$(PIP) install -q -c constraints.txt -e '.[dev,jax]'
	@touch $@
