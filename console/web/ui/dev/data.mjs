// Seeded synthetic data for the mock: the same on every run. Source addresses
// are of the documentation and benchmark ranges, AS numbers of RFC 5398.

const hash = (...parts) => {
  let h = 2166136261;
  for (const c of parts.join('|')) h = Math.imul(h ^ c.charCodeAt(0), 16777619);
  h ^= h >>> 15;
  h = Math.imul(h, 2246822519);
  h ^= h >>> 13;
  return (h >>> 0) / 2 ** 32;
};

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
export const began = Date.parse('2026-11-15T00:00:00Z'); // the mock looks since then
export const silent = [Date.parse('2026-11-22T04:20:00Z'), Date.parse('2026-11-22T05:40:00Z')];
const start = Date.parse('2026-11-22T18:00:00Z');
const born = Date.now();
export const dataNow = () => start + (Date.now() - born) * 60;
export const iso = (ms) => new Date(ms).toISOString().replace(/\.\d+Z/, 'Z');

const P = (key, name, weight, cls = 'scan') => ({ key, name, weight, cls });
export const ports = [
  P('23/tcp', 'telnet', 0.2), P('2323/tcp', 'telnet-alt', 0.07), P('22/tcp', 'ssh', 0.09), P('445/tcp', 'microsoft-ds', 0.055), P('80/tcp', 'http', 0.05),
  P('8080/tcp', 'http-alt', 0.045), P('443/tcp', 'https', 0.04), P('3389/tcp', 'ms-wbt-server', 0.036), P('5555/tcp', 'adb', 0.03), P('53/udp', 'domain', 0.026),
  P('123/udp', 'ntp', 0.022), P('5060/udp', 'sip', 0.021), P('1900/udp', 'ssdp', 0.018), P('7547/tcp', 'cwmp', 0.017), P('6379/tcp', 'redis', 0.016),
  P('37215/tcp', '', 0.014), P('81/tcp', '', 0.012), P('1433/tcp', 'ms-sql-s', 0.011), P('161/udp', 'snmp', 0.01), P('11211/udp', 'memcache', 0.008),
];
export const countries = [
  ['CN', 0.19, 31.2, 121.4], ['US', 0.15, 38.9, -97.0], ['RU', 0.08, 55.7, 37.6], ['BR', 0.07, -23.5, -46.6], ['VN', 0.06, 21.0, 105.8], ['IN', 0.06, 19.1, 72.9],
  ['NL', 0.05, 52.3, 4.9], ['KR', 0.045, 37.5, 127.0], ['TW', 0.04, 25.0, 121.5], ['DE', 0.036, 50.1, 8.7], ['GB', 0.03, 51.5, -0.1], ['ID', 0.028, -6.2, 106.8],
  ['FR', 0.025, 48.8, 2.3], ['IR', 0.02, 35.7, 51.4], ['TR', 0.02, 41.0, 28.9], ['MX', 0.016, 19.4, -99.1], ['AR', 0.014, -34.6, -58.4], ['ZA', 0.012, -26.2, 28.0], ['EG', 0.01, 30.0, 31.2], ['AU', 0.008, -33.9, 151.2],
].map(([key, weight, lat, lon]) => ({ key, name: '', weight, lat, lon }));
export const ases = Array.from({ length: 16 }, (_, i) => ({ key: `AS${64496 + i}`, name: `Example Network ${i + 1}`, weight: 0.16 * 0.78 ** i }));
export const classes = [{ key: 'scan', weight: 0.88 }, { key: 'backscatter', weight: 0.085 }, { key: 'reflection', weight: 0.012 }, { key: 'other', weight: 0.023 }].map((c) => ({ ...c, name: c.key }));
const protocols = [{ key: 'tcp', weight: 0.8 }, { key: 'udp', weight: 0.14 }, { key: 'icmp', weight: 0.06 }].map((c) => ({ ...c, name: c.key }));
export const dims = { port: ports, country: countries, as: ases, class: classes, protocol: protocols, total: [{ key: '', name: '', weight: 1 }] };

/** Packets a second at a time for a key: a day's wave, noise, a rise on 2323. */
const pps = (dim, item, t) => {
  const day = 1 + 0.22 * Math.sin(((t % DAY) / DAY) * 2 * Math.PI - 1.1 + hash(item.key) * 2);
  const noise = 0.86 + 0.28 * hash(dim, item.key, Math.floor(t / (10 * MINUTE)));
  let burst = 1;
  if (item.key === '2323/tcp') burst = 1 + 6 / (1 + Math.exp(-(t - (start - 5 * HOUR)) / (1.2 * HOUR)));
  if (item.key === 'backscatter' && Math.floor(t / HOUR) % 17 < 2) burst = 4.2;
  if (item.key === '11211/udp' && Math.floor(t / HOUR) % 9 !== 3) burst = 0;
  return 4900 * item.weight * day * noise * burst;
};
export const grainOf = (g, from, to) => (g && g !== 'auto' ? g : to - from <= 3 * HOUR ? 'minute' : to - from <= 15 * DAY ? 'hour' : 'day');
const width = { minute: MINUTE, hour: HOUR, day: DAY };

export const points = (dim, item, from, to, grain) => {
  const w = width[grain];
  const out = [];
  for (let t = Math.floor(from / w) * w; t < Math.min(to, dataNow()); t += w) {
    if (t < began || (t >= silent[0] && t + w <= silent[1])) continue;
    const seen = Math.min(w, Math.max(0, dataNow() - t));
    const packets = Math.round((pps(dim, item, t + w / 2) * seen) / 1000);
    out.push({ time: iso(t), packets, sources: unique(packets ** 0.76 * (0.9 + 0.2 * hash('s', item.key, t))), targets: unique(Math.min(65536, packets * 0.7)) });
  }
  return out;
};
export const unique = (n, at_most = false) => {
  n = Math.round(n);
  return n > 1000 ? { n, err: 0.0081, ...(at_most ? { at_most } : {}) } : { n, err: 0 };
};
const sum = (dim, item, from, to) => {
  const grain = to - from > 6 * HOUR ? 'hour' : 'minute';
  return points(dim, item, from, to, grain).reduce((a, p) => a + p.packets, 0);
};
export const row = (dim, item, from, to, total) => {
  const packets = sum(dim, item, from, to);
  const before = from - (to - from) < began ? null : sum(dim, item, from - (to - from), from);
  return {
    key: item.key, name: item.name, name_ja: item.name, packets, share: total ? packets / total : 0,
    sources: unique(packets ** 0.71), targets: unique(Math.min(65536, packets * 0.4)), before, change: before ? packets / before - 1 : null,
  };
};
export const total = (from, to) => {
  const packets = sum('total', dims.total[0], from, to);
  return { packets, sources: unique(packets ** 0.74, to - from > DAY), targets: unique(Math.min(65536, packets)) };
};

const ip = (i) => (i % 3 === 0 ? `198.51.100.${(i * 37) % 254}` : i % 3 === 1 ? `203.0.113.${(i * 53) % 254}` : `198.18.${i % 200}.${(i * 29) % 254}`);
const kinds = ['tcp-syn', 'tcp-syn', 'tcp-syn', 'tcp-syn-ack', 'udp', 'tcp-rst', 'icmp-request', 'udp-answer'];
const classOf = { 'tcp-syn': 'scan', udp: 'scan', 'icmp-request': 'scan', 'tcp-syn-ack': 'backscatter', 'tcp-rst': 'backscatter', 'udp-answer': 'backscatter' };
const tools = [['mirai', '2016 and its descendants'], ['unknown', ''], ['zmap', '4.1.0 (2024-03-21) or later'], ['masscan', '2023-11-07 or later'], ['zmap', 'up to 4.0'], ['unknown', ''], ['nmap', ''], ['irregular-syn', 'no tool named: a SYN that no operating system sends']];
export const events = (n, offset = 0) =>
  Array.from({ length: n }, (_, j) => {
    const i = j + offset;
    const kind = kinds[Math.floor(hash('k', i) * kinds.length)];
    const scan = classOf[kind] === 'scan';
    const [tool, tool_versions] = kind === 'tcp-syn' ? tools[Math.floor(hash('t', i) * tools.length)] : ['unknown', ''];
    const suited = ports.filter((p) => p.key.endsWith(kind.startsWith('udp') ? 'udp' : 'tcp'));
    const port = kind === 'icmp-request' ? { key: '8.0/icmp', name: 'echo' } : suited[Math.floor(hash('p', i) ** 2 * suited.length)];
    const first = dataNow() - hash('f', i) * 20 * HOUR - 10 * MINUTE;
    const lasted = Math.min(dataNow() - first, hash('l', i) * 6 * HOUR);
    const packets = Math.round(10 ** (1.5 + hash('n', i) * 3.6));
    const targets = Math.min(65536, Math.round(packets * 0.8));
    return {
      id: String(1000 + i), source: i % 11 === 5 ? `2001:db8:${(i * 7).toString(16)}::${i.toString(16)}` : ip(i), own: false, key: port.key, name: port.name, port: kind === 'icmp-request' ? 2048 : Number(port.key.split('/')[0]), protocol: kind.startsWith('udp') ? 17 : kind.startsWith('icmp') ? 1 : 6,
      first: iso(first), last: iso(first + lasted), packets, targets: unique(targets), coverage: targets / 65536, rate: packets / Math.max(60, lasted / 1000),
      country: countries[Math.floor(hash('c', i) ** 1.6 * countries.length)].key, asn: 64496 + (i % 16), open: hash('o', i) > 0.6, sample: ['TCP SYN ttl 51 win 14600 len 40 seq=dst'],
      kind, class: classOf[kind], tool, tool_versions, flags: [...(i % 9 === 4 ? ['research'] : []), ...(scan && packets > 300 ? ['scanner'] : []), ...(i % 13 === 2 ? ['spoof_hint'] : [])],
    };
  }).sort((a, b) => b.packets - a.packets);

const finding = (id, detector, subject, severity, ago, ja, en, why, evidence, state = 'changed') => ({
  id, detector, subject, state, severity, confidence: [0.99, 0.9, 0.72][severity - 1], opened: iso(dataNow() - ago), changed: iso(dataNow() - ago / 9), ...(state === 'closed' ? { closed: iso(dataNow() - ago / 9) } : {}),
  title: { ja, en }, why, evidence, ack: acks.get(id) ?? null,
});
export const acks = new Map();
export const findings = () => [
  finding('ddos-1', 'ddos', '198.51.100.77', 1, 38 * MINUTE, '198.51.100.77:80 への SYN フラッド、推定 41.0万 pkt/s', 'SYN flood on 198.51.100.77:80, estimated 410 k packets/s', { ja: '送信元を詐称した攻撃への応答(SYN+ACK)が、暗黒空間に一様に届いています。RSDoS の下限を 38 分続けて超えました。', en: 'Answers (SYN+ACK) to a flood with forged sources reach the dark space evenly. Above the RSDoS floor for 38 minutes.' }, [{ key: 'packets', value: '14,240' }, { key: 'peak', value: '6.3', unit: 'packets/s' }, { key: 'estimated_rate', value: '410,000', unit: 'packets/s', error: '≥ 32,800' }, { key: 'port', value: '80/tcp' }]),
  finding('infected-1', 'infected', '203.0.113.x', 1, 3 * HOUR, '自網のアドレス 203.0.113.x が 23/TCP をスキャン', 'Own address 203.0.113.x scans 23/TCP', { ja: '自網から暗黒空間へ SYN が届きました。全標本が Mirai の特徴(seq = 宛先)に一致します。', en: 'SYNs from the own network reached the dark space. All samples fit the Mirai fingerprint (seq = destination).' }, [{ key: 'packets', value: '812' }, { key: 'targets', value: '790', unit: 'addresses', error: '±0 %' }, { key: 'family', value: 'Mirai' }]),
  finding('surge-1', 'surge', '2323/tcp', 2, 5 * HOUR, '2323/TCP が平常の 6.4 倍', '2323/TCP at 6.4 times its usual', { ja: '同じ曜日・時刻の中央値に対し、中央絶対偏差の 14 倍を超えています。ホスト数も増えており、一つの送信元によるものではありません。', en: 'Over 14 median absolute deviations above the median of this hour of the week. Hosts rise too, so it is not one source.' }, [{ key: 'packets', value: '1,640,210' }, { key: 'expected', value: '256,000' }, { key: 'sources', value: '9,812', unit: 'addresses', error: '±0.8 %' }]),
  finding('infected-2', 'infected', '2001:db8:1::x', 2, 7 * HOUR, '自網のアドレス 2001:db8:1::x が 5555/TCP をスキャン', 'Own address 2001:db8:1::x scans 5555/TCP', { ja: '自網から暗黒空間へ届いた SYN です。道具は特定できません。', en: 'SYNs from the own network into the dark space. The tool cannot be told.' }, [{ key: 'packets', value: '64' }, { key: 'targets', value: '41', unit: 'addresses' }]),
  finding('surge-2', 'surge', 'AS64499', 3, 9 * HOUR, 'AS64499 からのスキャンが平常の 3.1 倍', 'Scanning from AS64499 at 3.1 times its usual', { ja: '一つの AS からの増加です。', en: 'A rise from one AS.' }, [{ key: 'score', value: '9.2' }], 'opened'),
  finding('ddos-2', 'ddos', '203.0.113.9', 3, 12 * HOUR, '203.0.113.9:443 への SYN フラッド(終了)', 'SYN flood on 203.0.113.9:443 (ended)', { ja: '300 秒のあいだ応答が届かず、終了と判断しました。', en: 'No answers for 300 s: taken as ended.' }, [{ key: 'duration', value: '24', unit: 'min' }], 'closed'),
];
const next = { ddos: { ja: '被害者が自網かを確認し、対外接続の流量と突き合わせる', en: 'Check whether the victim is ours and compare with the border traffic' }, infected: { ja: '契約者への注意喚起の準備をする', en: 'Prepare the notice to the subscriber' }, surge: { ja: '急増ポートの送信元と道具を確認する', en: 'Look at the sources and tools behind the rise' } };
export const inputs = () => [
  { name: 'demo-day', kind: 'replay', state: 'running', last_packet: iso(dataNow()), packets: 84_112_904 + Math.round((Date.now() - born) * 4.9), malformed: 12, dropped: { kernel: 0, late: 0, stray: 0 }, rate: 4981, message: null },
  { name: 'sensor-2 / ens5', kind: 'live', state: 'stale', last_packet: iso(dataNow() - 52 * MINUTE), packets: 12_004_118, malformed: 0, dropped: { kernel: 1204, late: 3, stray: 0 }, rate: 0, message: { ja: '52 分間パケットが届いていません。中継ルーターの GRE を確認してください。', en: 'No packet for 52 minutes. Check the GRE tunnel of the router.' } },
  { name: 'archive-2016-10.pcap.zst', kind: 'file', state: 'done', last_packet: '2016-10-21T14:59:59Z', packets: 3_201_552, malformed: 4, dropped: { kernel: 0, late: 0, stray: 0 }, rate: 0, message: null },
];
export const work = () => {
  const list = findings().filter((f) => f.state !== 'closed').map((f) => ({ finding: f, input: null, severity: f.severity, next: next[f.detector] }));
  list.splice(2, 0, { finding: null, input: inputs()[1], severity: 2, next: { ja: 'センサー 2 の回線と GRE を確認する', en: 'Check the line and the GRE tunnel of sensor 2' } });
  return list;
};
export { hash, ip, pps };

const ago = (hours) => iso(Date.now() - hours * HOUR);
export const users = () => [
  { id: 'u1', name: 'demo', roles: ['admin'], state: 'active', issuer: '', created: ago(900), signed_in: ago(1) },
  { id: 'u2', name: 'tanaka', roles: ['operator', 'legal'], state: 'locked', issuer: '', created: ago(700), signed_in: ago(50) },
  { id: 'u3', name: 'suzuki', roles: ['abuse'], state: 'invited', issuer: '', created: ago(5), signed_in: null },
];
export const tokens = () => [{ id: 't1', name: 'nightly report', user: 'demo', user_id: 'u1', roles: ['admin'], read_only: true, from: '192.0.2.10', created: ago(30), expires: ago(-500), used: ago(2), current: true }];
