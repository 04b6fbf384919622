// The address bar is the state. Times in it are absolute and in UTC, so that a
// link shows a colleague in another zone the same thing.

export type Page = 'situation' | 'darknet' | 'attacks' | 'routes' | 'infections' | 'legal' | 'address' | 'wall' | 'system' | 'account' | 'welcome';
export type Route = { page: Page; arg: string; query: URLSearchParams };

const paths: Record<string, Page> = { '': 'situation', darknet: 'darknet', attacks: 'attacks', routes: 'routes', infections: 'infections', legal: 'legal', address: 'address', wall: 'wall', system: 'system', account: 'account', welcome: 'welcome' };

/** Reads a location; an unknown path is the first page. */
export const parseLocation = (pathname: string, search: string): Route => {
  const [head = '', ...rest] = pathname.split('/').filter(Boolean);
  const page = paths[head] ?? 'situation';
  let arg = '';
  if (page === 'address' || page === 'infections' || page === 'attacks' || page === 'routes') {
    try {
      arg = decodeURIComponent(rest.join('/'));
    } catch {
      arg = rest.join('/');
    }
  }
  const query = new URLSearchParams(search);
  query.delete('token'); // a one-time token has no business in a link
  return page === 'address' && !arg ? { page: 'situation', arg: '', query } : { page, arg, query };
};

/** The path of a page. */
export const path = (page: Page, arg = ''): string =>
  page === 'situation' ? '/' : arg ? `/${page}/${encodeURIComponent(arg).replaceAll('%3A', ':')}` : `/${page}`;

/** The stretch that a page shows unless told otherwise: the office counts days. */
export const usual = (page: Page): string => (page === 'infections' || page === 'legal' ? '30d' : '24h');

// What stays when one goes from page to page; the rest belongs to one page.
const lasting = ['from', 'to', 'live', 'prev'];

class Router {
  route = $state.raw<Route>(parseLocation('/', ''));

  /** Listens to the browser's back and forward; returns what stops it. */
  start(): () => void {
    const read = () => {
      this.route = parseLocation(location.pathname, location.search);
    };
    read();
    addEventListener('popstate', read);
    return () => removeEventListener('popstate', read);
  }

  get(name: string): string | null {
    return this.route.query.get(name);
  }

  /** Goes to a page, keeping the time range. */
  go(page: Page, arg = '', query: Record<string, string> = {}): void {
    this.#show(this.href(page, arg, query), 'push');
  }

  /** Where go would lead: for links. */
  href(page: Page, arg = '', query: Record<string, string> = {}): string {
    const q = new URLSearchParams();
    // A page's usual stretch is nobody's choice: the next page begins with its own.
    const chosen = usual(page) === usual(this.route.page) || this.get('live') !== usual(this.route.page);
    for (const name of chosen ? lasting : []) {
      const v = this.get(name);
      if (v) q.set(name, v);
    }
    for (const [k, v] of Object.entries(query)) q.set(k, v);
    return path(page, arg) + suffix(q);
  }

  /** Opens something on this page, or with "" closes it; the query stays. */
  open(arg: string): void {
    this.#show(path(this.route.page, arg) + suffix(new URLSearchParams(this.route.query)), 'push', false);
  }

  /** Changes some of the query; null takes a name away. */
  set(change: Record<string, string | null>, how: 'push' | 'replace' = 'push'): void {
    const q = new URLSearchParams(this.route.query);
    for (const [k, v] of Object.entries(change)) {
      if (v === null) q.delete(k);
      else q.set(k, v);
    }
    this.#show(path(this.route.page, this.route.arg) + suffix(q), how);
  }

  /** For a plain click on an own link; others are the browser's business. */
  click = (event: MouseEvent): void => {
    const a = (event.target as Element | null)?.closest('a');
    if (!a || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    if (a.origin !== location.origin || a.target || a.hasAttribute('download') || /^\/(api|signin)\//.test(a.pathname)) return;
    if (a.hash && a.pathname === location.pathname) return;
    event.preventDefault();
    this.#show(a.pathname + a.search, 'push');
  };

  #show(url: string, how: 'push' | 'replace', top = true): void {
    if (how === 'push') history.pushState(null, '', url);
    else history.replaceState(null, '', url);
    const next = parseLocation(location.pathname, location.search);
    const moved = next.page !== this.route.page || next.arg !== this.route.arg;
    this.route = next;
    if (moved && top && how === 'push') document.querySelector('main')?.scrollTo?.(0, 0);
  }
}

/** The query with readable colons: they need no escape there. */
const suffix = (q: URLSearchParams): string => {
  const s = q.toString().replaceAll('%3A', ':').replaceAll('%2F', '/');
  return s ? `?${s}` : '';
};

export const router = new Router();
