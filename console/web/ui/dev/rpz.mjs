// Policy zones, the proof that resolvers serve them, what was blocked, and a
// subscriber's choice, for the mock. Figures come from the list of cnc.mjs.
import { daily, cnc, inForce, listSerial, under } from './cnc.mjs';
import { DAY, HOUR, MINUTE, dataNow, hash, iso } from './data.mjs';

const now = dataNow;
const began = now();
const SECOND = 1000;
const text = (ja, en) => ({ ja, en });
const bare = process.env.MOCK_GROUND === 'none'; // no grant: the zone is empty and says so
const serialOf = { 'optout.': 884_213, 'allow.': 118, 'c2.': listSerial, 'emergency.': 41 };
const rulesOf = { 'optout.': 8412, 'allow.': 512, 'c2.': bare ? 0 : 131_904, 'emergency.': bare ? 0 : 7 };
const digest = (zone, s) => Array.from({ length: 8 }, (_, i) => Math.floor(hash('digest', zone, s, i) * 2 ** 32).toString(16).padStart(8, '0')).join('');

const zones = Object.keys(serialOf).map((zone) => ({
  zone, serial: serialOf[zone], rules: rulesOf[zone], published: iso(began - { 'optout.': 40 * SECOND, 'allow.': 9 * DAY, 'c2.': 14 * MINUTE, 'emergency.': 3 * HOUR }[zone]), who: { 'optout.': 'sakimori', 'allow.': 'legal:hayashi', 'c2.': 'sakimori', 'emergency.': 'abuse:suzuki' }[zone],
  why: { 'optout.': '契約者の選択とアドレスの変化', 'allow.': '保護リストの更新', 'c2.': '定期の公開(試験運用を終えた 12 件、期限切れ 31 件)', 'emergency.': '大量感染の指令サーバーを至急に遮断' }[zone],
  basis: zone === 'optout.' || zone === 'allow.' || bare ? null : { grant: 'G-000044', rule: 'consent-terms', until: iso(began + 27 * DAY) },
  state: bare && rulesOf[zone] === 0 ? 'empty' : 'published',
  words: bare && rulesOf[zone] === 0 ? text('根拠がないため、ゾーンは空です。どの名前も遮断されません。', 'There is no ground, so the zone is empty: no name is blocked.') : text('公開しています。', 'Published.'),
  digest: digest(zone, serialOf[zone]), pending: zone === 'c2.' && !bare ? { added: 14, removed: 3, due: iso(began + 4 * HOUR) } : null, held: null, canary_ok: zone === 'c2.' ? false : true,
}));

const vendors = [['tokyo-1', 'bind', 'tokyo', '192.0.2.11'], ['tokyo-2', 'bind', 'tokyo', '192.0.2.12'], ['osaka-1', 'unbound', 'osaka', '192.0.2.21'], ['osaka-2', 'unbound', 'osaka', '192.0.2.22'], ['nagoya-1', 'pdns', 'nagoya', '192.0.2.31'], ['edge-lab', 'knot', 'lab', '2001:db8:53::1']];
let checked = began - 22 * SECOND;
// What a round asks: the serial of each zone, and names that it must block or let pass.
// Whoever opted out gets nothing of the first zone: what the later ones let pass is its proof.
const probes = (name) =>
  zones.flatMap((z) => ['in', 'out'].filter((client) => z.zone !== 'optout.' || client === 'in').map((client) => {
    const expected = z.zone === 'optout.' ? 'serial' : client === 'in' && z.zone !== 'allow.' && !bare ? 'blocked' : 'truth';
    const bad = name === 'nagoya-1' && client === 'out' && z.zone === 'c2.' && !bare;
    const mute = name === 'edge-lab' && z.zone === 'emergency.';
    return { client, zone: z.zone, expected, got: mute ? 'silence' : bad ? 'blocked' : expected, ok: !mute && !bad, serial: mute ? 0 : z.serial - (name === 'osaka-2' && z.zone === 'c2.' ? 2 : 0), at: iso(checked - hash('probe', name, z.zone, client) * 8 * SECOND), ms: Math.round(2 + hash('ms', name, client) * 9) };
  }));
const resolvers = () =>
  vendors.map(([name, vendor, pool, address]) => {
    const state = bare ? 'ok' : { 'osaka-2': 'behind', 'nagoya-1': 'deviates' }[name] ?? 'ok';
    return {
      name, vendor, pool, address, state,
      words: { ok: text('すべての確認が期待どおりです。', 'Every probe came back as expected.'), behind: text('c2. が 2 版遅れています。', 'c2. is 2 serials behind.'), deviates: text('同意していない利用者に遮断の応答を返しました。パケットキャッシュを疑ってください。', 'It answered an opted-out client with a block: suspect the packet cache.') }[state],
      zones: zones.map((z) => { const lag = state === 'behind' && z.zone === 'c2.' ? 2 : 0; return { zone: z.zone, serial: z.serial - lag, lag_serials: lag, lag_seconds: lag ? 412 : 0, stale: false, at: iso(Date.parse(z.published) + 900 + hash(name, z.zone) * 1500), transfer: vendor === 'knot' ? 'file' : z.zone === 'allow.' ? 'axfr' : 'ixfr', bytes: z.zone === 'allow.' ? 21_400 : Math.round(600 + hash('b', name, z.zone) * 4000), ms: Math.round(4 + hash('t', name, z.zone) * 60) }; }),
      probes: probes(name), errors: name === 'nagoya-1' && !bare ? [{ at: iso(began - 6 * MINUTE), ...text('カナリアが期待と異なりました(optout の利用者、c2.)', 'a canary deviated (opted-out client, c2.)') }] : [], full_transfers: vendor === 'unbound' ? 41 : 2, incremental_transfers: vendor === 'knot' ? 0 : 884,
    };
  });
const proofs = (q) => {
  const all = [];
  for (let k = 0; k < 240; k++)
    for (const [name] of vendors) for (const p of probes(name)) all.push({ at: iso(checked - k * MINUTE), resolver: name, zone: p.zone, client: p.client, name: `canary-${p.zone.slice(0, -1)}.sakimori.example`, expected: p.expected, serial: p.serial, ok: k > 6 || p.ok, got: k > 6 ? p.expected : p.got });
  const list = all.filter((p) => (!q.get('resolver') || p.resolver === q.get('resolver')) && (q.get('ok') !== 'false' || p.ok === false));
  const at = Number(q.get('cursor') || 0);
  const limit = Number(q.get('limit') || 100);
  return { proofs: list.slice(at, at + limit), next: at + limit < list.length ? String(at + limit) : '' };
};
const made = {};
const serials = (zone) =>
  (made[zone] ??= Array.from({ length: 60 }, (_, i) => {
    const serial = serialOf[zone] - i;
    return { serial, at: iso(Date.parse(zones.find((z) => z.zone === zone).published) - i * 5 * MINUTE - (i ? hash('s', zone, i) * MINUTE : 0)), who: i % 9 === 4 ? 'operator:kato' : 'sakimori', why: i % 9 === 4 ? '至急の取り下げ(誤登録)' : '定期の公開', grant: 'G-000044', rule: 'consent-terms', added: Math.floor(hash('a', zone, i) * 40), removed: Math.floor(hash('r', zone, i) * 18), rules: Math.max(1, rulesOf[zone] - i * 9), digest: digest(zone, serial) };
  }));
const lines = (zone, s, n, salt) => Array.from({ length: n }, (_, i) => ({ trigger: zone === 'optout.' ? `32.${Math.floor(hash(salt, i) * 254) + 1}.113.0.203.rpz-client-ip` : `${['gate', 'panel', 'cdn', 'sync'][i % 4]}-${Math.floor(hash(salt, s, i) * 1e6).toString(36)}.bad.example`, action: zone === 'optout.' || zone === 'allow.' ? 'PASSTHRU' : 'NXDOMAIN', ref: `K-${String(Math.floor(hash(salt, s, i) * 20_000) + 1).padStart(7, '0')}` }));

const configs = {
  bind: [['named.conf', 'options {\n\tresponse-policy {\n\t\tzone "optout" log no;\n\t\tzone "allow";\n\t\tzone "c2";\n\t\tzone "emergency";\n\t} qname-wait-recurse no break-dnssec yes servfail-until-ready yes;\n};\n']],
  unbound: [['unbound.conf', 'server:\n\tmodule-config: "respip validator iterator"\nrpz:\n\tname: optout.\n\tprimary: 192.0.2.53@853#policy.example\nrpz:\n\tname: allow.\nrpz:\n\tname: c2.\nrpz:\n\tname: emergency.\n']],
  pdns: [['recursor.conf', 'disable-packetcache=yes\nlua-config-file=/etc/powerdns/rpz.lua\nextended-resolution-errors=yes\n'], ['rpz.lua', 'rpzPrimary({"192.0.2.53"}, "optout.", {tsigname="policy", tsigalgo="hmac-sha256"})\nrpzPrimary({"192.0.2.53"}, "allow.")\nrpzPrimary({"192.0.2.53"}, "c2.", {extendedErrorCode=15})\nrpzPrimary({"192.0.2.53"}, "emergency.", {extendedErrorCode=15})\n']],
  knot: [['kresd.conf', "modules.load('view', 'policy')\nview:addr('203.0.113.0/24', policy.all(policy.PASS))\npolicy.add(policy.rpz(policy.DENY, '/var/lib/sakimori/c2.rpz', true))\n"]],
};
const notes = { bind: [text('optout には log no を付けています。同意していない人の照会は記録しません。', 'The optout zone has log no: what those who declined ask for is not logged.')], unbound: [text('差分を5回受けると全体を取り直すため、公開は1〜5分おきに。', 'After five increments it takes the whole zone: publish every 1 to 5 minutes.')], pdns: [text('パケットキャッシュを切っています。残すと、同意していない人にも遮断の応答が届きます。', 'The packet cache is off: with it a client that declined is served the blocked answer.')], knot: [text('ゾーン転送ができないため、ファイルで渡します。client-IP の規則は働かないので view を使います。', 'It cannot transfer zones: a file is handed over. Client-IP rules do not work there, so views do it.')] };

// What was blocked. 208.06 million in the 20 months of the paper is 342,000 a day.
const blocks = (from, to) => {
  const per = daily();
  const all = per.reduce((n, f) => n + f.blocks, 0);
  const days = [];
  for (let t = Math.floor(from / DAY) * DAY; t < Math.min(to, now()); t += DAY) {
    const part = Math.min(1, (now() - t) / DAY);
    const n = Math.round(all * (0.7 + hash('day', t) * 0.5) * (1 + Math.sin(t / DAY / 3) * 0.15) * part);
    days.push({ at: iso(t), queries: Math.round(41_000_000 * (0.95 + hash('q', t) * 0.1) * part), blocked: n, would: Math.round(n * 0.07), sinkholed: Math.round(n * 0.03), zones: { 'c2.': Math.round(n * 0.985), 'emergency.': n - Math.round(n * 0.985) } });
  }
  const total = days.reduce((n, d) => n + d.blocked, 0);
  const share = (x) => Math.round((total * x) / all);
  return {
    days, total, families: per.filter((f) => f.blocks).map((f) => ({ name: f.name, blocked: share(f.blocks), sinkholed: Math.round(share(f.blocks) * 0.03) })).sort((a, b) => b.blocked - a.blocked),
    zones: [{ zone: 'c2.', blocked: days.reduce((n, d) => n + d.zones['c2.'], 0) }, { zone: 'emergency.', blocked: days.reduce((n, d) => n + d.zones['emergency.'], 0) }],
    resolvers: vendors.map(([name, vendor], i) => ({ name, queries: Math.round((days.reduce((n, d) => n + d.queries, 0) * [0.24, 0.23, 0.19, 0.18, 0.14, 0.02][i])), blocked: Math.round(total * [0.24, 0.23, 0.19, 0.18, 0.14, 0.02][i]), lost: i === 4 ? 18_412 : 0, source: vendor === 'pdns' ? 'protobuf' : 'dnstap', last: iso(now() - 2 * SECOND) })),
    then: { from: '2016-02', to: '2017-09', blocks: 208_060_000, per_day: Math.round(208_060_000 / 608), source: text('総務省の資料(2017年10月)に載った ACTIVE の遮断数', 'Blocks of ACTIVE as the ministry printed them in October 2017') },
    losses: vendors.map(([name, vendor], i) => ({ source: `${name} (${vendor === 'pdns' ? 'protobuf' : 'dnstap'})`, frames: Math.round(days.reduce((n, d) => n + d.queries, 0) * 2 * [0.24, 0.23, 0.19, 0.18, 0.14, 0.02][i]), lost: i === 4 ? 18_412 : 0, malformed: i === 5 ? 3 : 0, at: i === 4 ? iso(began - 9 * HOUR) : null })),
    hits: { on: true, consenting: 20_118, grant: 'G-000045', until: iso(began + 20 * DAY), words: text('同意した人に限り、誰が指令サーバーに接続したかを保存しています。', 'Of those who consented to that, and of nobody else, it is kept who called a C&C server.') },
  };
};

const why = (q) => {
  const name = (q.get('name') ?? '').toLowerCase().replace(/\.$/, '');
  const at = Date.parse(q.get('at') ?? '') || now();
  const u = under(name);
  const list = resolvers();
  const on = !!u && inForce(u.entry) && at >= Date.parse(u.entry.opened) + 42 * HOUR && !bare;
  const day = iso(at).slice(0, 16).replace('T', ' ');
  const e = u?.entry;
  const said = on
    ? text(`${name} は、${e.family || 'マルウェア'} に感染した機器へ指令を送るサーバーとして遮断しています。お使いの回線は約款による同意に基づいて守られており、いつでも外すことができます。`, `${name} is blocked as a server that commands devices infected with ${e.family || 'malware'}. Your line is protected on the ground of the terms that you agreed to, and you can opt out at any time.`)
    : u
      ? text(`${name} は ${day} の時点では遮断していません。リストにはありますが、${e.sinkholed ? 'すでに無害化されたサーバーのため、遮断せずに観測だけしています' : '現在は遮断の対象ではありません'}。`, `${name} was not blocked at ${day}. It is on the list, but ${e.sinkholed ? 'defenders have taken it over, so that it is watched and not blocked' : 'it is not in force'}.`)
      : text(`${name} は ${day} の時点で遮断していません。つながらない原因はほかにあります。`, `${name} was not blocked at ${day}. Something else keeps it from being reached.`);
  return {
    name, at: iso(at), in_force: on, entry: e ?? null, matched: e?.value ?? '', zone: on ? 'c2.' : '', serial: on ? listSerial : 0, rule: on ? `${e.kind === 'name' ? '*.' : ''}${e.value}` : '', action: on ? 'NXDOMAIN' : '', basis: on ? { grant: 'G-000044', rule: 'consent-terms', title: text('契約約款に基づく C&C 通信の遮断', 'Blocking C&C traffic by terms of contract'), source: '電気通信事業者におけるサイバー攻撃等への対処と通信の秘密に関するガイドライン' } : null,
    who: on ? (e.reviews[0]?.who ?? 'sakimori') : '', why: on ? (e.reviews[0]?.why ?? '点数の規則による') : '', evidence: e?.sources ?? [], said, resolvers: u ? list.map((r) => ({ name: r.name, serial: r.zones.find((z) => z.zone === 'c2.').serial, had: r.vendor === 'knot' ? null : on, canary: { at: iso(checked), ok: r.state !== 'deviates' } })) : [], history: u?.history ?? [],
  };
};

const lives = new Map();
const choice = (subject, changed = false) => {
  const c = lives.get(subject) ?? lives.set(subject, { block: 'consents', hits: 'unknown', since: began - 400 * DAY, at: 0 }).get(subject);
  const out = c.block !== 'consents';
  const shown = now() >= c.at + 3 * MINUTE; // three seconds for whoever looks: the mock's time runs 60 times as fast
  return {
    subject, verdict: '', words: text('', ''), optout: { in_zone: shown ? out : !out, serial: shown && out ? serialOf['optout.'] : 0, since: shown && out ? iso(c.since) : null, resolvers: resolvers().map((r, i) => ({ name: r.name, serial: serialOf['optout.'] - (shown ? 0 : 1), has: shown && now() >= c.at + (3 + i) * MINUTE ? out : !out })) },
    purposes: [{ purpose: 'cc_block', words: text('C&Cサーバーへの接続の遮断', 'blocking of C&C servers'), state: c.block, version: '2024-04', since: iso(c.since) }, { purpose: 'cc_hits', words: text('接続した記録の保存と注意喚起', 'keeping who called, and warning'), state: c.hits, version: c.hits === 'unknown' ? '' : '2026-06', since: c.hits === 'unknown' ? null : iso(c.since) }],
    effect: changed ? { state: 'pending', serial: 0, at: null, words: text('記録しました。5秒以内にゾーンに入ります。', 'Entered. It is in the zone within 5 seconds.') } : null,
  };
};
const subjects = { 'K-1234-5678': 'S-61a0c2f4e8b1', '203.0.113.9': 'S-0f9e8d7c6b5a' };

const refuse = (status, code, ja, en) => ({ refusal: { status, code, ja, en } });

/** Answers a request, or gives undefined when it isn't of these. */
export const policy = (method, path, q, body, raw) => {
  const post = method === 'POST';
  const user = 'admin:demo';
  let m;
  if (path === '/rpz') return { zones, ground: bare ? { granted: false, grant: '', until: null, missing: [text('約款の改定の通知から 30 日が過ぎていません(あと 12 日)', '30 days since the notice of the new terms are not over (12 days left)'), text('オプトアウトの窓口が確認できません', 'the way to opt out could not be verified')] } : { granted: true, grant: 'G-000044', until: iso(began + 27 * DAY), missing: [] }, optout: { clients: 8412, changed: iso(now() - 40 * SECOND), lag_ms: 840, unknown: 6 }, consent: { consenting: 1_204_311, declined: 8412 } };
  if (path === '/rpz/resolvers') return { resolvers: resolvers(), checked: iso(checked), next: iso(checked + MINUTE) };
  if (path === '/rpz/canary' && post) {
    checked = now();
    return { resolvers: resolvers(), checked: iso(checked), next: iso(checked + MINUTE) };
  }
  // Each minute of the machine, an hour of the mock, is a check: else all were old at once.
  if (now() - checked > 30 * MINUTE) checked = now();
  if (path === '/rpz/proofs') return proofs(q);
  if ((m = /^\/rpz\/zones\/([^/]+)\/(\w+)$/.exec(path))) {
    const zone = decodeURIComponent(m[1]);
    const z = zones.find((x) => x.zone === zone || x.zone === `${zone}.`);
    if (!z) return undefined;
    if (m[2] === 'serials') {
      const at = Number(q.get('cursor') || 0);
      return { serials: serials(z.zone).slice(at, at + 20), next: at + 20 < 60 ? String(at + 20) : '' };
    }
    if (m[2] === 'diff') {
      const of = serials(z.zone).find((s) => s.serial === Number(q.get('to'))) ?? { added: 4, removed: 2 };
      return { added: lines(z.zone, q.get('to'), Math.min(of.added, 200), 'add'), removed: lines(z.zone, q.get('from'), Math.min(of.removed, 200), 'rem'), truncated: false };
    }
    if (!post) return undefined;
    if (m[2] === 'publish' && bare && z.state === 'empty') return refuse(422, 'no_ground', '根拠がないため公開できません。足りない条件を満たしてください。', 'There is no ground to publish: satisfy what is missing.');
    const words = { pause: text('人が止めました。どの名前も遮断されません。', 'Paused by a person: no name is blocked.'), resume: text('公開しています。', 'Published.') }[m[2]];
    const list = serials(z.zone);
    serialOf[z.zone]++;
    list.unshift({ ...list[0], serial: serialOf[z.zone], at: iso(now()), who: user, why: body.why, added: m[2] === 'publish' ? (z.pending?.added ?? 0) : 0, removed: m[2] === 'pause' ? z.rules : (z.pending?.removed ?? 0), rules: m[2] === 'rollback' ? (list.find((s) => s.serial === body.serial)?.rules ?? z.rules) : z.rules, digest: digest(z.zone, serialOf[z.zone]) });
    Object.assign(z, { serial: serialOf[z.zone], published: iso(now()), who: user, why: body.why, state: m[2] === 'pause' ? 'paused' : 'published', words: words ?? z.words, pending: m[2] === 'publish' ? null : z.pending, held: m[2] === 'rollback' ? { since: iso(now()), serial: body.serial, who: user, why: body.why, added: 1204, removed: 31, counted: iso(now()) } : m[2] === 'publish' ? null : z.held, rules: list[0].rules });
    return { zone: z };
  }
  if ((m = /^\/rpz\/config\/(\w+)$/.exec(path)) && configs[m[1]]) return { files: configs[m[1]].map(([name, t]) => ({ name, text: t })), notes: notes[m[1]] };
  if (path === '/dns/blocks') return blocks(Date.parse(q.get('from') ?? '') || now() - 30 * DAY, Date.parse(q.get('to') ?? '') || now());
  if (path === '/cnc/why') return why(q);
  if (path === '/choice' || path === '/choice/look') {
    const subject = body.subject || (body.case && `S-${body.case.slice(-6)}0000`) || subjects[body.contract ?? q.get('address')];
    return subject ? choice(subject) : { subject: '', verdict: q.get('address') ? 'ambiguous' : '', words: text('特定できません。契約者番号でお尋ねください。', 'It can not be told whose it is: ask for the contract number.'), purposes: [], optout: null, effect: null };
  }
  if ((m = /^\/choice\/(S-[^/]+)$/.exec(path)) && post) {
    const c = lives.get(m[1]) ?? (choice(m[1]), lives.get(m[1]));
    c[body.purpose === 'cc_block' ? 'block' : 'hits'] = body.consents ? 'consents' : 'declined';
    c.since = c.at = now();
    return choice(m[1], true);
  }
  return cnc(method, path, q, body, resolvers(), user, raw);
};
