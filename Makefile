# Everything runs in this checkout's own .venv; nothing else is assumed but Python 3.10-3.13 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart references test lint bench clean

# Each stamp is newer than what it was made from, so nothing is installed twice.
$(VENV)/.made:
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 13) else f"evalkit needs Python 3.10 to 3.13, this is {v[0]}.{v[1]}: try make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.core: $(VENV)/.made pyproject.toml
	@echo "Installing evalkit and what it needs (the first time takes a few minutes) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[site]'
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "Installing the tools of the tests ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

quickstart: $(VENV)/.core
	$(BIN)/python docs/examples/quickstart.py --output quickstart-results

# Trains the networks of leaderboards/references again, and measures them.
references: $(VENV)/.core
	$(BIN)/python benchmarks/references.py --jobs 2

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/peers.py

clean:
	rm -rf $(VENV) build dist *.egg-info quickstart-results .mypy_cache .pytest_cache .ruff_cache .hypothesis
