#!/bin/sh
# Rewrites tests/fixtures/*.tar.gz with the real library. The keys are new at every run, the counts and times are not.
# Wants node 20 and npm; takes about a minute.
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
fixtures=$here/../fixtures
base=2026-01-01T00:00:00Z
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for v in 6.7.18 7.0.0-rc14; do
	[ -d "$here/$v/node_modules" ] || (cd "$here/$v" && npm ci --legacy-peer-deps --ignore-scripts --no-audit --no-fund --silent)
done

pack() { # OUT.tar.gz DIR [tar flag...], deterministic: sorted, nobody's, no gzip header
	out=$1 dir=$2; shift 2
	(cd "$dir" && tar --format=ustar --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX "$@" -cf - *) | gzip -9 -n > "$fixtures/$out.tar.gz"
}
make() { # NAME FILES VERSION [gen.mjs flag...]
	name=$1 want=$2 version=$3; shift 3
	BAILEYS_DIR=$here/$version node "$here/gen.mjs" "$work/$name" --base $base "$@" > "$work/$name.json"
	bot=$work/$name/company_962302
	got=$(ls -A "$bot" | wc -l)
	[ "$got" -eq "$want" ] || { echo "$name: $got files, wanted $want" >&2; exit 1; }
	BAILEYS_DIR=$here/$version node "$here/verify.mjs" "$work/$name" --sample 40 > /dev/null || { echo "$name: the library cannot read it" >&2; exit 1; }
	pack "$name" "$bot"
	echo "$name: $(tr -d '\n' < "$work/$name.json")"
}

make normal                76 6.7.18     --contacts 15 --inflight 20  --prekey-days 30:2
make warning-130          130 6.7.18     --contacts 68 --inflight 15  --prekey-days 90:5
make bloated-classic-387  387 6.7.18     --contacts 40 --inflight 300 --prekey-days 210:1
make modern-816           816 7.0.0-rc14 --fresh-login
make modern-1003         1003 7.0.0-rc14 --contacts 40 --inflight 5   --prekey-days 60

# What verify.mjs needs beside the bloated folder: unpack it as OUT, and the folder as OUT/company_962302.
rm -rf "$work/bloated-classic-387/company_962302"
pack bloated-classic-387.peers "$work/bloated-classic-387" --mtime="$base"
ls -l "$fixtures"
