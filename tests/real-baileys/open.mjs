// Opens a folder of another version once, as an upgraded bot does: what it writes about itself at a login, and the first
// message of a new contact. See README.md.
import fs from 'node:fs'
import path from 'node:path'
import { args, expect, loadBaileys, openParty, print, readJson, recv, send, takeBundle } from './common.mjs'

const o = args('usage: BAILEYS_DIR=DIR node open.mjs OUT', {})
const B = await loadBaileys()
const file = name => path.join(o.out, name)
const manifest = readJson(file('manifest.json')), server = readJson(file('server.json'))
const dir = file(manifest.name)
const bot = await openParty(B, dir)
if (bot.me?.id !== manifest.bot) throw new Error('creds.json is lost')
if (B.is7) {
	await bot.repo.lidMapping.storeLIDPNMappings([{ lid: manifest.botLid, pn: manifest.bot }])
	await bot.keys.set({ 'device-list': { [manifest.bot.split(':')[0]]: ['12'] } })
}
const jid = '447700900099@s.whatsapp.net'
const peer = await openParty(B, file('contacts/after-the-upgrade'), { jid })
await peer.repo.injectE2ESession({ jid: manifest.bot, session: takeBundle(server).session })
expect('new', await recv(bot, jid, await send(peer, manifest.bot, 'new')))
expect('yes', await recv(peer, manifest.bot, await send(bot, jid, 'yes')))
await bot.saveCreds()
for (const party of [bot, peer]) party.close()
fs.writeFileSync(file('server.json'), JSON.stringify(server))
const files = fs.readdirSync(dir)
print({ baileys: B.name, identity_keys: files.filter(name => name.startsWith('identity-key-')).length, total: files.length, next_pre_key_id: bot.creds.nextPreKeyId })
process.exit(0)
