// The mock's gate speaks of the real guideline: the YAML of the house is read here,
// as far as its own regular form goes.
import { readFileSync } from 'node:fs';

const folder = new URL('../../../../lawful/guideline/', import.meta.url);
const scalar = (s) => {
  s = s.trim();
  if (s.startsWith('"')) return JSON.parse(s);
  if (s === 'true' || s === 'false') return s === 'true';
  return /^\d+$/.test(s) ? Number(s) : s;
};
/** {a: b, c: "d"}, [a, b] or a plain word. */
const read = (s) => {
  s = s.trim();
  if (s.startsWith('{')) return Object.fromEntries([...s.slice(1, -1).matchAll(/(\w+):\s*("(?:[^"\\]|\\.)*"|[^,}]*)/g)].map((m) => [m[1], scalar(m[2])]));
  if (s.startsWith('[')) return s.slice(1, -1).split(',').map((x) => x.trim()).filter(Boolean);
  return scalar(s);
};
const hours = (s) => (typeof s === 'string' ? Number(s.replace('h', '')) * 3600 : 0);
const grounds = { individual_consent: ['個別の同意', 'individual consent'], comprehensive_consent: ['契約約款等による包括的な同意', 'comprehensive consent, by terms'], self_defence: ['正当防衛', 'self-defence'], necessity: ['緊急避難', 'necessity'], legitimate_business: ['正当業務行為', 'legitimate business act'], statute: ['法令', 'statute'] };
const measures = {
  name_subscriber: ['加入者を特定し、または表示する', 'learn or show who an own address is'], read_logs: ['接続ログを解析する', 'look through connection logs'], notify: ['加入者に知らせ、対処を求める', 'tell a subscriber, and ask for a clean-up'], block: ['通信を遮断する', 'keep a communication from happening'], filter: ['攻撃に合致する通信を遮断する', 'drop what fits an attack'],
  share: ['アドレスを第三者に渡す', 'hand an address to somebody else'], analyse_traffic: ['加入者の通信を解析する', 'look at what a subscriber sends and receives'], match_names: ['名前解決要求をC&Cリストと照合する', 'compare name requests with a list of C&C servers'], store_hits: ['照合結果を加入者ごとに保存する', 'keep which subscriber asked for a listed name'], warn_access: ['アクセスを一時停止して警告する', 'pause an access and warn'],
  pass_attacker: ['攻撃元アドレスを送信側ISPに渡す', "give an attacker's address to the sender's provider"], share_analysis: ['ログの分析結果を経路上の事業者と共有する', 'share an analysis of logs with providers on the path'], analyse_flows: ['平時のフロー情報を統計的に分析する', 'statistics of flows in ordinary times'], share_history: ['認定協会に履歴を渡す', 'give histories to the certified association'], announce: ['自網プレフィックスを通常と異なる形で広告する', 'announce own prefixes otherwise than usual'],
};
const text = ([ja, en]) => ({ ja, en });

const rule = (lines) => {
  const r = { conditions: [] };
  let at = r;
  for (const l of lines) {
    const m = /^(\s*)(- )?(\w+):\s*(.*)$/.exec(l);
    if (!m || m[3] === 'conditions') continue;
    if (m[2] && m[3] === 'name') r.conditions.push((at = { fact: '', for: [] }));
    at[m[3]] = read(m[4]);
  }
  const l = r.limits;
  return {
    id: r.id, case: r.case ?? '', title: r.title, grounds: r.grounds.map((g) => ({ ground: g, words: text(grounds[g]) })), edition: r.edition, source: r.source, verified: !!r.verified, note: r.note ?? null, from: `${r.from}T00:00:00Z`, until: null, in_force: true, measures: r.measures, conditions: r.conditions, widest: r.widest,
    limits: { longest_seconds: hours(l.longest), subjects: l.subjects ?? 0, prefixes: l.prefixes ?? 0, bits4: l.bits4 ?? 0, bits6: l.bits6 ?? 0, consenting: !!l.consenting, window_seconds: hours(l.window), ports: l.ports ?? 0, features: l.features ?? 0, to: l.to ?? 0 }, four_eyes: r.four_eyes ?? [],
  };
};
const rules = ['consent', 'facilities', 'joint', 'routes'].flatMap((name) =>
  readFileSync(new URL(`${name}.yaml`, folder), 'utf8').split(/^ {2}- (?=id:)/m).slice(1).map((part) => rule(`    ${part}`.split('\n').filter((l) => l.trim() && !l.trim().startsWith('#')))),
);
const facts = readFileSync(new URL('facts.yaml', folder), 'utf8').split('\n').filter((l) => l.trim().startsWith('- {')).map((l) => read(l.trim().slice(2))).map((f) => ({ name: f.name, kind: f.kind, text: { ja: f.ja, en: f.en } }));
export const guideline = { rules, measures: Object.entries(measures).map(([measure, w]) => ({ measure, words: text(w) })), facts };
