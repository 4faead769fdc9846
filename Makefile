# Two commands do everything on a fresh machine with Python 3.11 or later and make: `make demo`, `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
DEMO ?= demo
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

SANITIZED := build/sanitized
NATIVE := setup.py $(wildcard src/chartscan/kernels/native/src/*)

.PHONY: demo test lint unit soak native sanitize docs wheel-test clean

demo: $(VENV)/.installed ## the main job: simulate, ingest, label, train, predict, evaluate
	$(BIN)/chartscan demo $(DEMO)

test: lint unit ## every check

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

soak: $(VENV)/.installed-test ## the full counts of what `test` samples: hours
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m soak

docs: $(VENV)/.installed-docs ## the pages as a site, with a reference of the API: site/index.html
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/zensical build --strict --clean

wheel-test: $(VENV)/.installed-test ## builds the wheels and tries them in an empty environment: downloads PyTorch
	$(BIN)/pytest -m soak tests/test_wheel.py

native: $(VENV)/.installed ## builds the C++ kernels anew, such as after a compiler was installed
	$(PIP) --no-deps --force-reinstall --editable .
	$(BIN)/python -m chartscan.kernels.native

# The kernels' tests with another build of the extension, in which every access outside of an array is an error.
sanitize: $(VENV)/.installed-test
	CHARTSCAN_SANITIZE=1 CHARTSCAN_REQUIRE_NATIVE=1 $(BIN)/python setup.py --quiet build_ext \
		--build-lib $(SANITIZED) --build-temp $(SANITIZED)/objects
	CHARTSCAN_NATIVE=$$(echo $(SANITIZED)/chartscan/kernels/native/_native*.so) OMP_NUM_THREADS=2 \
		LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		$(BIN)/python -m pytest $(or $(TESTS),tests/kernels)

$(VENV)/.made:
	@$(if $(PYTHON),$(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed. Name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --version
	touch $@

$(VENV)/.installed: pyproject.toml lab/pyproject.toml constraints.txt $(NATIVE) | $(VENV)/.made
	$(PIP) --editable . --editable ./lab
	touch $@

$(VENV)/.installed-test: pyproject.toml lab/pyproject.toml constraints.txt $(NATIVE) | $(VENV)/.made
	$(PIP) --editable '.[test]' --editable './lab[bench]'
	$(BIN)/python -m chartscan.kernels.native
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml constraints.txt $(NATIVE) | $(VENV)/.made
	$(PIP) --editable '.[docs]'
	touch $@

clean:
	rm -rf build dist site .cache .pytest_cache .ruff_cache .mypy_cache
