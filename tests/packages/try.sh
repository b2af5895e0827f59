#!/usr/bin/env bash
# tests/packages/try.sh DIR
#
# Tries the packages that scripts/package.sh has built into DIR, in a fresh Debian: install, upgrade, reinstall, remove
# and purge; then, under a systemd of its own, both programs as the user of a bot under pm2;
# the static tarball the same way. Needs root, mmdebstrap and lintian. Exits with 77 where this
# machine does not allow all of it.
set -euo pipefail
packages=$(realpath "$1")
cd "$(dirname "$0")/../.."

not_run() {
  echo "NOT RUN: $*"
  exit 77
}
((EUID == 0)) || not_run "the packages: this needs root"
unshare --mount true || not_run "the packages: nothing may be mounted here"
# What is mounted here ends with this script.
[[ ${MOUNTS_ARE_PRIVATE:-} ]] || MOUNTS_ARE_PRIVATE=1 exec unshare --mount --propagation private tests/packages/try.sh "$packages"
work=$(mktemp -d)
root=$work/root
systemd=
cleanup() {
  [[ -z $systemd ]] || kill -KILL "$systemd" 2>/dev/null || true
  [[ ! -d /sys/fs/cgroup/$(basename "$work") ]] || find "/sys/fs/cgroup/$(basename "$work")" -depth -type d -exec rmdir {} \; 2>/dev/null || true
  umount "$root/proc" 2>/dev/null || true
  rm -rf --one-file-system "$work"
}
trap cleanup EXIT
fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# --- the packages -------------------------------------------------------------------------
deb=$(echo "$packages"/*.deb)
tarball=$(echo "$packages"/*.tar.gz)
(cd "$packages" && sha256sum --quiet --check SHA256SUMS)
lintian --allow-root --fail-on error,warning --display-level '>=warning' "$deb"
# The next version, to upgrade to: the same programs, another unit and other configuration files.
version=$(dpkg-deb -f "$deb" Version)
next_version=$((${version%%.*} + 1)).0.0-1
dpkg --compare-versions "$next_version" gt "$version" || fail "$next_version is not above $version"
dpkg-deb -R "$deb" "$work/next"
# changed DIR: what the next version has changed.
changed() {
  echo '# Of the next version.' | tee -a "$1/etc/baileys/config.yml" "$1/etc/default/baileys" >>"$(find "$1/usr" -name 'baileys_exporter@.service')"
}
changed "$work/next"
(cd "$work/next" && find usr etc -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
sed -i "s/^Version: .*/Version: $next_version/" "$work/next/DEBIAN/control"
dpkg-deb --root-owner-group -Zgzip --build "$work/next" "$work/next.deb" >/dev/null
for program in baileys_exporter baileys_remediator; do
  [[ $(file -b "$work/next/usr/bin/$program") == *"dynamically linked"* ]] || fail "$program of the package is static"
done

# --- a fresh Debian -----------------------------------------------------------------------
. /etc/os-release
mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,iproute2,nodejs,curl,ca-certificates,zsh,fish \
  "${VERSION_CODENAME:-bookworm}" "$root"
mount -t proc proc "$root/proc"
cp "$deb" "$root/1.deb"
cp "$work/next.deb" "$root/2.deb"
inside() { chroot "$root" env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"; }
files() {
  (cd "$root" && find . -xdev -path ./proc -prune -o -path ./sys -prune -o -path ./var/lib/dpkg -prune -o \
    -path ./var/lib/apt -prune -o -path ./var/cache -prune -o -path ./var/log -prune -o -path ./var/lib/systemd -prune -o -print | sort)
}
status() { inside dpkg-query -W -f='${db:Status-Abbrev}${Version}' baileys-exporter; }
files >"$work/before"
config=$root/etc/baileys/config.yml

inside apt-get install -qq -y --no-install-recommends /1.deb >"$work/log" || fail "install: $(cat "$work/log")"
[[ $(inside baileys_exporter --version) == *" ${version%-*}"* ]] || fail "the programs are not of version $version"
[[ -z $(find "$root/etc/systemd" -name '*baileys*') ]] || fail "the package enables a unit"
[[ $(stat -c '%a %U' "$root/var/lib/baileys_remediator") == "700 root" ]] || fail "no state directory"
[[ -s $root/usr/share/man/man1/baileys_remediator-clean.1.gz ]] || fail "no man pages"
for program in baileys_exporter baileys_remediator; do
  inside bash -c ". /usr/share/bash-completion/completions/$program" || fail "completion for bash"
  inside zsh -n "/usr/share/zsh/vendor-completions/_$program" || fail "completion for zsh"
  inside fish -n "/usr/share/fish/vendor_completions.d/$program.fish" || fail "completion for fish"
done
# check-config reads the configuration as shipped.
inside install -d -o bin /opt/ai-admin/baileys_sessions
for program in baileys_exporter baileys_remediator; do
  inside "$program" check-config --config.file=/etc/baileys/config.yml || fail "$program check-config"
done
rm -r "$root/opt/ai-admin"
# The configuration works as it is.
inside baileys_exporter rules --config.file=/etc/baileys/config.yml | grep -q BaileysAuthFilesCleanup || fail "rules"
sed -i 's|/opt/ai-admin/baileys_sessions|/home/bots/sessions|' "$config"
cp "$config" "$work/config.yml"
chown 1:1 "$root/var/lib/baileys_remediator"
# Both the operator and the package have changed config.yml: dpkg asks, and Enter keeps it.
{ yes '' || true; } | inside dpkg --install /2.deb >"$work/log" 2>&1 || fail "upgrade: $(cat "$work/log")"
grep -q "Configuration file '/etc/baileys/config.yml'" "$work/log" || fail "dpkg has not asked: $(cat "$work/log")"
[[ $(status) == "ii "*"$next_version" ]] || fail "upgrade: $(status)"
grep -q 'Of the next version' "$config.dpkg-dist" || fail "the new configuration is not beside the old one"
grep -q 'Of the next version' "$root/etc/default/baileys" || fail "an unchanged configuration file was not replaced"
inside apt-get install -qq -y --reinstall /2.deb >"$work/log" || fail "reinstall: $(cat "$work/log")"
inside dpkg --verify baileys-exporter | grep -v ' /etc/baileys/config.yml$' && fail "dpkg --verify"
cmp "$config" "$work/config.yml" || fail "the configuration was changed"
[[ $(stat -c %u "$root/var/lib/baileys_remediator") == 1 ]] || fail "the state directory changed hands"
inside apt-get remove -qq -y baileys-exporter >"$work/log" || fail "remove: $(cat "$work/log")"
cmp "$config" "$work/config.yml" || fail "remove took the configuration"
[[ -d $root/var/lib/baileys_remediator && ! -e $root/usr/bin/baileys_exporter ]] || fail "remove"
inside apt-get purge -qq -y baileys-exporter >"$work/log" || fail "purge: $(cat "$work/log")"
files | diff "$work/before" - || fail "purge leaves files"
echo "install, upgrade, reinstall, remove and purge: ok"

# --- the tarball --------------------------------------------------------------------------
tar -C "$root/opt" -xzf "$tarball"
unpacked=$(cd "$root" && echo opt/baileys_exporter-*)
for program in baileys_exporter baileys_remediator; do
  [[ $(file -b "$root/$unpacked/usr/local/bin/$program") =~ static ]] || fail "$program of the tarball is not static"
done
# They need no library, not even to resolve a name.
mkdir -p "$work"/empty/{etc,sessions/bot,state}
tar -C "$work/empty/sessions/bot" -xzf tests/fixtures/normal.tar.gz
cp "$root/$unpacked/usr/local/bin/baileys_remediator" "$work/empty"
echo '127.0.0.1 am-a.example.org' >"$work/empty/etc/hosts"
cat >"$work/empty/config.yml" <<'CONFIG'
sessions: {paths: [/sessions]}
alertmanager: {urls: ["http://am-a.example.org:1"]}
CONFIG
said=$(chroot "$work/empty" /baileys_remediator doctor --config.file=/config.yml --state.path=/state 2>&1) || true
[[ $said == *refused* ]] || fail "a static program does not resolve names: $said"
# The same files as in the package.
list() { sed -E 's|^usr/local/|usr/|; s|zsh/site-functions|zsh/vendor-completions|' | sort; }
(cd "$root/$unpacked" && find usr etc -type f) | list >"$work/tarball.list"
dpkg-deb --fsys-tarfile "$deb" | tar -t | sed 's|^\./||' | grep -vE '^$|/$|lintian|copyright|changelog.Debian' | list |
  diff - "$work/tarball.list" || fail "the tarball holds other files than the package"
inside "/$unpacked/install.sh"
inside baileys_exporter --version
echo "# mine" >>"$config"
inside "/$unpacked/install.sh"
[[ $(tail -n1 "$config") == "# mine" ]] || fail "install.sh has overwritten the configuration"
inside "/$unpacked/install.sh" --remove
rm -r "$root/etc/baileys" "$root/etc/default/baileys"
[[ -z $(find "$root/usr/local" -type f -o -name '*baileys*') ]] || fail "install.sh --remove leaves files"
echo damaged >>"$root/$unpacked/usr/local/bin/baileys_exporter"
if inside "/$unpacked/install.sh" 2>/dev/null; then fail "install.sh installs a damaged file"; fi
rm -r "${root:?}/$unpacked"
# The next version of it, to upgrade to.
tar -C "$work" -xzf "$tarball"
unpacked=$(cd "$work" && echo baileys_exporter-*)
changed "$work/$unpacked"
(cd "$work/$unpacked" && find . -type f ! -name SHA256SUMS -printf '%P\0' | sort -z | xargs -0 sha256sum >SHA256SUMS)
next=baileys_exporter-${next_version%-*}-${unpacked#*-*-}
mv "$work/$unpacked" "$work/$next"
mkdir "$root/next"
tar -C "$work" -czf "$root/next/$next.tar.gz" "$next"
(cd "$root/next" && sha256sum ./*.tar.gz >SHA256SUMS)
echo "tarball: ok"

umount "$root/proc"
# --- both programs under systemd, beside a bot under pm2 ----------------------------------
npm ci --silent --ignore-scripts --no-audit --no-fund --prefix tests/pm2
cp -a tests/pm2/node_modules "$root/opt/node_modules"
ln -s /opt/node_modules/pm2/bin/pm2 "$root/usr/local/bin/pm2"
mkdir -p "$root"/fixture/{normal,bloated}
tar -C "$root/fixture/normal" -xzf tests/fixtures/normal.tar.gz
tar -C "$root/fixture/bloated" -xzf tests/fixtures/bloated-classic-387.tar.gz
cp tests/packages/inside.sh docs/install.md "$root"
mkdir "$root/downloads" && cp "$packages"/* "$root/downloads"
group=/sys/fs/cgroup/$(basename "$work")
mkdir "$group" || not_run "the packages under systemd: there is no cgroup2 that may be written"
cat >"$work/boot.sh" <<'BOOT'
set -e
root=$1
ip link set lo up
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount --rbind /dev dev
mount --bind /dev/null dev/console
mkdir run/lock run/systemd run/systemd/system
printf '[Unit]\nDefaultDependencies=no\nWants=inside.service dbus.service\n' >run/systemd/system/inside.target
printf '[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/bash /inside.sh\nStandardOutput=file:/out\nStandardError=file:/out\n' >run/systemd/system/inside.service
exec chroot . env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /usr/lib/systemd/systemd --system --unit=inside.target --log-target=null --show-status=no
BOOT
sh -c 'echo $$ >"$1/cgroup.procs" && exec unshare --pid --mount --net --ipc --uts --cgroup --fork --kill-child=KILL bash "$2" "$3"' \
  sh "$group" "$work/boot.sh" "$root" >"$work/boot.log" 2>&1 &
systemd=$!
for ((i = 0; i < 900; i++)); do
  [[ ! -s $root/result ]] || break
  kill -0 "$systemd" 2>/dev/null || break
  sleep 1
done
cat "$root/out" "$work/boot.log" 2>/dev/null || true
[[ $(cat "$root/result" 2>/dev/null) == 0 ]] || fail "under systemd"
echo "under systemd: ok"
