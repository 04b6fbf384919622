import { prefs } from '../lib/prefs.svelte';
import { dictionaries, say, type Lang } from './index.svelte';
import * as en from './routes.en';
import * as ja from './routes.ja';

// The words of routes, on top of the console's: they come with that page.

const of = (d: (typeof dictionaries)['ja'], x: typeof ja) => ({ ...d, routes: x.routes, remedy: x.remedy, watched: x.watched, neighbors: x.neighbors, lookup: x.lookup, feeds: x.feeds, ready: x.ready, drill: x.drill });
const all = { ja: of(dictionaries.ja, ja), en: of(dictionaries.en, en) };
export type Words = (typeof all)['ja'];
export const words: Record<Lang, Words> = all;

/** The words of the language in force. Reading it in a component subscribes. */
export const t = (): Words => words[prefs.lang];
export { say };
