import { base, Failure, post } from './api';

// A withdrawal that was confirmed waits a few seconds, so that a slip of the hand can be
// undone. It is sent whatever page one goes to meanwhile, and when the page is closed.

const patience = 5000; // ms

export type Waiting = { id: string; what: string; why: string; at: number };

class Withdrawals {
  waiting = $state.raw<Waiting | null>(null);
  /** What couldn't be done, in words: it stays until it is read. */
  failed = $state('');
  #timer = 0;
  #done: (() => void) | null = null;

  /** Withdraws mitigation id in a while; the one before it at once. */
  ask(id: string, what: string, why: string, done: () => void): void {
    void this.send();
    this.failed = '';
    this.waiting = { id, what, why, at: Date.now() + patience };
    this.#done = done;
    this.#timer = window.setTimeout(() => void this.send(), patience);
    addEventListener('pagehide', this.#leave);
  }

  undo = (): void => {
    this.#forget();
    this.#done = null;
  };

  send = async (): Promise<void> => {
    const { waiting } = this;
    if (!waiting) return;
    const done = this.#done;
    this.#forget();
    try {
      await post(`/mitigations/${encodeURIComponent(waiting.id)}/withdraw`, { why: waiting.why });
    } catch (e) {
      this.failed = (e instanceof Failure && e.problem.detail) || waiting.what;
    }
    done?.();
  };

  #forget(): void {
    clearTimeout(this.#timer);
    removeEventListener('pagehide', this.#leave);
    this.waiting = null;
  }

  #leave = (): void => {
    const { waiting } = this;
    if (!waiting) return;
    this.#forget();
    // The browser sends this even though the page is gone.
    void fetch(`${base}/mitigations/${encodeURIComponent(waiting.id)}/withdraw`, { method: 'POST', keepalive: true, credentials: 'same-origin', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ why: waiting.why }) });
  };
}

export const withdrawals = new Withdrawals();
