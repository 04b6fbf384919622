import type { Words } from '../i18n/office.svelte';
import { count } from './format';
import type { Lang } from './prefs.svelte';
import { caseStates, steps, type CaseState, type DayFlow, type Group, type Verdict } from './office';
import { date, type Zone } from './time';
import { cell, type Twin } from './twin';

// How cases are put in words, in shapes and in tables.

/** A mark for each state, so that none is told by colour alone. */
export const stateMark: Record<CaseState, string> = { new: '○', attributed: '◔', lawful: '◑', notified: '✉', acknowledged: '◕', claimed_fixed: '◉', verifying: '◷', clean: '✓', relapsed: '↻', unreachable: '✕', escalated: '▲', closed: '■' };
/** The tone of a state: what waits for us, for them, for time, and what went wrong. */
export const stateTone: Record<CaseState, 'note' | 'soon' | 'urgent' | 'good' | 'rest'> = { new: 'soon', attributed: 'soon', lawful: 'soon', notified: 'note', acknowledged: 'note', claimed_fixed: 'note', verifying: 'note', clean: 'good', relapsed: 'urgent', unreachable: 'urgent', escalated: 'note', closed: 'rest' };

/** The main line of a life; the others are ways off it. */
export const line: readonly CaseState[] = ['new', 'attributed', 'lawful', 'notified', 'acknowledged', 'claimed_fixed', 'verifying', 'clean'];

export const verdictMark: Record<Verdict, string> = { unique: '●', unique_with_skew: '◐', ambiguous: '◇', expired: '◌', foreign: '➔', no_port: '⊘', mediated: '⊂', other: '?' };
export const certain = (v: string): boolean => v === 'unique' || v === 'unique_with_skew';

/** A mark for each state of a notice, and those in which something went wrong. */
export const noticeMark: Record<string, string> = { proposed: '○', approved: '◑', sending: '➔', in_doubt: '?', sent: '✉', delivered: '✓', bounced: '↩', failed: '✕', unprintable: '⊘', withdrawn: '■' };
export const troubled: ReadonlySet<string> = new Set(['bounced', 'failed', 'unprintable', 'in_doubt']);

export const isState = (s: string): s is CaseState => (caseStates as readonly string[]).includes(s);

/** A filter list in the URL: known states only. */
export const readStates = (s: string | null): CaseState[] => (s ?? '').split(',').filter(isState);

/** Why something came to pass, in the reader's language where the house itself
 *  wrote it; what a person wrote stays as it is. */
export const reason = (why: string, w: Words): string => {
  const hours = (s: string) => w.unit.hours(/^(\d+)h/.exec(s)?.[1] ?? '0');
  const known = w.infections.verdicts[why];
  if (known) return known;
  let m = /^seen by (\S+)$/.exec(why);
  if (m) return w.infections.seenBy(m[1]!);
  m = /^no sign (?:from any source )?for (\S+)(?: after \w+)?$/.exec(why);
  if (m) return w.infections.noSignFor(hours(m[1]!));
  m = /^every sign was withdrawn: (.*)$/s.exec(why);
  if (m) return w.infections.allWithdrawn(m[1]!);
  m = /^notice (\S+) went out by (\w+), by rule (\S+)$/.exec(why);
  if (m) return w.infections.wentOut(m[2]!, m[3]!);
  m = /^notice (\S+) by (\w+) came back \((.*)\)/s.exec(why);
  if (m) return w.infections.cameBack(m[2]!, m[3]!);
  m = /^by grant (\S+)$/.exec(why);
  if (m) return w.infections.byGrant(m[1]!);
  m = /^merged into (\S+): (.*)$/s.exec(why);
  return m ? `${w.infections.mergedInto} ${m[1]}: ${m[2]}` : why;
};

/** How long until a time, or since it, in days, hours or minutes. */
export const distance = (ms: number): { n: number; unit: 'days' | 'hours' | 'minutes' } => {
  const m = Math.abs(ms) / 60_000;
  if (m >= 48 * 60) return { n: Math.floor(m / 1440), unit: 'days' };
  if (m >= 90) return { n: Math.floor(m / 60), unit: 'hours' };
  return { n: Math.ceil(m), unit: 'minutes' };
};

export const daysTwin = (name: string, days: readonly DayFlow[], lang: Lang, zone: Zone, w: Words): Twin => ({
  name,
  columns: [{ label: w.infections.day }, ...steps.map((s) => ({ label: w.infections.flow[s] ?? s, num: true }))],
  rows: days.map((d) => [cell(date(Date.parse(d.at), zone), d.at), ...steps.map((s) => cell(count(d[s], lang), d[s]))]),
});

export const groupTwin = (name: string, head: string, groups: readonly Group[], named: (g: Group) => string, lang: Lang, w: Words): Twin => ({
  name,
  columns: [{ label: head }, { label: w.infections.flow.open ?? '', num: true }, ...steps.map((s) => ({ label: w.infections.flow[s] ?? s, num: true }))],
  rows: groups.map((g) => [cell(named(g), g.name), cell(count(g.open, lang), g.open), ...steps.map((s) => cell(count(g[s], lang), g[s]))]),
});
