import { describe, expect, it } from 'vitest';
import { DAY, HOUR, clock, date, dateTime, fromField, iso, length, parse, span, toField, weekday } from '../src/lib/time';

const at = Date.parse('2017-08-25T03:22:09Z');

describe('zones', () => {
  it('prints the same moment in both', () => {
    expect(dateTime(at, 'utc')).toBe('2017-08-25 03:22');
    expect(dateTime(at, 'jst')).toBe('2017-08-25 12:22');
    expect(clock(at, 'jst', true)).toBe('12:22:09');
  });
  it('turns the day at the zone’s midnight, whatever the zone of the browser', () => {
    const eve = Date.parse('2026-12-31T15:00:00Z');
    expect(date(eve - 1, 'jst')).toBe('2026-12-31');
    expect(date(eve, 'jst')).toBe('2027-01-01');
    expect(date(eve, 'utc')).toBe('2026-12-31');
    expect(weekday(eve, 'jst')).toBe((weekday(eve, 'utc') + 1) % 7);
  });
  it('names a day once', () => {
    expect(span(at, at + HOUR, 'utc')).toBe('2017-08-25 03:22–04:22');
    expect(span(at, at + DAY, 'utc')).toBe('2017-08-25 03:22 – 2017-08-26 03:22');
  });
  it('reads back what a field holds', () => {
    for (const zone of ['jst', 'utc'] as const) expect(fromField(toField(at, zone), zone)).toBe(Math.floor(at / 60_000) * 60_000);
  });
});

describe('texts', () => {
  it('are RFC 3339 in UTC', () => {
    expect(iso(at + 250)).toBe('2017-08-25T03:22:09Z');
    expect(parse('2017-08-25T12:22:09+09:00')).toBe(at);
  });
  it.each([null, undefined, '', 'yesterday', '2017', '2017-99-99T00:00:00Z', '<script>'])('%s is no time', (s) => expect(parse(s)).toBeNull());
  it('knows lengths', () => {
    expect(length('24h')).toBe(DAY);
    expect(length('7d')).toBe(7 * DAY);
    for (const bad of ['0h', '7w', '-1d', '9999d', null]) expect(length(bad)).toBeNull();
  });
});
