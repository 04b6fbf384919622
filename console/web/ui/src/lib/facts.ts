import type { Condition, FactKind, GateFact, Rule } from './office';
import { fromField, iso, type Zone } from './time';

// What an asker states to the gate, from the fields of a form to JSON.

export type Field = { text: string; on: boolean; at: string; until: string };
export const blank = (): Field => ({ text: '', on: false, at: '', until: '' });

/** A duration as Go reads it: 90m, 72h, 1h30m. */
export const isDuration = (s: string): boolean => /^(\d+(\.\d+)?(h|m|s))+$/.test(s);

/** The value of one field, undefined when nothing was stated, null when it
 *  can't be read as its kind. */
export const value = (kind: FactKind, f: Field, zone: Zone): unknown => {
  const text = f.text.trim();
  switch (kind) {
    case 'bool':
      return f.on ? true : undefined;
    case 'number':
      return text === '' ? undefined : Number.isFinite(Number(text)) ? Number(text) : null;
    case 'time': {
      if (!f.at) return undefined;
      const ms = fromField(f.at, zone);
      return ms === null ? null : iso(ms);
    }
    case 'duration':
      return text === '' ? undefined : isDuration(text) ? text : null;
    case 'list': {
      const list = f.text.split('\n').map((s) => s.trim()).filter(Boolean);
      return list.length ? list : undefined;
    }
    case 'statement': {
      if (!text && !f.at && !f.until) return undefined;
      const at = fromField(f.at, zone);
      const until = fromField(f.until, zone);
      return text && at !== null && until !== null ? { who: text, at: iso(at), until: iso(until) } : null;
    }
    default:
      return text || undefined;
  }
};

/** All that was stated, and the names of what can't be read. */
export const stated = (facts: readonly GateFact[], fields: Record<string, Field>, zone: Zone): { facts: Record<string, unknown>; wrong: string[] } => {
  const out: Record<string, unknown> = {};
  const wrong: string[] = [];
  for (const fact of facts) {
    const field = fields[fact.name];
    const v = field ? value(fact.kind, field, zone) : undefined;
    if (v === null) wrong.push(fact.name);
    else if (v !== undefined) out[fact.name] = v;
  }
  return { facts: out, wrong };
};

/** What the house looks up itself of a case: nobody states it there. */
export const houseKnows: readonly string[] = ['finding', 'consent', 'terms_opt_out', 'terms_unchanged', 'terms_notice', 'terms_limited'];

/** The conditions that a measure must meet under a rule. */
export const conditionsFor = (r: Rule, measure: string): Condition[] => (r.conditions ?? []).filter((c) => !c.for?.length || c.for.includes(measure));

/** The rules that speak of a measure: those in force and verified first. */
export const speaking = (rules: readonly Rule[], measure: string): Rule[] =>
  rules.filter((r) => r.in_force && (r.measures ?? []).includes(measure)).sort((a, b) => Number(b.verified) - Number(a.verified));

/** The facts that these rules look at for a measure, in the order of the
 *  vocabulary. What the house answers itself is left out unless asked for. */
export const factsFor = (facts: readonly GateFact[], rules: readonly Rule[], measure: string, known: readonly string[] = []): GateFact[] => {
  const used = new Set(rules.flatMap((r) => conditionsFor(r, measure).map((c) => c.fact)).filter(Boolean));
  return facts.filter((f) => used.has(f.name) && !known.includes(f.name));
};
