import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { as, ask, close, fine, han, json, open, page, shared, shot, upright, violations, visit } from './browser.mjs';

// The office's pages as the abuse desk and the legal officer see them. The roles are
// the page's own view of the session; what the server lets them do its tests hold.
const abuse = as('suzuki', 'abuse');
const legal = as('hayashi', 'legal');
let cases = [];
let rules = [];

before(async () => {
  await open();
  const p = await page();
  const answer = await p.request.get('/api/v1/cases?limit=500');
  assert.ok(answer.ok(), 'this server has no office: nothing of it could be tested');
  cases = (await answer.json()).cases;
  assert.ok(cases.length > 0, 'this office has no case: nothing of it could be tested');
  rules = (await ask(p, '/lawful/rules')).rules;
  await p.done();
});
after(close);

const office = (name, run) => test(name, run);
/** An open case that isn't held, of one of the states if there is one. */
const some = (...states) => {
  const able = cases.filter((c) => c.open && !c.held).sort((a, b) => b.seen.localeCompare(a.seen));
  return (states.map((s) => able.find((c) => c.state === s)).find(Boolean) ?? able[0]).id;
};
/** What the page itself says: headings, labels, buttons; not what people wrote. */
const said = (p) =>
  p.evaluate(() => {
    const own = 'h1, h2, h3, th, label > span, legend, dt, .btn, .chip, .state, .tabs .btn, .figures .name, .figures li > span:first-child, .sub, .legend span';
    const texts = [...document.querySelectorAll(own)].filter((e) => e.checkVisibility() && !e.closest('[lang]:not(html)') && e.scope !== 'row').map((e) => e.textContent.trim());
    return [...texts, ...[...document.querySelectorAll('main [aria-label], main [placeholder]')].flatMap((e) => [e.getAttribute('aria-label'), e.getAttribute('placeholder')])].filter(Boolean);
  });

const pages = {
  infections: { who: abuse, path: () => '/infections' },
  case: { who: abuse, path: () => `/infections/${some('notified', 'attributed')}` },
  notices: { who: abuse, path: () => '/infections?tab=notices' },
  nobody: { who: abuse, path: () => '/infections?tab=nobody' },
  who: { who: abuse, path: () => '/infections?tab=who' },
  legal: { who: legal, path: () => '/legal' },
  rules: { who: legal, path: () => `/legal?tab=rules&rule=${rules[0].id}` },
  try: { who: legal, path: () => '/legal?tab=try' },
  ledger: { who: legal, path: () => '/legal?tab=ledger' },
  looks: { who: legal, path: () => '/legal?tab=looks' },
  consents: { who: legal, path: () => '/legal?tab=consents' },
};

describe('each page of the office, in both languages and lights', () => {
  // Words don't depend on the light: each language once, each light once. The longer words
  // are the English ones: with them nothing scrolls sideways.
  for (const [lang, theme] of [['ja', 'light'], ['en', 'dark']])
    for (const who of [abuse, legal])
      describe(`${lang} ${theme}`, () => {
        const take = shared({ lang, theme, routes: who });
        for (const [name, it] of Object.entries(pages).filter(([, it]) => it.who === who))
          office(name, async () => {
            const p = take();
            await visit(p, it.path());
            const words = await said(p);
            assert.ok(words.length > 9, `only ${words.length} words`);
            if (lang === 'en') assert.deepEqual(words.filter((s) => han.test(s)), []);
            await fine(p, `office-${name}-${lang}-${theme}`);
            if (lang === 'en') await upright(p, `office-${name}`, [390, 844], [1280, 800], [1920, 1080]);
          });
      });
});

describe('who may see what', () => {
  for (const [user, roles, pagesOf] of [['watcher', [], 0], ['kato', ['operator'], 2], ['suzuki', ['abuse'], 2]])
    office(`${user}: ${roles}`, async () => {
      const p = await page({ lang: 'en', routes: as(user, ...roles) });
      await visit(p, '/infections');
      assert.equal(await p.locator('.rail a', { hasText: /Infections|Legal/ }).count(), pagesOf);
      assert.equal(await p.locator('[data-panel=denied]').count(), pagesOf ? 0 : 1);
      if (!pagesOf) assert.match(await p.locator('[data-panel=denied]').innerText(), /operator, abuse desk, network, legal or admin/);
      if (roles[0] === 'operator') assert.equal(await p.locator('[data-panel=queue] input[type=checkbox]').count(), 0, 'an operator can select');
      await visit(p, '/legal?tab=ledger');
      assert.equal(await p.locator('[data-panel=proof]').count(), 0);
      await fine(p, `office-as-${user}`);
      await p.done();
    });
});

describe('the queue', () => {
  office('comes by what is due first, and its filters are in the address', async () => {
    const p = await page({ lang: 'en', routes: abuse });
    await visit(p, '/infections');
    const shown = await p.locator('[data-case]').evaluateAll((all) => all.map((e) => e.dataset.case));
    const now = (await ask(p, '/cases?open=true&limit=500')).cases;
    assert.ok(shown.length > 0 && shown.length <= now.length);
    const due = now.map((c) => c.due ?? '9');
    assert.deepEqual(due, [...due].sort());
    assert.equal(shown[0], now[0].id);
    const chip = p.locator('.states .chip').first();
    const [state, n] = [await chip.locator('i').evaluate((e) => e.nextSibling.textContent), Number(await chip.locator('b').innerText())];
    await chip.click();
    await p.waitForFunction((n) => document.querySelectorAll('[data-case]').length === n, n);
    assert.match(p.url(), /state=\w+/);
    for (const s of await p.locator('[data-case] .state').allInnerTexts()) assert.ok(s.includes(state), s);
    const again = await page({ lang: 'en', routes: abuse });
    await visit(again, new URL(p.url()).pathname + new URL(p.url()).search);
    assert.equal(await again.locator('[data-case]').count(), n);
    await again.done();
    await p.done();
  });

  office('is worked by keys: j, x, Enter, n, Esc', async () => {
    const p = await page({ lang: 'en', routes: abuse });
    await visit(p, '/infections');
    await p.keyboard.press('j');
    const first = await p.evaluate(() => document.activeElement.closest('[data-case]').dataset.case);
    await p.keyboard.press('x');
    await p.locator('.bulk b', { hasText: '1 selected' }).waitFor();
    await p.keyboard.press('x');
    await p.locator('.bulk').waitFor({ state: 'detached' });
    await p.keyboard.press('Enter');
    await p.waitForURL(`**/infections/${first}?**`);
    await p.locator('.drawer h2', { hasText: first }).waitFor();
    await p.locator('.drawer h3').first().waitFor();
    await p.keyboard.press('n');
    await p.locator('dialog[open] textarea').waitFor();
    await fine(p, 'office-note');
    await p.keyboard.press('Escape');
    await p.locator('dialog[open]').waitFor({ state: 'detached' });
    assert.match(p.url(), new RegExp(first), 'Escape closed the case together with the dialog');
    await p.keyboard.press('Escape');
    await p.waitForURL('**/infections?**');
    assert.equal(await p.evaluate(() => document.activeElement.closest('[data-case]')?.dataset.case), first, 'the focus did not come back to the row');
    await p.done();
  });

  office('a bulk action waits, says for how long, and is stopped', async () => {
    const p = await page({ lang: 'en', routes: abuse });
    await visit(p, '/infections');
    for (const i of [0, 1]) await p.locator('[data-case] input').nth(i).check();
    const ids = await p.locator('[data-case]').evaluateAll((all) => all.slice(0, 2).map((e) => e.dataset.case));
    const before = (await ask(p, `/cases/${ids[0]}`)).case;
    await p.locator('.bulk button', { hasText: 'Close' }).click();
    await p.locator('dialog[open] .main').click();
    assert.equal(await p.locator('dialog[open]').count(), 1, 'it was sent without a reason');
    await p.locator('dialog[open] textarea').fill('the feed was wrong');
    await p.locator('dialog[open] .main').click();
    const wait = p.locator('[data-bulk]').first();
    await wait.waitFor();
    assert.match(await wait.innerText(), /2 cases: Closed[\s\S]*in \d+:\d\d[\s\S]*the feed was wrong/);
    await fine(p, 'office-bulk');
    await wait.locator('button').click();
    await p.locator('dialog[open] textarea').fill('it was right after all');
    await p.locator('dialog[open] .main').click();
    await p.locator('.over', { hasText: 'Stopped' }).waitFor();
    assert.equal((await ask(p, `/cases/${ids[0]}`)).case.state, before.state);
    await p.done();
  });
});

describe('a case', () => {
  office('says why it is as it is, its life, and whose each sign is, doubt included', async () => {
    const p = await page({ lang: 'ja', routes: abuse });
    const id = some('notified', 'attributed');
    const whole = await ask(p, `/cases/${id}`);
    await visit(p, `/infections/${id}`);
    const text = await p.locator('.drawer').innerText();
    assert.ok(text.includes(whole.why.ja), 'why');
    for (const d of whole.deadlines) assert.ok(text.includes(d.source.ja), 'a deadline without its source');
    for (const s of whole.signs) assert.ok(text.includes(s.verdict_words.ja), `sign ${s.id}`);
    assert.equal(await p.locator('.line [aria-current=step]').count(), 1);
    assert.equal(await p.locator('.verdict b i').count(), whole.signs.length);
    await p.done();
  });

  office('one that is not there says so', async () => {
    const p = await page({ lang: 'en', routes: abuse });
    await visit(p, '/infections/C-1999-000001');
    await p.locator('.drawer [role=alert]').waitFor();
    await p.done();
  });

  office('is read before a notice of it is approved', async () => {
    const p = await page({ lang: 'en', routes: { ...abuse, '**/notices/*/approve': json({ code: 'refused', detail: 'Refused (notify).\n- what is missing\n  → what would satisfy it' }, 422) } });
    const { notices } = await ask(p, '/notices?limit=500');
    const n = notices?.find((x) => x.state === 'proposed') ?? notices?.[0];
    if (!n) return p.done();
    await visit(p, `/infections/${n.case}`);
    assert.equal(await p.locator('.drawer button', { hasText: /^Approve$/ }).count(), 0, 'it can be approved unread');
    await p.locator(`[data-notice="${n.id}"] .btn`).first().click();
    await p.locator('dialog[open] pre, dialog[open] object').waitFor();
    assert.match(await p.locator('dialog[open]').innerText(), /masked/);
    await fine(p, 'office-preview');
    if (n.state === 'proposed') {
      await p.locator('dialog[open] form > label input').fill('read and right');
      await p.locator('dialog[open] .main').click();
      await p.locator('dialog[open] .wrong', { hasText: '→' }).waitFor();
      await shot(p, 'office-approve-refused');
    }
    await p.done();
  });
});

describe('who a subscriber is', () => {
  const secret = { contract: 'K-SECRET-1', person: { name: '試験 花子', mail: 'secret@example.jp', phone: '03-1111-2222', postal: { code: '100-0000', lines: ['秘密町 1'] } } };
  const leaks = (p) => p.evaluate(() => [location.href, document.cookie, JSON.stringify(localStorage), JSON.stringify(sessionStorage), JSON.stringify(history.state), document.title].join('\n'));

  office('stays hidden, is refused with what is missing, is shown on a grant, and hidden again', async () => {
    const p = await page({ lang: 'ja', routes: abuse });
    await visit(p, `/infections/${some('notified', 'attributed')}`);
    const box = p.locator('[data-identity]');
    assert.equal(await box.getAttribute('data-identity'), 'hidden');
    assert.match(await box.innerText(), /●●●●/);
    await box.locator('button').last().click();
    const dialog = p.locator('dialog[open]');
    await dialog.locator('details').first().waitFor();
    assert.match(await dialog.innerText(), /正当防衛/);
    await dialog.locator('input[maxlength="300"]').fill('電話での確認');
    await dialog.locator('.main').click();
    await dialog.locator('.answer.refused li').first().waitFor();
    assert.match(await dialog.locator('.answer').innerText(), /→/, 'it does not say what would satisfy it');
    await fine(p, 'office-refused');
    for (const field of await dialog.locator('.facts > .fact > label > textarea').all()) await field.fill('受信者の設備に毎分 1,200 回の接続。必要な範囲に限る');
    await dialog.locator('.main').click();
    await p.locator('[data-identity=shown]').waitFor();
    const shown = await box.innerText();
    assert.match(shown, /契約[\s\S]*氏名[\s\S]*許可[\s\S]*規則[\s\S]*期限/);
    await fine(p, 'office-shown');
    const name = (await box.locator('dd b').first().innerText()).trim();
    assert.ok(!(await leaks(p)).includes(name), 'the name is kept somewhere');
    await box.locator('button').click();
    await p.locator('[data-identity=hidden]').waitFor();
    assert.ok(!(await p.content()).includes(name));
    await p.done();
  });

  office('goes when the case is left, and when the grant ends', async () => {
    let ends = 3_600_000;
    const status = await (await page()).request.get('/api/v1/status').then((r) => r.json());
    const opened = Date.now();
    const until = () => new Date(status.demo ? Date.parse(status.data_time) + (Date.now() - opened + ends) * status.speed : Date.now() + ends).toISOString();
    const p = await page({
      lang: 'en',
      routes: {
        ...abuse,
        '**/api/v1/cases/*/ask': (r) => json({ outcome: 'granted', id: 'G-1', rule: 'sender-by-log', until: until(), text: { ja: '', en: '' }, missing: [] })(r),
        '**/api/v1/cases/*/identity': (r) => json({ ...secret, grant: 'G-1', rule: 'sender-by-log', until: until() })(r),
      },
    });
    const reveal = async () => {
      await p.locator('[data-identity] button').last().click();
      await p.locator('dialog[open] input[maxlength="300"]').fill('x');
      await p.locator('dialog[open] .main').click();
    };
    const [a, b] = cases.filter((c) => c.open).map((c) => c.id);
    await visit(p, `/infections/${a}`);
    await reveal();
    await p.locator('[data-identity=shown]').waitFor();
    await p.waitForTimeout(11_000); // a beat: panels ask again, the name stays
    assert.equal(await p.locator('[data-identity=shown]').count(), 1);
    await p.evaluate((id) => { const l = document.createElement('a'); l.href = `/infections/${id}`; document.body.append(l); l.click(); l.remove(); }, b);
    await p.locator('.drawer h2', { hasText: b }).waitFor();
    assert.ok(!(await p.content()).includes(secret.person.name), 'the name of another case stands there');
    ends = 5000;
    await p.locator('[data-identity=hidden]').waitFor();
    await reveal(); // where the machine is busy it has ended before anybody saw it
    await p.locator('[data-identity=hidden] .said', { hasText: 'has ended' }).waitFor({ timeout: 45_000 }); // the demo's clock lags where the machine is busy
    assert.ok(!(await p.content()).includes(secret.person.name));
    assert.ok(!(await leaks(p)).includes('SECRET'));
    await p.done();
  });

  office('without a grant the server says no, and so does the page', async () => {
    const p = await page({ lang: 'en', routes: { ...abuse, '**/api/v1/cases/*/ask': json({ outcome: 'granted', id: 'G-0', rule: 'x', until: null, text: { ja: '', en: '' }, missing: [] }), '**/api/v1/cases/*/identity': json({ code: 'no_grant', detail: 'No grant allows it.' }, 403) } });
    await visit(p, `/infections/${some('notified')}`);
    await p.locator('[data-identity] button').last().click();
    await p.locator('dialog[open] input[maxlength="300"]').fill('x');
    await p.locator('dialog[open] .main').click();
    await p.locator('[data-identity=hidden] [role=alert]', { hasText: 'No grant allows it.' }).waitFor();
    await p.done();
  });
});

describe('the gate and the ledger', () => {
  office('a try says what is missing, then that it would be granted, and writes nothing', async () => {
    const p = await page({ lang: 'en', routes: legal });
    const last = (await ask(p, '/ledger?limit=1')).entries[0].seq;
    await visit(p, '/legal?tab=try');
    const panel = p.locator('[data-panel=try]');
    await panel.locator('select').first().selectOption('share_analysis');
    await panel.locator('input[maxlength="300"]').fill('find the cause');
    await panel.locator('.main').click();
    await panel.locator('[data-answer=refused] li').first().waitFor();
    await fine(p, 'office-try-refused');
    for (const field of await panel.locator('form label:has(textarea, input.field) >> visible=true').all()) {
      const input = field.locator('input, textarea');
      const type = await input.getAttribute('type');
      if (type === 'datetime-local') continue;
      const words = await field.innerText();
      await input.fill(/fields/.test(words) ? 'source\ntime' : /Receivers/.test(words) ? 'AS64500' : /Prefixes/.test(words) ? '198.51.100.0/24' : /Ports/.test(words) ? '53' : 'F-17');
    }
    await panel.locator('input[type=datetime-local]').nth(0).fill('2026-11-25T00:00');
    await panel.locator('input[type=datetime-local]').nth(1).fill('2026-11-25T06:00');
    await panel.locator('.main').click();
    await panel.locator('[data-answer=granted]').waitFor();
    assert.match(await panel.locator('[data-answer]').innerText(), /would be granted[\s\S]*joint-analysis/);
    await fine(p, 'office-try-granted');
    assert.equal((await ask(p, '/ledger?limit=1&kind=refusal')).entries[0]?.seq <= last, true, 'a try was written down');
    await p.done();
  });

  office('verifying says what was found', async () => {
    const p = await page({ lang: 'en', routes: legal });
    await visit(p, '/legal?tab=ledger');
    await p.locator('[data-panel=proof] button').click();
    await p.locator('[data-panel=proof] .result').waitFor();
    assert.match(await p.locator('[data-panel=proof] .result').innerText(), /Whole and unaltered[\s\S]*entries verified/);
    await fine(p, 'office-verified');
    await p.done();
  });

  office('a fault is told, and named', async () => {
    const p = await page({ lang: 'ja', routes: { ...legal, '**/api/v1/ledger/verify': json({ entries: 9, last: 9, until: '2026-11-26T00:00:00Z', private: 0, erased: 0, heads: 1, faults: [{ seq: 7, ja: '7番の記録が書き換えられています', en: 'entry 7 was altered' }], took_ms: 1 }) } });
    await visit(p, '/legal?tab=ledger');
    await p.locator('[data-panel=proof] button').click();
    await p.locator('.result.bad', { hasText: '書き換えられています' }).waitFor();
    await fine(p, 'office-fault');
    await p.done();
  });

  office('the kinds filter, and personal data stay apart', async () => {
    const p = await page({ lang: 'en', routes: legal });
    await visit(p, '/legal?tab=ledger&kind=grant,refusal');
    for (const k of await p.locator('[data-panel=ledger] tbody td:nth-child(3)').allInnerTexts()) assert.match(k, /Grant|Refusal/);
    const href = await p.locator('[data-panel=proof] a[download]').first().getAttribute('href');
    assert.match(href, /format=ndjson.*kind=grant,refusal|format=ndjson.*kind=grant%2Crefusal/);
    await p.done();
  });

  office('nobody agrees to their own request', async () => {
    const one = { id: 'R-1', outcome: 'waiting', at: '2026-11-26T00:00:00Z', until: '2027-11-26T00:00:00Z', measure: 'block', purpose: 'x', who: 'legal:hayashi', second: '', rule: 'consent-terms', title: { ja: 'あ', en: 'a' }, edition: '', source: '', subjects: [], proofs: [] };
    const p = await page({ lang: 'en', routes: { ...legal, '**/api/v1/lawful/grants': json({ grants: [], waiting: [one, { ...one, id: 'R-2', who: 'abuse:suzuki' }] }) } });
    await visit(p, '/legal');
    assert.equal(await p.locator('[data-grant="R-1"] button').count(), 0);
    assert.equal(await p.locator('[data-grant="R-2"] button').count(), 2);
    await fine(p, 'office-waiting');
    await p.done();
  });
});

describe('four states', () => {
  const zero = { '**/api/v1/cases?**': json({ cases: [], total: 0, next: '' }), '**/api/v1/cases/summary**': json({ from: '', to: '', states: [], open: 0, overdue: 0, held: 0, unassigned: 0, nobody: 0, flow: { opened: 0, notified: 0, acknowledged: 0, cleaned: 0, relapsed: 0, unreachable: 0 }, families: [], devices: [], days: [] }) };
  const gone = { '**/api/v1/cases**': json({ code: 'no_office', detail: 'このサーバーに加入者対応はありません。' }, 404), '**/api/v1/cases/**': json({ code: 'no_office', detail: 'このサーバーに加入者対応はありません。' }, 404) };
  const broken = { '**/api/v1/cases**': json({ code: 'store', detail: '保存領域が開けません。', request_id: 'r-9' }, 503), '**/api/v1/cases/**': json({ code: 'store', detail: '保存領域が開けません。', request_id: 'r-9' }, 503) };
  for (const [name, routes, queue, words] of [['zero', zero, 'ok', /対応中の案件はありません/], ['none', gone, 'none', /未取得[\s\S]*加入者対応はありません/], ['failed', broken, 'failed', /取得失敗[\s\S]*保存領域[\s\S]*r-9[\s\S]*再試行/]])
    test(name, async () => {
      const p = await page({ routes: { ...abuse, ...routes } });
      await visit(p, '/infections');
      const panel = p.locator('[data-panel=queue]');
      assert.equal(await panel.getAttribute('data-state'), queue);
      assert.match(await panel.innerText(), words);
      await fine(p, `office-state-${name}`);
      await p.done();
    });
  office('stale: a failed refresh keeps what was there, and says so', async () => {
    let off = false;
    const p = await page({ routes: { ...abuse, '**/api/v1/cases?**': (r) => (off ? json({ detail: '混み合っています。' }, 503)(r) : r.continue()) } });
    await visit(p, '/infections');
    off = true;
    const panel = p.locator('[data-panel=queue]');
    await panel.locator('.banner', { hasText: '混み合っています' }).waitFor();
    assert.ok((await panel.locator('[data-case]').count()) > 0);
    assert.deepEqual(await violations(p), []);
    await p.done();
  });
});
