import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { close, json, open, page, shot, violations, visit } from './browser.mjs';

let base;
before(async () => (base = await open()));
after(close);

const empty = { rows: [], points: [], total: { packets: 0, sources: { n: 0, err: 0 }, targets: { n: 0, err: 0 } }, hours: [], ports: [], packets: [], sources: [], years: [], reference: [], iot_table: { dated: '', ports: [] } };

describe('four states, each with its own look', () => {
  const answers = {
    zero: json({ ...empty, state: 'zero' }),
    none: json({ ...empty, state: 'none', reason: { ja: 'センサーが止まっていました。', en: 'The sensor was off.' } }),
    failed: json({ title: 'x', detail: '保存領域が開けません。', code: 'store', request_id: 'r-17' }, 503),
  };
  const words = { zero: /0 件/, none: /未取得[\s\S]*センサーが止まっていました/, failed: /取得失敗[\s\S]*保存領域が開けません[\s\S]*r-17[\s\S]*再試行/ };
  const looks = new Map();
  for (const state of ['zero', 'none', 'failed'])
    test(state, async () => {
      const p = await page({ routes: { '**/api/v1/telescope/**': answers[state] } });
      await visit(p, '/darknet');
      for (const id of ['pair', 'classes', 'ports', 'countries', 'ases', 'heat', 'rising', 'events', 'years']) {
        const panel = p.locator(`[data-panel="${id}"]`);
        assert.equal(await panel.getAttribute('data-state'), state, id);
        assert.match(await panel.innerText(), words[state], id);
      }
      looks.set(state, await p.locator('[data-panel=pair] .state').evaluate((e) => { const s = getComputedStyle(e); return `${s.borderStyle} ${s.backgroundImage} ${s.backgroundColor} ${e.querySelector('b').textContent}`; }));
      assert.deepEqual(await violations(p), []);
      await shot(p, `state-${state}`);
      await p.done();
    });
  test('stale, over the old picture', async () => {
    const p = await page({
      routes: {
        '**/api/v1/telescope/series**': async (r) => {
          const answer = await r.fetch();
          await r.fulfill({ response: answer, json: { ...(await answer.json()), state: 'stale', as_of: '2026-11-22T03:03:00Z' } });
        },
      },
    });
    await visit(p, '/darknet');
    const panel = p.locator('[data-panel=pair]');
    assert.equal(await panel.getAttribute('data-state'), 'stale');
    assert.match(await panel.locator('.banner').innerText(), /古い[\s\S]*最終 2026-11-22 12:03 JST/);
    assert.ok(await panel.locator('canvas').first().isVisible());
    assert.deepEqual(await violations(p), []);
    await shot(p, 'state-stale');
    await p.done();
  });
  test('no two look the same', () => assert.equal(new Set(looks.values()).size, 3));
  test('retry asks again, and a failed refresh keeps the old picture', async () => {
    let broken = false;
    const p = await page({ routes: { '**/api/v1/telescope/top**': (r) => (broken ? json({ detail: 'busy' }, 503)(r) : r.continue()) } });
    await visit(p, '/darknet');
    broken = true;
    await p.click('.order button:nth-child(2)');
    const panel = p.locator('[data-panel=ports]');
    await panel.locator('button', { hasText: '再試行' }).waitFor();
    assert.equal(await panel.getAttribute('data-state'), 'failed');
    broken = false;
    await panel.locator('button', { hasText: '再試行' }).click();
    await p.waitForFunction(() => document.querySelector('[data-panel=ports]').dataset.state !== 'failed');
    await p.done();
  });
});

describe('keyboard', () => {
  test('goes everywhere and changes how things are shown', async () => {
    const p = await page({ reducedMotion: 'no-preference' });
    await visit(p, '/');
    await p.keyboard.press('g');
    await p.keyboard.press('d');
    await p.waitForURL('**/darknet?**');
    await p.keyboard.press('g');
    await p.keyboard.press('s');
    await p.waitForURL(/:\d+\/\?/);
    await p.waitForSelector('#range-button b');
    await p.keyboard.press('u');
    await p.locator('.time button', { hasText: 'UTC' }).waitFor();
    await p.keyboard.press('u');
    await p.keyboard.press('p');
    await p.locator('.age b', { hasText: '停止中' }).waitFor();
    assert.match(await p.locator('.place').textContent(), /円/);
    await p.keyboard.press('p');
    await p.keyboard.press('l');
    await p.waitForSelector('html[lang=en]');
    await p.keyboard.press('l');
    await p.keyboard.press('?');
    await p.locator('dialog[open] h2').waitFor();
    assert.deepEqual(await violations(p), []);
    await shot(p, 'help');
    await p.keyboard.press('Escape');
    await p.waitForSelector('dialog', { state: 'detached' });
    await p.keyboard.press('t');
    await p.locator('#range').waitFor();
    await p.keyboard.press('Escape');
    await p.keyboard.press('w');
    await p.waitForSelector('.wallpage');
    await p.keyboard.press('Escape');
    await p.waitForSelector('.rail');
    assert.deepEqual(p.problems, []);
    await p.done();
  });

  test('steps through time; the address holds it in UTC', async () => {
    const p = await page();
    await visit(p, '/darknet?from=2026-11-21T00:00:00Z&to=2026-11-22T00:00:00Z');
    assert.match(await p.locator('#range-button').innerText(), /2026-11-21 09:00/);
    await p.keyboard.press('[');
    await p.waitForURL('**from=2026-11-20T00:00:00Z&to=2026-11-21T00:00:00Z**');
    await p.keyboard.press(']');
    await p.keyboard.press(']');
    await p.waitForURL('**from=2026-11-22T00:00:00Z**');
    await p.goBack();
    await p.waitForURL('**from=2026-11-21T00:00:00Z**');
    await p.done();
  });

  test('single keys can be switched off, and stay off', async () => {
    const p = await page();
    await visit(p, '/');
    await p.keyboard.press('?');
    await p.locator('dialog input[type=checkbox]').uncheck();
    await p.keyboard.press('Escape');
    await p.keyboard.press('l');
    await p.waitForTimeout(300);
    assert.equal(await p.getAttribute('html', 'lang'), 'ja');
    await p.reload();
    await visit(p, '/');
    await p.keyboard.press('?');
    await p.waitForTimeout(300);
    assert.equal(await p.locator('dialog').count(), 0);
    await p.done();
  });

  test('the focus can be seen', async () => {
    const p = await page();
    await visit(p, '/');
    for (let i = 0; i < 6; i++) {
      await p.keyboard.press('Tab');
      const outline = await p.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      assert.notEqual(outline, 'none', await p.evaluate(() => document.activeElement.outerHTML.slice(0, 120)));
    }
    await p.done();
  });
});

describe('ways through', () => {
  test('search leads to ports, networks and addresses', async () => {
    const p = await page({ lang: 'en' });
    await visit(p, '/');
    for (const [typed, url] of [['2323', /dim=port&key=2323\/tcp/], ['AS64499', /dim=as&key=AS64499/], ['japan', /dim=country&key=JP/], ['198.51.100.7', /\/address\/198\.51\.100\.7/]]) {
      await p.keyboard.press('/');
      await p.keyboard.type(typed);
      await p.locator('#found li').first().waitFor();
      await p.keyboard.press('Enter');
      await p.waitForURL(url);
      await p.evaluate(() => document.activeElement.blur());
    }
    await p.done();
  });

  test('a press on a port filters the series, a second one lifts it', async () => {
    const p = await page();
    await visit(p, '/darknet');
    const first = p.locator('[data-panel=ports] li button').first();
    const name = (await first.textContent()).match(/^[\d.]+\/(tcp|udp|icmp)/)?.[0];
    await first.click();
    await p.waitForURL(/dim=port/);
    assert.ok(name);
    assert.match(await p.locator('[data-panel=pair] h2').textContent(), /\d+\/(tcp|udp)/);
    await p.locator('[data-panel=ports] li button[aria-pressed=true]').click();
    await p.waitForFunction(() => !location.search.includes('dim='));
    await p.done();
  });

  test('a finding opens in the drawer, takes an acknowledgement with a note, and Esc closes it', async (t) => {
    const p = await page();
    await visit(p, '/');
    const rows = p.locator('[data-panel=work] button.open');
    if (!(await rows.count())) return t.skip('this server has no findings');
    // Attacks lead to their own page: the first that doesn't.
    const all = p.locator('[data-panel=work] [data-row]');
    const first = await all.evaluateAll((rows) => rows.findIndex((r) => r.matches('button')));
    for (let i = 0; i <= first; i++) await p.keyboard.press('j');
    await p.keyboard.press('Enter');
    await p.waitForURL(/finding=/);
    await p.locator('.drawer .title').waitFor();
    assert.deepEqual(await violations(p), []);
    await shot(p, 'drawer');
    if (!(await p.locator('.drawer .acked').count())) {
      await p.keyboard.press('a');
      await p.fill('#note', '引継ぎ: 対外接続を確認中');
      await p.locator('.drawer form button').click();
      await p.locator('.drawer .acked').waitFor();
    }
    await p.evaluate(() => document.activeElement.blur());
    await p.keyboard.press('Escape');
    await p.waitForSelector('.drawer', { state: 'detached' });
    assert.ok(!p.url().includes('finding='));
    await p.done();
  });

  test('a sample says so, always and in both languages', async (t) => {
    const p = await page();
    const status = await p.request.get('/api/v1/status').then((r) => r.json());
    if (!status.demo) return t.skip('this server has no sample data');
    for (const path of ['/', '/darknet', '/wall']) {
      await visit(p, path);
      assert.match(await p.locator('.demo').innerText(), /見本データ[\s\S]*Sample data/);
    }
    await p.done();
  });

  for (const lang of ['ja', 'en'])
    test(`the guide has five steps, ends at an import, and is not shown again (${lang})`, async (t) => {
      const p = await page({ guided: false, lang });
      const status = await p.request.get('/api/v1/status').then((r) => r.json());
      if (!status.demo) return t.skip('this server has no sample data');
      await visit(p, '/');
      for (let i = 1; i <= 5; i++) {
        assert.match(await p.locator('.guide').innerText(), new RegExp(`${i} (/|of) 5`));
        if (i % 4 === 1) assert.deepEqual(await violations(p), []); // those between are built as the first
        await shot(p, `guide-${lang}-${i}`);
        if (i < 5) await p.locator('.guide .row .main').click();
        await p.waitForTimeout(150);
      }
      await p.locator('.guide .wide').click();
      await p.locator('dialog .drop').waitFor();
      assert.deepEqual(await violations(p), []);
      await shot(p, `import-${lang}`);
      await p.reload();
      await visit(p, '/');
      assert.equal(await p.locator('.guide').count(), 0);
      await p.done();
    });

  test('a dropped capture becomes a job, and its progress is seen', async (t) => {
    const p = await page();
    await visit(p, '/');
    await p.locator('.rail .low button').first().click();
    await p.locator('dialog').waitFor();
    if (!(await p.locator('dialog input[type=file]').count())) return t.skip('this token may not import');
    // A pcap header and one SYN to a documentation address.
    const header = Buffer.from('d4c3b2a1020004000000000000000000ffff000001000000', 'hex');
    const frame = Buffer.from('0200000000010200000000020800450000280001000040060000c6336407cb00710130390017cb0071010000000050023908000000000000', 'hex').subarray(0, 54);
    const record = Buffer.alloc(16);
    record.writeUInt32LE(1_795_000_000 + Math.floor(Math.random() * 1e6), 0);
    record.writeUInt32LE(frame.length, 8);
    record.writeUInt32LE(frame.length, 12);
    await p.locator('dialog input[type=file]').setInputFiles({ name: 'one.pcap', mimeType: 'application/octet-stream', buffer: Buffer.concat([header, record, frame]) });
    await p.locator('dialog li b', { hasText: 'one.pcap' }).first().waitFor();
    await p.locator('dialog .tag', { hasText: /完了|取り込み済み/ }).first().waitFor({ timeout: 20_000 });
    await p.done();
  });

  test('without a session there is a login, and it says where the token is', async (t) => {
    if (!process.env.SAKIMORI_TOKEN) return t.skip('the mock was started without a token');
    const p = await page({ loggedIn: false, lang: 'en' });
    await p.goto(base);
    await p.locator('#token').waitFor();
    assert.match(await p.locator('#where').textContent(), /terminal/);
    assert.deepEqual(await violations(p), []);
    await shot(p, 'login');
    await p.fill('#token', 'wrong');
    await p.keyboard.press('Enter');
    await p.locator('[role=alert]').waitFor();
    await p.done();
  });

  test('the first page needs at most 120 kB of scripts, compressed', async () => {
    const { gzipSync } = await import('node:zlib');
    const p = await page();
    let bytes = 0;
    p.on('response', async (r) => {
      if (/\.js$/.test(new URL(r.url()).pathname)) bytes += gzipSync(await r.body(), { level: 9 }).length;
    });
    await visit(p, '/');
    assert.ok(bytes > 10_000 && bytes <= 120_000, `${bytes} bytes`);
    await p.done();
  });
});
