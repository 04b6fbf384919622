import { untrack } from 'svelte';
import { Failure, get, type Query } from './api';
import { app } from './app.svelte';
import type { Answer } from './types';

/**
 * What one panel shows: the last good answer, and how the latest request
 * fared. A failed refresh keeps the old answer in sight beside the error.
 */
export class Resource<T> {
  data = $state.raw<T | null>(null);
  failure = $state.raw<Failure | null>(null);
  loading = $state(true);
  #asked = '';
  #abort: AbortController | null = null;
  #again = $state(0);

  /** ask is read in an effect: whatever it reads, asks anew when it changes.
   *  null means: not yet. Must be made while a component starts. What never
   *  changes while one looks is asked once. */
  constructor(ask: () => { path: string; query?: Query } | null, once = false) {
    $effect(() => {
      const question = ask();
      if (!once) void app.tick;
      void this.#again;
      if (question) untrack(() => void this.#load(question.path, question.query ?? {}));
    });
    $effect(() => () => this.#abort?.abort());
  }

  retry = (): void => {
    this.#again++;
  };

  async #load(path: string, query: Query): Promise<void> {
    // Another subject must not show the old one's figures; another range may,
    // dimmed, until its own arrive.
    const { from: _f, to: _t, ...subject } = query;
    const asked = path + JSON.stringify(subject);
    if (asked !== this.#asked) this.data = null;
    this.#asked = asked;
    this.#abort?.abort();
    const abort = (this.#abort = new AbortController());
    this.loading = true;
    try {
      const data = await get<T>(path, query, abort.signal);
      if (abort.signal.aborted) return;
      this.data = data;
      this.failure = null;
    } catch (e) {
      if (abort.signal.aborted) return;
      this.failure = e instanceof Failure ? e : new Failure(0, {});
      if (this.failure.status === 401) app.lostSession();
    }
    this.loading = false;
  }
}

/** A resource as a panel takes it, for answers that don't say themselves how they
 *  stand. An office that isn't there (404) is "not observed", and no failure. */
export const standing = <T>(r: Resource<T>, empty: (data: T) => boolean = () => false): { data: Answer | null; failure: Failure | null; loading: boolean; retry: () => void } => {
  const absent = r.failure?.status === 404 && !r.data;
  const why = r.failure?.problem.detail ?? '';
  const data: Answer | null = absent ? { state: 'none', reason: why ? { ja: why, en: why } : null } : r.data ? { state: empty(r.data) ? 'zero' : 'ok' } : null;
  return { data, failure: absent ? null : r.failure, loading: r.loading, retry: r.retry };
};
