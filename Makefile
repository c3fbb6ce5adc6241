# The front door: `make` lists what it does. A machine needs git, make and Rust; `make setup` sees to the rest.

# Arguments of `ntb-cosim run`.
ARGS ?=

# Build scripts run in folders of their own.
ifneq ($(findstring /,$(VERILATOR)),)
ifeq ($(filter /%,$(firstword $(VERILATOR))),)
override VERILATOR := $(CURDIR)/$(VERILATOR)
endif
export VERILATOR
endif

lint_sv = "$(or $(VERILATOR),verilator)" --lint-only -Wall -F rtl/sv/ntb.f

# Cargo has jobs of its own and takes make's for its own.
unexport MAKEFLAGS
.NOTPARALLEL:
.PHONY: help setup run test lint bench clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo 'VERILATOR=PATH  a Verilator other than that on PATH (5.006 or later)'

setup: ## Install what is missing: Verilator, a C++ compiler, zlib
	@rtl/setup.sh

run: setup ## Build RTL and host, run the scenarios; ARGS='affinity-move --kernel 6.12' for some of them
	@cargo run --release --locked --package testbenches --bin ntb-cosim -- run $(ARGS)

test: setup ## Run all tests
ifneq ($(shell command -v cargo-nextest),)
	cargo nextest run --workspace --locked --no-fail-fast
	cargo test --workspace --locked --doc
else
	cargo test --workspace --locked --no-fail-fast
endif

lint: setup ## Check format, Rust, documentation, SystemVerilog
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --all-features --locked
	$(lint_sv) --top-module ntb_endpoint rtl/sv/ntb_endpoint.sv
	$(lint_sv) --top-module ntb_sim_top rtl/sv/ntb_sim_top.sv

bench: setup ## Run all benches; wants an idle machine
	cargo bench --workspace --locked

clean: ## Remove what was built
	cargo clean
