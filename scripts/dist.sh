#!/usr/bin/env bash
# scripts/dist.sh DIR [PACKAGES]
#
# Builds everything that a release consists of into DIR: docs/releasing.md lists it. Each artefact
# is built twice, and must be the same both times: without PACKAGES the programs too, the second
# time from nothing. With PACKAGES, where scripts/package.sh has built them, they are taken from
# there. PROFILE and REVISION as in scripts/package.sh.
set -euo pipefail
out=$(realpath -m "$1")
packages=${2:+$(realpath "$2")}
cd "$(dirname "$0")/.."
umask 022

export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)
profile=${PROFILE:-release}
chart=deploy/helm/prometheus-baileys-exporter
name=baileys_exporter-$version
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

[[ $(sed -n 's/^appVersion: //p' "$chart/Chart.yaml") == "$version" ]] || {
  echo "dist.sh: appVersion in $chart/Chart.yaml is not $version, the version in Cargo.toml" >&2
  exit 1
}

# pack OUT PREFIX DIR PATH...: what git knows below these paths of DIR, links as what they lead to.
pack() {
  local to=$1 prefix=$2 dir=$3
  shift 3
  git -C "$dir" ls-files -z -- "$@" | tar -C "$dir" --no-recursion --dereference --sort=name \
    --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w \
    --transform="s|^|$prefix/|" -c --null --files-from=- | gzip -9n >"$to"
}

# artefacts PACKAGES TO: all but the packages.
artefacts() {
  local from=$1 to=$2
  mkdir -p "$to"
  scripts/images.sh "$from" "$work/images"
  cp "$work"/images/*_image-*.tar.gz "$to"
  pack "$to/prometheus-baileys-exporter-$(sed -n 's/^version: //p' "$chart/Chart.yaml").tgz" \
    prometheus-baileys-exporter "$chart" .
  pack "$to/baileys_bundle-$version.tar.gz" baileys . LICENSE CHANGELOG.md CONTRIBUTING.md README.md docs tests/safety/promises.md \
    alerting-rules dashboards deploy \
    ':!dashboards/render' ':!dashboards/src' ':!deploy/debian' ':!deploy/demo' ':!alerting-rules/tests'
  "$work/images/context/baileys_exporter" rules --format=prometheusrule --config.file=/dev/null >"$to/$name-prometheusrule.yml"
  python3 scripts/sbom.py "$to/$name-sbom.cdx.json"
  awk -v version="$version" '/^## / { f = index($0, "## " version) == 1 } f' CHANGELOG.md >"$to/$name-changes.md"
  [[ -s $to/$name-changes.md ]] || {
    echo "dist.sh: CHANGELOG.md has no section $version" >&2
    exit 1
  }
}

# same DIR DIR: the same files with the same bytes.
same() {
  (cd "$1" && sha256sum -- *) >"$work/first"
  (cd "$2" && sha256sum -- *) | diff "$work/first" - || {
    echo "dist.sh: two builds of the same commit differ" >&2
    exit 1
  }
}

if [[ ! $packages ]]; then
  [[ -z $(git status --porcelain) ]] || {
    echo "dist.sh: uncommitted changes would be in the release" >&2
    git status --short >&2
    exit 1
  }
  packages=$work/packages
  scripts/package.sh "$packages"
  rm -rf "target/${profile/dev/debug}"
  scripts/package.sh "$work/packages-again"
  same "$packages" "$work/packages-again"
fi
artefacts "$packages" "$work/dist"
artefacts "$packages" "$work/again"
same "$work/dist" "$work/again"
rm -rf "$out"
mkdir -p "$out"
cp "$work"/dist/* "$packages"/*.deb "$packages"/*.tar.gz "$out"
# First the sums, so that the list does not contain itself.
sums=$(cd "$out" && sha256sum -- *)
printf '%s\n' "$sums" | tee "$out/SHA256SUMS"
