import { untrack } from 'svelte';
import { Failure, get, type Query } from './api';
import { app } from './app.svelte';
import type { Answer } from './types';

type Part<T> = { cursor: string; rows: readonly T[] | null; n: number };
type Page<T> = { rows: readonly T[]; next: string };

/**
 * A list of any length, page by page. Pages are known by their cursor and come when
 * they are looked at; those far from what is on show are let go of and asked for
 * again, so that a million rows cost what a few pages do.
 */
export class Pages<T, A> {
  /** The first page's answer as it came: for what stands beside its rows. */
  head = $state.raw<A | null>(null);
  failure = $state.raw<Failure | null>(null);
  loading = $state(true);
  count = $state(0); // rows that are known
  more = $state(false); // whether others follow them
  #parts = $state.raw<Part<T>[]>([]);
  #next = '';
  #view: [number, number] = [0, 0];
  #question: { path: string; query: Query } | null = null;
  #turn = 0; // what came for an older question is dropped
  #busy = false;

  /** Must be made while a component starts. read takes the rows out of an answer;
   *  keep is how many pages stay on either side of what is on show. */
  constructor(
    ask: () => { path: string; query: Query } | null,
    private readonly read: (answer: A) => Page<T>,
    private readonly keep = 6,
  ) {
    let asked = '';
    $effect(() => {
      const question = ask();
      void app.tick;
      untrack(() => {
        const now = JSON.stringify(question);
        this.#question = question;
        if (!question) return;
        if (now !== asked) this.#begin();
        else void this.#again();
        asked = now;
      });
    });
    $effect(() => () => void this.#turn++);
  }

  /** The row at i, or undefined while its page is away. */
  at(i: number): T | undefined {
    let first = 0;
    for (const p of this.#parts) {
      if (i < first + p.n) return p.rows?.[i - first];
      first += p.n;
    }
    return undefined;
  }

  /** Says which rows are on show: their pages come, the next one too, far ones go. */
  reach(from: number, to: number): void {
    this.#view = [from, to];
    void this.#fill();
  }

  retry = (): void => {
    if (this.#parts.length) void this.#again();
    else this.#begin();
  };

  /** Asks anew for all that is known; done when it is there. */
  async renew(): Promise<void> {
    if (this.#busy) return;
    await this.#load(Array.from({ length: Math.max(1, this.#parts.length) }, (_, i) => (i === 0 ? '' : null)), 0);
  }

  /** As a panel takes it. */
  standing(empty: (a: A) => boolean = () => false): { data: Answer | null; failure: Failure | null; loading: boolean; retry: () => void } {
    const absent = this.failure?.status === 404 && !this.head;
    const why = this.failure?.problem.detail ?? '';
    const data: Answer | null = absent ? { state: 'none', reason: why ? { ja: why, en: why } : null } : this.head ? { state: empty(this.head) ? 'zero' : 'ok' } : null;
    return { data, failure: absent ? null : this.failure, loading: this.loading, retry: this.retry };
  }

  #begin(): void {
    this.#turn++;
    this.#busy = false;
    this.#put([]);
    this.#next = '';
    this.#view = [0, 0];
    this.head = null;
    this.failure = null;
    void this.#load([''], 0);
  }

  /** Asks for the pages on show once more: what follows them is asked for when seen. */
  async #again(): Promise<void> {
    if (this.#busy) return;
    const [a, b] = this.#shown();
    await this.#load(Array.from({ length: Math.max(1, b - a + 1) }, (_, i) => (i === 0 ? (this.#parts[a]?.cursor ?? '') : null)), a);
  }

  async #fill(): Promise<void> {
    if (this.#busy || !this.#parts.length) return;
    const [a, b] = this.#shown();
    const away = this.#parts.findIndex((p, i) => i >= a && i <= b && !p.rows);
    if (away >= 0) await this.#load([this.#parts[away]!.cursor], away);
    else if (this.more && this.#view[1] >= this.count - 60) await this.#load([this.#next], this.#parts.length);
  }

  /** The first and the last part that is on show. */
  #shown(): [number, number] {
    let first = 0;
    let a = 0;
    let b = 0;
    this.#parts.forEach((p, i) => {
      if (first <= this.#view[0]) a = i;
      if (first <= this.#view[1]) b = i;
      first += p.n;
    });
    return [a, b];
  }

  /** Loads pages one after the other into the parts from index on; a cursor of null
   *  is the one that the page before names. They are shown together. */
  async #load(cursors: (string | null)[], index: number): Promise<void> {
    const question = this.#question;
    const turn = this.#turn;
    if (!question) return;
    this.#busy = true;
    this.loading = true;
    try {
      const got: Part<T>[] = [];
      let head = this.head;
      let next = '';
      for (const c of cursors) {
        const cursor = c ?? next;
        if (c === null && !cursor) break; // the list has become shorter
        const answer = await get<A>(question.path, { ...question.query, cursor });
        if (turn !== this.#turn) return;
        if (cursor === '') head = answer;
        const page = this.read(answer);
        got.push({ cursor, rows: page.rows, n: page.rows.length });
        next = page.next;
      }
      const after = this.#parts.slice(index + got.length);
      // What follows is still what follows, or it is asked for anew.
      const fits = after.length > 0 && after[0]!.cursor === next;
      if (!fits) this.#next = next;
      const all = [...this.#parts.slice(0, index), ...got, ...(fits ? after : [])];
      this.head = head;
      this.#put(all.map((p, i) => (p.rows && Math.abs(i - index) > this.keep ? { ...p, rows: null } : p)));
      this.failure = null;
    } catch (e) {
      if (turn !== this.#turn) return;
      this.failure = e instanceof Failure ? e : new Failure(0, {});
      if (this.failure.status === 401) app.lostSession();
    } finally {
      if (turn === this.#turn) {
        this.#busy = false;
        this.loading = false;
        // Somebody may have gone on meanwhile, or one page wasn't enough.
        if (!this.failure) void this.#fill();
      }
    }
  }

  #put(parts: Part<T>[]): void {
    this.#parts = parts;
    this.count = parts.reduce((n, p) => n + p.n, 0);
    this.more = this.#next !== '';
  }
}
