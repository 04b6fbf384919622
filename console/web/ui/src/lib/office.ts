// The shapes of the office below /api/v1: cases, the gate, the ledger, notices.
// Times are RFC 3339 in UTC. Nothing here holds a person's name or contact but
// Identity, which is asked for with a grant and kept by nobody.
import type { Text } from './types';

export const caseStates = ['new', 'attributed', 'lawful', 'notified', 'acknowledged', 'claimed_fixed', 'verifying', 'clean', 'relapsed', 'unreachable', 'escalated', 'closed'] as const;
export type CaseState = (typeof caseStates)[number];

export type Case = {
  id: string;
  subject: string; // a pseudonym
  state: CaseState;
  words: Text;
  family: string;
  device: string;
  opened: string;
  changed: string;
  seen: string;
  due: string | null;
  overdue: boolean;
  notices: number;
  assignee: string;
  held: boolean;
  reason: string;
  merged: string;
  open: boolean;
  next: CaseState[] | null;
};
export type Cases = { cases: Case[] | null; total: number; next: string };

export const flows = ['opened', 'notified', 'acknowledged', 'cleaned', 'relapsed', 'unreachable'] as const;
export type Flow = Record<(typeof flows)[number], number>;
/** What a day or a group counts of the flow; unreachable is counted in all alone. */
export const steps = ['opened', 'notified', 'acknowledged', 'cleaned', 'relapsed'] as const;
export type Step = (typeof steps)[number];
export type Group = Record<Step, number> & { name: string; open: number };
export type DayFlow = Record<Step, number> & { at: string };
export type Summary = {
  from: string;
  to: string;
  states: { state: CaseState; words: Text; count: number }[] | null;
  open: number;
  overdue: number;
  held: number;
  unassigned: number;
  nobody: number;
  flow: Flow;
  families: Group[] | null;
  devices: Group[] | null;
  days: DayFlow[] | null;
};

export type Verdict = 'unique' | 'unique_with_skew' | 'ambiguous' | 'expired' | 'foreign' | 'no_port' | 'mediated' | 'other';
export type Sign = {
  id: string;
  source: string;
  claim: string;
  family: string;
  at: string;
  came: string;
  verdict: Verdict | string;
  verdict_words: Text;
  doubt: Text | null;
  mediated: boolean;
  withdrawn: boolean;
};
export type Signs = { signs: Sign[] | null; total: number; next: string };
export type CaseEvent = { n: number; at: string; who: string; what: string; why: string };
export type Deadline = { id?: string; name: Text; due: string; source: Text; over: boolean; done?: string | null; verified?: boolean };
export type Whole = {
  case: Case;
  history: CaseEvent[] | null;
  signs: Sign[] | null;
  notices: Notice[] | null;
  grants: Decision[] | null;
  why: Text;
  deadlines: Deadline[] | null;
};

export type BulkAction = 'move' | 'assign' | 'hold' | 'release';
export type Bulk = {
  id: string;
  action: BulkAction;
  to: string;
  why: string;
  who: string;
  asked: string;
  at: string; // when it will be done
  state: 'waiting' | 'done' | 'stopped';
  cases: { id: string; result: '' | 'done' | 'refused'; reason: string }[] | null;
};

export type Person = { name: string; mail: string; phone: string; postal: { code: string; lines: string[] | null } | null };
/** Who a subscriber is: shown while the grant lasts, and never stored. */
export type Identity = { contract: string; person: Person | null; grant: string; rule: string; until: string };

export type Lack = { condition: string; missing: Text; satisfy: Text; detail?: Text | null };
export type Answered = { outcome: 'granted' | 'refused' | 'waiting'; id: string; rule: string; until: string | null; text: Text; missing: Lack[] | null };
export type Outcome = 'granted' | 'refused' | 'waiting' | 'declined' | 'lapsed' | 'revoked' | 'expired';
export type Decision = {
  id: string;
  outcome: Outcome;
  at: string;
  until: string | null;
  measure: string;
  purpose: string;
  who: string;
  second: string;
  rule: string;
  title: Text;
  edition: string;
  source: string;
  subjects: string[] | null;
  proofs: { condition: string; verified: boolean; by: string }[] | null;
};
export type Grants = { grants: Decision[] | null; waiting: Decision[] | null };

export type Condition = { name: string; fact: string; missing: Text; satisfy: Text; for: string[] | null };
export type Rule = {
  id: string;
  case: string; // ①, ②, ③; "" of a later one
  title: Text;
  grounds: { ground: string; words: Text }[] | null;
  edition: string;
  source: string;
  verified: boolean;
  note: Text | null;
  from: string;
  until: string | null;
  in_force: boolean;
  measures: string[] | null;
  conditions: Condition[] | null;
  widest: Text;
  limits: Record<string, number | boolean>;
  four_eyes: string[] | null;
};
export type FactKind = 'bool' | 'number' | 'time' | 'duration' | 'text' | 'list' | 'statement';
export type GateFact = { name: string; kind: FactKind; text: Text };
export type Rules = { rules: Rule[] | null; measures: { measure: string; words: Text }[] | null; facts: GateFact[] | null };

export type Consents = {
  terms: { version: string; ground: string; from: string; purposes: string[] | null; opt_out: boolean; otherwise_unchanged: boolean; limited: boolean; notices: { at: string; channel: string; reference: string }[] | null }[] | null;
  counts: { purpose: string; consenting: number; outdated: number; declined: number }[] | null;
};

export type Entry = { seq: number; at: string; kind: string; words: Text; who: string; what: Record<string, unknown> | null; personal: 'none' | 'kept' | 'erased'; hash: string };
export type Entries = { entries: Entry[] | null; next: string };
export type Book = {
  kinds: { kind: string; words: Text; count: number }[] | null;
  last: { seq: number; at: string; hash: string } | null;
  heads: { seq: number; at: string; key: string }[] | null;
  refusals: { rule: string; measure: string; count: number }[] | null;
};
export type Verified = { entries: number; last: number; until: string | null; private: number; erased: number; heads: number; faults: { seq: number; ja: string; en: string }[] | null; took_ms: number };

export type NoticeState = 'proposed' | 'approved' | 'sending' | 'in_doubt' | 'sent' | 'delivered' | 'bounced' | 'failed' | 'unprintable' | 'withdrawn';
export type Notice = {
  id: string;
  case: string;
  subject: string;
  channel: string;
  template: { family: string; device: string };
  language: string;
  reference: string;
  state: NoticeState;
  words: Text;
  reason: string;
  attempts: number;
  due: string | null;
  batch: string;
  rule: string;
  receipt: string;
  proposer: string;
  proposed: string;
  changed: string;
  sent: string | null;
};
export type Channels = { channels: { channel: string; words: Text; configured: boolean; reason: Text | null }[] | null };
export type Preview = { type: string; subject: string; text: string; html: string; pdf: string; masked: boolean };

/** Who may see the office, and who may do what in it. */
export const reading = ['operator', 'abuse', 'legal', 'admin'] as const;
/** Who reads the C&C list and its zones, in which there is nobody. */
export const listReading = ['operator', 'abuse', 'network', 'legal', 'admin'] as const;
export const desk = ['abuse', 'admin'] as const;
export const law = ['legal', 'admin'] as const;
export const asking = ['abuse', 'legal', 'admin'] as const;
