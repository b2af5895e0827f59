// node soak.mjs [--sessions=500] [--days=30] [--keep=DIR]
//
// Measures how long the fleet overview takes on a Prometheus with 30 days of 500 sessions. The
// recorded series, one sample every five minutes, are backfilled with promtool; series of which the
// overview needs only the latest value have one day. Runs every query as Grafana would, over the
// default range and over 30 days, and takes the best of three. Fails if a query takes a second of
// both elapsed time and CPU time of the server: on a busy machine the elapsed time alone is no
// measure.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const option = (name, otherwise) => process.argv.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3) ?? otherwise;
const SESSIONS = Number(option('sessions', 500));
const DAYS = Number(option('days', 30));
const STEP = 300;
const MINUTE = 60;
const POINTS = 1200; // the width of a graph on a large screen
const SCRAPE = 15;
const LIMIT_MS = 1000;
const DAY = 86400;
const END = Math.floor(Date.now() / 1000 / DAY) * DAY;
const START = END - DAYS * DAY;
const dir = option('keep') ?? fs.mkdtempSync(path.join(os.tmpdir(), 'baileys-soak-'));
const data = path.join(dir, 'data');
const dashboard = JSON.parse(fs.readFileSync(path.join(path.dirname(fileURLToPath(import.meta.url)), '../../dashboards/fleet.json'), 'utf8'));

// ---- The data ----

const THRESHOLDS = [100, 120, 150, 180, 200];
const sessions = Array.from({ length: SESSIONS }, (_, n) => ({ name: `company_${String(n).padStart(6, '0')}`, host: `wa-${n % 10}.example.org`, begin: 30 + ((n * 37) % 90), pace: (n % 23) / 7 }));
// Growth until a clean-up, again and again, with a different period for each session.
const files = (s, t) => Math.floor(s.begin + ((((t - START) / DAY) * s.pace * 3) % (190 - s.begin)));
const rank = (s, t) => THRESHOLDS.filter((tier) => files(s, t) >= tier).length;
const gained = (s, t) => files(s, t) - files(s, t - DAY);
const warned = (s, t) => Math.floor(((t - START) / 3600) * ((s.begin % 7) / 5));
const ahead = (s, t, tier) => (files(s, t) >= tier ? 0 : s.pace > 0 ? ((tier - files(s, t)) / s.pace) * 8 : null);
const RECORDED = [
  ['session:baileys_auth_accumulated_files:last5m', '', files],
  ['session:baileys_auth_tier:rank5m', '', rank],
  ['session:baileys_auth_device_removed_total:last', '', (s, t) => Math.floor((t - START) / DAY / (9 + (s.begin % 40)))],
  ['session:baileys_auth_accumulated_files:delta1d', '', gained],
  ['session:baileys_auth_signal_warnings:increase1d', '', (s, t) => warned(s, t) - warned(s, t - DAY)],
];
// One day of these is enough: the overview needs only their latest values.
const NOW = [
  ['session:baileys_auth_accumulated_files:last', '', files],
  ['session:baileys_auth_tier:rank', '', rank],
  ['session:baileys_auth_tier:last6h', '', rank],
  // Each session is lost on some days.
  ['session:baileys_auth_lost', '', (s, t) => ((Math.floor(t / DAY) + s.begin) % 40 === 0 ? 1 : null)],
  ['session:baileys_auth_device_removed:active', ',pattern="device_removed"', (s) => (s.begin % 40 === 0 ? 1 : null)],
  ['session:baileys_auth_accumulated_files:pace', '', (s) => s.pace / 8],
  ['session:baileys_auth_hours_to_cleanup:forecast', '', (s, t) => ahead(s, t, 150)],
  ['session:baileys_auth_hours_to_emergency:forecast', '', (s, t) => ahead(s, t, 180)],
  ['session:baileys_auth_removable_files:sum', ',action="cleanup"', (s, t) => Math.floor(files(s, t) / 5)],
  ['session:baileys_auth_removable_files:sum', ',action="emergency"', (s, t) => Math.floor(files(s, t) / 4)],
  ['session:baileys_auth_signal_warnings_total:sum', '', warned],
  ['baileys_auth_folder_up', '', () => 1],
  ['baileys_auth_pre_keys', '', (s) => s.begin],
  ['baileys_auth_pre_key_batch', '', () => 30],
  ['baileys_auth_pre_key_batch_ambiguous', '', () => 0],
  ['baileys_auth_dormant', '', () => 0],
  ['baileys_auth_creds_valid', '', () => 1],
  ['baileys_auth_logged_in', '', () => 1],
  ['baileys_auth_oldest_active_session_timestamp_seconds', '', (s, t) => t - s.begin * 9000],
  ['baileys_auth_connection_state', ',state="connected"', () => 1],
  ['baileys_auth_connection_state', ',state="disconnected"', () => 0],
  ['baileys_auth_connection_state', ',state="unknown"', () => 0],
];
const cleanedAt = (s, t) => (s.pace > 0 ? t - ((t - START) % Math.max(DAY, Math.floor(((190 - s.begin) / (s.pace * 3)) * DAY))) : null);

function* openMetrics(from, to, last) {
  const type = (name, kind = 'gauge') => `# TYPE ${name.replace(/_total$/, '')} ${kind}\n`;
  function* series(head, value, step = STEP) {
    for (let t = from; t < to; t += step) {
      const v = value(t);
      if (v !== null) {
        yield `${head} ${v} ${t}\n`;
      }
    }
  }
  let previous = '';
  for (const [name, more, value] of last ? [...RECORDED, ...NOW] : RECORDED) {
    if (name !== previous) {
      yield type(name);
    }
    previous = name;
    for (const s of sessions) {
      yield* series(`${name}{job="baileys",instance="${s.host}:10273",session="${s.name}"${more}}`, (t) => value(s, t), name.startsWith('session:') && last && NOW.some(([now]) => now === name) ? MINUTE : STEP);
    }
  }
  if (last) {
    yield type('baileys_auth_log_secret_lines_total', 'counter');
    for (const s of sessions) {
      yield* series(`baileys_auth_log_secret_lines_total{job="baileys",instance="${s.host}:10273",session="${s.name}"}`, () => 0);
    }
  }
  const hosts = [...new Set(sessions.map((s) => s.host))];
  yield type('up');
  for (const host of hosts) {
    yield* series(`up{job="baileys",instance="${host}:10273"}`, () => 1);
  }
  for (const [name, of] of [['instance:baileys_auth_sessions:count', () => 1], ['instance:baileys_auth_sessions_normal:count', (s, t) => (rank(s, t) === 0 ? 1 : 0)]]) {
    yield type(name);
    for (const host of hosts) {
      const here = sessions.filter((s) => s.host === host);
      yield* series(`${name}{job="baileys",instance="${host}:10273"}`, (t) => here.reduce((sum, s) => sum + of(s, t), 0), MINUTE);
    }
  }
  for (const [name, value] of [['baileys_remediator_last_cleanup_timestamp_seconds', cleanedAt], ['baileys_remediator_last_cleanup_lead_seconds', (s, t) => cleanedAt(s, t) && 1800 + s.begin]]) {
    yield type(name);
    for (const s of sessions) {
      yield* series(`${name}{job="baileys_remediator",instance="${s.host}:10274",session="${s.name}"}`, (t) => value(s, t));
    }
  }
  // Every session loses its device once. The alert fires for 15 minutes.
  yield type('ALERTS');
  for (const [n, s] of sessions.entries()) {
    const removed = START + Math.floor((n * DAYS * DAY) / SESSIONS);
    yield* series(`ALERTS{alertname="BaileysDeviceRemoved",alertstate="firing",job="baileys",instance="${s.host}:10273",session="${s.name}"}`, (t) => (t >= removed && t < removed + 900 ? 1 : null));
  }
  for (const [name, kind, more] of [['baileys_remediator_build_info', 'gauge', ',version="0.1.0"'], ['baileys_remediator_paused', 'gauge', ''], ['baileys_remediator_breaker_open', 'gauge', ''], ['baileys_remediator_cleanups_total', 'counter', ',action="cleanup"'], ['baileys_remediator_run_failures_total', 'counter', ',action="cleanup"']]) {
    yield type(name, kind);
    for (const host of hosts) {
      yield* series(`${name}{job="baileys_remediator",instance="${host}:10274"${more}}`, () => (name.endsWith('info') ? 1 : 0));
    }
  }
  yield '# EOF\n';
}

function backfill() {
  let samples = 0;
  const began = Date.now();
  for (let day = 0; day < DAYS; day += 1) {
    const file = path.join(dir, 'day.txt');
    const out = fs.openSync(file, 'w');
    let buffer = [];
    const flush = () => {
      fs.writeSync(out, buffer.join(''));
      buffer = [];
    };
    for (const line of openMetrics(START + day * DAY, START + (day + 1) * DAY, day === DAYS - 1)) {
      samples += line[0] === '#' ? 0 : 1;
      if (buffer.push(line) > 50_000) {
        flush();
      }
    }
    flush();
    fs.closeSync(out);
    const ran = spawnSync('promtool', ['tsdb', 'create-blocks-from', '--max-block-duration=24h', 'openmetrics', '-q', file, data], { encoding: 'utf8' });
    if (ran.status !== 0) {
      throw new Error(`promtool: ${ran.error ?? ran.stderr}`);
    }
    fs.rmSync(file);
  }
  const took = (Date.now() - began) / 1000;
  console.log(`${(samples / 1e6).toFixed(1)} million samples of ${SESSIONS} sessions, ${DAYS} days, in ${took.toFixed(0)} s (${Math.round(samples / took)} a second, generating included)`);
}

// ---- The queries ----

const freePort = () =>
  new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** The CPU time of the server so far, in ms. */
function worked() {
  const [user, system] = fs.readFileSync(`/proc/${server.pid}/stat`, 'utf8').split(') ')[1].split(' ').slice(11, 13);
  return (Number(user) + Number(system)) * 10;
}

async function ask(url, what, parameters) {
  const before = worked();
  const began = performance.now();
  const answer = await (await fetch(`${url}/api/v1/${what}`, { method: 'POST', body: new URLSearchParams(parameters) })).json();
  const ms = performance.now() - began;
  if (answer.status !== 'success') {
    throw new Error(`${answer.error}: ${parameters.query}`);
  }
  return { ms, cpu: worked() - before, series: answer.data.result.length };
}

function queries() {
  const panels = dashboard.panels.flatMap((panel) => (panel.type === 'row' ? panel.panels : [panel])).flatMap((panel) => panel.targets.map((target) => ({ place: `${panel.title} ${target.refId}`, expr: target.expr, instant: target.instant })));
  const annotations = dashboard.annotations.list.filter(({ builtIn }) => !builtIn).map(({ name, expr }) => ({ place: `annotation ${name}`, expr, instant: false }));
  return [...panels, ...annotations];
}

async function measure(url, range) {
  const step = Math.max(SCRAPE, Math.ceil(range / POINTS));
  const values = { $__rate_interval_ms: 1000 * Math.max(step + SCRAPE, 4 * SCRAPE), $__rate_interval: `${Math.max(step + SCRAPE, 4 * SCRAPE)}s`, $__range_s: range, $__range: `${range}s`, $__interval: `${step}s`, $job: '.+', $instance: '.+', $session: '.+', $remediator: '.+' };
  const end = END - STEP;
  const found = [];
  for (const { place, expr, instant } of queries()) {
    const query = Object.entries(values).reduce((text, [name, value]) => text.replaceAll(name, value), expr);
    const times = [];
    for (let i = 0; i < 3; i += 1) {
      times.push(instant ? await ask(url, 'query', { query, time: end }) : await ask(url, 'query_range', { query, start: end - range, end, step }));
    }
    found.push({ place, ms: Math.min(...times.map(({ ms }) => ms)), cpu: Math.min(...times.map(({ cpu }) => cpu)), series: times[0].series });
  }
  return found.sort((a, b) => b.ms - a.ms);
}

fs.mkdirSync(data, { recursive: true });
let server;
let slow = 0;
try {
  if (fs.readdirSync(data).length === 0) {
    backfill();
  }
  const port = await freePort();
  fs.writeFileSync(path.join(dir, 'prometheus.yml'), 'scrape_configs: []\n');
  server = spawn('prometheus', [`--config.file=${dir}/prometheus.yml`, `--storage.tsdb.path=${data}`, '--storage.tsdb.retention.time=10y', `--web.listen-address=127.0.0.1:${port}`, '--log.level=error'], { stdio: 'inherit' });
  const url = `http://127.0.0.1:${port}`;
  const began = Date.now();
  for (;;) {
    const ready = await fetch(`${url}/-/ready`).then(({ ok }) => ok, () => false);
    if (ready) {
      break;
    }
    if (Date.now() - began > 120_000 || server.exitCode !== null) {
      throw new Error('prometheus is not ready');
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  // Wait until Prometheus has compacted the new blocks, as after a run of 30 days. It begins a minute
  // after its start, and pauses between two steps.
  for (let quiet = 0, before = worked(); Date.now() - began < 100_000 || quiet < 7; before = worked()) {
    await new Promise((resolve) => setTimeout(resolve, 10_000));
    quiet = worked() - before > 200 ? 0 : quiet + 1;
  }
  for (const range of [DAY, DAYS * DAY]) {
    const found = await measure(url, range);
    const total = found.reduce((sum, { ms }) => sum + ms, 0);
    console.log(`\nover ${range / DAY} d: ${found.length} queries, ${Math.round(total)} ms one after the other; the slowest:`);
    found.slice(0, 8).forEach(({ place, ms, cpu, series }) => console.log(`  ${String(Math.round(ms)).padStart(5)} ms, ${String(cpu).padStart(5)} of work  ${String(series).padStart(4)} series  ${place}`));
    const empty = found.filter(({ series, place }) => series === 0 && !place.startsWith('annotation'));
    if (empty.length) {
      console.log(`  empty: ${empty.map(({ place }) => place).join(', ')}`);
    }
    slow += found.filter(({ ms, cpu }) => Math.min(ms, cpu) >= LIMIT_MS).length;
  }
} finally {
  if (server && server.exitCode === null && server.signalCode === null) {
    server.kill();
    await new Promise((resolve) => server.once('exit', resolve));
  } else if (server) {
    console.error(`prometheus ended by itself: ${server.signalCode ?? server.exitCode}`);
  }
  if (!option('keep')) {
    fs.rmSync(dir, { recursive: true, force: true });
  }
}
if (slow) {
  console.log(`\n${slow} queries take ${LIMIT_MS} ms or more`);
}
process.exit(slow ? 1 : 0);
