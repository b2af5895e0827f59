#!/usr/bin/env bash
# scripts/install-debian-packages.sh PACKAGE...
#
# Installs what is missing of these Debian or Ubuntu packages, and starts none of their
# services: the demo and the tests start the programs themselves, on ports of their own.
# Does nothing, and needs no rights, when all of them are installed.
set -euo pipefail

say() { echo "install-debian-packages: $*" >&2; }

installed() { [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  say "this is no Debian or Ubuntu; install the equivalents yourself: $*"
  exit 1
fi

missing=()
for package in "$@"; do
  installed "$package" || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
  exit 0
fi

as_root=()
if [[ $EUID -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    say "missing: ${missing[*]}; this needs root and there is no sudo. As root, run:"
    say "  apt-get install --no-install-recommends ${missing[*]}"
    exit 1
  fi
  say "missing: ${missing[*]}; installing with sudo"
  as_root=(sudo)
else
  say "missing: ${missing[*]}; installing"
fi

# Maintainer scripts ask this file before they start a service. One that is there already
# belongs to the machine's owner and stays as it is.
policy=/usr/sbin/policy-rc.d
made_policy=
cleanup() {
  if [[ -n $made_policy ]]; then
    "${as_root[@]}" rm -f "$policy"
  fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
if [[ ! -e $policy && ! -L $policy ]]; then
  made_policy=1
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 0755 /dev/stdin "$policy"
fi

# Recommended packages are left out: prometheus would bring its node exporter.
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}")
if ! "${install[@]}"; then
  say "trying again with new package lists"
  "${as_root[@]}" apt-get update -q
  "${install[@]}"
fi

if [[ -d /run/systemd/system ]]; then
  say "installed: ${missing[*]}. Their services were not started now, but would be at the next boot;"
  say "  to prevent that: ${as_root[*]:+sudo }systemctl disable ${missing[*]}"
fi
