import { describe, expect, it } from 'vitest';
import { guess, isAddress, parseSubject } from '../src/lib/subject';

const names = new Map([['JP', '日本'], ['NL', 'オランダ'], ['NE', 'ニジェール']]);

describe('subjects', () => {
  it.each(['198.51.100.7', '::1', '2001:db8::1', '2001:DB8:0:0:0:0:0:1', '::ffff:192.0.2.1'])('%s is an address', (s) => expect(isAddress(s)).toBe(true));
  it.each(['203.0.113.x', '2001:db8:1::x', '256.1.1.1', '1.2.3', 'a:b', '1::2::3', '23/tcp', ''])('%s is none', (s) => expect(isAddress(s)).toBe(false));
  it.each([
    ['23/tcp', 'port'],
    ['8.0/icmp', 'port'],
    ['AS64499', 'as'],
    ['JP', 'country'],
    ['198.51.100.7', 'address'],
  ])('%s is a %s', (s, dim) => expect(parseSubject(s)?.dim).toBe(dim));
  it('what cannot be looked at leads nowhere', () => expect(parseSubject('203.0.113.x')).toBeNull());
});

describe('guess', () => {
  it('a number is a port first', () => expect(guess('2323', names).map((s) => s.key)).toEqual(['2323/tcp', '2323/udp', 'AS2323']));
  it('a number too large for a port is none', () => expect(guess('70000', names)).toEqual([]));
  it('an AS', () => expect(guess('as 4713', names)).toEqual([{ dim: 'as', key: 'AS4713' }]));
  it('a code before a name', () => expect(guess('jp', names)[0]).toEqual({ dim: 'country', key: 'JP' }));
  it('the beginning of a name', () => expect(guess('オラ', names)).toEqual([{ dim: 'country', key: 'NL' }]));
  it('nothing for nothing', () => expect(guess('  ', names)).toEqual([]));
});
