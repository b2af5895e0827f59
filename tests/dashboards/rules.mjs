// node rules.mjs [--sessions=500] [--exporter=PROGRAM] [--keep=DIR] [--table=FILE]
//
// Measures what the rules cost a Prometheus with 500 sessions, 50 on each host. It repeats the
// series of the real exporter (one real folder and log) for every session, scraped every 15 s, as
// far back as the rules need. Prints the longest evaluation of each group, and fails if one takes a
// tenth of its interval. The table goes to FILE too. Not included: the series of the remediator, a
// few for each host.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { end, freePort, sleep, until } from './processes.mjs';

const option = (name, otherwise) => process.argv.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3) ?? otherwise;
const project = path.join(path.dirname(fileURLToPath(import.meta.url)), '../..');
const SESSIONS = Number(option('sessions', 500));
const EXPORTER = option('exporter', ['release', 'debug'].map((kind) => path.join(project, `target/${kind}/baileys_exporter`)).find((file) => fs.existsSync(file)));
const HOSTS = Math.max(1, Math.round(SESSIONS / 50));
const SCRAPE = 15;
const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;
const EVALUATED = '15s'; // as in deploy/
const TENTH = 0.1;
const dir = option('keep') ?? fs.mkdtempSync(path.join(os.tmpdir(), 'baileys-rules-'));
const latest = () => Math.floor(Date.now() / 1000 / SCRAPE) * SCRAPE;
const BEGAN = latest();
const CRITICAL = /pattern="(device_removed|connection_replaced|account_banned|creds_corrupt)"/;
const ALERTED = /pattern="(device_removed|connection_replaced|account_banned|creds_corrupt|account_restricted|own_identity_changed)"/;

const UNITS = { s: 1, m: MINUTE, h: HOUR, d: DAY, w: 7 * DAY };
const seconds = (text) => [...text.matchAll(/(\d+)([smhdw])/g)].reduce((sum, [, number, unit]) => sum + Number(number) * UNITS[unit], 0);
const rules = fs.readFileSync(path.join(project, 'alerting-rules/baileys.rules.yml'), 'utf8');
const groups = rules.split(/^ {2}- name: /m).slice(1).map((text) => ({
  name: text.match(/^\S+/)[0],
  interval: seconds(text.match(/^ {4}interval: (\S+)$/m)?.[1] ?? EVALUATED),
  records: [...text.matchAll(/^ {6}- record: (\S+)$/gm)].map(([, name]) => name),
}));
/** The step of each recorded series. */
const RECORDED = new Map(groups.flatMap(({ records, interval }) => records.map((name) => [name, Math.max(interval, SCRAPE)])));

/** Which samples of each series the rules need: [from, to, step] in seconds before the end. */
function lookedAt() {
  const expressions = [...rules.matchAll(/^ {8}expr: (?:\|\n((?: {10}.*\n|\n)+)|(.*)\n)/gm)].map(([, block, line]) => block ?? line);
  const found = new Map();
  for (const [, name, range, step, offset = '0s'] of expressions.join('\n').matchAll(/([a-z][\w:]*)(?:\{[^}]*\})?(?:\[(\w+)(?::(\w+))?\])?(?:\s+offset (\w+))?/g)) {
    if (range || offset !== '0s') {
      const to = seconds(offset);
      // A subquery reads only its steps.
      found.set(name, [...(found.get(name) ?? []), [to + seconds(range ?? '5m') + 5 * MINUTE, to, step ? 5 * MINUTE : (RECORDED.get(name) ?? SCRAPE)]]);
    }
  }
  return found;
}
const LOOKED_AT = lookedAt();
const RECENT = [[10 * MINUTE, 0, SCRAPE]];

/** The times after `since` at which a series has samples, up to `end`. */
function times(spans, since, end) {
  const all = new Set();
  for (const [from, to, step] of spans) {
    for (let t = Math.ceil((BEGAN - from) / step) * step; t <= end - to; t += step) {
      all.add(t);
    }
    if (to === 0) {
      all.add(end);
    }
  }
  return [...all].filter((t) => t > since).sort((a, b) => a - b);
}

/** Every sample of the real exporter: name, labels, value, and the type of its family. */
async function scrape() {
  const bot = path.join(dir, 'sessions/bot');
  fs.mkdirSync(bot, { recursive: true });
  const unpacked = spawnSync('tar', ['xzf', path.join(project, 'tests/fixtures/warning-130.tar.gz'), '-C', bot]);
  if (unpacked.status !== 0) {
    throw new Error(`tar: ${unpacked.stderr}`);
  }
  fs.writeFileSync(path.join(dir, 'bot-out.log'), '');
  const port = await freePort();
  const exporter = spawn(EXPORTER, [`--sessions.path=${path.join(dir, 'sessions')}`, `--logs.path=${dir}/*-out.log`, `--logs.state-path=${path.join(dir, 'state')}`, `--web.listen-address=127.0.0.1:${port}`], { stdio: 'ignore' });
  try {
    const text = await until('the exporter', 60, async () => {
      const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
      const body = await answer.text();
      return answer.ok && body.includes('baileys_auth_accumulated_files{') && body.includes('baileys_auth_log_lines_total{') && body;
    });
    const types = new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name, type]));
    return [...text.matchAll(/^([a-z]\w*)(?:\{(.*)\})? (\S+)$/gm)]
      .map(([, name, labels = '', value]) => ({ name, labels, value: Number(value), type: types.get(name) }))
      .filter(({ name, type }) => name.startsWith('baileys_') && ['gauge', 'counter'].includes(type));
  } finally {
    await end(exporter);
  }
}

/** Writes the samples after `since`, up to `end`, into blocks. */
function backfill(scraped, since, end) {
  const file = path.join(dir, 'all.txt');
  const out = fs.openSync(file, 'w');
  let buffer = '';
  let samples = 0;
  const write = (text) => {
    buffer += text;
    if (buffer.length > 1 << 20) {
      fs.writeSync(out, buffer);
      buffer = '';
    }
  };
  const series = (name, labels, at, value) => {
    for (const t of at) {
      write(`${name}{${labels}} ${value(t)} ${t}\n`);
    }
    samples += at.length;
  };
  const target = (host) => `job="baileys",instance="wa-${host}.example.org:10273"`;
  const sessions = Array.from({ length: SESSIONS }, (_, n) => ({ n, name: `company_${String(n).padStart(6, '0')}`, host: n % HOSTS }));
  const has = scraped.map((sample) => ({ ...sample, ofSession: /(^|,)session="/.test(sample.labels), at: times([...RECENT, ...(LOOKED_AT.get(sample.name) ?? [])], since, end) }));
  // Half of them grow, each logs a line a minute and warnings every few hours. One of 50 has each
  // warning that an alert shows, another is disconnected, a third logs keys, and all others are
  // connected.
  const begins = BEGAN - 40 * DAY;
  const files = ({ n }, t) => 60 + (n % 80) + Math.floor((((n % 2) * (t - BEGAN)) / DAY) * 8);
  const value = (sample, s, t) => {
    if (sample.name === 'baileys_auth_accumulated_files') return files(s, t);
    if (sample.name.endsWith('_last_line_timestamp_seconds')) return t;
    if (sample.name === 'baileys_auth_connection_state') return Number(sample.labels.includes(`state="${s.n % 50 === 1 ? 'disconnected' : 'connected'}"`));
    if (sample.name === 'baileys_auth_log_lines_total') return Math.floor((t - begins) / MINUTE);
    if (sample.name === 'baileys_auth_signal_warnings_total') {
      return ALERTED.test(sample.labels) && s.n % 50 ? 0 : Math.floor((t - begins) / HOUR / (1 + (s.n % 5)));
    }
    return sample.value;
  };
  for (const name of new Set(has.map((sample) => sample.name))) {
    const all = has.filter((sample) => sample.name === name);
    write(`# TYPE ${all[0].type === 'counter' ? name.replace(/_total$/, '') : name} ${all[0].type}\n`);
    for (const sample of all) {
      if (sample.ofSession) {
        sessions.forEach((s) => series(name, `${target(s.host)},${sample.labels.replace(/(^|,)session="[^"]*"/, `$1session="${s.name}"`)}`, sample.at, (t) => value(sample, s, t)));
      } else {
        Array.from({ length: HOSTS }, (_, host) => series(name, [target(host), sample.labels].filter(Boolean).join(), sample.at, () => sample.value));
      }
    }
  }
  write('# TYPE up gauge\n');
  Array.from({ length: HOSTS }, (_, host) => series('up', target(host), times([...RECENT, ...LOOKED_AT.get('up')], since, end), () => 1));
  const recorded = (name, s, t) => {
    if (/accumulated_files:last/.test(name)) return files(s, t);
    if (name.includes('secret') && s.n % 50 !== 2) return 0;
    if (/_total:|warnings_total/.test(name)) return Math.floor((t - begins) / HOUR);
    return /:(gain15m|pace|delta1d|increase1d)$|warnings:|device_removed/.test(name) ? 0 : 1;
  };
  for (const name of [...RECORDED.keys()].filter((name) => LOOKED_AT.has(name) && !/signal_warnings:|device_removed:active/.test(name))) {
    const at = times(LOOKED_AT.get(name), since, end);
    write(`# TYPE ${name} gauge\n`);
    // One series for each series that it is the last value of.
    const of = name.match(/^session:(baileys_auth_signal_\w+_total):last$/)?.[1];
    const sources = has.filter((sample) => sample.name === of && (of.includes('reports') || CRITICAL.test(sample.labels)));
    if (of) {
      sources.forEach((sample) => sessions.forEach((s) => series(name, `${target(s.host)},${sample.labels.replace(/(^|,)session="[^"]*"/, `$1session="${s.name}"`)}`, at, (t) => value(sample, s, t))));
    } else if (name.startsWith('session:')) {
      sessions.forEach((s) => series(name, `${target(s.host)},session="${s.name}"`, at, (t) => recorded(name, s, t)));
    } else {
      Array.from({ length: HOSTS }, (_, host) => series(name, target(host), at, () => 0));
    }
  }
  fs.writeSync(out, `${buffer}# EOF\n`);
  fs.closeSync(out);
  const ran = spawnSync('promtool', ['tsdb', 'create-blocks-from', '--max-block-duration=720h', 'openmetrics', '-q', file, path.join(dir, 'data')], { encoding: 'utf8' });
  if (ran.status !== 0) {
    throw new Error(`promtool: ${ran.error ?? ran.stderr}`);
  }
  fs.rmSync(file);
  console.log(`${has.filter(({ ofSession }) => ofSession).length} series a session, ${(samples / 1e6).toFixed(1)} million samples of ${SESSIONS} sessions`);
}

let server;
let slow = 0;
try {
  const scraped = await scrape();
  backfill(scraped, 0, BEGAN);
  // The samples since the blocks were written.
  const end = latest();
  backfill(scraped, BEGAN, end);
  // Evaluate the slow groups more often, so that each is measured.
  fs.writeFileSync(path.join(dir, 'rules.yml'), rules.replaceAll(/^ {4}interval: .*$/gm, '    interval: 20s'));
  fs.writeFileSync(path.join(dir, 'prometheus.yml'), `global: {evaluation_interval: 15s}\nrule_files: [${dir}/rules.yml]\nscrape_configs: []\n`);
  const port = await freePort();
  // Nothing is scraped meanwhile: the latest samples count as current.
  server = spawn('prometheus', [`--config.file=${dir}/prometheus.yml`, `--storage.tsdb.path=${dir}/data`, '--storage.tsdb.retention.time=10y', '--query.lookback-delta=1h', `--web.listen-address=127.0.0.1:${port}`, '--log.level=error'], { stdio: 'inherit' });
  const url = `http://127.0.0.1:${port}`;
  await until('prometheus', 120, async () => (await fetch(`${url}/-/ready`)).ok);
  if (Date.now() / 1000 - end > 3 * MINUTE) {
    throw new Error('this machine is too busy: the last samples are too old for the rules');
  }
  const worst = new Map();
  let active = [];
  for (let look = 0; look < 18; look += 1) {
    await sleep(5000);
    const { data } = await (await fetch(`${url}/api/v1/rules`)).json();
    for (const group of data.groups) {
      const bad = group.rules.find(({ health }) => health === 'err');
      if (bad) {
        throw new Error(`${bad.name}: ${bad.lastError}`);
      }
      const before = worst.get(group.name);
      if (!before || group.evaluationTime > before.took) {
        const dearest = group.rules.toSorted((a, b) => b.evaluationTime - a.evaluationTime)[0];
        worst.set(group.name, { took: group.evaluationTime, dearest });
      }
    }
    active = data.groups.flatMap((group) => group.rules).filter(({ alerts }) => alerts?.length);
  }
  let share = 0;
  const rows = [];
  for (const { name, interval } of groups) {
    const { took, dearest } = worst.get(name);
    share += took / interval;
    slow += took >= interval * TENTH ? 1 : 0;
    rows.push(`| \`${name}\` | ${Math.round(took * 1000)} ms | ${interval} s | ${dearest.name}: ${Math.round(dearest.evaluationTime * 1000)} ms |`);
  }
  const table = ['| group | takes | of | its dearest rule |', '|---|---|---|---|', ...rows, '', `${SESSIONS} sessions on ${HOSTS} hosts, ${active.reduce((sum, { alerts }) => sum + alerts.length, 0)} alerts active: ${(share * 100).toFixed(1)} % of one core.`].join('\n');
  console.log(table);
  console.log(active.map(({ name, alerts }) => `${name}: ${alerts.length}`).join(', '));
  if (option('table')) {
    fs.writeFileSync(option('table'), `${table}\n`);
  }
} finally {
  await end(server);
  if (!option('keep')) {
    fs.rmSync(dir, { recursive: true, force: true });
  }
}
process.exit(slow ? 1 : 0);
