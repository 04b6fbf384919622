// How the two lanes are laid out: the ASes of both in one grid, so that each has the same
// place in the way as it should be and in the way as it is. Traffic goes from the left,
// where it is seen, to the right, where the prefix is announced.

/** One way of traffic: as it should be, and as it is. The vantage point comes first. */
export type Lane = { prefix: string; cover?: string; peer: number; usual: number[] | null; is: number[] | null; routes: number; first: string; last?: string | null };

export type Box = { as: number; col: number; row: number; usual: boolean; is: boolean; vantage: boolean; origin: boolean };
/** A link between two ASes with how many routes take it in each lane, and the rows at which it passes the columns between. */
export type Wire = { from: number; to: number; usual: number; is: number; wrong: boolean; via: readonly (readonly [col: number, row: number])[]; back: boolean };
export type Drawing = { boxes: Box[]; wires: Wire[]; cols: number; rows: number; lanes: number; routes: number; left: number; routesLeft: number };

/** A path without prepending. */
export const plain = (path: readonly number[] | null | undefined): number[] => (path ?? []).filter((as, i, all) => as !== all[i - 1]);

type Link = { a: number; b: number; usual: number; is: number; rank: number };
const key = (a: number, b: number) => `${a}>${b}`;

/** The links of some lanes, each with its routes; those that lanes share are one. */
const linksOf = (lanes: readonly Lane[]): Map<string, Link> => {
  const links = new Map<string, Link>();
  lanes.forEach((l, rank) => {
    for (const side of ['usual', 'is'] as const) {
      const path = plain(l[side]);
      for (let i = 1; i < path.length; i++) {
        const [a, b] = [path[i - 1]!, path[i]!];
        const link = links.get(key(a, b)) ?? { a, b, usual: 0, is: 0, rank };
        link[side] += Math.max(1, l.routes);
        links.set(key(a, b), link);
      }
    }
  });
  return links;
};

/** The column of each AS: as far right as the longest way to it. A link that would close
 *  a circle doesn't count, and is drawn backwards. */
const columns = (all: readonly number[], links: readonly Link[]): { col: Map<number, number>; back: Set<string> } => {
  const next = new Map<number, Set<number>>(all.map((as) => [as, new Set()]));
  const reaches = (from: number, to: number): boolean => {
    const seen = new Set<number>();
    const todo = [from];
    for (let x = todo.pop(); x !== undefined; x = todo.pop()) {
      if (x === to) return true;
      if (seen.has(x)) continue;
      seen.add(x);
      todo.push(...(next.get(x) ?? []));
    }
    return false;
  };
  const back = new Set<string>();
  for (const { a, b } of links)
    if (reaches(b, a)) back.add(key(a, b));
    else next.get(a)!.add(b);
  const col = new Map<number, number>(all.map((as) => [as, 0]));
  for (let moved = true; moved; ) {
    moved = false;
    for (const [a, to] of next)
      for (const b of to)
        if (col.get(b)! <= col.get(a)!) {
          col.set(b, col.get(a)! + 1);
          moved = true;
        }
  }
  return { col, back };
};

/** One place in a column: an AS, or a link on its way past it. rank is the first lane that
 *  passes there. */
type Place = { id: string; rank: number; row: number };

/** Puts the places of each column in the order of their lanes, so that lanes run beside
 *  one another; gives the most places of a column. Fewer places stand in the middle. */
const order = (cols: readonly Place[][]): number => {
  const high = Math.max(0, ...cols.map((c) => c.length));
  for (const c of cols) c.sort((a, b) => a.rank - b.rank).forEach((p, i) => (p.row = i + (high - c.length) / 2));
  return high;
};

/** Swaps neighbours in a column wherever that leaves fewer lines crossing. */
const untangle = (bands: readonly { of: Map<string, Place>; cols: Place[][] }[], steps: readonly [string, string][], under: number): void => {
  const row = (id: string) => bands[0]!.of.get(id)?.row ?? bands[1]!.of.get(id)!.row + under;
  const at = new Map<string, number>();
  for (const { cols } of bands) cols.forEach((c, i) => c.forEach((p) => at.set(p.id, i)));
  const crossings = (col: number): number => {
    let n = 0;
    for (const gap of [col - 1, col]) {
      const here = steps.filter(([a]) => at.get(a) === gap);
      here.forEach(([a, b], i) => {
        for (const [c, d] of here.slice(i + 1)) if ((row(a) - row(c)) * (row(b) - row(d)) < 0) n++;
      });
    }
    return n;
  };
  for (let turn = 0, moved = true; moved && turn < 8; turn++) {
    moved = false;
    for (const { cols } of bands)
      cols.forEach((c, col) => {
        for (let i = 1; i < c.length; i++) {
          const [p, q] = [c[i - 1]!, c[i]!];
          const before = crossings(col);
          [p.row, q.row] = [q.row, p.row];
          if (crossings(col) < before) {
            [c[i - 1], c[i]] = [q, p];
            moved = true;
          } else [p.row, q.row] = [q.row, p.row];
        }
      });
  }
};

/**
 * Lays out lanes, those to ASes of ours first and then the most used, as many as fit: at
 * most tall places above one another and wide columns; the first one is drawn whatever its
 * size. What isn't drawn is counted.
 * What the usual ways touch lies above, what only the present ones touch below, so that a
 * detour is seen as one. adjacency is the wrong link as "to-leaker", or "".
 */
export const draw = (lanes: readonly Lane[], adjacency = '', leaker = 0, ours: (as: number) => boolean = () => false, tall = 3, wide = 9): Drawing => {
  const mine = (l: Lane) => Number(ours(l.usual?.at(-1) ?? l.is?.at(-1) ?? 0));
  const sorted = [...lanes].sort((a, b) => mine(b) - mine(a) || b.routes - a.routes);
  let chosen: Lane[] = [];
  let best: Omit<Drawing, 'lanes' | 'routes' | 'left' | 'routesLeft'> = { boxes: [], wires: [], cols: 0, rows: 0 };
  for (const l of sorted) {
    const more = [...chosen, l];
    const d = lay(more, adjacency, leaker);
    if (chosen.length && (d.rows > tall + 1 || d.cols > wide || d.band > tall)) continue; // another one may fit
    chosen = more;
    best = d;
  }
  const sum = (list: readonly Lane[]) => list.reduce((n, l) => n + l.routes, 0);
  return { boxes: best.boxes, wires: best.wires, cols: best.cols, rows: best.rows, lanes: chosen.length, routes: sum(chosen), left: lanes.length - chosen.length, routesLeft: sum(lanes) - sum(chosen) };
};

const lay = (lanes: readonly Lane[], adjacency: string, leaker: number) => {
  const links = [...linksOf(lanes).values()].sort((a, b) => b.usual - a.usual || b.is - a.is);
  const weight = new Map<number, { usual: number; is: number; vantage: boolean; origin: boolean; rank: number }>();
  lanes.forEach((l, rank) => {
    for (const side of ['usual', 'is'] as const) {
      const path = plain(l[side]);
      path.forEach((as, i) => {
        const x = weight.get(as) ?? { usual: 0, is: 0, vantage: false, origin: false, rank };
        x[side] += Math.max(1, l.routes);
        x.vantage ||= i === 0;
        x.origin ||= i === path.length - 1 && path.length > 1;
        weight.set(as, x);
      });
    }
  });
  const { col, back } = columns([...weight.keys()], links);
  const cols = Math.max(0, ...[...col.values()].map((c) => c + 1));
  // Who announces stands at the right edge, unless somebody is reached through them.
  for (const [as, x] of weight) if (x.origin && !links.some((l) => l.a === as && !back.has(key(l.a, l.b)))) col.set(as, cols - 1);

  const bands = [0, 1].map(() => ({ of: new Map<string, Place>(), cols: Array.from({ length: cols }, (): Place[] => []) }));
  const put = (band: number, at: number, p: Place) => {
    bands[band]!.of.set(p.id, p);
    bands[band]!.cols[at]!.push(p);
  };
  for (const [as, x] of weight) put(x.usual ? 0 : 1, col.get(as)!, { id: `${as}`, rank: x.rank, row: 0 });
  const steps: [string, string][] = []; // from one column to the next
  for (const l of links) {
    if (back.has(key(l.a, l.b))) continue;
    let before = `${l.a}`;
    for (let c = col.get(l.a)! + 1; c < col.get(l.b)!; c++) {
      const id = `${key(l.a, l.b)}@${c}`;
      put(l.usual ? 0 : 1, c, { id, rank: l.rank, row: 0 });
      steps.push([before, id]);
      before = id;
    }
    steps.push([before, `${l.b}`]);
  }
  const high = bands.map((b) => order(b.cols));
  untangle(bands, steps, high[0]!);
  const rowOf = (id: string): number => bands[0]!.of.get(id)?.row ?? (bands[1]!.of.get(id)?.row ?? 0) + high[0]!;
  const boxes = [...weight].map(([as, x]): Box => ({ as, col: col.get(as)!, row: rowOf(`${as}`), usual: x.usual > 0, is: x.is > 0, vantage: x.vantage, origin: x.origin }));
  const wires = links.map((l): Wire => {
    const via: [number, number][] = [];
    const backwards = back.has(key(l.a, l.b));
    if (!backwards) for (let c = col.get(l.a)! + 1; c < col.get(l.b)!; c++) via.push([c, rowOf(`${key(l.a, l.b)}@${c}`)]);
    // Without a single adjacency, whatever newly leads to who is at fault is wrong.
    const wrong = l.is > 0 && (adjacency ? adjacency === `${l.a}-${l.b}` : leaker !== 0 && l.b === leaker && l.usual === 0);
    return { from: l.a, to: l.b, usual: l.usual, is: l.is, wrong, via, back: backwards };
  });
  return { boxes, wires, cols, rows: high[0]! + high[1]!, band: Math.max(...high) };
};
