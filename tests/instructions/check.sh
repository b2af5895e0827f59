#!/usr/bin/env bash
# tests/instructions/check.sh
#
# Counts the instructions of the hot paths with valgrind, and compares them with counts.tsv:
# unlike times they are the same on a busy machine. A path may cost a quarter more or less. Where
# a change is meant, UPDATE=1 writes counts.tsv. Exits with 77 where nothing can be counted.
# PROFILE (default release) is that of cargo.
set -euo pipefail
cd "$(dirname "$0")/../.."

counts=tests/instructions/counts.tsv
# A count of what is measured may be so many percent above or below that of counts.tsv.
margin=25
times=8
not_run() {
  echo "NOT RUN: the instruction counts: $*"
  exit 77
}
command -v valgrind >/dev/null || not_run "there is no valgrind"
[[ $(uname -m) == x86_64 ]] || not_run "they are of x86_64"
grep -qw avx2 /proc/cpuinfo || not_run "they are of a processor with AVX2"
valgrind --quiet --tool=none true 2>/dev/null || not_run "valgrind cannot run here"

profile=${PROFILE:-release}
cargo build --quiet --locked --profile "$profile" -p instructions
program=${CARGO_TARGET_DIR:-target}/${profile/dev/debug}/instructions
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$program" --ready "$work"

# counted PATH TIMES: instructions of a run.
counted() {
  local said
  said=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" "$work" 2>&1) || {
    echo "$said" >&2
    return 1
  }
  sed -n 's/^==[0-9]*== Collected : //p' <<<"$said"
}

failed=0
[[ -z ${UPDATE:-} ]] || cp "$counts" "$work/counts.tsv"
while IFS=$'\t' read -r path expected what; do
  [[ $path != '#'* && $path != path ]] || continue
  once=$(counted "$path" 1)
  # Several times, because what is made ready before does not always cost the same.
  more=$(counted "$path" $((1 + times)))
  now=$(((more - once) / times))
  if [[ ${UPDATE:-} ]]; then
    sed -i "s/^$path\t[0-9]*\t/$path\t$now\t/" "$work/counts.tsv"
  fi
  percent=$((expected > 0 ? (now - expected) * 100 / expected : 1000))
  printf '%-18s %12d instructions, %+d %% of %d: %s\n' "$path" "$now" "$percent" "$expected" "$what"
  if [[ -z ${UPDATE:-} ]] && ((percent > margin || percent < -margin)); then
    failed=1
    echo "FAILED: $path has moved by more than $margin %" >&2
  fi
done <"$counts"
if [[ ${UPDATE:-} ]]; then
  cp "$work/counts.tsv" "$counts"
elif ((failed)); then
  echo "If that is meant: UPDATE=1 tests/instructions/check.sh writes $counts" >&2
  exit 1
fi
