// The shapes of routing incidents, of what is watched and of feeds below /api/v1/routes,
// and how they are put in words. Times are RFC 3339 in UTC; AS numbers and prefixes are
// public and come whole.
import type { Words } from '../i18n/routes.svelte';
import { count, percent } from './format';
import type { Lane } from './lanes';
import type { Lang } from './prefs.svelte';
import type { Counted, Measure } from './rates';
import { clock, date, type Zone } from './time';
import { cell, type Twin } from './twin';
import type { Ack, Role, Text } from './types';

export * from './lanes';

/** Who may propose, approve and withdraw. */
export const acting: readonly Role[] = ['operator', 'network', 'admin'];

export const kinds = ['leak', 'hijack', 'outage', 'blackhole', 'bogon'] as const;
export type Kind = (typeof kinds)[number];
export type Signal = { name: string; score: number; count: number; words: Text };
export type OwnSpace = { prefix: string; name: string; prefixes: number; addresses: number };
export type ActState = 'proposed' | 'approved' | 'announced' | 'confirmed' | 'withdrawn' | 'refused' | 'failed' | 'expired';
export type Incident = {
  id: string; state: 'opened' | 'changed' | 'closed'; kind: Kind; form: string; also: string[] | null;
  opened: string; detected: string; changed: string; last: string; closed: string | null; restored: boolean; waves: number;
  severity: 1 | 2 | 3; confidence: number; title: Text; why: Text; signals: Signal[] | null;
  leaker: number; leaker_name: string; from: number; from_name: string; to: number; to_name: string; adjacency: string;
  origins: number[] | null; expected: number[] | null;
  prefixes: Counted; now: number; peak: number; more_specific: number; addresses: number; networks64: number;
  own: OwnSpace[] | null; seen: number; whole: number; ack: Ack | null;
  remedies: number; remedy: { id: string; state: ActState; words: Text } | null;
};
export type Incidents = { incidents: Incident[] | null; next: string | null; running: number; data_time: string | null; sources: number };
export type HitPrefix = { prefix: string; origin: number; expected?: number[] | null; cover?: string; rov: string; first: string; gone?: string | null; own: boolean };
export type Share = { key: string; share: number; packets: number };
export type PeerSight = { peer: number; feed: string; address: string; as: number; first: string; prefixes: number; weight: number };
export type RouteMessage = { at: string; peer: number; address: string; feed: string; raw: string; text: string[] | null };
export type Step = { at: string; step: string; prefixes: number; peers: number; words: Text };
export type Names = Record<string, string>;
export type Whole = Incident & { sample: HitPrefix[] | null; whose: Share[] | null; peers: PeerSight[] | null; lanes: Lane[] | null; evidence: RouteMessage[] | null; history: Step[] | null; names: Names | null };
export type OneIncident = { incident: Whole };
export type Hits = { rows: HitPrefix[] | null; next: string | null; total: number; kept: number };
export type CoursePoint = { at: number; prefixes: number; announced: number; withdrawn: number; peers: number };
export type Course = { step: number; points: CoursePoint[] | null };
export type LanesAt = { at: string; lanes: Lane[] | null };

export type Impact = {
  known: boolean; why: Text; from: string | null; to: string | null; addresses: number; networks64: number;
  customers: { name: string; prefix: string; before: Measure; during: Measure; change: number | null }[] | null;
  links: { exporter: number; interface: number; name: string; capacity: number; before: Measure; during: Measure; full: number | null; moved: boolean }[] | null;
};
export type Contact = { as: number; name: string; role: string; where: string; look: Text; text: Text; mail: Text };
export type Filter = { vendor: string; neighbor: number; title: Text; text: string; checked: Text; rejects: number; misses: number; also_rejects: number; known: boolean };
export type MaxPrefix = { neighbor: number; family: string; now: number; maximum30d: number | null; limit: number; warn: number; known: boolean; why: Text; lines: Record<string, string> | null };
export type MoreSpecific = { prefix: string; of: string; effect: Text; side_effects: Text[] | null; possible: boolean; why: Text };
export type RouteAct = {
  id: string; incident: string; prefixes: string[] | null; state: ActState; words: Text; rehearsal: boolean;
  grant: { id: string; rule: string; title: Text; until: string | null } | null;
  proposed_by: string; proposed_at: string; approvals: { who: string; at: string; why: string }[] | null; needs: number;
  announced_at: string | null; confirmed_at: string | null; ends: string | null; withdrawn_at: string | null; withdrawn_by: string; reason: Text | null;
  held: { peer: string; routes: number; at: string }[] | null; history: { at: string; state: ActState; who: string; why: Text | null }[] | null;
};
export type Remedies = { contacts: Contact[] | null; filters: Filter[] | null; max_prefix: MaxPrefix[] | null; more_specifics: MoreSpecific[] | null; acts: RouteAct[] | null };

export type Watched = {
  prefix: string; name: string; origins: number[] | null; state: 'ok' | 'changed' | 'invisible' | 'unknown'; words: Text; seen: number; whole: number;
  upstreams: { as: number; name: string; share: number; first: string | null }[] | null; rov: string; aspa: string; longest: number; more_specifics: number; incident: string | null; last_change: string | null;
};
export type WatchedList = { prefixes: Watched[] | null; data_time: string | null };
export type Families = { v4: number; v6: number };
export type Neighbor = {
  as: number; name: string; relation: string; relation_source: string; score: number; address: string; feed: string; view: string; up: boolean; since: string | null; last: string | null;
  prefixes: Families; maximum30d: Families | null; max_prefix: Families; updates_s: number; resets: number; transit: boolean | null; incident: string | null; otc: { role: string | null; words: Text };
};
export type Neighbors = { neighbors: Neighbor[] | null };
export type Feed = {
  name: string; kind: string; address: string; state: 'ok' | 'stale' | 'down' | 'faulty' | 'refused'; words: Text; advice: Text[] | null; since: string | null; last: string | null;
  peers: number; whole: number; routes: number; messages: number; elements: number; malformed: { reason: string; count: number }[] | null; dropped: number; delay_ms: number | null; skew_ms: number | null; resets: number;
  peers_list: { as: number; address: string; view: string; up: boolean; routes: number; elements: number; weight: number; damped: boolean }[] | null;
};
export type Feeds = {
  feeds: Feed[] | null;
  rpki: { sources: { name: string; kind: string; state: string; words: Text; version: number | null; serial: number | null; vrps: number; aspas: number; refreshed: string | null; expires: string | null; error: Text | null }[] | null; vrps: number; aspas: number };
  relations: { file: string | null; links: number; learnt: number; dated: string | null };
  table: { prefixes: number; routes: number; paths: number; bytes: number; bytes_route: number };
};
export type Shown = { prefix: string; match: 'exact' | 'cover' | 'inside'; peer_as: number; peer: string; feed: string; view: string; path: number[] | null; origin: number; rov: string; aspa: string; communities: string[] | null; otc: number | null; since: string | null; usual: boolean | null };
export type Show = {
  prefix: string; at: string; now: boolean; kept: { from: string; to: string } | null; routes: Shown[] | null;
  history: { at: string; peer_as: number; peer: string; feed: string; kind: string; path: number[] | null; was: number[] | null }[] | null; incidents: string[] | null; names: Names | null;
};
export type Readiness = {
  paths: number; rov: Record<string, number> | null; aspa: Record<string, number> | null; otc: { marked: number; unmarked: number };
  own: { prefix: string; rov: string; roa_missing: boolean; max_length: number; words: Text }[] | null; customers: { as: number; name: string; prefixes: number; roa: number; aspa: boolean; must: Text[] | null }[] | null; computed: string | null;
};
export type Drill = {
  state: 'running' | 'done' | 'failed'; done: number; updates: number; accepted: number; rejected: number; by: { reason: string; words: Text; routes: number }[] | null; accepted_own: number;
  first_alarm_s: number | null; incident: Incident | null; neighbors: { as: number; offered: number; accepted: number; maxprefix_at_s: number | null }[] | null; error: Text | null;
};

type Tone = 'note' | 'soon' | 'urgent' | 'good' | 'rest';
export const shapes = { 1: '▲', 2: '◆', 3: '●' } as const;
/** A mark for each kind, so that none is told by colour alone. */
export const kindMark: Record<string, string> = { leak: '⤳', hijack: '⚑', outage: '⊘', blackhole: '●', bogon: '¿' };
export const open = (i: Pick<Incident, 'state'>): boolean => i.state !== 'closed';
export const actMark: Record<ActState, string> = { proposed: '○', approved: '◑', announced: '➔', confirmed: '✓', withdrawn: '■', refused: '⊘', failed: '✕', expired: '◷' };
export const actTone: Record<ActState, Tone> = { proposed: 'soon', approved: 'note', announced: 'soon', confirmed: 'good', withdrawn: 'rest', refused: 'rest', failed: 'urgent', expired: 'rest' };
/** The line of an act's life; the others are ways off it. */
export const actLine: readonly ActState[] = ['proposed', 'approved', 'announced', 'confirmed', 'withdrawn'];
export const stands = (s: ActState): boolean => s === 'announced' || s === 'confirmed';
/** How far along its line an act has come. */
export const reached = (a: Pick<RouteAct, 'state' | 'history'>): number => {
  const on = actLine.indexOf(a.state);
  return on >= 0 ? on : Math.max(-1, ...(a.history ?? []).map((h) => actLine.indexOf(h.state)));
};

/** Marks and tones of the states of validation. */
export const rovMark: Record<string, string> = { valid: '✓', invalid: '✕', 'invalid-length': '✕', 'not-found': '○', unknown: '?', none: '–' };
export const rovTone = (s: string): Tone => (s === 'valid' ? 'good' : s.startsWith('invalid') ? 'urgent' : 'rest');
/** The states of whatever feeds, peers and validates. */
export const stateMark: Record<string, string> = { ok: '●', stale: '◷', down: '✕', faulty: '▲', refused: '⊘', changed: '◆', invisible: '⊘', unknown: '?', synced: '●', failed: '✕', connecting: '◔' };
export const stateTone = (s: string): Tone => (s === 'ok' || s === 'synced' ? 'good' : s === 'stale' || s === 'changed' || s === 'connecting' ? 'soon' : s === 'refused' || s === 'unknown' ? 'rest' : 'urgent');

/** "AS64500 Example Carrier": the name where it is known. */
export const named = (as: number, name: string | undefined, w: Words): string => (as ? (name ? `AS${as} ${name}` : `AS${as}`) : w.routes.severalAS);
/** The same, with names by number. */
export const asName = (as: number, names: Names | null | undefined, w: Words): string => named(as, names?.[String(as)], w);
/** A path as it is written: one's neighbour first, the origin last. */
export const pathText = (p: readonly number[] | null | undefined, w: Words): string => (p?.length ? p.join(' ') : w.routes.noPath);
/** What happened, in words: the kind, and the form or RFC 7908's type. */
export const formWords = (i: Pick<Incident, 'kind' | 'form'>, w: Words): string => (i.form ? (w.routes.forms[i.form] ?? i.form) : i.kind === 'leak' ? w.routes.typeUnknown : '');
/** How many prefixes of one's own and customers' space are hit. */
export const ownHit = (i: Pick<Incident, 'own'>): number => (i.own ?? []).reduce((n, o) => n + o.prefixes, 0);

/** How fine the course is asked for, s: at most some 240 steps of the whole stretch. */
export const courseStep = (from: number, to: number): number => [10, 20, 30, 60, 120, 300, 600, 1800, 3600].find((s) => (to - from) / 1000 / s <= 240) ?? 3600;

/** What a person typed as a prefix or an address, or null. */
export const prefixOf = (typed: string): string | null => {
  const s = typed.trim().toLowerCase();
  const m = /^([0-9a-f:.]+)(?:\/(\d{1,3}))?$/.exec(s);
  if (!m || !/[.:]/.test(s)) return null;
  const v6 = s.includes(':');
  if (!v6 && !/^(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/.test(m[1]!)) return null;
  return m[2] === undefined || Number(m[2]) <= (v6 ? 128 : 32) ? s : null;
};

/** Bytes of base64 as a dump, 16 a line: offset, hexadecimal, letters. */
export const hexDump = (raw: string): string => {
  let bytes = '';
  try {
    bytes = atob(raw);
  } catch {
    return raw; // not base64: shown as it came
  }
  const lines: string[] = [];
  for (let i = 0; i < bytes.length; i += 16) {
    const part = [...bytes.slice(i, i + 16)];
    const hex = part.map((c) => c.charCodeAt(0).toString(16).padStart(2, '0'));
    lines.push(`${i.toString(16).padStart(4, '0')}  ${hex.join(' ').padEnd(48)} ${part.map((c) => (/[\x20-\x7e]/.test(c) ? c : '.')).join('')}`);
  }
  return lines.join('\n');
};

// ---- tables that stand for pictures

const at = (ms: number, zone: Zone) => `${date(ms, zone)} ${clock(ms, zone, true)}`;
export const courseTwin = (c: Course, zone: Zone, lang: Lang, w: Words): Twin => ({
  name: w.routes.course,
  columns: [{ label: w.panel.time }, { label: w.routes.routed, num: true }, { label: w.routes.announced, num: true }, { label: w.routes.withdrawn, num: true }, { label: w.routes.peers, num: true }],
  rows: (c.points ?? []).map((p) => [cell(at(p.at * 1000, zone), new Date(p.at * 1000).toISOString()), cell(count(p.prefixes, lang), p.prefixes), cell(count(p.announced, lang), p.announced), cell(count(p.withdrawn, lang), p.withdrawn), cell(count(p.peers, lang), p.peers)]),
});
export const lanesTwin = (lanes: readonly Lane[], names: Names | null, zone: Zone, lang: Lang, w: Words): Twin => ({
  name: w.routes.lanes,
  columns: [{ label: w.routes.example }, { label: w.routes.cover }, { label: w.routes.vantage }, { label: w.routes.usualLane }, { label: w.routes.isLane }, { label: w.routes.routesN, num: true }, { label: w.routes.first }, { label: w.routes.last }],
  rows: lanes.map((l) => [cell(l.prefix), cell(l.cover ?? ''), cell(asName(l.peer, names, w), `AS${l.peer}`), cell(l.usual?.length ? l.usual.join(' ') : w.routes.usualUnknown, (l.usual ?? []).join(' ')), cell(pathText(l.is, w), (l.is ?? []).join(' ')), cell(count(l.routes, lang), l.routes), cell(at(Date.parse(l.first), zone), l.first), cell(l.last ? at(Date.parse(l.last), zone) : '', l.last ?? null)]),
});
export const shareTwin = (title: string, label: string, rows: readonly Share[], lang: Lang, w: Words): Twin => ({
  name: title,
  columns: [{ label }, { label: w.routes.share, num: true }, { label: w.routes.prefixes, num: true }],
  rows: rows.map((r) => [cell(r.key), cell(percent(r.share, lang), r.share), cell(count(r.packets, lang), r.packets)]),
});
