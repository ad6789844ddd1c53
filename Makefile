# Every target does its own set-up; a fresh machine needs Python >= 3.11, git and make.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.requirements-installed
# Lock files are made for these options; none of them names a package registry.
COMPILE := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-header
FIND_PYTHON := for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
		2>/dev/null && { command -v $$python; break; }; done
# What `make test-matrix` runs on.
VERSIONS ?= 14 15 16 17 18
PYTHON ?= $(shell $(FIND_PYTHON))

# How long `make soak` takes.
MINUTES ?= 30

# Control planes side by side in the cluster tier, which mostly waits.
BEDS ?= 3

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## Show this list.
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) \
		| while IFS='|' read -r name text; do printf '%-11s %s\n' "$$name" "$$text"; done

$(STAMP): requirements/dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { \
		echo "No Python >= 3.11 with venv and ensurepip found; set PYTHON=..." >&2; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --require-hashes --requirement requirements/dev.lock
	@$(PY) -m pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

.PHONY: setup
setup: $(STAMP) ## Install the locked development requirements into .venv.

.PHONY: fmt
fmt: setup ## Format the code and fix what ruff can fix.
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

.PHONY: check
check: setup ## Check format, lint, types, import contracts and unit tests.
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) -m pytest -n 2 -m "not slow" tests/unit

.PHONY: build
build: setup
	@$(PY) -m tests.localcluster build

.PHONY: test
test: build ## Run the unit, integration and cluster tiers.
	$(PY) -m pytest -n 2 -m "not slow" tests/unit tests/integration
	$(PY) -m pytest -n $(BEDS) --dist worksteal -m "not slow" tests/cluster

.PHONY: test-slow
test-slow: build ## Run the large and long cases.
	$(PY) -m pytest -n 2 --hypothesis-profile=long --timeout 1800 tests/unit
	$(PY) -m pytest -m slow --timeout 1800 tests/unit tests/integration tests/cluster

.PHONY: test-matrix
test-matrix: setup ## Run the integration tier over TLS on PostgreSQL 14 to 18.
	@$(PY) -m tests.matrix $(VERSIONS)

.PHONY: test-guards
test-guards: setup ## Take guards out one by one (TRAPS="1 5 30"); their tests must fail.
	@$(PY) -m tests.guards $(TRAPS)

.PHONY: e2e
e2e: setup ## Deploy config/ on a local cluster whose pods are processes, and test it.
	@$(PY) -m tests.e2e

.PHONY: demo
demo: build ## Show the whole job on a local cluster that ends by itself.
	@$(PY) -m tests.localcluster demo

.PHONY: up
up: setup ## Start a local cluster with PostgreSQL and the operator, and leave it.
	@$(PY) -m tests.localcluster up

.PHONY: down
down: setup ## End what `make up` started and clean up after crashes.
	@$(PY) -m tests.localcluster down

.PHONY: status
status: setup ## Say what `make up` has running.
	@$(PY) -m tests.localcluster status

.PHONY: bench
bench: build ## Measure latency and throughput against plain SQL.
	@$(PY) -m tests.bench

.PHONY: soak
soak: build ## Soak for MINUTES (30) in random work, drift and accidents.
	@$(PY) -m tests.soak --minutes $(MINUTES)

.PHONY: docs
docs: setup ## Write docs/errors.md from the table of rules and the refused samples.
	$(PY) -m tests.errors

.PHONY: lock
lock: setup ## Resolve the requirements again and write the lock files.
	$(COMPILE) pyproject.toml --output-file requirements/runtime.lock
	$(COMPILE) pyproject.toml --group dev --output-file requirements/dev.lock
	$(COMPILE) requirements/go.in --output-file requirements/go.lock
	$(COMPILE) requirements/node.in --output-file requirements/node.lock
	npm install --prefix requirements/postgresql --package-lock-only \
		--omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund
	$(COMPILE) requirements/build.in --output-file requirements/build.lock

.PHONY: clean
clean: ## End the local cluster and remove everything that was made here.
	@if test -x $(PY); then $(PY) -m tests.localcluster down; fi
	rm -rf .local .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache dist build $(VENV)
