import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { words } from '../src/i18n/attacks.svelte';
import { counted, stands, line, mark, measure, mitigationStates, part, reached, rise, si, spoke, stopwatch, stretch, target, tick, tone, vectorName, type Attack, type Mitigation, type Target } from '../src/lib/attacks';
import { asQuery, chipOf, filters, keys, orders, readChips, value, type Filter } from '../src/lib/flows';
import { withdrawals } from '../src/lib/undo.svelte';

describe('figures of traffic', () => {
  it.each([[0, 'bps', '0 bps'], [950, 'pps', '950 pps'], [999.6, 'pps', '1 kpps'], [20_480, 'pps', '20.5 kpps'], [1.2e12, 'bps', '1.2 Tbps'], [31.4e12, 'bps', '31.4 Tbps'], [2.5e15, 'bps', '2.5 Pbps']] as const)('%d %s is %s', (n, unit, text) => expect(si(n, unit)).toBe(text));
  it.each([
    [{ n: 20_000, error: 4000 }, '20 ± 4 kpps'],
    [{ n: 412_000, error: 0 }, '412 kpps'],
    [{ n: 20_400, error: 1300 }, '20.4 ± 1.3 kpps'],
    [{ n: 1_200_000, error: 21_000 }, '1.20 ± 0.03 Mpps'],
    [{ n: 0, error: 300 }, '0 ± 300 pps'],
    [{ n: 500, error: 4000 }, '1 ± 4 kpps'],
  ])('%o is %s', (m, text) => expect(measure(m, 'pps')).toBe(text));
  it('never prints an error smaller than it is', () => {
    for (const error of [0.011, 0.4, 1.01, 1.96, 2.01, 19.1, 130.2, 999]) {
      const printed = Number(/± ([\d.]+)/.exec(measure({ n: 1e3 - 1, error }, 'pps').replace(',', ''))![1]);
      expect(printed, String(error)).toBeGreaterThanOrEqual(error >= 999.5 ? error / 1000 : error);
    }
  });
  it('parts of one, counts and lengths', () => {
    expect(part({ n: 0.962, error: 0.004 })).toBe('96.2 ± 0.4 %');
    expect(part(0.05)).toBe('5 %');
    expect(counted({ n: 12_340, error: 79.2 }, 'en')).toBe('12,340 ± 80');
    expect(counted({ n: 1, error: 0 }, 'en')).toBe('1');
    expect([stopwatch(187_000), stopwatch(3_760_000), stopwatch(-5)]).toEqual(['3:07', '1:02:40', '0:00']);
    expect([tick(0), tick(1.5e12), tick(200_000)]).toEqual(['0', '1.5T', '200k']);
  });
});

describe('a mitigation', () => {
  it('has for each state words, a tone, and a mark that no other has', () => {
    for (const s of mitigationStates) {
      for (const lang of ['ja', 'en'] as const) expect(words[lang].attacks.states[s], s).toBeTruthy();
      expect(tone[s]).toBeTruthy();
    }
    expect(new Set(Object.values(mark)).size).toBe(mitigationStates.length);
    expect(tone.announced).toBe('soon'); // sent and not confirmed is amber
    expect(mitigationStates.filter(stands)).toEqual(['announced', 'confirmed']);
  });
  it('has come as far as its history says, off the line too', () => {
    const h = (...states: string[]) => states.map((state) => ({ at: '', state, who: '', why: null })) as Mitigation['history'];
    expect(reached({ state: 'announced', history: h() })).toBe(2);
    expect(reached({ state: 'rolled_back', history: h('proposed', 'approved', 'announced', 'rolled_back') })).toBe(2);
    expect(reached({ state: 'refused', history: h('proposed', 'refused') })).toBe(0);
    expect(line).toHaveLength(5);
  });
  it('knows who has spoken for it: nobody is two people', () => {
    const m = { proposed_by: 'operator:kato', approvals: [{ who: 'sato', at: '', why: '' }] };
    expect([spoke(m, 'kato'), spoke(m, 'sato'), spoke(m, 'ato'), spoke(m, 'suzuki')]).toEqual([true, true, false, false]);
  });
});

describe('an attack', () => {
  const named = (o: Partial<Target>) => target({ kind: 'address', prefix: '', name: '', ...o }, words.en);
  it('is named by what is hit', () => {
    expect(named({ prefix: '203.0.113.80/32' })).toBe('203.0.113.80');
    expect(named({ prefix: '2001:db8::1/128' })).toBe('2001:db8::1');
    expect(named({ kind: 'prefix', prefix: '198.51.100.0/24' })).toBe('198.51.100.0/24');
    expect(named({ kind: 'customer', name: 'Example' })).toBe('Example');
  });
  it('without a form is a rise', () => {
    const v = (name: string) => ({ vectors: [{ name }] }) as Pick<Attack, 'vectors'>;
    expect([rise({ vectors: [] }), rise({ vectors: null }), rise(v('rise')), rise(v('syn'))]).toEqual([true, true, true, false]);
  });
  it('is drawn with what was before it, by the second while it is short', () => {
    const t = Date.parse('2026-11-27T00:00:00Z');
    const a = stretch({ opened: '2026-11-27T00:00:00Z', closed: null }, t + 600_000);
    expect([a.step, a.from < t, a.to]).toEqual([1, true, t + 600_000]);
    expect(stretch({ opened: '2026-11-27T00:00:00Z', closed: '2026-11-27T03:00:00Z' }, 0).step).toBe(10);
    expect(stretch({ opened: '2026-11-27T00:00:00Z', closed: null }, t + 86_400_000).step).toBe(60);
  });
  it.each([['dns-amplification', 'DNS amplification'], ['syn', 'SYN flood'], ['new-thing', 'new-thing']])('vector %s reads %s', (name, text) => expect(vectorName(name, words.en)).toBe(text));
});

describe('a filter of flows', () => {
  const good: [Filter, string, string | null][] = [
    ['addr', '203.0.113.0/24', '203.0.113.0/24'], ['src', '2001:DB8::/32', '2001:db8::/32'], ['dst', '203.0.113.0/33', null], ['dst', 'evil', null], ['addr', '203.0.113.x', null],
    ['proto', 'UDP', 'udp'], ['proto', '6', '6'], ['proto', '300', null], ['port', '053', '53'], ['port', '70000', null],
    ['as', '64500', 'AS64500'], ['as', 'x', null], ['country', 'jp', 'JP'], ['country', 'Japan', null], ['direction', 'IN', 'in'], ['direction', 'up', null], ['min_bytes', '1000', '1000'], ['customer', '  ', null], ['customer', 'Example', 'Example'],
  ];
  it.each(good)('%s %s is %s', (name, typed, is) => expect(value(name, typed)).toBe(is));
  it('is in the address, and drops what is none', () => {
    const chips = readChips(new URLSearchParams('f.src=203.0.113.7&f.port=99999&f.evil=1&f.country=JP&by=dst'));
    expect(asQuery(chips)).toEqual({ src: '203.0.113.7', country: 'JP' });
  });
  it('has words for each filter, key and order', () => {
    for (const lang of ['ja', 'en'] as const) {
      for (const f of filters) expect(words[lang].flows.filters[f] && words[lang].flows.hints[f], f).toBeTruthy();
      for (const k of keys) expect(words[lang].flows.keys[k], k).toBeTruthy();
      for (const o of orders) expect(words[lang].flows.orders[o], o).toBeTruthy();
    }
  });
  it('comes of a row where the API has one', () => {
    expect(chipOf('src_country', 'JP')).toEqual({ name: 'country', value: 'JP' });
    expect(chipOf('dst_port', '53/udp')).toEqual({ name: 'dst_port', value: '53' });
    expect(chipOf('dst_port', '8.0/icmp')).toBeNull();
    expect(chipOf('in', '1/12')).toEqual({ name: 'interface', value: '1/12' });
    expect(chipOf('dst', '203.0.113.x')).toBeNull();
  });
});

describe('a withdrawal', () => {
  const asked: string[] = [];
  beforeEach(() => {
    vi.useFakeTimers();
    asked.length = 0;
    vi.stubGlobal('fetch', (a: string, init: RequestInit) => (asked.push(`${a} ${String(init.body)}`), Promise.resolve(new Response('{"mitigation":{}}', { headers: { 'Content-Type': 'application/json' } }))));
  });
  afterEach(() => {
    withdrawals.undo();
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });
  it('is sent once after five seconds', async () => {
    let done = 0;
    withdrawals.ask('M-1', 'x', 'why', () => done++);
    await vi.advanceTimersByTimeAsync(4900);
    expect(asked).toEqual([]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(asked).toEqual(['/api/v1/mitigations/M-1/withdraw {"why":"why"}']);
    expect([done, withdrawals.waiting]).toEqual([1, null]);
  });
  it('that was undone is never sent', async () => {
    withdrawals.ask('M-1', 'x', 'why', () => undefined);
    withdrawals.undo();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(asked).toEqual([]);
  });
  it('goes at once when another follows it, or the page is closed', async () => {
    withdrawals.ask('M-1', 'x', 'a', () => undefined);
    withdrawals.ask('M-2', 'y', 'b', () => undefined);
    expect(asked).toHaveLength(1);
    dispatchEvent(new Event('pagehide'));
    expect(asked.map((a) => /M-\d/.exec(a)![0])).toEqual(['M-1', 'M-2']);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(asked).toHaveLength(2);
  });
  it('that failed says so, and that the rules still stand', async () => {
    vi.stubGlobal('fetch', () => Promise.resolve(new Response('{"detail":"busy"}', { status: 503 })));
    withdrawals.ask('M-1', 'x', 'a', () => undefined);
    await vi.advanceTimersByTimeAsync(6000);
    expect(withdrawals.failed).toBe('busy');
  });
});
