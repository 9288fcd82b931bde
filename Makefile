# What one does with this repository. Needs GNU make and Python 3.11, 3.12 or 3.13; everything else comes from PyPI.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
# The uv on the path is used; this one is fetched where there is none.
UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv 2>/dev/null),.tools/bin/uv)
export UV_PYTHON_DOWNLOADS := never

# Looked for only when a recipe needs it. A name on the path may be a shim with nothing behind it, so each is run. The
# system's own comes first: distributions build theirs with profile-guided optimisation. One that pyenv compiles goes
# without unless told otherwise, and takes a quarter more CPU for the same events.
PYTHONS := /usr/bin/python3 python3 python3.13 python3.12 python3.11 python
SUITABLE := import sys$(if $(filter .tools/%,$(UV)),; import ensurepip); \
	(3, 11) <= sys.version_info < (3, 14) or sys.exit(1); print(sys.executable)
PYTHON = $(or $(shell for name in $(PYTHONS); do $$name -c '$(SUITABLE)' 2>/dev/null && break; done),$(NO_PYTHON))
NO_PYTHON = $(error No Python 3.11, 3.12 or 3.13 answers to $(PYTHONS): install one (on Debian and Ubuntu with \
	python3-venv) and try again)

.PHONY: help
help:
	@echo "make VERB, where VERB is one of"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: .venv/.synced ## Install what uv.lock names into .venv; other verbs do if need be

.PHONY: run
run: setup ## Run a whole hub and a story that crosses it (ONCE=1: then exit)
	@$(BIN)/unsilo story $(if $(ONCE),--once)

.PHONY: test
test: setup ## Run the tests (ARGS="-m 'not kafka'" for those without a Kafka)
	@$(BIN)/pytest -n 3 --dist worksteal $(ARGS)

.PHONY: check
check: setup | $(UV) ## Check format, lint, types, import rules and uv.lock; change nothing
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(UV) lock --check

.PHONY: format
format: setup ## Format the code and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: docs
docs: setup ## Write anew what follows from code: tables of the documents, JSON Schemas
	@$(BIN)/python -m unsilo_schemas schemas/json
	@$(BIN)/python -m unsilo_services.reference .
	@$(BIN)/python -m tests.docs.generate

.PHONY: bench
bench: setup ## Measure against floors (ARGS="--only gateway", "--seconds 30")
	@$(BIN)/python tests/bench $(ARGS)

.PHONY: connector
connector: setup ## Start a new connector that works: make connector NAME=acme
	@$(BIN)/unsilo connectors new $(or $(NAME),$(error Name it: make connector NAME=acme))

.PHONY: clean
clean: ## Delete environment and caches; the hub's data in .unsilo stays
	rm -rf .venv .tools .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist
	find schemas connectors services tests -name __pycache__ -prune -exec rm -rf {} +

.venv/.synced: uv.lock pyproject.toml $(wildcard */pyproject.toml) | $(UV)
	@echo "Installing the packages of uv.lock into .venv"
	@$(UV) sync --quiet --locked --compile-bytecode --python "$(PYTHON)"
	@$(BIN)/python -m compileall -q schemas connectors services
	@touch $@

.tools/bin/uv:
	@echo "Fetching uv $(UV_VERSION) into .tools"
	@"$(PYTHON)" -m venv .tools || (echo "On Debian and Ubuntu: apt install python3-venv" >&2; exit 1)
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
