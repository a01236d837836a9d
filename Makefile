# A fresh clone needs Python 3.10 or later, make and a package index; each target does the rest of its own set-up.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
VENV_SAM := .venv-sam
VENV_POLICY := .venv-policy
VENV_MUTANTS := .venv-mutants
VENV_CELERY := .venv-celery
VENV_ACTIONLINT := .venv-actionlint
VENV_DOCS := .venv-docs
# A fresh clone needs a third of the packages for the demo alone. Where .venv is set up, it serves.
VENV_DEMO := $(if $(wildcard $(VENV)/.installed),$(VENV),.venv-demo)
VENV_LAYER := $(if $(filter-out demo,$(or $(MAKECMDGOALS),help)),$(VENV),$(VENV_DEMO))
VENV_DJANGO_6 := .venv-django60 .venv-django61
VENV_PEER := .venv-peer
LAYER := layer/dist/lambda-tasks-layer.zip

# Twice quiet: once for the progress, once for warnings about this machine's own pip settings. The locks are complete,
# so pip has nothing to resolve.
PIP_OPTIONS := --quiet --quiet --disable-pip-version-check --no-input --no-deps
# An environment of its own, by uv, which takes a quarter of pip's time; by pip where only that knows the package index.
ENVIRONMENT = $(PYTHON) -m venv --clear --without-pip $(1) && $(call INSTALL,$(1),$(2))
INSTALL = $(VENV)/bin/python -m uv pip install --quiet --system-certs --no-deps --python $(1)/bin/python \
	--require-hashes --requirement $(2) 2>/dev/null || $(VENV)/bin/python -m pip --python $(1)/bin/python \
	install $(PIP_OPTIONS) --require-hashes --requirement $(2)
LOCK := $(VENV)/bin/python -m uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
	--no-emit-index-url --no-python-downloads --custom-compile-command "make lock" $(LOCK_OPTIONS)
LOCK_DJANGO_6 := $(subst 3.10,3.12,$(LOCK))

# The folders too: they change where a file in them is removed.
LAYER_SOURCES := $(wildcard bin/* layer/*.py layer/*.txt) pyproject.toml LICENSE \
	$(shell find python/lambda_tasks \( -name local -o -name command_line -o -name containers -o -name __pycache__ \) -prune -o \( -type d -o -name '*.py' \) -print)
SHELL_SCRIPTS = $(shell find bin .ci examples layer python tests -type f -not -path '*/__pycache__/*' -exec \
	awk 'FNR == 1 && /^\#!.*[\/ ](ba)?sh( |$$)/ { print FILENAME }' {} +)

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/.installed ## Install the development environment into .venv

.PHONY: setup-sam
setup-sam: $(VENV_SAM)/.installed ## Install aws-sam-cli into .venv-sam: its pins collide with those of .venv

.PHONY: setup-policy
setup-policy: $(VENV_POLICY)/.installed ## Install checkov into .venv-policy, for the same reason

.PHONY: setup-actionlint
setup-actionlint: $(VENV_ACTIONLINT)/.installed ## Install actionlint; the tests use it where it is installed

.PHONY: setup-django
setup-django: $(VENV_DJANGO_6:=/.installed) ## Install Django 6 into environments of its own, where a Python from 3.12 on is found

.PHONY: setup-peer
setup-peer: $(VENV_PEER)/.installed ## Install django-lambda-tasks into .venv-peer: it is imported as lambda_tasks too

.PHONY: demo
demo: $(VENV_DEMO)/.installed $(LAYER) ## Run the example function on this machine: secrets, SQS, layer, runtime
	@if [ -f build/demo-began ]; then \
		echo "[3/3] The demo, set up in $$(($$(date +%s) - $$(cat build/demo-began))) s"; rm build/demo-began; fi
	@$(VENV_DEMO)/bin/python examples/demo.py

.PHONY: demo-django
demo-django: $(VENV)/.installed $(LAYER) ## Run the Django project of examples/polls on this machine; KEEP=1 goes on, to look at it
	@$(VENV)/bin/python examples/demo_django.py $(if $(KEEP),--keep)

.PHONY: test
test: ## Run lint and all tests, with coverage
	@$(MAKE) --no-print-directory --jobs 4 --output-sync=target lint setup-sam setup-policy setup-django setup-peer $(LAYER)
	@mkdir -p build
	@rm -f .coverage .coverage.*
	@# Five processes on two cores, because most tests wait for other processes.
	$(VENV)/bin/python -m coverage run -m pytest --numprocesses 5 --dist loadfile --no-loadscope-reorder | tee build/pytest.log
	$(VENV)/bin/python -m coverage combine --quiet
	$(VENV)/bin/python -m coverage report
	@tail -n 1 build/pytest.log

.PHONY: test-databases
test-databases: $(VENV)/.installed ## Run the tests of records in PostgreSQL and MariaDB; apt-get install mariadb-server-core
	TEST_MARIADB=1 $(VENV)/bin/python -m pytest -rs tests/test_django.py -k kept_in_a_server

.PHONY: soak
soak: $(VENV)/.installed $(LAYER) ## Kill, duplicate and cut off workers at random; SOAK_MESSAGES=2000 and SOAK_SEED= are settings
	SOAK_MESSAGES=$${SOAK_MESSAGES:-2000} $(VENV)/bin/python -m pytest -s tests/test_soak.py

.PHONY: chaos
chaos: $(VENV)/.installed $(LAYER) ## Kill or cut off a function at each of its calls; CHAOS_MINUTES=20, CHAOS_SEED=, CHAOS_CASE= are settings
	CHAOS_MINUTES=$${CHAOS_MINUTES:-20} $(VENV)/bin/python -m pytest -s tests/test_chaos.py

.PHONY: mutants
mutants: $(VENV)/.installed $(VENV_MUTANTS)/.installed ## Put faults into the code and see that tests notice; MUTANTS_MODULES=, MUTANTS_SAMPLE=, MUTANTS_SEED=
	$(VENV_MUTANTS)/bin/python tests/mutants.py

.PHONY: bench
bench: $(VENV)/.installed $(VENV_CELERY)/.installed $(VENV_PEER)/.installed $(LAYER) ## Measure what the documents promise; GROUPS="resolver" narrows it
	@PYTHONPATH=tests $(VENV)/bin/python -m benchmarks.run $(GROUPS)

.PHONY: lint
lint: $(VENV)/.installed ## Check code, format, types, the arrows between rooms, and shell scripts
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache | tail -n 2
	$(VENV)/bin/shellcheck $(SHELL_SCRIPTS)

.PHONY: format
format: $(VENV)/.installed ## Format the code and apply the fixes that are safe
	$(VENV)/bin/ruff check --fix-only
	$(VENV)/bin/ruff format

.PHONY: layer
layer: $(LAYER) ## Build layer/dist/lambda-tasks-layer.zip and say what it is
	@cat $(LAYER:.zip=.txt)

.PHONY: verify-layer
verify-layer: $(VENV)/.installed $(LAYER) ## Check each file of the layer, and start it with each Python found
	@PYTHONPATH=tests $(VENV)/bin/python -m layer.verify

# The options of a publication, by the variables that a caller gives.
PUBLISH_OPTIONS = $(if $(REGIONS),--regions "$(REGIONS)") $(if $(DRY_RUN),--dry-run) $(if $(PUBLIC),--public) \
	$(if $(ORGANIZATION),--organization "$(ORGANIZATION)")

.PHONY: publish
publish: verify-layer ## Publish the layer to REGIONS; DRY_RUN=1 only says so, PUBLIC=1 or ORGANIZATION=o-... share it
	@$(VENV)/bin/python -m layer.publish $(PUBLISH_OPTIONS)

.PHONY: bench-cold-start
bench-cold-start: $(VENV)/.installed $(LAYER) ## Measure cold starts; renew the plot and the table of their page
	@PYTHONPATH=tests $(VENV)/bin/python -m benchmarks.cold_start --page

.PHONY: lock
lock: $(VENV)/.installed ## Pin the dependencies; LOCK_OPTIONS=--upgrade renews them
	$(LOCK) pyproject.toml --output-file layer/requirements.txt
	$(LOCK) --group layer --output-file layer/requirements-build.txt
	$(LOCK) pyproject.toml --extra boto3 --extra cli --extra local --group dev --output-file tests/requirements.txt
	$(LOCK) --group msgspec-oldest --output-file tests/requirements-msgspec-oldest.txt
	$(LOCK) --group msgspec-older --output-file tests/requirements-msgspec-older.txt
	$(LOCK_DJANGO_6) --group django60 --output-file tests/requirements-django60.txt
	$(LOCK_DJANGO_6) --group django61 --output-file tests/requirements-django61.txt
	$(LOCK) --group peer --constraints tests/requirements.txt --output-file tests/requirements-peer.txt
	$(LOCK) --group sam --output-file tests/requirements-sam.txt
	$(LOCK) --group policy --output-file tests/requirements-policy.txt
	$(LOCK) --group mutants --output-file tests/requirements-mutants.txt
	$(LOCK) --group celery --output-file tests/requirements-celery.txt
	$(LOCK) --group actionlint --output-file tests/requirements-actionlint.txt
	$(LOCK) --group uv --constraints tests/requirements.txt --output-file tests/requirements-uv.txt
	$(LOCK) pyproject.toml --extra local --group demo --output-file tests/requirements-demo.txt
	$(LOCK) pyproject.toml --extra local --group docs --output-file tests/requirements-docs.txt

LOCKS = $(wildcard layer/requirements*.txt tests/requirements*.txt)

.PHONY: audit
audit: $(VENV)/.installed ## Look up known vulnerabilities of the pinned dependencies, in a public database
	@failed=$(if $(LOCKS),,1); for lock in $(LOCKS); do \
		echo "$$lock"; \
		grep -q '^[A-Za-z0-9].*==' "$$lock" || { echo "$$lock pins nothing, so nothing is audited" >&2; failed=1; }; \
		$(VENV)/bin/python -m pip_audit --strict --progress-spinner off --disable-pip --require-hashes $(AUDIT_OPTIONS) \
			--requirement "$$lock" || failed=1; \
	done; test -z "$$failed"

.PHONY: docs
docs: $(VENV_DOCS)/.installed ## Build the site of the documents into build/docs; a warning is an error
	@mkdir -p build
	@# Not --quiet: MkDocs counts none of the warnings that it does not print.
	@PYTHONPATH=python:docs/site NO_MKDOCS_2_WARNING=1 $(VENV_DOCS)/bin/python -m mkdocs build --strict --clean \
		2>build/docs.log || { cat build/docs.log >&2; exit 1; }
	@echo "build/docs/index.html"

.PHONY: dist
dist: $(VENV)/.installed ## Build the wheel and the source distribution into dist/
	@rm -rf dist
	@$(VENV)/bin/python -m hatchling build

.PHONY: clean
clean: ## Remove everything that these targets made
	rm -rf .venv* .aws-sam build dist layer/cache layer/dist .coverage .coverage.*
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	@$(VENV)/bin/python -m pip install $(PIP_OPTIONS) --no-build-isolation --editable .
	@touch $@

$(VENV)/.locked: tests/requirements.txt
	@echo "Installing the development environment into $(VENV)"
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("Python 3.10 or later is needed: set PYTHON")'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/python -m pip install $(PIP_OPTIONS) --require-hashes --requirement tests/requirements-uv.txt
	@$(call INSTALL,$(VENV),tests/requirements.txt)
	@touch $@

.venv-demo/.installed: tests/requirements-demo.txt pyproject.toml
	@echo "The demo sets itself up once, in less than a minute on two cores"
	@echo "[1/3] Python packages into .venv-demo"
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("Python 3.10 or later is needed: set PYTHON")'
	@mkdir -p build && date +%s >build/demo-began
	@# Few of the modules are ever imported: compiling all of them would take longer than the demo.
	@$(PYTHON) -m venv --clear .venv-demo && .venv-demo/bin/python -m pip install --disable-pip-version-check --no-input \
		--no-deps --no-compile --require-hashes --requirement tests/requirements-demo.txt 2>build/demo-setup.log | \
		awk -v total="$$(grep -c == tests/requirements-demo.txt)" '/^Collecting/ && ++count % 10 == 0 \
			{ print "      " count " of " total; fflush() } /^Installing/ { print "      unpacking"; fflush() }' || \
		{ cat build/demo-setup.log >&2; exit 1; }
	@.venv-demo/bin/python -m pip install $(PIP_OPTIONS) --no-compile --no-build-isolation --editable .
	@touch $@

$(VENV_SAM)/.installed: tests/requirements-sam.txt | $(VENV)/.installed
	@echo "Installing aws-sam-cli into $(VENV_SAM)"
	@$(call ENVIRONMENT,$(VENV_SAM),tests/requirements-sam.txt)
	@touch $@

$(VENV_ACTIONLINT)/.installed: tests/requirements-actionlint.txt | $(VENV)/.installed
	@echo "Installing actionlint into $(VENV_ACTIONLINT)"
	@$(call ENVIRONMENT,$(VENV_ACTIONLINT),tests/requirements-actionlint.txt)
	@touch $@

$(VENV_DOCS)/.installed: tests/requirements-docs.txt | $(VENV)/.installed
	@echo "Installing MkDocs into $(VENV_DOCS)"
	@$(call ENVIRONMENT,$(VENV_DOCS),tests/requirements-docs.txt)
	@touch $@

# Without a Python for it, tests of it are skipped by name.
.venv-django%/.installed: tests/requirements-django%.txt | $(VENV)/.installed
	@python=$$($(VENV)/bin/python -m layer.interpreters 3.13 3.12 3.14); \
	if [ -z "$$python" ]; then echo "Django 6 is not tested: no Python from 3.12 on was found"; exit 0; fi; \
	echo "Installing Django $* into $(@D)"; \
	"$$python" -m venv --clear --without-pip $(@D); \
	$(call INSTALL,$(@D),$<); \
	touch $@

$(VENV_PEER)/.installed: tests/requirements-peer.txt | $(VENV)/.installed
	@echo "Installing django-lambda-tasks into $(VENV_PEER)"
	@$(call ENVIRONMENT,$(VENV_PEER),tests/requirements-peer.txt)
	@# Its source too, which has its example: a test moves that.
	@grep -A 2 '^django-lambda-tasks==' tests/requirements-peer.txt >$(VENV_PEER)/source.txt
	@$(VENV)/bin/python -m pip download $(PIP_OPTIONS) --require-hashes --no-binary :all: --no-build-isolation \
		--dest $(VENV_PEER) --requirement $(VENV_PEER)/source.txt || echo "Its example is not tested: no source was found"
	@touch $@

$(VENV_POLICY)/.installed: tests/requirements-policy.txt | $(VENV)/.installed
	@echo "Installing checkov into $(VENV_POLICY)"
	@$(call ENVIRONMENT,$(VENV_POLICY),tests/requirements-policy.txt)
	@touch $@

$(VENV_MUTANTS)/.installed: tests/requirements-mutants.txt | $(VENV)/.installed
	@echo "Installing Cosmic Ray into $(VENV_MUTANTS)"
	@$(call ENVIRONMENT,$(VENV_MUTANTS),tests/requirements-mutants.txt)
	@touch $@

$(VENV_CELERY)/.installed: tests/requirements-celery.txt | $(VENV)/.installed
	@echo "Installing Celery into $(VENV_CELERY)"
	@$(call ENVIRONMENT,$(VENV_CELERY),tests/requirements-celery.txt)
	@touch $@

$(LAYER): $(LAYER_SOURCES) | $(VENV_LAYER)/.installed
	@mkdir -p $(@D)
	@$(if $(filter demo,$(MAKECMDGOALS)),if [ -f build/demo-began ]; then \
		echo "[2/3] The layer for five Pythons and two processors"; fi)
	@$(VENV_LAYER)/bin/python -m layer.build > $(@:.zip=.txt)
