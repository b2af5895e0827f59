# The two commands of the README are `make demo` and `make test`; both set up what they need.
SHELL := /bin/bash
CARGO ?= cargo
export CARGO_TERM_COLOR ?= auto

# A C compiler: the journal's SQLite is built with the program.
DEMO_PACKAGES := gcc libc6-dev prometheus prometheus-alertmanager
TEST_PACKAGES := $(DEMO_PACKAGES) chromium strace python3 python3-venv yamllint

.PHONY: demo test quick build clean help

help:
	@echo "make demo    watch a bloated folder be found, alerted, cleaned and resolved (about 2 minutes)"
	@echo "make demo DEMO_ARGS=--check    the same unattended"
	@echo "make test    everything, quick tests first"
	@echo "make quick   formatting, clippy, unit and property tests only"
	@echo "make build   the two programs, into target/release"

demo:
	@scripts/install-debian-packages.sh $(DEMO_PACKAGES)
	@echo "building the two programs (some minutes the first time)"
	@$(CARGO) build --release --bins -p baileys_exporter -p testkit
	@$(CARGO) run --quiet --release -p testkit --bin demo -- $(DEMO_ARGS)

build:
	$(CARGO) build --release --bins

quick:
	@scripts/test.sh quick

test:
	@scripts/test.sh all $(TEST_PACKAGES)

clean:
	$(CARGO) clean
