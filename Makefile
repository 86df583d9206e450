# The two commands of the README, `make demo` and `make test`, and what they are made of.
# On a machine with Python and make, each installs what it needs into .venv, and system packages with apt where it may.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
RUNS ?= 1000000

# Real servers, a real browser and the real Perl modules: the tests start and drive them.
TEST_PACKAGES := chromium redis-server memcached postgresql pgbouncer mariadb-server nodejs \
	libdancer-perl libdancer-session-cookie-perl libdancer-session-memcached-perl libdancer2-perl \
	libsession-storage-secure-perl libmojolicious-perl libplack-perl libplack-middleware-session-perl \
	libcrypt-cbc-perl libcrypt-rijndael-perl libstring-crc32-perl libcryptx-perl \
	libsereal-encoder-perl libsereal-decoder-perl libyaml-perl libjson-perl

.DEFAULT_GOAL := help
.PHONY: help demo test lint types coverage bench fuzz screenshot format system clean

help:  ## Show what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# --- what users run

demo: $(VENV)/.demo  ## Start the demo shop, and print its address
	$(BIN)/hardtack demo --port $(PORT)

test: system $(VENV)/.dev lint types coverage  ## Lint, types, all tests, branch coverage

# --- its parts

lint: $(VENV)/.dev  ## Style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## Strict types, by two checkers
	$(BIN)/mypy
	$(BIN)/pyright


coverage: $(VENV)/.dev  ## All tests, and the branches of src/ that none of them took
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=100

format: $(VENV)/.dev  ## Put the sources into the format that lint asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: system $(VENV)/.bench  ## Measure against the floor and the peers; writes benchmarks/results.md
	$(BIN)/python -m benchmarks

fuzz: $(VENV)/.fuzz  ## Throw RUNS (a million) inputs at what reads from the network
	$(BIN)/python fuzz/cookie_header.py -runs=$(RUNS) -max_len=6000
	$(BIN)/python fuzz/perl_documents.py --runs $(RUNS)

screenshot: system $(VENV)/.dev  ## Take the README's picture again
	$(BIN)/python docs/images/make_screenshot.py

clean:  ## Remove what was built
	rm -rf $(VENV) .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

# --- what they need

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "hardtack needs Python 3.11 or later; set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || sh tools/apt-install.sh python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --group dev --editable .
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --group bench
	@touch $@

$(VENV)/.fuzz: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --group fuzz
	@touch $@

# Without the rights to install, the tests that need a missing package are skipped by name (and fail under CI).
system:
	@sh tools/apt-install.sh --optional $(TEST_PACKAGES)
