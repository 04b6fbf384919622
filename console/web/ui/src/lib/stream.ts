import { url } from './api';

// One stream for all tabs of a browser: over HTTP/1.1 it allows six connections
// to a host, and six open tabs would leave none for anything else. The tab that
// holds the lock listens and tells the others.

export const topics = ['map', 'finding', 'job', 'status', 'attack', 'mitigation', 'incident', 'route_act'] as const;
export type Topic = (typeof topics)[number];
export type Message = { topic: Topic; data: unknown } | { topic: 'up' | 'down'; data: null };

const channel = 'sakimori-stream';
const first = 1000; // ms until the first new attempt
const longest = 15_000;

/** Listens until stopped, for ever: a wall has nobody to press reload. */
export const listen = (take: (m: Message) => void): (() => void) => {
  let stopped = false;
  let source: EventSource | null = null;
  let timer = 0;
  let wait = first;
  let release: (() => void) | null = null;
  const mates = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel(channel);

  const tell = (m: Message, share: boolean): void => {
    if (stopped) return;
    take(m);
    if (share) mates?.postMessage(m);
  };

  const connect = (share: boolean): void => {
    if (stopped) return;
    source = new EventSource(url('/stream', { topics: 'map,findings,jobs,status,attacks,routes' }));
    source.onopen = () => {
      wait = first;
      tell({ topic: 'up', data: null }, share);
    };
    for (const topic of topics) {
      source.addEventListener(topic, (e) => {
        try {
          tell({ topic, data: JSON.parse((e as MessageEvent<string>).data) as unknown }, share);
        } catch {
          // half an event of a dying connection; the next one is whole
        }
      });
    }
    source.onerror = () => {
      tell({ topic: 'down', data: null }, share);
      // The browser itself tries again after a cut; after a refusal it doesn't.
      if (source?.readyState === EventSource.CLOSED) {
        clearTimeout(timer);
        timer = window.setTimeout(() => connect(share), wait);
        wait = Math.min(wait * 2, longest);
      }
    };
  };

  if (mates && navigator.locks) {
    mates.onmessage = (e) => tell(e.data as Message, false);
    const quit = new AbortController();
    navigator.locks
      .request(channel, { signal: quit.signal }, () => {
        mates.onmessage = null; // now this tab is the one that tells
        connect(true);
        return new Promise<void>((done) => (release = done));
      })
      .catch(() => {
        // stopped while waiting for the lock
      });
    release = () => quit.abort();
  } else {
    connect(false);
  }

  return () => {
    stopped = true;
    clearTimeout(timer);
    source?.close();
    mates?.close();
    release?.();
  };
};
