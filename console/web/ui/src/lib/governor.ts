import type { MapFrame } from './types';

/** What the map may spend. */
export type Budget = { share: number; scale: number; circles: boolean };

const steps: readonly Budget[] = [
  { share: 1, scale: 1, circles: false },
  { share: 0.5, scale: 1, circles: false },
  { share: 0.5, scale: 0.5, circles: false },
  { share: 0.5, scale: 0.5, circles: true },
];

/**
 * Governor keeps the map affordable on machines without a graphics card: when
 * the 95th percentile of the time between frames is over 50 ms it halves the
 * arcs, then the resolution of the canvas, then gives up motion for circles.
 * A quiet half minute earns one step back, each time after twice the wait, so
 * that it doesn't swing. From circles nothing comes back by itself: without
 * frames there is nothing to measure.
 */
export class Governor {
  #level = 0;
  #frames: number[] = [];
  #calm = 0;
  #patience = 30_000;

  static readonly window = 120;
  static readonly tooSlow = 50;
  static readonly fine = 25;

  get budget(): Budget {
    return steps[this.#level]!;
  }

  /** Takes the milliseconds since the last frame; true when the budget changed. */
  frame(ms: number): boolean {
    if (ms > 2000 || this.budget.circles) return false; // a hidden tab, not a slow machine
    this.#frames.push(ms);
    if (this.#frames.length < Governor.window) return false;
    const p95 = percentile(this.#frames, 0.95);
    const spent = this.#frames.reduce((a, b) => a + b, 0);
    this.#frames = [];
    if (p95 > Governor.tooSlow) {
      this.#calm = 0;
      this.#level = Math.min(this.#level + 1, steps.length - 1);
      return true;
    }
    this.#calm = p95 < Governor.fine ? this.#calm + spent : 0;
    if (this.#level > 0 && this.#calm >= this.#patience) {
      this.#level--;
      this.#calm = 0;
      this.#patience *= 2;
      return true;
    }
    return false;
  }
}

/** What a second of frames says together. */
export type Second = { sampled: boolean; shown: number; pps: number; by: number[]; hosts: number };

/**
 * Adds up the frames of one second: drawn arcs are summed, rates averaged.
 * hosts is the most of any frame: the second had at least so many.
 */
export const together = (frames: readonly MapFrame[], strata: number): Second => {
  const n = Math.max(1, frames.length);
  const mean = (of: (f: MapFrame) => number) => frames.reduce((a, f) => a + of(f), 0) / n;
  return {
    sampled: frames.some((f) => f.sampled),
    shown: frames.reduce((a, f) => a + f.shown, 0),
    pps: mean((f) => f.total_pps),
    by: Array.from({ length: strata }, (_, i) => mean((f) => f.by_proto?.[i] ?? 0)),
    hosts: Math.max(0, ...frames.map((f) => f.hosts)),
  };
};

/** The value below which the share p of the sample lies. */
export const percentile = (sample: readonly number[], p: number): number => {
  const sorted = [...sample].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? 0;
};

/** Picks every n-th arc so that the given share is left, starting elsewhere in
 *  each frame. The server sorts by stratum, so strides keep rare strata in. */
export const thin = <T>(arcs: readonly T[], share: number, turn: number): readonly T[] => {
  if (share >= 1) return arcs;
  const stride = Math.max(1, Math.round(1 / share));
  const out: T[] = [];
  for (let i = turn % stride; i < arcs.length; i += stride) out.push(arcs[i]!);
  return out;
};
