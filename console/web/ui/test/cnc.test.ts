import { flushSync, mount, unmount } from 'svelte';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { words } from '../src/i18n/cnc.svelte';
import { aside, arrival, cellOf, cellState, decade, judged, kinds, line, lineOf, mark, monthsDays, orders, probeOf, readStates, spoken, states, stillNeeds, tone, written, zoneCount, zones, type Choice, type Entry, type Probe } from '../src/lib/cnc';
import PagesHost from './PagesHost.svelte';
import type { Pages } from '../src/lib/pages.svelte';

describe('states of an entry', () => {
  it('each has words, a tone, and a mark that no other has', () => {
    for (const s of states) {
      for (const lang of ['ja', 'en'] as const) expect(words[lang].cnc.states[s], s).toBeTruthy();
      expect(tone[s]).toBeTruthy();
    }
    expect(new Set(Object.values(mark)).size).toBe(states.length);
    expect(line.every((s) => states.includes(s))).toBe(true);
  });
  it('kinds, orders and zones have words', () => {
    for (const lang of ['ja', 'en'] as const) {
      for (const k of kinds) expect(words[lang].cnc.kinds[k], k).toBeTruthy();
      for (const k of kinds) expect(words[lang].cnc.kindNotes[k], k).toBeTruthy();
      for (const o of orders) expect(words[lang].cnc.orders[o], o).toBeTruthy();
      for (const z of zones) expect(words[lang].cnc.zoneWhat[z], z).toBeTruthy();
    }
  });
  it('reads a filter, and drops what is no state', () => {
    expect(readStates('enforced,new,<b>,shadow')).toEqual(['enforced', 'shadow']);
    expect(readStates(null)).toEqual([]);
  });
  it('writes a value with its port once', () => {
    expect(written({ kind: 'address', value: '192.0.2.1', port: 23 })).toBe('192.0.2.1:23');
    expect(written({ kind: 'endpoint', value: '192.0.2.1:23', port: 23 })).toBe('192.0.2.1:23');
  });
});

describe('four eyes', () => {
  const yes = (who: string) => ({ who, at: '2026-11-26T00:00:00Z', verdict: 'yes' as const, why: 'x' });
  const e = (two: boolean, ...who: string[]) => ({ needs_two: two ? { ja: 'あ', en: 'a' } : null, reviews: who.map(yes) }) as Pick<Entry, 'needs_two' | 'reviews'>;
  it('knows who has judged, and how many must still', () => {
    expect(judged(e(true, 'abuse:suzuki'), 'suzuki')).toBe(true);
    expect(judged(e(true, 'abuse:suzuki'), 'zuki')).toBe(false);
    expect(stillNeeds(e(true))).toBe(2);
    expect(stillNeeds(e(true, 'abuse:suzuki'))).toBe(1);
    expect(stillNeeds(e(false))).toBe(1);
    expect(stillNeeds(e(false, 'a', 'b'))).toBe(0);
  });
});

describe('a cell of the proof', () => {
  const now = Date.parse('2026-11-26T12:00:00Z');
  const p = (over: Partial<Probe>): Probe => ({ client: 'in', zone: 'c2.', expected: 'nxdomain', got: 'nxdomain', ok: true, serial: 7, at: '2026-11-26T11:59:30Z', ms: 3, ...over });
  it('is good only by a fresh probe that came back as expected', () => {
    expect(cellState(p({}), now, 180_000)).toBe('ok');
    expect(cellState(p({ ok: false }), now, 180_000)).toBe('deviates');
    expect(cellState(p({ at: '2026-11-26T11:50:00Z' }), now, 180_000)).toBe('silent');
    expect(cellState(p({ ok: null }), now, 180_000)).toBe('unknown');
    expect(cellState(p({ at: null }), now, 180_000)).toBe('unknown');
    expect(cellState(undefined, now, 180_000)).toBe('unknown');
    for (const got of ['silence', 'timeout', 'other']) expect(cellState(p({ ok: false, got }), now, 180_000), got).toBe('silent');
  });
  it('is the worst of what a round asked there, and bears the serial that it was told', () => {
    const serial = p({ expected: 'serial', got: 'serial', serial: 41 });
    const name = p({ serial: 0, at: '2026-11-26T11:59:31Z' });
    expect(probeOf({ probes: [serial, name] }, 'c2.', 'in')).toMatchObject({ expected: 'nxdomain', serial: 41 });
    expect(probeOf({ probes: [{ ...serial, ok: false, got: 'blocked' }, name] }, 'c2.', 'in')).toMatchObject({ ok: false });
    expect(probeOf({ probes: [{ ...serial, ok: false, at: '2026-11-26T11:50:00Z' }, name] }, 'c2.', 'in')).toMatchObject({ ok: true });
  });
  it('of the opt-outs is proven elsewhere, where it was asked at all', () => {
    expect(cellOf({ probes: [p({ client: 'out' })] }, 'optout.', 'out', now, 180_000)).toBe('elsewhere');
    expect(cellOf({ probes: [p({ client: 'out' })] }, 'optout.', 'in', now, 180_000)).toBe('unknown');
    expect(cellOf({ probes: [] }, 'optout.', 'out', now, 180_000)).toBe('unknown');
    expect(cellOf({ probes: [p({ client: 'out' })] }, 'allow.', 'out', now, 180_000)).toBe('unknown');
  });
  it('is that of the newest probe of its client and zone', () => {
    const probes = [p({ serial: 6, at: '2026-11-26T11:58:00Z' }), p({}), p({ client: 'out', serial: 9 }), p({ zone: 'allow.', serial: 8 })];
    expect(probeOf({ probes }, 'c2.', 'in')?.serial).toBe(7);
    expect(probeOf({ probes }, 'emergency.', 'in')).toBeUndefined();
  });
});

describe('a choice', () => {
  const choice = (block: 'consents' | 'declined' | 'outdated' | 'unknown', in_zone: boolean, has: (boolean | null)[], state?: 'pending' | 'done'): Choice => ({
    subject: 'S-1', purposes: [{ purpose: 'cc_block', words: { ja: '', en: '' }, state: block, version: '', since: null }], optout: { in_zone, serial: 1, since: null, resolvers: has.map((h, i) => ({ name: String(i), serial: 1, has: h })) }, effect: state ? { state, serial: 0, at: null, words: { ja: '', en: '' } } : null,
  });
  it('leaves alone whoever does not consent, whatever the reason', () => {
    for (const s of ['declined', 'outdated', 'unknown'] as const) expect(aside(choice(s, true, []))).toBe(true);
    expect(aside(choice('consents', false, []))).toBe(false);
    expect(aside({ purposes: [] })).toBe(true);
  });
  it('is there when every resolver has it, and not before', () => {
    expect(arrival(choice('declined', false, [false]))).toBe('coming');
    expect(arrival(choice('declined', true, [true], 'pending'))).toBe('coming');
    expect(arrival(choice('declined', true, [true, false]))).toBe('part');
    expect(arrival(choice('declined', true, [true, null]))).toBe('part');
    expect(arrival(choice('declined', true, [true, true], 'done'))).toBe('there');
    expect(arrival(choice('consents', false, [false]))).toBe('there');
    expect(arrival({ ...choice('declined', true, []), optout: null })).toBe('unknown');
  });
  it.each([['203.0.113.9', 'address'], ['2001:db8::1', 'address'], ['c-2026-000061', 'case'], ['S-61a0c2f4e8b1', 'subject'], ['K-1234-5678', 'contract'], ['２０３.0.113.9', 'address']])('%s is a line by its %s', (typed, by) => expect(lineOf(typed).by).toBe(by));
});

it.each([
  ['https://User:pw@Evil.Example./a?b#c', 'evil.example'],
  ['ｅｖｉｌ。example', 'evil.example'],
  ['  evil.example  ', 'evil.example'],
  ['198.51.100.7', '198.51.100.7'],
])('%s is read as %s', (typed, name) => expect(spoken(typed)).toBe(name));

it('the months of the paper are 608 days, of which 208.06 million are 342,204 a day', () => {
  expect(monthsDays('2016-02', '2017-09')).toBe(608);
  expect(Math.round(208_060_000 / 608)).toBe(342_204);
});
it('a logarithmic axis begins at nothing', () => {
  expect([0, 1, 10, 1000].map(decade)).toEqual([0, 1, 2, 4]);
});
it('a zone is counted with its dot and without', () => {
  expect(zoneCount({ 'c2.': 3 }, 'c2.')).toBe(3);
  expect(zoneCount({ c2: 4 }, 'c2.')).toBe(4);
  expect(zoneCount(null, 'c2.')).toBe(0);
});

describe('pages', () => {
  type A = { rows: number[]; next: string };
  const asked: string[] = [];
  let size = 1000;
  const serve = (address: string): Response => {
    const q = new URL(address, 'http://x').searchParams;
    const at = Number(q.get('cursor') ?? 0);
    asked.push(`${q.get('q') ?? ''}@${at}`);
    const end = Math.min(size, at + 100);
    return new Response(JSON.stringify({ rows: Array.from({ length: end - at }, (_, i) => at + i), next: end < size ? String(end) : '' } satisfies A));
  };
  const start = async () => {
    asked.length = 0;
    size = 1000;
    vi.stubGlobal('fetch', (a: string) => Promise.resolve(serve(a)));
    const host = mount(PagesHost, { target: document.body }) as { list: () => Pages<number, A>; ask: (q: string) => void };
    flushSync();
    await vi.waitFor(() => expect(host.list().count).toBeGreaterThan(0));
    return host;
  };
  afterEach(() => vi.unstubAllGlobals());

  it('come when they are looked at, go when they are far, and come again', async () => {
    const host = await start();
    const list = host.list();
    expect([list.count, list.more, list.at(99), list.at(100)]).toEqual([100, true, 99, undefined]);
    for (let at = 0; at < 900; at += 50) {
      list.reach(at, at + 40);
      await vi.waitFor(() => expect(list.at(at + 40)).toBe(at + 40));
      await vi.waitFor(() => expect(list.loading).toBe(false));
    }
    list.reach(900, 960);
    await vi.waitFor(() => expect([list.count, list.more]).toEqual([1000, false]));
    expect(list.at(0)).toBeUndefined(); // let go of
    list.reach(0, 40);
    await vi.waitFor(() => expect(list.at(0)).toBe(0));
    expect(list.count).toBe(1000);
    await unmount(host);
  });
  it('begin anew with another question, and drop what comes too late', async () => {
    const host = await start();
    const list = host.list();
    list.reach(60, 99);
    size = 5;
    host.ask('x');
    flushSync();
    await vi.waitFor(() => expect([list.count, list.more]).toEqual([5, false]));
    expect(asked.at(-1)).toBe('x@0');
    await unmount(host);
  });
  it('keep what was there when a refresh fails, and say so', async () => {
    const host = await start();
    const list = host.list();
    vi.stubGlobal('fetch', () => Promise.resolve(new Response('{"detail":"busy"}', { status: 503 })));
    list.retry();
    await vi.waitFor(() => expect(list.failure?.problem.detail).toBe('busy'));
    expect([list.count, list.at(7), list.standing().data?.state]).toEqual([100, 7, 'ok']);
    await unmount(host);
  });
});
