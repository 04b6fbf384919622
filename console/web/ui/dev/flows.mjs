// Flows, exporters and what-if replays for the mock: rankings and series come from the
// same weights, so that they add up.
import { DAY, HOUR, MINUTE, dataNow, hash, iso } from './data.mjs';

const began = dataNow();
const text = (ja, en) => ({ ja, en });
const m = (n, error = 0) => ({ n, error });
const kept = [began - 6 * DAY, null];
const own = Array.from({ length: 40 }, (_, i) => `203.0.113.${(i * 31) % 254 || 1}`);
const far = Array.from({ length: 60 }, (_, i) => `198.51.100.${(i * 43) % 254 || 1}`);
const K = {
  dst: own.map((key) => ({ key, name: '' })), src: far.map((key) => ({ key, name: '' })),
  src_port: [['443', 'https'], ['53', 'domain'], ['80', 'http'], ['8080', 'http-alt'], ['123', 'ntp'], ['3478', 'stun'], ['993', 'imaps'], ['22', 'ssh'], ['11211', 'memcache'], ['1935', 'rtmp']].map(([key, name]) => ({ key: `${key}/${['53', '123', '3478', '11211'].includes(key) ? 'udp' : 'tcp'}`, name })),
  proto: ['tcp', 'udp', 'icmp', 'gre', 'esp'].map((key) => ({ key, name: '' })),
  src_as: Array.from({ length: 18 }, (_, i) => ({ key: `AS${64496 + i}`, name: `Example Network ${i + 1}` })),
  src_country: ['JP', 'US', 'SG', 'KR', 'DE', 'TW', 'NL', 'GB', 'FR', 'AU', 'BR', 'IN', 'ZZ'].map((key) => ({ key, name: '' })),
  exporter: [['1', 'edge-tokyo'], ['2', 'edge-osaka'], ['3', 'edge-nagoya']].map(([key, name]) => ({ key, name })),
  in: [['1/12', 'edge-tokyo xe-0/0/3'], ['1/14', 'edge-tokyo xe-0/0/5'], ['2/7', 'edge-osaka et-0/1/0'], ['3/2', 'edge-nagoya xe-0/0/1']].map(([key, name]) => ({ key, name })),
  customer: ['Example Hosting', 'Example CDN', 'Example University', 'Example Games', 'Example DNS'].map((key) => ({ key, name: '' })),
};
K.flags = ['syn', 'ack', 'psh+ack', 'syn+ack', 'fin+ack', 'rst'].map((key) => ({ key, name: '' }));
Object.assign(K, { dst_port: K.src_port, dst_as: K.src_as, dst_country: K.src_country, out: K.in });
const weights = (by) => {
  const raw = K[by].map((k, i) => ({ ...k, w: 0.8 ** i * (0.7 + 0.6 * hash(by, k.key)) }));
  const sum = raw.reduce((a, r) => a + r.w, 0) / 0.94; // what is beyond these is the rest
  return raw.map((r) => ({ ...r, w: r.w / sum })).sort((a, b) => b.w - a.w);
};
const floor = 61e9 / 8; // bytes a second at a middling hour
const level = (t) => floor * (1 + 0.42 * Math.sin(((t % DAY) / DAY) * 2 * Math.PI - 0.9)) * (0.97 + 0.06 * hash('l', Math.floor(t / MINUTE)));
const part = (q) => [...q.keys()].filter((k) => !['from', 'to', 'limit', 'cursor', 'by', 'order', 'top', 'step', 'format'].includes(k)).reduce((a, k) => a * (0.06 + 0.3 * hash(k, q.get(k))), 1);
const span = (q) => {
  const to = Math.min(Date.parse(q.get('to') ?? '') || dataNow(), dataNow());
  const from = Math.max(Date.parse(q.get('from') ?? '') || to - DAY, kept[0]);
  return [from, Math.max(from, to)];
};
const grain = (from) => (dataNow() - from < 6 * HOUR ? 'raw' : dataNow() - from < 2 * DAY ? '1m' : '5m');
const total = (from, to, share) => {
  let bytes = 0;
  for (let t = from; t < to; t += 10 * MINUTE) bytes += level(t) * Math.min(600, (to - t) / 1000) * share;
  return { packets: m(bytes / 840, (bytes / 840) * 0.0011), bytes: m(bytes, bytes * 0.0013), flows: Math.round(bytes / 31_000), samples: false };
};
const head = (q) => {
  const [from, to] = span(q);
  return { state: to > from ? 'ok' : 'none', reason: to > from ? null : text('この期間のフローはありません。', 'There are no flows of this span.'), grain: grain(from), from: iso(from), to: iso(to), data: { from: iso(kept[0]), to: iso(dataNow()) } };
};
const top = (q) => {
  const [from, to] = span(q);
  const all = total(from, to, part(q));
  const n = Number(q.get('limit') || 20);
  const order = q.get('order') === 'packets' ? 1.1 : 1;
  const rows = weights(q.get('by') || 'dst').slice(0, n).map((r) => ({ key: r.key, name: r.name, packets: m(all.packets.n * r.w * order, all.packets.n * r.w * 0.006), bytes: m(all.bytes.n * r.w, all.bytes.n * r.w * 0.007), flows: Math.round(all.flows * r.w), samples: false, share: r.w }));
  const rest = Math.max(0, 1 - rows.reduce((a, r) => a + r.share, 0));
  const share = (s) => ({ packets: Math.round(all.packets.n * s), bytes: Math.round(all.bytes.n * s), share: s });
  return { ...head(q), rows: to > from ? rows : [], other: share(rest), left_out: share(rest * 0.07), maybe: share(part(q) < 1 ? 0.002 : 0), total: all };
};
const series = (q) => {
  const [from, to] = span(q);
  const step = to - from > 2 * DAY ? 3600 : to - from > 6 * HOUR ? 600 : 60;
  const share = part(q);
  const times = [];
  for (let t = Math.ceil(from / (step * 1000)) * step; t * 1000 < to; t += step) times.push(t);
  const rows = weights(q.get('by') || 'dst').slice(0, Number(q.get('top') || 8));
  const flood = (t) => (q.get('by') === 'dst' && t * 1000 > began - 14 * MINUTE ? 2.4 : 1);
  const line = (w, key) => times.map((t, i) => Math.round(level(t * 1000) * step * w * share * (0.8 + 0.4 * hash(key, i)) * (key === rows[0]?.key ? flood(t) : 1)));
  const rest = Math.max(0, 1 - rows.reduce((a, r) => a + r.w, 0));
  const both = (bytes) => ({ bytes, packets: bytes.map((b) => Math.round(b / 840)) });
  return { ...head(q), step, times, series: rows.map((r) => ({ key: r.key, name: r.name, ...both(line(r.w, r.key)) })), other: { key: '', name: '', ...both(line(rest, 'other')) }, error: 0.0013 };
};
const talkers = (q) => {
  const [from, to] = span(q);
  const all = total(from, to, part(q));
  return { ...head(q), rows: Array.from({ length: Number(q.get('limit') || 20) }, (_, i) => { const share = 0.08 * 0.83 ** i; return { src: far[(i * 7) % 60], dst: own[(i * 3) % 40], proto: i % 5 === 2 ? 'udp' : 'tcp', dst_port: [443, 443, 53, 80, 8443][i % 5], name: ['https', 'https', 'domain', 'http', ''][i % 5], samples: false, packets: m(all.packets.n * share), bytes: m(all.bytes.n * share, all.bytes.n * share * 0.02), flows: Math.round(all.flows * share), share }; }), other: { packets: 0, bytes: 0, share: 0 }, left_out: { packets: 0, bytes: 0, share: 0 }, maybe: { packets: 0, bytes: 0, share: 0 }, total: all };
};
const search = (q) => {
  const [from, to] = span(q);
  const at = Number(q.get('cursor') || 0);
  const n = Number(q.get('limit') || 100);
  const all = part(q) < 0.02 ? 37 : 4000;
  const rows = Array.from({ length: Math.max(0, Math.min(n, all - at)) }, (_, j) => {
    const i = at + j;
    const udp = hash('u', i) < 0.3;
    const bytes = Math.round(10 ** (4 + hash('b', i) * 4));
    const e = Math.floor(hash('e', i) * 3);
    return { at: iso(to - 1000 - ((to - from) * i) / all), until: iso(to - 1000 - ((to - from) * i) / all + 30_000), exporter: e + 1, exporter_name: K.exporter[e].name, in: [12, 7, 2][e], in_name: ['xe-0/0/3', 'et-0/1/0', ''][e], out: 31, out_name: 'ae0', seen: Math.ceil(bytes / 900_000), marks: [], src: far[Math.floor(hash('s', i) * 60)], dst: own[Math.floor(hash('d', i) * 40)], proto: udp ? 'udp' : 'tcp', src_port: 1024 + Math.floor(hash('sp', i) * 60_000), dst_port: udp ? 53 : 443, flags: udp ? '' : 'syn+ack+psh+fin', packets: Math.ceil(bytes / 900), bytes, flows: 1, rate: 1000, src_as: 64496 + (i % 16), dst_as: 64500, src_country: K.src_country[i % 12].key, dst_country: 'JP', customer: K.customer[i % 5].key };
  });
  return { ...head(q), rows, lacks: grain(from) === 'raw' ? { packets: 0, bytes: 0 } : { packets: 210, bytes: 91_000 }, next: at + n < all ? String(at + n) : null };
};

const exporter = (number, name, address, version, over = {}) => ({
  number, name, address, domain: 0, version, state: 'ok', words: text('すべて届いています。', 'Everything arrives.'), advice: [], first: iso(began - 40 * DAY), last: iso(dataNow() - 2000), datagrams: 41_220_114, records: 1_204_882_190, packets: 9.1e12, bytes: 7.6e15, samples: 0, rates: [1000], rate_unknown: 0, gaps: m(0), kernel_drops: 0, unknown_template: 0, waiting: 0, waited_lost: 0, malformed: [], skew_ms: 40, clock_ignored: false, limited: 0, late: 112, records_s: 41_200 + Math.round(900 * Math.sin(Date.now() / 9000)),
  interfaces: [{ index: 12, name: 'xe-0/0/3', in_bps: 61.2e9, out_bps: 12.4e9, capacity: 100e9 }, { index: 14, name: 'xe-0/0/5', in_bps: 38.9e9, out_bps: 9.1e9, capacity: 100e9 }], ...over,
});
const exporters = () => ({
  exporters: [
    exporter(1, 'edge-tokyo', '192.0.2.1', 'ipfix'),
    exporter(2, 'edge-osaka', '192.0.2.2', 'netflow9', { state: 'faulty', words: text('連番に欠けがあり、テンプレートのないレコードが届いています。', 'Numbers are missing, and records came without their template.'), advice: [text('ルーターから収集機までの経路と、受信バッファー(net.core.rmem_max)を確認してください。', 'Check the path from the router to the collector, and the receive buffer (net.core.rmem_max).'), text('テンプレートの送信間隔を 60 秒以下にしてください。', 'Have the router send its templates every 60 seconds or less.')], gaps: m(18_412, 220), kernel_drops: 1204, unknown_template: 882, waiting: 96, waited_lost: 640, records_s: 22_400, rates: [2000], malformed: [{ reason: 'set longer than the datagram', count: 3 }], interfaces: [{ index: 7, name: 'et-0/1/0', in_bps: 188e9, out_bps: 21e9, capacity: 400e9 }] }),
    exporter(3, 'edge-nagoya', '192.0.2.3', 'sflow5', { state: 'stale', words: text('9 分間なにも届いていません。', 'Nothing has come for 9 minutes.'), advice: [text('機器の sFlow の設定と、収集機までの到達性を確認してください。', 'Check the sFlow settings of the device, and whether it reaches the collector.')], last: iso(dataNow() - 9 * MINUTE), records_s: 0, rates: [4096], samples: 88_112_004, interfaces: [] }),
    exporter(4, 'lab-router', '192.0.2.9', 'netflow5', { state: 'faulty', words: text('時計が 41 年ずれているため使わず、着信時刻で数えています。標本化率が分かりません。', 'Its clock is 41 years off, so it is ignored and the time of arrival is used. Its sampling is not known.'), advice: [text('機器の時刻を NTP で合わせてください。', 'Set the clock of the device by NTP.'), text('標本化率を設定ファイルに書いてください。', 'Write its sampling rate into the configuration.')], skew_ms: -1_293_840_000_000, clock_ignored: true, rate_unknown: 41_002, rates: [], records_s: 38, limited: 0, interfaces: [{ index: 1, name: '', in_bps: 4.1e6, out_bps: 1.2e6, capacity: 0 }] }),
    exporter(5, 'mirror ens5', '127.0.0.1', 'mirror', { rates: [1], records_s: 8120, skew_ms: null, interfaces: [] }),
  ],
  refused: [{ address: '198.51.100.66', datagrams: 4112, last: iso(dataNow() - 12 * MINUTE) }, { address: '203.0.113.200', datagrams: 9, last: iso(dataNow() - 3 * HOUR) }],
  socket: { granted: 425_984, wanted: 33_554_432, drops: 1204 }, queue_dropped: 0,
});

const replays = new Map();
const rate = (pps, bits) => ({ packets: m(pps, pps * 0.05), bits: m(bits, bits * 0.05), flows: m(0), covered: true });
const verdict = (target, vectors, pps, bits, ago, confidence, direction = 'incoming') => ({ target, direction, vectors, peak: rate(pps, bits), opened: iso(began - ago), closed: iso(began - ago + 11 * MINUTE), confidence, limit: rate(5000, 0) });
/** Answers a route of flows, exporters or replays, or gives undefined. */
export const flows = (method, path, q, given) => {
  const replay = /^\/replay\/([^/]+)$/.exec(path);
  if (replay) {
    const r = replays.get(replay[1]);
    if (!r) return { refusal: { status: 404, code: 'not_found', ja: 'この再検証はありません。', en: 'There is no such replay.' } };
    const progress = Math.min(1, (Date.now() - r.at) / 2500);
    const head = { id: replay[1], from: r.given.from, to: r.given.to, grain: 'raw', flows: 61_204_881, error: null };
    const set = r.given.thresholds;
    if (progress < 1) return { ...head, state: 'running', done: progress, same: [], new: [], gone: [] };
    return {
      ...head, state: 'done', done: 1,
      same: [verdict('203.0.113.80', ['syn'], 412_000, 197e6, 50 * MINUTE, 0.98), verdict('198.51.100.0/24', ['dns-amplification', 'ntp-amplification', 'fragments'], 4.3e6, 41e9, 40 * MINUTE, 0.96)],
      new: set.includes('address') ? [verdict('203.0.113.41', ['udp'], 7100, 31e6, 33 * MINUTE, 0.71), verdict('203.0.113.x', ['syn'], 6400, 3e6, 20 * MINUTE, 0.66, 'outgoing')] : [],
      gone: set.includes('prefix') ? [verdict('198.51.100.64/26', ['ntp-amplification'], 61_000, 0.4e9, 25 * MINUTE, 0.88)] : [],
    };
  }
  if (path === '/replay' && method === 'POST') {
    const id = `r${replays.size + 1}`;
    replays.set(id, { at: Date.now(), given });
    return { id, state: 'running', done: 0, from: given.from, to: given.to, grain: 'raw', flows: 0, same: [], new: [], gone: [], error: null };
  }
  return { '/flows/top': top, '/flows/series': series, '/flows/talkers': talkers, '/flows/search': search, '/exporters': exporters }[path]?.(q);
};
