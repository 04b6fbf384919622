// The shapes of /api/v1. Times are RFC 3339 in UTC.

export type Text = { ja: string; en: string };

/** A number of distinct things; err is the standard error as a share of n. */
export type Unique = { n: number; err: number; at_most?: boolean };

export type PanelState = 'ok' | 'zero' | 'none' | 'stale';

/** What every answer says about itself. */
export type Answer = { state: PanelState; reason?: Text | null; as_of?: string | null };

export type Input = {
  name: string;
  kind: 'file' | 'live' | 'replay';
  state: 'running' | 'idle' | 'stale' | 'failed' | 'done';
  last_packet: string | null;
  packets: number;
  malformed: number;
  dropped: { kernel: number; late: number; stray: number };
  rate: number;
  message: Text | null;
};

export type Status = {
  now: string;
  data_time: string | null;
  demo: boolean;
  speed: number;
  roles: Role[];
  inputs: Input[];
  dark: { v4_addresses: number; v4_prefixes: number; v6_prefixes: number; hit: number };
  store: { bytes: number; path_shown: boolean };
  floor: { rsdos_pps: number; note: Text };
  attribution: string[];
};

export type Fact = { key: string; value: string; unit?: string; error?: string };
export type Ack = { by: string; at: string; note: string };
export type Finding = {
  id: string;
  detector: string;
  subject: string;
  state: 'opened' | 'changed' | 'closed';
  severity: 1 | 2 | 3;
  confidence: number;
  opened: string;
  changed: string;
  closed?: string;
  title: Text;
  why: Text;
  evidence: Fact[] | null;
  ack: Ack | null;
};

export type WorkItem = { finding: Finding | null; input: Input | null; severity: 1 | 2 | 3; next: Text };
export type Day = { packets: number; sources: Unique; targets: Unique; from: string; to: string };
export type Situation = Answer & { today: Day | null; last_week: Day | null; work: WorkItem[] | null; inputs: Input[] | null };

export type Point = { time: string; packets: number; sources: Unique; targets: Unique };
export type Gap = { from: string; to: string; input: string; reason: string; dropped: number };
export type Grain = 'minute' | 'hour' | 'day';
export type Dim = 'total' | 'class' | 'protocol' | 'port' | 'country' | 'as';
export type Series = Answer & {
  grain: Grain;
  dim: Dim;
  key: string;
  name: string;
  points: Point[] | null;
  previous: Point[] | null;
  gaps: Gap[] | null;
  dark_addresses: number;
};

export type Row = {
  key: string;
  name: string;
  name_ja: string;
  packets: number;
  share: number;
  sources: Unique;
  targets: Unique;
  before: number | null;
  change: number | null;
};
export type Top = Answer & { total: { packets: number; sources: Unique; targets: Unique }; rows: Row[] | null; next: string | null };

export type RisingRow = { key: string; name: string; packets: number; sources: Unique; expected: number; score: number; new: boolean };
export type Rising = Answer & { rows: RisingRow[] | null };

export type Heat = Answer & {
  hours: string[] | null;
  ports: { key: string; name: string }[] | null;
  packets: number[][] | null;
  sources: (number | Unique)[][] | null;
};

export type Year = { year: number; packets: number; iot_share: number | null; per_dark_address: number; factor: number | null; partial: boolean };
export type Reference = { year: number; packets: number; dark_addresses: number; published: string; source: string };
export type Years = Answer & { years: Year[] | null; iot_table: { dated: string; ports: (string | number)[] }; reference: Reference[] | null };

export type ScanEvent = {
  id: string;
  source: string;
  own?: boolean;
  key?: string; // as in a ranking by port
  name?: string;
  port: number;
  protocol: number;
  first: string;
  last: string;
  packets: number;
  targets: Unique;
  coverage: number;
  rate: number;
  country: string;
  asn: number;
  open: boolean;
  sample: string[] | null;
  kind: string;
  class: string;
  tool: string;
  tool_versions: string;
  flags: string[] | null;
};
export type Events = Answer & { rows: ScanEvent[] | null; next: string | null };

export type Place = { country: string; asn: number; as_name: string; lat: number; lon: number; estimated: boolean };
export type Address = Answer & {
  address: string;
  own: boolean;
  place: Place | null;
  research: { name: string; url: string } | null;
  first: string | null;
  last: string | null;
  packets: number;
  ports: Row[] | null;
  tools: { tool: string; versions: string }[] | null;
  events: ScanEvent[] | null;
  findings: Finding[] | null;
  series: Point[] | null;
};

export type Job = {
  id: string;
  kind: string;
  file: string;
  state: 'queued' | 'running' | 'stopped' | 'done' | 'failed' | 'duplicate';
  bytes: number;
  bytes_total: number;
  packets: number;
  rate: number;
  started: string;
  eta: string | null;
  message: Text | null;
  result: unknown;
};

/** One frame of the map, up to ten a second: arcs are [lat, lon, index of the
 *  protocol, packets]; shown counts this frame's arcs, the rates are per second. */
export type MapFrame = {
  time: string;
  sampled: boolean;
  shown: number;
  total_pps: number;
  arcs: [number, number, number, number][] | null;
  by_proto: number[] | null;
  rates?: number[]; // share of each protocol's arcs that is drawn
  hosts: number;
};

export type Role = 'wall' | 'viewer' | 'operator' | 'abuse' | 'network' | 'legal' | 'admin';
/** Who we are; a person has signed in, others have come with a token. */
export type Session = { user: string; roles: Role[]; person: boolean };
export type SignIn = { password: boolean; issuers: { id: string; name: string }[] };
export type Link = { purpose: 'first' | 'invite' | 'reset'; name: string; expires: string };
export type User = { id: string; name: string; roles: Role[]; state: 'invited' | 'active' | 'locked' | 'removed'; issuer: string; created: string; signed_in: string | null };
export type Users = Answer & { rows: User[] };
/** A session or an API token; the secret is only in the answer that made it. */
export type Token = { id: string; name: string; user: string; user_id: string; roles: Role[]; read_only: boolean; from: string; created: string; expires: string; used: string | null; current: boolean };
export type Tokens = Answer & { rows: Token[] };

export type Problem = { title?: string; detail?: string; status?: number; code?: string; request_id?: string };
