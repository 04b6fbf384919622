// Times are UTC everywhere inside; only printing knows a zone. Both zones that
// the console offers have a fixed offset, so no zone table is needed.

export type Zone = 'jst' | 'utc';

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** Milliseconds to add to UTC for the clock on the wall of the zone. */
export const offset = (zone: Zone): number => (zone === 'jst' ? 9 * HOUR : 0);

/** The zone with its offset, as printed beside times. */
export const zoneName = (zone: Zone): string => (zone === 'jst' ? 'JST (UTC+09:00)' : 'UTC');
export const zoneShort = (zone: Zone): string => (zone === 'jst' ? 'JST' : 'UTC');

const two = (n: number): string => String(n).padStart(2, '0');
const local = (ms: number, zone: Zone): Date => new Date(ms + offset(zone));

export const date = (ms: number, zone: Zone): string => {
  const d = local(ms, zone);
  return `${d.getUTCFullYear()}-${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())}`;
};
export const monthDay = (ms: number, zone: Zone): string => {
  const d = local(ms, zone);
  return `${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())}`;
};
export const clock = (ms: number, zone: Zone, seconds = false): string => {
  const d = local(ms, zone);
  const s = seconds ? `:${two(d.getUTCSeconds())}` : '';
  return `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}${s}`;
};
export const dateTime = (ms: number, zone: Zone): string => `${date(ms, zone)} ${clock(ms, zone)}`;

/** Day of the week, 0 Sunday, in the zone. */
export const weekday = (ms: number, zone: Zone): number => local(ms, zone).getUTCDay();

/** A span in the zone; the day is named once when both ends share it. */
export const span = (from: number, to: number, zone: Zone): string =>
  date(from, zone) === date(to, zone)
    ? `${date(from, zone)} ${clock(from, zone)}–${clock(to, zone)}`
    : `${dateTime(from, zone)} – ${dateTime(to, zone)}`;

/** RFC 3339 in UTC without fractions: the form of URLs and of the API. */
export const iso = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');

/** Reads RFC 3339; null for anything else, so that a bad URL can't become NaN. */
export const parse = (text: string | null | undefined): number | null => {
  if (!text || !/^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(text)) return null;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? null : ms;
};

/** The length of a preset like 15m, 6h, 7d in milliseconds, null for anything else. */
export const length = (text: string | null): number | null => {
  const m = /^(\d{1,3})([mhd])$/.exec(text ?? '');
  if (!m) return null;
  const n = Number(m[1]) * { m: MINUTE, h: HOUR, d: DAY }[m[2] as 'm' | 'h' | 'd'];
  return n > 0 ? n : null;
};

/** Reads what a time field holds ("2026-11-23T12:03", in the zone). */
export const fromField = (text: string, zone: Zone): number | null => {
  const ms = parse(text.length === 16 ? `${text}:00Z` : `${text}Z`);
  return ms === null ? null : ms - offset(zone);
};
export const toField = (ms: number, zone: Zone): string => `${date(ms, zone)}T${clock(ms, zone)}`;
