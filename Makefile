# Every target makes the virtual environment it needs; nothing else has to be installed first.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= straybit-out
BACKEND ?= process
SEEDS ?= 20
PYTEST_ARGS ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(VENV)/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "straybit needs Python 3.11 or newer, and none was found: install one, or say make PYTHON=/path/to/python3" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $@

.PHONY: demo test unit check bench verdicts clean
demo: $(VENV)/.ready ## both events of 2008, undefended then defended, and the report
	$(BIN)/straybit demo --backend $(BACKEND)

test: $(VENV)/.ready ## every test, those that need the machine for themselves last
	$(BIN)/pytest -n 2 -m 'not alone' $(PYTEST_ARGS)
	$(BIN)/pytest -m alone $(PYTEST_ARGS)

unit: $(VENV)/.ready ## the tests that need no cluster
	$(BIN)/pytest -n 2 tests/unit $(PYTEST_ARGS)

check: $(VENV)/.ready ## ruff, mypy strict, import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/unit/test_arrows.py

bench: $(VENV)/.ready ## start of the cluster and one trial, measured here and now
	$(BIN)/python benchmarks/trial.py

verdicts: $(VENV)/.ready ## each scenario, undefended and defended, SEEDS seeds: do all verdicts hold?
	$(BIN)/python benchmarks/verdicts.py --seeds $(SEEDS) --backend $(BACKEND) --out $(OUT)/verdicts

.PHONY: wheels
wheels: $(VENV)/.ready ## straybit and all it needs as wheels, for the container image
	rm -rf build/wheels
	$(BIN)/pip wheel --quiet --disable-pip-version-check -c constraints.txt -w build/wheels .

clean: ## removes what the targets made
	rm -rf $(VENV) $(OUT) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
