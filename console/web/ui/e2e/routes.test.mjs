import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { routes as answer } from '../dev/routes.mjs';
import { as, close, fine, han, json, open, page, shot, upright, visit } from './browser.mjs';

// Incidents of routing, what is watched, neighbours, look-up, feeds, readiness, drills. The
// pages are looked at with what the server has; what a test would change, or a server may
// lack, it brings along from the mock. Of the server it needs: an incident with lanes, a
// watched prefix, a feed.
const network = as('sato', 'network');
const viewer = as('watcher');
let some; // an incident, under way where there is one

before(async () => {
  await open();
  const p = await page();
  const got = await p.request.get('/api/v1/routes/incidents?limit=200');
  assert.ok(got.ok(), 'this server has no routes: nothing of them could be tested');
  const { incidents } = await got.json();
  assert.ok(incidents.length, 'no incident of routing is known here: nothing of them could be tested');
  some = incidents.find((i) => i.kind === 'leak' && i.state !== 'closed') ?? incidents.find((i) => i.kind === 'leak') ?? incidents[0];
  await p.done();
});
after(close);

/** The mock's answers to the routes of routes; sent keeps what was posted. */
const bring = (sent = [], over = {}) => async (r) => {
  const u = new URL(r.request().url());
  const path = u.pathname.slice(7);
  const given = r.request().postDataJSON?.() ?? {};
  const method = r.request().method();
  if (method === 'POST') sent.push([path, given]);
  const out = over[path]?.(u.searchParams, given) ?? answer(method, path, u.searchParams, given);
  if (!out) return r.fallback();
  if (out.refusal) return json({ code: out.refusal.code, detail: out.refusal.en }, out.refusal.status)(r);
  return json(out)(r);
};
const brought = (who, sent, over) => ({ ...who, '**/api/v1/routes/**': bring(sent, over) });
const get = (path) => answer('GET', path, new URLSearchParams());
const leak = '/routes/incident-0c41';

/** What the page itself says, not what people, incidents or routers say. */
const said = (p) =>
  p.evaluate(() => {
    const own = 'h1, h2:not(.head h2), h3:not(.bars h3), th:not([scope=row]), label:not(.one), dt, .btn, .state, .figures li > span:first-child, .sub, .key span, .legend span, .role';
    const texts = [...document.querySelectorAll(`main :is(${own})`)].filter((e) => e.checkVisibility() && !e.closest('[lang]:not(html)')).map((e) => e.textContent.trim());
    return [...texts, ...[...document.querySelectorAll('main [placeholder]')].map((e) => e.getAttribute('placeholder'))].filter(Boolean);
  });
const reason = async (p, why) => {
  await p.locator('dialog[open] textarea').fill(why);
  await p.locator('dialog[open] .main').click();
};
const pages = { list: () => '/routes', one: () => `/routes/${some.id}`, watched: () => '/routes?tab=watched', neighbors: () => '/routes?tab=neighbors', lookup: () => '/routes?tab=lookup&prefix=198.18.4.0/24', feeds: () => '/routes?tab=feeds', readiness: () => '/routes?tab=readiness', drill: () => '/routes?tab=drill' };
// One visit each, and two of what is looked at most; each light and language among them.
const looks = [['ja', 'light', ['list', 'feeds', 'drill']], ['en', 'dark', ['list', 'watched', 'neighbors', 'readiness']], ['ja', 'wall', ['one']], ['en', 'light', ['one', 'lookup']]];

describe('each page, in languages and lights, at 390, 1280 and 1920 and at 200 %', () => {
  for (const [lang, theme, names] of looks)
    test(`${lang} ${theme}: ${names.join(', ')}`, async () => {
      const p = await page({ lang, theme, routes: network });
      for (const name of names) {
        await visit(p, pages[name]());
        assert.equal(await p.locator('[data-state=failed]').count(), 0, name);
        const words = await said(p);
        assert.ok(words.length > 8, `${name}: only ${words.length} words`);
        if (lang === 'en') assert.deepEqual(words.filter((s) => han.test(s)), [], name);
        await fine(p, `routes-${name}-${lang}-${theme}`);
        await upright(p, `routes-${name}-${lang}`, [390, 844], [720, 450], [1280, 800], [1920, 1080]);
      }
      await p.done();
    });
});

describe('the list', () => {
  test('is where the work list leads to, and the wall counts it', async () => {
    const f = { id: 'incident-0c41', detector: 'leak', subject: '64497-64496', state: 'changed', severity: 1, confidence: 1, opened: '2026-11-23T00:00:00Z', changed: '2026-11-23T00:00:00Z', title: { ja: '漏えい', en: 'A leak' }, why: { ja: '', en: '' }, evidence: [], ack: null };
    const p = await page({ lang: 'en', routes: { ...brought(network), '**/api/v1/situation': json({ state: 'ok', today: null, last_week: null, work: [{ finding: f, input: null, severity: 1, next: f.title }], inputs: [] }) } });
    await visit(p, '/');
    await p.getByRole('link', { name: 'A leak' }).click();
    await p.locator('.lane.is').waitFor();
    await visit(p, '/wall?scene=1');
    assert.match(await p.locator('[data-card=routes]').innerText(), /2[^]*under way[^]*prefixes: 1\d\dK[^]*of them ours: 25K/);
    await p.done();
  });
  test('is changed by the stream', async () => {
    const [i] = get('/routes/incidents').incidents;
    const news = { ...i, changed: '2126-01-01T00:00:00Z', now: 171_717 };
    const p = await page({ lang: 'en', routes: { ...brought(network), '**/api/v1/stream*': (r) => r.fulfill({ contentType: 'text/event-stream', body: `event: incident\ndata: ${JSON.stringify(news)}\n\n` }) } });
    await visit(p, '/routes?state=open');
    await p.locator(`[data-incident="${i.id}"]`, { hasText: '171,717' }).waitFor();
    await p.done();
  });
  test('is filtered in the address, by the server', async () => {
    const p = await page({ lang: 'en', routes: network });
    await visit(p, '/routes');
    const asked = p.waitForRequest((r) => /\/routes\/incidents\?.*kind=hijack/.test(r.url()));
    await p.getByRole('button', { name: 'Hijack', exact: true }).click();
    await asked;
    assert.match(p.url(), /kind=hijack/);
    const ours = p.waitForRequest((r) => /own=true/.test(r.url()));
    await p.getByRole('button', { name: 'Ours only' }).click();
    await ours;
    const named = p.waitForRequest((r) => /q=AS64496/.test(r.url()));
    await p.getByLabel('Find by AS number').fill('AS64496');
    await p.keyboard.press('Enter');
    await named;
    await p.done();
  });
  test('goes by keys: to it, down, open, acknowledge with a note, back', async () => {
    const sent = [];
    const p = await page({ lang: 'en', routes: { ...brought(network), '**/api/v1/findings/*/ack': (r) => (sent.push([r.request().url(), r.request().postDataJSON()]), json({ by: 'sato', at: '2026-11-27T00:00:00Z', note: 'x' })(r)) } });
    await visit(p, '/');
    await p.keyboard.press('g');
    await p.keyboard.press('r');
    await p.locator('[data-incident] [data-row]').first().waitFor();
    await p.keyboard.press('j');
    await p.keyboard.press('Enter');
    await p.waitForURL(/\/routes\/incident-0c41/);
    await p.locator('.head h2').waitFor();
    await p.keyboard.press('a');
    await reason(p, 'seen, their desk is called');
    await p.waitForFunction(() => !document.querySelector('dialog[open]'));
    assert.equal(sent.length, 1);
    assert.match(sent[0][0], /findings\/incident-0c41\/ack/);
    assert.equal(sent[0][1].note, 'seen, their desk is called');
    await p.keyboard.press('Escape');
    await p.waitForURL(/\/routes(\?|$)/);
    await p.done();
  });
  test('tells apart: nothing there, no feeds, not here, a failure', async () => {
    const p = await page({ lang: 'en', routes: network });
    const empty = { incidents: [], next: null, running: 0, data_time: null, sources: 3 };
    let [status, body] = [200, empty];
    await p.route('**/api/v1/routes/incidents?**', (r) => json(body, status)(r));
    const look = async () => {
      await visit(p, '/routes?state=open');
      return p.locator('[data-panel=incidents]');
    };
    assert.match(await (await look()).innerText(), /No routing incident is under way/);
    body = { ...empty, sources: 0 };
    assert.match(await (await look()).innerText(), /No feed of routes is configured: nothing is judged/);
    [status, body] = [404, { code: 'no_routes', detail: 'No routes are watched here.' }];
    assert.equal(await (await look()).getAttribute('data-state'), 'none');
    [status, body] = [503, { detail: 'busy' }];
    assert.equal(await (await look()).getAttribute('data-state'), 'failed');
    [status, body] = [200, get('/routes/incidents')];
    await p.locator('[data-panel=incidents] .state .btn').click();
    await p.locator('[data-incident]').first().waitFor();
    await p.done();
  });
  test('a feed that is silent is told at the head, with what to do about it where it is listed', async () => {
    const p = await page({ lang: 'en', routes: brought(network) });
    await visit(p, '/routes');
    assert.match(await p.locator('.silent').innerText(), /edge2[^]*can’t be judged/);
    await p.locator('.silent a').click();
    await p.locator('[data-feed=edge2]').waitFor();
    assert.match(await p.locator('[data-feed=edge2]').innerText(), /Silent[^]*Check edge2’s BMP target/);
    await p.done();
  });
});

describe('one incident', () => {
  test('draws both lanes: the same AS at the same place, the wrong hand-over in words', async () => {
    const p = await page({ lang: 'en', routes: brought(network) });
    await visit(p, leak);
    const boxes = await p.$$eval('.lane', (lanes) => lanes.map((l) => [...l.querySelectorAll('svg.picture > g:not(.pill)')].map((g) => [g.querySelector('.as').textContent.replace('⚠ ', ''), g.getAttribute('transform'), g.classList.contains('off')])));
    assert.equal(boxes.length, 2);
    assert.deepEqual(boxes[0].map(([as, at]) => [as, at]), boxes[1].map(([as, at]) => [as, at]));
    const on = (lane, as) => !boxes[lane].find(([x]) => x === as)[2];
    assert.deepEqual([on(0, 'AS64496'), on(1, 'AS64496'), on(0, 'AS64498'), on(1, 'AS64500')], [false, true, true, true]);
    assert.match(await p.locator('.lane.is .bad').first().textContent(), /at fault[^]*⚠ AS64496|⚠ AS64496[^]*at fault/);
    assert.match(await p.locator('.lane.is .pill').textContent(), /wrongly passed on: [\d,]+ routes/);
    assert.equal(await p.locator('.lane:not(.is) .wrong').count(), 0);
    await shot(p, 'routes-lanes');
    // One way alone: fewer boxes, and the others' routes aren't counted in.
    const before = boxes[0].length;
    await p.getByRole('button', { name: /Draw only 2001:db8:4001::\/48/ }).click();
    await p.waitForFunction((n) => document.querySelectorAll('.lane:first-child svg.picture > g').length < n, before);
    assert.equal(await p.locator('.lane.is svg.picture > g:not(.pill):not(.off)').count(), 4);
    await p.done();
  });
  test('goes back in time by slider and keys, and the time is in the address', async () => {
    const p = await page({ lang: 'en', routes: brought(network) });
    await visit(p, leak);
    const asked = p.waitForRequest((r) => /incident-0c41\/lanes\?at=/.test(r.url()));
    await p.keyboard.press('[');
    await asked;
    assert.match(p.url(), /at=2026-/);
    await p.locator('.lane.is small', { hasText: /^at 2026-/ }).waitFor();
    await p.locator('input[type=range]').focus();
    await p.keyboard.press('Home');
    // Before its first update nothing was astray.
    await p.waitForFunction(() => !document.querySelector('.lane.is .wrong'));
    await p.getByRole('button', { name: 'Latest' }).click();
    await p.locator('.lane.is path.wrong').first().waitFor({ state: 'attached' }); // level lines have no height
    assert.doesNotMatch(p.url(), /at=/);
    await p.done();
  });
  test('has a table and a CSV beside each picture; one that isn’t there says so', async () => {
    const p = await page({ lang: 'en', routes: brought(network) });
    await visit(p, '/routes/incident-none');
    assert.equal(await p.locator('[data-panel=incident]').getAttribute('data-state'), 'none');
    await visit(p, '/routes/incident-0c40'); // it ended: nothing of it changes meanwhile
    const ids = await p.$$eval('[data-picture]', (all) => all.map((e) => e.dataset.picture));
    assert.ok(ids.includes('lanes') && ids.includes('routecourse') && ids.length >= 6, String(ids));
    for (const id of ids) {
      const panel = p.locator(`[data-panel="${id}"]`);
      const [file] = await Promise.all([p.waitForEvent('download'), panel.locator('button[aria-label$="as CSV"]').click()]);
      const csv = await readFile(await file.path(), 'utf8');
      await panel.locator('button[aria-pressed][aria-label*="as table"]').click();
      assert.equal(csv.trim().split('\r\n').length - 1, await panel.locator('.twin tbody tr').count(), id);
    }
    await p.done();
  });
  test('tells whom to call in both languages, what to filter, and shows the bytes', async () => {
    const p = await page({ lang: 'en', routes: brought(network), permissions: ['clipboard-read', 'clipboard-write'] });
    await visit(p, leak);
    const contacts = p.locator('[data-panel=contacts]');
    assert.match(await contacts.innerText(), /AS64496 Overseas Operator X[^]*noc@x\.example[^]*Please withdraw them at once/);
    await contacts.getByRole('button', { name: 'Japanese' }).click();
    assert.match(await contacts.locator('pre[lang=ja]').innerText(), /至急/);
    await contacts.getByRole('button', { name: /Let it through/ }).click();
    assert.match(await contacts.innerText(), /noc@carrier-p\.example/);
    const filters = p.locator('[data-panel=filters]');
    await filters.getByRole('button', { name: 'IOS XR' }).click();
    assert.match(await filters.innerText(), /Ordinary routes stopped, too[^]*no ordinary table to judge by/);
    await filters.getByRole('button', { name: /^Copy/ }).click();
    assert.match(await p.evaluate(() => navigator.clipboard.readText()), /as-path-set LEAK-64496/);
    await p.locator('[data-panel=evidence] .link').first().click();
    assert.match(await p.locator('[data-panel=evidence] pre').nth(1).innerText(), /^0000 {2}ff ff ff/);
    assert.deepEqual(p.problems, []);
    await shot(p, 'routes-remedies');
    await p.done();
  });
});

describe('own more-specifics', () => {
  const act = () => get('/routes/incidents/incident-0c41/remedies').acts.find((a) => a.id === 'R-0c41');
  test('are proposed with a reason; what can’t be announced can’t be chosen', async () => {
    const sent = [];
    const p = await page({ lang: 'en', routes: brought(network, sent, { '/routes/incidents/incident-0c41/announce': () => ({ act: act() }) }) });
    await visit(p, leak);
    const panel = p.locator('[data-panel=ownroutes]');
    assert.ok(await panel.getByLabel('Choose 198.18.0.0/24').isDisabled());
    assert.match(await panel.innerText(), /can’t be announced[^]*change it first/);
    await panel.getByLabel('Choose 2001:db8:4001::/48').check();
    await panel.getByRole('button', { name: /^Propose/ }).click();
    await reason(p, 'half of our customers are cut off');
    await p.waitForFunction(() => !document.querySelector('dialog[open]'));
    assert.deepEqual(sent, [['/routes/incidents/incident-0c41/announce', { prefixes: ['2001:db8:4001::/48'], why: 'half of our customers are cut off' }]]);
    await p.done();
  });
  test('are approved by somebody else than who proposed them', async () => {
    const sent = [];
    const own = await page({ lang: 'en', routes: brought(as('kato', 'operator')) });
    await visit(own, leak);
    assert.equal(await own.locator('[data-act] .presses .main').count(), 0);
    assert.match(await own.locator('[data-act] .presses').innerText(), /another person/);
    await own.done();
    const p = await page({ lang: 'en', routes: brought(network, sent, { '/routes/acts/R-0c41/approve': () => ({ act: act() }) }) });
    await visit(p, leak);
    await p.getByRole('button', { name: 'Approve', exact: true }).click();
    await reason(p, 'the effect is worth it');
    await p.waitForFunction(() => !document.querySelector('dialog[open]'));
    assert.deepEqual(sent, [['/routes/acts/R-0c41/approve', { why: 'the effect is worth it' }]]);
    await p.done();
  });
  test('that stand are withdrawn with a reason; until somebody saw them they are amber', async () => {
    const sent = [];
    const standing = () => ({ ...act(), state: 'announced', needs: 0, announced_at: '2026-11-22T18:00:00Z' });
    const p = await page({ lang: 'en', routes: brought(network, sent, { '/routes/incidents/incident-0c41/remedies': () => ({ ...get('/routes/incidents/incident-0c41/remedies'), acts: [standing()] }), '/routes/acts/R-0c41/withdraw': () => ({ act: standing() }) }) });
    await visit(p, leak);
    const card = p.locator('[data-act]');
    assert.match(await card.innerText(), /no vantage point has confirmed it yet/);
    const [tone, amber] = await card.evaluate((e) => [getComputedStyle(e.querySelector('.state')).color, getComputedStyle(e.querySelector('.amber')).color]);
    assert.equal(tone, amber);
    await card.getByRole('button', { name: /Withdraw/ }).click();
    await reason(p, 'the leak is over');
    await p.waitForFunction(() => !document.querySelector('dialog[open]'));
    assert.deepEqual(sent, [['/routes/acts/R-0c41/withdraw', { why: 'the leak is over' }]]);
    await p.done();
  });
  test('a viewer may look, and press nothing', async () => {
    const p = await page({ lang: 'en', routes: brought(viewer) });
    await visit(p, leak);
    assert.equal(await p.locator('main :is(.presses, .stop, input[type=checkbox])').count(), 0);
    assert.equal(await p.getByRole('button', { name: 'Acknowledge' }).count(), 0);
    await visit(p, '/routes?tab=drill');
    assert.equal(await p.locator('main form').count(), 0);
    await p.done();
  });
});

test('a look-up refuses what is no prefix, and keeps prefix and time in the address', async () => {
  const p = await page({ lang: 'en', zone: 'utc', routes: brought(network) });
  await visit(p, '/routes?tab=lookup');
  await p.getByLabel('Prefix or address').fill('AS64500');
  await p.getByRole('button', { name: 'Look up', exact: true }).last().click();
  assert.match(await p.locator('[role=alert]').innerText(), /Give a prefix/);
  await p.getByLabel('Prefix or address').fill('198.18.4.0/24');
  await p.getByLabel('Time, empty for now').fill('2026-11-22T12:00:00');
  const asked = p.waitForRequest((r) => /routes\/show\?prefix=198\.18\.4\.0%2F24&at=2026-11-22T12%3A00%3A00Z/.test(r.url()));
  await p.keyboard.press('Enter');
  await asked;
  await p.locator('[data-panel=tree] li').first().waitFor();
  assert.match(p.url(), /prefix=198\.18\.4\.0\/24&at=2026-11-22T12:00:00Z/);
  assert.match(await p.locator('[data-panel=tree]').innerText(), /AS64500[^]*AS64498[^]*AS65540/);
  assert.doesNotMatch(await p.locator('[data-panel=tree]').innerText(), /AS64496/); // not yet
  await p.done();
});

test('a drill tells what would have been accepted, and why the rest wasn’t', async () => {
  const sent = [];
  const p = await page({ lang: 'en', routes: brought(network, sent) });
  await visit(p, '/routes?tab=drill');
  await p.getByLabel('Import policy').fill('neighbors: []');
  await p.getByRole('button', { name: 'Begin' }).click();
  await p.locator('[data-panel=drillresult] .figures').waitFor();
  assert.deepEqual(sent, [['/routes/drill', { scene: 'leak-2017', policy: 'neighbors: []' }]]);
  assert.match(await p.locator('[data-panel=drillresult]').innerText(), /Would have been accepted\s+24,150[^]*First alarm after\s+21\.4 s[^]*Invalid by ROA[^]*cut at 0:41/);
  await fine(p, 'routes-drill-done');
  await p.done();
});
