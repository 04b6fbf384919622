// The shapes of attacks and of what is done against them below /api/v1, and how they
// are put in words. Times are RFC 3339 in UTC; rates are a second; errors are ± 95 %.
import type { Words } from '../i18n/attacks.svelte';
import { percent } from './format';
import type { Lang } from './prefs.svelte';
import { counted, si, type Counted, type Measure } from './rates';
import { clock, date, parse, type Zone } from './time';
import { cell, type Twin } from './twin';
import type { Ack, Role, Text } from './types';

export * from './rates';

/** Who may propose, approve and withdraw. */
export const acting: readonly Role[] = ['operator', 'network', 'admin'];

export type Rate = { packets: Measure; bits: Measure; flows: Measure; covered: boolean };
export type Share = { key: string; share: number; packets: number; bits: number; name?: string };
export type Vector = { name: string; words: Text; share: number; bits: number; packets: Measure; proto: number; src_port: number; dst_port: number; flags?: string; length: Measure; sources: Counted; ports: Share[] | null };
export type Target = { kind: 'address' | 'prefix' | 'customer' | 'link'; prefix: string; name: string };
export type Sources = { count: Counted; countries: Share[] | null; networks: Share[] | null; forged: boolean | null; forged_why: Text | null; infected: number; own: number; looked: number };
export type Direction = 'incoming' | 'outgoing';
export type Attack = {
  id: string; state: 'opened' | 'changed' | 'closed'; direction: Direction; object: Target;
  opened: string; detected: string; changed: string; closed: string | null;
  pulses: number; severity: 1 | 2 | 3; confidence: number; witnesses: string[] | null; title: Text; why: Text;
  now: Rate; peak: Rate; usual: Rate | null; limit: Rate; packets: Measure; bytes: Measure;
  vectors: Vector[] | null; targets: Counted; sources: Sources;
  mitigation: { state: MitigationState; words: Text; id: string } | null;
  ack: Ack | null;
};
export type Attacks = { attacks: Attack[] | null; next: string | null; running: number; rehearsal: boolean; data_time: string | null };
export type Version = { at: string; state: string; why: Text; peak: Rate; confidence: number };
export type OneAttack = { attack: Attack & { hit: Share[] | null; ingress: Share[] | null; mitigations: Mitigation[] | null; history: Version[] | null } };

export type Mark = { at: string; state: MitigationState; words: Text; id: string };
export type CoursePoint = { at: string | number; packets: number; bits: number; error: number; dropped: number; usual: number; limit: number };
export type Hole = { from: string; to: string; reason: Text | null };
export type Course = { step: number; points: CoursePoint[] | null; acts: Mark[] | null; gaps: Hole[] | null };
export type Place = Share & { lat: number | null; lon: number | null; located: boolean };
export type Places = { rows: Place[] | null; looked: number; count: Counted; estimated: boolean };

export const mitigationStates = ['proposed', 'approved', 'announced', 'confirmed', 'withdrawn', 'refused', 'failed', 'expired', 'rolled_back'] as const;
export type MitigationState = (typeof mitigationStates)[number];
export type Rule = { text: string; action: string; rate: number | null; words: Text };
export type Collateral = { share: Measure; limit: number; known: boolean; ordinary_samples: number; method: Text };
export type Alternative = { text: string; words?: Text; stops: Measure | number; collateral: Measure | number; why: Text };
export type Proposal = {
  rules: Rule[] | null; stops: Measure; collateral: Collateral; alternatives: Alternative[] | null; refused: boolean; why: Text | null;
  forms: { flowspec: string; rtbh: string; nftables: string; iptables: string; request: Text };
  conditions: { name: string; met: boolean; words: Text }[] | null; rule: string; rule_title: Text | null;
};
export type Mitigation = {
  id: string; attack: string; object: Target; state: MitigationState; words: Text; rehearsal: boolean; proposal: Proposal;
  grant: { id: string; rule: string; title: Text; until: string | null } | null;
  proposed_by: string; proposed_at: string; approvals: { who: string; at: string; why: string }[] | null; needs: number;
  announced_at: string | null; confirmed_at: string | null; effect_ms: number | null; before: Rate | null; after: Rate | null;
  ends: string | null; withdrawn_at: string | null; withdrawn_by: string; reason: Text | null;
  held: { peer: string; rules: number; at: string }[] | null; history: { at: string; state: MitigationState; who: string; why: Text | null }[] | null;
};
export type Peer = { name: string; address: string; as: number; state: 'established' | 'connecting' | 'down'; words: Text; since: string | null; families: string[] | null; held: number; error: Text | null };
export type Mitigations = { mitigations: Mitigation[] | null; next: string | null; rehearsal: boolean; peers: Peer[] | null; budget: { rules: number; max: number }; protected: { prefix: string; name: string }[] | null };

type Tone = 'note' | 'soon' | 'urgent' | 'good' | 'rest';
/** A mark for each state, so that none is told by colour alone. Sent, and not
 *  confirmed by a counter yet, is amber: nobody knows whether it works. */
export const mark: Record<MitigationState, string> = { proposed: '○', approved: '◑', announced: '➔', confirmed: '✓', withdrawn: '■', refused: '⊘', failed: '✕', expired: '◷', rolled_back: '↩' };
export const tone: Record<MitigationState, Tone> = { proposed: 'soon', approved: 'note', announced: 'soon', confirmed: 'good', withdrawn: 'rest', refused: 'rest', failed: 'urgent', expired: 'rest', rolled_back: 'urgent' };
/** The line of a life; the others are ways off it. */
export const line: readonly MitigationState[] = ['proposed', 'approved', 'announced', 'confirmed', 'withdrawn'];
/** Whether routers may hold it. */
export const stands = (s: MitigationState): boolean => s === 'announced' || s === 'confirmed';
export const waits = (s: MitigationState): boolean => s === 'proposed';
/** How far along its line a state is; -1 off the line. */
export const reached = (m: Pick<Mitigation, 'state' | 'history'>): number => {
  const on = line.indexOf(m.state);
  if (on >= 0) return on;
  return Math.max(-1, ...(m.history ?? []).map((h) => line.indexOf(h.state)));
};
/** Whether somebody has spoken for it already: people are written "role:name". */
export const spoke = (m: Pick<Mitigation, 'proposed_by' | 'approvals'>, user: string): boolean =>
  [m.proposed_by, ...(m.approvals ?? []).map((a) => a.who)].some((who) => who === user || who.endsWith(`:${user}`));

export const shapes = { 1: '▲', 2: '◆', 3: '●' } as const;
export const open = (a: Pick<Attack, 'state'>): boolean => a.state !== 'closed';
/** A rise above the usual without the form of an attack: told, and never acted on. */
export const rise = (a: Pick<Attack, 'vectors'>): boolean => !a.vectors?.length || a.vectors.every((v) => v.name === 'rise');

// ---- figures

/** The words of a vector that comes by its name alone. */
export const vectorName = (name: string, w: Words): string => {
  const service = /^(.+)-amplification$/.exec(name)?.[1];
  return w.attacks.named[name] ?? (service ? w.attacks.amplification(service.toUpperCase()) : name);
};
/** What is hit, as the API writes it: an address without its /32. */
export const target = (o: Target, w: Words): string => {
  if (o.kind === 'address') return o.prefix.replace(/\/(32|128)$/, '');
  if (o.kind === 'prefix') return o.prefix;
  return o.name || w.attacks.kinds[o.kind]!;
};

/** The largest figure that a bar must hold. */
export const full = (a: Attack, of: 'packets' | 'bits'): number => Math.max(1, a.peak[of].n, a.now[of].n, a.limit[of].n);
/** Which figure tells: the one that is further over its line, else bits. */
export const telling = (a: Attack): 'packets' | 'bits' => {
  const over = (of: 'packets' | 'bits') => (a.limit[of].n > 0 ? a.peak[of].n / a.limit[of].n : 0);
  return over('packets') > over('bits') ? 'packets' : 'bits';
};

/** The time of a point of a course, ms. */
export const pointTime = (at: string | number): number => (typeof at === 'number' ? at * 1000 : Date.parse(at));
/** The stretch to show of an attack: what was usual before it, and what came after. */
export const stretch = (a: Pick<Attack, 'opened' | 'closed'>, now: number): { from: number; to: number; step: 1 | 10 | 60 } => {
  const start = Date.parse(a.opened);
  const end = Math.max(start + 60_000, parse(a.closed) ?? now);
  const margin = Math.min(600_000, Math.max(60_000, (end - start) / 8));
  const [from, to] = [start - margin, a.closed ? end + margin : end];
  const step = to - from <= 40 * 60_000 ? 1 : to - from <= 6 * 3_600_000 ? 10 : 60;
  const unit = step * 1000;
  return { from: Math.floor(from / unit) * unit, to: Math.ceil(to / unit) * unit, step };
};

export const mitigationTone = (a: Attack): Tone => (a.mitigation ? (tone[a.mitigation.state] ?? 'note') : 'rest');

// ---- tables that stand for pictures

const at = (ms: number, zone: Zone) => `${date(ms, zone)} ${clock(ms, zone, true)}`;
export const courseTwin = (name: string, c: Course, zone: Zone, w: Words): Twin => ({
  name,
  columns: [{ label: w.panel.time }, { label: w.attacks.pps, num: true }, { label: '±', num: true }, { label: w.attacks.dropped, num: true }, { label: w.attacks.usual, num: true }, { label: w.attacks.limit, num: true }, { label: w.attacks.bps, num: true }, { label: w.attacks.acts }],
  rows: (c.points ?? []).map((p) => {
    const ms = pointTime(p.at);
    const here = (c.acts ?? []).filter((a) => Math.floor(Date.parse(a.at) / (c.step * 1000)) * c.step * 1000 === ms).map((a) => w.attacks.states[a.state] ?? a.state);
    return [cell(at(ms, zone), new Date(ms).toISOString()), cell(si(p.packets), p.packets), cell(si(p.error), p.error), cell(si(p.dropped), p.dropped), cell(p.usual ? si(p.usual) : '–', p.usual || null), cell(p.limit ? si(p.limit) : '–', p.limit || null), cell(si(p.bits), p.bits), cell(here.join(', '))];
  }),
});
export const vectorTwin = (name: string, vectors: readonly Vector[], lang: Lang, w: Words): Twin => ({
  name,
  columns: [{ label: w.attacks.vector }, { label: w.attacks.sharePackets, num: true }, { label: w.attacks.shareBits, num: true }, { label: w.attacks.packets, num: true }, { label: '±', num: true }, { label: w.attacks.proto }, { label: w.attacks.srcPort, num: true }, { label: w.attacks.dstPort, num: true }, { label: w.attacks.length, num: true }, { label: w.attacks.sources, num: true }],
  rows: vectors.map((v) => [cell(v.words[lang] || v.name, v.name), cell(percent(v.share, lang), v.share), cell(percent(v.bits, lang), v.bits), cell(si(v.packets.n), v.packets.n), cell(si(v.packets.error), v.packets.error), cell(protocol(v.proto), v.proto), cell(v.src_port ? String(v.src_port) : '–', v.src_port || null), cell(v.dst_port ? String(v.dst_port) : '–', v.dst_port || null), cell(`${Math.round(v.length.n)} ± ${Math.round(v.length.error)} B`, v.length.n), cell(counted(v.sources, lang), v.sources.n)]),
});

const protocols: Record<number, string> = { 1: 'ICMP', 6: 'TCP', 17: 'UDP', 47: 'GRE', 50: 'ESP', 58: 'ICMPv6', 132: 'SCTP' };
export const protocol = (n: number): string => (n ? (protocols[n] ?? `IP ${n}`) : '–');
