#!/usr/bin/env bash
# scripts/test.sh quick|all [PACKAGE...]
#
# Runs the tests, quick ones first, and ends with a table of what ran and what did not.
# A step that fails does not hide the steps behind it, but what needs it is not run.
set -uo pipefail
cd "$(dirname "$0")/.."

scope=$1
shift
names=() results=() seconds=()
failed=0

step() { # step NAME COMMAND...
  local name=$1 began=$SECONDS
  shift
  printf '\n==> %s\n' "$name"
  if "$@"; then results+=("passed"); else results+=("FAILED"); failed=$((failed + 1)); fi
  names+=("$name")
  seconds+=($((SECONDS - began)))
}

skip() { # skip NAME WHY
  names+=("$1")
  results+=("NOT RUN: $2")
  seconds+=(0)
  failed=$((failed + 1))
}

# The real library needs Node.js 20. Some packages of nodejs bring npm, Debian's does not.
node_20() {
  command -v node >/dev/null || scripts/install-debian-packages.sh nodejs || return
  command -v npm >/dev/null || scripts/install-debian-packages.sh npm || return
  local major
  major=$(node -p 'process.versions.node.split(".")[0]')
  if ((major < 20)); then
    # Debian 12 has 18; npm has newer ones, which stay in this folder.
    local package="node-linux-$(uname -m | sed 's/x86_64/x64/;s/aarch64/arm64/')"
    npm install --no-save --no-package-lock --prefix target/node "$package@22" || return
    PATH="$PWD/target/node/node_modules/$package/bin:$PATH"
    node --version
  fi
}

# Each integration test is a step of its own, so that the table tells them apart.
integration() {
  local threads=()
  # Its tests wait for bots rather than work.
  if [[ $1 == emergency ]]; then threads=(-- --test-threads=6); fi
  step "tests/$1.rs" cargo test --quiet --test "$1" "${threads[@]}"
}

if [[ $scope == all ]]; then
  step "install Debian packages" scripts/install-debian-packages.sh "$@"
  step "Node.js 20 and npm" node_20
fi
step "cargo fmt" cargo fmt --all --check
step "cargo clippy" cargo clippy --quiet --workspace --all-targets -- -D warnings
step "cargo doc" env RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --document-private-items
step "build" cargo build --quiet --workspace --all-targets
if [[ ${results[-1]} == passed ]]; then
  step "unit tests" cargo test --quiet --workspace --lib --bins
  integration guard_properties
  integration fuzz_corpus
  integration docs
  if [[ $scope == all ]]; then
    step "alerting rules (promtool, amtool)" alerting-rules/check.sh
    for test in cli status_apis connection service_control log_samples exporter logs webhook records web_config rules inhibition storms races crash_safety emergency creds_insurance browser dashboards real_baileys end_to_end; do
      integration "$test"
    done
    step "Ctrl-C in the demo" cargo test --quiet -p testkit --test demo
    step "make demo DEMO_ARGS=--check" make --no-print-directory demo DEMO_ARGS=--check
  fi
else
  skip "all tests" "the build failed"
fi

printf '\n%-40s %-10s %s\n' STEP RESULT SECONDS
for i in "${!names[@]}"; do
  printf '%-40s %-10s %s\n' "${names[$i]}" "${results[$i]}" "${seconds[$i]}"
done
printf '\n%d passed, %d failed\n' $((${#names[@]} - failed)) "$failed"
[[ $failed -eq 0 ]]
