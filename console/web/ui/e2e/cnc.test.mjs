import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { as, ask, close, fine, han, json, open, page, shared, shot, upright, visit } from './browser.mjs';

// The C&C list, its review, its zones and their proof, what was blocked, and why. What a
// test needs and a server may lack it brings along; what a test would change it answers
// itself. Of the server it needs: entries of several states, one of them in force by its
// name and one to be reviewed; a resolver with probes; blocks of a day.
const abuse = as('suzuki', 'abuse');
const network = as('sato', 'network');
const admin = as('demo', 'admin');
const say = (ja, en) => ({ ja, en });
let some; // an entry
let live; // one in force, by its name
let waits; // one to be reviewed

before(async () => {
  await open();
  const p = await page();
  const answer = await p.request.get('/api/v1/cnc?limit=500');
  assert.ok(answer.ok(), 'this server has no C&C list: nothing of it could be tested');
  some = (await answer.json()).entries[0];
  assert.ok(some, 'this list has no entry: nothing of it could be tested');
  live = (await ask(p, '/cnc?state=enforced&kind=name&limit=5')).entries.find((e) => !e.sinkholed);
  waits = (await ask(p, '/cnc/review?limit=200')).entries.find((e) => !e.reviews.length);
  assert.ok(live && waits, 'this list has nothing in force by its name, or nothing to review');
  await p.done();
});
after(close);

/** What the page itself says: headings, labels, buttons; not what people or lists say. */
const said = (p) =>
  p.evaluate(() => {
    const own = 'h1, h2, h3, th:not([scope=row]), label, legend, dt, .btn, .chip, .state, .figures li > span, .sub, .legend span, .what:not(div)';
    const texts = [...document.querySelectorAll(own)].filter((e) => e.checkVisibility() && !e.closest('[lang]:not(html)')).map((e) => e.textContent.trim());
    return [...texts, ...[...document.querySelectorAll('main [aria-label], main [placeholder]')].flatMap((e) => [e.getAttribute('aria-label'), e.getAttribute('placeholder')])].filter(Boolean);
  });
const reason = async (p, why) => {
  await p.locator('dialog[open] textarea').fill(why);
  await p.locator('dialog[open] .main').click();
};

const pages = {
  list: { who: abuse, path: () => '/infections?tab=cnc' },
  entry: { who: abuse, path: () => `/infections?tab=cnc&entry=${live.id}` },
  review: { who: abuse, path: () => '/infections?tab=review' },
  proof: { who: admin, path: () => '/infections?tab=proof' },
  blocks: { who: abuse, path: () => '/infections?tab=blocks' },
  why: { who: abuse, path: () => `/infections?tab=why&name=${encodeURIComponent(live.value)}` },
};

describe('each page of the list, in both languages and lights', () => {
  for (const [lang, theme] of [['ja', 'light'], ['en', 'dark']])
    for (const who of [abuse, admin])
      describe(`${lang} ${theme}`, () => {
        const take = shared({ lang, theme, routes: who });
        for (const [name, it] of Object.entries(pages).filter(([, it]) => it.who === who))
          test(name, async () => {
            const p = take();
            await visit(p, it.path());
            assert.equal(await p.locator('[data-state=failed]').count(), 0);
            const words = await said(p);
            assert.ok(words.length > 9, `only ${words.length} words`);
            if (lang === 'en') assert.deepEqual(words.filter((s) => han.test(s)), []);
            await fine(p, `cnc-${name}-${lang}-${theme}`);
            if (lang === 'en') await upright(p, `cnc-${name}`, [390, 844], [1280, 800], [1920, 1080]);
          });
      });
});

describe('who may see what', () => {
  test('a viewer sees none of it', async () => {
    const p = await page({ lang: 'en', routes: as('watcher') });
    for (const tab of ['cnc', 'proof', 'why']) {
      await visit(p, `/infections?tab=${tab}`);
      assert.equal(await p.locator('[data-panel=denied]').count(), 1);
      assert.equal(await p.locator('.tabs').count(), 0);
    }
    await p.done();
  });
  test('the network engineer sees the list and the zones, and no subscriber', async () => {
    const p = await page({ lang: 'en', routes: network });
    await visit(p, '/infections');
    assert.equal(await p.locator('.rail a', { hasText: 'Infections' }).count(), 1);
    assert.deepEqual(await p.locator('.tabs .btn').allInnerTexts(), ['C&C list', 'Review', 'Blocking & proof', 'Block counts', 'Why blocked?']);
    await p.locator('[data-panel=zones] [data-zone]').first().waitFor();
    assert.ok(await p.locator('[data-panel=matrix] button', { hasText: 'Probe now' }).count());
    await visit(p, `/infections?tab=why&name=${live.value}`);
    assert.equal(await p.locator('[data-panel=choice]').count(), 0);
    await visit(p, '/infections?tab=review');
    assert.equal(await p.locator('[data-review] .acts').count(), 0);
    await visit(p, '/infections/C-2026-000061?tab=queue');
    assert.equal(await p.locator('.drawer, [data-panel=queue]').count(), 0);
    await fine(p, 'cnc-as-network');
    await p.done();
  });
  test('the operator adds nothing and judges nothing', async () => {
    const p = await page({ lang: 'en', routes: as('kato', 'operator') });
    await visit(p, `/infections?tab=cnc&entry=${waits.id}`);
    assert.equal(await p.locator('.drawer .acts').count(), 0);
    assert.equal(await p.locator('[data-panel=cnc] header button', { hasText: /^Add$/ }).count(), 0);
    await p.done();
  });
});

describe('the list', () => {
  test('is filtered by typed chips that are in the address', async () => {
    const p = await page({ lang: 'en', routes: abuse });
    await visit(p, '/infections?tab=cnc');
    await p.locator('.chips .chip', { hasText: 'In force' }).click();
    await p.waitForURL(/state=enforced/);
    await p.locator('[data-panel=cnc] select').first().selectOption('name');
    await p.waitForURL(/kind=name/);
    await p.locator('.chip.on', { hasText: 'name and below' }).waitFor();
    await p.locator('[data-entry]').first().waitFor();
    const expected = (await ask(p, '/cnc?state=enforced&kind=name&limit=20&order=score')).entries.map((e) => e.id);
    await p.waitForFunction((id) => document.querySelector('[data-entry]')?.dataset.entry === id, expected[0]);
    assert.deepEqual((await p.locator('[data-entry]').evaluateAll((all) => all.map((e) => e.dataset.entry))).slice(0, 5), expected.slice(0, 5));
    await p.locator('.chip.on').first().click();
    await p.waitForURL((u) => !u.search.includes('kind='));
    await p.locator('[data-panel=cnc] input[type=search]').fill(live.value);
    await p.keyboard.press('Enter');
    await p.locator(`[data-entry="${live.id}"]`).waitFor();
    await fine(p, 'cnc-filtered');
    await p.done();
  });

  test('is fluid: rows come as one scrolls, and few of them are in the page', async () => {
    const many = 100_000;
    const one = (i) => ({ ...some, id: `K-${i}`, value: `n${String(i).padStart(6, '0')}.example`, kind: 'name', reviews: [], needs_two: null });
    let asked = 0;
    const serve = (r) => {
      const q = new URL(r.request().url()).searchParams;
      const at = Number(q.get('cursor') || 0);
      const n = Number(q.get('limit'));
      asked++;
      return json({ entries: Array.from({ length: Math.min(n, many - at) }, (_, i) => one(at + i)), total: { count: many, exact: true }, next: at + n < many ? String(at + n) : '' })(r);
    };
    const p = await page({ lang: 'en', routes: { ...abuse, '**/api/v1/cnc?**': serve } });
    await visit(p, '/infections?tab=cnc');
    const box = p.locator('[data-panel=cnc] .scroll');
    const end = async () => Number(/n(\d+)/.exec(await p.locator('[data-entry] .link').last().innerText())[1]);
    let pagesSeen = 0; // a busy machine takes its time for each
    for (; pagesSeen < 100 && (await end()) <= 1500; pagesSeen++) {
      await box.hover();
      await p.mouse.wheel(0, 20_000); // as a reader does
      await p.waitForTimeout(60);
    }
    const shown = await p.locator('[data-entry]').count();
    assert.ok(shown > 8 && shown < 120, `${shown} rows are in the page`);
    const last = await p.locator('[data-entry] .link').last().innerText();
    assert.ok(Number(/n(\d+)/.exec(last)[1]) > 1500, `only at ${last} after ${pagesSeen} pages of scrolling`);
    assert.match(await p.locator('[data-panel=cnc] .sub').innerText(), /of 100,000/);
    // Back at the top the first page, which was let go of, is there again.
    const before = asked;
    await box.evaluate((e) => (e.scrollTop = 0));
    await p.locator('[data-entry="K-0"]').waitFor();
    assert.ok(asked > before, 'all pages were kept');
    assert.equal(await box.locator('table').getAttribute('aria-rowcount'), String(many + 1));
    await p.done();
  });

  test('is walked by keys, opened and left, and the focus comes back', async () => {
    const p = await page({ lang: 'en', routes: abuse });
    await visit(p, '/infections?tab=cnc');
    await p.keyboard.press('j');
    await p.keyboard.press('j');
    const id = await p.evaluate(() => document.activeElement.closest('[data-entry]').dataset.entry);
    await p.keyboard.press('Enter');
    await p.waitForURL(new RegExp(`entry=${id}`));
    await p.locator('.drawer h3').first().waitFor();
    await p.keyboard.press('Escape');
    await p.locator('.drawer').waitFor({ state: 'detached' });
    assert.equal(await p.evaluate(() => document.activeElement.closest('[data-entry]')?.dataset.entry), id);
    await p.done();
  });

  test('says of what a score is made, to who points at it or comes by key', async () => {
    const p = await page({ lang: 'en', routes: abuse });
    await visit(p, '/infections?tab=cnc');
    const score = p.locator('[data-entry] .score').nth(1);
    await score.focus();
    await p.locator('#score-tip tr.sum').waitFor();
    assert.equal(await score.getAttribute('aria-describedby'), 'score-tip');
    assert.match(await p.locator('#score-tip').innerText(), /[+−]\d\.\d\d/);
    await fine(p, 'cnc-score');
    await p.keyboard.press('Escape');
    await p.locator('#score-tip').waitFor({ state: 'detached' });
    await p.done();
  });

  test('a reading that the circuit breaker holds says why, and is decided with a reason', async () => {
    const held = { id: 'H-1', source: 'maltrail', at: '2026-11-26T00:00:00Z', why: say('一度に6倍', 'six times as large at once'), state: 'waiting', size: 600, before: 100, added: 505, removed: 5 };
    let sent;
    const p = await page({
      lang: 'en',
      routes: {
        ...abuse,
        '**/api/v1/cnc/summary': async (r) => {
          const now = await r.fetch().then((x) => x.json()).catch(() => null);
          if (now) await json({ ...now, held: [held] })(r); // else the page was left meanwhile
        },
        '**/api/v1/cnc/held/H-1/refuse': (r) => ((sent = r.request().postDataJSON()), json({ held: { ...held, state: 'refused' } })(r)),
      },
    });
    await visit(p, '/infections?tab=cnc');
    const box = p.locator('[data-held="H-1"]');
    assert.match(await box.innerText(), /six times as large[\s\S]*100 → 600 entries \(505 added, 5 removed\)/);
    await fine(p, 'cnc-held');
    await box.locator('button', { hasText: 'Refuse it' }).click();
    await p.locator('dialog[open] .main').click();
    assert.equal(await p.locator('dialog[open]').count(), 1, 'it was decided without a reason');
    await reason(p, 'the feed is broken');
    await p.locator('dialog[open]').waitFor({ state: 'detached' });
    assert.deepEqual(sent, { why: 'the feed is broken' });
    await p.done();
  });

  test('a file is tried before it is taken, and what is protected is named', async () => {
    const tries = [];
    const answer = { read: 5, accepted: 3, rejected: [{ line: 4, reason: 'not a name' }], rejected_total: 1, protected: [{ name: 'bank.example', list: 'banks' }], new: 2, known: 1, gone: 0, held: '', why: null };
    const p = await page({ lang: 'en', routes: { ...abuse, '**/api/v1/cnc/import**': (r) => (tries.push(new URL(r.request().url()).searchParams.get('dry_run') === 'true'), json(answer)(r)) } });
    await visit(p, '/infections?tab=cnc');
    await p.locator('[data-panel=cnc] header button', { hasText: 'Import a file' }).click();
    await p.locator('dialog[open] input[type=file]').setInputFiles({ name: 'list.txt', mimeType: 'text/plain', buffer: Buffer.from('a.example\nb.example\n') });
    await p.locator('dialog[open] input[list]').fill('partner');
    assert.equal(await p.locator('dialog[open] button', { hasText: 'Import it' }).count(), 0, 'it can be taken untried');
    await p.locator('dialog[open] button', { hasText: 'Try it' }).click();
    await p.locator('[data-imported=tried]').waitFor();
    assert.match(await p.locator('[data-imported]').innerText(), /read\s*5[\s\S]*bank\.example banks[\s\S]*line 4 not a name/);
    await fine(p, 'cnc-import');
    await p.locator('dialog[open] button', { hasText: 'Import it' }).click();
    await p.locator('[data-imported=taken]').waitFor();
    assert.deepEqual(tries, [true, false]);
    await p.done();
  });

  test('an entry that is protected is refused in the words of the house', async () => {
    const p = await page({ lang: 'en', routes: { ...abuse, '**/api/v1/cnc': (r) => (r.request().method() === 'POST' ? json({ code: 'protected', detail: 'bank.example is protected by banks' }, 409)(r) : r.continue()) } });
    await visit(p, '/infections?tab=cnc');
    await p.locator('[data-panel=cnc] header button', { hasText: /^Add$/ }).click();
    const d = p.locator('dialog[open]');
    await d.locator('input.mono').fill('https://login.bank.example/x');
    await d.locator('input[maxlength="500"]').fill('a sample');
    await d.locator('textarea').fill('seen');
    await d.locator('.main').click();
    await d.locator('[role=alert]', { hasText: 'protected by banks' }).waitFor();
    await fine(p, 'cnc-add');
    await p.done();
  });
});

describe('an entry and its review', () => {
  test('an entry tells its life, its evidence, its cost, and where it is in force', async () => {
    const p = await page({ lang: 'ja', routes: abuse });
    const whole = await ask(p, `/cnc/${live.id}`);
    await visit(p, `/infections?tab=cnc&entry=${live.id}`);
    const text = await p.locator('.drawer').innerText();
    for (const s of whole.entry.sources) assert.ok(text.includes(s.source), s.source);
    for (const r of whole.resolvers) assert.ok(text.includes(r.name), r.name);
    assert.equal(await p.locator('.drawer .line [aria-current=step]').count(), 1);
    if (whole.blast?.below_floor) assert.match(text, new RegExp(`${whole.blast.floor} 人未満`));
    await p.done();
  });

  test('the queue is worked by keys, and a verdict takes a reason', async () => {
    let sent;
    const p = await page({ lang: 'en', routes: { ...abuse, '**/api/v1/cnc/*/review': (r) => ((sent = [r.request().url(), r.request().postDataJSON()]), json({ entry: waits })(r)) } });
    await visit(p, '/infections?tab=review');
    await p.locator(`[data-review="${waits.id}"] [data-row]`).focus();
    await p.keyboard.press('y');
    await p.locator('dialog[open] textarea').waitFor();
    await fine(p, 'cnc-review-yes');
    await p.locator('dialog[open] .main').click();
    assert.equal(sent, undefined, 'it was sent without a reason');
    await reason(p, 'looked at the sample');
    await p.locator('dialog[open]').waitFor({ state: 'detached' });
    assert.ok(sent[0].includes(waits.id));
    assert.deepEqual(sent[1], { verdict: 'yes', why: 'looked at the sample' });
    await p.waitForFunction(() => document.activeElement?.closest('[data-review]'));
    await p.keyboard.press('n');
    await p.locator('dialog[open] h2', { hasText: 'Reject' }).waitFor();
    await p.done();
  });

  test('nobody judges twice, and the page says why two are needed', async () => {
    const one = { ...waits, needs_two: say('共用ホスティング', 'the name is on shared hosting'), reviews: [{ who: 'abuse:suzuki', at: '2026-11-26T00:00:00Z', verdict: 'yes', why: 'x' }], blast: { clients_day: 0, floor: 10, below_floor: true, error: 0.02, beside: ['a.example'] } };
    const p = await page({ lang: 'en', routes: { ...abuse, '**/api/v1/cnc/review**': json({ entries: [one], total: { count: 1, exact: true }, next: '' }) } });
    await visit(p, '/infections?tab=review');
    const row = p.locator('[data-review]');
    assert.match(await row.innerText(), /fewer than 10[\s\S]*1 beside it[\s\S]*Two people[\s\S]*shared hosting[\s\S]*Waits for 1 more[\s\S]*You have reviewed it/);
    assert.equal(await row.locator('.acts button').count(), 0);
    await p.keyboard.press('j');
    await p.keyboard.press('y');
    assert.equal(await p.locator('dialog[open]').count(), 0);
    await fine(p, 'cnc-review-mine');
    await p.done();
  });
});

describe('zones and proof', () => {
  const zone = (name, over = {}) => ({ zone: name, serial: 41, rules: 9, published: '2026-11-26T00:00:00Z', who: 'sakimori', why: '', basis: null, state: 'published', words: say('公開', 'published'), digest: 'ab', pending: null, canary_ok: null, ...over });
  const bare = { zones: [zone('optout.'), zone('allow.'), ...['c2.', 'emergency.'].map((z) => zone(z, { rules: 0, state: 'empty', words: say('根拠がないため空です', 'empty, as there is no ground') }))], ground: { granted: false, grant: '', until: null, missing: [say('通知から30日', 'thirty days since the notice are not over')] }, optout: { clients: 3, changed: null, lag_ms: null, unknown: 0 }, consent: { consenting: 0, declined: 3 } };
  const probe = (client, over = {}) => ({ client, zone: 'c2.', expected: client === 'in' ? 'nxdomain' : 'answer', got: client === 'in' ? 'nxdomain' : 'answer', ok: true, serial: 41, at: null, ms: 2, ...over });

  test('without a ground the zones are empty, and it is said what is missing', async () => {
    const p = await page({ lang: 'en', routes: { ...network, '**/api/v1/rpz': json(bare) } });
    await visit(p, '/infections?tab=proof');
    assert.match(await p.locator('[data-panel=ground]').innerText(), /no ground[\s\S]*no name is blocked[\s\S]*thirty days since the notice/);
    assert.deepEqual(await p.locator('[data-zone]').evaluateAll((all) => all.map((e) => e.dataset.zone)), ['optout.', 'allow.', 'c2.', 'emergency.']);
    assert.match(await p.locator('[data-zone="c2."]').innerText(), /Empty[\s\S]*empty, as there is no ground/);
    await fine(p, 'cnc-no-ground');
    await p.done();
  });

  test('a deviation is told by a mark and a word, and what is old or missing is not known', async () => {
    const p = await page();
    const now = new Date((await ask(p, '/status')).demo ? Date.parse((await ask(p, '/status')).data_time) : Date.now()).toISOString();
    await p.done();
    const resolver = { name: 'r-1', vendor: 'pdns', pool: 'a', address: '192.0.2.1', state: 'deviates', words: say('逸脱', 'an opted-out client was blocked'), errors: [{ at: now, ...say('逸脱', 'a canary deviated') }], full_transfers: 1, incremental_transfers: 2, zones: [{ zone: 'c2.', serial: 39, lag_serials: 2, lag_seconds: 31, at: now, transfer: 'ixfr', bytes: 10, ms: 1 }], probes: [probe('in', { at: now }), probe('out', { at: now, ok: false, got: 'nxdomain' }), probe('in', { zone: 'allow.', at: '2001-01-01T00:00:00Z' })] };
    const q = await page({ lang: 'en', routes: { ...network, '**/api/v1/rpz/resolvers': json({ resolvers: [resolver], checked: now, next: now }) } });
    await visit(q, '/infections?tab=proof');
    const cells = q.locator('[data-resolver="r-1"] [data-cell]');
    assert.deepEqual(await cells.evaluateAll((all) => all.map((e) => e.dataset.cell)), ['unknown', 'elsewhere', 'silent', 'unknown', 'ok', 'deviates', 'unknown', 'unknown']);
    assert.match(await cells.nth(5).innerText(), /✕ deviates\s*got: blocked\s*41/);
    assert.match(await cells.nth(4).innerText(), /✓ blocked[\s\S]*−2 \(31 s\)/);
    assert.match(await cells.nth(0).innerText(), /\? not known/);
    await q.locator('[data-panel=matrix] [data-picture], [data-panel=matrix] header .tools button[aria-pressed]').first().click();
    assert.equal(await q.locator('[data-panel=matrix] .twin tbody tr').count(), 8);
    await fine(q, 'cnc-deviates');
    await q.done();
  });

  for (const [lang, state, text, button] of [['en', 'Rolled back', /Rolled back to serial 40 [\s\S]*by sato[\s\S]*No new C&C is blocked[\s\S]*would bring 1,204 rules and take 31 away/, 'Publish again: c2.'], ['ja', '巻き戻し中', /sato が版 40 に巻き戻しました[\s\S]*遮断されません[\s\S]*1,204 規則が加わり、31 規則が外れます/, '公開し直す: c2.']])
    test(`a zone that stands rolled back says so, and what would come in (${lang})`, async () => {
      let sent;
      const held = { since: '2026-11-26T00:00:00Z', serial: 40, who: 'sato', why: 'a shop was blocked', added: 1204, removed: 31, counted: '2026-11-26T00:01:00Z' };
      const p = await page({ lang, routes: { ...network, '**/api/v1/rpz/zones/*/publish': (r) => ((sent = r.request().postDataJSON()), json({ zone: {} })(r)), '**/api/v1/rpz': json({ ...bare, zones: bare.zones.map((z) => ({ ...z, state: 'published', held: z.zone === 'c2.' ? held : null })) }) } });
      await visit(p, '/infections?tab=proof');
      const card = p.locator('[data-panel=zones] li[data-zone="c2."]');
      assert.match(await card.locator('.loud').innerText(), text);
      assert.ok((await card.locator('.state').innerText()).includes(state));
      assert.equal(await p.locator('[data-panel=zones] .loud').count(), 1, 'another zone says so, too');
      await card.getByRole('button', { name: button }).click();
      assert.match(await p.locator('dialog[open]').innerText(), /1,204/);
      await reason(p, 'mended');
      await p.locator('dialog[open]').waitFor({ state: 'detached' });
      assert.deepEqual(sent, { why: 'mended' });
      await fine(p, `cnc-held-${lang}`);
      await p.done();
    });

  test('a serial shows its differences, and going back takes a reason', async () => {
    let sent;
    const p = await page({ lang: 'en', routes: { ...network, '**/api/v1/rpz/zones/*/rollback': (r) => ((sent = r.request().postDataJSON()), json({ zone: {} })(r)), '**/api/v1/rpz/zones/*/serials**': json({ serials: [41, 40].map((serial) => ({ serial, at: '2026-11-26T00:00:00Z', who: 'sakimori', why: 'x', grant: 'G-1', rule: 'consent-terms', added: 1, removed: 1, rules: 9, digest: 'abcdef0123456789' })), next: '' }), '**/api/v1/rpz/zones/*/diff**': json({ added: [{ trigger: 'new.example', action: 'nxdomain', ref: 'K-1' }], removed: [{ trigger: 'old.example', action: 'nxdomain', ref: 'K-2' }], truncated: true }), '**/api/v1/rpz': json({ ...bare, zones: bare.zones.map((z) => ({ ...z, state: 'published' })) }) } });
    await visit(p, '/infections?tab=proof');
    const list = p.locator('[data-panel=serials]');
    await list.locator('[data-serial="41"] .link').click();
    await list.locator('.diff li').first().waitFor();
    assert.match(await list.locator('.diff').innerText(), /40 → 41[\s\S]*＋ new\.example[\s\S]*− old\.example[\s\S]*a part of them/);
    assert.equal(await list.locator('[data-serial="41"] .btn').count(), 0, 'one can go back to what is there');
    await list.locator('[data-serial="40"] .btn').click();
    assert.match(await p.locator('dialog[open]').innerText(), /new one with what this one held/);
    await reason(p, 'a wrong name');
    await p.locator('dialog[open]').waitFor({ state: 'detached' });
    assert.deepEqual(sent, { serial: 40, why: 'a wrong name' });
    await fine(p, 'cnc-diff');
    await p.done();
  });
});

describe('what was blocked', () => {
  const day = (i, blocked) => ({ at: new Date(Date.UTC(2026, 10, 1 + i)).toISOString(), queries: 1000, blocked, would: 0, sinkholed: 0, zones: { 'c2.': blocked } });
  const blocks = { days: Array.from({ length: 12 }, (_, i) => day(i, i * 3)), families: [{ name: 'mirai', blocked: 198, sinkholed: 0 }], zones: [{ zone: 'c2.', blocked: 198 }], resolvers: [{ name: 'r-1', queries: 12_000, blocked: 198, lost: 7, source: 'dnstap', last: null }], total: 198, then: { from: '2016-02', to: '2017-09', blocks: 208_060_000, per_day: 342_204, source: say('総務省', 'the ministry, 2017') }, losses: [{ source: 'r-1', frames: 24_000, lost: 7, malformed: 1, at: null }], hits: { on: false, consenting: 0, grant: '', until: null, words: say('なし', 'nothing is kept') } };
  test('stands beside the figure of 2016-17 on an axis that says what it is, with its source', async () => {
    const p = await page({ lang: 'en', routes: { ...abuse, '**/api/v1/dns/blocks**': json(blocks) } });
    await visit(p, '/infections?tab=blocks');
    const panel = p.locator('[data-panel=blocks]');
    assert.match(await panel.innerText(), /logarithmic axis[\s\S]*the ministry, 2017[\s\S]*cannot be compared/);
    assert.equal(await panel.locator('rect.mine').count(), 0, 'bars on a logarithmic axis');
    assert.equal(await panel.locator('circle.mine').count(), 12);
    assert.match(await p.locator('.figures').innerText(), /208,060,000[\s\S]*342,204 a day over 608 days/);
    assert.match(await p.locator('[data-panel=hits]').innerText(), /Not kept[\s\S]*no record of any client/);
    assert.match(await p.locator('[data-panel=losses]').innerText(), /▲ 7/);
    await fine(p, 'cnc-blocks-log');
    await panel.locator('.tools button[aria-pressed]').click();
    assert.equal(await panel.locator('.twin tbody tr').count(), 12);
    await p.done();
    const big = await page({ lang: 'en', routes: { ...abuse, '**/api/v1/dns/blocks**': json({ ...blocks, days: blocks.days.map((d, i) => ({ ...d, blocked: 200_000 + i * 9000 })) }) } });
    await visit(big, '/infections?tab=blocks');
    assert.match(await big.locator('[data-panel=blocks]').innerText(), /linear axis/);
    assert.equal(await big.locator('[data-panel=blocks] rect.mine').count(), 12);
    await big.done();
  });
});

describe('why blocked', () => {
  test('a URL as it is read out gives a sentence to read aloud, in both languages', async () => {
    const p = await page({ lang: 'ja', routes: abuse });
    const answer = await ask(p, `/cnc/why?name=${live.value}`);
    await visit(p, '/infections?tab=why');
    await p.locator('[data-panel=why] input.mono').fill(`https://${live.value.toUpperCase()}./login?x=1`);
    await p.locator('[data-panel=why] .main').click();
    await p.locator('[data-panel=account] .said').waitFor();
    const timeless = (s) => s.replaceAll(/\d\d:\d\d/g, ''); // it is of now, and now goes on
    const text = timeless(await p.locator('[data-panel=account]').innerText());
    assert.ok(text.includes(timeless(answer.said.ja)), 'the sentence');
    assert.ok(text.includes(timeless(answer.said.en)), 'the sentence in English');
    assert.equal(await p.locator('.said.blocked').count(), answer.in_force ? 1 : 0);
    assert.equal(await p.locator('[data-panel=account] tbody tr').count(), answer.resolvers.length);
    await fine(p, 'cnc-why');
    await p.done();
  });
  test('what is on no list was not blocked, and the page says what else to do', async () => {
    const p = await page({ lang: 'en', routes: abuse });
    await visit(p, '/infections?tab=why&name=nowhere-listed.example');
    assert.match(await p.locator('[data-panel=account]').innerText(), /It was not blocked/);
    assert.match(await p.locator('[data-panel=next]').innerText(), /not the cause/);
    await fine(p, 'cnc-why-not');
    await p.done();
  });
  test('a choice is entered as heard on the phone, and shown when every resolver has it', async () => {
    const purpose = (state) => [{ purpose: 'cc_block', words: say('遮断', 'blocking'), state, version: '2024-04', since: null }];
    const has = (...list) => list.map((h, i) => ({ name: `r-${i}`, serial: 7, has: h }));
    const base = { subject: 'S-61a0c2f4e8b1', verdict: '', words: say('', '') };
    const looks = [{ ...base, purposes: purpose('consents'), optout: { in_zone: false, serial: 0, since: null, resolvers: has(false, false) }, effect: null }, { ...base, purposes: purpose('declined'), optout: { in_zone: true, serial: 8, since: null, resolvers: has(true, false) }, effect: null }, { ...base, purposes: purpose('declined'), optout: { in_zone: true, serial: 8, since: null, resolvers: has(true, true) }, effect: null }];
    let n = 0;
    const asked = [];
    let sent;
    const p = await page({
      lang: 'en',
      routes: {
        ...abuse,
        '**/api/v1/choice/S-*': (r) => ((sent = r.request().postDataJSON()), json({ ...looks[1], optout: { ...looks[1].optout, in_zone: false, resolvers: has(false, false) }, effect: { state: 'pending', serial: 0, at: null, words: say('記録', 'it waits for the next serial') } })(r)),
        '**/api/v1/choice/look': (r) => (asked.push(r.request().postDataJSON()), json(looks[Math.min(n++, 2)])(r)),
      },
    });
    await visit(p, '/infections?tab=why');
    const box = p.locator('[data-panel=choice]');
    await box.locator('input.mono').fill('K-1234');
    await box.locator('.main').click();
    await box.locator('[data-arrival=there]').waitFor();
    assert.deepEqual(asked, [{ contract: 'K-1234' }]);
    await box.locator('[data-purpose=cc_block] .btn', { hasText: 'Opt out' }).click();
    await reason(p, 'asked to, proved by call-back');
    await box.locator('[data-arrival=coming]').waitFor();
    assert.match(await box.innerText(), /waits for the next serial/);
    await fine(p, 'cnc-choice');
    assert.deepEqual(sent, { purpose: 'cc_block', consents: false, channel: 'phone', why: 'asked to, proved by call-back' });
    await box.locator('[data-arrival=part]', { hasText: '1 of 2 resolvers' }).waitFor();
    await box.locator('[data-arrival=there]', { hasText: 'leaves the line alone' }).waitFor();
    await p.done();
  });
});

describe('four states of the list', () => {
  const gone = { code: 'no_list', detail: 'このサーバーにC&Cリストはありません。' };
  const broken = { code: 'store', detail: '保存領域が開けません。', request_id: 'r-9' };
  for (const [name, answer, state, words] of [['zero', json({ entries: [], total: { count: 0, exact: true }, next: '' }), 'ok', /条件に合うものはありません/], ['none', json(gone, 404), 'none', /未取得[\s\S]*C&Cリストはありません/], ['failed', json(broken, 503), 'failed', /取得失敗[\s\S]*保存領域[\s\S]*r-9/]])
    test(name, async () => {
      const p = await page({ routes: { ...abuse, '**/api/v1/cnc?**': answer } });
      await visit(p, '/infections?tab=cnc');
      const panel = p.locator('[data-panel=cnc]');
      assert.equal(await panel.getAttribute('data-state'), state);
      assert.match(await panel.innerText(), words);
      await fine(p, `cnc-state-${name}`);
      await p.done();
    });
  test('stale: a failed refresh keeps what was there, and says so', async () => {
    let off = false;
    const p = await page({ routes: { ...abuse, '**/api/v1/cnc?**': (r) => (off ? json({ detail: '混み合っています。' }, 503)(r) : r.continue()) } });
    await visit(p, '/infections?tab=cnc');
    off = true;
    await p.locator('[data-panel=cnc] .banner', { hasText: '混み合っています' }).waitFor();
    assert.ok((await p.locator('[data-entry]').count()) > 0);
    await p.done();
  });
});
