#!/usr/bin/env bash
# scripts/screenshots.sh [SITUATION ...]
#
# Draws the dashboards in ten situations (dashboards/render/situations.mjs), or in those that are
# named, into dashboards/screenshots. The series are those of the real programs and of the real
# recording rules; Grafana's own published panel code draws them in headless Chromium. Needs
# Node.js 20, npm, cc, prometheus and chromium. PROGRAMS: where the two programs are, by default
# target/debug, which is built.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in node npm cc promtool prometheus; do
  command -v "$tool" >/dev/null || {
    echo "screenshots: no $tool on the PATH" >&2
    exit 1
  }
done
node dashboards/build.mjs --check
programs=${PROGRAMS:-target/debug}
[[ -n ${PROGRAMS:-} ]] || cargo build --bins

render=dashboards/render
stamp=$render/node_modules/.installed-from-lockfile
if ! cmp -s "$render/package-lock.json" "$stamp"; then
  npm ci --prefix "$render" --ignore-scripts --no-audit --no-fund
  cp "$render/package-lock.json" "$stamp"
fi
built=$render/dist/index.html
if [[ ! -e $built || -n $(find "$render" -maxdepth 1 -newer "$built" \( -name '*.tsx' -o -name index.html -o -name vite.config.mjs -o -name package-lock.json \)) ]]; then
  (cd "$render" && npx --no-install vite build --logLevel warn)
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
all=(healthy tiers many exporter-down no-remediator no-logs vanished removed clash fresh)
for situation in "${@:-${all[@]}}"; do
  end=$(node "$render/record.mjs" --situation="$situation" --programs="$programs" --out="$work/$situation")
  draw() {
    node "$render/draw.mjs" --data="$work/$situation" --out=dashboards/screenshots --end="$end" --from=now-4h --allow-empty "$@"
  }
  # The pictures of the README have no situation in their names.
  case $situation in
    tiers) draw --dashboards=fleet --themes=dark ;;
    *) draw --dashboards=fleet --themes=dark --suffix="-$situation" ;;
  esac
  case $situation in
    tiers)
      draw --dashboards=session --themes=light --session=in-emergency
      draw --dashboards=remediation --themes=dark
      ;;
    vanished) draw --dashboards=session --themes=light --suffix=-vanished --session=old-campaign ;;
    removed) draw --dashboards=session --themes=light --suffix=-removed --session=zeta-otp ;;
    clash) draw --dashboards=session --themes=light --suffix=-clash --session=support --instance=wa-2.example.org:10273 ;;
  esac
done
