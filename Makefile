# Everything here runs in .venv, which is made on first use with the newest Python >= 3.12 and the
# versions of libraries that CI has passed with. CONSTRAINTS= takes the newest ones instead.

VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CONSTRAINTS ?= .ci/constraints.txt
PIP_INSTALL = "$(BIN)/python" -m pip install --quiet --disable-pip-version-check \
	$(if $(CONSTRAINTS),-c $(CONSTRAINTS))
SPELT := README.md CONTRIBUTING.md CHANGELOG.md docs certs/README.md addon tests/*.py Makefile .ci

.DEFAULT_GOAL := help
.PHONY: help lab test test-failed coverage coverage-floors mutants docs test-long fuzz bench bench-short soak sizing lint types format constraints release-check clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	@set -e; python="$(PYTHON)"; [ -n "$$python" ] || python=$$(sh .ci/find-python); \
	echo "Making $(VENV) with $$($$python --version) ($$python): takes one to three minutes"; \
	"$$python" -m venv "$(VENV)"; \
	$(PIP_INSTALL) -e '.[dev]'; \
	touch "$@"

lab: $(INSTALLED) ## the main job on loopback: Exchange, directory, proxy, devices
	@$(BIN)/eas-redirect lab

# What needs no server runs on all cores; servers have fixed ports, and their tests measure time.
test: $(INSTALLED) ## the tests
	@code=0; \
	$(BIN)/python -m pytest -n auto --dist loadfile --benchmark-disable \
		-m 'not integration and not long and not bench' || code=$$?; \
	$(BIN)/python -m pytest -m 'integration and not long and not bench' || code=$$?; \
	exit $$code

coverage: $(INSTALLED) ## the tests, and how much of each room they run (floors: tests/data/coverage.tsv)
	@rm -rf .coverage.d && mkdir .coverage.d
	@COVERAGE_PROCESS_START="$(CURDIR)/pyproject.toml" COVERAGE_FILE="$(CURDIR)/.coverage.d/data" \
		$(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory coverage-floors

coverage-floors: # of the last `make coverage`
	@COVERAGE_FILE="$(CURDIR)/.coverage.d/data" $(BIN)/python -m tests.floors

test-failed: $(INSTALLED) ## those of the last run that failed, again
	@$(BIN)/python -m pytest --last-failed --last-failed-no-failures none

mutants: $(INSTALLED) ## MINUTES=30, ONLY=part of FILE:FUNCTION, ALLOWED=percent: mistakes that no test notices
	@$(BIN)/python -m tests.mutants --minutes $(or $(MINUTES),30) --allowed $(or $(ALLOWED),0) \
		$(if $(ONLY),--only $(ONLY))

docs: $(INSTALLED) ## spelling and links
	@$(BIN)/codespell $(SPELT)
	@$(BIN)/python -m pytest -q tests/test_docs.py

test-long: $(INSTALLED) ## the tests that take many minutes: a Ping beyond mitmproxy's 600 s
	@$(BIN)/python -m pytest -m long --timeout 3600

fuzz: $(INSTALLED) ## MINUTES=5: every reader of foreign bytes; REPLAY=FILE: one finding again
	@$(BIN)/python -m tests.fuzz $(if $(REPLAY),--replay $(REPLAY),--minutes $(or $(MINUTES),5))

bench: $(INSTALLED) ## ROUNDS=5: beside bare mitmdump and HAProxy (docs/performance.*), then fidelity
	@$(BIN)/python -m tests.benchmarks --rounds $(or $(ROUNDS),5)
	@$(BIN)/python -m pytest -q -m bench

bench-short: $(INSTALLED) ## the same in a minute, writing nothing
	@$(BIN)/python -m tests.benchmarks --short

soak: $(INSTALLED) ## MINUTES=10, EXCHANGES=n: mixed traffic for long; memory, descriptors, threads, journal
	@$(BIN)/python -m tests.benchmarks.soak --minutes $(or $(MINUTES),10) $(if $(EXCHANGES),--exchanges $(EXCHANGES))

sizing: $(INSTALLED) ## PHONES=2000: what waiting phones take (docs/reference.md, "How much machine")
	@$(BIN)/python -m tests.benchmarks.sizing --phones $(or $(PHONES),2000)

lint: $(INSTALLED) ## ruff: lint and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(INSTALLED) ## mypy strict
	@$(BIN)/mypy

format: $(INSTALLED) ## ruff: mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

constraints: $(INSTALLED) ## write down the versions in .venv, when CI has passed with them
	@sh .ci/freeze "$(BIN)/python" > .ci/constraints.new && mv .ci/constraints.new .ci/constraints.txt

release-check: $(INSTALLED) ## whether version, changelog, constraints, documents, wheel and sdist agree
	@$(BIN)/python -m tests.release

clean: ## remove what was made
	rm -rf $(VENV) .coverage.d .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
