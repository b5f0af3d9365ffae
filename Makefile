# `make help` lists what there is. Needs GNU make, bash, and Python 3.11 to 3.13 with its venv module.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

## PYTHON: the Python that makes .venv (3.11, 3.12 or 3.13); default python3
PYTHON ?= python3
## ARGS: more arguments for pytest, `mgkit demo` or `jupyter lab`, e.g. make test ARGS="-n 0" for one process, or ARGS=tests/models
ARGS ?=
## UPGRADE: packages that `make lock` moves to their newest release, e.g. make lock UPGRADE="numpy scipy"
UPGRADE ?=

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.mgkit-env
PIP := $(PY) -m pip --disable-pip-version-check --no-input
# of all that pip says, the downloads of 10 MB and more and the last steps
PIP_NEWS := grep --line-buffered -oE '^ *Downloading [^ ]+ \(([0-9]{2,}(\.[0-9]+)? MB|[0-9.]+ GB)\)|^Installing collected packages|^Successfully installed'
RIGHT_PYTHON := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
# a process a core, and all tests of a file in one of them: a fixture of a module is made once
IN_PROCESSES := -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder
LINT := set -x; $(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy
# Lint keeps one core busy, so it runs beside the tests. What it says comes after them, in one piece, and either can
# fail the whole.
define BESIDE_LINT
said=$$(mktemp); { $(LINT); } >"$$said" 2>&1 & lint=$$!; \
	trap 'kill $$lint 2>/dev/null; rm -f "$$said"' EXIT; \
	( set -x; $(1) ); tests=$$?; \
	wait $$lint; linted=$$?; trap 'rm -f "$$said"' EXIT; cat "$$said"; \
	if [ $$linted -ne 0 ]; then echo "lint failed, see above" >&2; fi; \
	if [ $$tests -ne 0 ]; then echo "tests failed, see further above" >&2; fi; \
	exit $$(( tests ? tests : linted ))
endef
# every cache is found by name, and never looked for in a person's data, runs or environment
KEEP_OUT := -not \( -path ./data -prune \) -not \( -path ./runs -prune \) -not \( -path ./notebooks/runs -prune \) -not \( -path ./$(VENV) -prune \) -not \( -path ./.git -prune \)

.PHONY: help env demo lab check test lint notebooks format lock clean clean-env

help: ## this page
	@echo "make <target> [VARIABLE=value]"; echo
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' Makefile | awk -F'\t' '{ printf "%-12s%s\n", $$1, $$2 }'
	@echo; echo "Variables"
	@sed -nE 's/^## ([A-Z]+): (.*)/  \1\t\2/p' Makefile | awk -F'\t' '{ printf "%-12s%s\n", $$1, $$2 }'

env: $(STAMP) ## make or bring up to date .venv, with the versions in requirements.lock (some minutes, 7 GB with CUDA)

$(STAMP): requirements.lock pyproject.toml
	@if ! "$(PY)" -c '$(RIGHT_PYTHON)' 2>/dev/null; then \
	    if ! command -v "$(PYTHON)" >/dev/null; then \
	        echo "There is no '$(PYTHON)' here, and mgkit needs Python 3.11, 3.12 or 3.13. Install one (Debian: apt-get install python3 python3-venv), or use conda: conda env create -f environment.yml" >&2; exit 1; fi; \
	    if ! "$(PYTHON)" -c '$(RIGHT_PYTHON)'; then \
	        echo "'$(PYTHON)' is $$("$(PYTHON)" --version 2>&1), and mgkit needs Python 3.11, 3.12 or 3.13. Name one, e.g. make env PYTHON=python3.12, or use conda: conda env create -f environment.yml" >&2; exit 1; fi; \
	    if ! "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null; then \
	        echo "'$(PYTHON)' comes without its venv module. Install it (Debian: apt-get install python3-venv), or use conda: conda env create -f environment.yml" >&2; exit 1; fi; \
	    echo "[1/3] a new environment in $(VENV), from $$("$(PYTHON)" --version)"; \
	    "$(PYTHON)" -m venv --clear "$(VENV)"; \
	else echo "[1/3] the environment in $(VENV), $$("$(PY)" --version)"; fi
	@echo "[2/3] the $$(grep -c == requirements.lock) packages of requirements.lock: 2 to 10 minutes the first time"
	@set -o pipefail; $(PIP) install --progress-bar off -r requirements.lock | { $(PIP_NEWS) || true; }
	@echo "[3/3] mgkit itself"
	@$(PIP) install --quiet --no-deps -e .
	@touch "$(STAMP)"
	@echo "ready: $(VENV)/bin/python"

demo: env ## train on the embedded data, which is drawn into data/demo: the whole kit in one command
	$(PY) -m mgkit demo $(ARGS)

lab: env ## open the notebooks in JupyterLab
	$(PY) -m jupyterlab --LabApp.default_url=/lab/tree/notebooks $(ARGS)

check: env ## lint, types and the quick tests, about a minute on two cores: for daily work
	@$(call BESIDE_LINT,$(PY) -m pytest $(IN_PROCESSES) -m "not slow" $(ARGS))

test: env ## lint, types and all tests: what CI runs
	@$(call BESIDE_LINT,$(PY) -m pytest $(IN_PROCESSES) $(ARGS))

lint: env ## ruff check, ruff format --check, mypy
	@$(LINT)

notebooks: env ## run every notebooks/*.py and write its .ipynb with outputs (after make demo: a quarter of an hour)
	$(PY) tools/notebooks.py $(ARGS)

format: env ## let ruff fix and format the code
	$(PY) -m ruff check --fix-only --show-fixes .
	$(PY) -m ruff format .

lock: env ## write requirements.lock from .venv, after installing what pyproject.toml newly names (see UPGRADE)
	$(PIP) install --quiet -e ".[dev]"
	$(if $(strip $(UPGRADE)),$(PIP) install --quiet --upgrade $(UPGRADE))
	$(PY) tools/lock.py

clean: ## remove caches and builds; data/, runs/ and .venv stay
	@find . $(KEEP_OUT) -type d \( -name __pycache__ -o -name .ipynb_checkpoints -o -name '*.egg-info' -o -name .mypy_cache -o -name .pytest_cache -o -name .ruff_cache \) -prune -exec rm -rf {} +
	@rm -rf build dist

clean-env: clean ## remove .venv as well; data/ and runs/ stay
	@rm -rf "$(VENV)"
