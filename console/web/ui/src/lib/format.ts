import type { Lang } from '../i18n/index.svelte';
import type { Unique } from './types';

// Numbers as they are printed. The locale is the language's; digits are always
// Western so that they line up.

const cache = new Map<string, Intl.NumberFormat>();
const number = (lang: Lang, options: Intl.NumberFormatOptions): Intl.NumberFormat => {
  const key = lang + JSON.stringify(options);
  let f = cache.get(key);
  if (!f) cache.set(key, (f = new Intl.NumberFormat(lang === 'ja' ? 'ja-JP' : 'en-US', options)));
  return f;
};

/** A whole number with separators: 12,345. */
export const count = (n: number, lang: Lang): string => number(lang, { maximumFractionDigits: 0 }).format(n);

/** Three figures for axes and cards: 1.23万 or 12.3K. Exact below 10,000. */
export const compact = (n: number, lang: Lang): string =>
  Math.abs(n) < 10_000
    ? number(lang, { maximumSignificantDigits: Math.abs(n) < 10 ? 2 : 4 }).format(n)
    : number(lang, { notation: 'compact', maximumSignificantDigits: 3 }).format(n);

/** A share of one as a percentage; what isn't nothing never prints as nothing. */
export const percent = (share: number, lang: Lang): string => {
  if (share > 0 && share < 0.001) return '<0.1%';
  return number(lang, { style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(share);
};

/** A change against before, with its sign: +12.0%, −3.1%, ×5.8 from threefold on. */
export const change = (ratio: number | null | undefined, lang: Lang): string => {
  if (ratio === null || ratio === undefined || !Number.isFinite(ratio)) return '–';
  if (ratio >= 2) return `×${number(lang, { maximumSignificantDigits: 3 }).format(ratio + 1)}`;
  if (ratio !== 0 && Math.abs(ratio) < 0.0005) return '±0.0%';
  return number(lang, { style: 'percent', maximumFractionDigits: 1, minimumFractionDigits: 1, signDisplay: 'exceptZero' })
    .format(ratio)
    .replace('-', '−');
};

/** The error of a unique count: "" exact, "±0.8%" a sketch. An upper bound
 *  carries its ≤ before the number instead (see unique). */
export const error = (u: Unique, lang: Lang): string =>
  u.err > 0 ? `±${number(lang, { style: 'percent', maximumFractionDigits: 1, minimumFractionDigits: 1 }).format(u.err)}` : '';

/** A unique count with its ≤ or its error: "≤ 1,234", "1,234 ±0.8%". */
export const unique = (u: Unique, lang: Lang, short = false): string => {
  const n = (short ? compact : count)(u.n, lang);
  const e = error(u, lang);
  return `${u.at_most ? '≤ ' : ''}${n}${e ? ` ${e}` : ''}`;
};

/** Bytes in powers of 1,000. */
export const bytes = (n: number, lang: Lang): string => {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) {
    n /= 1000;
    i++;
  }
  return `${number(lang, { maximumFractionDigits: i === 0 ? 0 : 1 }).format(n)} ${units[i]}`;
};

/** A rate in packets a second: below ten, one decimal. */
export const rate = (pps: number, lang: Lang): string =>
  pps > 0 && pps < 0.1 ? '<0.1' : number(lang, { maximumFractionDigits: pps < 10 ? 1 : 0 }).format(pps);

const regions = new Map<Lang, Intl.DisplayNames>();
/** The name of a country or region (ISO 3166-1 alpha-2), or the code itself. */
export const region = (code: string, lang: Lang): string => {
  if (!/^[A-Z]{2}$/.test(code)) return code;
  let names = regions.get(lang);
  if (!names) regions.set(lang, (names = new Intl.DisplayNames([lang], { type: 'region' })));
  return names.of(code) ?? code;
};

/** One CSV text (RFC 4180). A cell that a spreadsheet would run as a formula is
 *  given an apostrophe: names of tools and networks come from the outside. */
export const csv = (rows: readonly (readonly (string | number | null)[])[]): string =>
  rows
    .map((r) =>
      r
        .map((cell) => {
          let s = cell === null ? '' : String(cell);
          if (typeof cell === 'string' && /^[=+\-@\t\r]/.test(s)) s = `'${s}`;
          return /[",\r\n]/.test(s) ? `"${s.replaceAll('"', '""')}"` : s;
        })
        .join(','),
    )
    .join('\r\n') + '\r\n';
