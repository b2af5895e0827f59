// node record.mjs --situation=NAME --programs=DIR --out=TSDB [--hours=N]
//
// A situation as Prometheus would have it: the real baileys_exporter and baileys_remediator run
// on folders that this changes, with a clock that is put ahead from scrape to scrape, so that
// hours take seconds. What they answer becomes the scraped series, with `up`; the recorded ones
// are what the real recording rules make of them, through `promtool tsdb create-blocks-from`.
// ALERTS of critical alerts come from the expressions of the real alerting rules, with their
// hold times. Everything is on loopback, and gone at the end. Prints the end of the series.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { SITUATIONS } from './situations.mjs';

const option = (name) => process.argv.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
const situation = SITUATIONS[option('situation')];
if (situation && option('hours')) {
  situation.hours = Number(option('hours'));
}
const out = option('out');
if (!situation || !out || !option('programs')) {
  console.error(`usage: node record.mjs --situation=NAME --programs=DIR --out=TSDB, with NAME of ${Object.keys(SITUATIONS).join(', ')}`);
  process.exit(2);
}
const programs = path.resolve(option('programs'));
const RULES = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../alerting-rules/baileys.rules.yml');
const STEP = 240; // seconds between two scrapes: less than the five minutes that Prometheus looks back
const OLD = 30 * 86400;
const TIMEOUT_MS = 180_000;
const AT_A_TIME = 3;
const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'baileys-record-'));
const end = Math.floor(Date.now() / 60_000) * 60;
const begin = end - Math.round((situation.hours * 3600) / STEP) * STEP;
const running = new Set();

function clean() {
  running.forEach((child) => child.kill('SIGKILL'));
  fs.rmSync(dir, { recursive: true, force: true });
}
process.on('exit', clean);
['SIGINT', 'SIGTERM'].forEach((signal) => process.on(signal, () => process.exit(1)));

const run = (program, args) => {
  const ran = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (ran.status !== 0) {
    throw new Error(`${program} ${args.join(' ')}: ${ran.stderr || ran.stdout || ran.error}`);
  }
  return ran.stdout;
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const freePort = () =>
  new Promise((resolve, reject) => {
    const server = net.createServer().on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** A page by a connection of its own: one that was idle over hours is closed. */
const get = (port, page) =>
  new Promise((resolve, reject) => {
    const request = http.get({ host: '127.0.0.1', port, path: page, agent: false, timeout: TIMEOUT_MS }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (part) => (text += part));
      answer.on('end', () => (answer.statusCode === 200 ? resolve(text) : reject(new Error(`${page}: ${answer.statusCode}`))));
    });
    request.on('error', reject);
    request.on('timeout', () => request.destroy(new Error(`${page}: timeout`)));
  });

// ---- The clock ----

const CLOCK = `
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
/* Every clock is off by as many seconds as the file $WRONG_BY says. */
int clock_gettime(clockid_t id, struct timespec *time) {
    long failed = syscall(SYS_clock_gettime, id, time);
    const char *path = getenv("WRONG_BY");
    if (failed || !path) return failed;
    char text[32] = {0};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return failed;
    if (read(file, text, sizeof text - 1) > 0) time->tv_sec += atol(text);
    close(file);
    return failed;
}
`;
const shim = path.join(dir, 'clock.so');
fs.writeFileSync(path.join(dir, 'clock.c'), CLOCK);
run('cc', ['-shared', '-fPIC', '-O1', '-o', shim, path.join(dir, 'clock.c')]);
function putClock({ wrongBy }, to) {
  // Renamed into place, so that no reader sees half of a number.
  fs.writeFileSync(`${wrongBy}.new`, String(Math.round(to - Date.now() / 1000)));
  fs.renameSync(`${wrongBy}.new`, wrongBy);
}

async function start(name, program, args, port, env = {}) {
  const log = fs.openSync(path.join(dir, `${name}.log`), 'a');
  const child = spawn(program, args, { stdio: ['ignore', log, log], env: { ...process.env, ...env } });
  running.add(child);
  const began = Date.now();
  for (;;) {
    try {
      await get(port, '/-/ready');
      return child;
    } catch (error) {
      if (child.exitCode !== null || Date.now() - began > TIMEOUT_MS) {
        throw new Error(`${name}: ${error}\n${fs.readFileSync(path.join(dir, `${name}.log`), 'utf8').slice(-2000)}`);
      }
    }
    await sleep(50);
  }
}
async function stop(child) {
  running.delete(child);
  if (child.exitCode !== null || child.signalCode !== null) {
    throw new Error('a program ended by itself');
  }
  const ended = new Promise((resolve) => child.on('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

// ---- The folders ----

const session = (used) => JSON.stringify({ _sessions: { k: { indexInfo: { used: used * 1000, created: used * 1000, closed: -1 } } }, version: 'v1' });
const write = (file, text, at) => {
  fs.writeFileSync(file, text);
  fs.utimesSync(file, at, at);
};
const creds = (bot) => JSON.stringify({ noiseKey: {}, signedIdentityKey: {}, registrationId: 1, nextPreKeyId: 31, me: { id: `${bot.number}:1@s.whatsapp.net` }, account: {}, registered: true });

function layOut(host, bot, now) {
  const folder = path.join(host.dir, 'sessions', bot.name);
  fs.mkdirSync(folder, { recursive: true });
  bot.folder = folder;
  write(path.join(folder, 'creds.json'), creds(bot), now);
  for (let id = 1; id <= 20; id += 1) {
    write(path.join(folder, `pre-key-${id}.json`), '{}', now - 3 * 86400);
  }
  bot.made = 21;
  grow(bot, bot.files(0, situation.hours), now, true);
}
/** Writes the files that came since the last time: at first of chats long silent. */
function grow(bot, files, now, isFirst = false) {
  for (; bot.made < Math.floor(files); bot.made += 1) {
    const used = isFirst && bot.made % 3 === 0 ? now - OLD : now - (isFirst ? 2 * 86400 : 0);
    write(path.join(bot.folder, `session-1202555${String(bot.made).padStart(4, '0')}.0.json`), session(used), used);
  }
}
const LINE = { online: '{"level":30,"class":"baileys","msg":"opened connection to WA"}', removed: '{"reason":"401","type":"device_removed"}' };
const say = (host, bot, line) => host.logs && fs.appendFileSync(path.join(host.dir, 'logs', `${bot.name}-out.log`), `${line}\n`);

// ---- Scraping ----

let samples = '';
const label = (text) => text.replace(/\\/g, '\\\\').replace(/"/g, '\\"');
function keep(text, job, instance, at) {
  const target = `job="${job}",instance="${label(instance)}"`;
  for (const line of text.split('\n')) {
    const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    // Of a fleet, only what is about Baileys.
    if (found && found[1].startsWith('baileys_')) {
      samples += `${found[1]}{${target}${found[2] ? `,${found[2]}` : ''}} ${found[3]} ${at}\n`;
    }
  }
}
async function scrape(job, instance, port, at) {
  let isUp = 0;
  try {
    if (port) {
      keep(await get(port, '/metrics'), job, instance, at);
      isUp = 1;
    }
  } catch {
    // Down, as Prometheus would find it.
  }
  samples += `up{job="${job}",instance="${label(instance)}"} ${isUp} ${at}\n`;
}

async function startHost(host) {
  const at = (name) => path.join(host.dir, name);
  const common = [`--sessions.path=${at('sessions')}`, `--connection.command=cat ${at('connections')}/{session}`, '--connection.trust=*'];
  host.port = await freePort();
  const logs = host.logs ? [`--logs.path=${at('logs')}/*-out.log`, `--logs.state-path=${at('log-state')}`] : [];
  const ahead = { LD_PRELOAD: shim, WRONG_BY: host.wrongBy };
  host.exporter = await start(`exporter-${host.name}`, path.join(programs, 'baileys_exporter'), [...common, ...logs, `--web.listen-address=127.0.0.1:${host.port}`], host.port, ahead);
  if (host.remediator) {
    host.remediatorPort = await freePort();
    host.service = await start(`remediator-${host.name}`, path.join(programs, 'baileys_remediator'), ['serve', ...common, '--trigger=local', `--state.path=${at('state')}`, `--web.listen-address=127.0.0.1:${host.remediatorPort}`], host.remediatorPort, ahead);
  }
}

async function step(host, now) {
  const hour = (now - begin) / 3600;
  const left = (end - now) / 3600;
  for (const bot of host.bots) {
    let state = bot.connection;
    if (bot.goneFor !== undefined && left <= bot.goneFor) {
      fs.rmSync(bot.folder, { recursive: true, force: true });
    } else {
      if (!bot.isRemoved) {
        grow(bot, bot.files(hour, situation.hours), now);
      }
      if (state === 'connected' && !bot.isRemoved) {
        fs.utimesSync(path.join(bot.folder, 'creds.json'), now, now);
      }
    }
    if (bot.removedFor !== undefined && left <= bot.removedFor) {
      state = 'disconnected';
      if (!bot.isRemoved) {
        say(host, bot, LINE.removed);
        bot.isRemoved = true;
      }
    }
    fs.writeFileSync(path.join(host.dir, 'connections', bot.name), `${state}\n`);
  }
  if (host.downFor !== undefined && left <= host.downFor && host.exporter) {
    await stop(host.exporter);
    host.exporter = null;
    host.port = null;
  }
  // The first request wakes the programs, which see that time has passed: it may be cut off, as
  // one that has waited for all that time.
  await Promise.allSettled([host.port, host.remediatorPort].filter(Boolean).map((port) => get(port, '/metrics')));
}

async function record(host) {
  host.dir = path.join(dir, host.name);
  host.wrongBy = path.join(dir, `wrong-by-${host.name}`);
  putClock(host, begin);
  ['sessions', 'logs', 'connections'].forEach((name) => fs.mkdirSync(path.join(host.dir, name), { recursive: true }));
  for (const bot of host.bots) {
    layOut(host, bot, begin);
    fs.writeFileSync(path.join(host.dir, 'connections', bot.name), `${bot.connection}\n`);
    say(host, bot, LINE.online);
  }
  await startHost(host);
  for (let now = begin; now <= end; now += STEP) {
    putClock(host, now);
    await step(host, now);
    await sleep(150); // the programs ask the probes
    await scrape('baileys', `${host.name}:10273`, host.port, now);
    if (host.remediatorPort) {
      await scrape('baileys_remediator', `${host.name}:10274`, host.remediatorPort, now);
    }
  }
  for (const child of [host.exporter, host.service].filter(Boolean)) {
    await stop(child);
  }
}

/** A few hosts at a time: each has programs and a clock of its own. */
async function live() {
  const hosts = situation.hosts();
  hosts.flatMap(({ bots }) => bots).forEach((bot, nth) => (bot.number = 12025550100 + nth));
  const left = [...hosts];
  const worker = async () => {
    for (let host = left.shift(); host; host = left.shift()) {
      await record(host);
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
}

// ---- Rules ----

const block = (name, text) => {
  const file = path.join(dir, name);
  fs.writeFileSync(file, `${text}# EOF\n`);
  run('promtool', ['tsdb', 'create-blocks-from', '--max-block-duration=24h', 'openmetrics', '-q', file, out]);
};
async function prometheus(rules) {
  const port = await freePort();
  const config = path.join(dir, 'prometheus.yml');
  fs.writeFileSync(config, rules ? `rule_files: [${JSON.stringify(rules)}]\n` : 'scrape_configs: []\n');
  const data = rules ? path.join(dir, 'empty') : out;
  const child = await start('prometheus', 'prometheus', [`--config.file=${config}`, `--storage.tsdb.path=${data}`, '--storage.tsdb.retention.time=10y', `--web.listen-address=127.0.0.1:${port}`, '--log.level=error'], port);
  const api = async (what, query = {}) => {
    const answer = await (await fetch(`http://127.0.0.1:${port}/api/v1/${what}`, { method: what === 'rules' ? 'GET' : 'POST', ...(what !== 'rules' && { body: new URLSearchParams(query) }) })).json();
    if (answer.status !== 'success') {
      throw new Error(`${what}: ${answer.error}`);
    }
    return answer.data;
  };
  return { port, api, stop: () => stop(child) };
}

/** The recording rules by how many others they rest on, and the critical alerts. */
async function rulesByLevel() {
  const server = await prometheus(RULES);
  const { groups } = await server.api('rules');
  await server.stop();
  const all = groups.flatMap((group) => group.rules.map((rule) => ({ ...rule, interval: group.interval })));
  const recording = all.filter(({ type }) => type === 'recording');
  const level = new Map();
  const levelOf = (rule) => {
    if (!level.has(rule)) {
      level.set(rule, 0);
      const below = recording.filter((other) => other !== rule && rule.query.includes(other.name));
      level.set(rule, Math.max(-1, ...below.map(levelOf)) + 1);
    }
    return level.get(rule);
  };
  const levels = [];
  recording.forEach((rule) => (levels[levelOf(rule)] ??= []).push(rule));
  return { levels, alerts: all.filter((rule) => rule.type === 'alerting' && rule.labels.severity === 'critical') };
}

async function backfill(name, rules) {
  const server = await prometheus();
  const file = path.join(dir, `${name}.json`);
  const group = (rule, i) => ({ name: `${name}-${i}`, interval: `${rule.interval}s`, rules: [{ record: rule.name, expr: rule.query, labels: rule.labels ?? {} }] });
  fs.writeFileSync(file, JSON.stringify({ groups: rules.map(group) }));
  run('promtool', ['tsdb', 'create-blocks-from', 'rules', `--url=http://127.0.0.1:${server.port}`, `--start=${begin}`, `--end=${end + 60}`, `--output-dir=${out}`, '--eval-interval=60s', file]);
  await server.stop();
}

async function evaluate({ levels, alerts }) {
  for (const [nth, rules] of levels.entries()) {
    await backfill(`level-${nth}`, rules);
    // A rule that goes on from what it has recorded: promtool sees nothing of that in one pass.
    const goingOn = rules
      .map((rule) => ({ ...rule, query: rule.query.replaceAll(new RegExp(`${rule.name}(?![\\w:[])`, 'g'), `last_over_time(${rule.name}[6h])`) }))
      .filter((rule, i) => rule.query !== rules[i].query);
    if (goingOn.length) {
      await backfill(`level-${nth}-again`, goingOn);
    }
  }
  const server = await prometheus();
  let text = '';
  for (const rule of alerts) {
    const { result } = await server.api('query_range', { query: rule.query, start: begin, end, step: 60 });
    for (const series of result) {
      const { __name__, ...own } = series.metric;
      const constant = Object.entries(rule.labels).filter(([, value]) => !value.includes('{{'));
      const labels = Object.entries({ ...own, ...Object.fromEntries(constant), alertname: rule.name }).map(([name, value]) => `${name}="${label(value)}"`).join(',');
      let since = null;
      let last = null;
      for (const [at] of series.values) {
        since = last !== null && at - last <= 60 ? since : at;
        last = at;
        if (at - since >= rule.duration) {
          text += `ALERTS{${labels},alertstate="firing"} 1 ${at}\nALERTS_FOR_STATE{${labels}} ${since} ${at}\n`;
        }
      }
    }
  }
  await server.stop();
  if (text) {
    block('alerts.txt', text);
  }
}

fs.rmSync(out, { recursive: true, force: true });
await live();
block('scraped.txt', samples);
samples = '';
await evaluate(await rulesByLevel());
console.log(end);
process.exit(0);
