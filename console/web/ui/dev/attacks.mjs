// Attacks and what is done against them, for the mock: a SYN flood under way, a carpet,
// pulses, an amplification of 1.2 Tbps that has ended, subscribers who take part in one,
// and a rise that isn't an attack. Each course is a function of its time, so that list,
// page, picture and stream agree. Addresses are of documentation and benchmark ranges.
import { DAY, HOUR, MINUTE, acks, countries, dataNow, hash, iso } from './data.mjs';

const SECOND = 1000;
const began = dataNow();
const text = (ja, en) => ({ ja, en });
const m = (n, error = 0) => ({ n, error });
const rehearsal = process.env.MOCK_REHEARSAL === '1';

const words = {
  syn: text('SYN フラッド', 'SYN flood'), udp: text('UDP フラッド', 'UDP flood'), dns: text('DNS 増幅', 'DNS amplification'), ntp: text('NTP 増幅', 'NTP amplification'), cldap: text('CLDAP 増幅', 'CLDAP amplification'), frag: text('断片', 'Fragments'), gre: text('GRE フラッド', 'GRE flood'), ack: text('ACK フラッド', 'ACK flood'), conn: text('接続フラッド', 'Connection flood'),
};
const names = { syn: 'syn', udp: 'udp', dns: 'dns-amplification', ntp: 'ntp-amplification', cldap: 'cldap-amplification', frag: 'fragments', gre: 'gre', ack: 'ack', conn: 'connections' };
const form = { syn: [6, 0, 443, 'S', 60, 1], udp: [17, 0, 0, '', 512, 210], dns: [17, 53, 0, '', 1390, 96], ntp: [17, 123, 0, '', 468, 4], cldap: [17, 389, 0, '', 1450, 60], frag: [17, 0, 0, '', 1480, 22], gre: [47, 0, 0, '', 540, 12], ack: [6, 0, 443, 'A', 62, 6], conn: [6, 0, 80, 'S', 60, 0] };

/** What each is like: pps and bits at its height, how it came and went. */
const kinds = [
  { id: 'attack-0a41', object: { kind: 'address', prefix: '203.0.113.80/32', name: 'Example Hosting' }, direction: 'incoming', ago: 14 * MINUTE, lasts: null, severity: 1, pps: 412_000, size: 62, vectors: [['syn', 0.93], ['ack', 0.07]], usual: 3200, limit: 20_000, sampling: 1000, sources: [118_400, 950], forged: true, infected: 0, own: 0, targets: 1, confidence: 0.98, witnesses: ['flow', 'backscatter'], delay: 1.4, shape: 'ramp', acts: 'announced' },
  { id: 'attack-0a42', object: { kind: 'prefix', prefix: '198.51.100.0/24', name: 'Example University' }, direction: 'incoming', ago: 52 * MINUTE, lasts: null, severity: 1, pps: 4_310_000, size: 1190, vectors: [['dns', 0.61], ['ntp', 0.22], ['frag', 0.17]], usual: 21_000, limit: 200_000, sampling: 2000, sources: [18_220, 140], forged: false, infected: 3, own: 0, targets: 214, confidence: 0.96, witnesses: ['flow'], delay: 1.9, shape: 'plateau', acts: 'confirmed' },
  { id: 'attack-0a43', object: { kind: 'address', prefix: '192.0.2.53/32', name: 'Example DNS' }, direction: 'incoming', ago: 11 * MINUTE, lasts: null, severity: 2, pps: 1_920_000, size: 625, vectors: [['udp', 0.88], ['gre', 0.12]], usual: 14_000, limit: 100_000, sampling: 1000, sources: [7340, 60], forged: null, infected: 41, own: 0, targets: 1, confidence: 0.91, witnesses: ['flow'], delay: 1.7, shape: 'pulse', acts: 'proposed' },
  { id: 'attack-0a44', object: { kind: 'address', prefix: '203.0.113.x', name: '' }, direction: 'outgoing', ago: 3 * HOUR, lasts: null, severity: 2, pps: 38_000, size: 480, vectors: [['udp', 1]], usual: 40, limit: 10_000, sampling: 1000, sources: [1, 0], forged: false, infected: 1, own: 1, targets: 1, confidence: 0.94, witnesses: ['flow'], delay: 2.3, shape: 'plateau', acts: '' },
  { id: 'attack-0a45', object: { kind: 'customer', prefix: '', name: 'Example CDN' }, direction: 'incoming', ago: 41 * MINUTE, lasts: null, severity: 3, pps: 890_000, size: 1210, vectors: [], usual: 310_000, limit: 600_000, sampling: 1000, sources: [64_800, 520], forged: false, infected: 2, own: 0, targets: 12, confidence: 0.18, witnesses: ['flow'], delay: 12, shape: 'ramp', acts: '' },
  { id: 'attack-0a40', object: { kind: 'address', prefix: '192.0.2.10/32', name: 'Example DNS' }, direction: 'incoming', ago: 7 * HOUR, lasts: 74 * MINUTE, severity: 1, pps: 108_000_000, size: 1389, vectors: [['dns', 0.72], ['cldap', 0.19], ['frag', 0.09]], usual: 14_000, limit: 100_000, sampling: 4096, sources: [104_300, 850], forged: false, infected: 612, own: 9, targets: 1, confidence: 0.99, witnesses: ['flow', 'backscatter', 'names'], delay: 1.1, shape: 'plateau', acts: 'withdrawn' },
];
const small = ['syn', 'dns', 'ntp', 'udp', 'conn', 'cldap', 'ack', 'gre'];
const old = Array.from({ length: 260 }, (_, i) => {
  const v = small[Math.floor(hash('v', i) * small.length)];
  const pps = Math.round(10 ** (4.4 + hash('pps', i) * 2.6));
  return { id: `attack-${(0x900 - i).toString(16).padStart(4, '0')}`, object: hash('o', i) < 0.12 ? { kind: 'prefix', prefix: `198.51.100.${Math.floor(hash('pp', i) * 4) * 64}/26`, name: 'Example University' } : { kind: 'address', prefix: `203.0.113.${2 + Math.floor(hash('a', i) * 250)}/32`, name: hash('n', i) < 0.5 ? 'Example Hosting' : 'Example Games' }, direction: hash('d', i) < 0.06 ? 'outgoing' : 'incoming', ago: 8 * HOUR + i * 34 * MINUTE + hash('s', i) * 20 * MINUTE, lasts: 40 * SECOND + hash('l', i) ** 3 * 50 * MINUTE, severity: pps > 1e6 ? 1 : pps > 1e5 ? 2 : 3, pps, size: form[v][4], vectors: hash('m', i) < 0.2 ? [[v, 0.8], ['frag', 0.2]] : [[v, 1]], usual: 2000, limit: 20_000, sampling: 1000, sources: [Math.round(20 + pps ** 0.72), Math.round(pps ** 0.36)], forged: v === 'syn' ? true : v === 'udp' ? null : false, infected: Math.round(hash('i', i) * 5), own: 0, targets: 1, confidence: 0.9 + hash('c', i) * 0.09, witnesses: ['flow'], delay: 1 + hash('de', i), shape: 'plateau', acts: hash('ac', i) < 0.25 ? 'withdrawn' : '' };
});
const all = [...kinds, ...old].map((k) => ({ ...k, opened: began - k.ago, closed: k.lasts ? began - k.ago + k.lasts : null }));
const find = (id) => all.find((k) => k.id === id);

/** Packets a second at a time, what routers dropped of them, both as they were. */
const at = (k, t) => {
  const noise = 0.93 + 0.14 * hash(k.id, Math.floor(t / SECOND));
  const usual = k.usual * (0.85 + 0.3 * hash('u', k.id, Math.floor(t / (7 * SECOND))));
  const s = (t - k.opened) / SECOND;
  if (s < 0 || (k.closed && t > k.closed)) return { packets: usual, dropped: 0 };
  let share = Math.min(1, 0.3 + s / (k.shape === 'ramp' ? 90 : 6));
  if (k.shape === 'pulse' && s % 100 > 40) share = 0;
  if (k.shape === 'plateau') share *= 0.82 + 0.18 * Math.sin(s / 210 + hash(k.id) * 6);
  const whole = k.pps * share * noise;
  const sent = times(k).announced;
  if (!rehearsal && sent && t > sent + 1400 && k.acts !== 'announced') return { packets: usual + whole * 0.038, dropped: whole * 0.962 };
  return { packets: usual + whole, dropped: 0 };
};
const relative = (k, packets) => Math.min(0.9, 1.96 * Math.sqrt(k.sampling / Math.max(1, packets)));
const rate = (k, packets, flows = 0) => {
  const e = relative(k, packets);
  return { packets: m(packets, packets * e), bits: m(packets * k.size * 8, packets * k.size * 8 * e), flows: m(flows, flows * 0.1), covered: true };
};
const seconds = (k, now) => ((k.closed ?? now) - k.opened) / SECOND;
const volume = (k, now) => k.pps * seconds(k, now) * (k.shape === 'pulse' ? 0.38 : 0.86);

const vectors = (k, now) => {
  const bytes = k.vectors.reduce((a, [v, s]) => a + s * form[v][4], 0);
  return k.vectors.map(([v, share]) => {
    const [proto, src_port, dst_port, flags, length, spread] = form[v];
    const n = volume(k, now) * share;
    return { name: names[v], words: words[v], share, bits: (share * length) / bytes, packets: m(n, n * 0.004), proto, src_port, dst_port, flags, length: m(length, spread), sources: { n: Math.round(k.sources[0] * (0.4 + 0.6 * share)), error: Math.round(k.sources[1] * share) }, ports: dst_port ? [{ key: String(dst_port), share: 1, packets: n, bits: 0 }] : [{ key: '80', share: 0.31, packets: n * 0.31, bits: 0 }, { key: '443', share: 0.22, packets: n * 0.22, bits: 0 }, { key: '27015', share: 0.04, packets: n * 0.04, bits: 0 }] };
  });
};
const target = (k) => (k.object.kind === 'customer' ? k.object.name : k.object.prefix.replace('/32', ''));
const g = (bits) => (bits >= 1e12 ? `${(bits / 1e12).toFixed(2)} Tbps` : bits >= 1e9 ? `${(bits / 1e9).toFixed(1)} Gbps` : `${(bits / 1e6).toFixed(0)} Mbps`);
const title = (k) => {
  const peak = g(k.pps * k.size * 8);
  if (!k.vectors.length) return text(`${target(k)} への通信の増加、${peak}(攻撃の形ではない)`, `More traffic than usual to ${target(k)}, ${peak} (not in the form of an attack)`);
  const v = words[k.vectors[0][0]];
  if (k.direction === 'outgoing') return text(`自網の ${target(k)} が ${v.ja}に加担、${peak}`, `Own address ${target(k)} takes part in a ${v.en}, ${peak}`);
  return k.object.kind === 'prefix' ? text(`${target(k)} への絨毯爆撃(${v.ja})、${peak}`, `Carpet bombing of ${target(k)} (${v.en}), ${peak}`) : text(`${target(k)} への ${v.ja}、${peak}`, `${v.en} on ${target(k)}, ${peak}`);
};
const why = (k) => {
  const n = Math.round(k.pps / 1000).toLocaleString('en');
  const e = Math.round((k.pps / 1000) * relative(k, k.pps * 2)) || 1;
  if (!k.vectors.length) return text('平常の 2.9 倍ですが、送信元は双方向に通信し、セッションは確立しています。配信の集中とみられ、緩和は提案しません。', 'At 2.9 times the usual, yet sources talk both ways and sessions are established. It looks like a rush of visitors: no mitigation is proposed.');
  return text(`直近 3 秒のうち 2 秒で ${n} ± ${e} kpps。95 % 下限がしきい値 ${k.limit / 1000} kpps を超えました。${k.vectors.length > 1 ? '複数の手口が混ざっています。' : ''}`, `${n} ± ${e} kpps in 2 of the last 3 seconds: the lower 95 % bound is above the threshold of ${k.limit / 1000} kpps.${k.vectors.length > 1 ? ' Several vectors are mixed.' : ''}`);
};
const where = (k) => {
  const raw = countries.map((c) => ({ c, w: c.weight * (0.4 + hash('cc', k.id, c.key) * 1.6) }));
  const sum = raw.reduce((a, r) => a + r.w, 0) / 0.97;
  const n = volume(k, dataNow());
  return [...raw.map(({ c, w }) => ({ key: c.key, name: '', share: w / sum, packets: (n * w) / sum, bits: 0, lat: c.lat, lon: c.lon, located: true })), { key: '', name: '', share: 0.03, packets: n * 0.03, bits: 0, lat: null, lon: null, located: false }].sort((a, b) => b.share - a.share);
};
const networks = (k) => Array.from({ length: 16 }, (_, i) => ({ key: `AS${64496 + i}`, name: `Example Network ${i + 1}`, share: (0.17 * 0.82 ** i) * (0.8 + 0.4 * hash('as', k.id, i)), packets: 0, bits: 0, lat: null, lon: null, located: false })).map((r) => ({ ...r, packets: volume(k, dataNow()) * r.share })).sort((a, b) => b.share - a.share);

const row = (k) => {
  const now = dataNow();
  const here = at(k, Math.min(now, k.closed ?? now));
  const n = volume(k, now);
  const last = mitigationsOf(k).at(-1);
  return {
    id: k.id, state: k.closed ? 'closed' : now - k.opened < MINUTE ? 'opened' : 'changed', direction: k.direction, object: k.object, opened: iso(k.opened), detected: new Date(k.opened + k.delay * SECOND).toISOString(), changed: iso(k.closed ?? now), closed: k.closed ? iso(k.closed) : null,
    pulses: k.shape === 'pulse' ? Math.max(1, Math.ceil(seconds(k, now) / 100)) : 1, severity: k.severity, confidence: k.confidence, witnesses: k.witnesses, title: title(k), why: why(k),
    now: rate(k, here.packets), peak: rate(k, Math.max(k.pps * 1.07 + k.usual, here.packets)), usual: k.id === 'attack-0a43' ? null : rate({ ...k, sampling: 0 }, k.usual), limit: { packets: m(k.limit), bits: m(0), flows: m(0), covered: true }, packets: m(n, n * 0.003), bytes: m(n * k.size, n * k.size * 0.003),
    vectors: vectors(k, now), targets: { n: k.targets, error: k.targets > 100 ? 3 : 0 }, sources: { count: { n: k.sources[0], error: k.sources[1] }, countries: where(k).slice(0, 5), networks: networks(k).slice(0, 5), forged: k.forged, forged_why: k.forged ? text('送信元ごとに 1 パケット、割り当てのない空間からも届いています。', 'One packet for each source, and some from space that nobody routes.') : text('', ''), infected: k.infected, own: k.own, looked: Math.min(4096, k.sources[0]) },
    mitigation: last ? { state: last.state, words: last.words, id: last.id } : null, ack: acks.get(k.id) ?? null,
  };
};

// ---- mitigations

const stateWords = { proposed: text('承認を待っています。', 'Waits for approval.'), approved: text('承認されました。', 'Approved.'), announced: text('送信しましたが、効果は未確認です。', 'Sent; its effect is not confirmed.'), confirmed: text('カウンターで効果を確認しました。', 'The counters confirm its effect.'), withdrawn: text('解除しました。', 'Withdrawn.'), rejected: text('却下されました。', 'Rejected.'), refused: text('見送りました。', 'Refused.') };
const collateral = (share, error, limit = 0.05) => ({ share: m(share, error), limit, known: true, ordinary_samples: 512, method: text('攻撃前の平常の標本', 'samples of ordinary traffic before the attack') });
const proposal = (k, choice = 0) => {
  const dst = k.object.prefix || '203.0.113.0/24';
  const v = k.vectors[0]?.[0] ?? 'udp';
  const rules = {
    syn: [[`dst ${dst} proto =6 dport =443 tcp-flags =S length =60`, 'drop', null, text('443/TCP への 60 バイトの SYN を廃棄', 'drop SYNs of 60 bytes to 443/TCP')]],
    dns: [[`dst ${dst} proto =17 sport =53 length >=1000`, 'drop', null, text('送信元ポート 53、1000 バイト以上の UDP を廃棄', 'drop UDP from port 53 of 1000 bytes and more')], [`dst ${dst} proto =17 sport =123 length =468`, 'drop', null, text('送信元ポート 123、468 バイトの UDP を廃棄', 'drop UDP from port 123 of 468 bytes')], [`dst ${dst} proto =17 fragment is-fragment`, 'rate_bytes', 12_500_000, text('断片を 100 Mbps に制限', 'limit fragments to 100 Mbps')]],
    udp: [[`dst ${dst} proto =17 dport >=1024 length >=480&<=540`, 'rate_bytes', 25_000_000, text('480–540 バイトの UDP を 200 Mbps に制限', 'limit UDP of 480 to 540 bytes to 200 Mbps')], [`dst ${dst} proto =47`, 'drop', null, text('GRE を廃棄', 'drop GRE')]],
  }[v] ?? [[`dst ${dst} proto =17`, 'drop', null, text('UDP を廃棄', 'drop UDP')]];
  const chosen = choice === 0 ? rules : [[`dst ${dst} proto =${form[v][0]}`, 'drop', null, text('プロトコル全体を廃棄', 'drop the whole protocol')]];
  const flowspec = chosen.map((r) => `${r[0]} then ${r[1]}${r[2] ? ` ${r[2]}` : ''}`).join('\n');
  return {
    rules: chosen.map(([t, action, r, w]) => ({ text: t, match: {}, action, rate: r, words: w })), stops: choice === 0 ? m(0.962, 0.004) : m(0.998, 0.001), collateral: choice === 0 ? collateral(v === 'syn' ? 0.021 : 0.004, 0.009) : collateral(0.41, 0.043), refused: choice !== 0,
    why: choice === 0 ? text('これより狭いルールでは 95 % に届きません。', 'No narrower rule set reaches 95 %.') : text('巻き添えが上限 5 % を超えるため、提案できません。', 'Its collateral is above the limit of 5 %, so it is not proposed.'),
    alternatives: [{ text: `dst ${dst} proto =${form[v][0]}`, stops: m(0.998, 0.001), collateral: m(0.41, 0.043), why: text('巻き添えが上限を超えます。', 'Collateral is above the limit.') }, { text: `dst ${dst} src 198.51.100.0/24 proto =${form[v][0]}`, stops: m(0.18, 0.02), collateral: m(0.001, 0.001), why: text('止まる割合が足りません。', 'It stops too little.') }, { text: `rtbh ${dst}`, stops: m(1), collateral: m(1), why: text('宛先の通信がすべて止まります。最後の手段です。', 'All traffic of the target stops: the last resort.') }],
    forms: { flowspec, rtbh: `route ${dst} next-hop 192.0.2.1 community [65535:666 no-export]`, nftables: `table inet sakimori {\n  chain ingress {\n    type filter hook prerouting priority raw; policy accept;\n    ip daddr ${dst} meta l4proto ${form[v][0]} counter drop\n  }\n}\n`, iptables: `iptables -t raw -A PREROUTING -d ${dst} -p ${form[v][0]} -j DROP\n`, request: text(`上流事業者 御中\n\n弊社 ${dst} 宛てに${words[v].ja}(最大 ${g(k.pps * k.size * 8)})が続いています。\n次の条件に当たる通信の遮断をお願いします。\n\n${flowspec}\n\n期限: 1 時間後`, `To our upstream\n\n${dst} is under a ${words[v].en} of up to ${g(k.pps * k.size * 8)}.\nPlease filter what matches:\n\n${flowspec}\n\nUntil: one hour from now`) },
    conditions: [{ name: 'finding', met: true, words: text('攻撃が続いていることを検知が示しています。', 'A finding shows that the attack is under way.') }, { name: 'harm', met: true, words: text('設備の機能に支障が生じるおそれがあります。', 'The working of facilities is in danger.') }, { name: 'alternatives', met: true, words: text('より狭い手段では足りません。', 'Narrower means are not enough.') }, { name: 'collateral', met: choice === 0, words: text('巻き添えが上限 5 % 以内です。', 'Collateral is within the limit of 5 %.') }],
    rule: 'facilities-attack', rule_title: text('設備への攻撃の遮断(ガイドライン ②)', 'Filtering attacks on facilities (guideline ②)'),
  };
};
const chosenTimes = new Map();
/** When each step of the act against an attack was done, ms; null not yet. */
function times(k) {
  if (!k.acts) return {};
  const known = chosenTimes.get(k.id);
  if (known) return known;
  const p = k.opened + 20 * SECOND;
  const far = ['proposed', 'announced', 'confirmed', 'withdrawn'].indexOf(k.acts);
  const t = { proposed: p, approved: far >= 1 ? p + 65 * SECOND : null, announced: far >= 1 ? p + 67 * SECOND : null, confirmed: far >= 2 ? p + 74 * SECOND : null, withdrawn: far >= 3 ? (k.closed ?? began) + 70 * SECOND : null, who: [], rejected: null };
  if (k.acts === 'announced') Object.assign(t, { proposed: began - 6 * MINUTE, approved: began - 3 * MINUTE, announced: began - 2 * MINUTE });
  if (k.acts === 'proposed') t.proposed = began - 4 * MINUTE;
  if (rehearsal) t.announced = t.confirmed = null; // nothing is sent
  chosenTimes.set(k.id, t);
  return t;
}
const made = new Map(); // acts that were proposed on the page
function mitigationsOf(k) {
  const t = times(k);
  if (!t.proposed) return [];
  const state = t.rejected ? 'refused' : t.withdrawn ? 'withdrawn' : t.confirmed ? 'confirmed' : t.announced ? 'announced' : t.approved ? 'approved' : 'proposed';
  const who = t.who.length ? t.who : t.approved ? ['network:sato'] : [];
  const sent = t.announced ?? t.approved;
  const history = [['proposed', t.proposed, 'operator:kato'], ['approved', t.approved, who[0]], ['announced', t.announced, 'sakimori'], ['confirmed', t.confirmed, 'sakimori'], ['withdrawn', t.withdrawn, t.by ?? 'sakimori'], ['refused', t.rejected, t.by ?? '']];
  return [{
    id: made.get(k.id) ?? `M-${k.id.slice(-4)}`, attack: k.id, object: k.object, state, words: stateWords[state], rehearsal, proposal: proposal(k), grant: t.approved ? { id: `G-00${k.id.slice(-3)}`, rule: 'facilities-attack', title: text('設備への攻撃の遮断(ガイドライン ②)', 'Filtering attacks on facilities (guideline ②)'), until: iso(t.proposed + 6 * HOUR) } : null,
    proposed_by: 'operator:kato', proposed_at: iso(t.proposed), approvals: t.approved ? who.map((w) => ({ who: w, at: iso(t.approved), why: t.why ?? '攻撃中、巻き添えは上限内' })) : [], needs: t.approved || t.rejected ? 0 : 1,
    announced_at: t.announced ? iso(t.announced) : null, confirmed_at: t.confirmed ? iso(t.confirmed) : null, effect_ms: t.confirmed ? 1400 : null, before: t.confirmed ? rate(k, k.pps * 0.9) : null, after: t.confirmed ? rate(k, k.usual + k.pps * 0.034) : null,
    ends: sent ? iso(Math.max(sent, began) + 55 * MINUTE) : null, withdrawn_at: t.withdrawn ? iso(t.withdrawn) : null, withdrawn_by: t.withdrawn ? (t.by ?? 'sakimori') : '', reason: t.withdrawn ? (t.by ? text(t.why, t.why) : text('攻撃が終わりました。', 'The attack has ended.')) : t.rejected ? text(t.why, t.why) : null,
    held: t.announced && !t.withdrawn && !rehearsal ? [{ peer: 'edge-tokyo', rules: proposal(k).rules.length, at: iso(t.announced) }, ...(t.confirmed ? [{ peer: 'edge-osaka', rules: proposal(k).rules.length, at: iso(t.announced) }] : [])] : [],
    history: history.filter(([, when]) => when).map(([state, when, by]) => ({ at: iso(when), state, who: by, why: stateWords[state] })),
  }];
}
const mitigations = () => all.flatMap(mitigationsOf).sort((a, b) => b.proposed_at.localeCompare(a.proposed_at));
const peers = () => [
  { name: 'edge-tokyo', address: '192.0.2.1', as: 64500, state: 'established', words: text('すべて届いています。', 'Everything has arrived.'), since: iso(began - 9 * DAY), families: ['ipv4-flowspec', 'ipv6-flowspec', 'ipv4-unicast'], held: rehearsal ? 0 : 4, error: null },
  { name: 'edge-osaka', address: '192.0.2.2', as: 64500, state: 'connecting', words: text('再接続しています。届いていないルールがあります。', 'Reconnecting; some rules have not arrived.'), since: iso(began - 7 * MINUTE), families: ['ipv4-flowspec'], held: rehearsal ? 0 : 3, error: text('保持時間切れ。相手までの到達性を確認してください。', 'Hold timer expired. Check that the peer can be reached.') },
];

// ---- the routes

const page = (list, q, name, more) => {
  const at = Number(q.get('cursor') || 0);
  const n = Math.min(500, Number(q.get('limit') || 100));
  return { [name]: list.slice(at, at + n), next: at + n < list.length ? String(at + n) : null, ...more };
};
const inside = (k, s) => target(k).toLowerCase().includes(s) || k.object.name.toLowerCase().includes(s) || (k.object.kind === 'prefix' && s.startsWith(k.object.prefix.split('.').slice(0, 3).join('.')));
const list = (q) => {
  const [state, s] = [q.get('state'), (q.get('q') ?? '').toLowerCase().replace(/\/32$/, '')];
  const [from, to] = [Date.parse(q.get('from') ?? ''), Date.parse(q.get('to') ?? '')];
  const fits = all.filter((k) => (!state || (state === 'open') === !k.closed) && (!q.get('direction') || k.direction === q.get('direction')) && (!q.get('vector') || k.vectors.some(([v]) => names[v] === q.get('vector'))) && (!s || inside(k, s)) && !(k.closed && k.closed < from) && !(k.opened >= to));
  return page(fits.sort((a, b) => b.opened - a.opened).map(row), q, 'attacks', { running: kinds.filter((k) => !k.lasts).length, rehearsal, data_time: iso(dataNow()) });
};
const course = (k, q) => {
  const step = Number(q.get('step') || 1);
  const unit = step * SECOND;
  const now = dataNow();
  const from = Math.floor((Date.parse(q.get('from') ?? '') || k.opened - MINUTE) / unit) * unit;
  const to = Math.min(Date.parse(q.get('to') ?? '') || now, now);
  const hole = [k.opened + seconds(k, now) * 620, k.opened + seconds(k, now) * 640];
  const points = [];
  for (let t = from; t < to && points.length < 20_000; t += unit) {
    if (k.id === 'attack-0a42' && t >= hole[0] && t < hole[1]) continue;
    const { packets, dropped } = at(k, t);
    points.push({ at: Math.floor(t / SECOND), packets, bits: packets * k.size * 8, error: packets * relative(k, packets * step), dropped, usual: k.id === 'attack-0a43' ? 0 : k.usual, limit: k.limit });
  }
  const acts = mitigationsOf(k).flatMap((x) => x.history.map((h) => ({ at: h.at, state: h.state, words: h.why, id: x.id })));
  return { step, points, acts, gaps: k.id === 'attack-0a42' ? [{ from: iso(hole[0]), to: iso(hole[1]), reason: text('エクスポーター edge-osaka の再起動', 'the exporter edge-osaka restarted') }] : [] };
};
const share = (entries) => entries.map(([key, name, s], i) => ({ key, name, share: s, packets: s * 1e8, bits: 0, i }));
const whole = (k) => ({
  attack: { ...row(k), hit: k.targets > 1 ? share(Array.from({ length: 12 }, (_, i) => [`198.51.100.${7 + i * 17}`, '', 0.02 * 0.96 ** i])) : share([[target(k), '', 1]]), ingress: share([['1/12', 'edge-tokyo xe-0/0/3 (IX A)', 0.58], ['1/14', 'edge-tokyo xe-0/0/5 (Transit B)', 0.27], ['2/7', 'edge-osaka et-0/1/0 (Transit C)', 0.15]]),
  mitigations: mitigationsOf(k),
  history: [{ at: iso(k.opened + k.delay * SECOND), state: 'opened', why: why(k), peak: rate(k, k.pps * 0.3), confidence: k.confidence * 0.8 }, { at: iso(k.opened + 30 * SECOND), state: 'changed', why: text('手口の割合が定まりました。', 'The shares of the vectors have settled.'), peak: rate(k, k.pps), confidence: k.confidence }, ...(k.closed ? [{ at: iso(k.closed), state: 'closed', why: text('60 秒続けて、95 % 上限がしきい値を下回りました。', 'The upper 95 % bound was below the threshold for 60 seconds.'), peak: rate(k, k.pps), confidence: k.confidence }] : [])] },
});
const refusal = (status, code, ja, en) => ({ refusal: { status, code, ja, en } });
let tell = () => undefined;
const act = (id, verb, why) => {
  const k = all.find((x) => mitigationsOf(x).some((y) => y.id === id));
  if (!k) return refusal(404, 'not_found', 'この緩和はありません。', 'There is no such mitigation.');
  if (!why?.trim()) return refusal(422, 'why_missing', '理由を書いてください。', 'Give a reason.');
  const t = times(k);
  const now = dataNow();
  if (verb === 'approve') Object.assign(t, { approved: now, announced: rehearsal ? null : now + SECOND, confirmed: rehearsal ? null : now + 8 * SECOND, who: ['admin:demo'], why });
  else if (verb === 'reject') Object.assign(t, { rejected: now, by: 'admin:demo', why });
  else Object.assign(t, { withdrawn: now, by: 'admin:demo', why });
  const mitigation = mitigationsOf(k)[0];
  tell('mitigation', mitigation);
  return { mitigation };
};

/** Answers a route of attacks or mitigations, or gives undefined. */
export const attacks = (method, path, q, given) => {
  let p;
  if (path === '/attacks') return list(q);
  if (path === '/mitigations') return page(mitigations().filter((x) => !q.get('state') || x.state === q.get('state')), q, 'mitigations', { rehearsal, peers: peers(), budget: { rules: rehearsal ? 0 : 4, max: 100 }, protected: [{ prefix: '192.0.2.0/28', name: 'DNS resolvers' }, { prefix: '2001:db8:53::/48', name: 'DNS resolvers' }, { prefix: '198.18.0.0/24', name: 'Emergency calls' }] });
  if ((p = /^\/mitigations\/([^/]+)\/(approve|reject|withdraw)$/.exec(path)) && method === 'POST') return act(p[1], p[2], given.why);
  if ((p = /^\/mitigations\/([^/]+)\/form$/.exec(path))) return { file: mitigations().find((x) => x.id === p[1])?.proposal.forms[q.get('as')] ?? '' };
  if (!(p = /^\/attacks\/([^/]+)(?:\/(course|sources|plan|propose))?$/.exec(path))) return undefined;
  const k = find(p[1]);
  if (!k) return refusal(404, 'not_found', 'この攻撃はありません。', 'There is no such attack.');
  if (!p[2]) return whole(k);
  if (p[2] === 'course') return course(k, q);
  if (p[2] === 'sources') return { rows: (q.get('by') === 'network' ? networks(k) : where(k)).slice(0, Number(q.get('limit') || 50)), looked: Math.min(4096, k.sources[0]), count: { n: k.sources[0], error: k.sources[1] }, estimated: true };
  if (p[2] === 'plan') return { proposals: [proposal(k), proposal(k, 1)] };
  k.acts = 'proposed';
  chosenTimes.set(k.id, { proposed: dataNow(), approved: null, announced: null, confirmed: null, withdrawn: null, who: [], rejected: null });
  return { mitigation: mitigationsOf(k)[0] };
};
/** Tells of those under way once a second. */
export const news = (send) => {
  tell = send;
  setInterval(() => kinds.filter((k) => !k.closed && !k.lasts).forEach((k) => send('attack', row(find(k.id)))), 1000).unref();
};
/** The attacks under way as findings of the work list. */
export const findings = () => all.filter((k) => !k.closed && k.vectors.length).map((k) => {
  const r = row(k);
  return { id: r.id, detector: 'ddos', subject: target(k), state: r.state, severity: r.severity, confidence: r.confidence, opened: r.opened, changed: r.changed, title: r.title, why: r.why, evidence: [{ key: 'peak', value: g(r.peak.bits.n) }, { key: 'sources', value: String(r.sources.count.n), error: `±${r.sources.count.error}` }], ack: r.ack };
});
