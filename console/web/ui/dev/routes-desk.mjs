// What stands beside incidents of routing in the mock: what is watched, neighbours, feeds,
// readiness, drills, and what can be done: letters, filters, limits, own more-specifics.
import { DAY, HOUR, MINUTE, dataNow, iso } from './data.mjs';

const SECOND = 1000;
const began = dataNow();
const text = (ja, en) => ({ ja, en });
const refusal = (status, code, ja, en) => ({ refusal: { status, code, ja, en } });

export const watched = (leak, outage) => ({
  data_time: iso(dataNow()),
  prefixes: [
    { prefix: '192.0.2.0/24', name: 'Example Bank', origins: [64502], state: 'invisible', words: text('41 の観測点のうち 5 でしか見えません。', 'Only 5 of 41 vantage points see it.'), seen: 5, whole: 41, upstreams: [{ as: 64500, name: 'Example Telecom A', share: 1, first: iso(began - 400 * DAY) }], rov: 'valid', aspa: 'valid', longest: 0, more_specifics: 0, incident: outage, last_change: iso(began - 26 * MINUTE) },
    { prefix: '2001:db8:4000::/34', name: '', origins: [64500], state: 'changed', words: text('細かい経路 24,262 が、ふだんと違う AS64496 を通って見えます。', '24,262 more-specifics are seen by way of AS64496, which isn’t usual.'), seen: 41, whole: 41, upstreams: [{ as: 64498, name: 'Transit Q', share: 0.52, first: iso(began - 210 * DAY) }, { as: 64499, name: 'Transit R', share: 0.41, first: iso(began - 400 * DAY) }, { as: 64496, name: 'Overseas Operator X', share: 0.07, first: iso(began - 9 * MINUTE) }], rov: 'valid', aspa: 'unknown', longest: 48, more_specifics: 24262, incident: leak, last_change: iso(began - 9 * MINUTE) },
    { prefix: '198.18.0.0/15', name: '', origins: [64500], state: 'changed', words: text('細かい経路 512 が新しく見えます。', '512 more-specifics are new.'), seen: 41, whole: 41, upstreams: [{ as: 64498, name: 'Transit Q', share: 0.55, first: iso(began - 210 * DAY) }, { as: 64499, name: 'Transit R', share: 0.45, first: iso(began - 400 * DAY) }], rov: 'valid', aspa: 'unknown', longest: 24, more_specifics: 512, incident: leak, last_change: iso(began - 8 * MINUTE) },
    { prefix: '203.0.113.0/24', name: 'Example Bank', origins: [64502], state: 'ok', words: text('ふだんどおり見えます。', 'Seen as usual.'), seen: 41, whole: 41, upstreams: [{ as: 64500, name: 'Example Telecom A', share: 1, first: iso(began - 400 * DAY) }], rov: 'not-found', aspa: 'none', longest: 0, more_specifics: 0, incident: null, last_change: iso(began - 5 * HOUR) },
    { prefix: '198.51.100.0/24', name: 'Example University', origins: [64505], state: 'unknown', words: text('全経路をもつ観測点が 3 に満たず、判断できません。', 'Fewer than 3 vantage points with a whole table: it can’t be judged.'), seen: 1, whole: 2, upstreams: [], rov: 'unknown', aspa: 'none', longest: 0, more_specifics: 0, incident: null, last_change: null },
  ],
});
export const neighbors = (leak) => ({
  neighbors: [
    { as: 64498, name: 'Transit Q', relation: 'provider', relation_source: 'config', score: 1, address: '192.0.2.1', feed: 'edge1', view: 'adj-rib-in', up: true, since: iso(began - 19 * DAY), last: iso(dataNow()), prefixes: { v4: 951_204, v6: 231_050 }, maximum30d: { v4: 948_312, v6: 230_911 }, max_prefix: { v4: 1_190_000, v6: 290_000 }, updates_s: 412.4, resets: 1, transit: true, incident: null, otc: { role: 'customer', words: text('役割を取り決め済み(こちらが顧客)', 'role agreed: we are the customer') } },
    { as: 64497, name: 'Carrier P', relation: 'peer', relation_source: 'file', score: 1, address: '192.0.2.5', feed: 'edge1', view: 'adj-rib-in', up: true, since: iso(began - 44 * DAY), last: iso(dataNow()), prefixes: { v4: 29_412, v6: 161_204 }, maximum30d: { v4: 28_390, v6: 4_120 }, max_prefix: { v4: 36_000, v6: 5_200 }, updates_s: 1_204.8, resets: 0, transit: null, incident: leak, otc: { role: null, words: text('役割の取り決めなし', 'no role agreed') } },
    { as: 64502, name: 'Example Bank', relation: 'customer', relation_source: 'config', score: 1, address: '192.0.2.9', feed: 'edge2', view: 'adj-rib-in-post', up: false, since: iso(began - 26 * MINUTE), last: iso(began - 26 * MINUTE), prefixes: { v4: 0, v6: 0 }, maximum30d: { v4: 3, v6: 1 }, max_prefix: { v4: 10, v6: 10 }, updates_s: 0, resets: 4, transit: false, incident: null, otc: { role: 'provider', words: text('役割を取り決め済み(こちらが上流)', 'role agreed: we are the provider') } },
    { as: 64501, name: 'Example Telecom B', relation: 'peer', relation_source: 'learnt', score: 0.83, address: '2001:db8::b', feed: 'edge2', view: 'adj-rib-in', up: true, since: iso(began - 3 * DAY), last: iso(began - 4 * MINUTE), prefixes: { v4: 4_120, v6: 904 }, maximum30d: null, max_prefix: { v4: 0, v6: 0 }, updates_s: 2.1, resets: 0, transit: false, incident: null, otc: { role: null, words: text('役割の取り決めなし', 'no role agreed') } },
  ],
});
const feedPeers = (list) => list.map(([as, address, view, up, routes, weight, damped]) => ({ as, address, view, up, routes, elements: routes * 3, weight, damped }));
export const feeds = () => ({
  feeds: [
    { name: 'edge1', kind: 'bmp', address: '192.0.2.1:11019', state: 'ok', words: text('すべて届いています。', 'All of it arrives.'), advice: [], since: iso(began - 19 * DAY), last: iso(dataNow()), peers: 2, whole: 1, routes: 1_372_870, messages: 41_204_991, elements: 96_201_333, malformed: [{ reason: 'attribute-length', count: 2 }], dropped: 0, delay_ms: 41, skew_ms: -12, resets: 1, peers_list: feedPeers([[64498, '192.0.2.1', 'adj-rib-in', true, 1_182_254, 1, false], [64497, '192.0.2.5', 'adj-rib-in', true, 190_616, 1, false]]) },
    { name: 'edge2', kind: 'bmp', address: '192.0.2.2:11019', state: 'stale', words: text('4 分間なにも届いていません。この間の経路の変化は分かりません。', 'Nothing has arrived for 4 minutes: changes since then aren’t known.'), advice: [text('ルーター edge2 の BMP の送信先と到達性を確認する', 'Check edge2’s BMP target and that it reaches us'), text('届かないままなら、別の入力を加える', 'If it stays silent, add another feed')], since: iso(began - 3 * DAY), last: iso(began - 4 * MINUTE), peers: 2, whole: 0, routes: 5_024, messages: 912_004, elements: 1_204_113, malformed: [], dropped: 0, delay_ms: null, skew_ms: 812, resets: 6, peers_list: feedPeers([[64501, '2001:db8::b', 'adj-rib-in', true, 5_024, 0.4, false], [64502, '192.0.2.9', 'adj-rib-in-post', false, 0, 0.2, true]]) },
    { name: 'rrc06', kind: 'ris-live', address: 'ris-live.example', state: 'ok', words: text('すべて届いています。', 'All of it arrives.'), advice: [], since: iso(began - 31 * HOUR), last: iso(dataNow()), peers: 39, whole: 38, routes: 36_120_442, messages: 88_211_040, elements: 140_213_004, malformed: [], dropped: 1_204, delay_ms: 780, skew_ms: 5, resets: 2, peers_list: feedPeers([[65540, '198.51.100.20', 'collector', true, 1_180_012, 1, false], [65541, '198.51.100.21', 'collector', true, 1_176_903, 1, false], [65543, '198.51.100.23', 'collector', true, 402_118, 0.4, true]]) },
    { name: 'collector', kind: 'bgp', address: '192.0.2.250:179', state: 'ok', words: text('すべて届いています。', 'All of it arrives.'), advice: [], since: iso(began - 9 * DAY), last: iso(dataNow()), peers: 1, whole: 1, routes: 951_204, messages: 2_204_113, elements: 5_002_114, malformed: [], dropped: 0, delay_ms: 18, skew_ms: null, resets: 0, peers_list: feedPeers([[64500, '192.0.2.250', 'collector', true, 951_204, 1, false]]) },
  ],
  rpki: {
    sources: [{ name: 'validator-1', kind: 'rtr', state: 'ok', words: text('同期しています。', 'In step.'), version: 2, serial: 90_412, vrps: 612_004, aspas: 1_204, refreshed: iso(dataNow() - 40 * SECOND), expires: iso(dataNow() + 2 * HOUR), error: null }, { name: 'rpki-client.json', kind: 'json', state: 'stale', words: text('7 時間更新されていません。期限まで使います。', 'Not renewed for 7 hours; used until it expires.'), version: null, serial: null, vrps: 611_870, aspas: 1_198, refreshed: iso(dataNow() - 7 * HOUR), expires: iso(dataNow() + 5 * HOUR), error: text('ファイルを作る側を確認してください。', 'Look at what makes the file.') }],
    vrps: 612_031, aspas: 1_204,
  },
  relations: { file: '20261101.as-rel2.txt.bz2', links: 612_830, learnt: 20_412, dated: '2026-11-01T00:00:00Z' },
  table: { prefixes: 1_213_402, routes: 38_449_540, paths: 2_812_004, bytes: 1_720_000_000, bytes_route: 44.7 },
});
export const readiness = () => ({
  paths: 4_812, rov: { valid: 3_514, invalid: 10, 'invalid-length': 2, 'not-found': 1_244, unknown: 42 }, aspa: { valid: 611, invalid: 3, unknown: 4_002, none: 196 }, otc: { marked: 1_020, unmarked: 3_792 },
  own: [{ prefix: '198.18.0.0/15', rov: 'valid', roa_missing: false, max_length: 16, words: text('登録済み。最大長 /16 は必要な範囲です。', 'Registered; up to /16 is what is needed.') }, { prefix: '2001:db8:4000::/34', rov: 'valid', roa_missing: false, max_length: 48, words: text('最大長 /48 が広すぎます。漏えいした細かい経路も有効になります。', 'Up to /48 is too wide: leaked more-specifics are valid, too.') }, { prefix: '203.0.113.0/24', rov: 'not-found', roa_missing: true, max_length: 0, words: text('ROA がありません。AS64502 で登録してください。', 'No ROA: register one for AS64502.') }],
  customers: [{ as: 64502, name: 'Example Bank', prefixes: 3, roa: 1, aspa: false, must: [text('203.0.113.0/24 と 198.51.100.0/24 の ROA を登録する', 'Register ROAs for 203.0.113.0/24 and 198.51.100.0/24'), text('上流として AS64500 を ASPA に登録する', 'Register AS64500 as provider in ASPA')] }, { as: 64503, name: 'Regional S', prefixes: 212, roa: 212, aspa: true, must: [] }],
  computed: iso(dataNow() - 3 * MINUTE),
});

// ---- drills: ten seconds each

const drills = new Map();
export const drill = (method, id, given, incident) => {
  if (method === 'POST' && !id) {
    const made = `d${drills.size + 1}`;
    drills.set(made, { at: Date.now(), policy: given.policy ?? '' });
    return { id: made };
  }
  const d = drills.get(id);
  if (!d) return refusal(404, 'not_found', 'この訓練はありません。', 'There is no such drill.');
  const done = Math.min(1, (Date.now() - d.at) / 3000);
  if (d.policy.includes('!')) return { state: 'failed', done, updates: 0, accepted: 0, rejected: 0, by: [], accepted_own: 0, first_alarm_s: null, incident: null, neighbors: [], error: text('3 行目: 知らない項目です。', 'Line 3: unknown key.') };
  return {
    state: done < 1 ? 'running' : 'done', done, updates: Math.round(160_000 * done), accepted: Math.round(24_150 * done), rejected: Math.round(135_850 * done), accepted_own: Math.round(4_210 * done), first_alarm_s: done < 1 ? null : 21.4, incident: done < 1 ? null : incident(), error: null,
    by: [{ reason: 'tier1-from-peer', words: text('対等の相手から中継事業者のAS番号', 'A carrier’s AS in a path from a peer'), routes: 92_400 }, { reason: 'rov-invalid', words: text('ROA に反する', 'Invalid by ROA'), routes: 31_250 }, { reason: 'max-prefix', words: text('最大経路数で切断された後', 'After max-prefix cut the session'), routes: 12_200 }],
    neighbors: [{ as: 64497, offered: 92_300, accepted: 6_500, maxprefix_at_s: 41 }, { as: 64498, offered: 54_000, accepted: 17_650, maxprefix_at_s: null }, { as: 64499, offered: 13_700, accepted: 0, maxprefix_at_s: null }],
  };
};

// ---- what can be done

const stateWords = { proposed: text('承認を待っています。', 'Waits for approval.'), approved: text('承認されました。', 'Approved.'), announced: text('広告しました。', 'Announced.'), confirmed: text('31 の観測点で見えています。', 'Seen by 31 vantage points.'), withdrawn: text('取り下げました。', 'Withdrawn.'), refused: text('却下されました。', 'Rejected.') };
const acts = [{ id: 'R-0c41', incident: 'incident-0c41', prefixes: ['198.18.0.0/16', '198.19.0.0/16'], by: 'operator:kato', proposed: began - 5 * MINUTE, approved: [], state: 'proposed', announced: null, confirmed: null, withdrawn: null, why: '' }];
const whole = (a) => {
  const history = [['proposed', a.proposed, a.by], ...a.approved.map((x) => ['approved', x.at, x.who]), ['announced', a.announced, 'sakimori'], ['confirmed', a.confirmed, 'sakimori'], ['withdrawn', a.state === 'withdrawn' ? a.withdrawn : null, a.who], ['refused', a.state === 'refused' ? a.withdrawn : null, a.who]].filter(([, at]) => at);
  return {
    id: a.id, incident: a.incident, prefixes: a.prefixes, state: a.state, words: stateWords[a.state], rehearsal: process.env.MOCK_REHEARSAL === '1',
    grant: { id: `g-${a.id.slice(2)}`, rule: 'own-announcement', title: text('自網の経路を通常と違う形で広告(正当業務行為)', 'Announcing own prefixes otherwise than usual (lawful business)'), until: iso(a.proposed + 6 * HOUR) },
    proposed_by: a.by, proposed_at: iso(a.proposed), approvals: a.approved.map((x) => ({ who: x.who, at: iso(x.at), why: x.why })), needs: a.state === 'proposed' ? 2 - a.approved.length : 0, announced_at: a.announced ? iso(a.announced) : null, confirmed_at: a.confirmed ? iso(a.confirmed) : null, ends: a.announced ? iso(a.announced + 2 * HOUR) : null,
    withdrawn_at: a.withdrawn ? iso(a.withdrawn) : null, withdrawn_by: a.who ?? '', reason: a.why ? text(a.why, a.why) : null, held: a.announced && a.state !== 'withdrawn' ? [{ peer: 'edge-tokyo', routes: a.prefixes.length, at: iso(a.announced) }] : [], history: history.map(([state, at, who]) => ({ at: iso(at), state, who: who ?? '', why: stateWords[state] })),
  };
};
const order = ['withdrawn', 'refused', 'proposed', 'approved', 'announced', 'confirmed'];
export const remedyOf = (id) => {
  const best = acts.filter((a) => a.incident === id).sort((a, b) => order.indexOf(b.state) - order.indexOf(a.state))[0];
  return { remedies: id === 'incident-0c41' ? 4 : id === 'incident-0c40' ? 2 : 0, remedy: best ? { id: best.id, state: best.state, words: stateWords[best.state] } : null };
};
export const announce = {
  tell: () => undefined,
  propose(incident, prefixes, why) {
    if (!why?.trim()) return refusal(422, 'why_missing', '理由を書いてください。', 'Give a reason.');
    const a = { id: `R-${acts.length + 100}`, incident, prefixes, by: 'admin:demo', proposed: dataNow(), approved: [], state: 'proposed', announced: null, confirmed: null, withdrawn: null, why: '' };
    acts.unshift(a);
    announce.tell('route_act', whole(a));
    return { act: whole(a) };
  },
  act(id, verb, why) {
    const a = acts.find((x) => x.id === id);
    if (!a) return refusal(404, 'not_found', 'この広告はありません。', 'There is no such act.');
    if (!why?.trim()) return refusal(422, 'why_missing', '理由を書いてください。', 'Give a reason.');
    const now = dataNow();
    if (verb === 'approve') {
      a.approved.push({ who: 'admin:demo', at: now, why });
      if (a.approved.length >= 2) Object.assign(a, { state: 'announced', announced: now });
    } else Object.assign(a, { state: verb === 'reject' ? 'refused' : 'withdrawn', withdrawn: now, who: 'admin:demo', why });
    announce.tell('route_act', whole(a));
    return { act: whole(a) };
  },
};
const letter = (k, ja) => {
  const lane = k.lanes[0];
  return ja
    ? `件名: AS${k.leaker} の経路広告の誤りについて(至急)\n\nAS64500 の運用担当です。\n${iso(k.opened)} から、AS${k.leaker} が AS${k.to} へ、本来渡すべきでない ${k.most.toLocaleString('en-US')} 経路を広告しています。\n\n例 ${lane.prefix}\n  本来 ${lane.usual.join(' ')}\n  現在 ${lane.is.join(' ')}\n\n至急、広告の取り消しをお願いします。`
    : `Subject: routes announced in error by AS${k.leaker} (urgent)\n\nThis is the operations desk of AS64500.\nSince ${iso(k.opened)} AS${k.leaker} announces ${k.most.toLocaleString('en-US')} routes to AS${k.to} that it should not pass on.\n\nExample ${lane.prefix}\n  as it should be  ${lane.usual.join(' ')}\n  as it is         ${lane.is.join(' ')}\n\nPlease withdraw them at once.`;
};
const both = (k) => text(letter(k, true), letter(k, false));
const forms = {
  junos: (k) => `set policy-options as-path LEAK-${k.leaker} ".* ${k.to} ${k.leaker} .+"\nset policy-options policy-statement REJECT-LEAK term 1 from as-path LEAK-${k.leaker}\nset policy-options policy-statement REJECT-LEAK term 1 then reject\nset protocols bgp group PEERS neighbor 192.0.2.5 import REJECT-LEAK`,
  iosxr: (k) => `as-path-set LEAK-${k.leaker}\n  ios-regex '_${k.to}_${k.leaker}_.+'\nend-set\nroute-policy REJECT-LEAK\n  if as-path in LEAK-${k.leaker} then\n    drop\n  endif\n  pass\nend-policy`,
  bird: (k) => `function reject_leak() {\n  if bgp_path ~ [= * ${k.to} ${k.leaker} ? * =] then reject;\n}`,
  frr: (k) => `bgp as-path access-list LEAK-${k.leaker} seq 5 permit _${k.to}_${k.leaker}_[0-9]\nroute-map REJECT-LEAK deny 10\n match as-path LEAK-${k.leaker}\nroute-map REJECT-LEAK permit 20`,
};
const checks = { junos: text('見本の文法と照合(実機では未確認)', 'against a sample grammar; not on a router'), iosxr: text('見本の文法と照合(実機では未確認)', 'against a sample grammar; not on a router'), bird: text('BIRD 2.0.12 で読み込みと動作を確認', 'loaded and tried in BIRD 2.0.12'), frr: text('FRR 8.4.4 で読み込みと動作を確認', 'loaded and tried in FRR 8.4.4') };
const limit = (family, n) => ({ junos: `set protocols bgp group PEERS neighbor 192.0.2.5 family ${family} unicast prefix-limit maximum ${n} teardown 80`, frr: `neighbor 192.0.2.5 maximum-prefix ${n} 80` });
const look = (as) => text(`RDAP と PeeringDB で AS${as} を調べられます(自動では取得しません)。`, `Look AS${as} up in RDAP and PeeringDB (nothing is fetched).`);
const mail = (k) => text(`To: noc@x.example\n${letter(k, true)}`, `To: noc@x.example\n${letter(k, false)}`);
export const remedies = (k, names) => {
  const mine = acts.filter((a) => a.incident === k.id).map(whole);
  if (!k.leaker) return { contacts: [{ as: 64502, name: 'Example Bank', role: 'victim', where: 'noc@bank.example\n+81-3-0000-0000', text: text('192.0.2.0/24 が見えなくなっています。装置の状態をご確認ください。', '192.0.2.0/24 can’t be seen any more. Please look at your routers.'), look: look(64502), mail: text('', '') }], filters: [], max_prefix: [], more_specifics: [], acts: mine };
  const leak = k.kind === 'leak';
  return {
    contacts: [{ as: k.leaker, name: names[k.leaker] ?? '', role: 'leaker', where: leak ? 'noc@x.example\n+1-312-555-0100' : '', look: look(k.leaker), text: both(k), mail: mail(k) }, { as: k.to, name: names[k.to] ?? '', role: 'upstream', where: 'noc@carrier-p.example', look: look(k.to), text: both(k), mail: mail(k) }, ...(k.own.length ? [{ as: 64502, name: 'Example Bank', role: 'victim', where: 'noc@bank.example\n+81-3-0000-0000', text: text('貴社の範囲が影響を受けています。対応を進めています。', 'Your space is hit. We are acting on it.'), look: look(64502), mail: mail(k) }] : [])],
    filters: Object.keys(forms).map((vendor) => ({ vendor, neighbor: k.to, title: text(`AS${k.to} から、AS${k.leaker} を越えて来る経路を拒否`, `Reject what comes from AS${k.to} by way of AS${k.leaker}`), text: forms[vendor](k), checked: checks[vendor], rejects: vendor === 'frr' ? k.most - 12 : k.most, misses: vendor === 'frr' ? 12 : 0, also_rejects: vendor === 'junos' ? 3 : 0, known: vendor !== 'iosxr' })),
    max_prefix: [{ neighbor: 64497, family: 'ipv4', now: 29_412, maximum30d: 28_390, limit: 36_000, warn: 80, known: true, why: text('30 日の最大の 1.25 倍を切り上げ', '1.25 times the 30-day maximum, rounded up'), lines: limit('inet', 36_000) }, { neighbor: 64497, family: 'ipv6', now: 161_204, maximum30d: 4_120, limit: 5_200, warn: 80, known: true, why: text('30 日の最大の 1.25 倍を切り上げ', '1.25 times the 30-day maximum, rounded up'), lines: limit('inet6', 5_200) }, { neighbor: 64501, family: 'ipv4', now: 4_120, maximum30d: null, limit: 0, warn: 80, known: false, why: text('30 日の記録がまだありません。', 'There are no 30 days to judge by yet.'), lines: {} }],
    more_specifics: leak
      ? [{ prefix: '198.18.0.0/24', of: '198.18.0.0/15', effect: text('漏えいした /24 と同じ長さになり、観測点のおよそ半分が戻る見込みです。', 'As long as the leaked /24: about half of the vantage points should come back.'), side_effects: [text('全世界の経路表が 1 経路増えます。', 'The world’s table grows by one route.'), text('ROA の最大長 /16 を超えるため、先に ROA を変える必要があります。', 'Longer than the ROA’s /16: the ROA must change first.')], possible: false, why: text('ROA の最大長 /16 が許しません。ROA を変えてから広告してください。', 'The ROA allows up to /16: change it first.') }, { prefix: '2001:db8:4000::/35', of: '2001:db8:4000::/34', effect: text('漏えいした /48 より広いので、/48 の範囲は戻りません。ほかの範囲は守られます。', 'Wider than the leaked /48s: those don’t come back; the rest is protected.'), side_effects: [text('通信の往復の経路が変わることがあります。', 'Ways there and back may differ.')], possible: true, why: text('', '') }, { prefix: '2001:db8:4001::/48', of: '2001:db8:4000::/34', effect: text('同じ長さの経路として競い、観測点の 60 % が戻る見込みです。', 'Competes at the same length: 60 % of the vantage points should come back.'), side_effects: [text('全世界の経路表が 1 経路増えます。', 'The world’s table grows by one route.')], possible: true, why: text('', '') }]
      : [{ prefix: '203.0.113.0/25', of: '203.0.113.0/24', effect: text('', ''), side_effects: [], possible: false, why: text('/24 より細かい経路は多くの網で受け入れられません。', 'Most networks don’t accept anything longer than /24.') }],
    acts: mine,
  };
};
