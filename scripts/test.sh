#!/usr/bin/env bash
# scripts/test.sh check|quick|all [PACKAGE...]
#
# Runs the tests, quick ones first, and ends with a table of what ran and what did not.
# A step that fails does not hide the steps behind it, but what needs it is not run.
# TEST_LANES (default 2) integration tests run at the same time: most of them wait.
#
# A step that this machine does not allow exits with 77 and prints `NOT RUN: why`; one that passes
# without some of its parts prints such lines and exits with 0. Both are named at the end.
set -uo pipefail
cd "$(dirname "$0")/.."

scope=$1
shift
names=() results=() seconds=() not_run=()
passed=0 failed=0

record() { # record NAME STATUS SECONDS
  names+=("$1")
  seconds+=("$3")
  case $2 in
    0) results+=("passed") && passed=$((passed + 1)) ;;
    77) results+=("NOT RUN") ;;
    *) results+=("FAILED") && failed=$((failed + 1)) ;;
  esac
}

step() { # step NAME COMMAND...
  local name=$1 began=$SECONDS
  shift
  printf '\n==> %s\n' "$name"
  "$@"
  record "$name" $? $((SECONDS - began))
}

skip() { # skip NAME WHY
  names+=("$1")
  results+=("NOT RUN")
  seconds+=(0)
  not_run+=("$1: $2")
  failed=$((failed + 1))
}

# Steps that run beside each other: `beside NAME COMMAND...` starts one as soon as a lane is
# free and shows what it printed when it ends; `join` waits for the rest.
declare -A lane_name=() lane_began=() lane_log=()
lanes=${TEST_LANES:-2}
packages= packages_status=1
end_lanes() {
  for pid in "${!lane_name[@]}"; do kill -TERM -- "-$pid" 2>/dev/null; done
  exit 130
}
trap end_lanes INT TERM HUP
lane_end() {
  local pid status why
  wait -n -p pid "${!lane_name[@]}"
  status=$?
  printf '\n==> %s\n' "${lane_name[$pid]}"
  cat "${lane_log[$pid]}"
  record "${lane_name[$pid]}" "$status" $((SECONDS - lane_began[$pid]))
  # What this machine does not allow: all of a step, or a part of it.
  while read -r why; do
    not_run+=("${lane_name[$pid]}: $why")
    if [[ $status == 0 ]]; then results[-1]="in part"; fi
  done < <(sed -n 's/^NOT RUN: //p' "${lane_log[$pid]}" | sort -u)
  rm -f "${lane_log[$pid]}"
  if [[ $pid == "$packages" ]]; then
    packages_status=$status
    lanes=$((lanes - 1))
  fi
  unset "lane_name[$pid]" "lane_began[$pid]" "lane_log[$pid]"
}
beside() {
  local name=$1 log
  shift
  while ((${#lane_name[@]} >= lanes)); do lane_end; done
  log=$(mktemp)
  # A process group each, so that Ctrl-C ends all of it.
  set -m
  "$@" >"$log" 2>&1 </dev/null &
  set +m
  lane_name[$!]=$name lane_began[$!]=$SECONDS lane_log[$!]=$log
}
# The release build takes one processor for ten minutes. It has a lane of its own, and what the
# tests leave.
build_packages() {
  lanes=$((lanes + 1))
  beside "packages: build" nice -n 10 scripts/package.sh target/packages
  packages=$!
}
join() {
  while ((${#lane_name[@]} > 0)); do lane_end; done
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

declare -A started=()
# integration TEST [FILTER...]: each is a step of its own, so that the table tells them apart.
integration() {
  local test=$1 threads=()
  # Their tests wait rather than work.
  case $test in
    emergency | systemd | log_samples | status_apis) threads=(--test-threads=6) ;;
  esac
  shift
  started[$test]=1
  beside "tests/$test.rs${*:+ $*}" cargo test --quiet --workspace --test "$test" -- "${threads[@]}" "$@"
}

if [[ $scope == all ]]; then
  step "install Debian packages" scripts/install-debian-packages.sh "$@"
  step "Node.js 20 and npm" node_20
fi
step "cargo fmt" cargo fmt --all --check
if [[ $scope == check ]]; then
  # Not the integration tests: to check each of them again takes most of a minute.
  step "cargo clippy" cargo clippy --quiet --workspace --lib --bins --test guard_properties -- -D warnings
  step "unit tests" cargo test --quiet --workspace --lib
  step "tests/guard_properties.rs, fewer cases" \
    env QUICK_PROPERTIES=1 cargo test --quiet --workspace --test guard_properties
else
  step "cargo clippy" cargo clippy --quiet --workspace --all-targets -- -D warnings
  step "cargo doc" env RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --document-private-items
  # Nothing is built that is not run. All tests share these programs and libraries.
  if [[ $scope == all ]]; then
    step "build" cargo test --quiet --workspace --no-run
  else
    step "build" cargo test --quiet --workspace --lib --bins --test guard_properties --test fuzz_corpus --test docs --no-run
  fi
  if [[ ${results[-1]} == passed ]]; then
    step "unit tests" cargo test --quiet --workspace --lib --bins
    for test in guard_properties fuzz_corpus docs; do integration "$test"; done
    join
    if [[ $scope == all ]]; then
      build_packages
      beside "fleets: configurations of Prometheus" tests/fleets/check.sh
      for part in 1 2 3; do
        beside "alerting-rules/check.sh $part 3" alerting-rules/check.sh "$part" 3
      done
      # The longest first, so that no lane is left alone with one at the end.
      integration emergency under_the_real
      integration emergency the_real_baileys --skip under_the_real
      integration crash_safety clean_up_killed
      integration crash_safety kill --skip clean_up_killed
      integration crash_safety --skip kill
      integration real_baileys 6_7_18
      integration real_baileys --skip 6_7_18
      integration emergency --skip the_real_baileys
      for test in logs pages systemd availability messages before_a_stop signals budget creds_insurance folder_readings log_samples log_sessions discovery web_config storms dashboards end_to_end \
        webhook races pull exporter inhibition browser service_control install connection status_apis records cli rules; do
        integration "$test"
      done
      for file in tests/*.rs; do
        test=$(basename "$file" .rs)
        [[ -v started[$test] ]] || integration "$test"
      done
      beside "Ctrl-C in the demo" cargo test --quiet --workspace --test demo
      beside "make demo DEMO_ARGS=--check" make --no-print-directory demo DEMO_PROFILE=dev DEMO_ARGS=--check
      join
      if [[ $packages_status == 0 ]]; then
        step "packages: size" tests/packages/size.sh target/packages
        beside "packages: try" tests/packages/try.sh target/packages
        beside "containers: try" tests/containers/try.sh target/packages
        beside "Kubernetes" tests/kubernetes/check.sh target/packages
        beside "dist" bash -c 'scripts/dist.sh target/dist target/packages && tests/dist/check.sh target/dist'
      else
        for name in "packages: try" "containers: try" Kubernetes dist; do skip "$name" "the packages were not built"; done
      fi
      beside "instruction counts" tests/instructions/check.sh
      join
    fi
  else
    skip "all tests" "the build failed"
  fi
fi

printf '\n%-40s %-10s %s\n' STEP RESULT SECONDS
for i in "${!names[@]}"; do
  printf '%-40s %-10s %s\n' "${names[$i]}" "${results[$i]}" "${seconds[$i]}"
done
printf '\n%d passed, %d failed\n' "$passed" "$failed"
# The last lines, so that what did not run is not taken for a pass.
if ((${#not_run[@]} > 0)); then
  printf 'NOT RUN on this machine:\n'
  printf '  %s\n' "${not_run[@]}"
fi
[[ $failed -eq 0 ]]
