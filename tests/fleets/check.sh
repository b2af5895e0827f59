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
# What 1,000 sessions cost is what `make bench-prometheus` and the tests wrote into docs/metrics.md.
python3 - "$page" docs/metrics.md <<'PYTHON' || fail "the table of $page is not what docs/metrics.md has"
import re
import sys

page, metrics = (open(path).read() for path in sys.argv[1:])


def rows(text, *first):
    for name in first:
        found = re.findall(rf"^\| {name} \|(.*)\|$", text, re.M)
        assert len(found) == 1, f"{len(found)} rows {name}"
        yield [float(cell.replace(",", "")) for cell in found[0].split("|")]


def rounded(number):
    return float(f"{number:.2g}")


def block(name):
    return re.search(rf"<!-- BEGIN {name} -->(.*?)<!-- END {name} -->", metrics, re.S)[1]


for kind in ("with logs", "without logs"):
    shown, = rows(page, f"Baileys 7, {kind}")
    measured, = rows(block("make bench-prometheus"), f"default, {kind}")
    assert shown == [measured[0], rounded(measured[1]), rounded(measured[0] / 60)], f"{kind}: {shown} {measured}"
    six, seven, _ = next(rows(block("series"), f"default, {kind}"))
    less = f"Baileys 6 has {1000 * (seven - six):,.0f} series fewer"
    assert less in page, f"{kind}: {less}"
PYTHON
echo "the configurations and the table of $page: ok"
