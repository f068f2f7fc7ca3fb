# Everything a fresh machine needs: `make quickstart`, `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help quickstart test lint format

help: ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Made again whenever the project's dependencies change.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

quickstart: $(VENV)/installed ## Install, then run and report Re-KD, De-KD and Tf-KD on embedded data
	$(BIN)/python -m kdlsr.reproduce table=quickstart

test: $(VENV)/installed ## Install, then run the test suite
	$(BIN)/python -m pytest --numprocesses auto

lint: $(VENV)/installed ## Check style (ruff) and types (mypy, strict)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed ## Let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
