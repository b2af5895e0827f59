// Shared by the scripts here: loads a REAL npm Baileys from BAILEYS_DIR (a folder with node_modules) and drives the
// library's own useMultiFileAuthState, getNextPreKeys, addTransactionCapability and makeLibSignalRepository. No network.
import fs from 'node:fs'
import path from 'node:path'
import { createRequire } from 'node:module'
import { parseArgs } from 'node:util'
import { pathToFileURL } from 'node:url'

// libsignal prints whole sessions, private keys included: nothing but print() and complain() may reach a terminal or a log.
for (const m of ['log', 'info', 'warn', 'error', 'debug', 'trace', 'dir']) console[m] = () => {}
export const print = x => fs.writeSync(1, (typeof x === 'string' ? x : JSON.stringify(x, null, 1)) + '\n')
export const complain = text => fs.writeSync(2, text + '\n')
// Node's own report of an uncaught error quotes the failing source and the error's fields: only the message is wanted.
const die = e => { complain(`error: ${e?.message ?? e}`); process.exit(2) }
process.on('uncaughtException', die)
process.on('unhandledRejection', die)

export const DAY = 86_400_000
export const MINUTE = 60_000
export const QUARANTINE = '.baileys_quarantine'

/// Reads `OUT --flag value ...`; `spec` maps a flag to its default (a boolean default makes it a switch).
export function args(usage, spec) {
	const options = {}
	for (const [k, v] of Object.entries(spec)) options[k] = typeof v === 'boolean' ? { type: 'boolean' } : { type: 'string' }
	let got
	try { got = parseArgs({ options, allowPositionals: true }) } catch (e) { complain(`${e.message}\n${usage}`); process.exit(2) }
	if (got.positionals.length !== 1) { complain(usage); process.exit(2) }
	const o = { out: path.resolve(got.positionals[0]) }
	for (const [k, v] of Object.entries(spec)) {
		const given = got.values[k]
		o[k] = given === undefined ? v : typeof v === 'number' ? Number(given) : given
		if (typeof v === 'number' && !Number.isFinite(o[k])) { complain(`--${k} wants a number\n${usage}`); process.exit(2) }
	}
	return o
}

export async function loadBaileys(dir = process.env.BAILEYS_DIR) {
	if (!dir) throw new Error('BAILEYS_DIR is not set: name a folder with node_modules')
	dir = path.resolve(dir)
	const root = ['@whiskeysockets/baileys', 'baileys'].map(n => path.join(dir, 'node_modules', n)).find(p => fs.existsSync(p))
	if (!root) throw new Error('no Baileys in BAILEYS_DIR: run "npm ci --legacy-peer-deps --ignore-scripts" there')
	const pkg = readJson(path.join(root, 'package.json'))
	let b, signal
	if (pkg.type === 'module') {
		b = await import(pathToFileURL(path.join(root, 'lib/index.js')))
		signal = await import(pathToFileURL(path.join(root, 'lib/Signal/libsignal.js')))
	} else {
		const req = createRequire(path.join(root, 'x.js'))
		b = req('./lib/index.js')
		signal = req('./lib/Signal/libsignal.js')
	}
	const ls = readJson(path.join(dir, 'node_modules/libsignal/package.json'))
	const mentions = (file, word) => fs.existsSync(path.join(root, file)) && fs.readFileSync(path.join(root, file), 'utf8').includes(word)
	return {
		b,
		makeLibSignalRepository: signal.makeLibSignalRepository,
		name: `${pkg.name}@${pkg.version}`,
		libsignal: `${ls.name}@${ls.version}`,
		is7: pkg.version.startsWith('7.'),
		hasTcTokens: mentions('lib/Types/Auth.d.ts', 'tctoken'),
		hasTcTokenIndex: mentions('lib/Utils/tc-token-utils.js', "'__index'"),
	}
}

export const readJson = (file, reviver) => JSON.parse(fs.readFileSync(file, 'utf8'), reviver)
const silent = { level: 'silent', child() { return silent }, trace() {}, debug() {}, info() {}, warn() {}, error() {} }
const pad33 = pub => { pub = Buffer.from(pub); return pub.length === 33 ? pub : Buffer.concat([Buffer.from([5]), pub]) }

/// One WhatsApp account is one useMultiFileAuthState folder, opened through the library's own code.
/// `cache` puts the library's 300 s key cache in front, as most bots do.
export async function openParty(B, dir, { jid, lid, cache = false } = {}) {
	const { state, saveCreds } = await B.b.useMultiFileAuthState(dir)
	if (jid && !state.creds.me) {
		state.creds.me = { id: jid, name: path.basename(dir), ...(lid ? { lid } : {}) }
		state.creds.registered = true
		state.creds.platform = 'android'
		await saveCreds()
	}
	const base = cache ? B.b.makeCacheableSignalKeyStore(state.keys, silent) : state.keys
	const keys = B.b.addTransactionCapability(base, silent, { maxCommitRetries: 10, delayBetweenTriesMs: 50 })
	const repo = B.makeLibSignalRepository({ creds: state.creds, keys }, silent, async () => undefined)
	return { dir, creds: state.creds, keys, repo, saveCreds, me: state.creds.me, close() { repo.close?.() } }
}

/// What the library's uploadPreKeys() does, less the network: mint, save, hand the public halves to "the server".
export async function uploadPreKeys(B, p, count, server) {
	const run = fn => (p.keys.transaction ? p.keys.transaction(fn, p.me?.id || 'upload-pre-keys') : fn())
	const { update, preKeys } = await run(() => B.b.getNextPreKeys({ creds: p.creds, keys: p.keys }, count))
	Object.assign(p.creds, update)
	await p.saveCreds()
	const b64 = x => Buffer.from(x).toString('base64')
	server.preKeys ||= {}
	for (const [id, pair] of Object.entries(preKeys)) server.preKeys[id] = b64(pair.public)
	server.identity = b64(p.creds.signedIdentityKey.public)
	server.registrationId = p.creds.registrationId
	server.skey = { id: p.creds.signedPreKey.keyId, pub: b64(p.creds.signedPreKey.keyPair.public), sig: b64(p.creds.signedPreKey.signature) }
}

export const heldIds = server => Object.keys(server.preKeys).map(Number).sort((a, b) => a - b)

/// What the WhatsApp server does when asked for a bundle: hands out ONE one-time pre-key and forgets it.
export function takeBundle(server, id = heldIds(server)[0]) {
	const pub = server.preKeys[id]
	delete server.preKeys[id]
	const key = s => pad33(Buffer.from(s, 'base64'))
	return {
		id,
		session: {
			registrationId: server.registrationId,
			identityKey: key(server.identity),
			signedPreKey: { keyId: server.skey.id, publicKey: key(server.skey.pub), signature: Buffer.from(server.skey.sig, 'base64') },
			preKey: pub ? { keyId: id, publicKey: key(pub) } : undefined,
		},
	}
}

export const send = (from, toJid, text) => from.repo.encryptMessage({ jid: toJid, data: Buffer.from(text) })
export const recv = async (to, fromJid, m) => Buffer.from(await to.repo.decryptMessage({ jid: fromJid, type: m.type, ciphertext: m.ciphertext })).toString()
export function expect(want, got) { if (want !== got) throw new Error('the text read is not the text sent') }
