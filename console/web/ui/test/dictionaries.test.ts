import { describe, expect, it } from 'vitest';
import { words as flood } from '../src/i18n/attacks.svelte';
import { words as list } from '../src/i18n/cnc.svelte';
import { words as route } from '../src/i18n/routes.svelte';

const ja = { ...list.ja, ...flood.ja, ...route.ja };
const en = { ...list.en, ...flood.en, ...route.en };

/** Every text with its path; functions are called with marks for arguments. */
const texts = (node: unknown, path = ''): [string, string][] => {
  if (typeof node === 'string') return [[path, node]];
  if (typeof node === 'function') {
    const args = Array.from({ length: node.length }, (_, i) => `‹${i}›`);
    return [[path, (node as (...a: string[]) => string)(...args)]];
  }
  return Object.entries(node as object).flatMap(([k, v]) => texts(v, path ? `${path}.${k}` : k));
};
const J = new Map(texts(ja));
const E = new Map(texts(en));
const han = /[\u3040-\u30ff\u3400-\u9fff]/;

describe('dictionaries', () => {
  it('have the same keys, none of them empty', () => {
    expect([...E.keys()]).toEqual([...J.keys()]);
    for (const [k, v] of [...J, ...E]) expect(v.trim(), k).not.toBe('');
  });
  it('use every argument in both languages', () => {
    const marks = (s: string) => [...s.matchAll(/‹\d›/g)].map((m) => m[0]).sort();
    for (const [k, v] of J) expect(marks(v), k).toEqual(marks(E.get(k)!));
  });
  it('English holds no Japanese', () => {
    for (const [k, v] of E) expect(han.test(v), `${k}: ${v}`).toBe(false);
  });
  it('Japanese is Japanese, but for names and units', () => {
    const plain = new Set(['AS', 'CSV', 'pkt/s', '–', 'UDP', 'ICMP', 'TCP SYN', 'UTC / JST', 'IoT', '±', 'NAS', 'sakimori token add NAME --role operator', 'C&C', 'CSV', 'NDJSON', 'STIX 2.1', 'nftables', 'Suricata', 'Squid', 'FlowSpec', 'BIND', 'Unbound', 'PowerDNS Recursor', 'Knot Resolver', 'URL', 'AS', 'RTBH', 'iptables', 'NetFlow 5', 'NetFlow 9', 'IPFIX', 'sFlow 5', 'Junos', 'IOS XR', 'BIRD', 'FRR', '↑', '↓', '↺', 'AS_SET']);
    for (const [k, v] of J) {
      if (k.startsWith('help.keys') && /\.0$/.test(k)) continue; // the keys themselves
      if (plain.has(v) || /^‹0›$|^1\/‹0›$/.test(v) || k === 'guide.of' || k === 'imports.progress') continue;
      expect(han.test(v), `${k}: ${v}`).toBe(true);
    }
  });
  it('speaks of countries and regions, never of countries alone', () => {
    for (const [k, v] of J) if (v.includes('国') && !/自国|外国/.test(v)) expect(v, k).toContain('国・地域');
    for (const [k, v] of E) if (/\bcountr(y|ies)\b/i.test(v)) expect(v, k).toMatch(/region/i);
  });
});
