# Every target makes what it needs in .venv; PYTHON chooses the interpreter (3.11 to 3.13; 3.14 for the service alone).
PYTHON ?= python3
BIN := .venv/bin
LOCKED := deploy/requirements
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all:

# An existing environment keeps its interpreter; stop if another one is asked for.
ifeq ($(origin PYTHON),command line)
ifeq ($(filter clean sbom,$(MAKECMDGOALS)),)
ifneq ($(wildcard $(BIN)/python),)
VERSION := import sys; print(*sys.version_info[:2], sep=".")
ifneq ($(shell $(PYTHON) -c '$(VERSION)'),$(shell $(BIN)/python -c '$(VERSION)'))
$(error .venv holds Python $(shell $(BIN)/python -c '$(VERSION)'), not $(PYTHON): run 'make clean' first, which removes .venv)
endif
endif
endif
endif

.PHONY: help serve test lint export training bench lock sbom clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

serve: .venv/serve  ## serve ./models on 127.0.0.1:8000
	@exec $(BIN)/python -m app

test: .venv/dev  ## run the whole suite, in up to four processes
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: .venv/dev  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

export: .venv/export  ## train on the built-in digits and publish the model into ./models
	$(BIN)/python -m model_export train digits

training: .venv/export  ## install what training needs, beside the service (2.7 GB)

bench: .venv/dev  ## measure the running service against the same work in one process
	$(BIN)/python -m benchmarks

lock: .venv/dev  ## resolve the dependencies again and write their hashes
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock" \
		--extra cpu -o $(LOCKED)/serve-cpu.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock" \
		--extra cuda -o $(LOCKED)/serve-cuda.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock" \
		--extra cpu --extra export -o $(LOCKED)/export.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock" \
		--extra cpu --extra export --extra traces --group test --group lint --group lock -o $(LOCKED)/dev.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock" \
		--group supply -o $(LOCKED)/supply.txt

sbom:  ## list the packages in the image: sbom.json (CycloneDX) and deploy/licences.md, after pip check
	@rm -rf .venv-image .venv-supply
	@$(PYTHON) -m venv .venv-image && $(PYTHON) -m venv .venv-supply
	@$(INSTALL:$(BIN)/%=.venv-image/bin/%) -r $(LOCKED)/serve-cpu.txt
	@$(INSTALL:$(BIN)/%=.venv-supply/bin/%) -r $(LOCKED)/supply.txt
	.venv-image/bin/python -m pip check
	@.venv-image/bin/python -m pip uninstall --quiet --yes setuptools pip
	.venv-supply/bin/cyclonedx-py environment --output-reproducible --output-file sbom.json .venv-image/bin/python
	.venv-supply/bin/pip-licenses --python=.venv-image/bin/python --format=markdown --with-urls \
		--output-file=deploy/licences.md

clean:  ## remove what the targets made
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/serve: $(LOCKED)/serve-cpu.txt | .venv/bin/pip
.venv/export: $(LOCKED)/export.txt | .venv/bin/pip
.venv/dev: $(LOCKED)/dev.txt | .venv/bin/pip
.venv/export: TAKES := : 2.7 GB, a few silent minutes
.venv/dev: TAKES := : 3.2 GB, a few silent minutes
.venv/serve .venv/export .venv/dev:
	@$(BIN)/python -c 'import sys; sys.exit("$@" != ".venv/serve" and sys.version_info >= (3, 14) and "TensorFlow needs Python 3.13 or older; run '"'make clean'"' and name one: make PYTHON=python3.13 ...; or train in Docker: docker compose run --rm model_export train ...")'
	@echo "installing $<$(TAKES)"
	@$(INSTALL) -r $<
	@touch $@

# pip is installed last: if it is missing, the environment is incomplete and is made again.
.venv/bin/pip:
	@command -v $(PYTHON) > /dev/null || { echo "there is no $(PYTHON): install Python 3.11 or newer, or name it: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, not " + sys.version.split()[0] + "; name one: make PYTHON=python3.12 ...")'
	@rm -rf .venv
	@$(PYTHON) -m venv .venv || { echo "no venv could be made; on Debian and Ubuntu: apt install python3-venv" >&2; rm -rf .venv; exit 1; }
