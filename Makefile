# One command is the truth: `make check`. CI and newcomers call the same targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two workers: the suites start whole mail systems, and two cores is what CI has.
PYTEST_WORKERS ?= 2
TEST_PATHS ?= tests
CODE := src tests bench fuzz torture
# Of fuzzing, in total.
MINUTES ?= 10

.PHONY: help install run test check format lint types contracts docs bench fuzz torture security clean test-tools

help:
	@echo "make run      the whole system on loopback ports, with a demo domain and two accounts"
	@echo "make test     all tests (as root also installs the foreign programs they need)"
	@echo "make check    format, lint, types, contracts, tests"
	@echo "make install  only the virtual environment, with every command in $(BIN)"
	@echo "make docs     the generated pages;  make bench  beside Debian's Postfix"
	@echo "make torture  the whole system under faults; nothing may be lost (ROUNDS=40 SEED=n)"
	@echo "make security what an intruder in each process, and attackers outside, try; one report"
	@echo "make fuzz     every parser with coverage-guided fuzzing (MINUTES=10 in total)"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml scripts/make-venv
	@PYTHON="$(PYTHON)" sh scripts/make-venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
# Compiled now: a command run by another user, or with PYTHONDONTWRITEBYTECODE, would compile at every start.
	@$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/.test-tools: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

$(VENV)/.fuzz-tools: $(VENV)/.test-tools
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	@touch $@

test-tools: $(VENV)/.test-tools
	@sh scripts/install-debian-packages tests/debian-packages.txt
	@sh scripts/unpack-debian-packages tests/debian-packages-unpacked.txt .foreign

run: install
	@$(BIN)/posthouse run

test: test-tools
	$(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadfile $(TEST_PATHS)

check: test-tools format lint types contracts
	$(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadfile $(TEST_PATHS)

format: $(VENV)/.test-tools
	$(BIN)/ruff format --check $(CODE)

lint: $(VENV)/.test-tools
	$(BIN)/ruff check $(CODE)

types: $(VENV)/.test-tools
	$(BIN)/mypy

contracts: $(VENV)/.test-tools
	$(BIN)/lint-imports

docs: install
	$(BIN)/python -m posthouse.config.documentation docs

torture: test-tools
	$(BIN)/python -m torture --rounds $(or $(ROUNDS),40) --seed $(or $(SEED),0)

security: test-tools
	$(BIN)/pytest -q -n $(PYTEST_WORKERS) --dist loadfile -p tests.security.report tests/security tests/attacks

bench: test-tools
	$(BIN)/python -m bench $(BENCH_OPTIONS)

fuzz: $(VENV)/.fuzz-tools
	@$(BIN)/python -m fuzz --minutes $(MINUTES) $(FUZZ_OPTIONS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .fuzz .foreign build
