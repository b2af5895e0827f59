#!/usr/bin/env bash
# tests/packages/size.sh DIR
#
# The programs in the packages that scripts/package.sh has built into DIR, by the profile release,
# do not grow. The goal is 10 MB each; see docs/performance.md.
set -euo pipefail
packages=$(realpath "$1")
most=17500000

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work"/{deb,tar}
dpkg-deb --fsys-tarfile "$packages"/*.deb | tar -C "$work/deb" -x
tar -C "$work/tar" -xzf "$packages"/*.tar.gz

failed=0 found=0
while read -r program; do
  found=$((found + 1))
  size=$(stat -c %s "$program")
  printf '%-60s %s bytes\n' "${program#"$work/"}" "$size"
  if ((size > most)); then
    failed=1
    echo "FAILED: ${program#"$work/"} has $size bytes, more than $most: see 'What the programs weigh' in docs/performance.md" >&2
  fi
done < <(find "$work" -path '*/bin/*' -type f)
((found == 4)) || { echo "FAILED: $found programs instead of 4" >&2 && exit 1; }
exit "$failed"
