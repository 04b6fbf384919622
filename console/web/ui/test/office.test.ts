import { describe, expect, it } from 'vitest';
import { words } from '../src/i18n/office.svelte';
import { certain, daysTwin, distance, isState, line, readStates, reason, stateMark, stateTone, verdictMark } from '../src/lib/cases';
import { blank, conditionsFor, factsFor, isDuration, speaking, stated, value } from '../src/lib/facts';
import { countOf, gist, looks, own, refused, short } from '../src/lib/ledger';
import { caseStates, type Book, type Condition, type Decision, type Entry, type GateFact, type Rule } from '../src/lib/office';
import { isCaseID } from '../src/lib/subject';
import { DAY, HOUR, MINUTE } from '../src/lib/time';
import { twinCSV } from '../src/lib/twin';

describe('states of a case', () => {
  it('each has words, a mark of its own and a tone', () => {
    for (const s of caseStates) {
      for (const lang of ['ja', 'en'] as const) expect(words[lang].infections.states[s], s).toBeTruthy();
      expect(stateTone[s], s).toBeTruthy();
    }
    expect(new Set(Object.values(stateMark)).size).toBe(caseStates.length);
    expect(line.every(isState)).toBe(true);
  });
  it('reads a filter, and drops what is no state', () => {
    expect(readStates('new,clean,nonsense,<b>')).toEqual(['new', 'clean']);
    expect(readStates(null)).toEqual([]);
    expect(readStates('')).toEqual([]);
  });
  it('knows the number of a case', () => {
    expect(isCaseID(' c-2026-000123 ')).toBe(true);
    for (const bad of ['2026-000123', 'C-26-1', 'C-2026-00012', 'S-1b40feca8155']) expect(isCaseID(bad), bad).toBe(false);
  });
});

describe('verdicts', () => {
  it('two alone are certain, and no two share a shape', () => {
    expect(Object.keys(verdictMark).filter(certain)).toEqual(['unique', 'unique_with_skew']);
    expect(new Set(Object.values(verdictMark)).size).toBe(Object.keys(verdictMark).length);
    for (const v of Object.keys(verdictMark)) for (const lang of ['ja', 'en'] as const) expect(words[lang].infections.verdicts[v], v).toBeTruthy();
  });
});

describe('reasons', () => {
  it('of the house are in the language of the reader', () => {
    expect(reason('seen by telescope', words.ja)).toBe('telescope が観測');
    expect(reason('unique', words.ja)).toBe('一意');
    expect(reason('no sign from any source for 168h0m0s', words.ja)).toContain('168時間');
    expect(reason('no sign for 24h0m0s after notified', words.en)).toContain('24 h');
    expect(reason('every sign was withdrawn: 誤報', words.ja)).toBe('兆候がすべて取り消された: 誤報');
    expect(reason('notice abc went out by mail, by rule sender-by-log', words.en)).toBe('went out by mail (rule sender-by-log)');
    expect(reason('notice abc by mail came back (550 5.1.1); the next is due', words.ja)).toContain('550 5.1.1');
    expect(reason('merged into C-2026-000001: same line', words.ja)).toBe('統合先 C-2026-000001: same line');
  });
  it('of a person stay as they are', () => {
    for (const s of ['電話で確認', 'seen by two people yesterday', '']) expect(reason(s, words.ja)).toBe(s);
  });
});

describe('distance', () => {
  it.each([
    [30_000, 1, 'minutes'],
    [89 * MINUTE, 89, 'minutes'],
    [90 * MINUTE, 1, 'hours'],
    [-47 * HOUR, 47, 'hours'],
    [2 * DAY, 2, 'days'],
    [-9.9 * DAY, 9, 'days'],
  ])('%d ms', (ms, n, unit) => expect(distance(ms)).toEqual({ n, unit }));
});

it('the table of days and its CSV hold the same figures, times in UTC', () => {
  const day = { at: '2026-11-25T00:00:00Z', opened: 1200, notified: 2, acknowledged: 3, cleaned: 4, relapsed: 5 };
  const twin = daysTwin('x', [day], 'ja', 'jst', words.ja);
  expect(twin.rows[0]!.map((c) => c.text)).toEqual(['2026-11-25', '1,200', '2', '3', '4', '5']);
  expect(twinCSV(twin)).toContain('2026-11-25T00:00:00Z,1200,2,3,4,5');
});

describe('facts', () => {
  const f = (over: Partial<ReturnType<typeof blank>>) => ({ ...blank(), ...over });
  it.each([
    ['bool', f({ on: true }), true],
    ['bool', f({}), undefined],
    ['number', f({ text: ' 0.02 ' }), 0.02],
    ['number', f({ text: 'two' }), null],
    ['number', f({}), undefined],
    ['time', f({ at: '2026-11-25T09:00' }), '2026-11-25T00:00:00Z'],
    ['duration', f({ text: '1h30m' }), '1h30m'],
    ['duration', f({ text: '3 days' }), null],
    ['list', f({ text: 'a\n\n b ' }), ['a', 'b']],
    ['list', f({ text: ' \n' }), undefined],
    ['text', f({ text: '  C-1 ' }), 'C-1'],
    ['text', f({ text: ' ' }), undefined],
    ['statement', f({ text: 'Example ISP', at: '2026-11-25T09:00', until: '2026-12-25T09:00' }), { who: 'Example ISP', at: '2026-11-25T00:00:00Z', until: '2026-12-25T00:00:00Z' }],
    ['statement', f({ text: 'Example ISP' }), null],
  ] as const)('%s %#', (kind, field, want) => expect(value(kind, field, 'jst')).toEqual(want));
  it('a duration is as Go reads it', () => {
    for (const s of ['90m', '72h', '1h30m', '0.5h']) expect(isDuration(s), s).toBe(true);
    for (const s of ['72', 'h', '1d', '-1h', '']) expect(isDuration(s), s).toBe(false);
  });
  it('what cannot be read is named, and what was not stated is left out', () => {
    const facts: GateFact[] = [{ name: 'harm', kind: 'text', text: { ja: '', en: '' } }, { name: 'collateral', kind: 'number', text: { ja: '', en: '' } }, { name: 'cause', kind: 'text', text: { ja: '', en: '' } }];
    expect(stated(facts, { harm: f({ text: 'load' }), collateral: f({ text: 'x' }) }, 'utc')).toEqual({ facts: { harm: 'load' }, wrong: ['collateral'] });
  });
});

describe('rules', () => {
  const condition = (name: string, fact: string, of: string[] = []): Condition => ({ name, fact, for: of, missing: { ja: '', en: '' }, satisfy: { ja: '', en: '' } });
  const rule = (id: string, over: Partial<Rule>): Rule => ({ id, case: '②', title: { ja: '', en: '' }, grounds: [], edition: '', source: '', verified: true, note: null, from: '', until: null, in_force: true, measures: ['notify'], conditions: [], widest: { ja: '', en: '' }, limits: {}, four_eyes: [], ...over });
  const a = rule('a', { verified: false });
  const b = rule('b', { measures: ['notify', 'read_logs'], conditions: [condition('x', 'harm'), condition('y', 'window_of', ['read_logs'])] });
  const gone = rule('gone', { in_force: false });
  it('those in force speak, the verified ones first', () => expect(speaking([a, gone, b, rule('c', { measures: ['block'] })], 'notify').map((r) => r.id)).toEqual(['b', 'a']));
  it('conditions of another measure are not asked', () => {
    expect(conditionsFor(b, 'notify').map((c) => c.name)).toEqual(['x']);
    expect(conditionsFor(b, 'read_logs')).toHaveLength(2);
  });
  it('facts come in the order of the vocabulary, without those that the house knows', () => {
    const facts = ['window_of', 'harm', 'finding'].map((name): GateFact => ({ name, kind: 'text', text: { ja: '', en: '' } }));
    expect(factsFor(facts, [b], 'read_logs').map((x) => x.name)).toEqual(['window_of', 'harm']);
    expect(factsFor(facts, [b], 'read_logs', ['harm']).map((x) => x.name)).toEqual(['window_of']);
  });
});

describe('ledger', () => {
  const entry = (seq: number, at: string, who: string, what: Record<string, unknown> | null): Entry => ({ seq, at, who, what, kind: 'look-up', words: { ja: '', en: '' }, personal: 'none', hash: 'ab'.repeat(32) });
  it('counts looks by day of the zone, by whom and on which basis', () => {
    const all = [
      entry(4, '2026-11-25T16:00:00Z', 'abuse:a', { subject: 'S-1', of: 'person', rule: 'r' }), // the 26th in Japan
      entry(3, '2026-11-25T02:00:00Z', 'abuse:a', { subject: 'S-1', of: 'person', rule: 'r' }),
      entry(2, '2026-11-25T01:00:00Z', 'abuse:a', { subject: 'S-1', of: 'person', rule: 'r' }),
      entry(1, '2026-11-25T01:00:00Z', 'legal:b', null),
    ];
    expect(looks(all, 'jst')).toEqual([
      { day: '2026-11-26', who: 'abuse:a', rule: 'r', of: 'person', count: 1, subjects: 1 },
      { day: '2026-11-25', who: 'abuse:a', rule: 'r', of: 'person', count: 2, subjects: 1 },
      { day: '2026-11-25', who: 'legal:b', rule: '', of: '', count: 1, subjects: 1 },
    ]);
    expect(looks(all, 'utc').reduce((n, l) => n + l.count, 0)).toBe(all.length);
  });
  it('reads a refusal, also one without details', () => {
    expect(refused(entry(9, '', 'x', { rule: 'r', measure: 'block', missing: [{ condition: 'c' }] }))).toMatchObject({ rule: 'r', measure: 'block', missing: [{ condition: 'c' }] });
    expect(refused(entry(9, '', 'x', null))).toMatchObject({ rule: '', measure: '', missing: [] });
  });
  it('says in one line what an entry is about', () => {
    expect(gist(entry(1, '', '', { case: 'C-1', what: 'notified', why: 'mail' }))).toBe('C-1 · notified');
    expect(gist(entry(1, '', '', null))).toBe('');
  });
  it('nobody agrees to their own request', () => {
    const d = (who: string) => ({ who }) as Decision;
    expect(own(d('abuse:suzuki'), 'suzuki')).toBe(true);
    expect(own(d('suzuki'), 'suzuki')).toBe(true);
    expect(own(d('abuse:suzuki'), 'zuki')).toBe(false);
    expect(own(d('abuse:suzuki'), '')).toBe(false);
  });
  it('what is not known is not nothing', () => {
    expect(countOf(null, 'refusal')).toBeNull();
    expect(countOf({ kinds: [], last: null, heads: [], refusals: [] } satisfies Book, 'refusal')).toBe(0);
    expect(short('0123456789abcdef')).toBe('0123456789ab');
  });
});
