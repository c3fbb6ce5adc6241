# The front door: `make` lists what it does. A machine needs git, make and Rust; `make setup` sees to the rest.

# Arguments of `ntb-cosim run`.
ARGS ?=
# Seconds of `fuzz`.
TIME ?= 60

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
.PHONY: help setup run test test-tools loom fuzz lint bench bench-count clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo 'VERILATOR=PATH  a Verilator other than that on PATH (5.006 or later)'

setup: ## Install what is missing: Verilator, a C++ compiler, zlib
	@rtl/setup.sh

run: setup ## Build RTL and host, run the scenarios; ARGS='affinity-move --kernel 6.12' for some of them
	@cargo run --release --locked --package testbenches --bin ntb-cosim -- run $(ARGS)

# A machine without the tools tests all the rest.
test: setup ## Run all tests
	@testbenches/tests/perfetto/install.sh || { [ -z "$$CI" ] && echo 'make test: Perfetto traces are not decoded' >&2; }
ifneq ($(shell command -v cargo-nextest),)
	cargo nextest run --workspace --locked --no-fail-fast
	cargo test --workspace --locked --doc
else
	cargo test --workspace --locked --no-fail-fast
endif

test-tools: ## Install what tests decode Perfetto traces with
	@testbenches/tests/perfetto/install.sh

loom: ## Check the IOMMU's lock-free caches in all orders that threads can have
	RUSTFLAGS='--cfg loom' cargo test --package host-model --release --lib --locked --target-dir target/loom loom

# The coverage that libFuzzer steers by, as cargo-fuzz asks for it: stable Rust has it, but not the sanitizers.
fuzz_coverage = -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1
fuzz_target = $(shell rustc -vV | sed -n 's/^host: //p')

fuzz: setup ## Fuzz the IOMMU for TIME=60 seconds; what is found goes to target/fuzz
	@mkdir -p target/fuzz/corpus target/fuzz/found
	RUSTFLAGS='--cfg fuzzing -Cdebug-assertions -Coverflow-checks $(fuzz_coverage)' cargo build --package host-model-fuzz \
		--release --locked --target-dir target/fuzz --target $(fuzz_target)
	target/fuzz/$(fuzz_target)/release/fuzz-iommu -max_total_time=$(TIME) -len_control=0 -max_len=2048 -timeout=10 -print_final_stats=1 \
		-artifact_prefix=target/fuzz/found/ target/fuzz/corpus host-model/fuzz/corpus

lint: setup ## Check format, Rust, documentation, SystemVerilog
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --all-features --locked
	$(lint_sv) --top-module ntb_endpoint rtl/sv/ntb_endpoint.sv
	$(lint_sv) --top-module ntb_sim_top rtl/sv/ntb_sim_top.sv

bench-count: ## Count the instructions of the IOMMU's hot paths, and bring the committed table up to date
	@rtl/setup.sh valgrind
	cargo bench --package host-model --bench instructions --locked -- --update

bench: setup ## Run all benches; wants an idle machine
	cargo bench --workspace --locked

clean: ## Remove what was built
	cargo clean
