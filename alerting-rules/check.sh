#!/usr/bin/env bash
# Checks everything in this directory: one line a check, exit 1 when any failed,
# 2 when a tool is missing. It needs no network. promtool takes minutes for the tests of the
# rules, so `check.sh 1 3`, `check.sh 2 3` and `check.sh 3 3` divide the work by three.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

rules=baileys.rules.yml
runbooks=../docs/runbooks
part=${1:-1} parts=${2:-1}
failed=0

if [[ ! $part$parts =~ ^[1-9][1-9]$ ]] || ((part > parts)); then
  echo "usage: alerting-rules/check.sh [PART PARTS], such as: alerting-rules/check.sh 1 3" >&2
  exit 2
fi

for tool in promtool amtool; do
  if ! command -v "$tool" >/dev/null; then
    echo "alerting-rules/check.sh: $tool is not on PATH; on Debian: apt-get install prometheus prometheus-alertmanager" >&2
    exit 2
  fi
done

# check NAME COMMAND...: runs it, and shows what it printed only when it failed.
check() {
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then
    echo "ok    $name"
  else
    echo "FAIL  $name"
    printf '%s\n' "$output" | sed 's/^/      /'
    failed=1
  fi
}

alerts() { sed -n 's/^ *- alert: *\([A-Za-z0-9_]*\) *$/\1/p' "$rules"; }

# ALERT SEVERITY of every rule, one a line.
severities() {
  awk '$2 == "alert:" { alert = $3 } alert && $1 == "severity:" { print alert, $2; alert = "" }' "$rules"
}

# expect_routes RECEIVERS LABEL=VALUE...: amtool prints the receivers in order.
expect_routes() {
  amtool config routes test --config.file=alertmanager.yml --verify.receivers="$1" "${@:2}"
}

# The four tiers carry the label "ladder" and no other rule does; both sides of
# every inhibition ask for it.
inhibition_is_for_tiers() {
  local status=0 tiers asked
  tiers=$(awk '$2 == "alert:" { alert = $3 } $1 == "ladder:" { print alert }' "$rules" | sort | xargs)
  if [[ $tiers != "BaileysAuthFilesCleanup BaileysAuthFilesEmergency BaileysAuthFilesFatal BaileysAuthFilesWarning" ]]; then
    echo "the label ladder is carried by: $tiers"
    status=1
  fi
  asked=$(grep -cE '^ *(- )?(source|target)_matchers:' alertmanager.yml)
  if [[ $asked != $(grep -cE '^ *(- )?(source|target)_matchers: .*ladder="baileys_auth_files"' alertmanager.yml) ]]; then
    echo "alertmanager.yml: an inhibit rule does not ask for ladder=\"baileys_auth_files\" on both sides"
    status=1
  fi
  return "$status"
}

# Every alert has a page with the four parts, and links to it under whatever
# base the runbooks are published; no page is without an alert.
runbooks_match() {
  local status=0 alert page heading
  while read -r alert; do
    page=${alert,,}
    if ! grep -Eq "^ *runbook_url: https?://[^ ]+/$page(\.md|\.html)?/?$" "$rules"; then
      echo "$alert: no runbook_url that ends in /$page"
      status=1
    fi
    if [[ ! -f $runbooks/$page.md ]]; then
      echo "$alert: docs/runbooks/$page.md is missing"
      status=1
      continue
    fi
    for heading in Meaning Impact Diagnosis Mitigation; do
      if ! grep -qx "## $heading" "$runbooks/$page.md"; then
        echo "docs/runbooks/$page.md: no section $heading"
        status=1
      fi
    done
  done < <(alerts)
  for page in "$runbooks"/*.md; do
    page=$(basename "$page" .md)
    if ! alerts | tr '[:upper:]' '[:lower:]' | grep -x "$page" >/dev/null; then
      echo "docs/runbooks/$page.md: no alert of that name"
      status=1
    fi
  done
  return "$status"
}

# Each rule says how bad it is, what it is, with which numbers, and where to read and look.
every_alert_is_complete() {
  awk '
    function check_rule() {
      if (alert != "")
        for (key in needed)
          if (!(key in seen)) { print alert ": no " key; bad = 1 }
      delete seen
    }
    BEGIN { split("severity tier summary description runbook_url dashboard_url", keys); for (i in keys) needed[keys[i]] }
    $2 == "alert:" { check_rule(); alert = $3 }
    # The four tiers name themselves, and nothing else has one.
    $1 == "tier:" {
      own = "none"
      if (alert ~ /^BaileysAuthFiles(Warning|Cleanup|Emergency|Fatal)$/) own = tolower(substr(alert, 17))
      if ($2 != own) { print alert ": tier " $2 " instead of " own; bad = 1 }
    }
    { key = $1; sub(/:$/, "", key); if (key in needed) seen[key] }
    END { check_rule(); exit bad }
  ' "$rules"
}

# A test that expects the alert, and one that expects none. In the second
# one, "exp_alerts: []" is on the line of the alert.
every_alert_is_tested() {
  local status=0 alert
  while read -r alert; do
    if ! grep -Eq "^ *alertname: $alert$" tests/*.yml; then
      echo "$alert: no test in which it fires"
      status=1
    fi
    if ! grep -Eq "alertname: $alert, exp_alerts: \[\]" tests/*.yml; then
      echo "$alert: no test in which it does not fire"
      status=1
    fi
  done < <(alerts)
  return "$status"
}

# The table in docs/alerts.md says how many minutes ahead each growth is warned of.
forecast_is_documented() {
  local status=0 shape minutes
  while read -r shape minutes; do
    if ! grep -Eq "^\| \`$shape\` \|.*\| $minutes \|$" ../docs/alerts.md; then
      echo "docs/alerts.md: the row of $shape does not say $minutes"
      status=1
    fi
  done < <(sed -n '/first) \/ 60/,/These never/ s/.*session="\([a-z0-9_]*\)".*value: \([0-9]*\)}/\1 \2/p' tests/forecast_test.yml)
  return "$status"
}

check "promtool check rules" promtool check rules "$rules"
# forecast_of_its_groups FILE: the test over 36 hours, with the groups that it asks about alone.
forecast_of_its_groups() {
  local dir status=0
  dir=$(mktemp -d)
  mkdir "$dir/tests"
  cp "$1" tests/first.rules "$dir/tests"
  awk '/^  - name: / { group = $3 } group == "" || group ~ /^baileys-recorded(-pace)?$/' "$rules" > "$dir/$rules"
  (cd "$dir" && promtool test rules "$1") || status=1
  rm -r "$dir"
  return "$status"
}

number=0
for file in tests/*.yml; do
  run=(promtool test rules)
  if [[ $file == tests/forecast_test.yml ]]; then run=(forecast_of_its_groups); fi
  if ((number % parts == part - 1)); then
    check "promtool test rules $file" "${run[@]}" "$file"
  fi
  number=$((number + 1))
done
if ((part < parts)); then exit "$failed"; fi
check "promtool check config prometheus.yml" promtool check config prometheus.yml
check "amtool check-config alertmanager.yml" amtool check-config alertmanager.yml
for tier in warning cleanup emergency; do
  check "route: tier $tier reaches the remediator and a person" \
    expect_routes baileys_remediator,operator ladder=baileys_auth_files "tier=$tier"
done
check "route: the page for the emergency tier is an alert of its own" \
  expect_routes baileys_remediator,operator ladder=baileys_auth_files tier=emergency severity=critical
check "route: the fatal tier reaches the pager and not the remediator" \
  expect_routes pager,operator ladder=baileys_auth_files tier=fatal severity=critical
for file in receivers/*.yml; do
  check "amtool check-config $file" amtool check-config "$file"
done
while read -r alert severity; do
  case $severity in
    critical) receivers=pager,operator ;;
    info) receivers=null ;;
    *) receivers=operator ;;
  esac
  check "route: $alert ($severity) reaches $receivers" \
    expect_routes "$receivers" "alertname=$alert" "severity=$severity"
done < <(severities | grep -vE '^BaileysAuthFiles(Warning|Cleanup|Emergency|Fatal) ')
check "inhibition: only tiers silence, and only tiers are silenced" inhibition_is_for_tiers
if command -v yamllint >/dev/null; then
  check "yamllint" yamllint --strict .
else
  echo "skip  yamllint (not installed)"
fi
check "every alert has a runbook, every runbook an alert" runbooks_match
check "every alert has severity, tier, summary, description and both links" every_alert_is_complete
check "docs/alerts.md has the result of the forecast's test" forecast_is_documented
check "every alert is tested firing and not firing" every_alert_is_tested

exit "$failed"
