import { geoGraticule10, geoNaturalEarth1, geoPath, type GeoPermissibleObjects, type GeoProjection } from 'd3-geo';
import { feature } from 'topojson-client';
import type { GeometryCollection, Topology } from 'topojson-specification';
import land110 from 'world-atlas/land-110m.json?url';
import { color } from './colors';
import { thin, type Budget } from './governor';
import type { MapFrame } from './types';

// The picture of the map on a canvas: land without borders, arcs from where a
// source is thought to be to the sensor. One batched stroke per protocol keeps
// it at full speed without a graphics card.

const life = 1400; // ms that an arc is on its way
const tail = 0.26; // of the way, behind its head
const most = 4000; // arcs alive; beyond, the oldest go
const cellDegrees = 4;
/** Longitude in the middle: the Pacific, so that the cut runs through the Atlantic. */
const centre = 150;
export const protocols = 6;
/** Second code beside colour: the dash of the line, and the shape at its source. */
export const dashes: readonly number[][] = [[], [7, 3], [2, 3], [12, 3, 2, 3], [4, 4], [1, 4]];

export type Circle = { lat: number; lon: number; protocol: number; packets: number; label?: string };
type Arc = { x: number; y: number; cx: number; cy: number; born: number; protocol: number };

let geometry: Promise<GeoPermissibleObjects> | null = null;
const land = (): Promise<GeoPermissibleObjects> => {
  geometry ??= fetch(land110)
    .then((r) => r.json() as Promise<Topology<{ land: GeometryCollection }>>)
    .then((t) => feature(t, t.objects.land) as GeoPermissibleObjects)
    .catch((e: unknown) => {
      geometry = null; // the next drawing tries again
      throw e;
    });
  return geometry;
};

export class MapView {
  /** Where the sensor is drawn. */
  sensor: [number, number] = [36, 138];
  hidden = new Set<number>();
  /** Done when the land is there, or can't be had. */
  readonly ready: Promise<void>;
  #canvas: HTMLCanvasElement;
  #ctx: CanvasRenderingContext2D;
  #base: HTMLCanvasElement = document.createElement('canvas');
  #projection: GeoProjection = geoNaturalEarth1().rotate([-centre, 0]);
  #shape: GeoPermissibleObjects | null = null;
  #arcs: Arc[] = [];
  #cells = new Map<string, Circle>();
  #minutes: { at: number; arcs: MapFrame['arcs'] }[] = [];
  #turn = 0;
  #width = 0;
  #height = 0;
  #ratio = 1;

  constructor(canvas: HTMLCanvasElement) {
    this.#canvas = canvas;
    // Stays on the CPU: without a GPU this halves the time of a frame.
    this.#ctx = canvas.getContext('2d', { willReadFrequently: true })!;
    this.ready = land().then(
      (shape) => {
        this.#shape = shape;
        this.paint();
      },
      () => undefined, // without land the arcs still tell
    );
  }

  /** Fits the picture to a box of CSS pixels; scale is the governor's. */
  resize(width: number, height: number, scale: number): void {
    this.#width = width;
    this.#height = height;
    this.#ratio = Math.min(2, devicePixelRatio || 1) * scale;
    for (const c of [this.#canvas, this.#base]) {
      c.width = Math.max(1, Math.round(width * this.#ratio));
      c.height = Math.max(1, Math.round(height * this.#ratio));
    }
    // The ice at both poles says nothing here: it is cut to give the rest room.
    this.#projection.fitExtent([[4, 4], [width - 4, height - 4]], { type: 'MultiPoint', coordinates: [[centre - 179.9, 0], [centre + 179.9, 0], [centre, 76], [centre, -56]] });
    this.#arcs = [];
    this.paint();
  }

  /** Paints what stands still; to be called again after a change of theme. */
  paint(): void {
    const ctx = this.#base.getContext('2d')!;
    const path = geoPath(this.#projection, ctx);
    ctx.setTransform(this.#ratio, 0, 0, this.#ratio, 0, 0);
    ctx.fillStyle = color('--sea');
    ctx.fillRect(0, 0, this.#width, this.#height);
    ctx.lineWidth = 1;
    ctx.strokeStyle = color('--grid');
    ctx.beginPath();
    path(geoGraticule10());
    ctx.stroke();
    if (this.#shape) {
      ctx.beginPath();
      path(this.#shape);
      ctx.fillStyle = color('--land');
      ctx.fill();
      ctx.strokeStyle = color('--land-line');
      ctx.lineWidth = 0.7;
      ctx.stroke();
    }
    this.#palette = Array.from({ length: protocols }, (_, i) => color(`--p${i}`));
    this.#ink = color('--ink');
  }
  #palette: string[] = [];
  #ink = '#fff';

  /** Takes a frame's arcs; their births are spread over the time to the next. */
  add(frame: MapFrame, now: number, budget: Budget, moving: boolean): void {
    this.#minutes.push({ at: now, arcs: frame.arcs });
    for (const [lat, lon, p, n] of frame.arcs ?? []) this.#count(lat, lon, p, n);
    while (this.#minutes[0] && this.#minutes[0].at < now - 60_000) for (const [lat, lon, p, n] of this.#minutes.shift()!.arcs ?? []) this.#count(lat, lon, p, -n);
    if (!moving || budget.circles) return;
    const end = this.#projection([this.sensor[1], this.sensor[0]]);
    if (!end) return;
    const arcs = thin(frame.arcs ?? [], budget.share, this.#turn++);
    arcs.forEach(([lat, lon, protocol], i) => {
      const start = this.#projection([lon, lat]);
      if (!start || this.hidden.has(protocol)) return;
      const [dx, dy] = [end[0] - start[0], end[1] - start[1]];
      const lift = Math.min(0.32 * Math.hypot(dx, dy), this.#height * 0.34);
      this.#arcs.push({ x: start[0], y: start[1], cx: start[0] + dx / 2, cy: start[1] + dy / 2 - lift, born: now + (i / arcs.length) * 110, protocol });
    });
    if (this.#arcs.length > most) this.#arcs.splice(0, this.#arcs.length - most);
  }

  /** Shows these and nothing else, without motion. */
  put(circles: readonly Circle[]): void {
    this.#cells = new Map(circles.map((c, i) => [String(i), c]));
    this.drawCircles();
  }

  #count(lat: number, lon: number, protocol: number, n: number): void {
    const la = Math.floor(lat / cellDegrees) * cellDegrees + cellDegrees / 2;
    const lo = Math.floor(lon / cellDegrees) * cellDegrees + cellDegrees / 2;
    const key = `${la},${lo},${protocol}`;
    const c = this.#cells.get(key) ?? { lat: la, lon: lo, protocol, packets: 0 };
    c.packets += n;
    if (c.packets > 0) this.#cells.set(key, c);
    else this.#cells.delete(key);
  }

  /** The cells of the last minute, most packets first. */
  circles(): Circle[] {
    return [...this.#cells.values()].sort((a, b) => b.packets - a.packets);
  }

  get busy(): boolean {
    return this.#arcs.length > 0;
  }

  /** Draws the moment now, ms of the page's clock. */
  draw(now: number): void {
    this.#blank();
    const ctx = this.#ctx;
    const end = this.#projection([this.sensor[1], this.sensor[0]]);
    if (!end) return;
    this.#arcs = this.#arcs.filter((a) => now - a.born < life);
    ctx.lineCap = 'round';
    for (let p = 0; p < protocols; p++) {
      ctx.strokeStyle = ctx.fillStyle = this.#palette[p]!;
      ctx.lineWidth = 1.25;
      ctx.globalAlpha = 0.78;
      ctx.setLineDash(dashes[p]!);
      ctx.beginPath();
      for (const a of this.#arcs) {
        if (a.protocol !== p || now < a.born) continue;
        const head = (now - a.born) / life;
        for (let i = 0; i <= 6; i++) {
          const s = Math.max(0, head - tail + (tail * i) / 6);
          const r = 1 - s;
          const x = r * r * a.x + 2 * r * s * a.cx + s * s * end[0];
          const y = r * r * a.y + 2 * r * s * a.cy + s * s * end[1];
          if (i === 0) ctx.moveTo(x, y);
          else ctx.lineTo(x, y);
        }
      }
      ctx.stroke();
      ctx.setLineDash([]);
      ctx.beginPath();
      for (const a of this.#arcs) if (a.protocol === p && now >= a.born && now - a.born < life * 0.7) mark(ctx, p, a.x, a.y, 2.4);
      ctx.globalAlpha = 0.9;
      ctx.fill();
    }
    ctx.globalAlpha = 1;
    this.#beacon(end, now);
  }

  /** Draws the last minute without motion: the area of a circle is its packets. */
  drawCircles(): void {
    this.#blank();
    const ctx = this.#ctx;
    const cells = this.circles().filter((c) => !this.hidden.has(c.protocol));
    const top = cells[0]?.packets ?? 1;
    const biggest = Math.min(this.#width, this.#height) * 0.045;
    for (const c of cells) {
      const at = this.#projection([c.lon, c.lat]);
      if (!at) continue;
      const r = Math.max(1.2, Math.sqrt(c.packets / top) * biggest);
      ctx.globalAlpha = 0.32;
      ctx.fillStyle = ctx.strokeStyle = this.#palette[c.protocol]!;
      ctx.beginPath();
      ctx.arc(at[0], at[1], r, 0, 2 * Math.PI);
      ctx.fill();
      ctx.globalAlpha = 0.95;
      ctx.lineWidth = 1;
      ctx.setLineDash(dashes[c.protocol]!);
      ctx.stroke();
    }
    ctx.setLineDash([]);
    ctx.globalAlpha = 1;
    this.#labels(cells, top, biggest);
    const end = this.#projection([this.sensor[1], this.sensor[0]]);
    if (end) this.#beacon(end, 0);
  }

  /** Words beside circles, the largest first, where no other word stands. */
  #labels(cells: readonly Circle[], top: number, biggest: number): void {
    const ctx = this.#ctx;
    ctx.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    ctx.textBaseline = 'middle';
    ctx.lineWidth = 3;
    ctx.strokeStyle = color('--sea');
    ctx.fillStyle = this.#ink;
    const taken: [number, number, number][] = [];
    for (const c of cells) {
      const at = c.label ? this.#projection([c.lon, c.lat]) : null;
      if (!at || !c.label) continue;
      const wide = ctx.measureText(c.label).width;
      const gap = Math.max(1.2, Math.sqrt(c.packets / top) * biggest) + 4;
      const places: [number, number][] = [[gap, 0], [-gap - wide, 0], [-wide / 2, gap + 8], [-wide / 2, -gap - 8]];
      for (const [dx, dy] of places) {
        const [x, y] = [at[0] + dx, at[1] + dy];
        if (x < 4 || x + wide > this.#width - 4 || taken.some(([x1, y1, w1]) => Math.abs(y1 - y) < 15 && x < x1 + w1 && x1 < x + wide)) continue;
        taken.push([x, y, wide]);
        ctx.strokeText(c.label, x, y);
        ctx.fillText(c.label, x, y);
        break;
      }
    }
  }

  #blank(): void {
    this.#ctx.setTransform(1, 0, 0, 1, 0, 0);
    this.#ctx.drawImage(this.#base, 0, 0);
    this.#ctx.setTransform(this.#ratio, 0, 0, this.#ratio, 0, 0);
  }

  #beacon([x, y]: [number, number], now: number): void {
    const ctx = this.#ctx;
    ctx.strokeStyle = ctx.fillStyle = this.#ink;
    ctx.lineWidth = 1.5;
    ctx.beginPath();
    ctx.arc(x, y, 3, 0, 2 * Math.PI);
    ctx.fill();
    ctx.globalAlpha = 0.5;
    ctx.beginPath();
    ctx.arc(x, y, 7 + 1.5 * Math.sin(now / 400), 0, 2 * Math.PI);
    ctx.stroke();
    ctx.globalAlpha = 1;
  }
}

/** Adds the shape of a protocol to the path: disc, square, triangle, diamond,
 *  cross, bar. */
export const mark = (ctx: CanvasRenderingContext2D, protocol: number, x: number, y: number, r: number): void => {
  switch (protocol) {
    case 1:
      ctx.rect(x - r, y - r, 2 * r, 2 * r);
      break;
    case 2:
      ctx.moveTo(x, y - r * 1.2);
      ctx.lineTo(x + r * 1.2, y + r);
      ctx.lineTo(x - r * 1.2, y + r);
      ctx.closePath();
      break;
    case 3:
      ctx.moveTo(x, y - r * 1.4);
      ctx.lineTo(x + r * 1.4, y);
      ctx.lineTo(x, y + r * 1.4);
      ctx.lineTo(x - r * 1.4, y);
      ctx.closePath();
      break;
    case 4:
      ctx.rect(x - r * 1.3, y - r * 0.4, r * 2.6, r * 0.8);
      ctx.rect(x - r * 0.4, y - r * 1.3, r * 0.8, r * 2.6);
      break;
    case 5:
      ctx.rect(x - r * 1.3, y - r * 0.4, r * 2.6, r * 0.8);
      break;
    default:
      ctx.moveTo(x + r, y);
      ctx.arc(x, y, r, 0, 2 * Math.PI);
  }
};

/** The same shapes as an SVG path around (6, 6), for the legend. */
export const markPath: readonly string[] = ['M10 6a4 4 0 1 1-8 0 4 4 0 0 1 8 0z', 'M2.500 2.500h7v7h-7z', 'M6 1.500l4.500 8h-9z', 'M6 1l5 5-5 5-5-5z', 'M5 1h2v4h4v2H7v4H5V7H1V5h4z', 'M1 5h10v2H1z'];
