// What happens to the pre-keys after a creds.json was kept, and after an older one was put back.
//  grow    mints and uploads further batches by the library's own rule, and lets strangers use some of the new keys
//  anew    opens the folder as the library would after a broken creds.json, and saves what it begins
//  upload  what the next upload mints: fails when it reuses an id that was ever uploaded (OUT/history.json)
// Prints a report without any key. Exit 0: as it must be. 1: not. 2: could not look.
import fs from 'node:fs'
import path from 'node:path'
import { args, expect, heldIds, loadBaileys, openParty, print, readJson, recv, send, takeBundle, uploadPreKeys } from './common.mjs'

const o = args(`usage: BAILEYS_DIR=DIR node creds.mjs OUT --do WHAT [flags]
  --do WHAT     grow, anew or upload
  --folder DIR  the bot's folder, when it is not OUT/<its name>
  --uploads N   how many batches to mint (2)
  --used N      how many of the new keys strangers use (8)
  --dry         upload: leave server.json as it is`, { do: '', folder: '', uploads: 2, used: 8, dry: false })
const B = await loadBaileys()
const file = name => path.join(o.out, name)
const manifest = readJson(file('manifest.json')), server = readJson(file('server.json'))
const folder = o.folder ? path.resolve(o.folder) : path.join(o.out, manifest.name)
const save = (name, value) => fs.writeFileSync(file(name), JSON.stringify(value))
// Ids that were ever uploaded: all that were minted when this is first asked.
const history = fs.existsSync(file('history.json')) ? readJson(file('history.json')) : null
const bot = await openParty(B, folder)
const batch = B.b.INITIAL_PREKEY_COUNT

if (o.do === 'anew') {
	const lost = bot.me?.id !== manifest.bot
	await bot.saveCreds()
	bot.close()
	print({ ok: lost, next_pre_key_id: bot.creds.nextPreKeyId, registered: bot.creds.registered })
	process.exit(lost ? 0 : 1)
}

if (bot.me?.id !== manifest.bot) throw new Error('creds.json is lost')
const before = bot.creds.nextPreKeyId
if (o.do === 'grow') {
	const ever = Array.from({ length: before - 1 }, (_, i) => i + 1)
	let used = 0
	for (let i = 0; i < o.uploads; i++) {
		const held = new Set(heldIds(server))
		await uploadPreKeys(B, bot, batch, server)
		const minted = heldIds(server).filter(id => !held.has(id))
		ever.push(...minted)
		// New contacts, on keys of which the kept copy knows nothing: the highest, which then leave no file.
		for (const id of minted.slice(-Math.ceil(o.used / o.uploads))) {
			const jid = `${999_200_000_000 + id}@s.whatsapp.net`
			const peer = await openParty(B, file(`contacts/grown-${id}`), { jid })
			await peer.repo.injectE2ESession({ jid: manifest.bot, session: takeBundle(server, id).session })
			expect('grown', await recv(bot, jid, await send(peer, manifest.bot, 'grown')))
			expect('pong', await recv(peer, manifest.bot, await send(bot, jid, 'pong')))
			manifest.contacts.push({ n: manifest.contacts.length, dir: `contacts/grown-${id}`, from: jid, pn: jid, users: [], kind: 'grown', ageDays: 0, group: false })
			peer.close()
			used++
		}
	}
	save('history.json', ever)
	save('server.json', server)
	save('manifest.json', manifest)
	bot.close()
	print({ ok: true, from: before, to: bot.creds.nextPreKeyId, used, ever: ever.length })
	process.exit(0)
}

if (o.do !== 'upload') throw new Error('--do is grow, anew or upload')
if (!history) throw new Error('grow first')
const ever = new Set(history), held = new Map(Object.entries(server.preKeys))
await uploadPreKeys(B, bot, batch, server)
const minted = Object.keys(server.preKeys).map(Number).filter(id => held.get(String(id)) !== server.preKeys[id])
const reused = minted.filter(id => ever.has(id))
const ok = minted.length === batch && reused.length === 0
if (!o.dry) {
	save('history.json', [...ever, ...minted])
	save('server.json', server)
}
bot.close()
print({
	ok, from: before, to: bot.creds.nextPreKeyId, minted: minted.length, reused: reused.length,
	lowest: Math.min(...minted), highest: Math.max(...minted), uploaded_before: Math.max(...ever),
})
process.exit(ok ? 0 : 1)
