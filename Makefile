# Every target sets up what it needs. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help up demo test check fix chaos upgrade-test bench ratio screenshots docs reference release lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS := $(VENV)/docs
T ?= tests
# Whose times and counts mean nothing while other tests run beside them.
ALONE := chaos deploy door door_out end_to_end observe upgrade worker test_embedded.py test_release.py test_tutorial.py
ALONE := $(ALONE:%=tests/%)
# First, so that neither of two processes is left with them at the end.
LONG := tests/fuzz tests/browser tests/crm_sync

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "aftercall needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 1; }
	@echo "Setting up $(VENV) (once; about half a minute)…"
	@$(BIN)/python -m pip show --quiet pip 2>/dev/null || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

# Of its own, so that the tests need not wait for what only the site needs.
$(DOCS)/.ready: requirements-docs.lock
	@$(DOCS)/bin/python -m pip show --quiet pip 2>/dev/null || $(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-docs.lock
	@touch $(DOCS)/.ready

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(READY) ## The service for real, with embedded stores, until Ctrl-C
	@$(BIN)/aftercall up

demo: $(READY) ## The whole path with a simulated Twenty2 and CRM; ends by itself
	@$(BIN)/aftercall demo

test: $(READY) ## The whole test suite; one file: make test T=tests/domain/test_outcomes.py
ifeq ($(T),tests)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ALONE:%=--ignore=%) $(LONG) tests; \
	beside=$$?; $(BIN)/python -m pytest $(ALONE) && exit $$beside
else
	@$(BIN)/python -m pytest $(T)
endif

check: $(READY) ## Format, lint, types, import contracts, migration drift, compose schema
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/db/test_migrations.py tests/test_deployment.py

fix: $(READY) ## Formats, and repairs what the linter can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

chaos: $(READY) ## Breaks everything while calls flow, then counts what was lost
	@$(BIN)/python -m tests.chaos

upgrade-test: $(READY) ## Each migration with 1,000,000 calls, webhooks flowing, the code before it running
	@$(BIN)/python -m tests.upgrade $(UPGRADE)

bench: $(READY) ## aftercall beside what people would use instead; BENCH="a b --quick" chooses
	@$(BIN)/python -m bench $(BENCH)

ratio: $(READY) ## Fails when aftercall is not at least 2.5 times as fast as the plain recipe
	@$(BIN)/python -m bench.ratio

screenshots: $(READY) ## Pictures of the console's pages, made anew in docs/screenshots
	@$(BIN)/python -m tests.browser.screenshots

docs: $(DOCS)/.ready ## The pages as a site, in site/, with every link checked
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict
	@$(DOCS)/bin/python -m tools.check_site site

reference: $(READY) ## Writes the reference pages anew, from the code
	@$(BIN)/python -m tools.reference

release: $(READY) ## Wheel, sdist, bill of materials and checksums, in dist/
	@$(BIN)/python -m tools.release

lock: $(READY) ## Pins the newest versions that pyproject.toml allows
	@$(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --no-header --quiet --upgrade -o requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --group dev --extra embedded --extra traces --universal --generate-hashes --no-emit-index-url --no-header --quiet --upgrade -c requirements.lock -o requirements-dev.lock
	@$(BIN)/uv pip compile --group pyproject.toml:docs --universal --generate-hashes --no-emit-index-url --no-header --quiet --upgrade -o requirements-docs.lock

clean: ## Removes the environment and the caches, not the data
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
