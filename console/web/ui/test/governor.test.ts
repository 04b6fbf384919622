import { describe, expect, it } from 'vitest';
import { Governor, percentile, thin, together } from '../src/lib/governor';

const run = (g: Governor, ms: number, frames = Governor.window) => {
  let changed = 0;
  for (let i = 0; i < frames; i++) if (g.frame(ms)) changed++;
  return changed;
};

describe('Governor', () => {
  it('leaves a fast machine alone', () => {
    const g = new Governor();
    expect(run(g, 16.7, 1000)).toBe(0);
    expect(g.budget).toEqual({ share: 1, scale: 1, circles: false });
  });
  it('halves arcs, then resolution, then gives up motion', () => {
    const g = new Governor();
    run(g, 80);
    expect(g.budget).toEqual({ share: 0.5, scale: 1, circles: false });
    run(g, 80);
    expect(g.budget).toEqual({ share: 0.5, scale: 0.5, circles: false });
    run(g, 80);
    expect(g.budget.circles).toBe(true);
    run(g, 5, 10_000);
    expect(g.budget.circles).toBe(true);
  });
  it('looks at the 95th percentile, not at one slow frame', () => {
    const g = new Governor();
    for (let i = 0; i < Governor.window; i++) g.frame(i % 40 === 0 ? 400 : 16);
    expect(g.budget.share).toBe(1);
    for (let i = 0; i < Governor.window; i++) g.frame(i % 10 === 0 ? 400 : 16);
    expect(g.budget.share).toBe(0.5);
  });
  it('does not take a hidden tab for a slow machine', () => {
    const g = new Governor();
    run(g, 60_000, 500);
    expect(g.budget.share).toBe(1);
  });
  it('comes back after half a minute of calm, the next time after a whole one', () => {
    const g = new Governor();
    run(g, 80);
    // Whole windows, so that none mixes fast frames with slow ones.
    const framesOf = (s: number) => Math.ceil((s * 1000) / 16 / Governor.window) * Governor.window;
    run(g, 16, framesOf(20));
    expect(g.budget.share).toBe(0.5);
    run(g, 16, framesOf(13));
    expect(g.budget.share).toBe(1);
    run(g, 80);
    run(g, 16, framesOf(35));
    expect(g.budget.share).toBe(0.5);
    run(g, 16, framesOf(30));
    expect(g.budget.share).toBe(1);
  });
});

describe('thin', () => {
  const arcs = Array.from({ length: 60 }, (_, i) => i);
  it('keeps all or a half', () => {
    expect(thin(arcs, 1, 0)).toHaveLength(60);
    expect(thin(arcs, 0.5, 0)).toHaveLength(30);
  });
  it('shows in two turns what one leaves out', () => expect([...thin(arcs, 0.5, 0), ...thin(arcs, 0.5, 1)].sort((a, b) => a - b)).toEqual(arcs));
});

it('a second of frames sums what was drawn and averages the rates', () => {
  const frame = (shown: number, pps: number, hosts: number) => ({ time: '', sampled: shown > 50, shown, total_pps: pps, arcs: null, by_proto: [pps, 0], hosts });
  expect(together([frame(60, 4000, 90), frame(40, 6000, 120)], 2)).toEqual({ sampled: true, shown: 100, pps: 5000, by: [5000, 0], hosts: 120 });
  expect(together([], 2)).toEqual({ sampled: false, shown: 0, pps: 0, by: [0, 0], hosts: 0 });
});

it('percentile', () => {
  expect(percentile([5, 1, 3], 0)).toBe(1);
  expect(percentile(Array.from({ length: 100 }, (_, i) => i), 0.95)).toBe(95);
  expect(percentile([], 0.5)).toBe(0);
});
