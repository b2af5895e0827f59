// Rewrites tests/fixtures/logs: runs logs-bot.mjs against logs-server.mjs, plainly and under the real pm2, and takes every
// key, path and base64 secret out of what it printed before anything is kept. `node logs.mjs`, about two minutes.
// `node logs.mjs --check DIR` only looks whether DIR's files hold a key byte or a path, and `--clean FROM TO` cleans others' files.
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const here = path.dirname(fileURLToPath(import.meta.url)), fixtures = path.join(here, '../fixtures/logs')
// name, library, what pino writes, story, and pm2's settings if it is pm2 that keeps the log
const runs = [
	['raw-6.7.18', '6.7.18', 'raw', 'full'],
	['raw-7.0.0-rc14', '7.0.0-rc14', 'raw', 'full'],
	['pretty-6.7.18', '6.7.18', 'pretty', 'full'],
	['pretty-7.0.0-rc14', '7.0.0-rc14', 'pretty', 'full'],
	['single-7.0.0-rc14', '7.0.0-rc14', 'single', 'short'],
	['translate-6.7.18', '6.7.18', 'translate', 'short'],
	['pm2-default-6.7.18', '6.7.18', 'raw', 'short', {}],
	['pm2-time-7.0.0-rc14', '7.0.0-rc14', 'raw', 'short', { time: true }],
	['pm2-fmt-6.7.18', '6.7.18', 'pretty', 'short', { log_date_format: 'YYYY-MM-DD HH:mm:ss.SSS Z' }],
	['pm2-json-6.7.18', '6.7.18', 'raw', 'short', { log_type: 'json' }],
	['pm2-json-7.0.0-rc14', '7.0.0-rc14', 'pretty', 'short', { log_type: 'json' }],
]

/// Every byte that a dump shows becomes 00, every base64 of a key's length becomes A's: the same length, no key.
export function clean(text, places = []) {
	for (const [from, to] of places) text = text.replaceAll(`file://${from}`, `file://${to}`).replaceAll(from, to)
	return text
		.replace(/("hostname\\?":\\?")[^"\\]*/g, '$1bot')
		.replaceAll('/tmp/', '/opt/bot/')
		.replace(/<Buffer(?: [0-9a-f]{2})+/g, dump => dump.replace(/ [0-9a-f]{2}/g, ' 00'))
		.replace(/(["'])[A-Za-z0-9+/]{43}(=?|[A-Za-z0-9+/])(\\?["'])/g, (_, q, tail, end) => `${q}${'A'.repeat(43)}${tail === '=' ? '=' : 'A'}${end}`)
		.replace(/(["'])[A-Za-z0-9+/]{86}==(\\?["'])/g, (_, q, end) => `${q}${'A'.repeat(86)}==${end}`)
		.replace(/\b[A-Za-z0-9]{44}(?=: \{)/g, 'A'.repeat(44))
}
/// What is wrong with a file, in words that quote nothing.
export function faults(text) {
	const found = []
	if (/<Buffer(?: [0-9a-f]{2})* (?!00)[0-9a-f]{2}/.test(text)) found.push('a byte of a buffer')
	if (/(priv(ate)?Key|rootKey|chainKey|"key|"private)[\\"]*:[\\" ]*(?!A{43})[A-Za-z0-9+/]{40}/i.test(text)) found.push('base64 of a key')
	if (/"type\\?":\\?"Buffer\\?",\\?"data\\?":\[(?!0[,\]])/.test(text)) found.push('a buffer in JSON')
	for (const word of ['/tmp/', '/root', '/home/', here, os.homedir(), `"${os.hostname()}"`]) if (text.includes(word)) found.push(`the text ${word}`)
	return found
}
const walk = dir => fs.readdirSync(dir, { recursive: true }).filter(f => fs.statSync(path.join(dir, f)).isFile() && /\.(log|txt|jsonl)$/.test(f)).sort()
function check(dir) {
	let bad = 0
	for (const f of walk(dir)) for (const fault of faults(fs.readFileSync(path.join(dir, f), 'utf8'))) { bad++; console.error(`${f}: ${fault}`) }
	return bad
}

async function play([name, version, log, story, pm2], work) {
	const dir = path.join(work, name), home = path.join(here, version), env = { ...process.env, BAILEYS_DIR: home, BOT_DIR: dir, BOT_LOG: log }
	fs.mkdirSync(dir)
	const out = path.join(dir, `${name}-out.log`), error = path.join(dir, `${name}-error.log`)
	const server = spawn(process.execPath, [path.join(here, 'logs-server.mjs'), dir, '--story', story], { env, stdio: ['ignore', 'pipe', 'inherit'] })
	let said = ''
	server.stdout.on('data', d => { said += d })
	const told = new Promise(resolve => server.on('close', resolve))
	while (!fs.existsSync(path.join(dir, 'server.json')) && server.exitCode === null) await sleep(50)
	let over
	if (pm2) {
		const settings = path.join(dir, 'ecosystem.json')
		fs.writeFileSync(settings, JSON.stringify({ apps: [{ name, script: path.join(here, 'logs-bot.mjs'), env: { BAILEYS_DIR: home, BOT_DIR: dir, BOT_LOG: log }, autorestart: false, merge_logs: true, out_file: out, error_file: error, ...pm2 }] }))
		manager(work, 'start', settings)
		over = told.then(() => sleep(1500))
	} else {
		const bot = spawn(process.execPath, [path.join(here, 'logs-bot.mjs')], { env, stdio: ['ignore', fs.openSync(out, 'w'), fs.openSync(error, 'w')] })
		over = new Promise(resolve => bot.on('close', resolve))
	}
	const code = await told
	if (code !== 0) throw new Error(`${name}: ${said}`)
	await over
	for (const file of [out, error]) {
		const text = clean(fs.readFileSync(file, 'utf8'), [[home, '/opt/bot'], [dir, '/opt/bot/data'], [here, '/opt/bot']])
		const wrong = faults(text)
		if (wrong.length) throw new Error(`${path.basename(file)}: ${wrong.join(', ')}`)
		fs.writeFileSync(path.join(fixtures, path.basename(file)), text)
	}
	console.log(name)
}
function manager(work, ...args) {
	const r = spawnSync(process.execPath, [path.join(here, 'pm2/node_modules/pm2/bin/pm2'), ...args], { env: { ...process.env, PM2_HOME: path.join(work, 'pm2'), PM2_DISCRETE_MODE: 'true' }, encoding: 'utf8' })
	if (r.status !== 0) throw new Error(`pm2 ${args[0]}: ${r.stderr}`)
}

const [flag, from, to] = process.argv.slice(2)
if (flag === '--check') process.exit(check(from) ? 1 : 0)
else if (flag === '--clean') {
	for (const f of walk(from)) {
		fs.mkdirSync(path.dirname(path.join(to, f)), { recursive: true })
		fs.writeFileSync(path.join(to, f), clean(fs.readFileSync(path.join(from, f), 'utf8')))
	}
	process.exit(check(to) ? 1 : 0)
}
for (const v of ['6.7.18', '7.0.0-rc14', 'pm2']) {
	if (!fs.existsSync(path.join(here, v, 'node_modules'))) spawnSync('npm', ['ci', '--legacy-peer-deps', '--ignore-scripts', '--no-audit', '--no-fund', '--silent'], { cwd: path.join(here, v), stdio: 'inherit' })
}
const wanted = flag ? runs.filter(r => r[0].includes(flag)) : runs
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'baileys-logs-')) // it holds keys: never leave it behind
fs.mkdirSync(fixtures, { recursive: true })
try {
	const todo = [...wanted]
	await Promise.all([1, 2, 3, 4].map(async n => { await sleep(n * 300); while (todo.length) await play(todo.shift(), work) }))
} finally {
	if (wanted.some(r => r[4])) manager(work, 'kill')
	fs.rmSync(work, { recursive: true, force: true })
}
