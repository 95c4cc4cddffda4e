# demo: data → training → fine-tuning → video accuracy → FLOPs → plot   test: the test suite
# lab: JupyterLab on the notebooks   bench: measurements, or WHAT=jobs of them   hostile: all spoilt input that tests know
# Each makes .venv first if it is missing or stale.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test lab bench hostile clean

demo: $(STAMP)
	$(BIN)/python -m actlib batch params/batch/demo.yaml
	@echo; echo "The plot: outputs/demo/compare/accuracy_vs_macs.png    The notebooks: make lab"

test: $(STAMP)
	$(BIN)/ruff check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

lab: $(STAMP)
	@# The second option lets the parameter form write into the notebook's own cell.
	$(BIN)/jupyter lab --notebook-dir=. --LabApp.expose_app_in_browser=True $(LAB_ARGS) notebooks/00_start.ipynb

bench: $(STAMP)
	$(BIN)/python -m pytest $(if $(WHAT),tests/bench/test_$(WHAT).py,tests/bench) -o norecursedirs= -s

hostile: $(STAMP)
	ACTLIB_HOSTILE=all OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal tests/hostile

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer with its venv module is needed (Debian: apt install python3-venv)."; \
	    echo "Another interpreter: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --python $(BIN)/python --editable '.[test]'
	@# Once through what the notebooks import, so that the first run finds it compiled. uv's --compile-bytecode, for all
	@# of the packages, takes six times as long.
	@$(BIN)/python -c 'from pathlib import Path; from actlib.runs.warm import import_for; \
	  import_for(Path("notebooks").glob("[0-9]*.ipynb"))' >/dev/null 2>&1 || true
	@touch $@

clean:
	rm -rf .venv
