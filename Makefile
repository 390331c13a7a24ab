# Everything a person or a CI needs. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo
TOOLS := indexer/contracts/node_modules/.package-lock.json
MUSL := x86_64-unknown-linux-musl
export ANVIL ?= $(CURDIR)/indexer/contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil

.PHONY: help demo test lint bench tools packages fmt build agent-static clean load

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: ## the main job on one machine, from nothing to a summary (KEEP=1 leaves it running)
	@.ci/demo

test: packages tools ## the whole test suite, installing what it needs
	@.ci/test

lint: ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

bench: ## criterion benches
	$(CARGO) bench -p benches --locked

load: ## 1,000 simulated agents against a real coordinator, release build
	$(CARGO) build --release --locked -p coordinator -p loadtest
	target/release/loadtest agents --count 1000

build: ## debug build of everything
	$(CARGO) build --workspace --all-targets --locked

tools: $(TOOLS) ## anvil and solc from npm

$(TOOLS): indexer/contracts/package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer (Debian: apt-get install nodejs npm)" >&2; exit 1; }
	cd indexer/contracts && npm ci --no-audit --no-fund --loglevel=error

packages: ## system packages the tests need (by apt when root, else says which)
	@.ci/packages

agent-static: ## the agent as one static binary where the target is available, glibc otherwise
	@.ci/agent-static

fmt: ## format the code
	$(CARGO) fmt --all

clean: ## remove what was built
	$(CARGO) clean
	rm -rf .demo .cache indexer/contracts/node_modules
