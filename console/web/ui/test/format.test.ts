import { describe, expect, it } from 'vitest';
import { bytes, change, compact, count, csv, error, percent, rate, region, unique } from '../src/lib/format';

describe('numbers', () => {
  it.each([
    [0, '0', '0'],
    [9999, '9,999', '9,999'],
    [12_345, '1.23万', '12.3K'],
    [701_000_000_000, '7010億', '701B'],
  ])('compact %d', (n, ja, en) => {
    expect(compact(n, 'ja')).toBe(ja);
    expect(compact(n, 'en')).toBe(en);
  });
  it('whole numbers keep every digit', () => expect(count(427_780_656, 'ja')).toBe('427,780,656'));
  it('what is not nothing never prints as nothing', () => {
    expect(percent(0.00001, 'en')).toBe('<0.1%');
    expect(percent(0, 'en')).toBe('0.0%');
    expect(rate(0.02, 'en')).toBe('<0.1');
    expect(rate(0, 'en')).toBe('0');
  });
  it.each([
    [null, '–'],
    [0, '0.0%'],
    [0.12, '+12.0%'],
    [-0.031, '−3.1%'],
    [4.8, '×5.8'],
    [0.0001, '±0.0%'],
    [Infinity, '–'],
  ])('change %s is %s', (x, s) => expect(change(x, 'en')).toBe(s));
  it('bytes count in thousands', () => {
    expect(bytes(999, 'en')).toBe('999 B');
    expect(bytes(412_000_000, 'en')).toBe('412 MB');
  });
});

describe('unique counts say how far they may be off', () => {
  it('exact', () => expect(unique({ n: 12, err: 0 }, 'ja')).toBe('12'));
  it('a sketch', () => expect(unique({ n: 9812, err: 0.0081 }, 'ja')).toBe('9,812 ±0.8%'));
  it('an upper bound', () => expect(unique({ n: 9812, err: 0.0081, at_most: true }, 'en')).toBe('≤ 9,812 ±0.8%'));
  it('error alone', () => expect(error({ n: 5, err: 0 }, 'en')).toBe(''));
});

describe('countries and regions', () => {
  it('are named by the browser', () => {
    expect(region('JP', 'ja')).toBe('日本');
    expect(region('JP', 'en')).toBe('Japan');
  });
  it('what is no code stays as it is', () => expect(region('??', 'en')).toBe('??'));
});

describe('csv', () => {
  it('quotes as RFC 4180 says', () => expect(csv([['a', 'b"c', 'd,e', 1, null]])).toBe('a,"b""c","d,e",1,\r\n'));
  it('lets no spreadsheet run a name', () => expect(csv([['=cmd()', '@x', '-1', -1]])).toBe("'=cmd(),'@x,'-1,-1\r\n"));
});
