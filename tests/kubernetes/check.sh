#!/usr/bin/env bash
# tests/kubernetes/check.sh [DIR]
#
# Lints and renders the Helm chart in every set of values of its directory ci, renders the
# Kustomize overlays of this directory, and validates each object strictly, those of the
# Prometheus operator too. With DIR, where scripts/package.sh has built the packages, the
# programs must also understand the configurations, and print the PrometheusRule of the chart.
# Needs no cluster. Exits with 77 where a tool cannot be had.
set -euo pipefail
packages=${1:+$(realpath "$1")}
cd "$(dirname "$0")/../.."

not_run() {
  echo "NOT RUN: $*"
  exit 77
}
echo "NOT RUN: the chart in a cluster: there is none here; its objects are validated"

python=
for candidate in python3 python3.14 python3.13 python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3; do
  if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[[ $python ]] || not_run "the Helm chart: helm-python-sdk needs Python 3.12"
command -v kubectl >/dev/null || not_run "Kustomize: there is no kubectl"

tools=target/kubernetes
if ! cmp -s tests/kubernetes/requirements.txt "$tools/installed"; then
  rm -rf "$tools"
  "$python" -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check -r tests/kubernetes/requirements.txt
  cp tests/kubernetes/requirements.txt "$tools/installed"
fi
if ! cmp -s tests/kubernetes/package-lock.json tests/kubernetes/node_modules/installed; then
  npm ci --silent --ignore-scripts --no-audit --no-fund --prefix tests/kubernetes
  cp tests/kubernetes/package-lock.json tests/kubernetes/node_modules/installed
fi
yamllint --strict -c deploy/.yamllint deploy/helm deploy/kustomize dashboards/kustomization.yaml tests/kubernetes/kustomize
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [[ $packages ]]; then
  tar -C "$work" --strip-components=4 -xzf "$packages"/baileys_exporter-*.tar.gz --wildcards '*/usr/local/bin/*'
  BIN=$work
fi
BIN=${BIN:-} "$tools/bin/python" tests/kubernetes/check.py "$work"
