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

tests/kubernetes/tools.sh
echo "NOT RUN: the chart in a cluster: there is none here; its objects are validated"
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
BIN=${BIN:-} target/kubernetes/bin/python tests/kubernetes/check.py "$work"
