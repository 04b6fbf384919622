import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { close, han, open, page, shared, shot, violations, visit, words } from './browser.mjs';

let some = '198.51.100.7'; // an address that the server knows
const read = {}; // what stands on each page, by its name and language

before(async () => {
  await open();
  const p = await page();
  const events = await p.request.get('/api/v1/telescope/events?limit=50').then((r) => r.json());
  some = events.rows?.find((e) => !e.source.includes('x'))?.source ?? some;
  await p.done();
});
after(close);

const paths = () => ({ situation: '/', darknet: '/darknet', address: `/address/${some}`, wall: '/wall?scene=1' });

describe('every page, language and theme', () => {
  // Words don't depend on the light: each language once, each light once. The wall has one light.
  for (const [lang, theme] of [['ja', 'light'], ['en', 'dark'], ['ja', 'wall']])
    describe(`${lang} ${theme}`, () => {
      const take = shared({ lang, theme });
      for (const name of ['situation', 'darknet', 'address', 'wall'].slice(0, theme === 'wall' ? 3 : 4))
        test(`${name}: axe finds nothing, the browser complains about nothing`, async () => {
          const p = take();
          await visit(p, paths()[name]);
          assert.equal(await p.getAttribute('html', 'lang'), lang);
          assert.equal(await p.getAttribute('html', 'data-theme'), name === 'wall' ? 'wall' : theme);
          assert.deepEqual(await violations(p), []);
          await shot(p, `${name}-${lang}-${theme}`);
          assert.deepEqual(p.problems, []);
          read[`${name} ${lang}`] = { words: await words(p), names: await p.evaluate(() => [...document.querySelectorAll('small, .mono, td, .tag, h1, .open')].flatMap((e) => e.textContent.split(/\s+/))) };
        });
    });
});

describe('no word is left in the other language', () => {
  for (const name of ['situation', 'darknet', 'address', 'wall'])
    test(name, () => {
      const [en, ja] = [read[`${name} en`], read[`${name} ja`]];
      const english = en.words.filter((w) => w.lang === 'en');
      assert.ok(english.length > 5 && ja.words.length > 5, 'nothing was read');
      const left = english.filter((w) => han.test(w.text)).map((w) => w.text);
      assert.deepEqual(left, []);

      // In Japanese: no text that the English page has, unless it has no letters to
      // translate (codes, names of services and networks, units).
      const neutral = /^[\d\s.,:;/×±%≤()<>+−–·•▲◆●○✕✓◷|-]*$/;
      const names = new Set(ja.names);
      const same = ja.words.filter((w) => w.lang === 'ja' && !neutral.test(w.text) && /[a-z]{3}/i.test(w.text) && !han.test(w.text)).map((w) => w.text);
      const untranslated = same.filter((s) => english.some((w) => w.text === s) && /^[A-Z][a-z]+( [a-z]+)+$/.test(s) && !names.has(s.split(' ')[0]));
      assert.deepEqual(untranslated, []);
    });
});

describe('pictures', () => {
  for (const [name, path] of [['situation', '/'], ['darknet', '/darknet'], ['address', null]])
    test(`${name}: each has a summary, a table and a CSV that say the same`, async () => {
      const p = await page();
      await visit(p, path ?? paths().address);
      await p.waitForTimeout(1500); // the map needs a frame
      const ids = await p.$$eval('[data-picture]', (all) => all.map((e) => e.dataset.picture));
      assert.ok(ids.length >= 2, `only ${ids.length} pictures`);
      for (const id of ids) {
        const panel = p.locator(`[data-panel="${id}"]`);
        if ((await panel.getAttribute('data-state')) !== 'ok') continue;
        if (id !== 'health') assert.ok((await panel.locator('[role=img]').first().getAttribute('aria-label')).length > 5, `${id} has no summary`);
        const [file] = await Promise.all([p.waitForEvent('download'), panel.locator('button[aria-label$="CSVで保存"]').click()]);
        const csv = await (await import('node:fs/promises')).readFile(await file.path(), 'utf8');
        await panel.locator('button[aria-pressed][aria-label*="表で見る"]').click();
        const rows = await panel.locator('tbody tr').count();
        const heads = await panel.locator('thead th').allTextContents();
        assert.ok(rows > 0, `${id}: an empty table`);
        assert.equal(csv.charCodeAt(0), 0xfeff, `${id}: no byte order mark for spreadsheets`);
        assert.equal(csv.trim().split('\r\n')[0].replace(/^\uFEFF/, '').split(',')[0], heads[0], id);
        if (id !== 'map') assert.equal(csv.trim().split('\r\n').length - 1, rows, `${id}: the table and the CSV differ`);
      }
      assert.deepEqual(p.problems, []);
      await p.done();
    });

  test('the lists offer the server’s CSV', async () => {
    const p = await page();
    await visit(p, '/darknet');
    for (const id of ['events', 'rising']) {
      const link = p.locator(`[data-panel="${id}"] a[download]`);
      if (!(await link.count())) continue; // a panel without rows
      const answer = await p.request.get(await link.getAttribute('href'));
      assert.equal(answer.status(), 200, id);
      assert.match(answer.headers()['content-type'], /text\/csv/, id);
    }
    await p.done();
  });

  test('the map prints what it draws and what there is, and stands still on demand', async () => {
    const p = await page();
    await visit(p, '/');
    await p.waitForTimeout(1500);
    assert.match(await p.locator('.figures').textContent(), /pkt\/s|待って/);
    assert.match(await p.locator('.place').textContent(), /推定/);
    assert.match(await p.locator('.place').textContent(), /円/);
    await p.done();
  });

  test('a change of theme redraws the charts', async () => {
    const p = await page({ theme: 'dark' });
    await visit(p, '/darknet');
    const seen = () => p.locator('[data-panel=pair] canvas').first().evaluate((c) => c.toDataURL());
    const dark = await seen();
    await p.evaluate(() => document.querySelector('.tools button[title^="配色"]').click());
    await p.waitForTimeout(600);
    assert.equal(await p.getAttribute('html', 'data-theme'), 'wall');
    const wall = await seen();
    assert.notEqual(wall, dark);
    assert.ok(wall.length > 2000, 'an empty chart after the switch');
    await p.done();
  });
});

describe('the screen', () => {
  test('200 % zoom loses nothing and needs no sideways scrolling', async () => {
    for (const path of ['/', '/darknet', paths().address]) {
      const p = await page({ width: 720, height: 450, deviceScaleFactor: 2 });
      await visit(p, path);
      const over = await p.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(over <= 1, `${path}: ${over} px too wide`);
      const cut = await p.evaluate(() => [...document.querySelectorAll('.bar button, .bar input')].filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1).length);
      assert.equal(cut, 0, `${path}: controls outside of the screen`);
      await shot(p, `zoom200-${path.split('/')[1] || 'situation'}`);
      await p.done();
    }
  });
  test('forced colours keep text and controls', async () => {
    const p = await page({ forcedColors: 'active' });
    await visit(p, '/');
    assert.equal(await p.evaluate(() => matchMedia('(forced-colors: active)').matches), true);
    assert.ok(await p.locator('.rail [aria-current]').isVisible());
    await shot(p, 'forced-colors');
    await p.done();
  });
});

describe('wall', () => {
  for (const scene of [1, 2, 3])
    test(`scene ${scene}: no word below 24 px at 1080p, nothing outside of the screen, no address`, async () => {
      const p = await page({ width: 1920, height: 1080, lang: scene === 2 ? 'en' : 'ja' });
      await visit(p, `/wall?scene=${scene}`);
      await p.waitForTimeout(1500);
      const all = await words(p);
      const small = all.filter((w) => w.size < 24 && !w.hidden).map((w) => `${w.text}: ${w.size}px`);
      assert.deepEqual(small, []);
      const text = all.map((w) => w.text).join('\n');
      assert.doesNotMatch(text, /\b\d{1,3}\.\d{1,3}\.\d{1,3}\.(\d{1,3}|x)\b|2001:db8/);
      const outside = await p.evaluate(() => [...document.querySelectorAll('.wallpage *')].filter((e) => e.children.length === 0 && e.textContent.trim() && e.checkVisibility() && !e.closest('.sr')).filter((e) => { const r = e.getBoundingClientRect(); return r.right > innerWidth + 1 || r.bottom > innerHeight + 1; }).map((e) => e.textContent));
      assert.deepEqual(outside, []);
      await shot(p, `wall-scene-${scene}`);
      await p.done();
    });
  test('a cut line is tried again for ever, and never ends at a login page', async () => {
    const p = await page();
    await visit(p, '/wall?scene=1');
    await p.route('**/api/v1/**', (r) => r.fulfill({ status: 401, contentType: 'application/problem+json', body: '{}' }));
    await p.route('**/session', (r) => r.fulfill({ status: 401, contentType: 'application/problem+json', body: '{}' }));
    await p.reload();
    await p.waitForTimeout(2500);
    assert.equal(await p.locator('#token').count(), 0);
    assert.ok(await p.locator('.clock').isVisible());
    await p.unroute('**/api/v1/**');
    await p.unroute('**/session');
    await p.waitForFunction(() => /\d/.test(document.querySelector('.today .value')?.textContent ?? ''), null, { timeout: 25_000 });
    await p.done();
  });
});
