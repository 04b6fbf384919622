import { Failure, get, request, send } from './api';
import { router, usual } from './router.svelte';
import { listen, type Message } from './stream';
import { HOUR, MINUTE, iso, length, parse } from './time';
import type { Finding, Job, MapFrame, Role, Session, Status } from './types';

// What the whole console shares: the session, the state of the server, the
// range of time on show, and the beat at which panels ask again.

const beat = 10_000; // ms between refreshes
export const presets = ['1h', '6h', '24h', '7d', '30d'] as const;

export type Range = { from: number; to: number };

class App {
  /** bare: signed in, and nobody has given a role yet. */
  session = $state<'unknown' | 'in' | 'out' | 'bare'>('unknown');
  me = $state.raw<Session>({ user: '', roles: [], person: false });
  status = $state.raw<Status | null>(null);
  connected = $state(true);
  paused = $state(false);
  tick = $state(0);
  /** The latest finding that came while looking: for the live region. */
  news = $state.raw<Finding | null>(null);
  jobs = $state.raw<Job[]>([]);
  /** Own clock of the page, once a second, for ages. */
  now = $state(Date.now());
  help = $state(false);
  importing = $state(false);
  #frames = new Set<(f: MapFrame) => void>();
  #ears = new Set<(m: Message) => void>();
  #statusAt = 0;
  #lag = 0; // ms that the server's clock is ahead of this browser's

  /** Asks who we are, then for the state of the server. */
  async open(): Promise<void> {
    try {
      this.me = await request<Session>('/session');
      if (!this.me.roles.length) {
        this.session = 'bare';
        return;
      }
      this.session = 'in';
      this.takeStatus(await get<Status>('/status'));
      this.jobs = (await get<{ rows: Job[] | null }>('/jobs').catch(() => ({ rows: null }))).rows ?? [];
    } catch (e) {
      if (e instanceof Failure && (e.status === 401 || e.status === 403)) {
        // The wall has nobody to log it in: it waits and tries again.
        this.session = router.route.page === 'wall' ? 'in' : 'out';
        if (this.session === 'in') setTimeout(() => void this.open(), beat);
      } else {
        this.session = 'in';
        this.connected = false;
        setTimeout(() => void this.open(), 3000);
      }
    }
  }

  /** With a token, or with a name and a password. */
  async login(by: { token: string } | { name: string; password: string }): Promise<void> {
    await send('/session', by);
    await this.open();
  }

  async logout(): Promise<void> {
    await request('/session', { method: 'DELETE' }).catch(() => undefined);
    this.session = 'out';
  }

  /** Whether we hold one of these roles. */
  may(...roles: Role[]): boolean {
    return roles.some((r) => this.me.roles.includes(r));
  }

  lostSession(): void {
    if (router.route.page !== 'wall') this.session = 'out';
  }

  /** Runs while a session is open; returns what stops it. */
  run(): () => void {
    const clock = setInterval(() => (this.now = Date.now()), 1000);
    const pulse = setInterval(() => this.refresh(), beat);
    const stop = listen((m) => this.take(m));
    return () => {
      clearInterval(clock);
      clearInterval(pulse);
      stop();
    };
  }

  /** Panels ask again; a range that follows the data moves on. */
  refresh(force = false): void {
    if (!force && (this.paused || document.hidden)) return;
    this.follow();
    this.tick++;
  }

  take(m: Message): void {
    switch (m.topic) {
      case 'up':
        this.connected = true;
        if (!this.status) void this.open();
        break;
      case 'down':
        this.connected = false;
        break;
      case 'status':
        this.connected = true;
        this.takeStatus(m.data as Status);
        break;
      case 'map':
        for (const f of this.#frames) f(m.data as MapFrame);
        break;
      case 'finding':
        this.news = m.data as Finding;
        break;
      case 'job': {
        const job = m.data as Job;
        this.jobs = [job, ...this.jobs.filter((j) => j.id !== job.id)];
        break;
      }
      case 'attack':
      case 'mitigation':
      case 'incident':
      case 'route_act':
        if (!this.paused) for (const hear of this.#ears) hear(m);
        break;
    }
  }

  takeStatus(s: Status): void {
    const first = this.status === null;
    this.status = s;
    this.#statusAt = Date.now();
    this.#lag = (parse(s.now) ?? Date.now()) - Date.now();
    if (first) this.follow();
  }

  /** Takes the frames of the map until the returned function is called. */
  frames(take: (f: MapFrame) => void): () => void {
    this.#frames.add(take);
    return () => this.#frames.delete(take);
  }

  /** Hears of attacks, of incidents of routing and of what is done against them, at most once a second for
   *  each, until the returned function is called. */
  hear(take: (m: Message) => void): () => void {
    this.#ears.add(take);
    return () => this.#ears.delete(take);
  }

  /** The time of the newest data, ms; null before there is any. */
  get dataTime(): number | null {
    return parse(this.status?.data_time);
  }

  get running(): boolean {
    return this.status?.inputs.some((i) => i.state === 'running') ?? false;
  }

  /** How old the newest data is, ms of the server's clock. In a replay the
   *  data's own time is another day's: there it is the age of the last word. */
  get age(): number | null {
    if (!this.status) return null;
    if (this.status.speed !== 1 || this.status.inputs.every((i) => i.kind !== 'live')) return this.running ? Math.max(0, this.now - this.#statusAt) : null;
    return this.dataTime === null ? null : Math.max(0, this.now + this.#lag - this.dataTime);
  }

  /** The office's clock now, ms: by it cases are due and grants end. It is the
   *  server's; a sample's office lives in the time of its replay. */
  get officeNow(): number {
    return (this.status?.demo ? this.dataTime : null) ?? this.now + this.#lag;
  }

  /** The range on show, or null until it is known. */
  get range(): Range | null {
    const from = parse(router.get('from'));
    const to = parse(router.get('to'));
    return from !== null && to !== null && from < to ? { from, to } : null;
  }

  /** The preset that the range follows, "" when it stands still. */
  get live(): string {
    return length(router.get('live')) ? router.get('live')! : '';
  }

  get previous(): boolean {
    return router.get('prev') === '1';
  }

  /** Shows the last stretch and keeps following it. */
  preset(name: string): void {
    const r = this.#last(name);
    if (r) router.set({ from: iso(r.from), to: iso(r.to), live: name });
  }

  fix(range: Range): void {
    router.set({ from: iso(range.from), to: iso(range.to), live: null });
  }

  /** One length of the range back (-1) or on (1). */
  step(direction: -1 | 1): void {
    const r = this.range;
    if (!r) return;
    const by = (r.to - r.from) * direction;
    this.fix({ from: r.from + by, to: r.to + by });
  }

  follow(): void {
    if (this.range && !this.live) return;
    const name = this.live || usual(router.route.page);
    const r = this.#last(name);
    if (r) router.set({ from: iso(r.from), to: iso(r.to), live: name }, 'replace');
  }

  #last(name: string): Range | null {
    const at = usual(router.route.page) === '24h' ? this.dataTime : this.status && this.officeNow;
    const span = length(name);
    if (at === null || span === null) return null;
    // Whole minutes, and whole hours from a day on, so that the first bucket is
    // whole and the same answer serves for a while.
    const unit = span > 6 * HOUR ? HOUR : MINUTE;
    const to = Math.ceil((at + 1) / unit) * unit;
    return { from: to - span, to };
  }
}

export const app = new App();
