// node invent.mjs [--sessions=12] [--days=8] [--step=300] [--end=UNIX] [--without=remediator,logs] > FILE
//
// An invented fleet as OpenMetrics, for `promtool tsdb create-blocks-from openmetrics`: what
// the exporter and the remediator export, and what the recording rules make of it. The first
// twelve sessions have a story each; further ones are like the first in the main.
import fs from 'node:fs';

const option = (name, otherwise) => process.argv.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3) ?? otherwise;
const SESSIONS = Number(option('sessions', 12));
const STEP = Number(option('step', 300));
const DAYS = Number(option('days', 8));
const END = Math.floor(Number(option('end', Date.now() / 1000)) / STEP) * STEP;
const WITHOUT = option('without', '').split(',');
const START = END - DAYS * 86400;
const N = Math.floor((END - START) / STEP) + 1;
const DAY = Math.floor(86400 / STEP);
const H = Math.floor(3600 / STEP);
const at = (i) => START + i * STEP;

let seed = 7;
const random = () => {
  seed = (seed * 1103515245 + 12345) % 2147483648;
  return seed / 2147483648;
};

const TIERS = { monitor: 100, warning: 120, cleanup: 150, emergency: 180, fatal: 200 };
const PATTERNS = {
  closing_stale_open_session: 'warning', closing_open_session: 'info', decrypted_with_closed_session: 'warning', bad_mac: 'warning',
  key_used_already: 'warning', over_2000_messages: 'warning', invalid_pre_key_id: 'warning', no_session_record: 'warning',
  decrypt_failed: 'warning', waiting_for_message: 'warning', device_removed: 'critical', connection_replaced: 'critical',
  stream_errored: 'warning', stream_error_401: 'critical', stream_error_500: 'warning', stream_error_503: 'warning',
  stream_error_515: 'info', connection_failure: 'warning', pre_key_upload: 'info',
};
const REASONS = ['connected', 'connection_unknown', 'stale_alert', 'creds_broken', 'dormant', 'woke_recently', 'nothing_removable', 'locked', 'filesystem', 'quarantine_full', 'unknown_session', 'service_cooldown', 'service_budget', 'breaker_open', 'paused'];
const ACTIONS = ['plan', 'cleanup', 'emergency', 'undo', 'restore'];
const MOVED = ['pre-key', 'session', 'sender-key', 'sender-key-memory'];

// [name, files at the beginning, files a day, what happens]. `jumpsAt` is from when on, how many
// files, within how many hours. Whom a guard refuses, and whose clean-up fails, is asked for
// when the tier cleanup is reached.
const STORIES = [
  ['acme-sales', 52, 0.6, {}],
  ['acme-support', 92, 2.6, { jumpsAt: [N - 5 * DAY - 5 * H, 54, 4], cleanedAt: N - 5 * DAY, disconnected: [N - 5 * DAY - 3, N - 5 * DAY + 2] }],
  ['beta-orders', 100, 6.5, { fails: true, warnings: 0.5 }],
  // An emergency: its process is stopped for it, and modern-a, which lives in it too, does not come back.
  ['company_962302', 96, 2, { jumpsAt: [N - 16 * H, 78, 3], cleanedAt: N - 13 * H, action: 'emergency', warnings: 6, disconnected: [N - 13 * H - 1, N - 13 * H + 1] }],
  ['delta-bookings', 70, 9, { jumpsAt: [N - 3 * DAY, 68, 2], cleanedAt: N - 3 * DAY + 2 * H, action: 'emergency', warnings: 2, disconnected: [N - 3 * DAY + 2 * H - 1, N - 3 * DAY + 2 * H + 1] }],
  ['gamma-news', 98, 6.9, { refused: 'connected', warnings: 1.5 }],
  ['zeta-otp', 118, 2.2, { jumpsAt: [N - 30 * H, 66, 1], refused: 'nothing_removable', warnings: 1 }],
  ['harbor-desk', 64, 0.2, { removedAt: N - 5 * H, disconnected: [N - 5 * H, N + 1], warnings: 0.8 }],
  ['modern-a', 72, 1.5, { modern: true, notBack: N - 13 * H + 2, disconnected: [N - 13 * H - 1, N + 1] }],
  ['modern-b', 88, 2.2, { modern: true, warnings: 0.3 }],
  ['old-campaign', 121, 0, { dormant: true, unknown: true }],
  ['tiny', 34, 0.1, {}],
];
const story = (n) => {
  if (n < STORIES.length) {
    return STORIES[n];
  }
  const [files, pace] = [30 + random() * 65, random() < 0.9 ? random() * 1.2 : 3 + random() * 6];
  const more = { modern: random() < 0.4, warnings: random() < 0.2 ? random() : 0.02 };
  if (random() < 0.03) {
    Object.assign(more, { cleanedAt: Math.max(3 * H, Math.floor(N - random() * 6 * DAY)), jumpsAt: [0, 70, 1] });
    more.jumpsAt[0] = more.cleanedAt - 2 * H;
  }
  return [`company_${String(100000 + n * 37)}`, files, pace, more];
};

function live(n) {
  const [name, begin, pace, has] = story(n);
  const host = n % 5 === 3 || n % 5 === 4 ? 'wa-2.example.org' : 'wa-1.example.org';
  const s = { name, host, has, files: [], preKeys: [], nextId: [], kinds: {}, state: [], rank: [], warnings: {}, total: [], removed: [], lines: [], secrets: [], batch: has.modern ? 812 : 30 };
  for (const kind of ['creds', 'pre-key', 'session', 'sender-key', 'sender-key-memory', 'app-state-sync-key', 'app-state-sync-version', 'lid-mapping', 'device-list', 'tctoken', 'identity-key', 'unknown']) {
    s.kinds[kind] = [];
  }
  for (const pattern of Object.keys(PATTERNS)) {
    s.warnings[pattern] = [];
  }
  let files = begin;
  let preKeys = has.modern ? 700 : 22;
  let next = has.modern ? 1700 : 400 + n * 11;
  const counts = Object.fromEntries(Object.keys(PATTERNS).map((pattern) => [pattern, 0]));
  let [lines, secrets] = [0, 0];
  for (let i = 0; i < N; i += 1) {
    const gone = has.disconnected && i >= has.disconnected[0] && i < has.disconnected[1];
    files += gone ? 0 : (pace / DAY) * 2 * random();
    if (has.jumpsAt && i > has.jumpsAt[0] && i <= has.jumpsAt[0] + has.jumpsAt[2] * H) {
      files += has.jumpsAt[1] / (has.jumpsAt[2] * H);
    }
    if (i === has.cleanedAt) {
      s.before = Math.floor(files);
      files = 74 + (n % 5) * 4;
      s.after = Math.floor(files);
    }
    if (!has.dormant && !gone) {
      preKeys -= random() < (30 * STEP) / 86400 ? 1 : 0;
    }
    if (preKeys < 5) {
      const mint = has.modern ? s.batch - preKeys : 30;
      preKeys += mint;
      next += mint;
      counts.pre_key_upload += 1;
    }
    const busy = (gone || has.dormant ? 0 : 1) * (has.warnings ?? 0.05) * (has.jumpsAt && Math.abs(i - has.jumpsAt[0]) < 3 * H ? 6 : 1) * (STEP / 3600);
    for (const [pattern, share] of [['closing_stale_open_session', 0.5], ['bad_mac', 1], ['decrypt_failed', 1.4], ['key_used_already', 0.2], ['waiting_for_message', 0.3], ['stream_error_503', 0.05]]) {
      counts[pattern] += random() < busy * share ? 1 + Math.floor(random() * 2) : 0;
    }
    if (i === has.removedAt) {
      counts.device_removed += 1;
      counts.stream_error_401 += 1;
    }
    lines += gone || has.dormant ? 0 : Math.floor(random() * 40 * (STEP / 300));
    secrets += random() < busy * 0.2 ? 1 : 0;
    const whole = Math.floor(files);
    s.files.push(whole);
    s.preKeys.push(preKeys);
    s.nextId.push(next);
    s.rank.push(Object.values(TIERS).filter((tier) => whole >= tier).length);
    s.state.push(has.unknown ? 'unknown' : gone ? 'disconnected' : 'connected');
    s.lines.push(lines);
    s.secrets.push(secrets);
    for (const pattern of Object.keys(PATTERNS)) {
      s.warnings[pattern].push(counts[pattern]);
    }
    s.total.push(Object.entries(PATTERNS).reduce((sum, [pattern, severity]) => sum + (severity === 'info' ? 0 : counts[pattern]), 0));
    s.removed.push(counts.device_removed);
    const small = Math.min(preKeys, 30);
    const rest = Math.max(0, whole - small - 12);
    const split = { creds: 1, 'pre-key': preKeys, session: Math.floor(rest * 0.7), 'sender-key': Math.floor(rest * 0.25), 'sender-key-memory': 2, 'app-state-sync-key': 4, 'app-state-sync-version': 5, 'lid-mapping': has.modern ? 40 : 0, 'device-list': has.modern ? 22 : 0, tctoken: has.modern ? 9 : 0, 'identity-key': has.modern ? 18 : 0, unknown: 0 };
    for (const [kind, count] of Object.entries(split)) {
      s.kinds[kind].push(count);
    }
  }
  const first = (rank) => ((i) => (i < 0 ? Infinity : i))(s.rank.findIndex((found) => found >= rank));
  s.plannedAt = first(2);
  [s.refusedAt, s.failedAt] = [has.refused, has.fails].map((so) => (so ? first(3) + 1 : Infinity));
  // The first alert of what a clean-up ended: since when it had been in the tier warning.
  for (let i = has.cleanedAt - 1; s.rank[i] >= 2; i -= 1) {
    s.warnedAt = i;
  }
  return s;
}
const sessions = Array.from({ length: SESSIONS }, (_, n) => live(n));
const HOSTS = [...new Set(sessions.map((s) => s.host))].sort();
const lastIndex = (i, back) => Math.max(0, i - back);

// ---- Writing ----

const out = option('out') ? fs.openSync(option('out'), 'w') : 1;
let buffer = '';
const write = (text) => {
  buffer += text;
  if (buffer.length > 1 << 20) {
    fs.writeSync(out, buffer);
    buffer = '';
  }
};
const label = (labels) => Object.entries(labels).map(([name, value]) => `${name}="${value}"`).join(',');
let family = '';
/** All samples of one series: `value(i)` is null where there is none. */
function series(name, type, labels, value) {
  const base = type === 'counter' ? name.replace(/_total$/, '') : name;
  if (family !== base) {
    family = base;
    write(`# TYPE ${base} ${type}\n`);
  }
  const head = `${name}{${label(labels)}} `;
  for (let i = 0; i < N; i += 1) {
    const v = value(i);
    if (v !== null && v !== undefined) {
      write(`${head}${v} ${at(i)}\n`);
    }
  }
}
const exporter = (host) => ({ job: 'baileys', instance: `${host}:10273` });
const each = (name, type, of) => sessions.forEach((s) => of((more, value) => series(name, type, { ...exporter(s.host), session: s.name, ...more }, value), s));
const gauge = (name, of) => each(name, 'gauge', of);

for (const host of HOSTS) {
  series('up', 'gauge', exporter(host), () => 1);
}
gauge('baileys_auth_folder_up', (add) => add({}, () => 1));
series('baileys_auth_folder_up', 'gauge', { ...exporter(HOSTS[0]), session: 'moved-away' }, () => 0);
series('baileys_auth_folder_error', 'gauge', { ...exporter(HOSTS[0]), session: 'moved-away', reason: 'missing' }, () => 1);
gauge('baileys_auth_files', (add, s) => Object.entries(s.kinds).forEach(([kind, counts]) => add({ kind }, (i) => counts[i])));
gauge('baileys_auth_tier_threshold_files', (add) => Object.entries(TIERS).forEach(([tier, files]) => add({ tier }, () => files)));
gauge('baileys_auth_pre_keys', (add, s) => add({}, (i) => s.preKeys[i]));
gauge('baileys_auth_pre_key_batch', (add, s) => add({}, () => s.batch));
gauge('baileys_auth_pre_key_batch_ambiguous', (add, s) => add({}, () => (s.name === 'modern-b' ? 1 : 0)));
gauge('baileys_auth_next_pre_key_id', (add, s) => add({}, (i) => s.nextId[i]));
gauge('baileys_auth_newest_pre_key_missing', (add) => add({}, () => 0));
gauge('baileys_auth_dormant', (add, s) => add({}, () => (s.has.dormant ? 1 : 0)));
gauge('baileys_auth_creds_valid', (add) => add({}, () => 1));
// Baileys says so of a device that was removed, too, until somebody scans a new code.
gauge('baileys_auth_logged_in', (add) => add({}, () => 1));
gauge('baileys_auth_connection_state', (add, s) => ['connected', 'disconnected', 'unknown'].forEach((state) => add({ state }, (i) => (s.state[i] === state ? 1 : 0))));
gauge('baileys_auth_oldest_active_session_timestamp_seconds', (add, s) => s.has.dormant || add({}, (i) => at(i) - 86400 * (9 + (s.name.length % 5))));
const shown = (s, kind) => s.kinds[kind][N - 1] > 0;
const kindAge = { creds: 40, 'pre-key': 12, session: 60, 'sender-key': 44, 'sender-key-memory': 20, 'app-state-sync-key': 70, 'app-state-sync-version': 65 };
gauge('baileys_auth_oldest_file_timestamp_seconds', (add, s) => Object.keys(s.kinds).filter((kind) => shown(s, kind)).forEach((kind) => add({ kind }, (i) => (s.has.cleanedAt && i >= s.has.cleanedAt && ['session', 'sender-key', 'pre-key'].includes(kind) ? at(i) - 13.5 * 86400 : START - 86400 * (kindAge[kind] ?? 30)))));
gauge('baileys_auth_newest_file_timestamp_seconds', (add, s) => Object.keys(s.kinds).filter((kind) => shown(s, kind)).forEach((kind) => {
  let newest = START - 3600;
  add({ kind }, (i) => (newest = !s.has.dormant && s.state[i] !== 'disconnected' && random() < { session: 0.9, creds: 0.5, 'sender-key': 0.4, 'pre-key': 0.06 }[kind] ? at(i) - Math.floor(random() * 200) : newest));
}));
const removable = (s, i, kind, action) => (s.has.dormant || s.has.refused === 'nothing_removable' ? 0 : Math.floor(s.kinds[kind]?.[i] * { 'pre-key': s.has.modern ? 0 : 0.1, session: 0.28, 'sender-key': 0.2, 'sender-key-memory': 0 }[kind] * (action === 'emergency' ? 1.2 : 1)));
gauge('baileys_auth_removable_files', (add, s) => ['cleanup', 'emergency'].forEach((action) => MOVED.forEach((kind) => add({ kind, action }, (i) => removable(s, i, kind, action)))));
HOSTS.forEach((host) => series('baileys_exporter_sessions_skipped', 'gauge', { ...exporter(host), reason: 'duplicate_name' }, () => 0));

const ahead = (s, i, tier) => {
  const gained = s.files[i] - s.files[lastIndex(i, DAY)];
  return gained > 0 && s.files[i] < TIERS[tier] ? ((TIERS[tier] - s.files[i]) / gained) * 24 : null;
};
gauge('session:baileys_auth_accumulated_files:last', (add, s) => add({}, (i) => s.files[i]));
gauge('session:baileys_auth_tier:rank', (add, s) => add({}, (i) => s.rank[i]));
gauge('session:baileys_auth_accumulated_files:last5m', (add, s) => add({}, (i) => s.files[i]));
gauge('session:baileys_auth_tier:rank5m', (add, s) => add({}, (i) => s.rank[i]));
gauge('session:baileys_auth_removable_files:sum', (add, s) => ['cleanup', 'emergency'].forEach((action) => add({ action }, (i) => MOVED.reduce((sum, kind) => sum + removable(s, i, kind, action), 0))));
gauge('session:baileys_auth_accumulated_files:delta1d', (add, s) => add({}, (i) => s.files[i] - s.files[lastIndex(i, DAY)]));
gauge('session:baileys_auth_accumulated_files:delta6h', (add, s) => add({}, (i) => s.files[i] - s.files[lastIndex(i, DAY / 4)]));
gauge('session:baileys_auth_hours_to_cleanup:pace1d', (add, s) => add({}, (i) => ahead(s, i, 'cleanup')));
gauge('session:baileys_auth_hours_to_emergency:pace1d', (add, s) => add({}, (i) => ahead(s, i, 'emergency')));
for (const host of HOSTS) {
  const here = sessions.filter((s) => s.host === host);
  series('instance:baileys_auth_sessions:count', 'gauge', exporter(host), () => here.length);
}
for (const host of HOSTS) {
  const here = sessions.filter((s) => s.host === host);
  series('instance:baileys_auth_sessions_normal:count', 'gauge', exporter(host), (i) => here.filter((s) => s.rank[i] === 0).length);
}

if (!WITHOUT.includes('logs')) {
  each('baileys_auth_signal_warnings_total', 'counter', (add, s) => Object.keys(PATTERNS).forEach((pattern) => add({ pattern }, (i) => s.warnings[pattern][i])));
  each('baileys_auth_log_lines_total', 'counter', (add, s) => add({}, (i) => s.lines[i]));
  each('baileys_auth_log_secret_lines_total', 'counter', (add, s) => add({}, (i) => s.secrets[i]));
  gauge('baileys_auth_log_half_monitored', (add, s) => add({}, () => (s.name === 'tiny' ? 1 : 0)));
  HOSTS.forEach((host) => series('baileys_exporter_log_unplaced_signals_total', 'counter', { ...exporter(host), glob: '/home/bots/.pm2/logs/*.log', pattern: 'bad_mac' }, (i) => (host === HOSTS[0] ? Math.floor(i / H) : 0)));
  HOSTS.forEach((host) => series('baileys_exporter_log_unread_bytes', 'gauge', exporter(host), () => 0));
  gauge('session:baileys_auth_signal_warnings_total:sum', (add, s) => add({}, (i) => s.total[i]));
  gauge('session:baileys_auth_signal_warnings:increase1d', (add, s) => add({}, (i) => s.total[i] - s.total[lastIndex(i, DAY)]));
  gauge('session:baileys_auth_device_removed_total:last', (add, s) => add({}, (i) => s.removed[i]));
}

for (const s of sessions.filter(({ has }) => has.removedAt !== undefined)) {
  const labels = { ...exporter(s.host), session: s.name, alertname: 'BaileysDeviceRemoved', alertstate: 'firing', severity: 'critical' };
  series('ALERTS', 'gauge', labels, (i) => (i >= s.has.removedAt && at(i) < at(s.has.removedAt) + 900 ? 1 : null));
}

if (!WITHOUT.includes('remediator')) {
  const own = (host) => ({ job: 'baileys_remediator', instance: `${host}:10274` });
  const perHost = (name, type, of) => HOSTS.forEach((host) => of((labels, value) => series(name, type, { ...own(host), ...labels }, value), sessions.filter((s) => s.host === host)));
  const cleaned = sessions.filter((s) => s.after !== undefined);
  const action = (s) => s.has.action ?? (s.rank[N - 1] >= 4 ? 'emergency' : 'cleanup');
  const tries = (s, i) => (i >= s.refusedAt ? 1 + Math.floor((i - s.refusedAt) / (4 * H)) : 0);
  const restored = (here, i) => (here.some((s) => s.name === 'delta-bookings') && i > N - 2.2 * DAY ? 6 : 0);
  const failed = (here, of, i) => (of === 'cleanup' ? here.filter((s) => i >= s.failedAt).length : 0);
  const done = (here, of, i) => here.filter((s) => s.after !== undefined && s.has.cleanedAt <= i && action(s) === of).length;
  perHost('baileys_remediator_build_info', 'gauge', (add) => add({ version: '0.1.0' }, () => 1));
  perHost('baileys_remediator_runs_total', 'counter', (add, here) => ACTIONS.forEach((of) => add({ action: of }, (i) => done(here, of, i) + (of === 'plan' ? 2 + here.filter((s) => i >= s.plannedAt).length : 0) + (of === 'undo' && restored(here, i) ? 1 : 0) + here.filter((s) => action(s) === of).reduce((sum, s) => sum + tries(s, i), 0) + failed(here, of, i))));
  perHost('baileys_remediator_cleanups_total', 'counter', (add, here) => ['cleanup', 'emergency'].forEach((of) => add({ action: of }, (i) => done(here, of, i))));
  perHost('baileys_remediator_run_failures_total', 'counter', (add, here) => ACTIONS.forEach((of) => add({ action: of }, (i) => failed(here, of, i))));
  perHost('baileys_remediator_refusals_total', 'counter', (add, here) => REASONS.forEach((reason) => add({ reason }, (i) => here.filter((s) => s.has.refused === reason).reduce((sum, s) => sum + tries(s, i), 0))));
  const split = { 'pre-key': 0.2, session: 0.65, 'sender-key': 0.15, 'sender-key-memory': 0 };
  perHost('baileys_remediator_files_moved_total', 'counter', (add, here) => MOVED.forEach((kind) => add({ kind }, (i) => here.filter((s) => s.after !== undefined && s.has.cleanedAt <= i).reduce((sum, s) => sum + Math.round((s.before - s.after) * split[kind]), 0))));
  perHost('baileys_remediator_files_restored_total', 'counter', (add, here) => add({}, (i) => restored(here, i)));
  perHost('baileys_remediator_queue_length', 'gauge', (add, here) => add({}, (i) => here.filter((s) => s.has.cleanedAt === i).length));
  perHost('baileys_remediator_paused', 'gauge', (add, here) => add({}, (i) => (here.some((s) => s.name === 'acme-sales') && i > N - 4 * DAY && i < N - 4 * DAY + 5 * H ? 1 : 0)));
  perHost('baileys_remediator_breaker_open', 'gauge', (add) => add({}, () => 0));
  perHost('baileys_remediator_service_stops_total', 'counter', (add, here) => add({}, (i) => done(here, 'emergency', i)));
  perHost('baileys_remediator_services_down', 'gauge', (add) => add({}, () => 0));
  perHost('baileys_remediator_quarantined_bytes', 'gauge', (add, here) => add({}, (i) => 180000 + here.filter((s) => s.after !== undefined && s.has.cleanedAt <= i).reduce((sum, s) => sum + (s.before - s.after) * 1400, 0)));
  perHost('baileys_remediator_sessions', 'gauge', (add, here) => add({}, () => here.length));
  perHost('baileys_remediator_creds_insured_sessions', 'gauge', (add, here) => add({}, () => here.length));
  perHost('baileys_remediator_webhook_requests_total', 'counter', (add) => ['202', '401'].forEach((code) => add({ code }, (i) => (code === '202' ? Math.floor(i / 40) : 0))));
  perHost('baileys_remediator_webhook_alerts_total', 'counter', (add) => ['queued', 'in_progress', 'cooldown', 'retry_later', 'resolved', 'no_action'].forEach((outcome, n) => add({ outcome }, (i) => Math.floor(i / (60 + 70 * n)))));
  const perSession = (name, of) => sessions.forEach((s) => of((labels, value) => series(name, 'gauge', { ...own(s.host), session: s.name, ...labels }, value), s));
  perSession('baileys_remediator_creds_insured_timestamp_seconds', (add) => add({}, (i) => at(i) - (i % H) * STEP));
  const since = (s, value) => (i) => (i >= s.has.cleanedAt ? value(i) : null);
  const end = (s) => at(s.has.cleanedAt) - 71;
  const when = (list) => (name, of) => list.forEach((s) => of((labels, value) => series(name, 'gauge', { ...own(s.host), session: s.name, ...labels }, value), s));
  when(cleaned)('baileys_remediator_last_cleanup_timestamp_seconds', (add, s) => add({}, since(s, () => end(s))));
  when(cleaned)('baileys_remediator_last_cleanup_accumulated_files', (add, s) => add({}, since(s, () => s.after)));
  when(cleaned)('baileys_remediator_last_cleanup_lead_seconds', (add, s) => add({}, since(s, () => (s.warnedAt === undefined ? null : end(s) - at(s.warnedAt)))));
  perSession('baileys_remediator_last_run_timestamp_seconds', (add, s) => {
    if (s.after !== undefined) {
      add({ action: action(s), status: 'done', reason: '' }, since(s, () => end(s)));
    }
    if (s.has.refused) {
      add({ action: action(s), status: 'refused', reason: s.has.refused }, (i) => (i >= s.refusedAt ? at(i) - ((i - s.refusedAt) % (4 * H)) * STEP : null));
    }
    if (s.has.fails) {
      add({ action: 'cleanup', status: 'failed', reason: 'io' }, (i) => (i >= s.failedAt ? at(s.failedAt) : null));
    }
  });
  const notBack = sessions.filter((s) => s.has.notBack);
  when(notBack)('baileys_remediator_service_not_back', (add, s) => add({ service: 'company', run: '-' }, (i) => (i >= s.has.notBack ? 1 : null)));
  const refused = sessions.filter((s) => s.has.refused);
  when(refused)('baileys_remediator_refused_since_timestamp_seconds', (add, s) => add({ reason: s.has.refused }, (i) => (i >= s.refusedAt ? at(s.refusedAt) : null)));
  when(refused.filter((s) => s.has.refused === 'connected'))('baileys_remediator_armed_runs', (add, s) => add({ action: action(s) }, (i) => (i >= s.refusedAt ? 1 : null)));
}
write('# EOF\n');
fs.writeSync(out, buffer);
