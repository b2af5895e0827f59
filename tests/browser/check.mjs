// Looks at the exporter's page in headless Chromium, as a person would on a desk and on a phone, by day and by night.
// Exit 0: all is as it should be. 1: it is not, and standard error says where.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { chromium } from 'playwright-core'

const [executablePath, url, statusFile, screenshots] = process.argv.slice(2)
if (!screenshots) { console.error('usage: node check.mjs CHROMIUM URL STATUS.json SCREENSHOT_DIR'); process.exit(2) }
const status = JSON.parse(fs.readFileSync(statusFile, 'utf8'))
const text = n => (n === null ? '?' : String(n))
const span = seconds => [[86400, 'd'], [3600, 'h'], [60, 'm'], [1, 's']]
	.reduce(([left, words], [unit, name]) => [left % unit, left >= unit ? [...words, `${Math.floor(left / unit)}${name}`] : words], [seconds, []])[1]
	.slice(0, 2).join(' ')

// What a row must say, from `status --output json`.
const expected = status.map(row => ({
	session: row.session,
	tier: row.tier ?? 'not readable',
	accumulated: text(row.accumulated_files),
	files: text(row.files),
	removable: text(row.removable_files),
	preKeys: row.pre_keys === null ? '?' : `${row.pre_keys} / ${row.pre_key_batch}${row.pre_key_batch_ambiguous ? '?' : ''}`,
	oldest: row.error ? '?' : row.oldest_active_session_seconds === null ? 'none' : `${span(row.oldest_active_session_seconds)} ago`,
	connection: row.connection,
	creds: row.creds ?? '?',
	error: row.error ?? (['ok', 'elsewhere'].includes(row.creds) ? (row.connection === 'disconnected' ? 'the bot is disconnected' : '') : `creds.json: ${row.creds}`),
}))

// What the first table shows: what needs a person.
const isProblem = row => !['normal', 'monitor'].includes(row.tier) || !['ok', 'elsewhere'].includes(row.creds) || row.connection === 'disconnected'
const problems = expected.filter(isProblem)
const problemStatus = status.filter((_, i) => isProblem(expected[i]))

const browser = await chromium.launch({ // in a new profile of its own, removed at the end
	executablePath,
	args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
		'--disable-component-update', '--disable-sync'],
})

/// Opens the page and watches for everything it should not do.
async function open(width, height, colorScheme) {
	const context = await browser.newContext({ viewport: { width, height }, colorScheme, isMobile: width < 600, hasTouch: width < 600 })
	const page = await context.newPage(), requests = [], wrongs = []
	context.on('request', r => { if (!r.url().startsWith('data:')) requests.push(`${r.method()} ${r.url()}`) })
	page.on('console', m => wrongs.push(`console ${m.type()}: ${m.text()}`))
	page.on('pageerror', e => wrongs.push(`error: ${e.message}`))
	page.on('dialog', d => { wrongs.push(`dialog: ${d.message()}`); d.dismiss() })
	page.on('popup', p => wrongs.push(`popup: ${p.url()}`))
	const response = await page.goto(url, { waitUntil: 'networkidle' })
	assert.equal(response.status(), 200)
	return { page, async done() {
		assert.deepEqual(requests, [`GET ${url}`], 'the page asks for itself and nothing else')
		assert.deepEqual(wrongs, [])
		await context.close()
	} }
}

const rowsOf = page => page.$$eval('.cards tbody tr', trs => trs.map(tr => {
	const cell = label => label ? tr.querySelector(`td[data-label="${label}"]`) : tr.querySelector('td.name')
	const said = (td, but) => [...td.childNodes].filter(n => !n.matches?.(but ?? '.links')).map(n => n.textContent).join('').trim()
	return {
		session: said(cell(), '.error, .links'),
		tier: said(cell('Tier')),
		accumulated: tr.querySelector('.count').textContent,
		files: said(cell('Files')),
		removable: said(cell('Removable')),
		preKeys: said(cell('Pre-keys / batch'), '.error'),
		oldest: said(cell('Oldest active session')),
		connection: cell('Connection').querySelector('summary').textContent.trim(),
		creds: said(cell('creds.json')),
		error: cell().querySelector('.error')?.textContent ?? '',
	}
}))

async function numbersAndOrder(page) {
	assert.deepEqual(await rowsOf(page), problems, 'the page says what `status` says, in its order')
	assert.deepEqual(await page.$$eval('.compact tbody tr', trs => trs.map(tr => [...tr.cells].map(td => td.textContent.trim()))),
		expected.map(row => [row.session, row.tier, row.accumulated, row.files, row.removable, row.preKeys, row.oldest.replace(' ago', ''), row.connection, row.creds, 'plan']), 'all sessions')
	const badness = ['not readable', 'fatal', 'emergency', 'cleanup', 'warning', 'monitor', 'normal']
	const worst = expected.map(row => (row.creds !== 'ok' && row.creds !== '?' ? 0.5 : badness.indexOf(row.tier)))
	assert.deepEqual(worst, worst.toSorted((a, b) => a - b), 'worst first')
	// Nothing in the document could run, be fetched or be anything but text.
	assert.deepEqual(await page.$$eval('img, iframe, object, embed, [src], link', all => all.map(e => e.outerHTML)), [])
	assert.equal(await page.locator('script').count(), 1, 'one script, which the policy knows by its hash')
	assert.ok(await page.$$eval('*', all => all.every(e => [...e.attributes].every(a => !a.name.startsWith('on')))), 'no event handlers')
	const unreadable = expected.filter(row => row.tier === 'not readable').length
	const tiers = expected.map(row => row.tier).filter(tier => tier !== 'not readable')
	const tier = badness.find(tier => tiers.includes(tier))
	const title = `${expected.length} sessions, worst: ${tier}${unreadable ? `, ${unreadable} not readable` : ''}`
	assert.ok((await page.title()).endsWith(title), `the title is ${title}`)
}

async function bars(page) {
	const seen = await page.$$eval('.cards tbody tr', trs => trs.map(tr => {
		const box = e => e.getBoundingClientRect(), bar = box(tr.querySelector('.bar')), fill = tr.querySelector('.fill')
		const share = x => (x - bar.left) / bar.width
		return {
			session: tr.dataset.session,
			pixels: bar.width,
			fill: fill && box(fill).width / bar.width,
			ticks: [...tr.querySelectorAll('.tick')].map(t => [share((box(t).left + box(t).right) / 2), t.title]),
		}
	}))
	for (const [i, bar] of seen.entries()) {
		const row = problemStatus[i], near = (got, want) => assert.ok(Math.abs(got - want) * bar.pixels < 1, `${bar.session}: ${got}, not ${want}`)
		assert.ok(bar.pixels >= 80, `${bar.session}: the bar is ${bar.pixels} px wide`)
		assert.deepEqual(row.thresholds, [120, 150, 180, 200])
		if (row.accumulated_files === null) assert.equal(bar.fill, null)
		else near(bar.fill, Math.min(row.accumulated_files / 200, 1))
		assert.deepEqual(bar.ticks.map(t => t[1]), ['warning: 120 files', 'cleanup: 150 files', 'emergency: 180 files'])
		for (const [j, at] of [0.6, 0.75, 0.9].entries()) near(bar.ticks[j][0], at)
	}
}

/// Every text is on the screen, whole, and inside its own cell.
async function nothingClipped(page, width) {
	const wrongs = await page.evaluate(width => {
		const wrongs = []
		if (document.documentElement.scrollWidth > width) wrongs.push(`the page scrolls sideways: ${document.documentElement.scrollWidth} px`)
		const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
		for (let node = walker.nextNode(); node; node = walker.nextNode()) {
			const parent = node.parentElement
			if (!node.data.trim() || !parent.checkVisibility()) continue
			const range = document.createRange()
			range.selectNodeContents(node)
			const own = parent.closest('td, th, p, footer, details')?.getBoundingClientRect()
			for (const r of range.getClientRects()) {
				const out = r.left < -0.5 || r.right > width + 0.5 || (own && (r.left < own.left - 1 || r.right > own.right + 1 || r.top < own.top - 2 || r.bottom > own.bottom + 2))
				if (out) wrongs.push(`${node.data.trim().slice(0, 40)}: ${Math.round(r.left)} to ${Math.round(r.right)}`)
			}
		}
		for (const e of document.querySelectorAll('body *')) {
			if (getComputedStyle(e).overflowX !== 'visible' && e.scrollWidth > e.clientWidth + 1) wrongs.push(`clipped: ${e.className}`)
		}
		return wrongs
	}, width)
	assert.deepEqual(wrongs, [], `at ${width} px`)
}

/// WCAG 2: text against what is behind it, 4.5 to 1.
async function contrast(page, scheme) {
	const pairs = await page.evaluate(() => {
		const channels = css => css.match(/[\d.]+/g).map(Number)
		const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
			.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0)
		const behind = e => {
			for (; e; e = e.parentElement) {
				const c = channels(getComputedStyle(e).backgroundColor)
				if (c.length < 4 || c[3] === 1) return c
				if (c[3] > 0) throw new Error('a half transparent background')
			}
			throw new Error('no background')
		}
		const seen = {}
		const look = (what, colour, e) => {
			const [a, b] = [light(channels(colour)), light(behind(e))].toSorted((x, y) => y - x)
			seen[what] = Math.min(seen[what] ?? 99, (a + 0.05) / (b + 0.05))
		}
		for (const e of document.querySelectorAll('body *')) {
			const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())
			if (own) look(`${e.tagName.toLowerCase()}.${e.className}`, getComputedStyle(e).color, e)
			if (e.matches('td[data-label]')) look('label', getComputedStyle(e, '::before').color, e)
		}
		return { seen, page: light(behind(document.body)) }
	})
	const weak = Object.entries(pairs.seen).filter(([, ratio]) => ratio < 4.5)
	assert.deepEqual(weak, [], `contrast, ${scheme}`)
	const tiers = new Set(expected.map(row => (row.tier === 'not readable' ? 'unseen' : row.tier)))
	for (const tier of tiers) assert.ok(pairs.seen[`span.tier ${tier}`], `the chip of ${tier} was looked at`)
	assert.equal(pairs.page < 0.1, scheme === 'dark', 'the background follows the scheme')
	// Adds a chip for each tier that no folder here is in: the next look sees them too.
	if (tiers.size < 7) {
		await page.evaluate(all => {
			for (const tier of all) document.querySelector('.summary').insertAdjacentHTML('beforeend', `<span class="tier ${tier}">${tier}</span>`)
		}, ['normal', 'monitor', 'warning', 'cleanup', 'emergency', 'fatal', 'unseen'].filter(tier => !tiers.has(tier)))
		for (const tier of ['normal', 'monitor', 'warning', 'cleanup', 'emergency', 'fatal', 'unseen']) tiers.add(tier)
	}
}

async function evidence(page) {
	const unknown = problems.findIndex(row => row.connection === 'unknown' && !row.error)
	const cell = page.locator('.cards tbody tr').nth(unknown).locator('.why')
	assert.equal(await cell.locator('li').first().isVisible(), false)
	await cell.locator('summary').click()
	assert.equal(await cell.locator('li').first().isVisible(), true)
	assert.deepEqual(await cell.locator('li').allTextContents().then(all => all.map(t => t.split(':')[0])), ['probe', 'writes'])
	return cell
}

async function meaningIsSaid(page) {
	for (const th of await page.locator('thead th').all()) assert.ok((await th.getAttribute('title')).length > 20)
	const legend = await page.locator('.legend').innerText()
	for (const word of ['warning 120', 'clean-up 150', 'emergency 180', 'fatal 200']) assert.ok(legend.includes(word), legend)
	await page.locator('.meanings > summary').click()
	const meanings = await page.locator('.meanings').innerText()
	for (const word of ['Unknown counts as connected', 'within the last 14 days']) assert.ok(meanings.includes(word), meanings)
}

const shownSessions = page => page.$$eval('.compact tbody tr', trs => trs.filter(tr => tr.checkVisibility()).map(tr => tr.cells[0].textContent.trim()))

/// The list of all sessions is searched and sorted, and what was typed outlives the renewal of the page.
async function searchAndSort(page) {
	const box = page.locator('.find input')
	await box.fill('MODERN ok')
	const modern = expected.filter(row => row.session.includes('modern')).map(row => row.session)
	assert.deepEqual(await shownSessions(page), modern)
	assert.equal(await page.locator('.find span').innerText(), `${modern.length} of ${expected.length}`)
	await page.reload()
	assert.equal(await box.inputValue(), 'MODERN ok')
	assert.deepEqual(await shownSessions(page), modern)
	await box.fill('')
	const column = page.locator('.compact th', { hasText: 'Accumulated' })
	for (const [key, order] of [['click', 'descending'], ['Enter', 'ascending']]) {
		await (key === 'click' ? column.click() : column.press(key))
		assert.equal(await column.getAttribute('aria-sort'), order)
		const counts = (await page.$$eval('.compact tbody tr', trs => trs.map(tr => tr.cells[2].textContent.trim()))).filter(n => n !== '?').map(Number)
		assert.deepEqual(counts, counts.toSorted((a, b) => (order === 'descending' ? b - a : a - b)))
	}
}

/// Without script all of it is there, and no box that does nothing.
async function withoutScript() {
	const context = await browser.newContext({ javaScriptEnabled: false })
	const page = await context.newPage()
	await page.goto(url)
	assert.equal(await page.locator('.find').isVisible(), false)
	assert.equal(await page.locator('.compact tbody tr').count(), expected.length)
	assert.equal(await page.locator('.compact tbody tr').last().isVisible(), true)
	await context.close()
}

const shot = (page, name) => page.screenshot({ path: path.join(screenshots, `${name}.png`), fullPage: true })
try {
	fs.mkdirSync(screenshots, { recursive: true })
	for (const scheme of ['light', 'dark']) {
		const desk = await open(1280, 900, scheme)
		await numbersAndOrder(desk.page)
		await bars(desk.page)
		await nothingClipped(desk.page, 1280)
		assert.equal(await desk.page.locator('.cards thead').isVisible(), true)
		const tops = await desk.page.$$eval('.cards tbody tr:nth-child(2) td', tds => new Set(tds.map(td => td.getBoundingClientRect().top)).size)
		assert.equal(tops, 1, 'at 1280 px a row is a row')
		const ends = await desk.page.$$eval('.count', all => new Set(all.map(e => Math.round(e.getBoundingClientRect().right))).size)
		assert.equal(ends, 1, 'the counts stand one below the other')
		await shot(desk.page, `page-1280-${scheme}`)
		await evidence(desk.page)
		await meaningIsSaid(desk.page)
		await nothingClipped(desk.page, 1280)
		await shot(desk.page, `page-1280-${scheme}-open`)
		await contrast(desk.page, scheme)
		await contrast(desk.page, scheme)
		await desk.done()

		const phone = await open(390, 844, scheme)
		await numbersAndOrder(phone.page)
		await bars(phone.page)
		await nothingClipped(phone.page, 390)
		assert.equal(await phone.page.locator('.cards thead').isVisible(), false)
		const unlabelled = await phone.page.$$eval('.cards td:not(.name)', tds => tds.filter(td => {
			const label = getComputedStyle(td, '::before')
			return label.content !== JSON.stringify(td.dataset.label) || label.display === 'none' || label.visibility !== 'visible' || !td.innerText.trim()
		}).length)
		assert.equal(unlabelled, 0, 'on a phone every value has its label')
		await shot(phone.page, `page-390-${scheme}`)
		await evidence(phone.page)
		await meaningIsSaid(phone.page)
		await nothingClipped(phone.page, 390)
		await shot(phone.page, `page-390-${scheme}-open`)
		await contrast(phone.page, scheme)
		await phone.done()
	}
	const any = await open(1280, 900, 'light')
	for (const width of [320, 360, 600, 768, 1024, 1088, 1089, 1216, 1217, 1440, 1920]) {
		await any.page.setViewportSize({ width, height: 900 })
		await nothingClipped(any.page, width)
		if (width === 768) await shot(any.page, 'page-768-light')
	}
	await any.done()
	const desk = await browser.newContext()
	const page = await desk.newPage()
	const response = await page.goto(url)
	assert.equal(response.headers()['content-encoding'], 'gzip')
	assert.equal(await page.locator('footer a').first().getAttribute('href'), 'https://bots.example.org/remediator/', 'the remediator')
	assert.equal(await page.locator('footer a').last().getAttribute('href'), './metrics')
	await searchAndSort(page)
	await desk.close()
	await withoutScript()
} catch (e) {
	console.error(e.stack)
	process.exitCode = 1
} finally {
	await browser.close()
}
