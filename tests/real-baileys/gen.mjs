// Makes an auth folder written by the real library after real Signal conversations. See README.md.
//
// OUT/<name>/            the bot's auth folder
// OUT/contacts/<n>/      the auth folder of each peer
// OUT/inflight-<id>.json the bundles strangers took without writing yet
// OUT/server.json        what "the WhatsApp server" still holds for the bot
// OUT/manifest.json      who is active, old, in flight
import fs from 'node:fs'
import path from 'node:path'
import { args, DAY, expect, heldIds, loadBaileys, MINUTE, openParty, print, recv, send, takeBundle, uploadPreKeys } from './common.mjs'

const o = args(`usage: BAILEYS_DIR=DIR node gen.mjs OUT [flags]
  --base ISO            the instant every time is counted back from (default: now)
  --name NAME           the auth folder's name (company_962302)
  --contacts N          peers with a session, active minutes to 200 days ago (40)
  --inflight N          strangers who took a pre-key and have not written (5)
  --prekeys N           how many pre-keys the login mints (the library's own number)
  --prekey-days A[:B]   age of the oldest and the newest batch of pre-keys, the others evenly between (60:60)
  --handout WHICH       the pre-key the server hands out: lowest, random, highest (lowest)
  --seed N              for --handout random (1)
  --sender-keys WHICH   fresh: all written in the last hour; aged: each as old as its contact's session (fresh)
  --fresh-login         the folder minutes after a first login: no contact, no group, no app state`, {
	base: '', name: 'company_962302', contacts: 40, inflight: 5, prekeys: 0, 'prekey-days': '', handout: 'lowest', seed: 1, 'sender-keys': 'fresh', 'fresh-login': false,
})
const B = await loadBaileys()
// Whole seconds, so that a tar keeps the times as they are.
const base = Math.floor((o.base ? Date.parse(o.base) : Date.now()) / 1000) * 1000
if (!Number.isFinite(base)) throw new Error('--base is no ISO time')
if (!['lowest', 'random', 'highest'].includes(o.handout)) throw new Error('--handout is lowest, random or highest')
if (!['fresh', 'aged'].includes(o['sender-keys'])) throw new Error('--sender-keys is fresh or aged')
const fresh = o['fresh-login'], contacts = fresh ? 0 : o.contacts, inflight = fresh ? 0 : o.inflight
if (contacts > 900) throw new Error('at most 900 contacts: the numbers come from a range reserved for fiction')
if (fs.existsSync(o.out) && fs.readdirSync(o.out).length && !fs.existsSync(path.join(o.out, 'manifest.json'))) throw new Error('OUT is not empty and not ours')
const [oldest, newest = oldest] = (o['prekey-days'] || (fresh ? '0' : '60')).split(':').map(Number)
if (!(oldest >= newest && newest >= 0)) throw new Error('--prekey-days is A[:B] with A >= B >= 0')

fs.rmSync(o.out, { recursive: true, force: true })
fs.mkdirSync(path.join(o.out, 'contacts'), { recursive: true, mode: 0o700 })

// +44 7700 900xxx is reserved for fiction: nobody's number.
const botUser = '447700900001', botJid = `${botUser}:12@s.whatsapp.net`, botLid = '180001112223334:12@lid'
const group = '120363000000000001@g.us'
const dir = path.join(o.out, o.name)
const bot = await openParty(B, dir, { jid: botJid, lid: B.is7 ? botLid : undefined })
const paired = base - Math.max(oldest * DAY, 30 * MINUTE)
// What pairing leaves behind: the account, with the pairing time in its details.
const { ADVDeviceIdentity, ADVSignedDeviceIdentity } = B.b.proto
const details = ADVDeviceIdentity.encode({ rawId: 123456789, timestamp: Math.floor(paired / 1000), keyIndex: 3 }).finish()
bot.creds.account = ADVSignedDeviceIdentity.decode(ADVSignedDeviceIdentity.encode({
	details, accountSignatureKey: Buffer.alloc(32, 1), accountSignature: Buffer.alloc(64, 2), deviceSignature: Buffer.alloc(64, 3),
}).finish())
bot.creds.registered = !B.is7

const server = {}, batchEnds = [] // the first id after each upload
const upload = async count => { await uploadPreKeys(B, bot, count, server); batchEnds.push(bot.creds.nextPreKeyId) }
await upload(o.prekeys || B.b.INITIAL_PREKEY_COUNT)
// The library's own rule: below MIN_PREKEY_COUNT (5) it uploads again, 6.x another 30, 7.x another 5.
const refill = async () => {
	if (heldIds(server).length < B.b.MIN_PREKEY_COUNT) await upload(B.is7 ? B.b.MIN_PREKEY_COUNT : B.b.INITIAL_PREKEY_COUNT)
}
let seed = o.seed >>> 0
const random = () => { // mulberry32
	seed = (seed + 0x6d2b79f5) >>> 0
	let t = Math.imul(seed ^ (seed >>> 15), seed | 1)
	t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
	return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}
const handOut = async () => {
	await refill()
	const ids = heldIds(server)
	return takeBundle(server, { lowest: ids[0], highest: ids.at(-1), random: ids[Math.floor(random() * ids.length)] }[o.handout])
}

if (B.is7) { // what 7.x writes about itself at every login
	await bot.repo.lidMapping.storeLIDPNMappings([{ lid: botLid, pn: botJid }])
	await bot.keys.set({ 'device-list': { [botUser]: ['12'] } })
}

const manifest = {
	baileys: B.name, libsignal: B.libsignal, base: new Date(base).toISOString(), name: o.name, bot: botJid, botLid, group,
	handout: o.handout, senderKeys: o['sender-keys'], contacts: [], inflight: [],
}
const ages = [0.01, 0.5, 1, 3, 7, 10, 13, 13.9, 14.5, 20, 29, 31, 45, 90, 200]
for (let i = 0; i < contacts; i++) {
	const user = String(447700900100 + i), lidUser = String(200000000000000 + i * 104729)
	const device = [0, 0, 0, 3, 15, 47][i % 6], suffix = device ? `:${device}` : ''
	const pn = `${user}${suffix}@s.whatsapp.net`, lid = `${lidUser}${suffix}@lid`
	const useLid = B.is7 && i % 3 !== 0, from = useLid ? lid : pn
	const peer = await openParty(B, path.join(o.out, 'contacts', String(i)), { jid: pn, lid: B.is7 ? lid : undefined })
	const peerServer = {}
	await uploadPreKeys(B, peer, 3, peerServer)
	if (useLid) await bot.repo.lidMapping.storeLIDPNMappings([{ lid: `${lidUser}@lid`, pn: `${user}@s.whatsapp.net` }])
	if (B.is7) await bot.keys.set({ 'device-list': { [user]: [String(device)] } })
	const kind = ['in', 'in', 'out', 'in-noreply', 'in-multi'][i % 5]
	let usedPreKey = null
	if (kind === 'out') { // the bot wrote first
		await bot.repo.injectE2ESession({ jid: from, session: takeBundle(peerServer).session })
		expect('hello', await recv(peer, botJid, await send(bot, from, 'hello')))
		expect('reply', await recv(bot, from, await send(peer, botJid, 'reply')))
	} else {
		const bundle = await handOut()
		usedPreKey = bundle.id
		await peer.repo.injectE2ESession({ jid: botJid, session: bundle.session })
		for (let k = 0; k < (kind === 'in-multi' ? 6 : 1); k++) expect(`hi ${k}`, await recv(bot, from, await send(peer, botJid, `hi ${k}`)))
		if (kind !== 'in-noreply') {
			expect('yo', await recv(peer, botJid, await send(bot, from, 'yo')))
			expect('again', await recv(bot, from, await send(peer, botJid, 'again')))
		}
	}
	const inGroup = i % 4 === 0
	if (inGroup) { // the bot stores that member's sender key
		const g = await peer.repo.encryptGroupMessage({ group, meId: from, data: Buffer.from('g') })
		await bot.repo.processSenderKeyDistributionMessage({ item: { groupId: group, axolotlSenderKeyDistributionMessage: g.senderKeyDistributionMessage }, authorJid: from })
		expect('g', Buffer.from(await bot.repo.decryptGroupMessage({ group, authorJid: from, msg: g.ciphertext })).toString())
	}
	const ageDays = ages[i % ages.length]
	// Not every contact has given a token.
	if (B.hasTcTokens && i % 13 !== 0) {
		const jid = useLid ? `${lidUser}@lid` : `${user}@s.whatsapp.net`
		await bot.keys.set({ tctoken: { [jid]: { token: Buffer.from([4, 1, i]), timestamp: String(Math.floor((base - ageDays * DAY) / 1000)) } } })
	}
	manifest.contacts.push({ n: i, dir: `contacts/${i}`, from, pn, lid: useLid ? lid : null, users: [user, lidUser], kind, usedPreKey, ageDays, session: bot.repo.jidToSignalProtocolAddress(from), group: inGroup })
	peer.close()
}
if (B.hasTcTokenIndex && contacts) {
	const jids = manifest.contacts.filter(c => c.n % 13 !== 0).map(c => c.from.replace(/:\d+@/, '@'))
	await bot.keys.set({ tctoken: { __index: { token: Buffer.from(JSON.stringify(jids)) } } })
}
if (!fresh) {
	// The bot's own group message, and the memory of who got its sender key.
	await bot.repo.encryptGroupMessage({ group, meId: B.is7 ? botLid : botJid, data: Buffer.from('from bot') })
	await bot.keys.set({ 'sender-key-memory': { [group]: Object.fromEntries(manifest.contacts.map(c => [c.from, true])) } })
}
// Strangers who took a pre-key and have not written yet: their keys are still needed, and this is what bloats a folder.
for (let i = 0; i < inflight; i++) {
	const bundle = await handOut()
	manifest.inflight.push(bundle.id)
	fs.writeFileSync(path.join(o.out, `inflight-${bundle.id}.json`), JSON.stringify(bundle, B.b.BufferJSON.replacer))
}
if (!fresh) {
	const keyId = Buffer.from([0, 0, 0, 0, 0xd7, 0xff]).toString('base64') // has a '/', which the library writes as '__'
	await bot.keys.set({ 'app-state-sync-key': { [keyId]: { keyData: Buffer.alloc(32, 7), fingerprint: { rawId: 1, currentIndex: 0, deviceIndexes: [0] }, timestamp: String(paired) } } })
	bot.creds.myAppStateKeyId = keyId
	for (const n of ['critical_block', 'critical_unblock_low', 'regular_high', 'regular_low', 'regular']) {
		await bot.keys.set({ 'app-state-sync-version': { [n]: { version: 3, hash: Buffer.alloc(128), indexValueMap: {} } } })
	}
	bot.creds.accountSyncCounter = 1
}
await bot.saveCreds()
bot.close()

// Age the folder the way time does: mtimes, and the times inside a session. Nothing is later than `base`.
const stamp = (file, t) => { t = Math.floor(t / 1000); fs.utimesSync(path.join(dir, file), t, t) }
const preKeyTime = id => { // one batch is minted in one go
	const batch = batchEnds.findIndex(end => id < end), of = Math.max(batchEnds.length - 1, 1)
	return base - Math.max((oldest - (oldest - newest) * batch / of) * DAY, 30 * MINUTE)
}
const contactOf = file => manifest.contacts.find(c => file === `session-${c.session}.json` || c.users.some(u => new RegExp(`(^|[^0-9])${u}([^0-9]|$)`).test(file)))
const kinds = {}
for (const [n, file] of fs.readdirSync(dir).sort().entries()) {
	const kind = file === 'creds.json' ? 'creds' : file.match(/^(pre-key|session|sender-key-memory|sender-key|app-state-sync-key|app-state-sync-version|lid-mapping|device-list|tctoken|identity-key)-/)[1]
	kinds[kind] = (kinds[kind] || 0) + 1
	const recent = base - (3 + n * 7 % 55) * MINUTE, c = contactOf(file), seen = c && base - c.ageDays * DAY
	if (kind === 'creds') stamp(file, base - 2 * MINUTE)
	else if (kind === 'pre-key') stamp(file, preKeyTime(+file.match(/\d+/)[0]))
	else if (kind === 'session') {
		const full = path.join(dir, file), record = JSON.parse(fs.readFileSync(full))
		for (const s of Object.values(record._sessions)) {
			s.indexInfo.used = seen
			s.indexInfo.created = seen - DAY
			if (s.indexInfo.closed > 0) s.indexInfo.closed = seen
		}
		fs.writeFileSync(full, JSON.stringify(record))
		stamp(file, seen)
	} else if (kind === 'sender-key' && c && o['sender-keys'] === 'aged') stamp(file, seen)
	else if (c && kind !== 'sender-key') stamp(file, seen - DAY)
	else if (kind === 'app-state-sync-key') stamp(file, paired)
	else stamp(file, recent)
}
fs.writeFileSync(path.join(o.out, 'server.json'), JSON.stringify(server))
fs.writeFileSync(path.join(o.out, 'manifest.json'), JSON.stringify(manifest, null, 1))
print({
	baileys: B.name, libsignal: B.libsignal, base: manifest.base, contacts, inflight, server_holds: heldIds(server).length,
	next_pre_key_id: bot.creds.nextPreKeyId, files: kinds, total: fs.readdirSync(dir).length,
})
process.exit(0)
