# Needs Python 3.11 or 3.12 and make; everything else is installed into .venv from requirements.lock.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# A file's tests stay together: they share what they trained.
PYTEST := -q -n 2 --dist loadfile --durations=25
MORE := --parity --faults --processes --full --browser --tpu
MANIFEST ?=
BEGAN := $(shell date +%s)
SPEECH := $(if $(SEEDASR_TEST_SPEECH),$(abspath $(SEEDASR_TEST_SPEECH)))

.PHONY: help install install-parity install-tpu quickstart test coverage test-all test-digits test-quickstart lint format lock mutations bench study-digits study-ssl clean

help:
	@echo "make quickstart    train, score and use a small recogniser on speech made on the spot"
	@echo "make test          the test suite"
	@echo "make coverage      the same, and what of the package it runs (a fifth slower)"
	@echo "make test-all      the same, the fault harness, several processes, live parity with PyTorch, plans"
	@echo "                   for TPUs, and the page in a browser, which needs Chromium (apt-get install chromium)"
	@echo "make test-digits   the recipe digits, whole, on synthesised voices (ten minutes)"
	@echo "make test-quickstart  the whole quickstart: that it learns (half an hour)"
	@echo "make lint          ruff"
	@echo "make bench         a training step against the same in PyTorch (minutes)"
	@echo "make study-digits  left-out speakers x seeds (hours); needs SEEDASR_TEST_SPEECH"
	@echo "make study-ssl     self-supervision before ten labelled minutes x seeds (hours)"
	@echo "make mutations     planted defects against the tests that cover them (a quarter of an hour)"

$(VENV)/installed: requirements.lock setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/parity: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --no-build-isolation -e '.[parity]'
	touch $@

$(VENV)/tpu: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --no-build-isolation -e '.[tpu]'
	touch $@

install: $(VENV)/installed
install-parity: $(VENV)/parity
install-tpu: $(VENV)/tpu

quickstart: install
	$(BIN)/seedasr quickstart --install-seconds=$$(($$(date +%s) - $(BEGAN)))

test: install
	$(BIN)/python -m pytest $(PYTEST)

coverage: install
	$(BIN)/python -m pytest $(PYTEST) --cov --cov-report=term --cov-fail-under=85

test-all: coverage install-parity install-tpu
	$(BIN)/python -m pytest $(PYTEST) --no-loadscope-reorder $(MORE) --rest

test-digits: install
	$(BIN)/python -m pytest $(PYTEST) --digits --rest

test-quickstart: install
	$(BIN)/python -m pytest $(PYTEST) --quickstart --rest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install-parity
	$(BIN)/python benchmarks/train_step.py --train=speech
	$(BIN)/python benchmarks/train_step.py --train=all

study-digits: install
	$(BIN)/python benchmarks/study_digits.py --speech=$(SPEECH)

study-ssl: install
	$(BIN)/python benchmarks/study_ssl.py

mutations: install
	$(BIN)/python tests/mutations/run.py

lock:
	uv pip compile setup.py --extra test --extra synth --no-strip-extras --universal --python-version 3.11 \
	  --fork-strategy requires-python --generate-hashes --quiet -o requirements.lock

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
