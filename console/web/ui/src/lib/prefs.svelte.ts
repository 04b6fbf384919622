import type { Zone } from './time';

// What a person chose for this browser. It holds no data and no secret.

export type Theme = 'auto' | 'light' | 'dark' | 'wall';
export type Lang = 'ja' | 'en';

const key = 'sakimori';
const read = (): Record<string, unknown> => {
  try {
    return JSON.parse(localStorage.getItem(key) ?? '{}') as Record<string, unknown>;
  } catch {
    return {}; // private windows may refuse, old text may be broken: start afresh
  }
};
const pick = <T extends string>(value: unknown, allowed: readonly T[], fallback: T): T =>
  allowed.includes(value as T) ? (value as T) : fallback;

class Prefs {
  lang = $state<Lang>('ja');
  theme = $state<Theme>('auto');
  zone = $state<Zone>('jst');
  keys = $state(true); // single-key shortcuts (WCAG 2.1.4)
  rail = $state(true); // words beside the icons
  guided = $state(false); // the guide was seen or skipped

  constructor() {
    const saved = read();
    this.lang = pick(saved.lang, ['ja', 'en'], navigator.language?.startsWith('ja') ? 'ja' : 'en');
    this.theme = pick(saved.theme, ['auto', 'light', 'dark', 'wall'], 'auto');
    this.zone = pick(saved.zone, ['jst', 'utc'], this.lang === 'ja' ? 'jst' : 'utc');
    this.keys = saved.keys !== false;
    this.rail = saved.rail !== false;
    this.guided = saved.guided === true;
  }

  save(): void {
    const { lang, theme, zone, keys, rail, guided } = this;
    try {
      localStorage.setItem(key, JSON.stringify({ lang, theme, zone, keys, rail, guided }));
    } catch {
      // not remembered, but works
    }
  }
}

export const prefs = new Prefs();

/** The theme in force: auto follows the system. */
export const theme = (): 'light' | 'dark' | 'wall' => {
  if (prefs.theme !== 'auto') return prefs.theme;
  return matchMedia('(prefers-color-scheme: light)').matches ? 'light' : 'dark';
};
