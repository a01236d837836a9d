# A fresh clone needs Python 3.10 or later, make and a package index; each target does the rest of its own set-up.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
VENV_SAM := .venv-sam
LAYER := layer/dist/lambda-tasks-layer.zip

# Twice quiet: once for the progress, once for warnings about this machine's own pip settings. The locks are complete,
# so pip has nothing to resolve.
PIP_INSTALL := -m pip install --quiet --quiet --disable-pip-version-check --no-input --no-deps
LOCK := $(VENV)/bin/python -m uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
	--no-emit-index-url --no-python-downloads --custom-compile-command "make lock" $(LOCK_OPTIONS)

# The folders too: they change where a file in them is removed.
LAYER_SOURCES := $(wildcard bin/* layer/*.py) layer/requirements.txt LICENSE \
	$(shell find python/lambda_tasks \( -name local -o -name __pycache__ \) -prune -o \( -type d -o -name '*.py' \) -print)
SHELL_SCRIPTS = $(shell find bin .ci examples layer python tests -type f -not -path '*/__pycache__/*' -exec \
	awk 'FNR == 1 && /^\#!.*[\/ ](ba)?sh( |$$)/ { print FILENAME }' {} +)

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/.installed ## Install the development environment into .venv

.PHONY: setup-sam
setup-sam: $(VENV_SAM)/.installed ## Install aws-sam-cli into .venv-sam: its pins collide with those of .venv

.PHONY: demo
demo: $(VENV)/.installed $(LAYER) ## Run the example function on this machine: secrets, SQS, layer, runtime
	@$(VENV)/bin/python examples/demo.py

.PHONY: test
test: lint $(VENV_SAM)/.installed $(LAYER) ## Run lint and all tests, with coverage
	@mkdir -p build
	@rm -f .coverage .coverage.*
	$(VENV)/bin/python -m coverage run -m pytest | tee build/pytest.log
	$(VENV)/bin/python -m coverage combine --quiet
	$(VENV)/bin/python -m coverage report
	@tail -n 1 build/pytest.log

.PHONY: soak
soak: $(VENV)/.installed $(LAYER) ## Kill, duplicate and cut off workers at random; SOAK_MESSAGES=2000 and SOAK_SEED= are settings
	SOAK_MESSAGES=$${SOAK_MESSAGES:-2000} $(VENV)/bin/python -m pytest -s tests/test_soak.py

.PHONY: bench
bench: $(VENV)/.installed ## Measure what the README promises; GROUPS="resolver" narrows it
	@PYTHONPATH=tests $(VENV)/bin/python -m benchmarks.run $(GROUPS)

.PHONY: lint
lint: $(VENV)/.installed ## Check code, format, types and shell scripts
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/shellcheck $(SHELL_SCRIPTS)

.PHONY: format
format: $(VENV)/.installed ## Format the code and apply the fixes that are safe
	$(VENV)/bin/ruff check --fix-only
	$(VENV)/bin/ruff format

.PHONY: layer
layer: $(LAYER) ## Build layer/dist/lambda-tasks-layer.zip and say what it is
	@cat $(LAYER:.zip=.txt)

.PHONY: lock
lock: $(VENV)/.installed ## Pin the dependencies; LOCK_OPTIONS=--upgrade renews them
	$(LOCK) pyproject.toml --output-file layer/requirements.txt
	$(LOCK) pyproject.toml --extra boto3 --extra local --group dev --output-file tests/requirements.txt
	$(LOCK) --group sam --output-file tests/requirements-sam.txt

.PHONY: clean
clean: ## Remove everything that these targets made
	rm -rf $(VENV) $(VENV_SAM) .aws-sam build dist layer/cache layer/dist .coverage .coverage.*
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	@$(VENV)/bin/python $(PIP_INSTALL) --no-build-isolation --editable .
	@touch $@

$(VENV)/.locked: tests/requirements.txt
	@echo "Installing the development environment into $(VENV) (about half a minute)"
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("Python 3.10 or later is needed: set PYTHON")'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/python $(PIP_INSTALL) --require-hashes --requirement tests/requirements.txt
	@touch $@

$(VENV_SAM)/.installed: tests/requirements-sam.txt
	@echo "Installing aws-sam-cli into $(VENV_SAM) (about half a minute)"
	@$(PYTHON) -m venv --clear $(VENV_SAM)
	@$(VENV_SAM)/bin/python $(PIP_INSTALL) --require-hashes --requirement tests/requirements-sam.txt
	@touch $@

# Any Python with pip will do; that of .venv has one for certain.
$(LAYER): $(LAYER_SOURCES)
	@mkdir -p $(@D)
	@"$$(command -v $(VENV)/bin/python || command -v $(PYTHON))" -m layer.build > $(@:.zip=.txt)
