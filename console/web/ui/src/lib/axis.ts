import type uPlot from 'uplot';
import { color } from './colors';
import { offset, type Zone } from './time';

// What every chart over time shares: ticks on round times of the reader's zone, and
// the hatching of what was not observed.

const steps = [5, 10, 30, 60, 300, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 2 * 86_400, 7 * 86_400, 30 * 86_400, 91 * 86_400, 365 * 86_400];

/** Where ticks stand, in Unix seconds; from and to in ms, letters of font px. */
export const ticks = (u: uPlot, from: number, to: number, font: number, zone: Zone): number[] => {
  const room = Math.max(2, Math.floor(u.bbox.width / (devicePixelRatio || 1) / (font * 6)));
  const every = steps.find((s) => (to - from) / 1000 / s <= room) ?? steps[steps.length - 1]!;
  const shift = offset(zone) / 1000;
  const out: number[] = [];
  // A word at the very end would be cut.
  const end = to / 1000 - ((to - from) / 1000) * 0.02;
  for (let x = Math.ceil((from / 1000 + shift) / every) * every - shift; x <= end; x += every) out.push(x);
  return out;
};

/** Hatches stretches of time, [from, to] in ms each. */
export const hatch = (u: uPlot, stretches: readonly (readonly [number, number])[]): void => {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const [a, b] of stretches) {
    const x0 = u.valToPos(a / 1000, 'x', true);
    const x1 = u.valToPos(b / 1000, 'x', true);
    ctx.fillStyle = color('--gap');
    ctx.fillRect(x0, bbox.top, Math.max(1, x1 - x0), bbox.height);
    ctx.strokeStyle = color('--line-strong');
    ctx.lineWidth = 1;
    ctx.beginPath();
    for (let x = x0 - bbox.height; x < x1; x += 9) {
      ctx.moveTo(Math.max(x, x0), x < x0 ? bbox.top + bbox.height - (x0 - x) : bbox.top + bbox.height);
      const end = Math.min(x + bbox.height, x1);
      ctx.lineTo(end, bbox.top + bbox.height - (end - x));
    }
    ctx.stroke();
  }
  ctx.restore();
};
