# keypool's doors. `make` alone lists them.
#
# A machine needs Python 3.11 or newer and make; everything else comes into .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
LOCK   := $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
          --all-extras --no-header pyproject.toml

# uv reads none of pip's settings: hand it the index and the certificates that
# pip uses on this machine, unless uv has settings of its own.
pip_setting = $(shell $(BIN)/pip config list 2>/dev/null | sed -n "s/.*[.]$(1)='\(.*\)'$$/\1/p" | head -n 1)
export UV_SYSTEM_CERTS ?= true
$(READY) lock: export UV_DEFAULT_INDEX ?= $(call pip_setting,index-url)
$(READY) lock: export SSL_CERT_FILE ?= $(call pip_setting,cert)

.DEFAULT_GOAL := help
.PHONY: help setup lock

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(READY) ## make .venv from requirements.lock (again when that changed)

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "keypool needs Python 3.11 or newer: say which, as in 'make setup PYTHON=python3.12'." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@sed -n '/^uv==/,/^ *#/p' requirements.lock > $(VENV)/uv.txt
	$(BIN)/pip --disable-pip-version-check install --quiet --require-hashes --requirement $(VENV)/uv.txt

$(READY): $(BIN)/uv requirements.lock pyproject.toml
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

lock: $(READY) ## resolve pyproject.toml into requirements.lock anew
	$(LOCK) --upgrade --output-file requirements.lock
