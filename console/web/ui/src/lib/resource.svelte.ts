import { untrack } from 'svelte';
import { Failure, get, type Query } from './api';
import { app } from './app.svelte';

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
   *  null means: not yet. Must be made while a component starts. */
  constructor(ask: () => { path: string; query?: Query } | null) {
    $effect(() => {
      const question = ask();
      void app.tick;
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
