// node rules.mjs [--sessions=500] [--exporter=PROGRAM] [--keep=DIR]
//
// What the rules cost a Prometheus that watches 500 sessions on 10 hosts: the series of the real
// exporter over one real folder and log, once for every session, scraped every 15 s as far back
// as a rule looks (every 5 minutes where only a subquery does). Prints how long each group takes,
// the worst of its evaluations, and fails when one takes a tenth of its interval.
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
const HOSTS = 10;
const SCRAPE = 15;
const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;
const EVALUATED = '15s'; // what deploy/ has
const TENTH = 0.1;
const dir = option('keep') ?? fs.mkdtempSync(path.join(os.tmpdir(), 'baileys-rules-'));
const END = Math.floor(Date.now() / 1000 / SCRAPE) * SCRAPE;

// How far back a rule looks at these: [from, to, step] in seconds before the end.
const LOOKED_AT = {
  baileys_auth_logged_in: [[30 * DAY, DAY, 5 * MINUTE], [DAY, 0, SCRAPE]],
  baileys_auth_newest_file_age_seconds: [[3 * DAY, HOUR, 5 * MINUTE], [HOUR, 0, SCRAPE]],
  baileys_auth_accumulated_files: [[4 * HOUR, 0, SCRAPE]],
  baileys_auth_signal_warnings_total: [[7 * HOUR, 0, SCRAPE]],
  baileys_auth_log_secret_lines_total: [[DAY, 0, SCRAPE]],
  baileys_auth_log_last_line_timestamp_seconds: [[12 * HOUR, 0, SCRAPE]],
  baileys_auth_log_lines_total: [[7 * DAY + 6 * HOUR, 7 * DAY, SCRAPE], [DAY + 6 * HOUR, DAY, SCRAPE], [6 * HOUR, 0, SCRAPE]],
  baileys_exporter_log_files: [[DAY, 0, SCRAPE]],
  up: [[6 * HOUR, 0, SCRAPE]],
};
const RECENT = [[10 * MINUTE, 0, SCRAPE]];
const RECORDED = {
  'session:baileys_auth_accumulated_files:last': [[DAY, 0, MINUTE]],
  'session:baileys_auth_signal_warnings_total:sum': [[DAY, 0, MINUTE]],
  'session:baileys_auth_newest_file_age_seconds:max3d': [[HOUR, 0, 5 * MINUTE]],
  'session:baileys_auth_logged_in:max30d': [[HOUR, 0, 5 * MINUTE]],
};

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

function backfill(scraped) {
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
  const series = (name, labels, spans, value) => {
    for (const [from, to, step] of spans) {
      for (let t = END - from; t < END - to || (to === 0 && t === END); t += step) {
        write(`${name}{${labels}} ${value(t)} ${t}\n`);
        samples += 1;
      }
    }
  };
  const target = (host) => `job="baileys",instance="wa-${host}.example.org:10273"`;
  const sessions = Array.from({ length: SESSIONS }, (_, n) => ({ n, name: `company_${String(n).padStart(6, '0')}`, host: n % HOSTS }));
  const has = scraped.map((sample) => ({ ...sample, ofSession: /(^|,)session="/.test(sample.labels), spans: LOOKED_AT[sample.name] ?? RECENT }));
  // Half of them grow, and each logs a line a minute and a warning an hour.
  const begins = END - 40 * DAY;
  const files = ({ n }, t) => 60 + (n % 80) + Math.floor((((n % 2) * (t - END)) / DAY) * 8);
  const value = (sample, s, t) => {
    if (sample.name === 'baileys_auth_accumulated_files') return files(s, t);
    if (sample.name.endsWith('_last_line_timestamp_seconds')) return t;
    if (sample.name === 'baileys_auth_log_lines_total') return Math.floor((t - begins) / MINUTE);
    if (sample.name === 'baileys_auth_signal_warnings_total') return Math.floor((t - begins) / HOUR / (1 + (s.n % 5)));
    return sample.value;
  };
  for (const name of new Set(has.map((sample) => sample.name))) {
    const all = has.filter((sample) => sample.name === name);
    write(`# TYPE ${all[0].type === 'counter' ? name.replace(/_total$/, '') : name} ${all[0].type}\n`);
    for (const sample of all) {
      if (sample.ofSession) {
        sessions.forEach((s) => series(name, `${target(s.host)},${sample.labels.replace(/(^|,)session="[^"]*"/, `$1session="${s.name}"`)}`, sample.spans, (t) => value(sample, s, t)));
      } else {
        Array.from({ length: HOSTS }, (_, host) => series(name, [target(host), sample.labels].filter(Boolean).join(), sample.spans, () => sample.value));
      }
    }
  }
  write('# TYPE up gauge\n');
  Array.from({ length: HOSTS }, (_, host) => series('up', target(host), LOOKED_AT.up, () => 1));
  for (const [name, spans] of Object.entries(RECORDED)) {
    write(`# TYPE ${name} gauge\n`);
    sessions.forEach((s) => series(name, `${target(s.host)},session="${s.name}"`, spans, (t) => (name.includes('accumulated') ? files(s, t) : name.includes('warnings') ? Math.floor((t - begins) / HOUR) : 1)));
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

const seconds = (text) => [...text.matchAll(/(\d+)([smh])/g)].reduce((sum, [, number, unit]) => sum + Number(number) * { s: 1, m: 60, h: 3600 }[unit], 0);
let server;
let slow = 0;
try {
  backfill(await scrape());
  const rules = fs.readFileSync(path.join(project, 'alerting-rules/baileys.rules.yml'), 'utf8');
  const intervals = new Map([...rules.matchAll(/^ {2}- name: (\S+)\n(?: {4}interval: (\S+)\n)?/gm)].map(([, name, interval = EVALUATED]) => [name, seconds(interval)]));
  // The rare ones more often, so that nobody waits for them.
  fs.writeFileSync(path.join(dir, 'rules.yml'), rules.replaceAll(/^ {4}interval: .*$/gm, '    interval: 20s'));
  fs.writeFileSync(path.join(dir, 'prometheus.yml'), `global: {evaluation_interval: 15s}\nrule_files: [${dir}/rules.yml]\nscrape_configs: []\n`);
  const port = await freePort();
  // Nothing is scraped meanwhile: what is there counts as the present.
  server = spawn('prometheus', [`--config.file=${dir}/prometheus.yml`, `--storage.tsdb.path=${dir}/data`, '--storage.tsdb.retention.time=10y', '--query.lookback-delta=1h', `--web.listen-address=127.0.0.1:${port}`, '--log.level=error'], { stdio: 'inherit' });
  const url = `http://127.0.0.1:${port}`;
  await until('prometheus', 120, async () => (await fetch(`${url}/-/ready`)).ok);
  const worst = new Map();
  let active = 0;
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
    active = data.groups.flatMap((group) => group.rules).reduce((sum, rule) => sum + (rule.alerts?.length ?? 0), 0);
  }
  let share = 0;
  for (const [name, { took, dearest }] of worst) {
    const interval = intervals.get(name);
    share += took / interval;
    slow += took >= interval * TENTH ? 1 : 0;
    console.log(`${String(Math.round(took * 1000)).padStart(6)} ms of ${String(interval).padStart(3)} s  ${name} (${dearest.name}: ${Math.round(dearest.evaluationTime * 1000)} ms)`);
  }
  console.log(`${(share * 100).toFixed(1)} % of one evaluation after the other; ${active} alerts active`);
} finally {
  await end(server);
  if (!option('keep')) {
    fs.rmSync(dir, { recursive: true, force: true });
  }
}
process.exit(slow ? 1 : 0);
