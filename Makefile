# The verbs that people type. Every target does its whole set-up: on a fresh Debian machine with cargo, node, npm and
# make, `make demo` and `make test` are enough.

export CARGO_TARGET_DIR ?= $(HOME)/.cache/landfall-target
export CARGO_TERM_COLOR ?= never
BIN := $(CARGO_TARGET_DIR)/demo/landfall
DATA ?= landfall-demo

.PHONY: demo test bench test-rust test-house test-story test-console corpus crash fuzz setup-build setup-test console binary lint dev

## demo: build everything and play the story; ARGS="--exit" plays it without waiting
demo: setup-build console binary
	$(BIN) demo --data $(DATA) $(ARGS)

## test: all tests, as CI runs them
test: setup-test console binary test-house test-rust test-story test-console
	@echo "make test: all rings green"

## setup-build, setup-test: install what is missing (apt when root, else a line that says what to install)
setup-build:
	@scripts/setup.sh build
setup-test:
	@scripts/setup.sh test

## console: the web console, embedded into the binary
console:
	@scripts/console.sh

## binary: the one binary, with the profile that demo, tests and journeys share
binary: console
	cargo build --profile demo --locked -p landfall

## test-house: layers, formatting, lints, licences, generated files fresh
test-house:
	cargo xtask layers
	cargo fmt --all --check
	cargo clippy --profile demo --locked --workspace --all-targets -- -D warnings
	cargo deny --log-level error check bans licenses sources
	scripts/api-client.sh --check

## test-rust: units, contracts on both databases, transcripts, the binary's own tests
test-rust:
	@scripts/test-rust.sh

## test-story: the demo with --exit, its report, twenty kills, backup and restore of its data
test-story: binary
	@scripts/test-story.sh

## test-console: Playwright journeys against the running demo
test-console: binary
	@scripts/test-console.sh

## corpus: 6,046 real mails, read beside another parser and sent into the running binary (fetches 20 MB once)
corpus: binary
	@scripts/test-corpus.sh

## fuzz: each fuzz target for FUZZ_SECONDS (600); TARGETS="mime address" for some
fuzz:
	@scripts/fuzz.sh $(TARGETS)

## crash: kill -9 at 200 random instants of act 1 and 133 under incoming mail (20 and 13 in `make test`)
crash: binary
	KILLS=200 scripts/test-kills.sh

## bench: side by side with Postfix, rspamd and Dovecot on this machine; ROWS="inbound accept" runs some rows
bench: console
	bench/setup.sh
	cargo build --release --locked -p landfall
	python3 bench/run.py $(ROWS)

## lint: what an editor would tell
lint:
	cargo clippy --profile demo --workspace --all-targets

## dev: a server on ./landfall-data, restarted by hand
dev: binary
	$(BIN) serve --data landfall-data
