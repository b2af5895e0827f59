// A bot as people write them: the library's own socket on useMultiFileAuthState, which reconnects until it is logged out.
// It talks to logs-server.mjs, not to WhatsApp, and what it prints to stdout and stderr is the log fixture.
// BOT_DIR: where server.json and the auth folder are. BOT_LOG: raw, pretty, single or translate.
import fs from 'node:fs'
import path from 'node:path'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const home = process.env.BAILEYS_DIR, dir = process.env.BOT_DIR, kind = process.env.BOT_LOG || 'raw'
const req = createRequire(path.join(home, 'x.js'))
const name = ['@whiskeysockets/baileys', 'baileys'].find(n => fs.existsSync(path.join(home, 'node_modules', n)))
const main = path.join(home, 'node_modules', name, 'lib/index.js')
const b = req(`${name}/package.json`).type === 'module' ? await import(pathToFileURL(main)) : req(main)
const pino = req('pino'), pretty = req('pino-pretty')
const { port, root } = JSON.parse(fs.readFileSync(path.join(dir, 'server.json'), 'utf8'))
if (b.WA_CERT_DETAILS.PUBLIC_KEY) b.WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(root, 'base64') // 7.x verifies the server

// pino's own base fields, with no machine's name in them.
const options = { level: process.env.BOT_LEVEL || 'info', base: { pid: process.pid, hostname: 'bot' } }
const stream = { pretty: {}, single: { singleLine: true }, translate: { translateTime: 'SYS:standard' } }[kind]
const logger = stream
	? pino(options, pretty({ colorize: false, sync: true, ...stream }))
	: pino({ ...options, timestamp: () => `,"time":"${new Date().toJSON()}"` }) // as the library's own logger
const child = logger.child({ class: 'baileys' })

const sent = new Map()
let connections = 0
async function start() {
	if (++connections > 15) process.exit(3) // the server has gone: no need to fill the disk
	const { state, saveCreds } = await b.useMultiFileAuthState(path.join(dir, 'auth'))
	if (!state.creds.me) {
		const lid = b.WA_CERT_DETAILS.PUBLIC_KEY ? { lid: '180001112223334:12@lid' } : {}
		Object.assign(state.creds, { me: { id: '79001234567:12@s.whatsapp.net', name: 'bot', ...lid }, registered: true, platform: 'android', accountSyncCounter: 1, myAppStateKeyId: 'AAAAANf/' })
		state.creds.account = b.proto.ADVSignedDeviceIdentity.fromObject({ details: Buffer.alloc(4, 1), accountSignatureKey: Buffer.alloc(32, 1), accountSignature: Buffer.alloc(64, 2), deviceSignature: Buffer.alloc(64, 3) })
		await saveCreds()
	}
	const sock = (b.makeWASocket ?? b.default)({
		auth: state, logger: child, waWebSocketUrl: `ws://127.0.0.1:${port}`, defaultQueryTimeoutMs: 2000, syncFullHistory: false,
		getMessage: async key => sent.get(key.id),
	})
	sock.ev.on('creds.update', saveCreds)
	sock.ev.on('connection.update', ({ connection, lastDisconnect }) => {
		if (connection !== 'close') return
		const code = lastDisconnect?.error?.output?.statusCode
		if (code === b.DisconnectReason.loggedOut) setTimeout(() => process.exit(0), 500)
		else setTimeout(start, 200)
	})
	sock.ev.on('messages.upsert', async ({ messages }) => {
		for (const m of messages) {
			const text = m.message?.conversation
			try {
				if (text === 'ping') { const out = await sock.sendMessage(m.key.remoteJid, { text: 'pong' }); sent.set(out.key.id, out.message) }
				if (text === 'who') await sock.onWhatsApp('79005550000')
				if (text === 'show') {
					const address = sock.signalRepository.jidToSignalProtocolAddress(m.key.remoteJid)
					child.info({ session: await state.keys.get('session', [address]) }, 'session')
				}
				if (text === 'bye') sock.end(undefined)
			} catch {}
		}
	})
}
process.on('SIGTERM', () => process.exit(0))
await start()
