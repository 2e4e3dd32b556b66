# Two commands: `make demo` measures a known process offline, `make test` runs the tests. Each sets up what it
# needs in .venv. Versions are those of constraints.txt, which also picks a CPU build of torch where there is one.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test slow lint mutants models

demo: $(VENV)/installed
	$(BIN)/lm_eval run --model l2m-oracle \
		--model_args process=santa_fe,beta=0.75,facts=4096,flip_rate=0.1 \
		--tasks l2m_bipartite_process --output_path out

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile

slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Two released models, fetched and converted once into models/ (see examples/fetch_models.py).
models: $(VENV)/installed
	$(PIP) --editable '.[gguf]'
	$(BIN)/python examples/fetch_models.py models

# Takes hours; name functions to test some, as in `make mutants OF='l2m_eval.statistics.jackknife*'`.
mutants: $(VENV)/installed-test
	$(PIP) --editable '.[mutants]'
	$(BIN)/mutmut run $(if $(OF),'$(OF)')
	$(BIN)/mutmut results

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) torch
	$(PIP) --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) --editable '.[test]'
	touch $@
