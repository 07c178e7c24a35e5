# `make run` and `make test` install what they need. Required: Python 3.11 or newer.
PYTHON ?= python3
unexport PYTHONDONTWRITEBYTECODE  # with it, each of the tests' processes compiles pandas again: half of their CPU time
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Python's own pip, if it has one, since making another one for .venv takes as long as uv takes for everything.
HAS_PIP = $(shell $(PYTHON) -m pip --version 2>/dev/null)
PIP = $(if $(HAS_PIP),$(PYTHON) -m pip --python $(BIN)/python,$(BIN)/python -m pip) --quiet --disable-pip-version-check
UV = $(or $(shell command -v uv),$(BIN)/uv)
ITSELF := --no-deps --no-build-isolation -e .
# More workers than cores: tests often wait for a server. The files are begun in the order of tests/conftest.py.
PARALLEL := --dist loadfile --no-loadscope-reorder
ALONE := tests/migration/test_chaos.py tests/migration/test_state_machine.py

.PHONY: help run test test-all test-slow coverage soak lint lab setup lock schemas reference notebooks example clean bench

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' Makefile | while IFS="$$(printf '\t')" read -r name does; do \
	  printf '  %-10s %s\n' "$$name" "$$does"; done

run: setup  ## the main job on the demo: three notebooks, then data/runs/postmortem.html
	$(BIN)/incident run --env demo --claims

test: setup  ## the quick tests: four to six minutes
	$(BIN)/pytest -n 3 $(PARALLEL) -m "not slow"

# These use more examples for each property than `make test` does.
test-all test-slow coverage: export INCIDENT_TEST_EXAMPLES = all

# On a shared machine a test may fail because others took its time: what failed runs once more, by itself.
test-all: setup  ## all tests: a quarter of an hour, or half of one on a slow machine
	$(BIN)/pytest -n 4 $(PARALLEL) || { [ $$? = 1 ] && \
	  echo "make: these failed beside others; they run once more, one at a time" >&2 && \
	  $(BIN)/pytest -v --last-failed --last-failed-no-failures none; }

test-slow: setup  ## the slow tests only
	$(BIN)/pytest -n 4 $(PARALLEL) -m slow tests

coverage: setup  ## how much of the library the quick tests cover; they take twice as long
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 3 $(PARALLEL) -m "not slow"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=90

# The first two, one test after the other: they measure how long clients wait, and print figures. Then all other tests,
# with what `make test-all` leaves out: PostgreSQL 16, and cases that are much like those it has.
soak: export INCIDENT_TEST_EXAMPLES = soak
soak: setup  ## hours: hundreds of kills in migrations, thousands of their steps in any order, every case; not in CI
	$(BIN)/pytest -v $(ALONE)
	$(BIN)/pytest -n 3 $(PARALLEL) tests $(ALONE:%=--ignore=%)

lint: setup  ## style, types, and which rooms import which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

lab: setup  ## JupyterLab with the notebooks
	$(BIN)/jupyter lab --notebook-dir=notebooks

setup: $(STAMP)  ## install everything into .venv

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: Python 3.11 or newer is required. Name one: make PYTHON=python3.x" >&2; exit 2; }
	$(PYTHON) -m venv $(if $(HAS_PIP),--without-pip) $(VENV)
	@$(WITH_UV) || $(PIP) install --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python $(ITSELF) || $(PIP) install $(ITSELF)
	@touch $(STAMP)

# uv installs in a tenth of pip's time. Where you have none, pip installs it from the lock. uv does not read pip.conf, so
# this passes pip's index to it. If uv fails, pip installs everything.
WITH_UV = { [ "$(UV)" != $(BIN)/uv ] || { sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.txt && \
  $(PIP) install --require-hashes -r $(VENV)/uv.txt; }; } && \
  index=$$($(PIP) config list | sed -n "s/^[^=]*[.]index-url='\(.*\)'$$/\1/p" | tail -n 1) && \
  if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi && \
  $(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock

lock: setup  ## update all pinned dependencies, for every Python from 3.11 on
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --group dev --upgrade -o requirements.lock pyproject.toml

schemas: setup  ## generate the JSON Schemas of the files and of the commands' answers: data/schemas
	$(BIN)/python -m incident_lib.records.schemas

reference: setup  ## generate docs/cli.md from the commands' help
	$(BIN)/python -m incident_lib.cli.reference

notebooks: setup  ## execute the notebooks on the demo in place: their committed outputs
	INCIDENT_PROGRESS=off INCIDENT_RUNS=$$(mktemp -d) $(BIN)/jupyter nbconvert --log-level WARN --to notebook --execute --inplace \
	  --ExecutePreprocessor.record_timing=False notebooks/*.ipynb

example: setup  ## make the example run of the demo again, and its report: data/demo/example
	runs=$$(mktemp -d) && $(BIN)/incident claims --out $$runs/claims.json && $(BIN)/incident run --env demo --out $$runs && \
	  cp $$runs/claims.json $$runs/demo/*/record.json data/demo/example/
	$(BIN)/incident report data/demo/example --out data/demo/example/postmortem.html

clean:  ## stop the embedded server and remove .venv
	-$(BIN)/incident demo stop
	rm -rf $(VENV)

bench: setup  ## the benchmarks, each compared with an alternative in the same run: an hour, 10 GB of disk
	$(BIN)/python benchmarks/investigate.py
	$(BIN)/python benchmarks/counts.py
	$(BIN)/python benchmarks/listing.py
	$(BIN)/python benchmarks/checksum.py
	$(BIN)/python benchmarks/scan.py
	$(BIN)/python benchmarks/build.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/install.py
	$(BIN)/python benchmarks/swap.py
	$(BIN)/python benchmarks/fleet.py
	$(BIN)/python benchmarks/logs.py
	$(BIN)/python benchmarks/rehearse.py
