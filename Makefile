# Needs git, make and Python 3.11 to 3.13 with venv; everything else is installed into .venv.
#
#   make demo        a simulated market, embedded servers and the real daemon   (DURATION=120 ends it after 120 s)
#   make test        lint, types and every test
#   make run         the daemon against the real exchanges
#   make wheels      a wheel of the whole and of each package, in dist
#   make test-dates  what touches time, on ten other dates   (DATES="2028-02-29T23:58" ARGS=tests/unit)
#   make soak        faults of every kind, then an audit   (MINUTES=10 SEED=7)
#   make check-systemd  install, kill, upgrade and remove the service under a real systemd, as root
#   make bench       every figure beside its bare limit, about half an hour on an idle machine
#   make lock        after a change of dependencies: poetry.lock and the requirements made from it; needs Poetry
#
# PYTHON=/path/to/python3.12 chooses the interpreter .venv is made with.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.SUFFIXES:

VENV := .venv
BIN := $(VENV)/bin
PACKAGES := $(sort $(patsubst %/pyproject.toml,%,$(wildcard packages/*/pyproject.toml)))
SOURCES := src $(addsuffix /src,$(PACKAGES))
SUITABLE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))

# The first interpreter that is new enough and can make an environment.
ifeq ($(origin PYTHON),undefined)
PYTHON := $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,\
            $(shell $(name) -c '$(SUITABLE)' >/dev/null 2>&1 && echo $(name))) python3)
endif

# With a terminal, the program gets a process group of its own (`set -m`), so that Ctrl-C ends it and not make:
# the exit code is the program's.
FOREGROUND := if [ -t 0 ]; then set -m; fi;

# The demo is nobody's daemon: no .env, and servers of its own.
DATA_DIR := $(if $(FULLON_DATA_DIR),--data-dir "$(FULLON_DATA_DIR)")

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where it is set, each of the many processes that the tests start compiles every module again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install develop test test-dates format lint types fault soak check-systemd bench demo run wheels lock clean

help:
	@sed -n '/^#   make/s/^# *//p' $(firstword $(MAKEFILE_LIST))

# What the demo and the daemon need, and what working on the code needs besides.
install: $(VENV)/installed
develop: $(VENV)/developed

$(VENV)/installed: requirements.txt pyproject.toml .ci/install $(BIN)/pip
	@.ci/install $(VENV) requirements.txt
	@touch $@

$(VENV)/developed: requirements.txt requirements-dev.txt pyproject.toml .ci/install $(BIN)/pip
	@.ci/install $(VENV) requirements.txt requirements-dev.txt
	@touch $(VENV)/installed $@

$(BIN)/pip:
	@$(PYTHON) -c '$(SUITABLE)' 2>/dev/null || { \
	  echo 'Python 3.11, 3.12 or 3.13 with venv is needed, and $(PYTHON) is not that: install it (Debian: python3-venv),'; \
	  echo 'or name one with make PYTHON=/path/to/python3.12'; exit 1; } >&2
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@touch $@

test: lint types
	$(BIN)/python -m pytest -n 4 --dist worksteal

format: develop
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: develop
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: develop
	$(BIN)/mypy $(SOURCES)

test-dates: develop
	$(BIN)/python tests/dates/run.py $(foreach date,$(DATES),--date $(date)) $(ARGS)

fault: develop
	$(BIN)/python -m pytest -n 4 --dist worksteal tests/fault

soak: develop
	$(BIN)/python tests/soak/soaking.py --minutes $(or $(MINUTES),10) --seed $(or $(SEED),7)

# Not part of `test`: it boots a Debian, and needs root, debootstrap and systemd-nspawn.
check-systemd: develop
	$(BIN)/python tests/systemd/checking.py

bench: develop
	@set -e; for program in $(sort $(wildcard benchmarks/bench_*.py)); do echo "== $$program"; $(BIN)/python "$$program"; done

demo: install
	@$(FOREGROUND) $(BIN)/fullon-ohlcv --env-file /dev/null $(DATA_DIR) demo; exit $$?

run: install
	@$(FOREGROUND) $(BIN)/fullon-ohlcv run; exit $$?

wheels: develop
	$(BIN)/python .ci/build_wheels.py dist

# What Poetry resolved goes into the requirements for everybody else.
lock:
	poetry lock
	$(MAKE) requirements.txt requirements-dev.txt

requirements.txt: poetry.lock .ci/export_requirements.py
	$(PYTHON) .ci/export_requirements.py run > $@

requirements-dev.txt: poetry.lock .ci/export_requirements.py
	$(PYTHON) .ci/export_requirements.py dev > $@

clean:
	rm -rf $(VENV) .demo dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
