import { describe, expect, it, vi } from 'vitest';
import { keyHandler } from '../src/lib/keys';

const press = (handler: (e: KeyboardEvent) => void, key: string, init: KeyboardEventInit = {}, target: HTMLElement = document.body) => {
  const e = new KeyboardEvent('keydown', { key, cancelable: true, ...init });
  Object.defineProperty(e, 'target', { value: target });
  handler(e);
};

describe('keyHandler', () => {
  it('knows single keys and pairs', () => {
    const s = vi.fn();
    const l = vi.fn();
    const h = keyHandler({ 'g s': s, l }, () => true);
    press(h, 'l');
    press(h, 's');
    expect([l.mock.calls.length, s.mock.calls.length]).toEqual([1, 0]);
    press(h, 'g');
    press(h, 's');
    expect(s).toHaveBeenCalledTimes(1);
  });
  it('forgets half a pair', () => {
    let now = 0;
    const s = vi.fn();
    const h = keyHandler({ 'g s': s }, () => true, () => now);
    press(h, 'g');
    now = 2000;
    press(h, 's');
    expect(s).not.toHaveBeenCalled();
  });
  it('keeps out of fields and of the browser’s own keys', () => {
    const l = vi.fn();
    const h = keyHandler({ l }, () => true);
    press(h, 'l', {}, document.createElement('input'));
    press(h, 'l', { ctrlKey: true });
    expect(l).not.toHaveBeenCalled();
  });
  it('can be switched off; Escape stays', () => {
    const l = vi.fn();
    const Escape = vi.fn();
    const h = keyHandler({ l, Escape }, () => false);
    press(h, 'l');
    press(h, 'Escape');
    expect(l).not.toHaveBeenCalled();
    expect(Escape).toHaveBeenCalledTimes(1);
  });
});
