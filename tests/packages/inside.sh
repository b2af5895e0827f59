#!/bin/bash
# Runs as a service of the systemd that tests/packages/try.sh boots.
set -euo pipefail
trap 'echo $? >/result.part; mv /result.part /result' EXIT
export HOME=/root DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
exporter=http://127.0.0.1:10273 remediator=http://127.0.0.1:10274

fail() {
  echo "FAILED: $*"
  systemctl status --no-pager 'baileys_*@*' || true
  cat /var/log/baileys 2>/dev/null || true
  exit 1
}
# until_true WHAT COMMAND...: within a minute.
until_true() {
  local what=$1
  shift
  for ((i = 0; i < 120; i++)); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.5
  done
  fail "$what"
}
both_are_ready() {
  until_true "the exporter is ready" curl -fsS "$exporter/-/ready"
  until_true "the remediator is ready" curl -fsS "$remediator/-/ready"
}
both_are_gone() {
  ! systemctl is-active --quiet baileys_exporter@bots && ! systemctl is-active --quiet baileys_remediator@bots
}
sessions_of_the_remediator() { curl -fsS "$remediator/metrics" | grep "^baileys_remediator_sessions $1\$"; }
# What the page has an operator look at, in each way to install.
all_is_right() {
  both_are_ready
  until_true "the exporter sees the bot" sees_the_bot
  until_true "the remediator sees the bot" sessions_of_the_remediator 1
  (set +e; run_block check) >/said 2>&1 || true
  grep -q 'company_962302.*normal' /said || fail "status: $(cat /said)"
  grep -q 'Permission check passed for 1 of 1 folders' /said || fail "doctor: $(cat /said)"
}
main_pids() { systemctl show --property=MainPID --value baileys_exporter@bots baileys_remediator@bots | sed '/^$/d'; }
as_bots() { setpriv --reuid=bots --regid=bots --init-groups env -i HOME=/home/bots PATH=/usr/local/bin:/usr/bin:/bin "$@"; }
# A command of the remediator as the unit runs `serve`: the same user, the same limits.
in_the_unit() {
  local from
  from=$(systemctl show --property=FragmentPath --value baileys_remediator@bots)
  sed -E "s|^ExecStart=baileys_remediator serve (.*)|ExecStart=baileys_remediator $* \\1|; s/^Type=.*/Type=oneshot/; s/^Restart=.*/StandardOutput=truncate:\/said\nStandardError=truncate:\/err/" \
    "$from" >/run/systemd/system/try@.service || return
  systemctl daemon-reload
  systemctl reset-failed try@bots 2>/dev/null || true
  systemctl start try@bots || { cat /said /err; return 1; }
}

# The commands of docs/install.md, as they stand there.
sudo() {
  case $1 in
    apt) shift && apt-get -qq -y --no-install-recommends "$@" >/dev/null ;;
    -u) shift 2 && as_bots "$@" ;;
    *) "$@" ;;
  esac
}
# The one edited line.
sudoedit() { sed -i 's|/opt/ai-admin/baileys_sessions|/home/bots/sessions|' "$1"; }
block() { awk -v mark="<!-- test: $1 -->" '$0 == mark { f = 1 } f && /^```$/ { exit } c; f && /^```sh/ { c = 1 }' /install.md; }
run_block() {
  echo "==> $1"
  [[ $(block "$1") ]] || fail "docs/install.md has no block $1"
  . <(block "$1")
}
run_block_as_bots() {
  echo "==> $1"
  [[ $(block "$1") ]] || fail "docs/install.md has no block $1"
  block "$1" >/as_bots.sh
  as_bots bash -e /as_bots.sh >/dev/null
}
sees_the_bot() { curl -fsS "$exporter/metrics" | grep '^baileys_auth_folder_up{session="company_962302"} 1'; }

# A host with a bot under pm2.
useradd --create-home --shell /bin/bash bots
mkdir /home/bots/sessions
# folder FIXTURE NAME: an auth folder whose newest file is 20 minutes old.
folder() {
  local to=/home/bots/sessions/$2 by at file
  cp -a "/fixture/$1" "$to"
  by=$(find "$to" -type f -printf '%T@\n' | sort -n | tail -n1)
  by=$(($(date +%s) - 1200 - ${by%.*}))
  while read -r at file; do touch -d "@$((${at%.*} + by))" "$file"; done < <(find "$to" -type f -printf '%T@ %p\n')
  chown -R bots: "$to"
}
folder normal company_962302
echo 'setInterval(() => {}, 1000);' >/home/bots/bot.js
chown -R bots: /home/bots
as_bots pm2 start /home/bots/bot.js --name company_962302 >/dev/null
cd /downloads

# The package: one edited line, one command. It starts nothing by itself.
systemctl() {
  if [[ $1 == enable ]]; then both_are_gone || fail "the package has started something"; fi
  command systemctl "$@"
}
run_block debian
both_are_ready
# The default place of the configuration file.
as_bots baileys_exporter status | grep -q '^company_962302 ' || fail "/etc/baileys/config.yml is not read"
[[ $(systemctl show --property=TasksMax --value baileys_remediator@bots) == infinity ]] || fail "the tasks of the remediator are limited"
[[ $(stat -c %U /var/lib/baileys_exporter /var/lib/baileys_remediator | sort -u) == bots ]] || fail "the state belongs to others"
all_is_right
# The remediator may do all that it must, in the folder and with pm2, also as a service.
in_the_unit doctor --try --output=json || [[ -s /said ]] || fail "doctor"
node -e '
  const [s] = JSON.parse(require("fs").readFileSync("/said"));
  const bad = s.privileges.filter(p => p.weight === "problem");
  const runs = s.sources.some(x => x.source === "process" && x.finding !== "silent");
  if (bad.length || !runs) { console.log(JSON.stringify(s)); process.exit(1); }
' || fail "doctor --try"
sed -i 's/#allow_restart: true/allow_restart: true\n    connect_timeout: 5s/' /etc/baileys/config.yml
in_the_unit service company_962302 --stop || fail "service --stop"
as_bots pm2 jlist | grep -q '"status":"stopped"' || fail "the bot was not stopped"
# So does the exporter's unit.
state_of_the_bot() { curl -fsS "$exporter/metrics" | grep "^baileys_auth_connection_state{session=\"company_962302\",state=\"$1\"} 1"; }
until_true "the exporter sees that the bot is gone" state_of_the_bot disconnected
in_the_unit service company_962302 --start || fail "service --start"
as_bots pm2 jlist | grep -q '"status":"online"' || fail "the bot was not started"

# A reload puts another configuration in force, in the same processes.
before=$(main_pids)
cp /etc/baileys/config.yml /kept.yml
sed -i 's|^sessions: {paths: \[\(.*\)\]}|sessions: {paths: [\1], exclude: [company_962302]}|' /etc/baileys/config.yml
cmp -s /etc/baileys/config.yml /kept.yml && fail "the configuration was not changed"
systemctl reload baileys_exporter@bots baileys_remediator@bots || fail "the units cannot be reloaded"
sees_no_bot() { curl -fsS "$exporter/metrics" >/seen && ! grep '^baileys_auth_folder_up' /seen; }
until_true "the exporter has reloaded" sees_no_bot
until_true "the remediator has reloaded" sessions_of_the_remediator 0
cat /kept.yml >/etc/baileys/config.yml
systemctl reload 'baileys_*@*' || fail "the units cannot be reloaded"
until_true "the exporter has reloaded" sees_the_bot
until_true "the remediator has reloaded" sessions_of_the_remediator 1
[[ $(main_pids) == "$before" ]] || fail "a reload has restarted something"

# The running programs, and no others, are restarted after an upgrade. The changed configuration
# is kept.
apt-get install -qq -y -o Dpkg::Options::=--force-confold /2.deb >/dev/null
cmp /etc/baileys/config.yml /kept.yml || fail "the upgrade has changed the configuration"
restarted() { [[ $(main_pids) != "$before" ]] && ! main_pids | grep -qx 0; }
until_true "both are restarted after the upgrade" restarted
both_are_ready
systemctl stop baileys_exporter@bots
apt-get install -qq -y --reinstall /2.deb >/dev/null
! systemctl is-active --quiet baileys_exporter@bots || fail "the upgrade has started what was stopped"
both_still() { curl -fsS "$remediator/-/ready"; }
until_true "the remediator runs after the reinstallation" both_still

# An alert has the unit stop a bot that takes its time, and the package is removed meanwhile:
# the run is completed first, and the bot runs again. It can then delete its folder, with the
# quarantine.
cat >/am.js <<'AM'
require("http")
  .createServer((request, answer) => answer.end(require("fs").readFileSync("/alerts.json")))
  .listen(9093, "127.0.0.1");
// In the place of WhatsApp.
require("net").createServer((socket) => socket.on("error", () => {})).listen(443, "127.0.0.1");
AM
echo '[]' >/alerts.json
node /am.js &
alertmanager=$!
folder bloated company_2
cat >/home/bots/slow.js <<'SLOW'
process.on("SIGINT", () => {});
setInterval(() => {}, 1000);
require("net").connect(443, "127.0.0.1").on("error", () => {});
SLOW
as_bots pm2 start /home/bots/slow.js --name company_2 --kill-timeout 20000 >/dev/null
until_true "the remediator sees both bots" sessions_of_the_remediator 2
labels=$(printf '"ladder":"baileys_auth_files","tier":"emergency","session":"company_2","instance":"%s:10273"' "$(uname -n)")
printf '[{"labels":{%s},"fingerprint":"2","startsAt":"%s","status":{"state":"active"}}]' "$labels" "$(date -u +%FT%TZ)" >/alerts.new
mv /alerts.new /alerts.json
stops() { as_bots pm2 jlist | grep '"status":"stop'; }
until_true "the other bot is stopped" stops
apt-get remove -qq -y baileys-exporter >/dev/null
both_are_gone || fail "they run although they were removed"
kill "$alertmanager"
[[ $(find /home/bots/sessions/company_2/.baileys_quarantine -type f -name 'pre-key-*' | wc -l) -gt 200 ]] || fail "the run was not completed"
as_bots pm2 jlist | grep -o '"status":"[a-z]*"' | sort | uniq -c | grep -q '2 "status":"online"' || fail "a bot was not started again"
as_bots node -e 'require("fs").rmSync("/home/bots/sessions/company_2", {recursive: true})' || fail "the bot cannot delete its folder"
as_bots pm2 delete company_2 >/dev/null

# Installed again: still enabled, and not started. Purged: forgotten.
apt-get install -qq -y /2.deb >/dev/null
both_are_gone || fail "the package has started something"
systemctl is-enabled --quiet baileys_remediator@bots || fail "a removed unit is forgotten"
purge() {
  apt-get purge -qq -y baileys-exporter >/dev/null
  left=$(find /etc /var/lib /usr -path /var/lib/dpkg -prune -o -name '*baileys*' -print)
  [[ -z $left ]] || fail "purge leaves $left"
  [[ -d /home/bots/sessions/company_962302 ]] || fail "purge took an auth folder"
}
purge

# pm2 runs both.
apt-get install -qq -y ./*.deb >/dev/null
run_block "pm2 root"
run_block_as_bots pm2
all_is_right
online() { as_bots pm2 jlist | grep -o '"status":"online"' | wc -l; }
[[ $(online) == 3 ]] || fail "pm2: $(as_bots pm2 list)"
apt-get install -qq -y -o Dpkg::Options::=--force-confold /2.deb >/dev/null
before=$(as_bots pm2 pid baileys_exporter)
run_block_as_bots "pm2 upgrade"
[[ $(as_bots pm2 pid baileys_exporter) != "$before" ]] || fail "pm2 has restarted nothing"
all_is_right
run_block_as_bots "pm2 uninstall"
[[ $(online) == 1 ]] || fail "pm2: $(as_bots pm2 list)"
! grep -q baileys_ /home/bots/.pm2/dump.pm2 || fail "pm2 would start them after a boot"
purge

# The tarball.
run_block tarball
all_is_right
# Its upgrade: the first three lines with the new one.
before=$(main_pids)
cp /etc/baileys/config.yml /kept.yml
cd /next
. <(block tarball | head -n 3)
cmp /etc/baileys/config.yml /kept.yml || fail "the upgrade has changed the configuration"
grep -q 'Of the next version' /usr/local/lib/systemd/system/baileys_exporter@.service || fail "the upgrade has installed nothing"
systemctl restart 'baileys_*@*'
until_true "both are restarted after the upgrade" restarted
all_is_right
# The static programs reach an Alertmanager by its name.
echo '127.0.0.1 am-a.example.org' >>/etc/hosts
echo '[]' >/alerts.json
node /am.js &
alertmanager=$!
sed -i 's|http://127.0.0.1:9093|http://am-a.example.org:9093|' /etc/baileys/config.yml
systemctl reload baileys_remediator@bots
reaches_alertmanager() { curl -fsS "$remediator/metrics" | grep '^baileys_remediator_alertmanager_up{.*am-a.example.org.*} 1$'; }
until_true "the remediator reaches Alertmanager" reaches_alertmanager
kill "$alertmanager"
systemctl disable --quiet --now baileys_exporter@bots baileys_remediator@bots
as_bots pm2 kill >/dev/null
