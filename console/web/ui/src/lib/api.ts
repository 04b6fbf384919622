import type { Problem } from './types';

/** A refused or failed request, in the server's own words where it gave some. */
export class Failure extends Error {
  constructor(
    readonly status: number,
    readonly problem: Problem,
  ) {
    super(problem.detail ?? problem.title ?? String(status));
  }
}

export const base = '/api/v1';
let language = 'ja';

/** The language in which the server explains errors. */
export const speak = (lang: string): void => {
  language = lang;
};

export type Query = Record<string, string | number | boolean | null | undefined>;

/** A path below /api/v1 with its query; empty values are left out. */
export const url = (path: string, query: Query = {}): string => {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(query)) if (v !== null && v !== undefined && v !== '' && v !== false) q.set(k, String(v));
  const s = q.toString();
  return base + path + (s ? `?${s}` : '');
};

/** Asks the API. Rejects with a Failure, status 0 when nobody answered. */
export const request = async <T>(address: string, init: RequestInit = {}): Promise<T> => {
  const headers = new Headers(init.headers);
  headers.set('Accept', 'application/json');
  headers.set('Accept-Language', language);
  let answer: Response;
  try {
    answer = await fetch(address, { ...init, headers, credentials: 'same-origin' });
  } catch (e) {
    if (e instanceof DOMException && e.name === 'AbortError') throw e;
    throw new Failure(0, {});
  }
  if (!answer.ok) throw new Failure(answer.status, (await answer.json().catch(() => ({}))) as Problem);
  if (answer.status === 204) return undefined as T;
  return (await answer.json()) as T;
};

export const get = <T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> =>
  request<T>(url(path, query), signal ? { signal } : {});

export const post = <T>(path: string, body?: unknown): Promise<T> =>
  request<T>(url(path), {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: body === undefined ? '{}' : JSON.stringify(body),
  });

/** Asks the console itself, outside of /api/v1. */
export const send = <T>(address: string, body: unknown): Promise<T> =>
  request<T>(address, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });

export const remove = (path: string): Promise<void> => request<void>(url(path), { method: 'DELETE' });
