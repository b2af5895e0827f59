// A stand-in for a live bot: opens the folder with the library's own useMultiFileAuthState and, every MS milliseconds,
// reads or sends one real message, each of which rewrites a session file. Prints "ready" after the first message and a
// JSON summary at the end. It advances OUT/contacts too, so verify.mjs still passes afterwards.
// Exit 0: every message was read. 1: some were not. 2: could not start.
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { args, expect, loadBaileys, openParty, print, readJson, recv, send } from './common.mjs'

const o = args(`usage: BAILEYS_DIR=DIR node busy.mjs OUT [flags]
  --folder DIR   the bot's folder, when it is not OUT/<its name>
  --every MS     one message every MS milliseconds (50)
  --seconds S    for how long; SIGTERM ends it earlier (10)
  --contacts N   with how many of the active contacts, in turn (5)
  --cache        with the library's key cache in front, as most bots have
  --mute         opens the folder and never says a word, as one that cannot connect
  --deaf         stops for no SIGTERM and no SIGINT
  --die          is killed when the folder is open, before its first message: a kill in the middle of a write would
                 tear a file of the library's`, {
	folder: '', every: 50, seconds: 10, contacts: 5, cache: false, mute: false, deaf: false, die: false,
})
const B = await loadBaileys()
const manifest = readJson(path.join(o.out, 'manifest.json'))
const live = o.folder ? path.resolve(o.folder) : path.join(o.out, manifest.name)
if (!fs.existsSync(path.join(live, 'creds.json'))) throw new Error('there is no bot folder to write to') // the library would start a new identity
const bot = await openParty(B, live, { cache: o.cache })
const chosen = manifest.contacts.filter(c => c.ageDays <= 14).slice(0, o.contacts)
if (!chosen.length) throw new Error('the folder has no active contact')
const peers = []
for (const c of chosen) peers.push({ ...c, party: await openParty(B, path.join(o.out, c.dir)) })

if (o.die) process.kill(process.pid, 'SIGKILL')

let stop = false
for (const s of ['SIGINT', 'SIGTERM']) process.on(s, () => { stop = !o.deaf })
const started = Date.now(), summary = { baileys: B.name, messages: 0, read: 0, sent: 0, failed: 0, max_gap_ms: 0, seconds: 0, errors: {} }
let last = started
while (o.mute && !stop && Date.now() - started < o.seconds * 1000) await sleep(o.every)
for (let tick = 0; !stop && Date.now() - started < o.seconds * 1000; tick++) {
	// In from every chosen contact, then out to every one, and so on.
	const c = peers[tick % peers.length], incoming = Math.floor(tick / peers.length) % 2 === 0
	try {
		if (incoming) { expect('in', await recv(bot, c.from, await send(c.party, manifest.bot, 'in'))); summary.read++ }
		else { expect('out', await recv(c.party, manifest.bot, await send(bot, c.from, 'out'))); summary.sent++ }
	} catch (e) {
		summary.failed++
		const what = `${e.name}: ${e.message}`
		summary.errors[what] = (summary.errors[what] || 0) + 1
	}
	summary.messages++
	const now = Date.now()
	summary.max_gap_ms = Math.max(summary.max_gap_ms, now - last)
	last = now
	if (tick === 0) print('ready')
	const due = started + (tick + 1) * o.every - now
	if (due > 0) await sleep(due)
}
summary.seconds = (Date.now() - started) / 1000
bot.close()
print(summary)
process.exit(summary.failed ? 1 : 0)
