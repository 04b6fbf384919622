// What the browser tests share. They run against the server at SAKIMORI_URL
// with the token SAKIMORI_TOKEN, or, without them, against the mock.
import assert from 'node:assert/strict';
import { violations } from './axe.mjs';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { chromium } from 'playwright-core';
import { serve } from '../dev/mock.mjs';

export { violations };
const token = process.env.SAKIMORI_TOKEN ?? '';
const shots = process.env.SAKIMORI_SHOTS ?? '';
let base = process.env.SAKIMORI_URL?.replace(/\/$/, '') ?? '';
let browser;
let mock;
let state; // the cookies of one login, for all contexts: a token may be good once

const free = () =>
  new Promise((done) => {
    const s = createServer().listen(0, '127.0.0.1', () => {
      const { port } = s.address();
      s.close(() => done(port));
    });
  });

/** Starts the browser, and the mock where no server is given. */
export const open = async () => {
  if (!base) {
    const port = await free();
    mock = serve(port, token);
    base = `http://127.0.0.1:${port}`;
  }
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  if (token) {
    const context = await browser.newContext();
    const answer = await context.request.post(`${base}/session`, { data: { token } });
    if (!answer.ok()) throw new Error(`the token of SAKIMORI_TOKEN was refused: ${answer.status()}`);
    state = await context.storageState();
    await context.close();
  }
  return base;
};
export const close = async () => {
  await browser?.close();
  mock?.closeAllConnections();
  mock?.close();
};

/** A page with chosen settings, by default without motion: without a graphics
 *  card the moving map would slow every test down. problems collects what the console of the
 *  browser complains about; a test ends with it empty. */
export const page = async ({ lang = 'ja', theme = 'dark', zone = 'jst', guided = true, width = 1440, height = 900, loggedIn = true, routes = {}, reducedMotion = 'reduce', ...context } = {}) => {
  const c = await browser.newContext({ viewport: { width, height }, locale: lang === 'ja' ? 'ja-JP' : 'en-GB', baseURL: base, acceptDownloads: true, reducedMotion, ...(loggedIn && state ? { storageState: state } : {}), ...context });
  c.setDefaultTimeout(15_000);
  await c.addInitScript((p) => self === top && (localStorage.getItem('sakimori') ?? localStorage.setItem('sakimori', JSON.stringify(p))), { lang, theme, zone, guided });
  const p = await c.newPage();
  p.problems = [];
  p.on('pageerror', (e) => p.problems.push(String(e.stack ?? e)));
  p.on('console', (m) => m.type() === 'error' && !/Failed to load resource/.test(m.text()) && p.problems.push(m.text()));
  for (const [pattern, handler] of Object.entries(routes)) await p.route(pattern, handler);
  p.done = async () => {
    await p.unrouteAll({ behavior: 'ignoreErrors' }); // an answer to a page that was left is nobody's error
    await c.close();
  };
  return p;
};

/** Goes to a path and waits until every panel has its answer. */
export const visit = async (p, path) => {
  await p.goto(path, { waitUntil: 'load' });
  await p.waitForSelector('main');
  await p.waitForFunction(() => !document.querySelector('[aria-busy=true]') && (document.querySelector('[data-panel], .wallpage') ?? false));
  await p.waitForTimeout(200);
};

/** One window for all tests of a suite that only look: each new one would load and compile
 *  everything anew. A test takes it by calling what is given. */
export const shared = (settings) => {
  let p;
  before(async () => (p = await page(settings)));
  after(() => p.done());
  return () => ((p.problems.length = 0), p);
};

/** Saves what is seen, where SAKIMORI_SHOTS names a folder. */
export const shot = async (p, name) => {
  if (!shots) return;
  mkdirSync(shots, { recursive: true });
  await p.screenshot({ path: join(shots, `${name}.png`) });
};

/** The text nodes that a reader sees, with the language they are marked with. */
export const words = (p) =>
  p.evaluate(() => {
    const out = [];
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const text = walk.currentNode.textContent.trim();
      const el = walk.currentNode.parentElement;
      if (!text || !el.checkVisibility?.() || ['SCRIPT', 'STYLE', 'NOSCRIPT'].includes(el.tagName)) continue;
      out.push({ text, lang: el.closest('[lang]').lang, size: parseFloat(getComputedStyle(el).fontSize), hidden: !!el.closest('.sr') });
    }
    for (const el of document.querySelectorAll('[aria-label],[title],[placeholder]'))
      for (const name of ['aria-label', 'title', 'placeholder']) if (el.getAttribute(name)?.trim()) out.push({ text: el.getAttribute(name), lang: el.closest('[lang]').lang, size: 99, hidden: true });
    return out;
  });

/** Anything written in Japanese. */
export const han = /[\u3040-\u30ff\u3400-\u9fff]/;

/** Answers a route with a body; from 400 on it is a problem of RFC 9457. */
export const json = (body, status = 200) => (r) => r.fulfill({ status, contentType: status < 400 ? 'application/json' : 'application/problem+json', body: JSON.stringify(body) });

/** A session as the page sees it: what the server lets a person do its own tests hold. */
export const as = (user, ...roles) => ({ '**/session': json({ user, roles: ['viewer', ...roles], person: true }) });

/** What the API answers to a path. */
export const ask = async (p, path) => (await p.request.get(`/api/v1${path}`)).json();

/** Nothing scrolls sideways, neither the page nor its middle, in windows of these sizes. */
export const upright = async (p, picture, ...sizes) => {
  const over = () => p.evaluate(() => [document.documentElement.scrollWidth - innerWidth, document.querySelector('main').scrollWidth - document.querySelector('main').clientWidth]);
  const before = p.viewportSize();
  for (const [width, height] of sizes) {
    await p.setViewportSize({ width, height });
    let wide = await over();
    for (let tries = 0; wide.some((n) => n > 1) && tries < 20; tries++) { // what follows a size follows it within a frame or two
      await p.waitForTimeout(50);
      wide = await over();
    }
    assert.ok(wide.every((n) => n <= 1), `${picture} at ${width}: ${wide} px too wide`);
    await shot(p, `${picture}-${width}`);
  }
  await p.setViewportSize(before);
};

/** Nothing that axe finds, nothing that the page complains of; then a picture. */
export const fine = async (p, picture) => {
  assert.deepEqual(await violations(p), []);
  assert.deepEqual(p.problems, []);
  await shot(p, picture);
};
