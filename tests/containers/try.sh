#!/usr/bin/env bash
# tests/containers/try.sh DIR
#
# Checks the Dockerfiles and compose.yml, builds the images from the packages that
# scripts/package.sh has built into DIR, and runs what compose.yml describes without a container
# engine: each service in its own root with its mounts, as its user, with its capabilities, in
# namespaces of its own. In the place of the images of Prometheus and Alertmanager it runs
# Debian's programs. Needs root. Exits with 77 where this machine does not allow all of it.
set -euo pipefail
packages=$(realpath "$1")
cd "$(dirname "$0")/../.."

not_run() {
  echo "NOT RUN: $*"
  exit 77
}
fail() {
  echo "FAILED: $*" >&2
  exit 1
}

tools=target/containers
if ! cmp -s tests/containers/requirements.txt "$tools/installed"; then
  rm -rf "$tools"
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check -r tests/containers/requirements.txt
  cp tests/containers/requirements.txt "$tools/installed"
fi
"$tools/bin/hadolint" deploy/docker/*.Dockerfile || fail "hadolint"
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
awk '/^<!-- test: logs.yml -->$/ { f = 1 } c && /^```$/ { exit } c; f && /^```yaml$/ { c = 1 }' docs/containers.md >"$work/logs.yml"
"$tools/bin/check-jsonschema" --builtin-schema vendor.compose-spec deploy/compose/*.yml "$work/logs.yml" || fail "the compose schema"
yamllint --strict -c deploy/.yamllint deploy/compose || fail "yamllint"
amtool check-config deploy/compose/alertmanager/alertmanager.yml >/dev/null || fail "alertmanager.yml"
"$tools/bin/amlint" check --strict --rules alerting-rules/baileys.rules.yml alerting-rules/alertmanager.yml \
  alerting-rules/receivers/*.yml deploy/compose/alertmanager/alertmanager.yml >"$tools/amlint" || {
  cat "$tools/amlint"
  fail "amlint"
}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)
images=$(grep -roE 'baileys_(exporter|remediator):[0-9][0-9.]*[0-9]' deploy/docker deploy/compose docs/containers.md)
(($(wc -l <<<"$images") > 5)) || fail "the pages name only: $images"
! grep -v ":$version$" <<<"$images" || fail "the version is $version"

for round in 1 2; do
  scripts/images.sh "$packages" "$work/images$round"
done
(cd "$work/images1" && sha256sum -- *_image-*.tar.gz) >"$work/sums"
(cd "$work/images2" && sha256sum --quiet --check "$work/sums") || fail "two builds of the images differ"
for image in "$work"/images1/*_image-*.tar.gz; do
  name=$(basename "$image")
  mkdir -p "$work/image/${name%%_image-*}"
  tar -C "$work/image/${name%%_image-*}" -xzf "$image"
done

if docker info >/dev/null 2>&1; then
  for image in "$work"/images1/*_image-*.tar.gz; do
    name=$(basename "${image%%_image-*}"):$version
    docker load --input "$image" || fail "docker load $image"
    docker run --rm "$name" --version || fail "docker run $name"
  done
else
  echo "NOT RUN: the images under a container engine: there is none here; they run in a root of their own"
fi
echo "NOT RUN: Grafana and Prometheus 3: their images cannot be had here; what is mounted is checked"

((EUID == 0)) || not_run "what compose.yml describes: this needs root"
unshare --mount --net --pid --fork true 2>/dev/null || not_run "what compose.yml describes: no namespaces here"
unshare --mount --propagation private --net --pid --fork --kill-child \
  "$tools/bin/python" tests/containers/services.py "$work"
