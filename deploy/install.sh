#!/bin/sh
# sudo ./install.sh            installs below /usr/local, and into /etc what is not there yet
# sudo ./install.sh --remove   removes what it has installed below /usr/local
#
# Neither starts or stops anything. DESTDIR is put before each path.
set -eu
cd "$(dirname "$0")"
sha256sum --quiet --check SHA256SUMS
root=${DESTDIR:-}
find usr etc -type f | while read -r file; do
    case ${1:-}:$file in
        --remove:usr/*) rm -f "$root/$file" ;;
        --remove:*) ;;
        :etc/*) [ -e "$root/$file" ] || install -Dm644 "$file" "$root/$file" ;;
        :*/bin/*) install -Dm755 "$file" "$root/$file" ;;
        :*) install -Dm644 "$file" "$root/$file" ;;
    esac
done
if [ "${1:-}" = --remove ]; then
    find "$root/usr/local/share/doc/baileys-exporter" -depth -type d -empty -delete 2>/dev/null || :
fi
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemd-tmpfiles --create baileys.conf
    systemctl daemon-reload
fi
