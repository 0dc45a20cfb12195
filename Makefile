# keypool's doors. `make` alone lists them.
#
# A machine needs Python 3.11 or newer and make; everything else comes into .venv.

PYTHON ?= python3
BIN    := .venv/bin
READY  := .venv/.ready
SPARK  := .venv/.spark

# Where it is set (in images, mostly), every process that starts compiles keypool anew.
export PYTHONDONTWRITEBYTECODE :=

KEYS        ?= 10000
REDEMPTIONS ?= 2000
TESTS       ?= tests
SCALE       ?= 1
EXAMPLES    ?= 200

# uv reads none of pip's settings: hand it the index and the certificates that
# pip uses on this machine, unless uv has settings of its own. Never echoed: an
# index address may carry a password.
from_pip = $(addprefix $(1)=,$(shell $(BIN)/pip config list | sed -n "s/.*[.]$(2)=//p" | head -n 1))
uv = UV_SYSTEM_CERTS=true \
     $(if $(UV_DEFAULT_INDEX)$(UV_INDEX_URL),,$(call from_pip,UV_DEFAULT_INDEX,index-url)) \
     $(if $(SSL_CERT_FILE),,$(call from_pip,SSL_CERT_FILE,cert)) \
     $(BIN)/uv --quiet pip

# The lines of the lock that pin a package, as sed names them.
pins = /^$(1)==/,/^ *\#/

.DEFAULT_GOAL := help
.PHONY: help setup demo up test faults hosts fuzz bench scale screenshots languages sure lock notebooks clean

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

setup: $(READY) ## make .venv from requirements.lock; does nothing when it is as it should be

demo: $(READY) ## the main job from end to end on a scratch system (KEYS=, REDEMPTIONS=)
	$(BIN)/keypool demo --keys $(KEYS) --redemptions $(REDEMPTIONS)

up: $(READY) ## run everything on this machine and keep its data; Ctrl-C stops it
	$(BIN)/keypool up

test: $(READY) ## run the tests on servers of their own (TESTS=tests/worker, POOLER=transaction)
	$(BIN)/pytest -n logical --dist loadfile --no-loadscope-reorder $(TESTS)

faults: $(READY) ## the storms at full length; all mixed for HOURS=2 (FAULTS_SEED=)
	$(if $(HOURS),$(BIN)/python -m tests.faults --hours $(HOURS) $(if $(FAULTS_SEED),--seed $(FAULTS_SEED)),FAULTS=full $(BIN)/pytest -s --timeout=7200 tests/faults)

hosts: $(READY) ## keypool on hosts of their own, whose lines are cut and slowed (CUT=Redis for some, SHORT=1)
	$(BIN)/python -m tests.hosts $(if $(SHORT),--short) $(if $(CUT),'$(CUT)')
	$(if $(CUT),,$(BIN)/python -m tests.hosts --replicated $(if $(SHORT),--short))

fuzz: $(READY) ## the API asked at random, as its own document describes it (EXAMPLES=200 a route)
	FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/pytest --timeout=0 tests/webhook/test_fuzz.py

bench: $(READY) ## speed and memory against the limit and a peer, in one run (SCALE=0.1)
	$(BIN)/python -m benchmarks --scale $(SCALE)

scale: $(SPARK) ## the lake's questions on Spark, a cluster of two workers, too; needs Java 17 (REDEMPTIONS=)
	$(BIN)/python -m tests.scale --redemptions $(REDEMPTIONS)

screenshots: $(READY) ## every page of the console, wide, narrow, light and dark, into docs/images (PAGES="home pool")
	$(BIN)/python -m tests.webhook.console.screenshots $(PAGES)

languages: $(READY) ## bring the catalogues up to the messages of the code (ADD=it begins another language)
	$(BIN)/python -m worker.languages.upkeep $(ADD)

sure: $(READY) ## every check that runs in seconds: the gate before a commit
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest --quiet tests/test_house.py

lock: $(READY) ## resolve pyproject.toml into requirements.lock anew, and list what it pins in sbom.json
	@$(uv) compile --upgrade --universal --generate-hashes --python-version 3.11 --all-extras \
	  --no-header --output-file requirements.lock pyproject.toml > /dev/null
	@$(BIN)/python -m tests.sbom

notebooks: $(READY) ## open the notebooks in JupyterLab, on the system that `make up` runs or its data
	$(BIN)/keypool reports lab

clean: ## remove .venv and what the checks left behind; data under .keypool stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Bytecode is made here, once: where Python may not write it, each start would make it anew.
$(READY): $(BIN)/uv requirements.lock pyproject.toml
	@echo 'Installing into .venv what requirements.lock pins'
	@sed '$(call pins,pyspark)d; $(call pins,py4j)d' requirements.lock > .venv/all-but-spark.txt
	@$(uv) sync --python $(BIN)/python --compile-bytecode --require-hashes .venv/all-but-spark.txt
	@$(uv) install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q worker webhook
	@touch $@

# Spark is 450 MB, and nothing else needs it.
$(SPARK): $(READY)
	@$(BIN)/python -m tests.scale --java
	@echo 'Installing Spark'
	@sed -n '$(call pins,pyspark)p; $(call pins,py4j)p' requirements.lock > .venv/spark.txt
	@$(uv) install --python $(BIN)/python --require-hashes --requirement .venv/spark.txt
	@touch $@

# The lock pins uv too; pip installs that one line of it and no more.
$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "keypool needs Python 3.11 or newer; name one, as in 'make setup PYTHON=python3.13'." >&2; exit 1; }
	@echo 'Making .venv'
	@$(PYTHON) -m venv .venv
	@sed -n '$(call pins,uv)p' requirements.lock > .venv/uv.txt
	@$(BIN)/pip --disable-pip-version-check install --quiet --require-hashes --requirement .venv/uv.txt
