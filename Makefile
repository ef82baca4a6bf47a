# Two commands matter: `make demo` and `make test`. Both set up what they need, in .venv and nowhere else,
# except Debian packages, which are installed when this runs as root and named otherwise.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export PATH := $(PATH):/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
# Processes that run the tests. A third of the time a test waits, so one more than there are cores keeps those busy.
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))

.PHONY: help setup demo test lint types bench picture screenshots lock programs clean
help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  make \1\t/' | expand -t 18

$(VENV)/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || ./tools/debian-packages python3-venv
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what requirements.lock names into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(VENV)/.installed  ## a virtual environment with the locked dependencies

demo: setup  ## the whole procedure between two lab clusters: phones strand, then move
	@$(BIN)/trustbridge demo $(DEMO)

programs:
	@./tools/debian-packages openssl curl openssh-client openssh-server tftp-hpa \
		kea-dhcp4-server kea-admin kea-ctrl-agent dnsmasq-base isc-dhcp-server sip-tester postgresql chromium

test: setup programs lint types  ## style, types and every test
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST)

lint: setup
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .

types: setup
	@$(BIN)/mypy

bench: setup  ## speed, as ratios against peers and limits
	@$(BIN)/python -m bench

picture: setup  ## draw docs/demo.svg from a real run
	@$(BIN)/python tools/demo-picture

screenshots: setup  ## draw docs/console: each page, and the procedure as it is walked
	@./tools/debian-packages chromium ffmpeg
	@$(BIN)/python tools/console-pictures

lock:  ## renew requirements.lock (needs uv)
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --group dev pyproject.toml -o requirements.lock --upgrade \
		--custom-compile-command "make lock"

clean:  ## remove the virtual environment and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build src/*.egg-info
