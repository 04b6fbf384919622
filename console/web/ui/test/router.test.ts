import { beforeEach, describe, expect, it } from 'vitest';
import { parseLocation, path, router } from '../src/lib/router.svelte';

describe('parseLocation', () => {
  it.each([
    ['/', 'situation', ''],
    ['/darknet', 'darknet', ''],
    ['/darknet/', 'darknet', ''],
    ['/wall', 'wall', ''],
    ['/system', 'system', ''],
    ['/account', 'account', ''],
    ['/welcome', 'welcome', ''],
    ['/address/198.51.100.7', 'address', '198.51.100.7'],
    ['/address/2001:db8::1', 'address', '2001:db8::1'],
    ['/address/2001%3Adb8%3A%3A1', 'address', '2001:db8::1'],
    ['/address/', 'situation', ''],
    ['/address/%E0%A4%A', 'address', '%E0%A4%A'],
    ['/infections', 'infections', ''],
    ['/infections/C-2026-000123', 'infections', 'C-2026-000123'],
    ['/legal', 'legal', ''],
    ['/attacks', 'attacks', ''],
    ['/routes', 'routes', ''],
    ['/routes/incident-0c41', 'routes', 'incident-0c41'],
    ['/attacks/attack-0a41', 'attacks', 'attack-0a41'],
    ['/nowhere', 'situation', ''],
  ])('%s', (p, page, arg) => expect(parseLocation(p, '')).toMatchObject({ page, arg }));
  it('drops a one-time token', () => expect(parseLocation('/', '?token=secret&from=x').query.toString()).toBe('from=x'));
  it('reads what path writes', () => {
    for (const ip of ['198.51.100.7', '2001:db8::1', '::ffff:192.0.2.1']) expect(parseLocation(path('address', ip), '').arg).toBe(ip);
  });
});

describe('router', () => {
  let stop: () => void;
  beforeEach(() => {
    stop?.();
    history.replaceState(null, '', '/darknet?from=2026-11-22T00:00:00Z&to=2026-11-23T00:00:00Z&dim=port&key=23/tcp');
    stop = router.start();
  });
  it('keeps the range from page to page, and leaves the filter behind', () => {
    router.go('situation');
    expect(location.pathname).toBe('/');
    expect(router.get('from')).toBe('2026-11-22T00:00:00Z');
    expect(router.get('dim')).toBeNull();
  });
  it('takes a stretch that nobody chose to no page with another usual one', () => {
    router.set({ live: '24h' });
    expect(router.href('legal')).toBe('/legal');
    expect(router.href('system')).toContain('live=24h');
    router.set({ live: '7d' });
    expect(router.href('infections', 'C-2026-000123')).toBe('/infections/C-2026-000123?from=2026-11-22T00:00:00Z&to=2026-11-23T00:00:00Z&live=7d');
  });
  it('opens and closes on the same page, the filter stays', () => {
    history.replaceState(null, '', '/infections?state=new');
    dispatchEvent(new PopStateEvent('popstate'));
    router.open('C-2026-000123');
    expect(location.pathname + location.search).toBe('/infections/C-2026-000123?state=new');
    router.open('');
    expect(location.pathname + location.search).toBe('/infections?state=new');
  });
  it('writes readable times into the address', () => {
    router.set({ from: '2026-11-21T00:00:00Z' });
    expect(location.search).toContain('from=2026-11-21T00:00:00Z');
    expect(location.search).toContain('key=23/tcp');
  });
  it('takes names away', () => {
    router.set({ dim: null, key: null });
    expect(router.get('key')).toBeNull();
  });
  it('follows the browser’s back', async () => {
    history.replaceState(null, '', '/wall');
    dispatchEvent(new PopStateEvent('popstate'));
    expect(router.route.page).toBe('wall');
  });
});
