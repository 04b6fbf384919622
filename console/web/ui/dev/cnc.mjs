// A believable C&C list for the mock, of MOCK_CNC entries (20,000 unless told). What
// isn't looked at isn't made: an entry is computed from its number, so that a million
// cost a few arrays. Names and addresses are of documentation and benchmark ranges.
import { DAY, HOUR, MINUTE, dataNow, iso } from './data.mjs';

const now = dataNow;
const began = now();
const text = (ja, en) => ({ ja, en });
const N = Number(process.env.MOCK_CNC ?? 20_000);
/** A number from 0 to 1 that is always the same for i and what it is for. */
const rnd = (i, salt) => {
  let h = Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(salt + 7, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32;
};

export const stateWords = {
  candidate: text('情報源から届きました。まだ確かめていません。', 'A source named it; nothing was checked yet.'),
  enriched: text('同居する名前と保護リストを確かめました。', 'What lives beside it, and the lists of protected names, were looked at.'),
  scored: text('点数がつきました。人の確認を待っています。', 'It has a score; a person has to look at it.'),
  reviewed: text('人が確認しました。試験運用を待っています。', 'It was reviewed; the trial is to begin.'),
  shadow: text('試験運用中です。遮断せず、該当数だけを数えています。', 'On trial: nothing is blocked, would-be hits are counted.'),
  enforced: text('遮断しています。', 'In force.'),
  held: text('遮断器により止まっています。人の判断を待っています。', 'Kept back by the circuit breaker; a person decides.'),
  expired: text('期限が過ぎ、遮断から外れました。', 'Its time is over; it is no longer in force.'),
  withdrawn: text('取り下げられました。', 'Withdrawn.'),
  archived: text('保管しています。', 'Archived.'),
};
const states = Object.keys(stateWords);
const share = [0.06, 0.04, 0.012, 0.02, 0.028, 0.66, 0.01, 0.11, 0.02, 0.04];
const kinds = ['name', 'host', 'address', 'endpoint', 'prefix', 'url'];
const kindShare = [0.52, 0.14, 0.1, 0.12, 0.01, 0.11];
const families = ['mirai', 'gafgyt', 'mozi', 'emotet', 'qakbot', 'lokibot', 'asyncrat', 'hajime', ''];
const familyShare = [0.34, 0.15, 0.12, 0.1, 0.07, 0.06, 0.06, 0.02, 0.08];
export const sources = [
  { source: 'urlhaus', kind: 'csv', trust: 0.8, half_life_days: 7, ja: 'HTTPS で5分ごと', en: 'HTTPS, every 5 minutes' },
  { source: 'feodo', kind: 'json', trust: 0.95, half_life_days: 14, ja: 'HTTPS で1時間ごと', en: 'HTTPS, every hour' },
  { source: 'threatfox', kind: 'json', trust: 0.7, half_life_days: 14, ja: 'HTTPS で15分ごと(鍵つき)', en: 'HTTPS with a key, every 15 minutes' },
  { source: 'maltrail', kind: 'plain', trust: 0.4, half_life_days: 30, ja: 'フォルダーを見張り', en: 'a watched folder' },
  { source: 'partner-isp', kind: 'taxii', trust: 0.85, half_life_days: 10, ja: 'TAXII 2.1 で10分ごと', en: 'TAXII 2.1, every 10 minutes' },
  { source: 'misp-jp', kind: 'misp', trust: 0.75, half_life_days: 21, ja: 'MISP で30分ごと', en: 'MISP, every 30 minutes' },
];
const cut = (shares) => shares.reduce((a, s) => [...a, (a.at(-1) ?? 0) + s], []);
const cuts = { state: cut(share), kind: cut(kindShare), family: cut(familyShare) };
const pick = (c, r) => {
  const i = c.findIndex((x) => r < x);
  return i < 0 ? c.length - 1 : i;
};

// The columns that lists are filtered and ordered by.
const state = new Uint8Array(N);
const kind = new Uint8Array(N);
const family = new Uint8Array(N);
const from = new Uint8Array(N); // bits of sources
const score = new Float32Array(N);
const seen = new Float64Array(N); // last seen
const hits = new Uint32Array(N);
for (let i = 0; i < N; i++) {
  state[i] = pick(cuts.state, rnd(i, 1));
  kind[i] = pick(cuts.kind, rnd(i, 2));
  family[i] = pick(cuts.family, rnd(i, 3));
  from[i] = (1 << Math.floor(rnd(i, 4) * 6)) | (rnd(i, 5) < 0.35 ? 1 << Math.floor(rnd(i, 6) * 6) : 0);
  const old = states[state[i]] === 'expired' || states[state[i]] === 'archived';
  seen[i] = began - (old ? 31 + rnd(i, 7) * 200 : rnd(i, 7) ** 2 * 28) * DAY;
  hits[i] = states[state[i]] === 'enforced' && rnd(i, 8) < 0.08 ? Math.floor(10 ** (rnd(i, 9) * 2.6)) : 0;
  score[i] = explain(i).reduce((s, t) => s + t.value, 0);
}
function explain(i) {
  const out = [];
  let left = 1;
  sources.forEach((s, b) => {
    if (!(from[i] & (1 << b))) return;
    const days = (began - seen[i]) / DAY;
    const worth = s.trust * (0.6 + rnd(i, 20 + b) * 0.4) * 2 ** (-days / s.half_life_days);
    const value = left * worth;
    left -= value;
    out.push({ term: `source:${s.source}`, words: text(`${s.source}: 信頼 ${s.trust}、最後の報告から ${days.toFixed(1)} 日(半減期 ${s.half_life_days} 日)`, `${s.source}: trust ${s.trust}, ${days.toFixed(1)} days since its last word (half-life ${s.half_life_days} days)`), value });
  });
  if (hits[i]) out.push({ term: 'sighting', words: text('自網のリゾルバーで観測', 'seen at our own resolvers'), value: left * 0.2 });
  return out;
}
const stem = ['cdn', 'update', 'panel', 'gate', 'node', 'files', 'sync', 'relay', 'login', 'img'];
const base36 = (n, w) => n.toString(36).padStart(w, '0');
const valueOf = (i) => {
  const ip = `198.${18 + (i & 1)}.${(i >> 8) & 255}.${(i >> 1) & 255}`;
  const name = `${stem[Math.floor(rnd(i, 11) * 10)]}-${base36(i, 4)}.${['bad', 'evil', 'rogue', 'shady'][i & 3]}.example`;
  return { name, host: `${base36(i, 4)}.pages.hosting.example`, address: ip, endpoint: `${ip}:${[23, 443, 6667, 8080][i & 3]}`, prefix: `198.${18 + (i & 1)}.${(i >> 8) & 255}.0/24`, url: `http://${name}/${base36(i * 7, 5)}.sh` }[kinds[kind[i]]];
};
const idOf = (i) => `K-${String(i + 1).padStart(7, '0')}`;
const numberOf = (id) => (/^K-\d{7,}$/.test(id) ? Number(id.slice(2)) - 1 : -1);

// What people have done since, over what was computed.
const changes = new Map();
const added = [];
const reviewsOf = (i) => {
  const s = states[state[i]];
  if (changes.get(i)?.reviews) return changes.get(i).reviews;
  const after = ['reviewed', 'shadow', 'enforced', 'expired'].includes(s);
  const yes = (who, d) => ({ who, at: iso(seen[i] - d * HOUR), verdict: 'yes', why: '通信先と検体を確認' });
  if (after) return two(i) ? [yes('abuse:suzuki', 9), yes('abuse:mori', 5)] : [yes('abuse:suzuki', 9)];
  return s === 'scored' && two(i) && rnd(i, 31) < 0.5 ? [yes(i % 5 === 0 ? 'admin:demo' : 'abuse:mori', 2)] : [];
};
const twoWhy = [text('共用ホスティングの名前です', 'the name is on shared hosting'), text('人気の高い名前の一覧に載っています(上位 10,000)', 'the name is in a popularity list (top 10,000)'), text('1日 1,000 人を超える利用者が使っています', 'more than 1,000 clients a day use it')];
const two = (i) => (kinds[kind[i]] === 'host' ? twoWhy[0] : rnd(i, 13) < 0.04 ? twoWhy[1] : rnd(i, 13) > 0.97 ? twoWhy[2] : null);
const evidenceOf = (i) =>
  sources.filter((_, b) => from[i] & (1 << b)).map((s, n) => ({ source: s.source, evidence: `${s.source}#${base36(i * 13 + n, 6)}`, confidence: Math.round((0.6 + rnd(i, 20 + n) * 0.4) * 100) / 100, first: iso(seen[i] - (3 + rnd(i, 14) * 40) * DAY), last: iso(seen[i] - n * HOUR), until: n ? null : iso(seen[i] + 30 * DAY), gone: n > 0 && rnd(i, 15) < 0.3 }));
const entry = (i) => {
  const s = states[state[i]];
  const opened = seen[i] - (2 + rnd(i, 14) * 30) * DAY;
  const would = ['shadow', 'scored'].includes(s) ? Math.floor(10 ** (rnd(i, 16) * 2.6)) : 0;
  return {
    id: idOf(i), kind: kinds[kind[i]], value: valueOf(i), port: 0, role: 'c2', family: families[family[i]], state: s, words: stateWords[s], score: Math.min(1, score[i]), first_seen: iso(opened - DAY), last_seen: iso(seen[i]), opened: iso(opened), changed: iso(Math.max(opened, seen[i] - 4 * HOUR)),
    expires: iso(seen[i] + 30 * DAY), sinkholed: s === 'enforced' && rnd(i, 17) < 0.02, emergency: s === 'enforced' && rnd(i, 18) < 0.003, sources: evidenceOf(i), needs_two: two(i), reviews: reviewsOf(i), hits_day: hits[i], hits_total: hits[i] * 19, would_day: would, would_total: would * 2, blocks_day: hits[i],
    reason: s === 'withdrawn' ? text('利用者の申告により誤りと確認', 'found wrong after a customer told us') : s === 'expired' ? text('情報源が30日間触れていません', 'no source has named it for 30 days') : null, ...(changes.get(i)?.entry ?? {}),
  };
};
const steps = ['candidate', 'enriched', 'scored', 'reviewed', 'shadow', 'enforced'];
const historyOf = (i) => {
  const e = entry(i);
  const at = Date.parse(e.opened);
  const upTo = steps.includes(e.state) ? steps.indexOf(e.state) : e.state === 'held' ? 1 : 5;
  const whys = ['情報源が報告', '保護リストに該当なし', '点数の規則による', '通信先と検体を確認', '24時間の試験運用', '試験運用で問題なし'];
  const out = steps.slice(0, upTo + 1).map((what, n) => ({ at: iso(Math.min(Date.parse(e.changed), at + n * 7 * HOUR)), who: n === 3 ? 'abuse:suzuki' : 'sakimori', what, words: text(stateWords[what].ja, stateWords[what].en), why: whys[n] }));
  if (!steps.includes(e.state)) out.push({ at: e.changed, who: e.state === 'withdrawn' ? 'abuse:mori' : 'sakimori', what: e.state, words: stateWords[e.state], why: e.reason?.ja ?? '' });
  return [...out, ...(changes.get(i)?.history ?? [])];
};
export const blast = (i) => {
  if (!['name', 'host'].includes(kinds[kind[i]])) return null;
  const n = two(i) === twoWhy[2] ? 1000 + Math.floor(rnd(i, 33) * 4000) : Math.floor(10 ** (rnd(i, 33) * 2.4));
  return { clients_day: n < 10 ? 0 : n, floor: 10, below_floor: n < 10, error: 0.016, beside: kinds[kind[i]] === 'host' ? ['pages.hosting.example', `${base36(i + 3, 4)}.pages.hosting.example`, `${base36(i + 9, 4)}.pages.hosting.example`] : rnd(i, 34) < 0.3 ? [`www.${valueOf(i)}`] : [] };
};
export const inForce = (e) => (e.state === 'enforced' && !e.sinkholed) || (e.state === 'shadow' && false);
export const listSerial = 2_026_112_604;
const whole = (i, resolvers) => {
  const e = entry(i);
  const out = e.state === 'enforced' || e.state === 'expired' || e.state === 'withdrawn';
  return {
    entry: e, history: historyOf(i), explain: explain(i), blast: blast(i),
    published: out ? [{ zone: 'c2.', serial: listSerial - 90, at: iso(Date.parse(e.opened) + 42 * HOUR), in: true }, ...(e.state === 'enforced' ? [] : [{ zone: 'c2.', serial: listSerial - 3, at: e.changed, in: false }])] : [],
    resolvers: out ? resolvers.map((r) => ({ name: r.name, serial: r.zones.find((z) => z.zone === 'c2.').serial, has: inForce(e) })) : [],
  };
};

// Readings that the circuit breaker keeps back.
const held = [
  { id: 'H-12', source: 'maltrail', at: iso(began - 5 * HOUR), why: text('普段は1回に 0.4% しか変わらないリストが、一度に 6.1 倍になりました。', 'A list that changes by 0.4% at a time became 6.1 times as large at once.'), size: 71_204, before: 11_640, added: 59_911, removed: 347 },
  { id: 'H-13', source: 'misp-jp', at: iso(began - 50 * MINUTE), why: text('保護された名前 example.ac.jp に触れています。', 'It touches the protected name example.ac.jp.'), size: 2_114, before: 2_109, added: 6, removed: 1 },
];
const summary = () => {
  const count = new Uint32Array(states.length);
  const fam = families.map((name) => ({ name, count: 0, enforced: 0, blocks_day: 0 }));
  const src = sources.map(() => [0, 0]);
  let soon = 0;
  for (let i = 0; i < N; i++) {
    count[state[i]]++;
    const live = states[state[i]] === 'enforced';
    const f = fam[family[i]];
    f.count++;
    if (live) f.enforced++;
    f.blocks_day += hits[i];
    if (live && seen[i] + 23 * DAY < began) soon++;
    for (let b = 0; b < 6; b++)
      if (from[i] & (1 << b)) {
        src[b][0]++;
        if (live) src[b][1]++;
      }
  }
  return {
    states: states.map((s, i) => ({ state: s, words: stateWords[s], count: count[i] })), families: fam.sort((a, b) => b.count - a.count),
    sources: sources.map((s, b) => ({
      source: s.source, kind: s.kind, words: text(s.ja, s.en), last_try: iso(now() - (3 + b) * MINUTE), last_success: iso(b === 5 ? began - 74 * HOUR : now() - (3 + b) * MINUTE), last_change: iso(b === 5 ? began - 75 * HOUR : began - (1 + b * 2.3) * HOUR), stale: b === 5,
      error: b === 5 ? text('HTTP 403: 鍵が受け付けられません', 'HTTP 403: the key is refused') : null, read: Math.round(src[b][0] * 1.04) + 12, accepted: src[b][0], rejected: Math.round(src[b][0] * 0.04) + (b === 3 ? 311 : 0), listed: src[b][0], enforced: src[b][1], trust: s.trust, half_life_days: s.half_life_days,
    })),
    held, review: count[2], shadow: count[4], enforced: count[5], expiring_7d: soon, protected: { lists: 17, names: 128_412 },
  };
};

// The orders, made when first asked for.
const orders = new Map();
const values = () => orders.get('values') ?? orders.set('values', Array.from({ length: N }, (_, i) => valueOf(i))).get('values');
const order = (name) => {
  if (!orders.has(name)) {
    const by = { score: (a, b) => score[b] - score[a] || a - b, age: (a, b) => seen[b] - seen[a] || a - b, hits: (a, b) => hits[b] - hits[a] || a - b, name: (a, b) => (values()[a] < values()[b] ? -1 : 1) }[name];
    orders.set(name, Uint32Array.from({ length: N }, (_, i) => i).sort(by));
  }
  return orders.get(name);
};
const list = (q) => {
  const is = (name, all) => new Set((q.get(name) ?? '').split(',').filter(Boolean).map((x) => all.indexOf(x === '-' ? '' : x)));
  const [st, ki, fa] = [is('state', states), is('kind', kinds), is('family', families)];
  const bit = q.get('source') ? 1 << sources.findIndex((s) => s.source === q.get('source')) : 0;
  const start = (q.get('q') ?? '').toLowerCase();
  const fits = (i) => (!st.size || st.has(state[i])) && (!ki.size || ki.has(kind[i])) && (!fa.size || fa.has(family[i])) && (!bit || from[i] & bit) && (!start || valueOf(i).startsWith(start));
  const limit = Math.min(500, Number(q.get('limit') || 50));
  const all = order(q.get('order') || 'score');
  const found = [];
  let at = Number(q.get('cursor') || 0);
  for (; at < N && found.length < limit; at++) if (fits(all[at])) found.push(entry(all[at]));
  let total = q.get('cursor') ? 0 : found.length;
  if (!q.get('cursor')) for (let j = at; j < N && total < 100_000; j++) if (fits(all[j])) total++;
  const any = st.size || ki.size || fa.size || bit || start;
  return { entries: found, total: any ? { count: total, exact: total < 100_000 } : { count: N, exact: true }, next: at < N ? String(at) : '' };
};
const queue = () => {
  const out = [];
  for (let i = 0; i < N && out.length < 400; i++) if (states[state[i]] === 'scored') out.push(i);
  return out.sort((a, b) => (blast(b)?.clients_day ?? 0) - (blast(a)?.clients_day ?? 0));
};

const refuse = (status, code, ja, en) => ({ refusal: { status, code, ja, en } });
const put = (i, s, who, why, more = {}) => {
  if (s) state[i] = states.indexOf(s);
  const c = changes.get(i) ?? {};
  const what = more.what ?? s;
  changes.set(i, { ...c, ...(more.reviews ? { reviews: more.reviews } : {}), entry: { ...c.entry, changed: iso(now()), ...(more.entry ?? {}) }, history: [...(c.history ?? []), { at: iso(now()), who, what, words: stateWords[what] ?? text(what, what), why }] });
};
const protectedNames = [['example.ac.jp', 'academic'], ['bank.example', 'banks'], ['example.com', 'warninglist:common'], ['co.jp', 'public-suffix']];
const guarded = (value) => protectedNames.find(([p]) => value === p || value.endsWith(`.${p}`));

/** Answers a request of the list, or gives undefined. resolvers is what they serve. */
export const cnc = (method, path, q, body, resolvers, user, raw = '') => {
  const post = method === 'POST';
  if (path === '/cnc' && !post) return list(q);
  if (path === '/cnc/summary') return summary();
  if (path === '/cnc/review') {
    const at = Number(q.get('cursor') || 0);
    const all = queue();
    const limit = Number(q.get('limit') || 50);
    return { entries: all.slice(at, at + limit).map((i) => ({ ...entry(i), blast: blast(i) })), next: at + limit < all.length ? String(at + limit) : '', total: { count: all.length, exact: true } };
  }
  if (path === '/cnc/exports') return { exports: ['plain', 'csv', 'stix', 'nftables', 'suricata', 'squid', 'flowspec'].map((format, i) => ({ format, words: text({ plain: '名前の一覧', csv: '表', stix: 'STIX 2.1', nftables: 'nftables の集合', suricata: 'Suricata の規則', squid: 'Squid の URL 一覧', flowspec: 'FlowSpec の元' }[format], { plain: 'names', csv: 'a table', stix: 'STIX 2.1', nftables: 'nftables sets', suricata: 'Suricata rules', squid: 'a URL list for Squid', flowspec: 'source of FlowSpec' }[format]), version: 118 + i, entries: 1200 * (i + 1), made: iso(now() - 20 * MINUTE), expires: iso(now() + 24 * HOUR), digest: base36(12345 + i, 12), omitted: 40, basis: { grant: 'G-000044', rule: 'consent-terms', title: text('約款による同意', 'consent by terms'), source: '' }, key: 'k7Qm2v0X' })) };
  if (path === '/cnc/export') return { file: list(new URLSearchParams('state=enforced&limit=500')).entries.map((e) => e.value).join('\n') };
  if (path === '/cnc/import' && post) {
    const lines = raw.split(/\r?\n/);
    const out = { read: 0, accepted: 0, rejected: [], rejected_total: 0, protected: [], new: 0, known: 0, gone: 0, held: false, why: null };
    lines.forEach((l, n) => {
      const v = l.trim().toLowerCase();
      if (!v || v.startsWith('#')) return;
      out.read++;
      const no = (reason) => {
        out.rejected_total++;
        if (out.rejected.length < 100) out.rejected.push({ line: n + 1, reason });
      };
      if (!/^[a-z0-9.:/_-]+$/.test(v)) return no('not a name, an address or a URL');
      if (!v.includes('.')) return no('a name of one label');
      const g = guarded(v);
      if (g) return void out.protected.push({ name: v, list: g[1] });
      out.accepted++;
      if (added.includes(v) || values().includes(v)) out.known++;
      else {
        out.new++;
        if (!q.get('dry_run')) added.push(v);
      }
    });
    if (q.get('whole') && out.accepted < 10) Object.assign(out, { gone: 4120, held: true, why: text('リストが一度に 99.8% 縮むため、人の判断を待ちます。', 'The list would shrink by 99.8% at once: a person decides.') });
    return out;
  }
  if (path === '/cnc' && post) {
    const g = guarded(body.value);
    if (g) return refuse(409, 'protected', `${g[0]} は保護されています(リスト ${g[1]})。遮断リストには載せられません。`, `${g[0]} is protected (list ${g[1]}): it can't be listed.`);
    return { entry: { ...entry(0), id: idOf(0), value: body.value, kind: body.kind, family: body.family } };
  }
  let m = /^\/cnc\/held\/([^/]+)\/(release|refuse)$/.exec(path);
  if (m && post) {
    const at = held.findIndex((h) => h.id === m[1]);
    return at < 0 ? undefined : { held: held.splice(at, 1)[0] };
  }
  m = /^\/cnc\/(K-\d+)(?:\/(\w+))?$/.exec(path);
  const i = m ? numberOf(m[1]) : -1;
  if (!m || i < 0 || i >= N) return undefined;
  if (!m[2]) return whole(i, resolvers);
  const e = entry(i);
  if (m[2] === 'review') {
    if (e.reviews.some((r) => r.who === user)) return refuse(403, 'own', 'すでに自分で確認しています。二人目は別の人です。', 'You have reviewed it already: the second one is somebody else.');
    const reviews = [...e.reviews, { who: user, at: iso(now()), verdict: body.verdict, why: body.why }];
    const yes = reviews.filter((r) => r.verdict === 'yes').length;
    put(i, body.verdict === 'no' ? 'withdrawn' : yes >= (e.needs_two ? 2 : 1) ? 'reviewed' : '', user, body.why, { reviews, what: body.verdict === 'no' ? 'withdrawn' : 'reviewed' });
  }
  if (m[2] === 'withdraw') put(i, 'withdrawn', user, body.why, { entry: { reason: text(body.why, body.why) } });
  if (m[2] === 'renew') put(i, '', user, body.why, { what: 'renewed', entry: { expires: body.until } });
  if (m[2] === 'sinkhole') put(i, '', user, body.why, { what: 'sinkholed', entry: { sinkholed: body.sinkholed } });
  return { entry: entry(i) };
};
/** The entry that a name falls under, or null. */
export const under = (name) => {
  const i = values().findIndex((v, n) => (kinds[kind[n]] === 'name' && (name === v || name.endsWith(`.${v}`))) || (kinds[kind[n]] === 'host' && name === v));
  return i < 0 ? null : { i, entry: entry(i), history: historyOf(i) };
};
/** Blocks of a day by family: what the counts of resolvers are made of. */
export const daily = () => summary().families.map((f) => ({ name: f.name, blocks: f.blocks_day }));
