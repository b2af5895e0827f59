#!/usr/bin/env bash
# tests/fleets/check.sh: promtool takes each configuration that docs/fleets.md shows, and finds
# the targets that the page promises.
set -euo pipefail
cd "$(dirname "$0")/../.."
page=docs/fleets.md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
  echo "FAILED: $*" >&2
  exit 1
}

block() { awk -v mark="<!-- test: $1 -->" '$0 == mark { f = 1 } c && /^```$/ { exit } c; f && /^```(yaml|json)$/ { c = 1 }' "$page"; }
mkdir "$work/targets"
block targets >"$work/targets/baileys-lima.json"
cp alerting-rules/baileys.rules.yml "$work"
echo token >"$work/inventory.token"
names=$(sed -n 's/^<!-- test: \(.*\) -->$/\1/p' "$page" | grep -vx targets)
(($(wc -w <<<"$names") >= 5)) || fail "$page has no configurations"
for name in $names; do
  block "$name" | sed "s|/etc/prometheus|$work|" >"$work/$name"
  [[ -s $work/$name ]] || fail "$page has no block $name"
  promtool check config "$work/$name" >"$work/said" 2>&1 || fail "$name: $(cat "$work/said")"
done
for job in baileys:10273 baileys_remediator:10274; do
  promtool check service-discovery "$work/prometheus.yml" "${job%:*}" >"$work/found"
  for host in bots1 bots2 bots3; do
    grep -q "\"instance\": \"$host:${job#*:}\"" "$work/found" || fail "no instance $host:${job#*:}"
    grep -q "\"__address__\": \"$host.example.org:${job#*:}\"" "$work/found" || fail "no address of $host"
  done
done
echo "the configurations of $page: ok"
