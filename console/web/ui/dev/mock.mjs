// A small stand-in for the console's server, for looking at the pages while
// developing. It serves the contract of /api/v1 with synthetic data, and the
// built pages with the real server's content security policy.
import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { attacks, findings as attackFindings, news } from './attacks.mjs';
import * as d from './data.mjs';
import { flows } from './flows.mjs';
import { office } from './office.mjs';
import { findings as routeFindings, news as routeNews, routes } from './routes.mjs';
import { policy } from './rpz.mjs';

const dist = fileURLToPath(new URL('../../dist/', import.meta.url));
const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.json': 'application/json' };
const jobs = new Map();
const streams = new Set();
const send = (event, data) => {
  for (const s of streams) s.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
};

const findings = () => [...attackFindings(), ...routeFindings(), ...d.findings()];
const work = () => [...attackFindings().map((f) => ({ finding: f, input: null, severity: f.severity, next: { ja: '攻撃の画面で緩和の案を確かめる', en: 'Look at the proposals on its page' } })), ...routeFindings().map((f) => ({ finding: f, input: null, severity: f.severity, next: { ja: '本来の経路と比べ、連絡先と設定案を確かめる', en: 'Compare it with the usual path; whom to call and what to filter is on its page' } })), ...d.work()].sort((a, b) => a.severity - b.severity);

const status = () => ({
  now: d.iso(Date.now()), data_time: d.iso(d.dataNow()), demo: true, speed: 60, roles: ['admin'], inputs: d.inputs(),
  dark: { v4_addresses: 65536, v4_prefixes: 2, v6_prefixes: 1, hit: 65204 }, store: { bytes: 412_000_000, path_shown: false },
  floor: { rsdos_pps: 32800, note: { ja: '一様な詐称を仮定', en: 'assumes evenly forged sources' } },
  attribution: ['Geography: synthetic (mock)'],
});

const series = (q, from, to) => {
  const dim = q.get('dim') || 'total';
  const key = q.get('key') || '';
  const grain = d.grainOf(q.get('grain'), from, to);
  const item = d.dims[dim]?.find((i) => i.key === key) ?? { key, name: '', weight: 0.004 };
  const points = d.points(dim, item, from, to, grain);
  const previous = q.get('previous') ? d.points(dim, item, from - (to - from), from, grain) : null;
  const gaps = from < d.silent[1] && to > d.silent[0] ? [{ from: d.iso(d.silent[0]), to: d.iso(d.silent[1]), input: 'demo-day', reason: 'restart', dropped: 0 }] : [];
  return { state: points.some((p) => p.packets) ? 'ok' : points.length ? 'zero' : 'none', reason: points.length ? null : { ja: 'この期間は観測していません。', en: 'The telescope did not look in this period.' }, grain, dim, key, name: item.name, points, previous, gaps, dark_addresses: 65536 };
};
const top = (q, from, to) => {
  const dim = q.get('dim');
  const all = d.total(from, to);
  const by = q.get('order') === 'sources' ? (r) => r.sources.n : (r) => r.packets;
  const rows = d.dims[dim].map((i) => d.row(dim, i, from, to, all.packets)).sort((a, b) => by(b) - by(a)).slice(0, Number(q.get('limit') || 50));
  return { state: all.packets ? 'ok' : 'none', reason: { ja: 'この期間は観測していません。', en: 'The telescope did not look in this period.' }, total: all, rows, next: null };
};
const heat = (from, to, n) => {
  const hours = [];
  for (let t = Math.floor(from / d.HOUR) * d.HOUR; t < Math.min(to, d.dataNow()); t += d.HOUR) hours.push(t);
  const ports = d.ports.slice(0, n);
  const packets = ports.map((p) => hours.map((t) => (t < d.began ? -1 : (d.points('port', p, t, t + 1, 'hour')[0]?.packets ?? 0))));
  return { state: hours.length ? 'ok' : 'none', hours: hours.map(d.iso), ports: ports.map(({ key, name }) => ({ key, name })), packets, sources: packets.map((r) => r.map((v) => Math.round(Math.max(0, v) ** 0.76))) };
};
const reference = [[2015, 54.51e9, 280000], [2016, 128.1e9, 300000], [2017, 150.4e9, 300000], [2018, 212.1e9, 300000], [2019, 327.9e9, 300000], [2020, 500.1e9, 300000], [2021, 518e9, 290000], [2022, 522.6e9, 290000], [2023, 619.7e9, 290000], [2024, 686.2e9, 284000], [2025, 701e9, 280000]].map(
  ([year, packets, dark_addresses]) => ({ year, packets, dark_addresses, published: `${year + 1}-02-10`, source: 'NICT' }),
);
const years = () => ({
  state: 'ok', iot_table: { dated: '2026-10-01', ports: ['23/tcp', '2323/tcp', '5555/tcp', '7547/tcp', '37215/tcp'] }, reference,
  years: [2024, 2025, 2026].map((year, i) => ({ year, packets: [1.48e11, 1.59e11, 1.31e11][i], iot_share: [0.31, 0.34, 0.38][i], per_dark_address: [2.26e6, 2.43e6, 2.2e6][i], factor: [null, 1.075, 0.905][i], partial: i === 2 })),
});
const day = (to) => {
  const from = Math.floor((to + 9 * d.HOUR) / d.DAY) * d.DAY - 9 * d.HOUR;
  return { ...d.total(from, to), from: d.iso(from), to: d.iso(to) };
};
const address = (ip) => {
  const own = ip.endsWith('x') || ip.startsWith('192.0.2.');
  const events = d.events(8, 40).map((e) => ({ ...e, source: ip }));
  const from = d.dataNow() - d.DAY;
  const rows = d.ports.slice(0, 6).map((p) => d.row('port', { ...p, weight: p.weight / 900 }, from, d.dataNow(), 4e5));
  return {
    state: 'ok', address: own ? ip.replace(/\.\d+$/, '.x') : ip, own, place: { country: 'NL', asn: 64501, as_name: 'Example Network 6', lat: 52.3, lon: 4.9, estimated: true }, research: ip === '198.51.100.7' ? { name: 'Example Survey', url: 'https://survey.example/' } : null,
    first: events[0].first, last: events[0].last, packets: 18211, ports: rows, tools: [{ tool: 'zmap', versions: '4.1.0 (2024-03-21) or later' }], events, findings: d.findings().filter((f) => f.subject === ip), series: d.points('as', { key: ip, weight: 0.00005 }, from, d.dataNow(), 'hour'),
  };
};
const problem = (res, code, status, detail) => {
  res.writeHead(status, { 'Content-Type': 'application/problem+json' });
  res.end(JSON.stringify({ title: code, status, detail, code, request_id: 'mock-1' }));
};
const body = async (req) => {
  let n = 0;
  let text = '';
  for await (const c of req) {
    n += c.length;
    if (n < 1e6) text += c;
  }
  return { n, text };
};
const run = (job) => {
  const timer = setInterval(() => {
    if (job.state !== 'running') return clearInterval(timer);
    job.bytes = Math.min(job.bytes_total, job.bytes + job.bytes_total / 12);
    job.packets = Math.round(job.bytes / 70);
    job.rate = 812_000;
    job.eta = d.iso(Date.now() + 4000);
    if (job.bytes >= job.bytes_total) Object.assign(job, { state: 'done', eta: null, result: { from: '2026-11-20T00:00:00Z', to: '2026-11-21T00:00:00Z' } });
    send('job', job);
  }, 400);
};
const flat = (o) => Object.values(o).map((v) => (v && typeof v === 'object' ? (v.n ?? JSON.stringify(v)) : v));

async function api(req, res, path, q, token) {
  const to = Date.parse(q.get('to') ?? '') || d.dataNow();
  const from = Date.parse(q.get('from') ?? '') || to - d.DAY;
  if (token && path !== '/session' && path !== '/version' && path !== '/signin' && !req.headers.cookie?.includes(`sakimori=${token}`)) return problem(res, 'unauthenticated', 401, 'log in');
  let m;
  let out;
  if (path === '/session') {
    if (req.method === 'POST') {
      const given = JSON.parse((await body(req)).text || '{}').token;
      if (token && given !== token) return problem(res, 'wrong-token', 401, 'wrong token');
      res.setHeader('Set-Cookie', `sakimori=${given}; HttpOnly; SameSite=Strict; Path=/`);
    } else if (token && !req.headers.cookie?.includes(`sakimori=${token}`)) return problem(res, 'unauthenticated', 401, 'log in');
    out = { roles: ['admin'], user: 'demo', person: true };
  } else if (path === '/signin') out = { password: !token, issuers: [] };
  else if (path === '/account') out = { user: d.users()[0] };
  else if (path === '/users' && req.method === 'GET') out = { state: 'ok', rows: d.users() };
  else if (/^\/(account\/)?(tokens|sessions)$/.test(path) && req.method === 'GET') out = { state: 'ok', rows: d.tokens() };
  else if (path === '/version') out = { version: '0.1.0-mock', commit: '0000000', go: 'go1.26' };
  else if (path === '/status') out = status();
  else if (path === '/situation') {
    const now = d.dataNow();
    out = { state: 'ok', today: day(now), last_week: day(now - 7 * d.DAY), work: work(), inputs: d.inputs() };
  } else if (path === '/telescope/series') out = series(q, from, to);
  else if (path === '/telescope/top') out = top(q, from, to);
  else if (path === '/telescope/rising')
    out = { state: 'ok', rows: [['2323/tcp', 6.4, false], ['37215/tcp', 3.9, false], ['49152/udp', 3.3, true], ['8291/tcp', 2.7, true], ['5555/tcp', 2.2, false]].map(([key, f, isNew], i) => ({ key, name: d.ports.find((p) => p.key === key)?.name ?? '', packets: Math.round(1_640_210 / (i + 1)), sources: d.unique(9812 / (i + 1)), expected: isNew ? 0 : Math.round(1_640_210 / (i + 1) / f), score: f * 2.2, new: isNew })) };
  else if (path === '/telescope/heat') out = heat(from, to, Number(q.get('ports') || 12));
  else if (path === '/telescope/years') out = years();
  else if (path === '/telescope/events') {
    const at = Number(q.get('cursor') || 0);
    out = { state: 'ok', rows: d.events(Number(q.get('limit') || 50), at * 100), next: at < 3 ? String(at + 1) : null };
  } else if ((m = /^\/address\/(.+)$/.exec(path))) out = address(decodeURIComponent(m[1]));
  else if (path === '/findings') out = { state: 'ok', rows: findings(), next: null };
  else if ((m = /^\/findings\/([^/]+)$/.exec(path))) {
    const f = findings().find((x) => x.id === m[1]);
    if (!f) return problem(res, 'not-found', 404, 'no such finding');
    out = { finding: f, history: [{ ...f, state: 'opened', changed: f.opened }, f] };
  } else if ((m = /^\/findings\/([^/]+)\/ack$/.exec(path)) && req.method === 'POST') {
    const { note = '' } = JSON.parse((await body(req)).text || '{}');
    out = { by: 'demo', at: d.iso(Date.now()), note };
    d.acks.set(m[1], out);
  } else if (path === '/jobs') out = { rows: [...jobs.values()] };
  else if (path === '/imports' && req.method === 'POST') {
    const { n } = await body(req);
    out = { id: `j${jobs.size + 1}`, kind: 'import', file: q.get('name') ?? 'capture', state: 'running', bytes: 0, bytes_total: Math.max(n, 1), packets: 0, rate: 0, started: d.iso(Date.now()), eta: null, message: null, result: null };
    jobs.set(out.id, out);
    run(out);
    res.statusCode = 202;
  } else if ((m = /^\/jobs\/([^/]+)\/(stop|resume)$/.exec(path)) && jobs.has(m[1])) {
    out = jobs.get(m[1]);
    out.state = m[2] === 'stop' ? 'stopped' : 'running';
    if (out.state === 'running') run(out);
    send('job', out);
  } else if (path === '/stream') {
    res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    res.write(': hello\n\n');
    streams.add(res);
    req.on('close', () => streams.delete(res));
    return;
  } else {
    const { text = '' } = req.method === 'POST' ? await body(req) : {};
    const given = text.startsWith('{') ? JSON.parse(text) : {};
    out = attacks(req.method, path, q, given) ?? routes(req.method, path, q, given) ?? flows(req.method, path, q, given) ?? policy(req.method, path, q, given, text) ?? office(req.method, path, q, given);
    if (!out) return problem(res, 'not-found', 404, 'no such route');
    if (out.refusal) return problem(res, out.refusal.code, out.refusal.status, req.headers['accept-language']?.startsWith('ja') ? out.refusal.ja : out.refusal.en);
    if (out.file) {
      res.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Disposition': 'attachment; filename="sakimori-ledger"' });
      return res.end(out.file);
    }
  }
  if (q.get('format') === 'csv') {
    const rows = out.rows ?? out.points ?? out.cases ?? out.entries ?? out.proofs ?? out.days ?? out.attacks ?? out.exporters ?? out.incidents ?? out.lanes ?? out.routes ?? [];
    res.writeHead(200, { 'Content-Type': 'text/csv; charset=utf-8', 'Content-Disposition': 'attachment; filename="sakimori.csv"' });
    return res.end([Object.keys(rows[0] ?? { none: 0 }).join(','), ...rows.map((r) => flat(r).join(','))].join('\r\n') + '\r\n');
  }
  res.setHeader('Content-Type', 'application/json');
  res.end(JSON.stringify(out));
}

function file(res, path) {
  let name = join(dist, normalize(path));
  if (!name.startsWith(dist) || !existsSync(name) || statSync(name).isDirectory()) name = join(dist, 'index.html');
  if (!existsSync(name)) name = join(dist, 'placeholder.html');
  res.writeHead(200, { 'Content-Type': types[extname(name)] ?? 'application/octet-stream', 'Content-Security-Policy': "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; frame-src blob:; object-src blob:", 'Cache-Control': 'no-store' });
  createReadStream(name).pipe(res);
}

const pick = (list) => {
  let r = Math.random() * list.reduce((a, x) => a + x.weight, 0);
  return list.find((x) => (r -= x.weight) <= 0) ?? list[0];
};
const weights = [0.71, 0.085, 0.05, 0.14, 0.012, 0.003].map((weight, i) => ({ weight, i }));
function frame() {
  if (!streams.size) return;
  const pps = Math.round(4981 * (0.93 + Math.random() * 0.14));
  const arcs = Array.from({ length: 60 }, (_, i) => {
    const c = pick(d.countries);
    const spread = () => (Math.random() + Math.random() - 1) * 7;
    return [c.lat + spread(), c.lon + spread() * 1.4, i % 10 === 0 ? Math.floor(Math.random() * 6) : pick(weights).i, Math.ceil(pps / 600)];
  });
  send('map', { time: d.iso(d.dataNow()), sampled: true, shown: 60, total_pps: pps, arcs, by_proto: weights.map((w) => Math.round(pps * w.weight)), hosts: 2114 });
}

/** Serves until the server that it returns is closed. */
export function serve(port, token = process.env.SAKIMORI_TOKEN ?? '') {
  news(send);
  routeNews(send);
  setInterval(frame, 100).unref();
  setInterval(() => send('status', status()), 1000).unref();
  setInterval(() => streams.forEach((s) => s.write(': hb\n\n')), 15_000).unref();
  return createServer((req, res) => {
    const u = new URL(req.url, 'http://x');
    const given = u.searchParams.get('token');
    if (u.pathname === '/' && given) {
      if (given === token) res.setHeader('Set-Cookie', `sakimori=${given}; HttpOnly; SameSite=Strict; Path=/`);
      res.writeHead(303, { Location: '/' });
      return res.end();
    }
    const path = /^\/(session|signin|version)$/.test(u.pathname) ? u.pathname : u.pathname.startsWith('/api/v1/') ? u.pathname.slice(7) : null;
    if (path) api(req, res, path, u.searchParams, token).catch((e) => problem(res, 'internal', 500, String(e)));
    else file(res, u.pathname);
  }).listen(port, '127.0.0.1', () => console.log(`mock on http://127.0.0.1:${port}/`));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) serve(Number(process.env.PORT ?? 8631));
