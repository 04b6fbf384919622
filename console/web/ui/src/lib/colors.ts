/** The value of a custom property in force now; pictures on a canvas ask at
 *  draw time, so that a change of theme needs nothing but a redraw. */
export const color = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim() || '#888';

/** A mix of two #rrggbb colours, share 0 is a, 1 is b. */
export const mix = (a: string, b: string, share: number): string => {
  const part = (hex: string, i: number) => parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16);
  const one = (i: number) => Math.round(part(a, i) + (part(b, i) - part(a, i)) * share);
  return `#${[0, 1, 2].map((i) => one(i).toString(16).padStart(2, '0')).join('')}`;
};
