// node cost.mjs [--sessions=1000] [--scrapes=150] [--exporter=PROGRAM] [--keep=DIR]
//
// Measures what 1,000 sessions cost a real Prometheus. It repeats the series of the real exporter
// (one real folder and log) for every session, with values that change as those of a bot do. It
// scrapes every second, so that 150 scrapes, more than a chunk of the head holds, take minutes. Each
// scrape has a timestamp 15 seconds after the one before. Memory is the Go heap after a garbage
// collection, minus the heap without a target. Writes the table into docs/metrics.md.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { end, freePort, sleep, until } from './processes.mjs';

const option = (name, otherwise) => process.argv.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3) ?? otherwise;
const project = path.join(path.dirname(fileURLToPath(import.meta.url)), '../..');
const SESSIONS = Number(option('sessions', 1000));
const SCRAPES = Number(option('scrapes', 150));
const EXPORTER = option('exporter', ['release', 'debug'].map((kind) => path.join(project, `target/${kind}/baileys_exporter`)).find((file) => fs.existsSync(file)));
const INTERVAL = 15;
const RETENTION_DAYS = 15; // the default of Prometheus
const dir = option('keep') ?? fs.mkdtempSync(path.join(os.tmpdir(), 'baileys-cost-'));

/** The series of one session from the real exporter with these flags. */
async function series(name, flags) {
  const own = path.join(dir, name);
  const bot = path.join(own, 'sessions/bot');
  fs.mkdirSync(bot, { recursive: true });
  const unpacked = spawnSync('tar', ['xzf', path.join(project, 'tests/fixtures/modern-1003.tar.gz'), '-C', bot]);
  if (unpacked.status !== 0) {
    throw new Error(`tar: ${unpacked.stderr}`);
  }
  fs.writeFileSync(path.join(own, 'bot-out.log'), '');
  const port = await freePort();
  const exporter = spawn(EXPORTER, [`--sessions.path=${own}/sessions`, `--web.listen-address=127.0.0.1:${port}`, ...flags.map((flag) => flag.replace('DIR', own))], { stdio: 'ignore' });
  try {
    const text = await until('the exporter', 60, async () => {
      const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
      const body = await answer.text();
      const isWhole = body.includes('baileys_auth_accumulated_files{') && (!flags.some((flag) => flag.startsWith('--logs.path')) || body.includes('baileys_auth_log_lines_total{'));
      return answer.ok && isWhole && body;
    });
    return [...text.matchAll(/^(\w+)\{(.*session=".*)\} (\S+)$/gm)].map(([, metric, labels, value]) => ({ metric, labels: labels.replace(/session="[^"]*"/, 'session="$"'), value: Number(value) }));
  } finally {
    await end(exporter);
  }
}

/** The value of a session's series at a scrape. */
function valueAt({ metric, value }, session, scrape, index) {
  const seconds = scrape * INTERVAL;
  if (metric.endsWith('_age_seconds')) {
    // A bot writes a file from time to time.
    return (seconds + session * 7) % (300 + (session % 50) * 20) + 0.125 * (session % 8);
  }
  if (metric === 'baileys_auth_log_lines_total') {
    return Math.floor((seconds * (1 + (session % 20))) / 30);
  }
  if (metric.endsWith('_total')) {
    return Math.floor(seconds / (3600 * (1 + ((session + index) % 40))));
  }
  if (/files$|pre_keys$|next_pre_key_id$|size_bytes$/.test(metric)) {
    return value + Math.floor(seconds / (600 + ((session * 31 + index * 17) % 60) * 60));
  }
  return value;
}

function page(all, scrape) {
  const lines = [];
  all.forEach((one, index) => {
    for (let session = 0; session < SESSIONS; session += 1) {
      lines.push(`${one.metric}{${one.labels.replace('$', `company_${String(session).padStart(6, '0')}`)}} ${valueAt(one, session, scrape, index)}\n`);
    }
  });
  return lines.join('');
}

// A counter is absent before its first event.
const number = (text, name) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1] ?? 0);
/** The total size of the files whose path contains `word`. */
const size = (directory, word) => {
  const files = fs.readdirSync(directory, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
  const paths = files.map((file) => path.join(file.parentPath ?? file.path, file.name));
  return paths.filter((file) => path.relative(directory, file).includes(word)).reduce((sum, file) => sum + fs.statSync(file).size, 0);
};

async function cost(name, flags) {
  const all = await series(name, flags);
  let scrapes = 0;
  let isOn = false;
  const server = http.createServer((_, answer) => {
    scrapes += isOn ? 1 : 0;
    answer.end(isOn ? page(all, scrapes) : '');
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const data = path.join(dir, name, 'data');
  fs.writeFileSync(path.join(dir, name, 'prometheus.yml'), `global: {scrape_interval: 1s}\nscrape_configs: [{job_name: baileys, static_configs: [{targets: ['127.0.0.1:${server.address().port}']}]}]\n`);
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const prometheus = spawn('prometheus', [`--config.file=${dir}/${name}/prometheus.yml`, `--storage.tsdb.path=${data}`, '--web.enable-admin-api', `--web.listen-address=127.0.0.1:${port}`, '--log.level=error'], { stdio: 'inherit' });
  const heap = async () => {
    await (await fetch(`${url}/debug/pprof/heap?gc=1`)).arrayBuffer();
    const text = await (await fetch(`${url}/metrics`)).text();
    return { bytes: number(text, 'go_memstats_heap_alloc_bytes'), samples: number(text, 'prometheus_tsdb_head_samples_appended_total(?:\\{.*float.*\\})?') };
  };
  try {
    await until('prometheus', 120, async () => (await fetch(`${url}/-/ready`)).ok);
    await sleep(3000);
    const before = await heap();
    isOn = true;
    await until(`${SCRAPES} scrapes`, 20 * SCRAPES, async () => scrapes >= SCRAPES);
    isOn = false;
    await sleep(2000);
    const after = await heap();
    const snapshot = await (await fetch(`${url}/api/v1/admin/tsdb/snapshot`, { method: 'POST' })).json();
    const block = path.join(data, 'snapshots', snapshot.data.name);
    // The sizes in a block of two hours. A longer block needs less.
    const chunks = size(block, 'chunks') / (after.samples - before.samples);
    const index = size(block, 'index') / ((all.length * SESSIONS * 7200) / INTERVAL);
    const perSecond = (all.length * SESSIONS) / INTERVAL;
    const bytes = chunks + index;
    return { name, series: all.length, perSecond, memory: after.bytes - before.bytes, bytes, disk: perSecond * bytes * 86400 * RETENTION_DAYS };
  } finally {
    await end(prometheus);
    server.close();
    server.closeAllConnections();
  }
}

try {
  const logs = ['--logs.path=DIR/*-out.log', '--logs.state-path=DIR/state'];
  const optional = ['empty_kinds', 'file_times', 'size'].map((group) => `--collector.${group}`);
  let table = `| ${SESSIONS.toLocaleString('en')} sessions | series | samples a second | memory of the head, MB | bytes a sample on disk | disk in ${RETENTION_DAYS} days, GB |\n|---|---|---|---|---|---|\n`;
  for (const [name, flags] of [
    ['default, without logs', []],
    ['default, with logs', logs],
    ['all collectors, with logs', [...logs, ...optional]],
  ]) {
    const found = await cost(name.replaceAll(/\W+/g, '-'), flags);
    const row = `| ${name} | ${(found.series * SESSIONS).toLocaleString('en')} | ${Math.round(found.perSecond).toLocaleString('en')} | ${(found.memory / 1e6).toFixed(0)} | ${found.bytes.toFixed(2)} | ${(found.disk / 1e9).toFixed(1)} |\n`;
    process.stdout.write(row);
    table += row;
  }
  const file = path.join(project, 'docs/metrics.md');
  const text = fs.readFileSync(file, 'utf8');
  const [begin, close] = ['<!-- BEGIN make bench-prometheus -->\n', '<!-- END make bench-prometheus -->'];
  fs.writeFileSync(file, `${text.slice(0, text.indexOf(begin) + begin.length)}${table}${text.slice(text.indexOf(close))}`);
} finally {
  if (!option('keep')) {
    fs.rmSync(dir, { recursive: true, force: true });
  }
}
