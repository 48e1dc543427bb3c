# `make help` lists what can be done here.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# The commit that bench-compare compares with: the published main, or here the local one.
BASE   ?= $(shell git rev-parse --verify --quiet origin/main || git rev-parse --verify --quiet main)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: accept-break help setup hooks demo dev test test-all test-clients security chaos bench bench-compare bench-tls fuzz check breaking manifests format generate generate-check lock release clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Install the locked dependencies and this project into .venv.

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python 3.11 or newer is needed; name one: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

hooks: $(READY) ## Let git run the checks of `check` that a commit concerns.
	$(BIN)/pre-commit install

demo: $(READY) ## Start everything, run a rolling restart, show it live, stop everything.
	@$(BIN)/spincycle demo

dev: $(READY) ## Start everything on this machine and leave it up until Ctrl-C.
	@$(BIN)/spincycle dev

test: $(READY) ## Run the unit, integration and end-to-end tests, two files at a time.
	$(BIN)/pytest -n 2 --dist loadfile $(TESTS)

test-all: $(READY) ## Run what `test` runs, and the tests that take many seconds each; report coverage.
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist loadfile -m 'not chaos and not built and not timed' $(TESTS)
	$(BIN)/pytest -n 2 --dist loadfile -m 'timed and not chaos and not built' $(TESTS) || [ $$? = 5 ]
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report $(if $(TESTS),--fail-under=0)

test-clients: $(READY) ## Build the clients in other languages and run them all.
	examples/clients/build
	$(BIN)/pytest tests/clients -m '' $(TESTS)

security: $(READY) ## Attack the services in every way of docs/security.md; each attack must be refused.
	$(BIN)/pytest tests/security tests/unit/test_security_page.py -m '' -rP $(TESTS)

chaos: $(READY) ## Kill, freeze and cut off everything, half an hour per TRANSPORT (tls, unix, or both).
	@failed=; for transport in $(or $(TRANSPORT),tls unix); do \
	  echo "chaos: TRANSPORT=$$transport"; \
	  SPINCYCLE_CHAOS_TRANSPORT=$$transport $(BIN)/pytest tests/chaos -m '' -rP $(TESTS) || failed=1; \
	done; test -z "$$failed"

bench: $(READY) ## Time everything from end to end, beside what the machine can do (14 minutes).
	$(BIN)/python -m tests.bench $(BENCH)

bench-compare: $(READY) ## Compare the performance of another commit (BASE=ref) and this tree (11 minutes).
	$(BIN)/python -m tests.bench.compare $(BENCH) $(BASE)

bench-tls: $(READY) ## Compare mutual TLS with Unix sockets, at most 10 % more CPU time (11 minutes).
	$(BIN)/python -m tests.bench.compare --tls --worse-than=10 $(BENCH)

fuzz: $(READY) ## Call the REST API tens of thousands of times with what nobody would send.
	SPINCYCLE_FUZZ_EXAMPLES=$(or $(EXAMPLES),1500) $(BIN)/pytest tests/conformance/test_fuzz.py -rP

check: $(READY) generate-check manifests breaking ## Lint, types, import boundaries, manifests and the protos' own checks.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -q tests/unit/database/test_migrations.py tests/unit/test_words.py
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code

breaking: $(READY) ## Fail when protos/ breaks callers of the recorded protos; see accept-break.
	$(call image,v1,-) | $(BIN)/buf breaking - --against 'protos/COMPATIBLE_SINCE#format=binpb' \
	  --config '{"version":"v2","breaking":{"use":["FILE"]}}'
	$(call image,internal/v1,-) | $(BIN)/buf breaking - --against 'protos/COMPATIBLE_SINCE_INTERNAL#format=binpb' \
	  --config '{"version":"v2","breaking":{"use":["WIRE"]}}' --exclude-imports

manifests: $(READY) ## Render every overlay, with other images and components, and validate it, offline.
	$(BIN)/yamllint --strict k8s
	$(BIN)/python -m tests.manifests.validation

format: $(READY) ## Rewrite Python and protos in the house format.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/buf format --write

generate: $(READY) ## Make the Python stubs from protos/, and the pages and files that code gives.
	$(BIN)/buf generate
	$(BIN)/python -m spincycle.errors.page > docs/reference/errors.md
	$(BIN)/python -m spincycle.cli.reference > docs/reference/spinc.md
	$(BIN)/python -m tests.documentation.spincycle_page > docs/reference/spincycle.md
	$(BIN)/python -m tests.documentation.configuration_page > docs/reference/configuration.md
	$(BIN)/python -m spincycle.rpc.channel spincycle.v1 > protos/spincycle/v1/grpc_service_config.json
	$(BIN)/python -m spincycle.rpc.channel spincycle.internal.v1 > protos/spincycle/internal/v1/grpc_service_config.json

# The public package keeps its callers' source and wire compatible, the internal one only the wire.
image = $(BIN)/buf build --path protos/spincycle/$(1) --exclude-source-info -o '$(2)\#format=binpb'

accept-break: $(READY) ## Record today's protos as what later ones must stay compatible with.
	$(call image,v1,protos/COMPATIBLE_SINCE)
	$(call image,internal/v1,protos/COMPATIBLE_SINCE_INTERNAL)

generate-check: $(READY) ## Fail when the committed stubs are not what protos/ gives.
	@rm -rf .generated-check && $(BIN)/buf generate --output .generated-check
	@diff -r -x __pycache__ generated .generated-check/generated \
	  || { echo "error: generated/ is stale; run make generate and commit it"; rm -rf .generated-check; exit 1; }
	@$(BIN)/python -m spincycle.errors.page | diff docs/reference/errors.md - \
	  || { echo "error: docs/reference/errors.md is stale; run make generate and commit it"; exit 1; }
	@rm -rf .generated-check

lock: ## Resolve the newest dependencies into requirements.lock and image.lock.
	$(PYTHON) -m venv .lock-venv
	.lock-venv/bin/pip install --quiet uv
	.lock-venv/bin/uv pip compile pyproject.toml --group dev --extra postgres --extra kubernetes --python-version 3.11 \
	  --upgrade --generate-hashes --no-emit-index-url --no-header --no-annotate -q -o requirements.lock
	.lock-venv/bin/uv pip compile pyproject.toml --group image --extra kubernetes --python-version 3.11 \
	  --constraint requirements.lock \
	  --upgrade --generate-hashes --no-emit-index-url --no-header --no-annotate -q -o image.lock
	rm -rf .lock-venv

# The tests install the wheel and what it depends on, as the package index resolves it today.
release: $(READY) ## Build wheel and sdist into dist/, check them, try them in a new environment.
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	SPINCYCLE_DIST=$(CURDIR)/dist $(BIN)/pytest tests/release -m '' $(TESTS)

clean: ## Remove what setup and the tools made.
	rm -rf $(VENV) .lock-venv .generated-check dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	cd examples/clients && rm -rf go/build node/build node/node_modules node/src/generated
