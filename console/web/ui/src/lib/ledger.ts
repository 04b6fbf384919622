import type { Book, Decision, Entry, Lack } from './office';
import { date, type Zone } from './time';

// What the pages read out of entries of the ledger. An entry holds a decision or an
// act as JSON, without personal data.

export const kinds = ['grant', 'refusal', 'revocation', 'look-up', 'notice', 'approval', 'act', 'change', 'configuration', 'consent', 'export', 'erasure', 'retention', 'sign-in', 'source'] as const;

const text = (what: Entry['what'], key: string): string => (typeof what?.[key] === 'string' ? (what[key] as string) : '');

export type Refused = { seq: number; at: string; who: string; rule: string; measure: string; purpose: string; missing: Lack[] };

export const refused = (e: Entry): Refused => ({ seq: e.seq, at: e.at, who: e.who, rule: text(e.what, 'rule'), measure: text(e.what, 'measure'), purpose: text(e.what, 'purpose'), missing: Array.isArray(e.what?.missing) ? (e.what.missing as Lack[]) : [] });

/** One line that says what an entry is about: ids and states, no sentence. */
export const gist = (e: Entry): string =>
  ['id', 'case', 'Case', 'what', 'What', 'measure', 'rule', 'of', 'outcome', 'name', 'action', 'count', 'batch', 'to']
    .map((k) => e.what?.[k])
    .filter((v) => typeof v === 'string' || typeof v === 'number')
    .map(String)
    .filter((v, i, all) => v !== '' && all.indexOf(v) === i)
    .slice(0, 4)
    .join(' · ');

export type Look = { day: string; who: string; rule: string; of: string; count: number; subjects: number };

/** Looks at personal data by day, by whom and on which basis, the newest first. */
export const looks = (entries: readonly Entry[], zone: Zone): Look[] => {
  const of = new Map<string, Look & { seen: Set<string> }>();
  for (const e of entries) {
    const day = date(Date.parse(e.at), zone);
    const [rule, what] = [text(e.what, 'rule'), text(e.what, 'of')];
    const key = [day, e.who, rule, what].join('\n');
    let l = of.get(key);
    if (!l) of.set(key, (l = { day, who: e.who, rule, of: what, count: 0, subjects: 0, seen: new Set() }));
    l.count++;
    l.seen.add(text(e.what, 'subject') || String(e.seq));
    l.subjects = l.seen.size;
  }
  return [...of.values()].map(({ seen: _, ...l }) => l).sort((a, b) => b.day.localeCompare(a.day) || b.count - a.count || a.who.localeCompare(b.who));
};

/** How many entries of a kind there are in a summary. */
export const countOf = (b: Book | null, kind: string): number | null => (b ? (b.kinds?.find((k) => k.kind === kind)?.count ?? 0) : null);

/** Whether a decision was asked for by this user: nobody agrees to their own. */
export const own = (d: Decision, user: string): boolean => user !== '' && (d.who === user || d.who.endsWith(`:${user}`));

/** The beginning of a hash, enough to compare by eye. */
export const short = (hash: string): string => hash.slice(0, 12);

/** The id of a grant for a table: its whole is in the title. */
export const brief = (id: string): string => (id.length > 14 ? `${id.slice(0, 10)}…` : id);
