# Every target sets up what it needs. Needed beforehand: bash, Python 3.11 or later, make and a package index.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON_BIN := .venv/bin

.PHONY: help demo server test conformance bench bench-plot lint format generate docs lock release docker-images clean setup tools

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-18s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Load a paper, ask an agent about it, without a key: the tutorial in one go
	@scripts/setup run
	@PATH="$$PWD/$(PYTHON_BIN):$$PATH" scripts/demo $(ARGS)

server: ## Run the three services on loopback until interrupted
	@scripts/setup run
	@exec $(PYTHON_BIN)/memgpt server $(ARGS)

test: setup tools ## Run all tests, a process a core; ARGS="tests/unit -k name" runs some of them, in one
	@$(PYTHON_BIN)/pytest $(or $(ARGS),--numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder)

conformance: setup tools ## Run the conformance scenario with every client; ARGS="go java" runs some of them
	@$(PYTHON_BIN)/python -m clients.conformance $(ARGS)

bench: setup tools ## Run the benchmarks, beside plain pymilvus; ARGS="search --backend lite" runs some of them
	@$(PYTHON_BIN)/python -m benchmarks $(ARGS)

bench-plot: setup tools ## Run the benchmarks, and draw their comparisons in docs/images/benchmarks.svg
	@mkdir -p build
	@$(PYTHON_BIN)/python -m benchmarks --json $(ARGS) >build/benchmarks.json
	@$(PYTHON_BIN)/python -m benchmarks.plots build/benchmarks.json docs/images/benchmarks.svg

lint: setup ## Run every check that is no test
	@scripts/lint

format: setup ## Format the Python code
	@$(PYTHON_BIN)/ruff check --fix-only --quiet . && $(PYTHON_BIN)/ruff format .

generate: setup ## Write everything that is generated: stubs, the synchronous client, reference pages
	@$(PYTHON_BIN)/python scripts/protos.py generate
	@$(PYTHON_BIN)/python scripts/sync_client.py
	@$(PYTHON_BIN)/python scripts/client_stubs.py generate
	@$(PYTHON_BIN)/python scripts/reference.py generate
	@$(PYTHON_BIN)/python scripts/probe_request.py generate
	@$(PYTHON_BIN)/python scripts/endpoints_table.py

docs: setup ## Build the documentation into build/site
	@NO_MKDOCS_2_WARNING=1 $(PYTHON_BIN)/mkdocs build

lock: setup ## Bring constraints.txt up to date; ARGS=--upgrade takes the newest versions
	@scripts/lock $(ARGS)

release: setup ## Build what a release publishes into dist/: wheels, contracts, OpenAPI, clients, bill of materials, checksums
	@$(PYTHON_BIN)/python scripts/release.py $(ARGS)

docker-images: ## Build the image of each service
	@for service in memory loader agent; do \
	  docker build --build-arg SERVICE=$$service --tag memgpt-$$service .; \
	done

clean: ## Remove everything that can be made again
	rm -rf .venv .tools dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: # The developer's environment
	@scripts/setup dev

# What the tests drive. A tool that cannot be had is no failure here: the tests that need it say so.
tools: setup
	@for tool in milvus grpcurl helm kustomize kube-score; do $(PYTHON_BIN)/python scripts/tools.py $$tool || true; done
	@if command -v npm >/dev/null; then npm install --prefix examples/tools/node --no-package-lock --silent || true; fi
