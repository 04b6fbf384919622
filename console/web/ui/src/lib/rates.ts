import { count } from './format';
import type { Lang } from './prefs.svelte';

// Figures of traffic with their error, as operators write them: 20 ± 4 kpps, 1.2 Tbps.

/** A figure with its 95 % error, both in its own unit; 0 is exact. */
export type Measure = { n: number; error: number };
/** How many distinct things; error in things. */
export type Counted = { n: number; error: number };

const steps = ['', 'k', 'M', 'G', 'T', 'P'];
/** Which letter of the thousands suits a figure. */
const letter = (n: number): number => {
  let i = 0;
  for (let v = Math.abs(n); v >= 999.5 && i < steps.length - 1; v /= 1000) i++;
  return i;
};
const plain = new Map<string, Intl.NumberFormat>();
const format = (n: number, digits: Intl.NumberFormatOptions): string => {
  const key = JSON.stringify(digits);
  let f = plain.get(key);
  if (!f) plain.set(key, (f = new Intl.NumberFormat('en-US', digits)));
  return f.format(n);
};
export type Unit = 'pps' | 'bps' | 'B' | '';
/** 1.2 Tbps, 20 kpps: three figures with the letter of the thousands. */
export const si = (n: number, unit: Unit = ''): string => {
  const i = letter(n);
  const tail = steps[i]! + unit;
  return `${format(n / 1000 ** i, { maximumSignificantDigits: 3 })}${tail ? ` ${tail}` : ''}`;
};
/** The same for an axis: no unit, no space. */
export const tick = (n: number): string => (n === 0 ? '0' : `${format(n / 1000 ** letter(n), { maximumSignificantDigits: 3 })}${steps[letter(n)]}`);

/** How many decimals an error leaves of any use: one or two figures of it. */
const decimals = (error: number): number => Math.min(2, Math.max(0, Math.ceil(-Math.log10(error >= 2 ? error : error / 2))));
/** 20 ± 4 kpps: figure and error by one letter, no finer than the error is. */
export const measure = (m: Measure, unit: Unit = ''): string => {
  if (!(m.error > 0)) return si(m.n, unit);
  const i = letter(Math.max(Math.abs(m.n), m.error));
  const [n, e] = [m.n / 1000 ** i, m.error / 1000 ** i];
  const digits = decimals(e);
  const as = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  const tail = steps[i]! + unit;
  // The error is rounded up: it never promises more than was measured.
  return `${format(n, as)} ± ${format(Math.ceil(e * 10 ** digits - 1e-9) / 10 ** digits, as)}${tail ? ` ${tail}` : ''}`;
};
/** A part of one with its error: 96.2 ± 0.4 %. */
export const part = (m: Measure | number): string => {
  const { n, error } = typeof m === 'number' ? { n: m, error: 0 } : m;
  const [p, e] = [n * 100, error * 100];
  if (!(e > 0)) return `${format(p, { maximumFractionDigits: p < 10 ? 2 : 1 })} %`;
  const digits = decimals(e);
  const as = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return `${format(p, as)} ± ${format(Math.ceil(e * 10 ** digits - 1e-9) / 10 ** digits, as)} %`;
};
/** How many, with its error in things: 12,340 ± 80. */
export const counted = (c: Counted, lang: Lang): string => (c.error > 0 ? `${count(c.n, lang)} ± ${count(Math.ceil(c.error), lang)}` : count(c.n, lang));

/** A length of time to the second below an hour: 3:07, 1:02:40. */
export const stopwatch = (ms: number): string => {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n: number) => String(n).padStart(2, '0');
  const h = Math.floor(s / 3600);
  return h ? `${h}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
};
