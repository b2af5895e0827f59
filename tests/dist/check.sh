#!/usr/bin/env bash
# tests/dist/check.sh DIR
#
# What scripts/dist.sh has built into DIR is complete: each file that the documentation has a
# person install or load is there, the SBOM is valid and holds what is linked, and what the bundle
# holds can be used from where it was unpacked.
set -euo pipefail
dist=$(realpath "$1")
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
  echo "FAILED: $*" >&2
  exit 1
}

(cd "$dist" && sha256sum --quiet --check SHA256SUMS) || fail "SHA256SUMS"
diff <(cd "$dist" && ls | grep -vx SHA256SUMS) <(awk '{ print $2 }' "$dist/SHA256SUMS") || fail "SHA256SUMS does not list each file"

# The files that pages name, `*` included.
found=0
while IFS=: read -r page name; do
  found=$((found + 1))
  compgen -G "$dist/$name" >/dev/null || fail "$page names $name, which make dist does not build"
done < <(grep -oHE '(baileys-exporter_|baileys_(exporter|bundle|exporter_image|remediator_image)-|prometheus-baileys-exporter-)[^ /"`()]*\.(deb|tar\.gz|tgz|json|yml)' \
  README.md docs/*.md deploy/helm/*/README.md | sort -u)
# With a `*` they mean one file.
for name in 'baileys-exporter_*.deb' 'baileys_exporter-*.tar.gz'; do
  (($(compgen -G "$dist/$name" | wc -l) == 1)) || fail "$name is not one file"
done
((found > 5)) || fail "the pages name only $found files"
grep -q 'baileys-exporter_\*\.deb' README.md || fail "README.md has no command to install the package"

# The badges of README.md say what was built.
scripts/badges.py "$dist" "$work/badges"
diff -r docs/badges "$work/badges" || fail "docs/badges: run scripts/badges.py $dist docs/badges"
while read -r badge; do
  grep -qF "(docs/badges/$badge)" README.md || fail "README.md does not show $badge"
done < <(ls docs/badges)

tools=target/dist-tools
if ! cmp -s tests/dist/requirements.txt "$tools/installed"; then
  rm -rf "$tools"
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check -r tests/dist/requirements.txt
  cp tests/dist/requirements.txt "$tools/installed"
fi
"$tools/bin/python" - "$dist"/*-sbom.cdx.json <<'PYTHON'
import json
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

text = open(sys.argv[1]).read()
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
if error:
    sys.exit(f"the SBOM is not valid: {error}")
components = json.loads(text)["components"]
names = {component["name"] for component in components}
if not {"sqlite", "rustls", "hyper", "exporter-toolkit"} <= names or names & {"proptest", "testkit", "assert_cmd"}:
    sys.exit("the SBOM does not hold what is linked")
print(f"SBOM: {len(components)} components")
PYTHON

tar -C "$work" -xzf "$dist"/baileys_bundle-*.tar.gz
# Where the pages of the bundle lead is in it, but what dashboards/README.md tells of the sources.
python3 - "$work/baileys" <<'PYTHON' || fail "the links of the bundle"
import pathlib
import re
import sys

bundle, seen, dead = pathlib.Path(sys.argv[1]), 0, []
for page in bundle.rglob("*.md"):
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in link and page != bundle / "dashboards/README.md":
            seen += 1
            if not (page.parent / link).exists():
                dead.append(f"{page.relative_to(bundle)}: {link}")
if dead or seen < 100:
    sys.exit("\n".join(dead) or f"only {seen} links")
PYTHON
sed -n 's/.*source: \(\.[^,}]*\).*/\1/p' "$work/baileys/deploy/compose/compose.yml" >"$work/sources"
(($(wc -l <"$work/sources") > 5)) || fail "compose.yml mounts nothing"
while read -r source; do
  [[ -e $work/baileys/deploy/compose/$source ]] || fail "compose.yml mounts $source, which is not in the bundle"
done <"$work/sources"
promtool check rules "$work/baileys/alerting-rules/baileys.rules.yml" >/dev/null || fail "the rules of the bundle"
tar -C "$work" -xzf "$dist"/prometheus-baileys-exporter-*.tgz
cmp "$work/prometheus-baileys-exporter/files/baileys.rules.yml" alerting-rules/baileys.rules.yml || fail "the rules of the chart"
while read -r link; do
  [[ -e $work/prometheus-baileys-exporter/$link ]] || fail "the chart's README.md leads to $link, which is not packed"
done < <(grep -oP '\]\(\K[^)]*' "$work/prometheus-baileys-exporter/README.md")
status=0
tests/kubernetes/tools.sh || status=$?
if [[ $status == 0 ]]; then
  target/kubernetes/bin/python -c 'import sys, helm_python as helm
report = helm.lint(sys.argv[1], {"auth": {"hostPath": "/a"}}, strict=True)
sys.exit(any(message["severity"] >= 2 for message in report["messages"]))' "$(echo "$dist"/prometheus-baileys-exporter-*.tgz)" || fail "the chart"
  # The overlay of docs/kubernetes.md, over the unpacked bundle.
  cp "$dist"/*-prometheusrule.yml "$work/prometheusrule.yml"
  awk '/^apiVersion: kustomize/ { f = 1 } /^```$/ { f = 0 } f' docs/kubernetes.md >"$work/kustomization.yaml"
  target/kubernetes/bin/kubectl kustomize "$work" >"$work/objects" || fail "the overlay of docs/kubernetes.md"
  awk -v RS='---\n' '/kind: PrometheusRule/ && /release: kube-prometheus-stack/ { f = 1 } END { exit !f }' "$work/objects" ||
    fail "the overlay has no rules that Prometheus finds"
elif [[ $status != 77 ]]; then
  fail "tests/kubernetes/tools.sh"
fi
echo "$(ls "$dist" | wc -l) files: ok"
