# The two commands of the README are `make demo` and `make test`; both set up what they need.
SHELL := /bin/bash
CARGO ?= cargo
export CARGO_TERM_COLOR ?= auto

# A C compiler: the journal's SQLite is built with the program.
DEMO_PACKAGES := gcc libc6-dev prometheus prometheus-alertmanager
TEST_PACKAGES := $(DEMO_PACKAGES) chromium strace systemd python3 python3-venv yamllint

# What the bench measures the exporter against.
BENCH_PACKAGES := gcc libc6-dev mtail ripgrep

.PHONY: demo test quick build soak bench clean help

help:
	@echo "make demo    watch a bloated folder be found, alerted, cleaned and resolved (about 2 minutes)"
	@echo "make demo DEMO_ARGS=--check    the same unattended"
	@echo "make test    everything, quick tests first"
	@echo "make quick   formatting, clippy, unit and property tests only"
	@echo "make soak    logs written and rotated in every style for 10 minutes, the exporter killed meanwhile"
	@echo "make bench   what reading logs costs, beside mtail and ripgrep; writes docs/performance.md"
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

soak:
	@scripts/install-debian-packages.sh $(DEMO_PACKAGES)
	SOAK_SECONDS=$${SOAK_SECONDS:-600} $(CARGO) test --release --test logs -- --nocapture every_line

bench:
	@scripts/install-debian-packages.sh $(BENCH_PACKAGES)
	$(CARGO) bench --bench logs

clean:
	$(CARGO) clean
