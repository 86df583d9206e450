# The two commands of the README, `make demo` and `make test`, and what they are made of.
# On a machine with Python and make, each installs what it needs into .venv, and system packages with apt where it may.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
RUNS ?= 1000000
SUITE ?= bookworm trixie
PYTHONS ?= 3.13 3.14 3.15

# The tests that run on every machine, by their marks: tests/needs.py.
ANYWHERE := not program and not perl

# Where Python is told to write no bytecode, more than half of what comes before the first test is compiling the tests anew.
KEEP_BYTECODE := PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(CURDIR)/build/bytecode

# Real servers, a real browser and the real Perl, Ruby, PHP and Erlang: the tests start and drive them.
TEST_PACKAGES := chromium redis-server memcached postgresql pgbouncer mariadb-server nodejs \
	libdancer-perl libdancer-session-cookie-perl libdancer-session-memcached-perl libdancer2-perl \
	libsession-storage-secure-perl libmojolicious-perl libplack-perl libplack-middleware-session-perl \
	libcrypt-cbc-perl libcrypt-rijndael-perl libstring-crc32-perl libcryptx-perl \
	libsereal-encoder-perl libsereal-decoder-perl libyaml-perl libyaml-libyaml-perl libjson-perl \
	libhttp-server-simple-psgi-perl libtime-duration-parse-perl \
	ruby-actionpack ruby-webrick php-cli php-illuminate-encryption php-illuminate-cookie php-illuminate-session \
	php-illuminate-cache php-illuminate-redis php-illuminate-database php-redis php-sqlite3 erlang-base \
	golang-go golang-github-gorilla-securecookie-dev cargo librust-cookie-dev

# What counts instructions: without it, that part of the benchmark says so and is left out.
BENCH_PACKAGES := valgrind

# What stands before a site or runs it, for `make soak` alone: without them their rows say so.
SOAK_PACKAGES := nginx apache2-bin libapache2-mod-wsgi-py3

.DEFAULT_GOAL := help
.PHONY: help demo test docs dbsc-browser dbsc-quota quick lint types coverage bare pythons oldest wheel test-wheel bench soak fuzz fuzz-readers screenshot dashboard suites lock format system node speedups clean

help:  ## Show what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# --- what users run

demo: $(VENV)/.demo  ## Start the demo shop, and print its address
	$(BIN)/hardtack demo --port $(PORT)

test: system node speedups dbsc-browser lint types coverage  ## Lint, types, all tests, branch coverage

quick: $(VENV)/.dev lint  ## In a minute: lint, types by mypy, the tests that need no server, browser or Perl
	$(BIN)/mypy
	$(KEEP_BYTECODE) $(BIN)/python -m pytest -q -n 2 --dist worksteal --ignore-glob='*_suite' -m "$(ANYWHERE) and not slow" $(ARGS)

# --- its parts

dbsc-browser: $(VENV)/.dev system  ## A Chromium that binds sessions to the device, into build/ (Debian 12; elsewhere its tests are skipped)
	-@$(BIN)/python tools/chromium_dbsc.py

dbsc-quota: dbsc-browser  ## What a browser does that has used up its proofs: some minutes
	HARDTACK_DBSC_QUOTA=1 $(BIN)/python -m pytest -q tests/binding/test_browser.py -k quota

lint: $(VENV)/.dev  ## Style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## Strict types, by two checkers
	$(BIN)/mypy
	$(BIN)/pyright

coverage: $(VENV)/.dev  ## All tests, and the branches of src/ that none of them took
	rm -rf .coverage .coverage.* build/last-run
	$(BIN)/coverage run -m pytest -o cache_dir=build/last-run $(ARGS) || $(BIN)/python tools/unsteady.py build/last-run $$?
	$(BIN)/coverage combine -q
	$(BIN)/coverage report $(if $(ARGS),,--fail-under=99)

# --- other machines, other Pythons, other versions (ARGS goes to pytest; the roots of Debian stay in build/roots)

bare:  ## `make demo` and `make test` as a newcomer has them, in a bare Debian: SUITE="bookworm trixie"
	@for suite in $(SUITE); do sh tools/bare.sh $$suite $(ARGS) || exit; done

pythons:  ## The tests that need no server on other Pythons, each in a Debian that has it: PYTHONS="3.13 3.14 3.15"
	@sh tools/pythons.sh "$(PYTHONS)" $(ARGS)

oldest:  ## The tests that need no server with the lowest versions that pyproject.toml allows
	$(PYTHON) tools/oldest.py $(ARGS)

wheel: $(BIN)/python  ## Build the wheel into dist/
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

test-wheel:  ## The tests that need no server on the wheel in dist/, not on the tree
	$(PYTHON) tools/test_wheel.py $(ARGS)

format: $(VENV)/.dev  ## Put the sources into the format that lint asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

suites: $(BIN)/python  ## The test suites of eleven libraries on hardtack's sessions; writes docs/compatibility.md (half an hour; ARGS: names)
	$(BIN)/python tools/suites $(ARGS)

lock: $(BIN)/python  ## Write requirements-dev.txt: the versions of the development environment, with hashes
	$(BIN)/python tools/lock.py

bench: system speedups $(VENV)/.bench  ## Measure against the floor and the peers; writes benchmarks/results.md
	@sh tools/apt-install.sh --optional $(BENCH_PACKAGES)
	$(BIN)/python -m benchmarks

soak: system $(VENV)/.soak  ## Ten minutes under load while servers fail; writes the table of docs/operations.md
	@sh tools/apt-install.sh --optional $(SOAK_PACKAGES)
	$(BIN)/python -m benchmarks.soak

fuzz: $(VENV)/.fuzz  ## Throw RUNS (a million) inputs at what reads from the network
	$(BIN)/python fuzz/cookie_header.py -runs=$(RUNS) -max_len=6000
	$(BIN)/python fuzz/perl_documents.py --runs $(RUNS)
	$(BIN)/python fuzz/web_cookies.py --runs $(RUNS)
	$(BIN)/python fuzz/binding.py --runs $(RUNS)

fuzz-readers: $(VENV)/.fuzz  ## Throw RUNS (a million) inputs at each reader of other languages' cookies by itself: hours
	for reader in $$($(BIN)/python fuzz/web_cookies.py --list); do \
		echo "$$reader:" && $(BIN)/python fuzz/web_cookies.py --reader $$reader --runs $(RUNS) || exit 1; done

screenshot: system $(VENV)/.dev  ## Take the README's picture again
	$(BIN)/python docs/images/make_screenshot.py

dashboard: system $(VENV)/.dev build/dashboard/.ready  ## Draw the picture of the dashboard again, over a real site's metrics
	$(BIN)/python docs/images/make_dashboard.py

docs: build/docs/.ready  ## The documentation site, into build/site: every link checked, with an API reference
	NO_MKDOCS_2_WARNING=1 build/docs/bin/mkdocs build --quiet
	@echo "build/site/index.html"

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

# OpenTelemetry's exporter for Prometheus, for make_dashboard.py alone; what it needs is in .venv.
build/dashboard/.ready: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target build/dashboard opentelemetry-exporter-prometheus prometheus-client
	@touch $@

# An environment of its own: what makes the site is nothing that the tests should need.
build/docs/.ready: $(BIN)/python pyproject.toml
	$(BIN)/python -m venv build/docs
	build/docs/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	build/docs/bin/python -m pip install --quiet --group docs
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --group bench
	@touch $@

$(VENV)/.soak: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --group soak
	@touch $@

$(VENV)/.fuzz: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --group fuzz
	@touch $@

# Without the npm registry, the tests against the libraries of Node.js are skipped by name (and fail under CI).
node: $(VENV)/.dev
	@$(BIN)/python tools/node_libraries.py

# Without a C compiler, the test of what is compiled is skipped by name.
speedups: $(VENV)/.speedups

$(VENV)/.speedups: $(VENV)/.dev speedups/setup.py src/hardtack/foreign/perl/reader.py src/hardtack/foreign/perl/snappy.py src/hardtack/foreign/perl/sereal.py src/hardtack/foreign/php_reader.py
	@$(BIN)/python tools/speedups.py
	@touch $@

# Without the rights to install, the tests that need a missing package are skipped by name (and fail under CI).
system:
	@sh tools/apt-install.sh --optional $(TEST_PACKAGES)
