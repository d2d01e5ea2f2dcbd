# Needs Python 3.11 or newer, make and git; everything else is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
FAST := -m "not (parity or equivalence or fuzz or notebook or ray or slow)"
COMPILED_TESTS := tests/core tests/replica tests/cluster tests/parity tests/equivalence tests/testing tests/test_native.py
MUTANTS := build/mutants
RUN_READY := .venv/.ready-run
DEV_READY := .venv/.ready-dev

export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.PHONY: help run test test-lowest test-compiled mutants compiled lint format check bench docs pictures notebooks clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(RUN_READY)  ## Simulate the quick-start scenario and show the result
	@$(BIN)/blis run quickstart --report summary

test: $(DEV_READY)  ## Run the whole test suite
	$(BIN)/python -m pytest -n auto

test-lowest: .venv-lowest/.ready  ## Run the fast tests with the lowest versions that pyproject.toml declares
	.venv-lowest/bin/python -m pytest -n auto $(FAST)

test-compiled: .venv-compiled/.ready  ## Run the tests of the compiled modules against a compiled installation
	.venv-compiled/bin/python -P -m pytest -n auto -m "not (fuzz or slow)" $(COMPILED_TESTS)

mutants: $(DEV_READY) .venv-mutants/.ready  ## Test the tests of replica, KV stores and router with a sample of mutants
	rm -rf $(MUTANTS) && mkdir -p $(MUTANTS)
	git ls-files -z | tar -c --null -T - | tar -x -C $(MUTANTS)
	cd $(MUTANTS) && PATH=$(CURDIR)/.venv-mutants/bin:$$PATH && export PATH && \
		cosmic-ray init tests/mutation/cosmic-ray.toml session.sqlite && \
		python tests/mutation/sample.py session.sqlite && \
		cosmic-ray exec tests/mutation/cosmic-ray.toml session.sqlite && \
		python tests/mutation/score.py session.sqlite

compiled: $(DEV_READY)  ## Build a wheel with compiled modules for this Python and platform into dist/
	BLIS_SIMPY_COMPILE=1 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

lint: $(DEV_READY)  ## Check style, types, import contracts and the documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --strict --quiet

format: $(DEV_READY)  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --quiet .

check: format lint  ## Format, lint and run the fast tests: the loop while you work
	$(BIN)/python -m pytest -n auto $(FAST)

bench: $(DEV_READY)  ## Measure speed and memory; writes results/benchmarks.json
	$(BIN)/python benchmarks/run.py

pictures: $(DEV_READY)  ## Draw the pictures of the documentation again
	$(BIN)/python docs/make_pictures.py

notebooks: $(DEV_READY)  ## Execute the notebooks again and keep their results
	$(BIN)/python notebooks/execute.py

docs: $(DEV_READY)  ## Build the documentation into site/
	$(BIN)/mkdocs build --strict

clean:  ## Remove everything that was installed, built or cached
	rm -rf .venv .venv-lowest .venv-compiled .venv-mutants build dist site results *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -m venv .venv

$(RUN_READY): pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(DEV_READY): pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,docs]"
	@touch $@ $(RUN_READY)

.venv-compiled/.ready: pyproject.toml hatch_build.py $(shell find blis_simpy -name '*.py')
	$(PYTHON) -m venv --clear .venv-compiled
	BLIS_SIMPY_COMPILE=1 .venv-compiled/bin/python -m pip install --quiet --disable-pip-version-check ".[hub,plot,tables,test]"
	.venv-compiled/bin/blis version | grep --quiet compiled
	@touch $@

.venv-mutants/.ready:
	$(PYTHON) -m venv --clear .venv-mutants
	.venv-mutants/bin/python -m pip install --quiet --disable-pip-version-check "cosmic-ray==8.7.0"
	@touch $@

.venv-lowest/.ready: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[hub,plot,tables,test]" --constraint constraints-lowest.txt
	@touch $@
