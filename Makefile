# SPDX-License-Identifier: Apache-2.0
#
# Needs Python (>= 3.10) and make, nothing else. `make demo` is the place to begin.
# Another Python: `make test PYTHON=python3.13 VENV=.venv-3.13`.
#
# What is installed is the built wheel, not an editable checkout: it is what users get, and the
# activation file and the demo application are only in their places there.

PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SHIPPED := $(shell find src examples -type f -not -path '*/__pycache__/*')

.DEFAULT_GOAL := help
.PHONY: help setup demo stack test soak matrix lint format bench bench-startup bench-leaks bench-public bench-review bench-scan grafana check lock lock-check clean

help:
	@echo 'make demo    ten users over real WebSockets: clean, then with every seeded leak'
	@echo 'make stack   the example under audit with Prometheus, Alertmanager and a pager, to play with'
	@echo 'make test    the tests'
	@echo 'make soak    1,000 clients at four workers for two minutes, with a few seeded leaks'
	@echo 'make matrix  the tests on Python 3.10 to 3.13, with the newest and the oldest libraries'
	@echo 'make lint    ruff, mypy'
	@echo 'make check   lint and test'
	@echo 'make bench   the cost of one audited send; make bench-startup: of starting a process'
	@echo 'make bench-leaks   how many seeded leaks it finds, and what it calls one that is none'
	@echo 'make bench-public  how much of three published applications it can judge'
	@echo 'make grafana   the dashboards, rules and data sources under grafana/'
	@echo 'make bench-review  how long a review of 100,000 violations takes, and loading 1,000,000 events'
	@echo 'make bench-scan  how many of a scan'"'"'s first findings would be acted upon, on public code'
	@echo 'make lock    resolve the dependencies anew'

setup: $(VENV)/.installed

# Every dependency, in the versions of uv.lock (`make lock` writes both).
$(VENV)/.dependencies: pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo '$(PYTHON) is older than Python 3.10: make ... PYTHON=python3.11' >&2; exit 2; }
	@echo 'Setting up $(VENV) ...'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --no-deps --requirement requirements.txt
	@touch $@

# The wheel, again whenever something in it has changed.
$(VENV)/.installed: $(VENV)/.dependencies $(SHIPPED) README.md LICENSE
	@rm -rf $(VENV)/wheel
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir $(VENV)/wheel .
	@$(PIP) install --no-deps --force-reinstall $(VENV)/wheel/*.whl
	@$(PIP) check
	@touch $@

demo: setup
	$(BIN)/ws-audit demo
	@echo
	$(BIN)/ws-audit demo --leak all; test $$? -eq 1

# On loopback, until Ctrl-C. STACK=--leak leaks one frame by itself.
stack: setup
	@$(BIN)/python -m examples.stack.local $(STACK)

# Much of a test is waiting for servers: two at once take half the time. One at a time: TESTERS=0
TESTERS ?= auto
test: setup
	$(BIN)/python -m pytest --numprocesses $(TESTERS) --maxprocesses 4 --no-loadscope-reorder

soak: setup
	$(BIN)/python -m tests.soak.rush --seconds 120 --connections 1000 --workers 4

# Every promised Python has to be there. MATRIX='--cells "3.10-*" --missing say' and the like.
matrix: setup
	$(BIN)/python tests/matrix.py $(MATRIX)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup
	$(BIN)/python -m benchmarks.inline

bench-startup: setup
	$(BIN)/python -m benchmarks.startup

# MODE=reviewed (default), canary, none, ..., ablation for all: python -m benchmarks.leaks --help
bench-leaks: setup
	$(BIN)/python -m benchmarks.leaks $(MODE)

# What is committed under grafana/, save for the tests of the rules.
grafana: setup
	$(BIN)/ws-audit grafana grafana --force

# Installs what it measures, from PyPI, into .venv-public.
bench-public: setup
	$(BIN)/python -m benchmarks.public

bench-review: setup
	$(BIN)/python -m benchmarks.review
	$(BIN)/python -m benchmarks.events

bench-scan: setup
	$(BIN)/python -m benchmarks.scan

check: lint test

EXPORT := export --quiet --all-extras --no-emit-project --no-hashes --no-annotate --no-header \
	--format requirements.txt

lock: setup
	$(BIN)/uv lock --upgrade
	$(BIN)/uv $(EXPORT) --output-file requirements.txt

# uv.lock says what pyproject.toml says, and requirements.txt what uv.lock says.
lock-check: setup
	$(BIN)/uv lock --check
	$(BIN)/uv $(EXPORT) --locked | diff requirements.txt -

clean:
	rm -rf .venv* .mypy_cache .pytest_cache .ruff_cache
