// Looks at the remediator's pages in headless Chromium, on a desk and on a phone, by day and by night.
// Exit 0: all is as it should be. 1: it is not, and standard error says where.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { chromium } from 'playwright-core'

const [executablePath, url, runsFile, screenshots] = process.argv.slice(2)
if (!screenshots) { console.error('usage: node remediator.mjs CHROMIUM URL RUNS.json SCREENSHOT_DIR'); process.exit(2) }
// `runs --output json`, newest first.
const runs = JSON.parse(fs.readFileSync(runsFile, 'utf8'))

const browser = await chromium.launch({
	executablePath,
	args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
		'--disable-component-update', '--disable-sync'],
})

/// A page that is watched for everything it should not do.
async function open(width, height, colorScheme) {
	const context = await browser.newContext({ viewport: { width, height }, colorScheme, isMobile: width < 600, hasTouch: width < 600 })
	const page = await context.newPage(), asked = [], wrongs = []
	context.on('request', r => asked.push(`${r.method()} ${new URL(r.url()).pathname}`))
	page.on('console', m => wrongs.push(`console ${m.type()}: ${m.text()}`))
	page.on('pageerror', e => wrongs.push(`error: ${e.message}`))
	page.on('dialog', d => { wrongs.push(`dialog: ${d.message()}`); d.dismiss() })
	page.on('popup', p => wrongs.push(`popup: ${p.url()}`))
	assert.equal((await page.goto(url, { waitUntil: 'networkidle' })).status(), 200)
	return { page, async done() {
		assert.ok(asked.every(request => ['GET /', 'GET /plan', 'GET /run'].includes(request)), `only its own pages: ${asked}`)
		assert.deepEqual(wrongs, [])
		await context.close()
	} }
}

const said = (page, label) => page.$$eval('tr[data-run]', (trs, label) => trs.map(tr => tr.querySelector(`td[data-label="${label}"]`).textContent.trim()), label)

/// The list of runs says what `runs` says.
async function runsAreTold(page) {
	const shown = await page.$$eval('tr[data-run]', trs => trs.map(tr => Number(tr.dataset.run)))
	assert.deepEqual(shown, runs.map(run => run.id))
	assert.deepEqual(await page.$$eval('tr[data-run] td.name', all => all.map(td => td.textContent.trim())), runs.map(run => run.session))
	assert.deepEqual(await said(page, 'Status'), runs.map(run => run.status))
	assert.deepEqual(await said(page, 'Requested by'), runs.map(run => run.requested_by))
	assert.deepEqual(await said(page, 'Files'), runs.map(run => String(Object.values(run.files).reduce((a, b) => a + b, 0))))
	assert.deepEqual(await said(page, 'Accumulated'), runs.map(run => (run.accumulated_before === null ? '-' : `${run.accumulated_before} → ${run.accumulated_after}`)))
}

async function harmless(page) {
	assert.deepEqual(await page.$$eval('img, iframe, object, embed, form, button, [src], link', all => all.map(e => e.outerHTML)), [])
	assert.equal(await page.locator('script').count(), 1, 'one script, which the policy knows by its hash')
	assert.ok(await page.$$eval('*', all => all.every(e => [...e.attributes].every(a => !a.name.startsWith('on')))), 'no event handlers')
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
			const own = parent.closest('td, th, p, li, h1, h2, footer')?.getBoundingClientRect()
			for (const r of range.getClientRects()) {
				const out = r.left < -0.5 || r.right > width + 0.5 || (own && (r.left < own.left - 1 || r.right > own.right + 1))
				if (out) wrongs.push(`${node.data.trim().slice(0, 40)}: ${Math.round(r.left)} to ${Math.round(r.right)}`)
			}
		}
		return wrongs
	}, width)
	assert.deepEqual(wrongs, [], `at ${width} px, ${page.url()}`)
}

/// WCAG 2: text against what is behind it, 4.5 to 1.
async function contrast(page, scheme) {
	const weak = await page.evaluate(() => {
		const channels = css => css.match(/[\d.]+/g).map(Number)
		const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
			.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0)
		const behind = e => {
			for (; e; e = e.parentElement) {
				const c = channels(getComputedStyle(e).backgroundColor)
				if (c.length < 4 || c[3] === 1) return c
			}
			throw new Error('no background')
		}
		const weak = []
		for (const e of document.querySelectorAll('body *')) {
			if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue
			const [a, b] = [light(channels(getComputedStyle(e).color)), light(behind(e))].toSorted((x, y) => y - x)
			const ratio = (a + 0.05) / (b + 0.05)
			if (ratio < 4.5) weak.push(`${e.tagName}.${e.className}: ${ratio.toFixed(2)}`)
		}
		return weak
	})
	assert.deepEqual(weak, [], `contrast, ${scheme}, ${page.url()}`)
}

const shot = (page, name) => page.screenshot({ path: path.join(screenshots, `remediator-${name}.png`), fullPage: true })
try {
	fs.mkdirSync(screenshots, { recursive: true })
	for (const [width, height] of [[1280, 900], [390, 844]]) {
		for (const scheme of ['light', 'dark']) {
			const { page, done } = await open(width, height, scheme)
			const looked = async name => {
				await harmless(page)
				await nothingClipped(page, width)
				await contrast(page, scheme)
				await shot(page, `${name}-${width}-${scheme}`)
			}
			await runsAreTold(page)
			await looked('front')
			for (const meanings of await page.locator('.meanings > summary').all()) await meanings.click()
			await nothingClipped(page, width)
			// From the list to a run, and from there to the plan and back, as a reader goes.
			const cleaned = runs.find(run => run.status === 'done' && run.action === 'cleanup')
			await page.click(`tr[data-run="${cleaned.id}"] a[href^="./run"]`)
			await page.waitForURL(/run\?id=/)
			assert.match(await page.title(), new RegExp(`run ${cleaned.id}: cleanup of ${cleaned.session}`))
			for (const word of ['asked_again', cleaned.run, 'disconnected', 'moved']) assert.ok((await page.innerText('body')).includes(word), word)
			await looked('run')
			await page.click('details > summary')
			assert.ok(await page.locator('details table tbody tr').count() > 200, 'each file')
			await nothingClipped(page, width)
			await page.click('h1 a')
			await page.waitForURL(/plan\?session=/)
			assert.ok((await page.innerText('#answer')).includes('accumulated files') || (await page.innerText('#answer')).includes('No file would be moved'))
			await looked('plan-cleaned')
			await page.click('footer a[href="./"]')
			assert.ok(await page.locator('.find input').isVisible())
			await page.locator('.sessions a').first().click()
			await page.waitForURL(/plan\?session=/)
			await looked('plan')
			await done()
		}
	}
	const any = await open(1280, 900, 'light')
	for (const width of [320, 360, 600, 768, 1024, 1088, 1089, 1216, 1440, 1920]) {
		await any.page.setViewportSize({ width, height: 900 })
		await nothingClipped(any.page, width)
	}
	await any.done()
} catch (e) {
	console.error(e.stack)
	process.exitCode = 1
} finally {
	await browser.close()
}
