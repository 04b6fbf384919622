// The shapes of flows, of exporters and of what-if replays below /api/v1, and the
// filter that the pages of flows share: typed chips in the address, no language.
import type { Direction, Measure, Rate } from './attacks';
import { isAddress } from './subject';
import type { Answer, Text } from './types';

export const keys = ['src', 'dst', 'src_port', 'dst_port', 'proto', 'src_as', 'dst_as', 'src_country', 'dst_country', 'exporter', 'in', 'out', 'customer', 'flags'] as const;
export type Key = (typeof keys)[number];
export const orders = ['bytes', 'packets', 'flows'] as const;
export type Order = (typeof orders)[number];
export type Grain = 'raw' | '1m' | '5m' | '1h';

/** samples: some came as samples of packets, of which nobody knows how many flows they are. */
type Sum = { packets: Measure; bytes: Measure; flows: number; samples: boolean };
/** A part of the total, exactly as it was kept. */
type Part = { packets: number; bytes: number; share: number };
/** From what an answer is: how finely it was kept, and what there is at all. */
type Span = Answer & { grain: Grain; from: string; to: string; data: { from: string; to: string } | null };
export type TopRow = Sum & { key: string; name: string; share: number };
/** left_out is the part of other whose key wasn't kept; maybe is beside the total: it
 *  wasn't kept whether the filter fits. */
type Rest = { other: Part; left_out: Part; maybe: Part; total: Sum };
export type Top = Span & Rest & { rows: TopRow[] | null };
export type Line = { key: string; name: string; packets: number[]; bytes: number[] };
export type Series = Span & { step: number; times: number[]; series: Line[] | null; other: Line; error: number };
export type Talker = Sum & { src: string; dst: string; proto: string; dst_port: number; name: string; share: number };
export type Talkers = Span & Rest & { rows: Talker[] | null };
/** One flow as it was kept; empty and null where a row stands for several. */
export type FlowRow = {
  at: string; until: string; exporter: number; exporter_name: string; in: number; in_name: string; out: number; out_name: string;
  src: string; dst: string; proto: string; src_port: number | null; dst_port: number | null; flags: string;
  packets: number; bytes: number; flows: number; seen: number; rate: number; marks: string[] | null;
  src_as: number; dst_as: number; src_country: string; dst_country: string; customer: string;
};
export type Found = Span & { rows: FlowRow[] | null; lacks: { packets: number; bytes: number }; next: string | null };

export type Exporter = {
  number: number; name: string; address: string; domain: number; version: string; state: 'ok' | 'stale' | 'faulty' | 'refused'; words: Text; advice: Text[] | null;
  first: string | null; last: string | null; datagrams: number; records: number; packets: number; bytes: number; samples: number;
  rates: number[] | null; rate_unknown: number; gaps: Measure; kernel_drops: number; unknown_template: number; waiting: number; waited_lost: number;
  malformed: { reason: string; count: number }[] | null; skew_ms: number | null; clock_ignored: boolean; limited: number; late: number; records_s: number;
  interfaces: { index: number; name: string; in_bps: number; out_bps: number; capacity: number }[] | null;
};
export type Exporters = { exporters: Exporter[] | null; refused: { address: string; datagrams: number; last: string | null }[] | null; socket: { granted: number; wanted: number; drops: number }; queue_dropped: number };

export type Verdict = { target: string; direction: Direction; vectors: string[] | null; peak: Rate; opened: string; closed: string | null; confidence: number; limit: Rate };
export type Replay = { id: string; state: 'running' | 'done' | 'failed'; done: number; from: string; to: string; grain: Grain | ''; flows: number; error: Text | null; same: Verdict[] | null; new: Verdict[] | null; gone: Verdict[] | null };

/** The filters there are, each with how its value must look. */
export const filters = ['addr', 'src', 'dst', 'proto', 'port', 'src_port', 'dst_port', 'as', 'src_as', 'dst_as', 'country', 'exporter', 'interface', 'customer', 'direction', 'flags', 'min_bytes'] as const;
export type Filter = (typeof filters)[number];
export type Chip = { name: Filter; value: string };

const protos: Record<string, string> = { tcp: '6', udp: '17', icmp: '1', gre: '47', esp: '50', icmpv6: '58' };
const whole = (s: string, most: number): boolean => /^\d{1,15}$/.test(s) && Number(s) <= most;
const prefix = (s: string): boolean => {
  const [address = '', bits, more] = s.split('/');
  if (more !== undefined || !isAddress(address)) return false;
  return bits === undefined || whole(bits, address.includes(':') ? 128 : 32);
};
/** What was typed as the API takes it, or null for what can't be meant. */
export const value = (name: Filter, typed: string): string | null => {
  const s = typed.trim();
  const low = s.toLowerCase();
  switch (name) {
    case 'addr':
    case 'src':
    case 'dst':
      return prefix(low) ? low : null;
    case 'proto':
      return protos[low] ? low : whole(s, 255) ? s : null;
    case 'port':
    case 'src_port':
    case 'dst_port':
      return whole(s, 65535) ? String(Number(s)) : null;
    case 'as':
    case 'src_as':
    case 'dst_as': {
      const number = low.replace(/^as\s*/, '');
      return whole(number, 4_294_967_295) ? `AS${Number(number)}` : null;
    }
    case 'country':
      return /^[a-z]{2}$/.test(low) ? low.toUpperCase() : null;
    case 'direction':
      return low === 'in' || low === 'out' ? low : null;
    case 'flags':
      return /^[a-z!,+ -]{1,40}$/.test(low) ? low : null;
    case 'min_bytes':
      return whole(s, 1e15) ? String(Number(s)) : null;
    default:
      return s && s.length <= 200 ? s : null;
  }
};

const mark = 'f.';
/** The chips that the address holds: those that are no filter are dropped. */
export const readChips = (query: URLSearchParams): Chip[] =>
  filters.flatMap((name) => {
    const v = query.get(mark + name);
    const good = v === null ? null : value(name, v);
    return good === null ? [] : [{ name, value: good }];
  });
export const chipName = (name: Filter): string => mark + name;
/** The same as a query of the API. */
export const asQuery = (chips: readonly Chip[]): Record<string, string> => Object.fromEntries(chips.map((c) => [c.name, c.value]));

/** The chip that a row of a ranking stands for; null where the API has none. */
export const chipOf = (by: Key, key: string): Chip | null => {
  const name: Filter = by === 'src_country' || by === 'dst_country' ? 'country' : by === 'in' || by === 'out' ? 'interface' : by;
  // A port comes with its protocol: 53/udp.
  const good = value(name, by === 'src_port' || by === 'dst_port' ? key.replace(/\/(tcp|udp)$/, '') : key);
  return good === null ? null : { name, value: good };
};
