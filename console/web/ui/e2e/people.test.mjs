import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { close, fine, han, json, open, page, visit, words } from './browser.mjs';

// Users, against a real server. The demo has none at first, and none at the end.
const real = !!process.env.SAKIMORI_TOKEN;
const password = 'kite umbrella 十二 lantern';
const name = `e2e-${process.pid}`;
let base;
before(async () => (base = await open()));
after(close);

const outside = { '**/session': json({ code: 'unauthenticated' }, 401) };
const english = async (p) => assert.deepEqual((await words(p)).filter((w) => w.lang === 'en' && han.test(w.text)).map((w) => w.text), []);
const japanese = async (p, allowed) => assert.deepEqual((await words(p)).filter((w) => w.lang === 'ja' && /[a-z]{3}/i.test(w.text) && !han.test(w.text) && !allowed.test(w.text)).map((w) => w.text), []);

describe('the doors, in both languages and both lights', () => {
  const ways = { password: true, issuers: [{ id: 'corp', name: 'Example ID' }] };
  const doors = {
    login: { path: '/darknet', wait: '#password', routes: { ...outside, '**/signin': json(ways) } },
    'login-sent-back': { path: '/?signin=issuer_failed', wait: '[role=alert]', routes: { ...outside, '**/signin': json(ways) } },
    'login-token': { path: '/', wait: '#token', routes: { ...outside, '**/signin': json({ password: false, issuers: [] }) } },
    first: { path: '/welcome#skm_first', wait: '#again', routes: { ...outside, '**/signin/link': json({ purpose: 'first', name: '', expires: '2026-11-26T03:00:00Z' }) } },
    invite: { path: '/welcome#skm_invite', wait: '#again', routes: { ...outside, '**/signin/link': json({ purpose: 'invite', name: 'tanaka', expires: '2026-11-26T03:00:00Z' }) } },
    gone: { path: '/welcome#skm_gone', wait: 'h1', routes: { ...outside, '**/signin/link': json({ code: 'token_invalid' }, 401) } },
    bare: { path: '/', wait: 'h1', routes: { '**/session': json({ user: 'jane', roles: [], person: true }) } },
  };
  for (const [door, d] of Object.entries(doors))
    for (const [lang, theme] of [['ja', 'light'], ['en', 'dark']])
      test(`${door} ${lang} ${theme}`, async () => {
        const p = await page({ lang, theme, loggedIn: false, routes: d.routes });
        await p.goto(d.path);
        await p.locator(d.wait).first().waitFor();
        if (lang === 'en') await english(p);
        else await japanese(p, /^(sakimori( token.*)?|English)$/);
        assert.ok(!p.url().includes('skm_'), 'the secret stands in the address bar');
        await fine(p, `door-${door}-${lang}-${theme}`);
        await p.done();
      });

  test('the issuer is a link that leaves the page, and the keyboard reaches it', async () => {
    const p = await page({ lang: 'en', loggedIn: false, routes: { ...doors.login.routes, '**/signin/corp/start': (r) => r.fulfill({ status: 200, contentType: 'text/html', body: '<p id="there">there</p>' }) } });
    await p.goto('/');
    await p.locator('#password').waitFor();
    for (const want of ['name', 'password', 'Log in', 'Log in with Example ID']) {
      await p.keyboard.press('Tab');
      const at = await p.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim());
      assert.equal(at, want);
      assert.notEqual(await p.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), 'none');
    }
    await p.keyboard.press('Enter');
    await p.locator('#there').waitFor();
    await p.done();
  });

  test('two passwords that differ are told of before anything is sent', async () => {
    let sent = 0;
    const p = await page({ lang: 'en', loggedIn: false, routes: { ...doors.first.routes, '**/signin/link/accept': (r) => (sent++, json({ code: 'refused', detail: 'too common' }, 422)(r)) } });
    await p.goto('/welcome#skm_first');
    await p.fill('#name', 'hanako');
    await p.fill('#password', password);
    await p.fill('#again', password + 'x');
    await p.keyboard.press('Enter');
    await p.locator('[role=alert]', { hasText: 'differ' }).waitFor();
    assert.equal(sent, 0);
    await p.fill('#again', password);
    await p.keyboard.press('Enter');
    await p.locator('[role=alert]', { hasText: 'too common' }).waitFor();
    assert.equal(sent, 1);
    await p.done();
  });
});

describe('a user comes, works and goes', { skip: real ? false : 'the mock has no users' }, () => {
  let link;
  let admin;
  let user;
  const row = (p) => p.locator('[data-panel=users] tbody tr', { hasText: name });

  test('an admin invites', async () => {
    admin = await page({ lang: 'en' });
    await visit(admin, '/');
    await admin.keyboard.press('g');
    await admin.keyboard.press('t');
    await admin.waitForURL('**/system**');
    await admin.locator('[data-panel=users] form input.field').fill(name);
    await admin.locator('[data-panel=users] form').getByLabel('Legal').check();
    await admin.locator('[data-panel=users] form .main').click();
    link = await admin.locator('.once code').innerText();
    assert.match(link, /\/welcome#skm_[\w-]{43}$/);
    assert.ok(link.startsWith(base), link);
    await row(admin).waitFor();
    assert.match(await row(admin).innerText(), /Viewer[\s\S]*Legal[\s\S]*invited[\s\S]*never/);
    await fine(admin, 'system-invited');
    await admin.locator('.once button', { hasText: 'Close' }).click();
  });

  test('chooses a password by the link, once', async () => {
    user = await page({ lang: 'ja', loggedIn: false });
    await user.goto(link);
    await user.fill('#password', 'password12345');
    await user.fill('#again', 'password12345');
    await user.keyboard.press('Enter');
    await user.locator('[role=alert]', { hasText: '推測されやすい' }).waitFor();
    await user.fill('#password', password);
    await user.fill('#again', password);
    await user.keyboard.press('Enter');
    await user.waitForSelector('.rail');
    assert.ok(!user.url().includes('welcome'));
    assert.equal(await user.locator('.rail a', { hasText: '共有・設定' }).count(), 0);
    const again = await page({ loggedIn: false });
    await again.goto(link);
    await again.locator('h1', { hasText: '使えません' }).waitFor();
    await again.done();
  });

  for (const [lang, theme] of [['ja', 'light'], ['en', 'dark']])
    test(`the account and the users' page, ${lang} ${theme}`, async () => {
      for (const [p, path, picture] of [[user, '/account', 'account'], [admin, '/system', 'system']]) {
        await p.evaluate((s) => localStorage.setItem('sakimori', JSON.stringify(s)), { lang, theme, zone: 'jst', guided: true });
        await visit(p, path);
        if (lang === 'en') await english(p);
        else await japanese(p, new RegExp(`^(sakimori|English|Sample data|JST|UTC|command line|pkt/s|${name})$`));
        await fine(p, `${picture}-${lang}-${theme}`);
      }
    });

  test('changes the password, which ends the other session', async () => {
    const other = await page({ lang: 'en', loggedIn: false });
    await other.goto('/');
    await other.fill('#name', name.toUpperCase());
    await other.fill('#password', 'wrong wrong wrong');
    await other.keyboard.press('Enter');
    await other.locator('[role=alert]', { hasText: 'Name or password' }).waitFor();
    await other.fill('#password', password);
    await other.keyboard.press('Enter');
    await other.waitForSelector('.rail');
    await visit(user, '/account');
    assert.equal(await user.locator('[data-panel=sessions] tbody tr').count(), 2);
    const fields = user.locator('[data-panel=password] input[type=password]');
    await fields.nth(0).fill(password);
    await fields.nth(1).fill(password + ' two');
    await fields.nth(2).fill(password + ' two');
    await user.keyboard.press('Enter');
    await user.locator('[data-panel=password] .good', { hasText: '✓' }).waitFor();
    await user.waitForFunction(() => document.querySelectorAll('[data-panel=sessions] tbody tr').length === 1);
    assert.equal((await other.request.get('/session')).status(), 401);
    assert.equal((await user.request.get('/session')).status(), 200);
    await other.done();
  });

  test('makes a token that reads, and revokes it at the second press', async () => {
    await visit(user, '/account');
    const panel = user.locator('[data-panel=tokens]');
    await panel.locator('form input.field').first().fill('nightly report');
    await panel.locator('fieldset input[value=legal]').check();
    await panel.locator('form .main').click();
    const secret = await panel.locator('.once code').innerText();
    const bearer = { headers: { Authorization: `Bearer ${secret}` } };
    assert.equal((await fetch(`${base}/api/v1/findings`, bearer)).status, 200);
    assert.equal((await fetch(`${base}/api/v1/account`, bearer)).status, 403);
    await fine(user, 'account-token');
    const revoke = panel.locator('tbody button');
    await revoke.click();
    assert.match(await revoke.innerText(), /本当に|Really/);
    await revoke.click();
    await user.waitForFunction(() => !document.querySelector('[data-panel=tokens] tbody tr'));
    assert.equal((await fetch(`${base}/api/v1/findings`, bearer)).status, 401);
  });

  test('is given another role, is locked, and removed', async () => {
    await visit(admin, '/system');
    await row(admin).getByRole('button', { name: 'Change roles' }).click();
    await row(admin).getByLabel('Network').check();
    await fine(admin, 'system-roles');
    await row(admin).locator('button', { hasText: 'Save' }).click();
    await row(admin).locator('.tag', { hasText: 'Network' }).waitFor();
    assert.equal((await user.request.get('/session')).status(), 401);
    const lock = row(admin).getByRole('button', { name: /Lock/ });
    await lock.click();
    await lock.click();
    await row(admin).locator('.state', { hasText: 'locked' }).waitFor();
    await fine(admin, 'system-locked');
    const gone = row(admin).getByRole('button', { name: /Remove/ });
    await gone.click();
    await gone.click();
    await row(admin).waitFor({ state: 'detached' });
    assert.deepEqual(user.problems, []);
    await user.done();
    await admin.done();
  });
});
