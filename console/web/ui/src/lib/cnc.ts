// The shapes of the C&C list, the policy zones, what resolvers answered, and a
// subscriber's choice, below /api/v1. Times are RFC 3339 in UTC. Nothing here holds
// who a client is: a subscriber is a pseudonym, a line is asked for and not kept.
import { isAddress, isCaseID } from './subject';
import type { Text } from './types';

export const states = ['candidate', 'enriched', 'scored', 'reviewed', 'shadow', 'enforced', 'held', 'expired', 'withdrawn', 'archived'] as const;
export type State = (typeof states)[number];
/** The main line of an entry's life; the others are ways off it. */
export const line: readonly State[] = ['candidate', 'enriched', 'scored', 'reviewed', 'shadow', 'enforced'];
export const kinds = ['name', 'host', 'address', 'endpoint', 'prefix', 'url'] as const;
export type Kind = (typeof kinds)[number];
export const orders = ['score', 'age', 'hits', 'name'] as const;

export type Evidence = { source: string; evidence: string; confidence: number; first: string | null; last: string | null; until: string | null; gone: boolean };
export type Entry = {
  id: string;
  kind: Kind;
  value: string;
  port?: number;
  role: string;
  family: string;
  state: State;
  words: Text;
  score: number;
  first_seen: string | null;
  last_seen: string | null;
  opened: string;
  changed: string;
  expires: string | null;
  sinkholed: boolean;
  emergency: boolean;
  sources: Evidence[] | null;
  needs_two: Text | null;
  reviews: { who: string; at: string; verdict: 'yes' | 'no'; why: string }[] | null;
  hits_day: number;
  hits_total: number;
  would_day: number;
  would_total: number;
  blocks_day: number;
  reason: Text | null;
};
export type Total = { count: number; exact: boolean };
export type Entries = { entries: Entry[] | null; total: Total; next: string };

export type SourceState = {
  source: string;
  kind: string;
  words: Text;
  last_try: string | null;
  last_success: string | null;
  last_change: string | null;
  stale: boolean;
  error: Text | null;
  read: number;
  accepted: number;
  rejected: number;
  listed: number;
  enforced: number;
  trust: number;
  half_life_days: number;
};
/** A reading that the circuit breaker keeps back until somebody decides. */
export type HeldReading = { id: string; source: string; at: string; why: Text; state?: 'waiting' | 'released' | 'refused'; size: number; before: number; added: number; removed: number };
export type Summary = {
  states: { state: State; words: Text; count: number }[] | null;
  families: { name: string; count: number; enforced: number; blocks_day: number }[] | null;
  sources: SourceState[] | null;
  held: HeldReading[] | null;
  review: number;
  shadow: number;
  enforced: number;
  expiring_7d: number;
  protected: { lists: number; names: number };
};

/** What a listing would cost: counted by sketches, and below the floor not told. */
export type Blast = { clients_day: number; floor: number; below_floor: boolean; error: number; beside: string[] | null };
export type Step = { at: string; who: string; what: string; words: Text | null; why: string };
export type Whole = {
  entry: Entry;
  history: Step[] | null;
  explain: { term: string; words: Text; value: number }[] | null;
  blast: Blast | null;
  published: { zone: string; serial: number; at: string; in: boolean }[] | null;
  resolvers: { name: string; serial: number; has: boolean | null }[] | null;
};
export type Review = Entry & { blast: Blast | null };
export type Reviews = { entries: Review[] | null; next: string; total: Total };
export type Imported = {
  read: number;
  accepted: number;
  rejected: { line: number; reason: string }[] | null;
  rejected_total: number;
  protected: { name: string; list: string }[] | null;
  new: number;
  known: number;
  gone: number;
  held: string | boolean; // the number of what waits for a person
  why: Text | null;
};
export type Exports = { exports: { format: string; words: Text; version: number | string; entries: number; omitted?: number; made: string | null; expires: string | null; digest: string; basis: { title: Text; rule: string; grant: string } | null; key: string }[] | null };

export type Account = {
  name: string;
  at: string;
  in_force: boolean;
  entry: Entry | null;
  matched: string;
  zone: string;
  serial: number;
  rule: string;
  action: string;
  basis: { grant: string; rule: string; title: Text; source: string } | null;
  who: string;
  why: string;
  evidence: Evidence[] | null;
  said: Text;
  resolvers: { name: string; serial: number; had: boolean | null; canary: { at: string; ok: boolean } | null }[] | null;
  history: Step[] | null;
};

export const zones = ['optout.', 'allow.', 'c2.', 'emergency.'] as const;
export type ZoneState = {
  zone: string;
  serial: number;
  rules: number;
  published: string | null;
  who: string;
  why: string;
  basis: { grant: string; rule: string; until: string | null } | null;
  state: 'published' | 'empty' | 'paused';
  words: Text;
  digest: string;
  pending: { added: number; removed: number; due: string | null } | null;
  held: { since: string; serial: number; who: string; why: string; added: number; removed: number; counted: string | null } | null;
  canary_ok: boolean | null;
};
export type Policy = {
  zones: ZoneState[] | null;
  ground: { granted: boolean; grant: string; until: string | null; missing: Text[] | null };
  optout: { clients: number; changed: string | null; lag_ms: number | null; unknown: number };
  consent: { consenting: number; declined: number };
};
export type Probe = { client: 'in' | 'out'; zone: string; expected: string; got: string; ok: boolean | null; serial: number; at: string | null; ms: number };
export type Resolver = {
  name: string;
  vendor: string;
  pool: string;
  address: string;
  zones: { zone: string; serial: number | null; lag_serials: number | null; lag_seconds: number | null; at: string | null; stale: boolean; transfer: string; bytes: number; ms: number }[] | null;
  probes: Probe[] | null;
  state: 'ok' | 'behind' | 'deviates' | 'silent' | 'unknown';
  words: Text;
  errors: ({ at: string } & Text)[] | null;
  full_transfers: number;
  incremental_transfers: number;
};
export type Resolvers = { resolvers: Resolver[] | null; checked: string | null; next: string | null };
export type Proof = { at: string; resolver: string; zone: string; client: 'in' | 'out'; name: string; expected: string; got: string; serial: number; ok: boolean | null };
export type Proofs = { proofs: Proof[] | null; next: string };
export type Serial = { serial: number; at: string; who: string; why: string; grant: string; rule: string; added: number; removed: number; rules: number; digest: string };
export type Serials = { serials: Serial[] | null; next: string };
export type RuleLine = { trigger: string; action: string; ref: string };
export type Diff = { added: RuleLine[] | null; removed: RuleLine[] | null; truncated: boolean };
export const vendors = ['bind', 'unbound', 'pdns', 'knot'] as const;
export type Config = { files: { name: string; text: string }[] | null; notes: Text[] | null };

export type BlockDay = { at: string; queries: number; blocked: number; would: number; sinkholed: number; zones: Record<string, number> | null };
export type Blocks = {
  days: BlockDay[] | null;
  families: { name: string; blocked: number; sinkholed: number }[] | null;
  zones: { zone: string; blocked: number }[] | null;
  resolvers: { name: string; queries: number; blocked: number; lost: number; source: string; last: string | null }[] | null;
  total: number;
  then: { from: string; to: string; blocks: number; per_day: number; source: Text };
  losses: { source: string; frames: number; lost: number; malformed: number; at: string | null }[] | null;
  hits: { on: boolean; consenting: number; grant: string; until: string | null; words: Text };
};

export type Consent = 'consents' | 'declined' | 'outdated' | 'unknown';
export type Choice = {
  subject: string; // "": it can't be told whose it would be
  verdict?: string;
  words?: Text | null;
  purposes: { purpose: string; words: Text; state: Consent; version: string; since: string | null }[] | null;
  optout: { in_zone: boolean; serial: number; since: string | null; resolvers: { name: string; serial: number; has: boolean | null }[] | null } | null;
  effect?: { state: 'done' | 'pending' | 'unchanged'; serial: number; at: string | null; words: Text } | null;
};

/** Who runs the zones. */
export const net = ['operator', 'network', 'admin'] as const;

/** A mark for each state, so that none is told by colour alone. */
export const mark: Record<State, string> = { candidate: '○', enriched: '◔', scored: '◑', reviewed: '◕', shadow: '◎', enforced: '●', held: '‖', expired: '◷', withdrawn: '✕', archived: '▫' };
export type Tone = 'note' | 'soon' | 'good' | 'urgent' | 'rest';
export const tone: Record<State, Tone> = { candidate: 'note', enriched: 'note', scored: 'soon', reviewed: 'note', shadow: 'note', enforced: 'good', held: 'soon', expired: 'rest', withdrawn: 'rest', archived: 'rest' };
export const isState = (s: string): s is State => (states as readonly string[]).includes(s);
export const isKind = (s: string): s is Kind => (kinds as readonly string[]).includes(s);
/** A filter list in the URL: known states only. */
export const readStates = (s: string | null): State[] => (s ?? '').split(',').filter(isState);
/** States in which an entry still leads somewhere. */
export const alive = (s: State): boolean => s !== 'withdrawn' && s !== 'archived' && s !== 'expired';

/** How a value is written: an endpoint carries its port already, an address may have it beside. */
export const written = (e: Pick<Entry, 'kind' | 'value' | 'port'>): string => (e.kind === 'address' && e.port ? `${e.value}:${e.port}` : e.value);

/** Whether this person has already judged it: nobody judges twice. */
export const judged = (e: Pick<Entry, 'reviews'>, user: string): boolean => (e.reviews ?? []).some((r) => r.who === user || r.who.endsWith(`:${user}`));
/** How many more must say yes before it goes on. */
export const stillNeeds = (e: Pick<Entry, 'reviews' | 'needs_two'>): number => Math.max(0, (e.needs_two ? 2 : 1) - (e.reviews ?? []).filter((r) => r.verdict === 'yes').length);

export type Standing = 'ok' | 'deviates' | 'behind' | 'silent' | 'unknown' | 'elsewhere';
export const standingMark: Record<Standing, string> = { ok: '✓', deviates: '✕', behind: '◷', silent: '⊘', unknown: '?', elsewhere: '·' };
/** The newest probe of one cell of the proof matrix. A round may ask more than one
 *  question there: one that went wrong is what counts, then one for a name. */
export const probeOf = (r: Pick<Resolver, 'probes'>, zone: string, client: 'in' | 'out'): Probe | undefined => {
  const all = (r.probes ?? []).filter((p) => p.zone === zone && p.client === client);
  const last = Math.max(...all.map((p) => Date.parse(p.at ?? '') || 0));
  const round = all.filter((p) => (Date.parse(p.at ?? '') || 0) > last - 60_000);
  const one = round.find((p) => p.ok === false) ?? round.find((p) => p.expected !== 'serial') ?? round[0];
  return one && { ...one, serial: one.serial || Math.max(0, ...round.map((p) => p.serial)) };
};
// Answers by which nothing is proven, one way or the other.
const mute: ReadonlySet<string> = new Set(['', 'silence', 'timeout', 'servfail', 'refused', 'other']);
/** What a cell says. A proof older than stale ms proves nothing of now. */
export const cellState = (p: Probe | undefined, now: number, stale: number): Standing => {
  if (!p || p.ok === null || !p.at) return 'unknown';
  if (now - Date.parse(p.at) > stale) return 'silent';
  if (p.ok) return 'ok';
  return mute.has(p.got) ? 'silent' : 'deviates';
};
/** A cell of the matrix. Whoever opted out gets nothing from the zone that says so: it
 *  is proven by what the later zones let pass. */
export const cellOf = (r: Pick<Resolver, 'probes'>, zone: string, client: 'in' | 'out', now: number, stale: number): Standing => {
  const p = probeOf(r, zone, client);
  if (!p && zone === 'optout.' && client === 'out' && (r.probes ?? []).some((x) => x.client === client && x.zone !== zone)) return 'elsewhere';
  return cellState(p, now, stale);
};

/** A logarithmic scale with zero at its foot: 0 below one, then a decade a step. */
export const decade = (n: number): number => (n < 1 ? 0 : Math.log10(n) + 1);

/** The figure of a policy zone, whose name has a dot at its end or not. */
export const zoneCount = (zones: Record<string, number> | null, zone: string): number => zones?.[zone] ?? zones?.[zone.replace(/\.$/, '')] ?? 0;

/** How far a choice has come: "unknown" nobody can tell, "coming" it isn't in the zone
 *  yet, "part" not every resolver has it, "there" all of them do. Whoever doesn't
 *  consent is to be left alone. */
export const arrival = (c: Choice): 'unknown' | 'coming' | 'part' | 'there' => {
  if (!c.optout) return 'unknown';
  const apart = aside(c);
  if (c.effect?.state === 'pending' || c.optout.in_zone !== apart) return 'coming';
  return (c.optout.resolvers ?? []).every((r) => r.has === apart) ? 'there' : 'part';
};
/** Whether the subscriber is to be left alone. */
export const aside = (c: Pick<Choice, 'purposes'>): boolean => c.purposes?.find((p) => p.purpose === 'cc_block')?.state !== 'consents';

/** What was typed names a line by an address, a case, a pseudonym, or a contract. */
export const lineOf = (typed: string): { by: 'address' | 'case' | 'subject' | 'contract'; value: string } => {
  const s = typed.normalize('NFKC').trim();
  if (isAddress(s)) return { by: 'address', value: s };
  if (isCaseID(s)) return { by: 'case', value: s.toUpperCase() };
  return { by: /^S-[0-9a-f]{6,}$/i.test(s) ? 'subject' : 'contract', value: s };
};

/** The ends of the months "2016-02" to "2017-09" in days. */
export const monthsDays = (from: string, to: string): number => {
  const at = (s: string, on = 0) => Date.UTC(Number(s.slice(0, 4)), Number(s.slice(5, 7)) - 1 + on, 1);
  return Math.round((at(to, 1) - at(from)) / 86_400_000);
};

/** A name as somebody reads it to us on the phone: from an address bar, with a scheme,
 *  a path, a dot at its end, in wide letters. */
export const spoken = (typed: string): string =>
  typed
    .normalize('NFKC')
    .trim()
    .toLowerCase()
    .replace(/^[a-z][a-z0-9+.-]*:\/\//, '')
    .replace(/^[^/@]*@/, '')
    .replace(/[/?#].*$/, '')
    .replace(/。/g, '.')
    .replace(/\.$/, '');
