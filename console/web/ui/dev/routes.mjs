// Routes for the mock: a leak of the kind of 25 August 2017 under way (160,000
// more-specifics, 25,000 of them ours), an outage, and what ended: a hijack of an own /24,
// a blackhole that escaped, older leaks. Each is a function of its time, so that list,
// page, picture and stream agree. AS numbers and prefixes are of documentation and
// benchmark ranges.
import { HOUR, MINUTE, acks, dataNow, hash, iso } from './data.mjs';
import { announce, drill, feeds, neighbors, readiness, remedies, remedyOf, watched } from './routes-desk.mjs';

const SECOND = 1000;
const began = dataNow();
const text = (ja, en) => ({ ja, en });
export const names = { 64496: 'Overseas Operator X', 64497: 'Carrier P', 64498: 'Transit Q', 64499: 'Transit R', 64500: 'Example Telecom A', 64501: 'Example Telecom B', 64502: 'Example Bank', 64503: 'Regional S', 64504: 'Content T', 65536: 'Example Hosting Z', 65540: 'Collector Tokyo', 65541: 'Collector Frankfurt', 65542: 'Collector Chicago', 65543: 'Collector Singapore' };
const n = (x) => x.toLocaleString('en-US');

// ---- incidents

const lane = (prefix, cover, usual, is, share) => ({ prefix, cover, usual, is, share });
const own = (prefix, name, prefixes, addresses) => ({ prefix, name, prefixes, addresses });
const ramp = (s, most, over) => Math.round(most * Math.min(1, Math.max(0, s) / over) ** 0.8);
const kinds = [
  {
    id: 'incident-0c41', kind: 'leak', form: 'type 4', also: ['more-specific'], opened: began - 9 * MINUTE, delay: 21.4, closed: null, severity: 1, confidence: 0.98, leaker: 64496, from: 0, to: 64497, adjacency: '64497-64496',
    most: 160_000, over: 480, seen: 38, whole: 41, more: 0.966, addresses: 9.4e6, networks64: 24_488 * 65_536, origins: [64500, 64501, 64503, 64504], expected: [64500, 64501, 64503, 64504],
    own: [own('2001:db8:4000::/34', '', 24_262, 0), own('198.18.0.0/15', '', 512, 131_072), own('203.0.113.0/24', 'Example Bank', 226, 256)],
    title: text('AS64496 が他社の経路を AS64497 へ漏らしている', 'AS64496 leaks others’ routes to AS64497'),
    why: text('中継しないはずの AS64496 が AS64497 と各広告元の間に現れ、8 分で 160,000 の細かい経路が新しく見えました。うち 25,000 は自網と顧客の範囲です。隣接 64497–64496 の経路数は 30 日の最大 142 の 1,126 倍です。', 'AS64496, which gives no transit, stands between AS64497 and the origins; 160,000 more-specifics came up within 8 minutes, 25,000 of them of our own and customers’ space. The adjacency 64497–64496 carries 1,126 times its 30-day maximum of 142.'),
    signals: [['unexpected-transit', 0.92, 160_000, text('AS64496 は中継しない AS の一覧(2026-10-01)にあり、過去 30 日にも AS64497 へ中継していません。', 'AS64496 is on the list of ASes that give no transit (2026-10-01), and gave none to AS64497 in 30 days.')], ['more-specific-burst', 0.88, 154_560, text('60 秒で新しい細かい経路 22,410。過去 7 日の 99 パーセンタイルは 31 です。', '22,410 new more-specifics in 60 s; the 99th percentile of 7 days is 31.')], ['adjacency-jump', 0.85, 160_000, text('隣接 64497–64496 の経路数 160,000、30 日の最大は 142。', 'The adjacency 64497–64496 carries 160,000 prefixes; its 30-day maximum is 142.')], ['rov-invalid-length', 0.6, 25_000, text('自網の ROA の最大長を超える経路 25,000。', '25,000 prefixes are longer than our ROAs allow.')]],
    lanes: [lane('2001:db8:4001::/48', '2001:db8:4000::/34', [65540, 64498, 64500], [65540, 64497, 64496, 64500], 0.086), lane('2001:db8:4a02::/48', '2001:db8:4000::/34', [65541, 64499, 64500], [65541, 64499, 64497, 64496, 64500], 0.07), lane('203.0.113.0/25', '203.0.113.0/24', [65540, 64498, 64500, 64502], [65540, 64497, 64496, 64500, 64502], 0.0014), lane('2001:db8:c001::/48', '2001:db8:c000::/34', [65542, 64499, 64501, 64501], [65542, 64497, 64496, 64501, 64501], 0.39), lane('2001:db8:8001::/48', '2001:db8:8000::/34', [65543, 64503], [65543, 64498, 64497, 64496, 64503], 0.27), lane('2001:db8:9001::/48', '2001:db8:9000::/36', [65542, 64504], [65542, 64497, 64496, 64504], 0.18)],
    whose: [['AS64501', 0.39], ['AS64503', 0.27], ['AS64504', 0.184], ['AS64500', 0.1548], ['AS64502', 0.0014]],
  },
  {
    id: 'incident-0c42', kind: 'outage', form: '', also: [], opened: began - 26 * MINUTE, delay: 34, closed: null, severity: 2, confidence: 0.91, leaker: 0, from: 0, to: 0, adjacency: '',
    most: 2, over: 60, seen: 36, whole: 41, more: 0, addresses: 512, networks64: 0, origins: [64502], expected: [64502], own: [own('192.0.2.0/24', 'Example Bank', 1, 256), own('198.51.100.0/24', 'Example Bank', 1, 256)],
    title: text('192.0.2.0/24 ほか 1 経路が見えなくなった', '192.0.2.0/24 and one more can’t be seen any more'),
    why: text('全経路をもつ 41 の観測点のうち 36 で取り消されました。残りは 12 % で、見えないとみなす線(20 %)を下回ります。', '36 of 41 vantage points with a whole table withdrew it. What is left, 12 %, is below the line of 20 %.'),
    signals: [['visibility', 0.91, 2, text('見える観測点 41 → 5。', 'Seen by 41, now by 5.')]],
    lanes: [lane('192.0.2.0/24', undefined, [65540, 64498, 64500, 64502], [], 0.5), lane('198.51.100.0/24', undefined, [65541, 64499, 64500, 64502], [], 0.5)],
    whose: [['AS64502', 1]],
  },
  {
    id: 'incident-0c40', kind: 'hijack', form: 'exact', also: [], opened: began - 5.4 * HOUR, delay: 9.2, lasts: 22 * MINUTE, severity: 1, confidence: 0.97, leaker: 65536, from: 0, to: 64499, adjacency: '64499-65536',
    most: 1, over: 20, seen: 19, whole: 41, more: 0, addresses: 256, networks64: 0, origins: [65536], expected: [64500], own: [own('203.0.113.0/24', '', 1, 256)],
    title: text('AS65536 が自網の 203.0.113.0/24 を広告した', 'AS65536 announced our 203.0.113.0/24'),
    why: text('広告元が登録の AS64500 と違い、ROA でも無効です。41 の観測点のうち 19 で見えました。22 分で取り消され、元の経路に戻ったことを確かめました。', 'The origin isn’t the configured AS64500, and invalid by ROA. 19 of 41 vantage points saw it. It was withdrawn after 22 minutes, and the usual paths came back.'),
    signals: [['origin-change', 0.95, 1, text('広告元 AS65536、本来は AS64500。', 'Origin AS65536, expected AS64500.')], ['rov-invalid', 0.8, 1, text('ROA に反します(AS64500、最大長 24)。', 'Against the ROA (AS64500, up to /24).')]],
    lanes: [lane('203.0.113.0/24', undefined, [65541, 64499, 64500], [65541, 64499, 65536], 1), lane('203.0.113.0/24', undefined, [65543, 64503, 64499, 64500], [65543, 64503, 64499, 65536], 1)], whose: [['AS64500', 1]],
  },
  {
    id: 'incident-0c3f', kind: 'blackhole', form: '', also: [], opened: began - 8.1 * HOUR, delay: 12, lasts: 47 * MINUTE, severity: 3, confidence: 0.83, leaker: 64503, from: 64502, to: 64499, adjacency: '64499-64503',
    most: 1, over: 10, seen: 6, whole: 41, more: 1, addresses: 1, networks64: 0, origins: [64502], expected: [64502], own: [own('192.0.2.0/24', 'Example Bank', 1, 1)],
    title: text('廃棄用の 192.0.2.7/32 が AS64503 の外へ出た', 'The blackhole route 192.0.2.7/32 left AS64503'), why: text('コミュニティ 65535:666 のついた /32 が、AS64503 の外の 6 つの観測点で見えました。', 'A /32 with the community 65535:666 was seen by 6 vantage points beyond AS64503.'),
    signals: [['blackhole-out-of-place', 0.83, 1, text('65535:666 のついた /32。', 'A /32 with 65535:666.')]], lanes: [lane('192.0.2.7/32', '192.0.2.0/24', [65541, 64499, 64503, 64502], [65541, 64499, 64503, 64502], 1)], whose: [['AS64502', 1]],
  },
  ...Array.from({ length: 5 }, (_, i) => ({
    id: `incident-0c3${i}`, kind: ['leak', 'bogon', 'leak', 'hijack', 'leak'][i], form: ['type 1', 'prefix', 'type 2', 'squatting', ''][i], also: [], opened: began - (10 + i * 2.6) * HOUR, delay: 14 + i * 7, lasts: (6 + i * 11) * MINUTE, quiet: i === 2, severity: 3, confidence: 0.78 + i * 0.03, leaker: [64503, 65536, 64501, 65536, 64504][i], from: 64499, to: 64498, adjacency: `64498-${[64503, 65536, 64501, 65536, 64504][i]}`,
    most: [412, 3, 1208, 2, 57][i], over: 90, seen: 9 + i * 4, whole: 41, more: 0.1, addresses: 1e5 / (i + 1), networks64: 0, origins: [64499], expected: [64499], own: [], title: text(`隣接 64498–${[64503, 65536, 64501, 65536, 64504][i]} の経路の異常`, `Routes out of place on the adjacency 64498–${[64503, 65536, 64501, 65536, 64504][i]}`), why: text('対等の経路が上流へ渡されました。', 'Routes of a peer were passed on to a provider.'),
    signals: [['valley', 0.8, 400, text('取引関係に反する谷。', 'A valley against the relations.')]], lanes: [lane('198.19.0.0/20', undefined, [65540, 64498, 64499], [65540, 64498, [64503, 65536, 64501, 65536, 64504][i], 64499], 1)], whose: [['AS64499', 1]],
  })),
].map((k) => ({ ...k, closed: k.lasts ? k.opened + k.lasts : null }));

/** How many prefixes are routed so at a time. */
const size = (k, t) => {
  if (t < k.opened || (k.closed && t >= k.closed)) return 0;
  const full = ramp((t - k.opened) / SECOND, k.most, k.over);
  return k.most > 1000 && full === k.most ? Math.round(full * (1 - 0.012 * hash(k.id, Math.floor(t / (20 * SECOND))))) : full;
};
const row = (k) => {
  const now = dataNow();
  const ack = acks.get(k.id) ?? (k.closed ? { by: 'kato', at: iso(k.closed), note: '' } : null);
  const part = Math.min(1, ramp((Math.min(now, k.closed ?? now) - k.opened) / SECOND, k.most, k.over) / k.most);
  const total = Math.round(k.most * part);
  return {
    id: k.id, state: k.closed ? 'closed' : 'changed', kind: k.kind, form: k.form, also: k.also, opened: iso(k.opened), detected: new Date(k.opened + k.delay * SECOND).toISOString(), changed: iso(k.closed ?? now), last: iso(Math.min(now, k.closed ?? now)), closed: k.closed ? iso(k.closed) : null, restored: !!k.closed && !k.quiet, waves: 1,
    severity: k.severity, confidence: k.confidence, title: k.title, why: k.why, signals: k.signals.map(([name, score, count, words]) => ({ name, score, count: Math.round(count * part), words })),
    leaker: k.leaker, leaker_name: names[k.leaker] ?? '', from: k.from, from_name: names[k.from] ?? '', to: k.to, to_name: names[k.to] ?? '', adjacency: k.adjacency, origins: k.origins, expected: k.expected,
    prefixes: { n: total, error: 0 }, now: size(k, now), peak: total, more_specific: Math.round(total * k.more), addresses: k.addresses * part, networks64: k.networks64 * part, own: k.own.map((o) => ({ ...o, prefixes: Math.max(1, Math.round(o.prefixes * part)), addresses: Math.round(o.addresses * part) })), seen: k.seen, whole: k.whole, ack, ...remedyOf(k.id),
  };
};
const lanesAt = (k, t) => {
  const big = Math.max(size(k, t), k.closed && t >= k.closed ? 0 : 1);
  const on = t >= k.opened && !(k.closed && t >= k.closed);
  return k.lanes.map((l) => ({ prefix: l.prefix, ...(l.cover ? { cover: l.cover } : {}), peer: l.usual[0], usual: l.usual, is: on ? l.is : l.usual, routes: Math.max(1, Math.round(big * l.share)), first: iso(k.opened + 4000), ...(k.closed ? { last: iso(k.closed) } : {}) }));
};

// ---- messages: a BGP UPDATE with its header, and the same as text

const bytes = (x, width) => Array.from({ length: width }, (_, i) => Math.floor(x / 256 ** (width - 1 - i)) % 256);
const attribute = (flags, type, value) => [flags, type, value.length, ...value];
const update = (path, v4, hop) => {
  const attributes = [...attribute(0x40, 1, [0]), ...attribute(0x40, 2, [2, path.length, ...path.flatMap((as) => bytes(as, 4))]), ...attribute(0x40, 3, hop)];
  const [address, length] = v4.split('/');
  const nlri = [Number(length), ...address.split('.').map(Number).slice(0, Math.ceil(Number(length) / 8))];
  const body = [0, 0, ...bytes(attributes.length, 2), ...attributes, ...nlri];
  return Buffer.from([...Array(16).fill(255), ...bytes(19 + body.length, 2), 2, ...body]).toString('base64');
};
const evidence = (k) => k.lanes.filter((l) => l.is.length).map((l, i) => {
  const v4 = l.prefix.includes(':') ? `198.18.${i * 4 + 1}.0/24` : l.prefix;
  const at = k.opened + (4 + i * 3) * SECOND;
  return { at: iso(at), peer: l.is[0], address: `192.0.2.${20 + i}`, feed: ['edge1', 'rrc06'][i % 2], raw: update(l.is, v4, [192, 0, 2, 20 + i]), text: [`BGP4MP|${Math.floor(at / SECOND)}|A|192.0.2.${20 + i}|${l.is[0]}|${v4}|${l.is.join(' ')}|IGP|192.0.2.${20 + i}|0|0||NAG||`] };
});
const hits = (k, from, count) => {
  const kept = Math.min(k.most, 4096);
  return Array.from({ length: Math.max(0, Math.min(count, kept - from)) }, (_, j) => {
    const i = from + j;
    const mine = k.own.length > 0 && i < Math.min(kept, k.own.reduce((a, o) => a + o.prefixes, 0));
    const big = k.most > 1000;
    const prefix = !big ? (k.lanes[i % k.lanes.length]?.prefix ?? '198.19.0.0/20') : i < 226 ? `203.0.113.${(i * 8) % 256}/29` : i < 738 ? `198.${18 + (i - 226 >= 256 ? 1 : 0)}.${(i - 226) % 256}.0/24` : `2001:db8:${(0x4000 + i).toString(16)}::/48`;
    const cover = !big ? k.lanes[0].cover : i < 226 ? '203.0.113.0/24' : i < 738 ? '198.18.0.0/15' : '2001:db8:4000::/34';
    return { prefix, origin: k.kind === 'hijack' ? k.leaker : i < 226 && big ? 64502 : (k.expected[0] ?? 0), expected: k.expected.slice(0, 1), ...(cover ? { cover } : {}), rov: k.kind === 'hijack' ? 'invalid' : big && mine ? 'invalid-length' : ['not-found', 'valid', 'not-found'][i % 3], first: iso(k.opened + Math.floor(hash(k.id, i) * Math.min(k.over, 480)) * SECOND), ...(k.closed ? { gone: iso(k.closed - Math.floor(hash('g', i) * 60) * SECOND) } : {}), own: mine };
  });
};
const course = (k, step) => {
  const unit = step * SECOND;
  const end = Math.min(dataNow(), (k.closed ?? Infinity) + 2 * MINUTE);
  const points = [];
  for (let t = Math.floor((k.opened - MINUTE) / unit) * unit; t < end && points.length < 4000; t += unit) {
    const [a, b] = [size(k, t), size(k, Math.min(t + unit, end))];
    points.push({ at: Math.floor(t / SECOND), prefixes: b, announced: Math.max(0, b - a) + (b > 1000 ? Math.round(b * 0.002 * hash(k.id, t)) : 0), withdrawn: Math.max(0, a - b), peers: b ? Math.round(k.seen * Math.min(1, 0.2 + b / k.most)) : 0 });
  }
  return { step, points };
};
const steps = (k) => [
  { at: iso(k.opened + k.delay * SECOND), step: 'opened', prefixes: ramp(k.delay, k.most, k.over), peers: 3, words: text('最初の更新から判明しました。', 'Named from its first updates.') },
  ...(k.most > 1000 ? [{ at: iso(k.opened + 90 * SECOND), step: 'grown', prefixes: ramp(90, k.most, k.over), peers: 21, words: text('1 分で 2 倍を超えて増えました。', 'More than doubled within a minute.') }, { at: iso(k.opened + 300 * SECOND), step: 'peer', prefixes: ramp(300, k.most, k.over), peers: k.seen, words: text('観測点が 38 に増えました。', 'Seen by 38 vantage points.') }] : []),
  ...(k.closed ? [{ at: iso(k.closed), step: k.quiet ? 'closed' : 'restored', prefixes: 0, peers: k.seen, words: k.quiet ? text('300 秒、経路を聞いていません。', 'No routes heard of for 300 s.') : text('元の経路に戻りました。', 'The usual paths are back.') }] : []),
];
const impact = (k) => {
  const base = { from: iso(k.opened - 10 * MINUTE), to: iso(Math.min(dataNow(), k.closed ?? Infinity)), addresses: k.addresses, networks64: k.networks64, customers: [], links: [] };
  if (k.id !== 'incident-0c41') return { known: false, why: text('この範囲を通るフローの入力がないため、アドレス数だけを示します。', 'No flows pass here: only addresses can be counted.'), ...base };
  const m = (x, e) => ({ n: x, error: e });
  return { known: true, why: text('フロー(標本 1/1,000)から、障害の前 10 分と障害中を比べました。', 'From flows sampled 1 in 1,000: ten minutes before, beside the time of the incident.'), ...base, links: [{ exporter: 1, interface: 14, name: 'Transit B (AS64498)', capacity: 1e11, before: m(3.1e10, 4e8), during: m(9.7e10, 9e8), full: 0.97, moved: true }, { exporter: 1, interface: 12, name: 'IX A', capacity: 2e11, before: m(1.42e11, 1.1e9), during: m(7.9e10, 8e8), full: 0.395, moved: true }, { exporter: 2, interface: 7, name: 'Transit C (AS64499)', capacity: 0, before: m(2.4e10, 4e8), during: m(2.5e10, 4e8), full: null, moved: false }], customers: [{ name: 'Example Bank', prefix: '203.0.113.0/24', before: m(4.2e9, 8e7), during: m(1.1e9, 4e7), change: -0.738 }, { name: '', prefix: '198.18.0.0/15', before: m(9.8e10, 9e8), during: m(6.1e10, 7e8), change: -0.378 }, { name: 'Example University', prefix: '198.51.100.0/24', before: m(2.1e9, 6e7), during: m(2.2e9, 6e7), change: 0.048 }] };
};

// ---- the routes of the API

const refusal = (status, code, ja, en) => ({ refusal: { status, code, ja, en } });
const asked = (k, q) => !q || [k.adjacency, k.id, ...k.own.flatMap((o) => [o.prefix, o.name]), ...k.lanes.map((l) => l.prefix), `as${k.leaker}`, `${k.leaker}`, `as${k.to}`, `${k.to}`].some((x) => x.toLowerCase().startsWith(q.toLowerCase()));
const list = (q) => {
  const [from, to] = [Date.parse(q.get('from') ?? ''), Date.parse(q.get('to') ?? '')];
  const fits = kinds.filter((k) => (!q.get('state') || (q.get('state') === 'open') === !k.closed) && (!q.get('kind') || k.kind === q.get('kind')) && (q.get('own') !== 'true' || k.own.length) && asked(k, q.get('q') ?? '') && !(k.closed && k.closed < from) && !(k.opened >= to)).sort((a, b) => b.opened - a.opened);
  const at = Number(q.get('cursor') || 0);
  const most = Math.min(500, Number(q.get('limit') || 100));
  return { incidents: fits.slice(at, at + most).map(row), next: at + most < fits.length ? String(at + most) : null, running: kinds.filter((k) => !k.closed).length, data_time: iso(dataNow()), sources: 4 };
};
const show = (q) => {
  const prefix = q.get('prefix');
  const at = Date.parse(q.get('at') ?? '') || dataNow();
  const k = kinds[0];
  const on = at >= k.opened;
  const [usual, is] = [[[65540, 64498, 64500], [65541, 64499, 64500], [65542, 64499, 64500], [65543, 64503, 64499, 64500]], [[65540, 64497, 64496, 64500], [65541, 64499, 64497, 64496, 64500], [65542, 64497, 64496, 64500], [65543, 64503, 64498, 64497, 64496, 64500]]];
  const known = /^(198\.1[89]|2001:db8|203\.0\.113|192\.0\.2|198\.51\.100)/.test(prefix);
  const routes = !known ? [] : [...(on ? is : usual).map((path, i) => ({ prefix, match: 'exact', peer_as: path[0], peer: `192.0.2.${20 + i}`, feed: i % 2 ? 'rrc06' : 'edge1', view: i % 2 ? 'collector' : 'adj-rib-in', path, origin: 64500, rov: on ? 'invalid-length' : 'valid', aspa: 'unknown', communities: ['64500:100'], otc: i === 1 ? 64499 : null, since: iso(on ? k.opened + (4 + i * 3) * SECOND : k.opened - 40 * HOUR), usual: !on })), { prefix: prefix.includes(':') ? '2001:db8::/32' : '198.18.0.0/15', match: 'cover', peer_as: 65540, peer: '192.0.2.20', feed: 'edge1', view: 'adj-rib-in', path: [65540, 64498, 64500], origin: 64500, rov: 'valid', aspa: 'valid', communities: [], otc: null, since: iso(began - 41 * HOUR), usual: true }];
  const history = known ? is.map((path, i) => ({ at: iso(k.opened + (4 + i * 3) * SECOND), peer_as: path[0], peer: `192.0.2.${20 + i}`, feed: i % 2 ? 'rrc06' : 'edge1', kind: i % 3 ? 'announced' : 'changed', path, was: i % 3 ? [] : usual[i] })).filter((h) => Date.parse(h.at) <= at).reverse() : [];
  return { prefix, at: iso(at), now: !q.get('at'), kept: { from: iso(began - 7 * 24 * HOUR), to: iso(dataNow()) }, routes, history, incidents: known && on ? [k.id] : [], names };
};

/** Answers a route below /routes, or gives undefined. */
export const routes = (method, path, q, given) => {
  let p;
  if (path === '/routes/incidents') return list(q);
  if (path === '/routes/show') return show(q);
  if (path === '/routes/watched') return watched(kinds[0].id, kinds[1].id);
  if (path === '/routes/neighbors') return neighbors(kinds[0].id);
  if (path === '/routes/feeds') return feeds();
  if (path === '/routes/readiness') return readiness();
  if ((p = /^\/routes\/drill(?:\/([^/]+))?$/.exec(path))) return drill(method, p[1], given, () => row(kinds[0]));
  if ((p = /^\/routes\/acts\/([^/]+)\/(approve|reject|withdraw)$/.exec(path)) && method === 'POST') return announce.act(p[1], p[2], given.why);
  if (!(p = /^\/routes\/incidents\/([^/]+)(?:\/(prefixes|course|lanes|impact|remedies|announce))?$/.exec(path))) return undefined;
  const k = kinds.find((x) => x.id === p[1]);
  if (!k) return refusal(404, 'not_found', 'この障害はありません。', 'There is no such incident.');
  if (!p[2]) return { incident: { ...row(k), sample: hits(k, 0, 256), whose: k.whose.map(([key, share]) => ({ key, share, packets: Math.round(share * k.most), bits: 0 })), peers: k.lanes.map((l, i) => ({ peer: i + 1, feed: ['edge1', 'rrc06'][i % 2], address: `192.0.2.${20 + i}`, as: l.usual[0], first: iso(k.opened + (4 + i * 3) * SECOND), prefixes: Math.round(k.most * (0.98 - i * 0.03)), weight: i === 3 ? 0.4 : 1 })), lanes: lanesAt(k, k.closed ? k.closed - 1 : dataNow()), evidence: evidence(k), history: steps(k), names } };
  if (p[2] === 'course') return course(k, Number(q.get('step') || 10));
  if (p[2] === 'lanes') return { at: q.get('at'), lanes: lanesAt(k, Date.parse(q.get('at') ?? '') || dataNow()) };
  if (p[2] === 'impact') return impact(k);
  if (p[2] === 'remedies') return remedies(k, names);
  if (p[2] === 'announce' && method === 'POST') return announce.propose(k.id, given.prefixes, given.why);
  const [at, most] = [Number(q.get('cursor') || 0), Math.min(500, Number(q.get('limit') || 100))];
  const kept = Math.min(k.most, 4096);
  return { rows: hits(k, at, most), next: at + most < kept ? String(at + most) : null, total: k.most, kept };
};
/** Tells of those under way once a second, and of acts when they change. */
export const news = (send) => {
  announce.tell = send;
  setInterval(() => kinds.filter((k) => !k.closed).forEach((k) => send('incident', row(k))), 1000).unref();
};
/** The incidents under way as findings of the work list. */
export const findings = () => kinds.filter((k) => !k.closed).map((k) => {
  const r = row(k);
  return { id: r.id, detector: 'leak', subject: r.adjacency || k.lanes[0].prefix, state: r.state, severity: r.severity, confidence: r.confidence, opened: r.opened, changed: r.changed, title: r.title, why: r.why, evidence: [{ key: 'prefixes', value: n(r.prefixes.n) }], ack: r.ack };
});
