#!/usr/bin/env bash
# scripts/screenshots.sh
#
# Draws the three dashboards, dark and light, into dashboards/screenshots: an invented fleet
# is backfilled into a real Prometheus on a free port of loopback, and Grafana's own published
# panel code draws in headless Chromium. Needs Node.js 20, npm, prometheus and chromium.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in node npm promtool prometheus; do
  command -v "$tool" >/dev/null || {
    echo "screenshots: no $tool on the PATH" >&2
    exit 1
  }
done
node dashboards/build.mjs --check

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
# The ends of the blocks and of the pictures are the same instant.
end=$(($(date +%s) / 300 * 300))
node "$render/invent.mjs" --end="$end" --out="$work/fleet.txt"
promtool tsdb create-blocks-from --max-block-duration=720h openmetrics -q "$work/fleet.txt" "$work/data"
node "$render/draw.mjs" --data="$work/data" --out=dashboards/screenshots --end="$end" --session=company_962302
