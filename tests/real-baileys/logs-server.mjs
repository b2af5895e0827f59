// A stand-in for WhatsApp's server, on the loopback: the real WebSocket, Noise handshake and binary protocol, spoken with
// the library's own primitives, and a few contacts with the library's own Signal sessions. It plays one story to the bot
// that connects (logs-bot.mjs) and ends with it. Every step is something a real server or contact does.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { args, loadBaileys, openParty, print, takeBundle, uploadPreKeys } from './common.mjs'

const o = args(`usage: BAILEYS_DIR=DIR node logs-server.mjs OUT [flags]
  --story NAME   full, or short (full)
  Writes OUT/port once it listens.`, { story: 'full' })
const B = await loadBaileys(), { b } = B
const { WebSocketServer } = createRequire(path.join(process.env.BAILEYS_DIR, 'x.js'))('ws')
const BOT = '79001234567:12@s.whatsapp.net', LID = '180001112223334:12@lid', GROUP = '120363025246125486@g.us'
const SERVER = 's.whatsapp.net'

// The handshake's certificate: the library of 7.x checks it against WhatsApp's root, so the bot is told of ours.
const root = b.Curve.generateKeyPair(), middle = b.Curve.generateKeyPair(), own = b.Curve.generateKeyPair()
const certificate = () => {
	const { CertChain } = b.proto, details = d => CertChain.NoiseCertificate.Details.encode(d).finish()
	const leaf = details({ serial: 2, issuerSerial: 1, key: own.public }), mid = details({ serial: 1, issuerSerial: 0, key: middle.public })
	return CertChain.encode({
		leaf: { details: leaf, signature: b.Curve.sign(middle.private, leaf) },
		intermediate: { details: mid, signature: b.Curve.sign(root.private, mid) },
	}).finish()
}
const NOISE = Buffer.from('Noise_XX_25519_AESGCM_SHA256\0\0\0\0')
const NONE = Buffer.alloc(0)
const iv = n => { const v = Buffer.alloc(12); v.writeUInt32BE(n, 8); return v }

/// One connection: frames in, binary nodes out.
class Link {
	constructor(ws) { Object.assign(this, { ws, buffer: NONE, intro: true, step: 0, hash: NOISE, salt: NOISE, key: NOISE, n: 0, sent: 0, got: 0, open: true, waiting: [], queue: Promise.resolve() }) }
	mix(data) { this.hash = b.sha256(Buffer.concat([this.hash, data])) }
	async derive(secret) {
		const k = Buffer.from(await b.hkdf(Buffer.from(secret), 64, { salt: Buffer.from(this.salt), info: '' }))
		return [k.subarray(0, 32), k.subarray(32)]
	}
	async mixKey(secret) { [this.salt, this.key] = await this.derive(secret); this.n = 0 }
	seal(data) { const c = b.aesEncryptGCM(data, this.key, iv(this.n++), this.hash); this.mix(c); return c }
	unseal(data) { const p = b.aesDecryptGCM(data, this.key, iv(this.n++), this.hash); this.mix(data); return p }
	raw(data) { const head = Buffer.alloc(3); head.writeUIntBE(data.length, 0, 3); this.ws.send(Buffer.concat([head, data])) }
	send(node) {
		if (!this.open) return
		this.raw(b.aesEncryptGCM(b.encodeBinaryNode(node), this.write, iv(this.sent++), NONE))
	}
	frames(data) {
		this.buffer = Buffer.concat([this.buffer, data])
		if (this.intro && this.buffer.length >= 4) { this.header = this.buffer.subarray(0, 4); this.buffer = this.buffer.subarray(4); this.intro = false }
		const out = []
		while (this.buffer.length >= 3 && this.buffer.length >= 3 + this.buffer.readUIntBE(0, 3)) {
			const end = 3 + this.buffer.readUIntBE(0, 3)
			out.push(this.buffer.subarray(3, end))
			this.buffer = this.buffer.subarray(end)
		}
		return out
	}
	async frame(f) {
		const { HandshakeMessage } = b.proto
		if (this.step === 0) {
			const { clientHello } = HandshakeMessage.decode(f)
			this.mix(this.header)
			this.mix(clientHello.ephemeral)
			this.eph = b.Curve.generateKeyPair()
			this.mix(this.eph.public)
			await this.mixKey(b.Curve.sharedKey(this.eph.private, clientHello.ephemeral))
			const fixed = this.seal(own.public)
			await this.mixKey(b.Curve.sharedKey(own.private, clientHello.ephemeral))
			this.raw(Buffer.from(HandshakeMessage.encode({ serverHello: { ephemeral: this.eph.public, static: fixed, payload: this.seal(certificate()) } }).finish()))
			this.step = 1
		} else if (this.step === 1) {
			const { clientFinish } = HandshakeMessage.decode(f)
			await this.mixKey(b.Curve.sharedKey(this.eph.private, this.unseal(Buffer.from(clientFinish.static))))
			this.unseal(Buffer.from(clientFinish.payload));
			[this.read, this.write] = await this.derive(NONE)
			this.step = 2
			setTimeout(() => this.ready(this), 50) // the bot has to finish its side
		} else {
			const node = await b.decodeBinaryNode(b.aesDecryptGCM(f, this.read, iv(this.got++), NONE))
			this.waiting = this.waiting.filter(w => !w(node))
			await this.onNode(node, this)
		}
	}
	/// Resolves with the first node that `test` likes, or undefined after `ms`.
	until(test, ms = 3000) {
		return new Promise(resolve => {
			const timer = setTimeout(() => resolve(undefined), ms)
			this.waiting.push(node => { const yes = test(node); if (yes) { clearTimeout(timer); resolve(node) } return yes })
		})
	}
	async end(node) { this.send(node); await sleep(400); this.open = false; this.ws.close(); await sleep(100) }
}

// What the server knows of the bot: whatever the bot uploads.
const server = { preKeys: {} }, say = { count: undefined }
const child = (node, tag) => Array.isArray(node?.content) ? node.content.find(c => c.tag === tag) : undefined
const b64 = x => Buffer.from(x).toString('base64')
const uint = (n, size) => { const v = Buffer.alloc(size); v.writeUIntBE(n, 0, size); return v }
const contacts = {}
async function contact(user) {
	const party = await openParty(B, path.join(o.out, 'contacts', user), { jid: `${user}@${SERVER}` })
	const bundle = {}
	await uploadPreKeys(B, party, 20, bundle)
	return contacts[user] = { user, jid: `${user}@${SERVER}`, party, bundle }
}
const bundleNode = (c, jid) => {
	const { id, session: s } = takeBundle(c.bundle)
	const bare = k => Buffer.from(k).subarray(1)
	return { tag: 'user', attrs: { jid }, content: [
		{ tag: 'registration', attrs: {}, content: uint(s.registrationId, 4) },
		{ tag: 'type', attrs: {}, content: Buffer.from([5]) },
		{ tag: 'identity', attrs: {}, content: bare(s.identityKey) },
		{ tag: 'skey', attrs: {}, content: [
			{ tag: 'id', attrs: {}, content: uint(s.signedPreKey.keyId, 3) },
			{ tag: 'value', attrs: {}, content: bare(s.signedPreKey.publicKey) },
			{ tag: 'signature', attrs: {}, content: Buffer.from(s.signedPreKey.signature) }] },
		{ tag: 'key', attrs: {}, content: [
			{ tag: 'id', attrs: {}, content: uint(id, 3) },
			{ tag: 'value', attrs: {}, content: bare(s.preKey.publicKey) }] }] }
}
function onNode(node, link) {
	if (node.tag !== 'iq' || !['get', 'set'].includes(node.attrs.type)) {
		if (node.tag === 'message') link.send({ tag: 'ack', attrs: { id: node.attrs.id, class: 'message', from: node.attrs.to, t: now() } })
		return
	}
	const answer = content => link.send({ tag: 'iq', attrs: { id: node.attrs.id, from: SERVER, type: 'result' }, ...(content ? { content } : {}) })
	const { xmlns, type } = node.attrs
	if (xmlns === 'encrypt' && child(node, 'count')) return answer([{ tag: 'count', attrs: { value: String(say.count ?? Object.keys(server.preKeys).length) } }])
	if (xmlns === 'encrypt' && child(node, 'digest')) return answer([{ tag: 'digest', attrs: {} }])
	if (xmlns === 'encrypt' && child(node, 'list')) {
		const value = (n, tag) => child(n, tag).content
		for (const k of child(node, 'list').content) server.preKeys[Buffer.from(value(k, 'id')).readUIntBE(0, 3)] = b64(value(k, 'value'))
		const s = child(node, 'skey')
		server.registrationId = Buffer.from(value(node, 'registration')).readUInt32BE()
		server.identity = b64(value(node, 'identity'))
		server.skey = { id: Buffer.from(value(s, 'id')).readUIntBE(0, 3), pub: b64(value(s, 'value')), sig: b64(value(s, 'signature')) }
		return answer()
	}
	if (xmlns === 'encrypt' && type === 'get') {
		const users = child(node, 'key').content.map(u => u.attrs.jid).filter(j => contacts[j.split(/[@:]/)[0]])
		return answer([{ tag: 'list', attrs: {}, content: users.map(j => bundleNode(contacts[j.split(/[@:]/)[0]], j)) }])
	}
	if (xmlns === 'usync') {
		if (child(child(child(node, 'usync'), 'query'), 'contact')) return undefined // never answered
		const asked = child(child(node, 'usync'), 'list').content.map(u => u.attrs.jid).filter(j => j && contacts[j.split(/[@:]/)[0]])
		const devices = { tag: 'devices', attrs: {}, content: [{ tag: 'device-list', attrs: {}, content: [{ tag: 'device', attrs: { id: '0' } }] }] }
		return answer([{ tag: 'usync', attrs: {}, content: [{ tag: 'result', attrs: {} }, { tag: 'list', attrs: {}, content: asked.map(jid => ({ tag: 'user', attrs: { jid }, content: [devices] })) }] }])
	}
	return answer()
}

const now = () => String(Math.floor(Date.now() / 1000))
let serial = 0
const nextId = () => '3EB0ABCDEF' + String(++serial).padStart(4, '0')
const plain = text => {
	const n = 1 + serial % 16
	return Buffer.concat([Buffer.from(b.proto.Message.encode({ conversation: text }).finish()), Buffer.alloc(n, n)])
}
const encrypt = (c, text) => c.party.repo.encryptMessage({ jid: BOT, data: plain(text) })
/// Delivers an encrypted message and waits until the bot has answered for it in some way.
async function deliver(link, c, m, extra = {}) {
	const id = nextId()
	const answered = link.until(n => ['receipt', 'ack'].includes(n.tag) && n.attrs.id === id, 2500)
	link.send({ tag: 'message', attrs: { from: c.jid, id, t: now(), type: 'text', notify: 'Ivan', ...extra }, content: [{ tag: 'enc', attrs: { v: '2', type: m.type }, content: Buffer.from(m.ciphertext) }] })
	await answered
	await sleep(700)
	return id
}
const install = async c => {
	const { id, session } = takeBundle(server)
	await c.party.repo.injectE2ESession({ jid: BOT, session })
	return id
}
// A contact's session with the bot, to put back an older one. A deep copy: the library changes what it holds.
const address = c => c.party.repo.jidToSignalProtocolAddress(BOT)
const session = async c => structuredClone((await c.party.keys.get('session', [address(c)]))[address(c)])
const restore = (c, was) => c.party.keys.set({ session: { [address(c)]: structuredClone(was) } })
const drop = c => c.party.keys.set({ session: { [address(c)]: null } })

async function messages(link) {
	if (!B.is7) await contact('79001234567') // the bot's own telephone, which gets a copy of what the bot writes
	const anna = await contact('79001110001'), boris = await contact('79001110002'), vera = await contact('79001110003')
	// A first message, and an answer, so that the session is settled.
	await install(anna)
	await deliver(link, anna, await encrypt(anna, 'hello'))
	const toAnna = n => n.tag === 'message' && n.attrs.to === anna.jid
	const sent = link.until(toAnna)
	await deliver(link, anna, await encrypt(anna, 'ping'))
	const pong = await sent
	const part = child(pong, 'participants')?.content.find(to => to.attrs.jid === anna.jid)
	const enc = child(pong, 'enc') ?? child(part, 'enc')
	await anna.party.repo.decryptMessage({ jid: BOT, type: enc.attrs.type, ciphertext: enc.content })
	const again = await encrypt(anna, 'twice')
	await deliver(link, anna, again)
	await deliver(link, anna, again) // key used already
	const damaged = await encrypt(anna, 'damaged')
	damaged.ciphertext = Buffer.from(damaged.ciphertext)
	damaged.ciphertext[damaged.ciphertext.length - 1] ^= 1
	await deliver(link, anna, damaged) // bad MAC
	if (o.story === 'full') {
		const before = await session(anna)
		let far
		for (let i = 0; i < 2002; i++) far = await encrypt(anna, 'far')
		await deliver(link, anna, far) // over 2000 messages into the future
		await restore(anna, before)
	}
	const old = await session(anna)
	await drop(anna)
	await install(anna)
	await deliver(link, anna, await encrypt(anna, 'new phone')) // closing open session in favor of a bundle
	const fresh = await session(anna)
	await restore(anna, old)
	await deliver(link, anna, await encrypt(anna, 'from the old session')) // decrypted with a closed session
	await restore(anna, fresh)
	// A pre-key the bot does not hold.
	const real = takeBundle(server)
	real.session.preKey.keyId = 7_000_000
	await boris.party.repo.injectE2ESession({ jid: BOT, session: real.session })
	await deliver(link, boris, await encrypt(boris, 'on a lost pre-key'))
	// A message on a session the bot does not hold.
	await install(vera)
	const first = await encrypt(vera, 'never delivered')
	if (first.type !== 'pkmsg') throw new Error('not a first message')
	const inner = Buffer.from(first.ciphertext)
	await deliver(link, vera, { type: 'msg', ciphertext: whisperPart(inner) }) // no session record
	if (o.story === 'full') {
		const g = await vera.party.repo.encryptGroupMessage({ group: GROUP, meId: vera.jid, data: plain('group') })
		await deliver(link, { jid: GROUP }, { type: 'skmsg', ciphertext: g.ciphertext }, { participant: vera.jid }) // no sender key
	}
	// The contact cannot read what the bot wrote and asks for it again: the bot fetches a new bundle.
	const resent = link.until(toAnna, 4000)
	link.send({ tag: 'receipt', attrs: { from: anna.jid, id: pong.attrs.id, type: 'retry', t: now() }, content: [
		{ tag: 'retry', attrs: { count: '1', id: pong.attrs.id, t: now(), v: '1' } },
		{ tag: 'registration', attrs: {}, content: uint(anna.bundle.registrationId, 4) }] })
	await resent
	await sleep(700)
	// The same mishaps in a first message: libsignal prints nothing then, the library's logger does.
	const gleb = await contact('79001110004')
	await install(gleb)
	const hello = await encrypt(gleb, 'hello')
	await deliver(link, gleb, hello)
	await deliver(link, gleb, hello) // key used already
	const broken = await encrypt(gleb, 'damaged')
	broken.ciphertext = Buffer.from(broken.ciphertext)
	broken.ciphertext[macOffset(broken.ciphertext)] ^= 1
	await deliver(link, gleb, broken) // bad MAC
	if (o.story === 'full') {
		const before = await session(gleb)
		let far
		for (let i = 0; i < 2002; i++) far = await encrypt(gleb, 'far')
		await deliver(link, gleb, far) // over 2000 messages into the future
		await restore(gleb, before)
		await deliver(link, gleb, await encrypt(gleb, 'who')) // the bot asks the server, which does not answer
		await sleep(2500)
		await deliver(link, gleb, await encrypt(gleb, 'show')) // the app logs a session, keys and all
	}
}
/// Where the last byte of the inner message's MAC is.
function macOffset(buf) {
	const inner = whisperPart(buf)
	return inner.byteOffset - buf.byteOffset + inner.length - 1
}
/// A pre-key message holds a plain one: version byte, then protobuf with field 4 the message.
function whisperPart(buf) {
	for (let at = 1; at < buf.length;) {
		const tag = buf[at++]
		let n = 0
		for (let shift = 0; ; shift += 7) { const byte = buf[at++]; n += (byte & 127) * 2 ** shift; if (byte < 128) break }
		if ((tag & 7) === 2) { if (tag >> 3 === 4) return buf.subarray(at, at + n); at += n }
	}
	throw new Error('no message in a first message')
}

const open = async (link, count) => {
	say.count = count
	const stocked = (count ?? 0) > 5 || link.until(n => n.attrs.xmlns === 'encrypt' && child(n, 'list'), 30_000)
	const online = link.until(n => n.tag === 'ib' || n.tag === 'presence' || n.attrs.xmlns === 'w' || n.attrs.xmlns === 'blocklist' || n.attrs.xmlns === 'privacy', 3000)
	link.send({ tag: 'success', attrs: { t: now(), location: 'cln', ...(B.is7 ? { lid: LID } : {}) } })
	await stocked
	await online
	link.send({ tag: 'ib', attrs: {}, content: [{ tag: 'offline', attrs: { count: '0' } }] })
	await sleep(500)
}
const bye = async link => {
	const dina = await contact('79001110005')
	await install(dina)
	await deliver(link, dina, await encrypt(dina, 'bye'))
}
const streamError = (attrs, content) => ({ tag: 'stream:error', attrs, ...(content ? { content } : {}) })
const conflict = type => [{ tag: 'conflict', attrs: { type } }]
const plenty = 900
// One function for each connection the bot makes, in order.
const story = {
	full: [
		async l => { await open(l); await messages(l); await l.end(streamError({ code: '515' })) },
		async l => { await open(l, 3); await l.end(streamError({ code: '503' })) }, // few pre-keys left: the bot uploads
		async l => { await open(l, plenty); await l.end(streamError({}, conflict('replaced'))) },
		async l => { await l.end({ tag: 'failure', attrs: { reason: '503', location: 'cln' } }) },
		async l => { await open(l, plenty); await l.end(streamError({ code: '500' })) },
		async l => { await open(l, plenty); await l.end({ tag: 'xmlstreamend', attrs: {} }) },
		async l => { await open(l, plenty); l.open = false; l.ws.terminate(); await sleep(300) },
		async l => { await open(l, plenty); await l.end({ tag: 'ib', attrs: {}, content: [{ tag: 'downgrade_webclient', attrs: {} }] }) },
		async l => { await open(l, plenty); await bye(l) }, // the app ends the connection
		async l => { await open(l, plenty); await l.end(streamError({ code: '401' }, conflict('device_removed'))) },
	],
	short: [
		async l => { await open(l); await messages(l); await l.end(streamError({ code: '515' })) },
		async l => { await open(l, 3); await l.end(streamError({ code: '503' })) },
		async l => { await open(l, plenty); await l.end(streamError({}, conflict('replaced'))) },
		async l => { await l.end({ tag: 'failure', attrs: { reason: '503', location: 'cln' } }) },
		async l => { await open(l, plenty); await l.end(streamError({ code: '401' }, conflict('device_removed'))) },
	],
}[o.story]

let left = story.length
fs.mkdirSync(o.out, { recursive: true })
const wss = new WebSocketServer({ host: '127.0.0.1', port: 0 })
wss.on('connection', ws => {
	const link = new Link(ws), play = story.shift()
	link.onNode = onNode
	link.ready = () => {
		if (!play) return ws.close()
		play(link).then(() => { if (--left === 0) { print('told'); process.exit(0) } }, e => { print(`${e?.stack}`); process.exit(1) })
		return undefined
	}
	ws.on('message', data => { for (const f of link.frames(data)) link.queue = link.queue.then(() => link.frame(f)).catch(e => { print(`${e?.stack}`); process.exit(1) }) })
	ws.on('close', () => { link.open = false })
	ws.on('error', () => {})
})
wss.on('listening', () => {
	fs.writeFileSync(path.join(o.out, 'server.tmp'), JSON.stringify({ port: wss.address().port, root: b64(root.public) }))
	fs.renameSync(path.join(o.out, 'server.tmp'), path.join(o.out, 'server.json'))
})
setTimeout(() => { print('the story took too long'); process.exit(1) }, 120_000)
