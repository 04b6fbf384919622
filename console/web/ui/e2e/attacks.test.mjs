import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { attacks as answer } from '../dev/attacks.mjs';
import { HOUR, dataNow, iso } from '../dev/data.mjs';
import { flows } from '../dev/flows.mjs';
import { as, ask, close, fine, han, json, open, page, shared, shot, upright, visit } from './browser.mjs';

// Attacks, what is done against them, flows, exporters, what-if. The pages are looked at
// with what the server has; what a test would change, or a server may lack, it brings along
// from the mock. Of the server it needs: an attack under way and one that ended, one with
// a mitigation, an exporter, and flows of the last hours.
const network = as('sato', 'network');
const viewer = as('watcher');
let some; // an attack with a mitigation, where there is one

before(async () => {
  await open();
  const p = await page();
  const got = await p.request.get('/api/v1/attacks?limit=200');
  assert.ok(got.ok(), 'this server has no attacks: nothing of them could be tested');
  const { attacks } = await got.json();
  assert.ok(attacks.length, 'no attack is known here: nothing of them could be tested');
  some = attacks.find((a) => a.mitigation && a.state !== 'closed') ?? attacks.find((a) => a.mitigation) ?? attacks[0];
  assert.ok((await ask(p, '/exporters')).exporters?.length, 'no exporter is known here');
  await p.done();
});
after(close);

/** The mock's answers to these routes, whoever serves the rest; sent keeps what was posted. */
const bring = (sent = [], over = {}) => async (r) => {
  const u = new URL(r.request().url());
  const path = u.pathname.slice(7);
  const given = r.request().postDataJSON?.() ?? {};
  const method = r.request().method();
  if (method === 'POST') sent.push([path, given]);
  const out = over[path]?.(u.searchParams, given) ?? answer(method, path, u.searchParams, given) ?? flows(method, path, u.searchParams, given);
  if (!out) return r.fallback();
  if (out.refusal) return json({ code: out.refusal.code, detail: out.refusal.en }, out.refusal.status)(r);
  return json(out)(r);
};
const brought = (who, sent, over) => ({ ...who, '**/api/v1/{attacks,mitigations,flows,exporters,replay}**': bring(sent, over), '**/api/v1/{attacks,mitigations,flows,replay}/**': bring(sent, over) });
const get = (path) => answer('GET', path, new URLSearchParams());

/** What the page itself says, not what people, attacks or lists say. */
const said = (p) =>
  p.evaluate(() => {
    const own = 'h1, h2:not(.head h2), h3, th:not([scope=row]), label, legend, dt, .btn, .chip, .state, .figures li > span:first-child, .sub, .legend span';
    const texts = [...document.querySelectorAll(`main :is(${own})`)].filter((e) => e.checkVisibility() && !e.closest('[lang]:not(html)')).map((e) => e.textContent.trim());
    return [...texts, ...[...document.querySelectorAll('main [placeholder]')].map((e) => e.getAttribute('placeholder'))].filter(Boolean);
  });
const reason = async (p, why) => {
  await p.locator('dialog[open] textarea').fill(why);
  await p.locator('dialog[open] .main').click();
};
// The two that are looked at most in both languages; of the others each light and language once.
const looks = { 'ja light': ['list'], 'ja wall': ['one'], 'ja dark': ['exporters'], 'en light': ['one', 'flows', 'whatif'], 'en dark': ['list', 'mitigations'] };
const pages = { list: () => '/attacks', one: () => `/attacks/${some.id}`, mitigations: () => '/attacks?tab=mitigations', flows: () => '/attacks?tab=flows', exporters: () => '/attacks?tab=exporters', whatif: () => '/attacks?tab=whatif' };

describe('each page, in languages and lights', () => {
  const turned = new Set(); // each page in windows of all sizes once; 720 is 1440 at 200 %
  for (const [look, names] of Object.entries(looks))
    describe(look, () => {
      const [lang, theme] = look.split(' ');
      const take = shared({ lang, theme, routes: network });
      for (const name of names)
        test(name, async () => {
          const p = take();
          await visit(p, pages[name]());
          assert.equal(await p.locator('[data-state=failed]').count(), 0);
          const words = await said(p);
          assert.ok(words.length > 8, `only ${words.length} words`);
          if (lang === 'en') assert.deepEqual(words.filter((s) => han.test(s)), []);
          await fine(p, `attacks-${name}-${lang}-${theme}`);
          if (!turned.has(name)) await upright(p, `attacks-${name}`, [390, 844], [720, 450], [1280, 800], [1920, 1080]);
          turned.add(name);
        });
    });
  test('that is all of them', () => assert.deepEqual([...turned].sort(), Object.keys(pages).sort()));
});

describe('the list', () => {
  test('is where the work list leads to, and the wall counts it without an address', async () => {
    const f = { id: 'attack-0a41', detector: 'ddos', subject: '203.0.113.80', state: 'changed', severity: 1, confidence: 1, opened: '2026-11-23T00:00:00Z', changed: '2026-11-23T00:00:00Z', title: { ja: '洪水', en: 'A flood' }, why: { ja: '', en: '' }, evidence: [], ack: null };
    const p = await page({ lang: 'en', routes: { ...brought(network), '**/api/v1/situation': json({ state: 'ok', today: null, last_week: null, work: [{ finding: f, input: null, severity: 1, next: f.title }], inputs: [] }) } });
    await visit(p, '/');
    await p.getByRole('link', { name: 'A flood' }).click();
    await p.locator('[data-mitigation]').first().waitFor();
    await visit(p, '/wall?scene=1');
    assert.match(await p.locator('[data-card=attacks]').innerText(), /4[^]*under way[^]*± [\d.]+ [MGT]bps[^]*mitigation confirmed: 1/);
    await p.done();
  });
  test('is changed by the stream', async () => {
    const [a] = get('/attacks').attacks;
    const news = { ...a, changed: '2126-01-01T00:00:00Z', now: { ...a.now, bits: { n: 1.5e12, error: 3e10 } } };
    const p = await page({ lang: 'en', routes: { ...brought(network), '**/api/v1/stream*': (r) => r.fulfill({ contentType: 'text/event-stream', body: `event: attack\ndata: ${JSON.stringify(news)}\n\n` }) } });
    await visit(p, '/attacks?state=open');
    await p.locator(`[data-attack="${a.id}"]`, { hasText: '1.50 ± 0.03 Tbps' }).waitFor();
    await p.done();
  });
  test('is filtered in the address, by the server', async () => {
    const p = await page({ lang: 'en', routes: network });
    await visit(p, '/attacks');
    const asked = p.waitForRequest((r) => /\/attacks\?.*direction=outgoing/.test(r.url()));
    await p.getByRole('button', { name: /Outgoing/ }).click();
    await asked;
    assert.match(p.url(), /direction=outgoing/);
    const named = p.waitForRequest((r) => /q=203\.0\.113\.0%2F24/.test(r.url()));
    await p.getByLabel('Find by address, prefix or customer').fill('203.0.113.0/24');
    await p.keyboard.press('Enter');
    await named;
    await p.done();
  });
  test('goes by keys: to it, down, open, acknowledge with a note, back', async () => {
    const sent = [];
    const p = await page({ lang: 'en', routes: { ...brought(network), '**/api/v1/findings/*/ack': (r) => (sent.push([r.request().url(), r.request().postDataJSON()]), json({ by: 'sato', at: '2026-11-27T00:00:00Z', note: 'x' })(r)) } });
    await visit(p, '/');
    await p.keyboard.press('g');
    await p.keyboard.press('a');
    await p.locator('[data-attack] [data-row]').first().waitFor();
    await p.keyboard.press('j');
    await p.keyboard.press('Enter');
    await p.waitForURL(/\/attacks\/attack-/);
    await p.locator('.head h2').waitFor();
    await p.keyboard.press('a');
    await reason(p, 'seen, the upstream is told');
    await p.waitForFunction(() => !document.querySelector('dialog[open]'));
    assert.equal(sent.length, 1);
    assert.equal(sent[0][1].note, 'seen, the upstream is told');
    await p.keyboard.press('Escape');
    await p.waitForURL(/\/attacks(\?|$)/);
    await p.done();
  });
  test('tells apart: nothing there, no flows here, a failure, an old answer', async () => {
    const routes = { ...network };
    const p = await page({ lang: 'en', routes });
    let status = 200;
    let body = { attacks: [], next: null, running: 0, rehearsal: true, data_time: null };
    await p.route('**/api/v1/attacks?**', (r) => json(body, status)(r));
    await visit(p, '/attacks?state=open');
    assert.match(await p.locator('[data-panel=running]').innerText(), /No attack is under way/);
    await shot(p, 'attacks-state-zero');
    [status, body] = [404, { code: 'no_attacks', detail: 'No flows are watched here.' }];
    await visit(p, '/attacks?state=open');
    assert.equal(await p.locator('[data-panel=running]').getAttribute('data-state'), 'none');
    assert.match(await p.locator('[data-panel=running]').innerText(), /No flows are watched here/);
    [status, body] = [503, { detail: 'busy' }];
    await visit(p, '/attacks?state=open');
    assert.equal(await p.locator('[data-panel=running]').getAttribute('data-state'), 'failed');
    await p.keyboard.press('p'); // from here on it asks when it is told to
    [status, body] = [200, get('/attacks')];
    await p.locator('[data-panel=running] .state .btn').click();
    await p.locator('[data-attack]').first().waitFor();
    [status, body] = [503, { detail: 'busy' }];
    await p.keyboard.press('p');
    await p.locator('[data-panel=running] .banner.bad').waitFor({ timeout: 15_000 });
    assert.ok(await p.locator('[data-attack]').count(), 'the old answer is gone');
    await p.done();
  });
});

describe('one attack', () => {
  test('has its course with each act marked, its parts, and a table and a CSV for each picture', async () => {
    const p = await page({ lang: 'en', routes: brought(network) });
    await visit(p, '/attacks/attack-0a40'); // it ended: its course is drawn whole, whatever the server's time is
    assert.deepEqual(await p.locator('[data-panel=course] .acts li').evaluateAll((l) => l.map((e) => e.querySelector('i').nextSibling.textContent.trim()).slice(0, 4)), ['Proposed', 'Approved', 'Sent, not confirmed', 'Confirmed']);
    for (const id of await p.$$eval('[data-picture]', (all) => all.map((e) => e.dataset.picture))) {
      const panel = p.locator(`[data-panel="${id}"]`);
      const [file] = await Promise.all([p.waitForEvent('download'), panel.locator('button[aria-label$="as CSV"]').click()]);
      const csv = await (await import('node:fs/promises')).readFile(await file.path(), 'utf8');
      await panel.locator('button[aria-pressed][aria-label*="as table"]').click();
      assert.equal(csv.trim().split('\r\n').length - 1, await panel.locator('tbody tr').count(), id);
    }
    await p.done();
  });
  test('is looked at closer by dragging over it', async () => {
    const p = await page({ lang: 'en', routes: brought(network) });
    await visit(p, '/attacks/attack-0a41');
    const box = await p.locator('[data-panel=course] .u-over').first().boundingBox();
    const asked = p.waitForRequest((r) => /course/.test(r.url()));
    await p.mouse.move(box.x + box.width * 0.4, box.y + 60);
    await p.mouse.down();
    await p.mouse.move(box.x + box.width * 0.6, box.y + 60, { steps: 4 });
    await p.mouse.up();
    await asked;
    await p.getByRole('button', { name: 'Show all of it' }).click();
    await p.done();
  });
  test('that isn’t there says so', async () => {
    const p = await page({ lang: 'en', routes: brought(network) });
    await visit(p, '/attacks/attack-none');
    assert.equal(await p.locator('[data-panel=attack]').getAttribute('data-state'), 'none');
    await p.done();
  });
});

describe('a mitigation', () => {
  test('is computed, shown with what it stops and costs, and proposed; what is refused can’t be', async () => {
    const sent = [];
    const p = await page({ lang: 'en', routes: brought(network, sent) });
    await visit(p, '/attacks/attack-0a41');
    await p.getByRole('button', { name: 'Work out proposals' }).click();
    await p.locator('[data-proposal]').first().waitFor();
    assert.deepEqual(sent.map(([path, g]) => [path, g.share, g.limit]), [['/attacks/attack-0a41/plan', 0.95, 0.05]]);
    assert.match(await p.locator('[data-proposal="0"]').innerText(), /dst 203\.0\.113\.80\/32[^]*96\.2 ± 0\.4 %[^]*2\.1 ± 0\.9 %[^]*within the limit \(limit 5 %\)/);
    assert.match(await p.locator('[data-proposal="1"]').innerText(), /Refused/);
    assert.equal(await p.locator('[data-proposal="1"] .main').count(), 0);
    await fine(p, 'attacks-plan');
    await p.done();
  });
  test('is approved with a reason, by somebody else than who proposed it', async () => {
    const sent = [];
    const own = await page({ lang: 'en', routes: brought(as('kato', 'operator')) });
    await visit(own, '/attacks/attack-0a43');
    assert.equal(await own.locator('[data-mitigation] .presses .main').count(), 0);
    assert.match(await own.locator('[data-mitigation] .presses').innerText(), /another person/);
    await own.done();
    const p = await page({ lang: 'en', routes: brought(network, sent, { '/mitigations/M-0a43/approve': () => ({ mitigation: get('/attacks/attack-0a43').attack.mitigations[0] }) }) });
    await visit(p, '/attacks/attack-0a43');
    await p.getByRole('button', { name: 'Approve', exact: true }).click();
    await reason(p, 'collateral is small');
    await p.waitForFunction(() => !document.querySelector('dialog[open]'));
    assert.deepEqual(sent, [['/mitigations/M-0a43/approve', { why: 'collateral is small' }]]);
    await p.done();
  });
  test('is withdrawn with one press and a reason, and that can be undone until it is sent', async () => {
    const sent = [];
    const p = await page({ lang: 'en', routes: brought(network, sent, { '/mitigations/M-0a42/withdraw': () => ({ mitigation: get('/attacks/attack-0a42').attack.mitigations[0] }) }) });
    await visit(p, '/attacks/attack-0a42');
    const press = async () => {
      await p.getByRole('button', { name: /Withdraw/ }).click();
      await reason(p, 'a customer calls');
      await p.locator('.pending').waitFor();
    };
    await press();
    await shot(p, 'attacks-withdraw-undo');
    await p.getByRole('button', { name: 'Undo' }).click();
    assert.equal(await p.locator('.pending').count(), 0);
    assert.deepEqual(sent, []);
    await press();
    await p.getByRole('button', { name: 'Send now' }).click();
    await p.waitForFunction(() => !document.querySelector('.pending'));
    assert.deepEqual(sent, [['/mitigations/M-0a42/withdraw', { why: 'a customer calls' }]]);
    await p.done();
  });
  test('that was sent and isn’t confirmed is amber, and says so', async () => {
    const p = await page({ lang: 'en', routes: brought(network) });
    await visit(p, '/attacks/attack-0a41');
    const card = p.locator('[data-mitigation]').first();
    assert.match(await card.innerText(), /The counters have not confirmed/);
    const [tone, amber] = await card.evaluate((e) => [getComputedStyle(e.querySelector('.state')).color, getComputedStyle(e.querySelector('.amber')).color]);
    assert.equal(tone, amber);
    await p.done();
  });
  test('a viewer may look, and press nothing', async () => {
    const p = await page({ lang: 'en', routes: brought(viewer) });
    await visit(p, '/attacks/attack-0a43');
    assert.equal(await p.locator('main :is(.presses, form, .stop)').count(), 0);
    assert.equal(await p.locator('.tabs .btn', { hasText: 'What if' }).count(), 0);
    await visit(p, '/attacks?tab=mitigations');
    assert.equal(await p.locator('.presses').count(), 0);
    await p.done();
  });
  test('in a rehearsal the page says at its head that nothing is sent', async () => {
    const p = await page({ lang: 'ja', routes: brought(network, [], { '/mitigations': (q) => ({ ...answer('GET', '/mitigations', q), rehearsal: true }) }) });
    await visit(p, '/attacks?tab=mitigations');
    assert.match(await p.locator('[data-rehearsal=true]').innerText(), /リハーサル: 提案のみ・送信なし/);
    await p.done();
  });
});

describe('flows', () => {
  test('are filtered by typed chips: what can’t be meant is refused, the rest is in the address', async () => {
    const p = await page({ lang: 'en', routes: brought(network) });
    await visit(p, `/attacks?tab=flows&from=${iso(dataNow() - 4 * HOUR)}&to=${iso(dataNow())}`); // the mock's time, not the server's
    const add = async (kind, value) => {
      await p.getByLabel('Kind of filter').selectOption(kind);
      await p.getByLabel('Value of the filter').fill(value);
      await p.getByRole('button', { name: 'Add', exact: true }).click();
    };
    await add('port', '70000');
    assert.match(await p.locator('[role=alert]').innerText(), /70000/);
    const asked = p.waitForRequest((r) => /flows\/top\?.*proto=udp/.test(r.url()));
    await add('proto', 'UDP');
    await asked;
    assert.match(p.url(), /f\.proto=udp/);
    const row = p.waitForRequest((r) => /flows\/search\?.*dst=/.test(r.url()));
    await p.locator('[data-panel=flowtop] [data-row]').first().click();
    await row;
    await p.locator('.chip', { hasText: 'Protocol' }).click();
    assert.doesNotMatch(p.url(), /f\.proto/);
    await p.done();
  });
});

test('an exporter with a fault says what to do about it', async () => {
  const p = await page({ lang: 'en', routes: brought(network) });
  await visit(p, '/attacks?tab=exporters');
  await p.locator('[data-exporter="2"] [data-row]').click();
  assert.match(await p.locator('.detail').innerText(), /net\.core\.rmem_max/);
  await fine(p, 'attacks-exporter');
  await p.done();
});

test('what-if shows what would differ, and has changed nothing', async () => {
  const sent = [];
  const p = await page({ lang: 'en', routes: brought(network, sent) });
  await visit(p, '/attacks?tab=whatif');
  await p.locator('fieldset').nth(1).getByLabel('Packets/s').fill('5000');
  await p.getByRole('button', { name: 'Judge anew' }).click();
  await p.locator('[data-panel=replay] h3.new').waitFor();
  assert.deepEqual(JSON.parse(sent[0][1].thresholds), { address: { packets: 5000 } });
  assert.equal(sent.length, 1);
  assert.match(await p.locator('[data-panel=replay] .sub').innerText(), /2 new, 0 gone, 2 the same/);
  await fine(p, 'attacks-whatif-done');
  await p.done();
});
