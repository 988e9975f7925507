# make demo   train, evaluate, export and classify on generated data, from nothing
# make test   all tests: unit, then integration
# make check  format, lint, types, import contract
# make proto  write the messages that Envoy and the gateway exchange, from their .proto
# make bundle RUN=FOLDER   put the int8 bundle of a run of recipes/default.yaml into the package
# make wheel  the package as a file, in dist/
# make help   this list

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= build/demo
RUN ?= runs/default
SHIPPED := src/routewright/bundles/default
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= true

.PHONY: help install demo check format test test-unit test-integration docs proto bundle wheel clean

help:
	@sed -n '1,/^$$/s/^# //p' Makefile

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet -c constraints.txt --editable ".[train,gateway,tune]" --group dev
	@touch $@

demo: install
	PATH="$(abspath $(BIN)):$$PATH" DEMO="$(DEMO)" sh examples/demo.sh

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: test-unit test-integration

test-unit: install
	$(BIN)/pytest -q -m "not integration" tests

test-integration: install
	$(BIN)/pytest -q -m integration tests

proto: install
	$(BIN)/python -m grpc_tools.protoc -I src --python_out=src --pyi_out=src \
		$(addprefix src/routewright/gateway/_proto/,access_log.proto ext_proc.proto health.proto)

bundle: install
	$(BIN)/routewright export "$(RUN)" --int8-only --out $(SHIPPED)
	cp recipes/default.yaml $(SHIPPED).recipe.yaml

# Files of an earlier build in build/lib would get into the wheel too.
wheel: install
	rm -rf build/lib build/bdist.*
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

docs: install
	$(BIN)/python docs/generate.py

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
