# The two commands of the README are `make demo` and `make test`; both set up what they need.
SHELL := /bin/bash
CARGO ?= cargo
export CARGO_TERM_COLOR ?= auto

# A C compiler: the journal's SQLite is built with the program.
DEMO_PACKAGES := gcc libc6-dev prometheus prometheus-alertmanager
TEST_PACKAGES := $(DEMO_PACKAGES) chromium iproute2 strace systemd python3 python3-venv yamllint \
  dpkg-dev file lintian mmdebstrap valgrind ca-certificates

# What the bench measures the exporter against.
BENCH_PACKAGES := gcc libc6-dev mtail ripgrep

.PHONY: demo test quick check deny build package dist soak fuzz bench bench-fleet bench-folders bench-exposition bench-prometheus bench-remediator bench-hot-paths screenshots clean help

help:
	@echo "make demo    watch a bloated folder be found, alerted, cleaned and resolved (about 2 minutes)"
	@echo "make demo DEMO_ARGS=--check    the same unattended"
	@echo "make test    everything, quick tests first"
	@echo "make check   what to run after each change: formatting, clippy, unit and quick property tests"
	@echo "make quick   the same with all property tests, the documentation and the fuzz corpus"
	@echo "make deny    licences, sources and bans of all dependencies; needs cargo-deny"
	@echo "make soak    what make test bounds, in full: logs in every style of rotation for 10 minutes, storms, errors"
	@echo "make fuzz    each fuzz target for 10 minutes; needs a nightly compiler and cargo-fuzz"
	@echo "make bench   what reading logs costs, beside mtail and ripgrep; writes docs/performance.md"
	@echo "make bench-fleet    what 500 hosts that poll cost a real Alertmanager (8 minutes); writes docs/performance.md"
	@echo "make bench-folders    what a scrape of 10 to 10,000 auth folders costs, beside a bare loop (20 minutes, 10 GB of disk); writes docs/performance.md and docs/plots"
	@echo "make bench-exposition    what it costs to write the metrics, beside a writer of the same bytes; writes docs/performance.md"
	@echo "make bench-prometheus    what 1,000 sessions cost a Prometheus (10 minutes); writes docs/metrics.md"
	@echo "make bench-remediator    what moving files and accepting alerts costs, beside the bare calls and SQLite; writes docs/performance.md"
	@echo "make bench-hot-paths    the time of each hot path whose instructions make test counts"
	@echo "make screenshots    draws the dashboards with Grafana's own panels, into dashboards/screenshots"
	@echo "make build   the two programs, into target/release"
	@echo "make package the Debian package and the static tarball, into target/packages"
	@echo "make dist    all files of a release, each built twice, into target/dist; docs/releasing.md"

# The tests use the programs that they have built already: `dev`.
DEMO_PROFILE ?= release

demo:
	@scripts/install-debian-packages.sh $(DEMO_PACKAGES)
	@echo "building the two programs (some minutes the first time)"
	@$(CARGO) build --profile $(DEMO_PROFILE) --bins -p baileys_exporter -p testkit
	@$(CARGO) run --quiet --profile $(DEMO_PROFILE) -p testkit --bin demo -- $(DEMO_ARGS)

# The Debian package, the tarball and SHA256SUMS, into target/packages.
package:
	@scripts/install-debian-packages.sh gcc libc6-dev dpkg-dev
	@scripts/package.sh target/packages

# All of a release, into target/dist: docs/releasing.md.
dist:
	@scripts/install-debian-packages.sh gcc libc6-dev dpkg-dev prometheus python3 python3-venv ca-certificates
	@scripts/dist.sh target/dist
	@tests/dist/check.sh target/dist

build:
	$(CARGO) build --release --bins

check:
	@scripts/test.sh check

quick:
	@scripts/test.sh quick

deny:
	cargo deny check licenses sources bans

test:
	@scripts/test.sh all $(TEST_PACKAGES)

soak:
	@scripts/install-debian-packages.sh $(DEMO_PACKAGES) strace
	SOAK_SECONDS=$${SOAK_SECONDS:-600} $(CARGO) test --release --test logs -- --nocapture every_line
	STORM_SESSIONS=1000 STORM_POSTS=10000 $(CARGO) test --release --test storms -- --nocapture --test-threads=1
	ERRNOS=all $(CARGO) test --release --test crash_safety -- --nocapture every_errno
	SOAK_SECONDS=$${SOAK_SECONDS:-600} $(CARGO) test --release --test creds_insurance any_call
	node tests/dashboards/soak.mjs
	node tests/dashboards/rules.mjs --sessions=$${RULES_SESSIONS:-500}

# See docs/fuzzing.md. Without a sanitizer: there is no unsafe code to sanitize.
FUZZ_TARGETS ?= webhook names session creds config web_config logs
fuzz:
	set -e; for target in $(FUZZ_TARGETS); do \
	  mkdir -p fuzz/grown/$$target; \
	  (cd fuzz && cargo +nightly fuzz run -s none $$target grown/$$target corpus/$$target -- \
	    -max_total_time=$${FUZZ_SECONDS:-600} -max_len=4096 -dict=dict/$$target -timeout=20); \
	done

# What dashboards/README.md and the README show.
screenshots:
	@scripts/install-debian-packages.sh prometheus chromium
	scripts/screenshots.sh

bench:
	@scripts/install-debian-packages.sh $(BENCH_PACKAGES)
	$(CARGO) bench --bench logs

bench-fleet:
	@scripts/install-debian-packages.sh $(DEMO_PACKAGES)
	$(CARGO) bench --bench polling

bench-folders:
	@scripts/install-debian-packages.sh gcc libc6-dev
	$(CARGO) bench --bench folders

bench-exposition:
	$(CARGO) bench --bench exposition

bench-prometheus:
	@scripts/install-debian-packages.sh prometheus
	$(CARGO) build --release --bin baileys_exporter
	node tests/dashboards/cost.mjs

bench-remediator:
	@scripts/install-debian-packages.sh gcc libc6-dev
	$(CARGO) bench --bench remediator

bench-hot-paths:
	$(CARGO) bench -p instructions

clean:
	$(CARGO) clean
