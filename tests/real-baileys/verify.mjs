// Asks the real library, on a throw-away copy, whether the bot's folder as it is NOW still reads its messages:
//  active      every contact active in the last DAYS days, both directions
//  newcontact  a new contact on EVERY pre-key the server still holds
//  inflight    the strangers who took a bundle and had not written yet
//  group       the group messages of the members whose sender key is recent
//  old, oldgroup  everybody else: counted, never a failure (they heal by a retry)
// Exit 0: no failure in the first four, less those allowed. 1: a failure. 2: could not look.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { args, expect, heldIds, loadBaileys, openParty, print, QUARANTINE, readJson, recv, send, takeBundle } from './common.mjs'

const o = args(`usage: BAILEYS_DIR=DIR node verify.mjs OUT [flags]
  --folder DIR           the bot's folder, when it is not OUT/<its name>
  --days N               who counts as active (14)
  --sample N             try about N of the pre-keys the server holds (0: all)
  --allow-inflight-fail  strangers in flight may fail: on a folder trimmed by design they heal by a retry
  --extra-ok LIST        other categories that may fail, with commas, or none (none)`, {
	folder: '', days: 14, sample: 0, 'allow-inflight-fail': false, 'extra-ok': 'none',
})
const GATES = ['active', 'newcontact', 'inflight', 'group']
const allowed = o['extra-ok'].split(',').filter(c => c && c !== 'none')
if (allowed.some(c => !GATES.includes(c))) throw new Error(`--extra-ok takes ${GATES.join(', ')} or none`)
if (o['allow-inflight-fail']) allowed.push('inflight')

const B = await loadBaileys()
const manifest = readJson(path.join(o.out, 'manifest.json')), server = readJson(path.join(o.out, 'server.json'))
const live = o.folder ? path.resolve(o.folder) : path.join(o.out, manifest.name)
if (!fs.existsSync(live)) throw new Error('there is no bot folder to look at')

const copy = fs.mkdtempSync(path.join(os.tmpdir(), 'baileys-verify-'))
const drop = () => fs.rmSync(copy, { recursive: true, force: true }) // it holds keys: never leave it behind
process.on('exit', drop)
for (const s of ['SIGINT', 'SIGTERM']) process.on(s, () => process.exit(2))
// What lies in the quarantine must not help, and may not be readable.
const filter = p => path.basename(p) !== QUARANTINE
fs.cpSync(live, path.join(copy, 'bot'), { recursive: true, preserveTimestamps: true, filter })
fs.cpSync(path.join(o.out, 'contacts'), path.join(copy, 'contacts'), { recursive: true })

const r = {}, errors = {}
for (const k of [...GATES, 'old', 'oldgroup']) Object.assign(r, { [`${k}_ok`]: 0, [`${k}_fail`]: 0 })
const attempt = async (category, fn) => {
	try { await fn(); r[`${category}_ok`]++ } catch (e) {
		r[`${category}_fail`]++
		const what = `${category} | ${e.name}: ${e.message}`
		errors[what] = (errors[what] || 0) + 1
	}
}

const files = fs.readdirSync(path.join(copy, 'bot')).length
const bot = await openParty(B, path.join(copy, 'bot'))
// With creds.json gone the library silently starts a new identity.
if (bot.me?.id !== manifest.bot) await attempt('active', () => { throw new Error('creds.json is lost') })
for (const c of manifest.contacts) {
	const peer = await openParty(B, path.join(copy, c.dir)), active = c.ageDays <= o.days
	await attempt(active ? 'active' : 'old', async () => {
		expect(`ping ${c.n}`, await recv(bot, c.from, await send(peer, manifest.bot, `ping ${c.n}`)))
		expect('pong', await recv(peer, manifest.bot, await send(bot, c.from, 'pong')))
	})
	if (c.group) await attempt(active || manifest.senderKeys === 'fresh' ? 'group' : 'oldgroup', async () => {
		const g = await peer.repo.encryptGroupMessage({ group: manifest.group, meId: c.from, data: Buffer.from('g2') })
		expect('g2', Buffer.from(await bot.repo.decryptGroupMessage({ group: manifest.group, authorJid: c.from, msg: g.ciphertext })).toString())
	})
	peer.close()
}
// One set of keys serves every stranger (minting is slow), each with a session and a number of its own.
const peer = await openParty(B, path.join(copy, 'stranger'), { jid: '999100000000@s.whatsapp.net' }) // +999 is nobody's country code
let strangers = 0
const stranger = async bundle => {
	const jid = `${999_100_000_001 + strangers++}@s.whatsapp.net`
	await peer.keys.set({ session: { [peer.repo.jidToSignalProtocolAddress(manifest.bot)]: null } })
	await peer.repo.injectE2ESession({ jid: manifest.bot, session: bundle.session })
	const m = await send(peer, manifest.bot, 'new')
	if (m.type !== 'pkmsg') throw new Error('not a first message')
	expect('new', await recv(bot, jid, m))
}
let ids = heldIds(server)
if (o.sample && ids.length > o.sample) ids = ids.filter((_, i) => i % Math.ceil(ids.length / o.sample) === 0)
for (const id of ids) { const bundle = takeBundle(server, id); await attempt('newcontact', () => stranger(bundle)) }
for (const id of manifest.inflight) {
	const bundle = readJson(path.join(o.out, `inflight-${id}.json`), B.b.BufferJSON.reviver)
	await attempt('inflight', () => stranger(bundle))
}
peer.close()
bot.close()
const ok = GATES.every(k => !r[`${k}_fail`] || allowed.includes(k))
print({ ok, allowed, baileys: B.name, libsignal: B.libsignal, files, ...r, errors })
process.exit(ok ? 0 : 1)
