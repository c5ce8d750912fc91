# `make help` lists the verbs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
SERVE ?= 1
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-qgis check stac clients lock web bench clean

help: ## List the verbs
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.demo ## Map virtual species around the Aletsch glacier and serve the map (SERVE=0 ends after the products)
	$(BIN)/geoplantnet demo $(if $(filter 0,$(SERVE)),--no-serve,--serve)

test: $(VENV)/.dev check stac clients ## Check style, types and floors, then run the tests, JOBS=2 files at once
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-qgis: $(VENV)/.dev ## Let QGIS itself use the server (as root installs Debian's QGIS, 1.2 GB)
	@sh tests/serving/clients/install.sh qgis python3-qgis
	$(BIN)/python -m pytest -rs tests/serving/clients/qgis

check: $(VENV)/.dev ## Style (ruff), types (mypy), floors (import-linter)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

stac: ## Install the STAC API that the tests talk to (as root with PostGIS); without it they are skipped
	@PYTHON='$(PYTHON)' PIP_ARGS='$(PIP_ARGS)' sh tests/stac/install.sh

clients: ## Install GDAL's programs, which some tests use as clients (as root); without them these are skipped
	@sh tests/serving/clients/install.sh gdal-bin

lock: ## Write constraints.txt anew from a fresh environment
	rm -rf .lock && $(PYTHON) -m venv .lock
	.lock/bin/python -m pip install --quiet $(PIP_ARGS) --editable '.[sdm,identify,dinov2,serving,cluster,openvino,postgis,dev]'
	.lock/bin/python -m pip list --format=freeze --exclude-editable --exclude pip --exclude setuptools | sed -E 's/\+cpu$$//' > constraints.txt
	rm -rf .lock

web: ## Build the web map (needs Node; the result is part of the repository)
	cd geoplantnet/serving/web && npm ci && npm run build

bench: $(VENV)/.dev ## Run the benchmarks and write docs/benchmarks.md
	$(BIN)/python -m benchmarks

clean: ## Remove the environments and the demo's products
	rm -rf $(VENV) .venv-stac tiles/demo

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "geoplantnet needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/.made
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt --editable '.[sdm,serving]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.made
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.demo
