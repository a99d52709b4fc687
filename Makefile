# Two commands do everything on a fresh machine: `make demo` and `make test`. Both make the virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo
RUNS ?= 1000000

.PHONY: demo test test-slow lint types check bench fuzz docs smoke clean

demo: $(VENV)/.ready  ## set up and run the main job on handwritten digits
	$(BIN)/widthwise compare --out $(OUT)

test: $(VENV)/.dev  ## set up and run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto  # a process a core, one thread each

test-slow: $(VENV)/.dev  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

check: test lint types  ## all that must pass before a change lands

bench: $(VENV)/.dev  ## every benchmark; they print ratios with their spread
	for file in benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

fuzz: $(VENV)/.dev  ## RUNS inputs to every loader, led by what code they reach; findings in build/fuzz
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/fuzz_run.py --runs $(RUNS)

docs: $(VENV)/.dev  ## the documentation as a site that works offline, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

smoke: $(VENV)/.dev  ## the wheel and the sdist, built, installed into empty environments and used without the repository
	$(BIN)/python tools/smoke.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing PyTorch and what else is needed into $(VENV): some minutes, and silent"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing PyTorch and the tools of development into $(VENV): some minutes, and silent"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(VENV)/.ready $@

clean:
	rm -rf $(VENV) demo build dist
