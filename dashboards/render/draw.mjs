// node draw.mjs --data=TSDB --out=DIR [--end=UNIX] [--themes=dark,light] [--dashboards=fleet,session,remediation]
//               [--session=NAME] [--instance=HOST:PORT] [--suffix=TEXT] [--from=now-24h] [--allow-empty]
//
// Starts the real Prometheus on a TSDB, draws dashboards against it in headless Chromium,
// and fails when a query fails, when one returns nothing (unless --allow-empty), or when a
// panel shows an error. Everything is on loopback, on free ports, and gone at the end.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import UPNG from 'upng-js';

const here = path.dirname(fileURLToPath(import.meta.url));
const dashboardsDir = path.join(here, '..');
const option = (name, otherwise) => {
  const found = process.argv.find((arg) => arg === `--${name}` || arg.startsWith(`--${name}=`));
  return found === undefined ? otherwise : found.includes('=') ? found.slice(name.length + 3) : true;
};
const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find((file) => fs.existsSync(file));
if (!CHROMIUM) {
  console.error('draw: no chromium; run: apt-get install --no-install-recommends chromium');
  process.exit(1);
}
const themes = option('themes', 'dark,light').split(',');
const names = option('dashboards', 'fleet,session,remediation').split(',');
const outDir = path.resolve(option('out', '.'));
const end = Number(option('end', Math.floor(Date.now() / 1000)));
const spans = { m: 60, h: 3600, d: 86400 };
const seconds = (span) => Number(span.slice(4, -1)) * spans[span.at(-1)]; // now-24h
const WIDTH = 1400;
const SETTLED_MS = 1500;
const PATIENCE_MS = 120_000;

const freePort = () =>
  new Promise((resolve, reject) => {
    const server = net.createServer().on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

async function prometheus(data) {
  const port = await freePort();
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'baileys-draw-'));
  fs.writeFileSync(path.join(dir, 'prometheus.yml'), 'scrape_configs: []\n');
  const child = spawn(
    'prometheus',
    [`--config.file=${dir}/prometheus.yml`, `--storage.tsdb.path=${data}`, '--storage.tsdb.retention.time=10y', `--web.listen-address=127.0.0.1:${port}`, '--log.level=error'],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  const stop = () => {
    child.kill();
    fs.rmSync(dir, { recursive: true, force: true });
  };
  process.on('exit', stop);
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; ; tries += 1) {
    try {
      if ((await fetch(`${url}/-/ready`)).ok) {
        return { url, stop };
      }
    } catch (error) {
      if (tries > 300 || child.exitCode !== null) {
        throw error;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** The built page, the dashboards, and Prometheus under /prom, so that all is one origin. */
async function serve(prom) {
  const port = await freePort();
  const types = { '.html': 'text/html', '.js': 'text/javascript', '.json': 'application/json', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2', '.ttf': 'font/ttf' };
  const server = http.createServer((request, answer) => {
    const failed = (error) => {
      answer.writeHead(502);
      answer.end(String(error));
    };
    if (request.url.startsWith('/prom/')) {
      const to = http.request(prom + request.url.slice('/prom'.length), { method: request.method, headers: { 'content-type': request.headers['content-type'] ?? '' } }, (from) => {
        answer.writeHead(from.statusCode, { 'content-type': from.headers['content-type'] });
        from.pipe(answer);
      });
      to.on('error', failed);
      request.pipe(to);
      return;
    }
    const asked = decodeURIComponent(request.url.split('?')[0]);
    const file = asked.startsWith('/dashboards/') ? path.join(dashboardsDir, path.basename(asked)) : path.join(here, 'dist', path.normalize(asked === '/' ? 'index.html' : asked));
    fs.readFile(file, (error, data) => {
      answer.writeHead(error ? 404 : 200, { 'content-type': types[path.extname(file)] ?? 'application/octet-stream' });
      answer.end(data);
    });
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${port}`, stop: () => server.close() };
}

/** Waits until no query has begun or ended for a while. */
async function settled(page) {
  const began = Date.now();
  let [last, since] = ['', Date.now()];
  for (;;) {
    const seen = await page.evaluate(() => `${(window.__queries ?? []).length} ${window.__pending ?? 0}`);
    if (seen !== last) {
      [last, since] = [seen, Date.now()];
    } else if (!seen.startsWith('0 ') && seen.endsWith(' 0') && Date.now() - since > SETTLED_MS) {
      return;
    }
    if (Date.now() - began > PATIENCE_MS) {
      throw new Error(`the queries did not end: ${seen}`);
    }
    await page.waitForTimeout(200);
  }
}

async function draw(browser, url, name, theme) {
  const dashboard = JSON.parse(fs.readFileSync(path.join(dashboardsDir, `${name}.json`), 'utf8'));
  const height = Math.max(...dashboard.panels.map((panel) => (panel.gridPos.y + panel.gridPos.h) * 38)) + 150;
  const page = await browser.newPage({ viewport: { width: WIDTH, height } });
  const problems = [];
  page.on('pageerror', (error) => problems.push(`page: ${String(error.stack ?? error).slice(0, 600)}`));
  const from = new Date((end - seconds(option('from', dashboard.time.from))) * 1000).toISOString();
  const query = new URLSearchParams({ dashboard: `/dashboards/${name}.json`, from, to: new Date(end * 1000).toISOString(), theme });
  for (const variable of ['session', 'instance']) {
    if (option(variable) && name === 'session') {
      query.set(`var-${variable}`, option(variable));
    }
  }
  await page.goto(`${url}/?${query}`);
  await settled(page);
  // Annotations may come after a graph was drawn; a new width draws all of them again.
  await page.setViewportSize({ width: WIDTH - 4, height });
  await page.waitForTimeout(500);
  await page.setViewportSize({ width: WIDTH, height });
  await page.waitForTimeout(1000);
  const queries = await page.evaluate(() => window.__queries);
  for (const { expr, status, n, error, annotation } of queries) {
    if (status !== 'success') {
      problems.push(`query failed: ${expr}: ${error}`);
    } else if (n === 0 && !annotation && !option('allow-empty')) {
      problems.push(`query returned nothing: ${expr}`);
    }
  }
  const badges = await page.$$eval('[data-testid*="Panel status error"],[aria-label="Panel status"]', (found) => found.length);
  if (badges) {
    problems.push(`${badges} panels show an error`);
  }
  const file = path.join(outDir, `${name}-${theme}${option('suffix', '')}.png`);
  const shot = UPNG.decode(await page.screenshot());
  // 256 colours are enough for a dashboard, and half the bytes.
  fs.writeFileSync(file, Buffer.from(UPNG.encode([UPNG.toRGBA8(shot)[0]], shot.width, shot.height, 256)));
  await page.close();
  console.log(`${path.basename(file)}: ${queries.length} queries, ${Math.round(fs.statSync(file).size / 1024)} KiB${problems.length ? `, ${problems.length} problems` : ''}`);
  problems.forEach((problem) => console.log(`  ${problem}`));
  return problems.length;
}

fs.mkdirSync(outDir, { recursive: true });
const prom = await prometheus(path.resolve(option('data')));
const page = await serve(prom.url);
const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'] });
let problems = 0;
try {
  for (const name of names) {
    for (const theme of themes) {
      problems += await draw(browser, page.url, name, theme);
    }
  }
} finally {
  await browser.close();
  page.stop();
  prom.stop();
}
process.exit(problems ? 1 : 0);
