# Everything starts here: `make demo`, `make serve`, `make request`, `make test`.
# Each makes the environment in .venv first and leaves it alone when it is up to date.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo serve request test lint bench lock sbom audit clean

help: ## say what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/server.stamp ## make the environment of the server alone

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

# a tier's packages are pinned in requirements/TIER.txt; a larger tier has the smaller ones' pins
$(VENV)/%.stamp: requirements/%.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -r $<
	@touch $@

demo: $(VENV)/demo.stamp ## register and identify the sample speakers over HTTP
	$(BIN)/python -m evaluation demo

serve: setup ## run the server on http://127.0.0.1:5000/ over gallery/
	$(BIN)/python app.py

request: setup ## send a sample recording to a running server
	$(BIN)/python Request.py

test: lint ## lint, types and all tests, two files at a time
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(VENV)/dev.stamp ## time a request beside the original way of answering it
	$(BIN)/python -m benchmarks request

lock: $(VENV)/dev.stamp ## pin what pyproject.toml asks for, for all its Pythons and systems
	./requirements/lock.sh

sbom: $(VENV)/supply.stamp ## write what the server consists of, as CycloneDX, to out/sbom.json
	@mkdir -p out
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application \
		--output-reproducible --output-format JSON --output-file out/sbom.json requirements/server.txt

audit: $(VENV)/supply.stamp ## ask PyPI whether a pinned package has a known weakness
	$(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
		--requirement requirements/server.txt --requirement requirements.txt

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis out
