// Single keys, for people who spend eight hours here. They act on nothing
// outside the screen: the one that acknowledges asks for a note first.

export type Actions = Record<string, () => void>;

const inField = (e: KeyboardEvent): boolean => {
  const el = e.target as HTMLElement | null;
  return !!el && (el.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(el.tagName));
};

/** A handler of keydown. actions holds single keys and pairs like "g s"; Escape
 *  works always, the others when enabled and outside of fields. */
export const keyHandler = (actions: Actions, enabled: () => boolean, now: () => number = Date.now) => {
  let first = '';
  let at = 0;
  return (e: KeyboardEvent): void => {
    if (e.defaultPrevented || e.isComposing || e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === 'Escape') return actions.Escape?.();
    if (!enabled() || inField(e) || document.querySelector('dialog[open]')) return;
    const pair = `${first} ${e.key}`;
    const fresh = first !== '' && now() - at < 1500;
    first = '';
    if (fresh && actions[pair]) {
      e.preventDefault();
      return actions[pair]();
    }
    if (Object.keys(actions).some((k) => k.startsWith(`${e.key} `))) {
      first = e.key;
      at = now();
      return;
    }
    const act = actions[e.key];
    if (act) {
      e.preventDefault();
      act();
    }
  };
};

/** Moves the focus along the rows that can be opened. */
export const moveRow = (by: 1 | -1): void => {
  const rows = [...document.querySelectorAll<HTMLElement>('[data-row]')].filter((r) => r.offsetParent !== null);
  if (rows.length === 0) return;
  const i = rows.indexOf(document.activeElement as HTMLElement);
  const next = i < 0 ? (by === 1 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, i + by));
  rows[next]?.focus();
};
