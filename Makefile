# Every target sets up .venv by itself; an up-to-date one costs nothing.
.DEFAULT_GOAL := help
.PHONY: help setup demo test ui check lint bench docs clean
SHELL := /bin/sh
BIN := .venv/bin
# Two workers of pytest-xdist; a worker that has nothing left takes tests from the other. PARALLEL= runs one by one.
PARALLEL ?= -n 2 --dist worksteal
export PYTHONWARNINGS ?= ignore::DeprecationWarning

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## Create or refresh .venv (the other targets do this too)
	@cat pyproject.toml constraints.txt deploy/venv.sh | cksum | cmp -s - .venv/installed || sh deploy/venv.sh

demo: setup ## Two small shops through the whole pipeline: rows, points, searches (ARGS="--json" …)
	@$(BIN)/fashion-pipeline demo $(ARGS)

ui: setup ## The Dagster UI on http://127.0.0.1:3000, with the demo's shops
	@$(BIN)/fashion-pipeline dev --demo $(ARGS)

test: setup ## Run the tests (ARGS="-k guard" …; FASHION_TEST_DATABASE_URL names a real PostgreSQL)
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

check: lint ## What to run before each commit: lint, and the tests that are not marked slow
	@$(BIN)/python -m pytest $(PARALLEL) -q -m "not slow" $(ARGS)

lint: setup ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## Run benchmarks/NAME.py (NAME=x ARGS="…")
	@test -n "$(NAME)" || { echo "Name one: make bench NAME=x, with x from:"; ls benchmarks/*.py; exit 2; }
	@test "$(NAME)" != gate || test -d $(BIN)/../lib/python*/site-packages/skimage || $(BIN)/python -m pip --disable-pip-version-check -q install -c constraints.txt -e '.[bench]'
	@$(BIN)/python benchmarks/$(NAME).py $(ARGS)

docs: setup ## The pages of docs/ as a site, in site/
	@test -x $(BIN)/mkdocs || $(BIN)/python -m pip --disable-pip-version-check -q install -c constraints.txt -e '.[docs]'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## Remove .venv, caches, and the demo's files (never .fashion)
	rm -rf .venv .demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
