# Needs git, make and Python 3.11 to 3.13 with venv; everything else is installed into .venv.
#
#   make demo      a simulated market, embedded servers and the real daemon   (DURATION=120 ends it after 120 s)
#   make test      lint, types and every test
#   make run       the daemon against the real exchanges
#   make soak      faults of every kind, then an audit   (MINUTES=10 SEED=7)
#   make check-systemd   install, kill, upgrade and remove the service under a real systemd, as root
#   make bench     every figure beside its bare limit, about half an hour on an idle machine
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

.PHONY: help install test format lint types fault soak check-systemd bench demo run lock clean

help:
	@sed -n '/^#   make/s/^# *//p' $(firstword $(MAKEFILE_LIST))

install: $(VENV)/installed

$(VENV)/installed: requirements.txt pyproject.toml $(addsuffix /pyproject.toml,$(PACKAGES)) $(BIN)/pip
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation $(addprefix -e ./,$(PACKAGES)) -e .
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c '$(SUITABLE)' 2>/dev/null || { \
	  echo 'Python 3.11, 3.12 or 3.13 with venv is needed, and $(PYTHON) is not that: install it (Debian: python3-venv),'; \
	  echo 'or name one with make PYTHON=/path/to/python3.12'; exit 1; } >&2
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@touch $@

test: lint types
	$(BIN)/python -m pytest -n 4 --dist worksteal

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy $(SOURCES)

fault: install
	$(BIN)/python -m pytest -n 4 --dist worksteal tests/fault

soak: install
	$(BIN)/python tests/soak/soaking.py --minutes $(or $(MINUTES),10) --seed $(or $(SEED),7)

# Not part of `test`: it boots a Debian, and needs root, debootstrap and systemd-nspawn.
check-systemd: install
	$(BIN)/python tests/systemd/checking.py

bench: install
	@set -e; for program in $(sort $(wildcard benchmarks/bench_*.py)); do echo "== $$program"; $(BIN)/python "$$program"; done

demo: install
	@$(FOREGROUND) $(BIN)/fullon-ohlcv --env-file /dev/null $(DATA_DIR) demo; exit $$?

run: install
	@$(FOREGROUND) $(BIN)/fullon-ohlcv run; exit $$?

# Needs Poetry; what it resolved goes into requirements.txt for everybody else.
lock:
	poetry lock
	$(MAKE) requirements.txt

requirements.txt: poetry.lock .ci/export_requirements.py
	$(PYTHON) .ci/export_requirements.py > $@

clean:
	rm -rf $(VENV) .demo dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
