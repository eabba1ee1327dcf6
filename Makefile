# The commands of a working copy. Each makes the virtual environment .venv when there is none, or its lock changed.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# What to run needs, and what to test and check needs besides.
RUN := $(VENV)/.installed-to-run
DEV := $(VENV)/.installed-to-develop
# What makes a client of the API for a test. It is apart, as it needs an older typer than the router has.
CLIENT := $(VENV)/client/.installed

PIP      := $(BIN)/python -m pip --quiet --disable-pip-version-check install
LOCK     := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --annotation-style line
PYTEST   := $(BIN)/python -m pytest
# Twice the processors: most of what a test does is wait. The folders come in order, and those with the longest tests
# come first; few at a time, so that no process is left with many at the end.
PARALLEL := --numprocesses $(shell expr 2 \* $$(nproc)) --dist load --maxschedchunk 1

.DEFAULT_GOAL := help
.PHONY: help run test long check bench pictures fuzz chaos kills fmt lock vendor clean

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

run: $(RUN) ## show it at work: a sample CRM, sample mail, a relay that keeps what it gets
	@exec $(BIN)/email-router demo

# Set where ARGS names tests of tests/unit alone. Those need no mail servers; the two that need promtool are skipped
# where it is missing.
UNIT := $(and $(filter tests/unit%,$(ARGS)),$(if $(filter-out tests/unit%,$(filter tests/%,$(ARGS))),,alone))

test: $(DEV) $(if $(UNIT),,$(CLIENT)) ## run the tests; installs Dovecot, Cyrus and Postfix from Debian's packages where they are missing
	@$(if $(UNIT),,tests/install-servers)
	$(if $(UNIT),TESTS_WITHOUT_SERVERS=1) $(PYTEST) $(PARALLEL) --durations 30 $(ARGS)

long: $(DEV) ## run the few tests that take long, which test leaves out
	@tests/install-servers
	$(PYTEST) $(PARALLEL) -m long $(ARGS)

check: $(DEV) ## look at format, rules, types, imports, locks, and what the wheel carries
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -q $(PARALLEL) tests/project

bench: $(DEV) ## measure messages a second, in and out, and what the console takes
	@$(BIN)/python -m tests.benchmarks $(ARGS)
	@$(BIN)/python -m tests.benchmarks.console

pictures: $(DEV) ## take the pictures of the console in docs/pictures anew
	@$(BIN)/python -m tests.pictures

fuzz: $(DEV) ## mutate messages for a minute and read them, guided by coverage; ARGS='--seconds 3600' for an hour
	@$(BIN)/python -m tests.fuzz $(ARGS)

chaos: $(DEV) ## let everything go wrong at once, for MINUTES=10; SEED=… to do the same again
	@tests/install-servers
	@$(BIN)/python -m tests.chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

kills: $(DEV) ## send 10,000 emails through Postfix and Exim, by two routers that are killed twenty times
	@tests/install-servers
	KILLED_EMAILS=10000 $(PYTEST) --numprocesses 0 tests/integration/test_killed_out.py $(ARGS)

fmt: $(DEV) ## format, and mend what can be mended by itself
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lock: $(DEV) ## renew the locks from pyproject.toml; ARGS=--upgrade takes newer versions
	$(LOCK) $(ARGS) pyproject.toml -o requirements.lock
	$(LOCK) $(ARGS) --group build -c requirements.lock -o requirements-build.lock
	$(LOCK) $(ARGS) --group dev pyproject.toml -c requirements.lock -c requirements-build.lock -o requirements-dev.lock
	$(LOCK) $(ARGS) --group client -o requirements-client.lock

# Version and SHA-256 of htmx. It is copied into the repository, so that neither building nor running needs npm.
HTMX := 2.0.11 d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717

vendor: ## renew htmx in the console from npm
	@work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && \
		npm pack --silent --pack-destination "$$work" htmx.org@$(firstword $(HTMX)) >/dev/null && \
		tar -xzf "$$work/htmx.org-$(firstword $(HTMX)).tgz" -C "$$work" package/dist/htmx.min.js && \
		echo "$(lastword $(HTMX))  $$work/package/dist/htmx.min.js" | sha256sum --check --quiet && \
		install -m 644 "$$work/package/dist/htmx.min.js" router/web/console/static/

clean: ## remove the virtual environment and what the tools keep
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .fuzz .benchmarks

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is not Python 3.11 or newer: install one, or name it: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "make: $(PYTHON) lacks the module venv (Debian: apt install python3-venv)" >&2; exit 1; }
	@echo "making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(RUN): requirements.lock requirements-build.lock pyproject.toml | $(BIN)/python
	@echo "installing what the router needs into $(VENV)"
	@$(PIP) --require-hashes -r requirements.lock -r requirements-build.lock
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

$(DEV): requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "installing what the router, its tests and checks need into $(VENV)"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $(RUN) $@

$(CLIENT): requirements-client.lock | $(BIN)/python
	@echo "installing what makes a client of the API into $(VENV)/client"
	@$(PYTHON) -m venv --clear $(VENV)/client
	@$(VENV)/client/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes -r requirements-client.lock
	@touch $@
