import { describe, expect, it } from 'vitest';
import { words } from '../src/i18n/routes.svelte';
import { isAttack, isIncident } from '../src/lib/findings';
import { actLine, actMark, actTone, courseStep, draw, formWords, hexDump, kindMark, kinds, lanesTwin, named, ownHit, plain, prefixOf, reached, rovMark, rovTone, stands, type Incident, type Lane, type RouteAct } from '../src/lib/routes';
import { twinCSV } from '../src/lib/twin';

const lane = (usual: number[], is: number[], routes = 1, prefix = '198.18.0.0/24'): Lane => ({ prefix, peer: usual[0] ?? is[0] ?? 0, usual, is, routes, first: '2017-08-25T03:22:54Z' });
const place = (d: ReturnType<typeof draw>, as: number) => {
  const b = d.boxes.find((x) => x.as === as)!;
  return [b.col, b.row];
};

describe('the two lanes', () => {
  // The way of 25 August 2017: a detour by 701 and 15169 to 4713.
  const leak = lane([2914, 4713], [2914, 701, 15169, 4713], 25_000);
  it('have each AS once, at one place for both, in the order of travel', () => {
    const d = draw([leak], '701-15169', 15169);
    expect(d.boxes.map((b) => b.as).sort((a, b) => a - b)).toEqual([701, 2914, 4713, 15169]);
    expect([2914, 701, 15169, 4713].map((as) => place(d, as)[0])).toEqual([0, 1, 2, 3]);
    expect(d.cols).toBe(4);
  });
  it('show a detour as one: what only the present way touches lies below', () => {
    const d = draw([leak], '701-15169', 15169);
    expect(place(d, 2914)[1]).toBe(place(d, 4713)[1]);
    expect(place(d, 701)[1]).toBeGreaterThan(place(d, 2914)[1]!);
    const direct = d.wires.find((w) => w.from === 2914 && w.to === 4713)!;
    expect([direct.usual, direct.is, direct.via.length]).toEqual([25_000, 0, 2]);
    expect(d.boxes.find((b) => b.as === 15169)).toMatchObject({ usual: false, is: true, vantage: false, origin: false });
  });
  it('mark the wrong adjacency, and nothing else', () => {
    expect(draw([leak], '701-15169', 15169).wires.filter((w) => w.wrong).map((w) => `${w.from}-${w.to}`)).toEqual(['701-15169']);
    // Without a single adjacency: whatever newly leads to who is at fault.
    const hijack = draw([lane([1, 2, 3], [1, 2, 666]), lane([9, 2, 3], [9, 8, 666])], '', 666);
    expect(hijack.wires.filter((w) => w.wrong).map((w) => `${w.from}-${w.to}`).sort()).toEqual(['2-666', '8-666']);
  });
  it('merge what lanes share, by the sum of routes', () => {
    const d = draw([lane([1, 5, 9], [1, 7, 9], 100), lane([2, 5, 9], [2, 7, 9], 20)]);
    expect(d.wires.find((w) => w.from === 5 && w.to === 9)).toMatchObject({ usual: 120, is: 0 });
    expect(d.wires.find((w) => w.from === 7 && w.to === 9)).toMatchObject({ usual: 0, is: 120 });
    expect([d.lanes, d.routes, d.left]).toEqual([2, 120, 0]);
  });
  it('run beside one another without crossing where they can', () => {
    const d = draw([lane([11, 21, 9], [11, 31, 9], 50), lane([12, 22, 9], [12, 31, 9], 40), lane([13, 23, 9], [13, 31, 9], 30)]);
    const rows = (list: number[]) => list.map((as) => place(d, as)[1]!);
    expect(rows([11, 12, 13])).toEqual([...rows([11, 12, 13])].sort((a, b) => a - b));
    expect(rows([21, 22, 23])).toEqual([...rows([21, 22, 23])].sort((a, b) => a - b));
  });
  it('count what doesn’t fit, draw ours first, and the first one always', () => {
    const many = Array.from({ length: 9 }, (_, i) => lane([100 + i, 200 + i, 300 + i], [100 + i, 7, 300 + i], 10 - i));
    const d = draw(many, '', 7, (as) => as === 308, 2);
    expect(d.boxes.some((b) => b.as === 308)).toBe(true);
    expect(d.lanes + d.left).toBe(9);
    expect(d.left).toBeGreaterThan(0);
    expect(d.routes + d.routesLeft).toBe(many.reduce((n, l) => n + l.routes, 0));
    const long = lane(Array.from({ length: 30 }, (_, i) => i + 1), [1, 30]);
    expect(draw([long], '', 0, undefined, 2, 9).cols).toBe(30);
  });
  it('take circles, prepending, unknown and empty ways', () => {
    expect(plain([5, 5, 6, 6, 6, 5])).toEqual([5, 6, 5]);
    const circle = draw([lane([1, 2, 3, 4], [1, 3, 2, 4])]);
    expect(circle.wires.filter((w) => w.back)).toHaveLength(1);
    expect(draw([lane([], [1, 2])]).boxes.every((b) => !b.usual)).toBe(true);
    expect(draw([lane([1, 2], [])]).boxes.every((b) => !b.is)).toBe(true);
    expect(draw([])).toMatchObject({ boxes: [], cols: 0, lanes: 0, left: 0 });
    expect(draw([lane([7], [7])]).cols).toBe(1);
  });
  it('keep their places under any input: nobody is left out, no two stand on one another', () => {
    let seed = 42;
    const random = (n: number) => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) % n;
    for (let round = 0; round < 40; round++) {
      const path = () => Array.from({ length: random(7) }, () => 1 + random(9));
      const lanes = Array.from({ length: 1 + random(6) }, () => lane(path(), path(), 1 + random(1000)));
      const d = draw(lanes, '', 0, undefined, 99, 99);
      const all = new Set(lanes.flatMap((l) => [...(l.usual ?? []), ...(l.is ?? [])]));
      expect(new Set(d.boxes.map((b) => b.as))).toEqual(all);
      const taken = [...d.boxes.map((b) => `${b.col} ${b.row}`), ...d.wires.flatMap((w) => w.via.map(([c, r]) => `${c} ${r}`))];
      expect(new Set(taken).size).toBe(taken.length);
      for (const w of d.wires) {
        const [a, b] = [place(d, w.from)[0]!, place(d, w.to)[0]!];
        if (!w.back) expect(w.via.map(([c]) => c)).toEqual(Array.from({ length: b - a - 1 }, (_, i) => a + 1 + i));
      }
    }
  });
});

describe('an incident', () => {
  it('has a mark of its own for each kind, and words for each form', () => {
    expect(new Set(kinds.map((k) => kindMark[k])).size).toBe(kinds.length);
    for (const lang of ['ja', 'en'] as const) {
      for (const k of kinds) expect(words[lang].routes.kinds[k], k).toBeTruthy();
      for (const f of ['exact', 'more-specific', 'squatting', 'first-hop', 'type 1', 'type 2', 'type 3', 'type 4', 'type 5', 'type 6']) expect(words[lang].routes.forms[f], f).toBeTruthy();
    }
    expect(formWords({ kind: 'leak', form: '' }, words.en)).toBe('type can’t be told');
    expect(formWords({ kind: 'outage', form: '' }, words.en)).toBe('');
    expect(formWords({ kind: 'bogon', form: 'novel' }, words.en)).toBe('novel');
  });
  it('counts what is ours', () => {
    expect(ownHit({ own: [{ prefix: '', name: '', prefixes: 512, addresses: 0 }, { prefix: '', name: 'x', prefixes: 3, addresses: 0 }] })).toBe(515);
    expect(ownHit({ own: null } as Pick<Incident, 'own'>)).toBe(0);
  });
  it('is told from an attack by its finding', () => {
    const f = { detector: 'leak', id: 'incident-1' };
    expect([isIncident(f), isAttack(f), isIncident({ ...f, detector: 'ddos' }), isIncident({ ...f, id: 'x' })]).toEqual([true, false, false, false]);
  });
  it('names an AS by its number, and by its name where that is known', () => {
    expect([named(701, '', words.en), named(701, 'Carrier P', words.en), named(0, '', words.en)]).toEqual(['AS701', 'AS701 Carrier P', 'several ASes']);
  });
  it('asks for its course in steps that stay few', () => {
    expect([courseStep(0, 8 * 60_000), courseStep(0, 3_600_000), courseStep(0, 1000), courseStep(0, 1e12)]).toEqual([10, 20, 10, 3600]);
    for (const s of [1, 600, 7200, 86_400]) expect(s / courseStep(0, s * 1000)).toBeLessThanOrEqual(240);
  });
  it('as a table has plain paths and times of UTC, and no formula', () => {
    const csv = twinCSV(lanesTwin([lane([2914, 4713], [2914, 701, 15169, 4713], 7)], { 2914: '=1+1' }, 'jst', 'en', words.en));
    expect(csv).toContain('198.18.0.0/24,,AS2914,2914 4713,2914 701 15169 4713,7,2017-08-25T03:22:54Z');
  });
});

describe('an announcement of our own', () => {
  it('has words, a tone, and a mark that no other has, for each state', () => {
    for (const s of Object.keys(actMark)) {
      for (const lang of ['ja', 'en'] as const) expect(words[lang].remedy.states[s], s).toBeTruthy();
      expect(actTone[s as keyof typeof actTone]).toBeTruthy();
    }
    expect(new Set(Object.values(actMark)).size).toBe(Object.keys(actMark).length);
    expect([actTone.announced, stands('announced'), stands('approved')]).toEqual(['soon', true, false]);
  });
  it('has come as far as its history says, off the line too', () => {
    const history = ['proposed', 'approved', 'announced'].map((state) => ({ at: '', state, who: '', why: null })) as RouteAct['history'];
    expect([reached({ state: 'failed', history }), reached({ state: 'confirmed', history: null }), reached({ state: 'refused', history: [] })]).toEqual([2, 3, -1]);
    expect(actLine).toHaveLength(5);
  });
});

describe('what is typed and what came', () => {
  it.each([['198.18.0.0/15', '198.18.0.0/15'], [' 2001:DB8::1 ', '2001:db8::1'], ['192.0.2.1', '192.0.2.1'], ['192.0.2.1/33', null], ['300.1.1.1', null], ['2001:db8::/129', null], ['AS701', null], ['701', null], ['', null], ['1.2.3.4/8/9', null]])('%s is %s', (typed, is) => expect(prefixOf(typed)).toBe(is));
  it('bytes as a dump, and what isn’t base64 as it came', () => {
    expect(hexDump(btoa(`${'\xff'.repeat(16)}A`)).split('\n')).toEqual([`0000  ${'ff '.repeat(16)} ${'.'.repeat(16)}`, `0010  ${'41'.padEnd(48)} A`]);
    expect(hexDump('%%%')).toBe('%%%');
  });
  it('validation has a mark for each state; invalid ones are red', () => {
    for (const s of ['valid', 'invalid', 'invalid-length', 'not-found', 'unknown']) for (const lang of ['ja', 'en'] as const) expect([rovMark[s], words[lang].routes.rov[s]].every(Boolean), s).toBe(true);
    expect(['valid', 'invalid', 'invalid-length', 'not-found', 'unknown'].map(rovTone)).toEqual(['good', 'urgent', 'urgent', 'rest', 'rest']);
  });
});
