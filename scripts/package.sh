#!/usr/bin/env bash
# scripts/package.sh DIR
#
# Builds the Debian package, the static tarball and SHA256SUMS into DIR. The same commit
# gives the same bytes. REVISION (default 1) is Debian's revision of the version; PROFILE
# (default release) that of cargo.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022

out=$(realpath -m "$1")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)
debian_version=$version-${REVISION:-1}
architecture=$(dpkg --print-architecture)
programs=(baileys_exporter baileys_remediator)
cargo_deb=3.8.0
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
profile=${PROFILE:-release}
target=target/${profile/dev/debug}
files=target/package
work=$(mktemp -d)
bin=$work/cargo/bin
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
rm -rf "$files"
rm -f "$out"/baileys-exporter_*.deb "$out"/baileys_exporter-*.tar.gz

# All files but the programs, into $files. Every file is compressed without a time.
lay_out() {
  local to=$files program
  for program in "${programs[@]}"; do
    "$bin/$program" generate "$work/generated"
    install -Dm644 -t "$to/usr/lib/systemd/system" "deploy/systemd/$program@.service"
    install -Dm644 "$work/generated/$program.bash" "$to/usr/share/bash-completion/completions/$program"
    install -Dm644 "$work/generated/_$program" -t "$to/usr/share/zsh/vendor-completions"
    install -Dm644 "$work/generated/$program.fish" -t "$to/usr/share/fish/vendor_completions.d"
  done
  install -Dm644 "$work"/generated/*.1 -t "$to/usr/share/man/man1"
  gzip -9n "$to"/usr/share/man/man1/*
  install -Dm644 deploy/tmpfiles/baileys.conf -t "$to/usr/lib/tmpfiles.d"
  install -Dm644 deploy/default/baileys -t "$to/etc/default"
  install -Dm644 deploy/config.yml -t "$to/etc/baileys"
  install -Dm644 CHANGELOG.md "$to/usr/share/doc/baileys-exporter/changelog"
  gzip -9n "$to/usr/share/doc/baileys-exporter/changelog"
  install -Dm644 -t "$to/usr/share/doc/baileys-exporter/examples" \
    alerting-rules/{prometheus,alertmanager}.yml deploy/web-config.example.yml \
    deploy/pm2/ecosystem.config.js deploy/polkit/50-baileys_remediator.rules
}

# debian_package: linked as usual, so that libc gets its security fixes from Debian.
debian_package() {
  local doc=$files/usr/share/doc/baileys-exporter maintainer
  maintainer=$(sed -n 's|^maintainer = "\(.*\)"|\1|p' Cargo.toml)
  printf 'baileys-exporter (%s) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  %s\n' \
    "$debian_version" "$maintainer" "$(date -uRd "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.Debian.gz"
  cargo install --quiet --locked --root target/tools "cargo-deb@$cargo_deb"
  SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH target/tools/bin/cargo-deb --quiet --no-build --profile "$profile" \
    --deb-version "$debian_version" --output "$out/baileys-exporter_${debian_version}_$architecture.deb"
  rm "$doc/changelog.Debian.gz"
}

# tarball: the same files below /usr/local, and programs that need no library.
tarball() {
  local name=baileys_exporter-$version-linux-$architecture tree program
  tree=$work/$name
  mkdir -p "$tree/usr"
  cp -a "$files/usr" "$tree/usr/local"
  cp -a "$files/etc" "$tree/etc"
  mv "$tree"/usr/local/share/zsh/{vendor-completions,site-functions}
  mkdir "$tree/usr/local/bin"
  for program in "${programs[@]}"; do
    # Only this crate is compiled again, and linked.
    cargo rustc --quiet --profile "$profile" --bin "$program" -- -C target-feature=+crt-static
    install -m755 -t "$tree/usr/local/bin" "$target/$program"
    strip --strip-unneeded "$tree/usr/local/bin/$program"
  done
  install -m755 -t "$tree" deploy/install.sh
  install -m644 -t "$tree" LICENSE
  (cd "$tree" && find . -type f ! -name SHA256SUMS -printf '%P\0' | sort -z | xargs -0 sha256sum >SHA256SUMS)
  tar -C "$work" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    -c "$name" | gzip -9n >"$out/$name.tar.gz"
}

# Into a directory of its own, and built in target as `cargo build` does.
cargo install --quiet --locked --no-track --profile "$profile" --path . --root "$work/cargo"
lay_out
debian_package
tarball
(cd "$out" && sha256sum -- *.deb *.tar.gz | tee SHA256SUMS)
