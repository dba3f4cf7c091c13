# make demo: the whole path on the embedded data, a report in build/demo/
# make test: unit tests, doctests and notebooks
# make lab:  JupyterLab on the first notebook
# make book: the executed notebooks as a site that needs no network, in build/book/
PYTHON ?= python3
BIN := .venv/bin

# How long OpenMP's threads spin before they sleep. As long as they like, they take the
# cores from whatever else runs (models five times slower beside one busy process); not
# at all, and small operations wait for them to wake up (twice slower on two free cores).
export GOMP_SPINCOUNT ?= 1000

.PHONY: demo test lab book lint clean
.DELETE_ON_ERROR:

.venv/.installed: pyproject.toml constraints.txt scripts/install.sh
	PYTHON="$(PYTHON)" sh scripts/install.sh

demo: .venv/.installed
	$(BIN)/mrpd demo --out build/demo --overwrite

test: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest -o addopts="-p no:dash -q" --nbmake --nbmake-timeout=300 notebooks

lab: .venv/.installed
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

book: .venv/.installed
	$(BIN)/python scripts/build_book.py

lint: .venv/.installed
	$(BIN)/ruff check .

clean:
	rm -rf build .pytest_cache .ruff_cache
