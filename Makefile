# make install | train | test | test-slow | check | bench | notebooks; everything lives in .venv, made on first use.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
# a process per processor, one thread each: small networks gain nothing from a second thread
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile
EXTRAS ?= docs,notebooks,browser,sweep,onnx,timm

.PHONY: install train test test-slow check bench notebooks clean

install: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; make install PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

.venv/extras: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]' || echo "not all of $(EXTRAS) could be installed; tests that need them are skipped"
	touch $@

train: install
	$(BIN)/python -m agent.train --net resnet50 --hw eyeriss $(ARGS)

test: install
	$(PYTEST) -m "not slow" $(ARGS)

test-slow: install .venv/extras
	$(PYTEST) -m slow $(ARGS)

check: install
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy plan networks hwmodels compress envs agent espalier experiments

bench: install
	for file in experiments/bench/*_speed.py; do $(BIN)/python -m "experiments.bench.$$(basename $$file .py)" || exit 1; done

notebooks: install .venv/extras
	$(BIN)/python -m jupyter nbconvert --to notebook --execute --inplace experiments/notebooks/*.ipynb

clean:
	rm -rf .venv build dist *.egg-info
