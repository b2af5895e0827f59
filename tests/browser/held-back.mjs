// Looks at what holds the remediator back, on its first page in headless Chromium.
// Exit 0: all is as it should be. 1: it is not, and standard error says where.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { chromium } from 'playwright-core'

const [executablePath, url, screenshots, expected] = process.argv.slice(2)
if (!expected) { console.error('usage: node held-back.mjs CHROMIUM URL SCREENSHOT_DIR paused|acting'); process.exit(2) }
const wanted = { paused: ['paused', 'breaker open', 'armed'], acting: ['acting', 'armed'] }[expected]

const browser = await chromium.launch({
	executablePath,
	args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
		'--disable-component-update', '--disable-sync'],
})
try {
	fs.mkdirSync(screenshots, { recursive: true })
	for (const width of [1280, 390]) {
		for (const colorScheme of ['light', 'dark']) {
			const context = await browser.newContext({ viewport: { width, height: 844 }, colorScheme, isMobile: width < 600, hasTouch: width < 600 })
			const page = await context.newPage()
			assert.equal((await page.goto(url, { waitUntil: 'networkidle' })).status(), 200)
			const chips = page.locator('#state .chip')
			assert.deepEqual((await chips.allInnerTexts()).map(text => text.toLowerCase()), wanted)
			for (const chip of await chips.all()) {
				const box = await chip.boundingBox()
				assert.ok(box && box.x >= 0 && box.x + box.width <= width, `a chip leaves the screen at ${width} px`)
			}
			assert.ok(await page.evaluate(width => document.documentElement.scrollWidth <= width, width), `the page scrolls sideways at ${width} px`)
			// Before the runs, and so without scrolling.
			const first = await page.locator('tr[data-run]').first().boundingBox()
			assert.ok((await page.locator('#state').boundingBox()).y < first.y)
			const text = await page.innerText('body')
			assert.ok(text.includes('Armed session company_962302'), text)
			assert.equal(text.includes('a new <b>release</b>'), expected === 'paused', 'the reason, letter by letter')
			assert.equal(text.includes('more than 3 services in an emergency within 1h'), expected === 'paused')
			await page.screenshot({ path: path.join(screenshots, `remediator-${expected}-${width}-${colorScheme}.png`), fullPage: true })
			await context.close()
		}
	}
} catch (e) {
	console.error(e.stack)
	process.exitCode = 1
} finally {
	await browser.close()
}
