#!/usr/bin/env bash
# scripts/images.sh PACKAGES DIR
#
# Builds the images of both programs into DIR, without a container engine, from the static
# programs that scripts/package.sh has built into PACKAGES. DIR/context is what `docker build`
# takes with the same Dockerfiles.
set -euo pipefail
packages=$(realpath "$1")
out=$(realpath -m "$2")
cd "$(dirname "$0")/.."
umask 022

export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)
architecture=$(dpkg --print-architecture)
rm -rf "$out"
mkdir -p "$out/context/state"
chmod 0700 "$out/context/state"
tar -C "$out/context" --strip-components=1 -xzf "$packages/baileys_exporter-$version-linux-$architecture.tar.gz"
mv "$out"/context/usr/local/bin/* "$out/context"
rm -rf "$out"/context/{usr,etc,install.sh,SHA256SUMS}
# Debian's package alone, not what else this machine trusts.
cat /usr/share/ca-certificates/mozilla/*.crt >"$out/context/ca-certificates.crt"
for name in exporter remediator; do
  python3 scripts/image.py "deploy/docker/$name.Dockerfile" "$out/context" \
    "$out/baileys_${name}_image-$version-linux-$architecture.tar.gz" "baileys_$name:$version" "$architecture" \
    "VERSION=$version" "REVISION=$(git rev-parse HEAD)"
done
