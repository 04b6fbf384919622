import type { Words } from '../i18n/index.svelte';

/** A length of time in the one unit that says enough: "3 s", "12 min". */
export const lasting = (ms: number, w: Words): string => {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 90) return w.unit.seconds(String(s));
  if (s < 5400) return w.unit.minutes(String(Math.round(s / 60)));
  if (s < 48 * 3600) return w.unit.hours(String(Math.round(s / 3600)));
  return w.unit.days(String(Math.round(s / 86_400)));
};
