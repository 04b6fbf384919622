import { prefs } from '../lib/prefs.svelte';
import { dictionaries, say, type Lang } from './index.svelte';
import * as en from './office.en';
import * as ja from './office.ja';

// The words of the office's pages, on top of the console's: they come with those
// pages, so that the first one stays small.

const office = { ja: { ...dictionaries.ja, infections: ja.infections, legal: ja.legal }, en: { ...dictionaries.en, infections: en.infections, legal: en.legal } };
export type Words = (typeof office)['ja'];
export const words: Record<Lang, Words> = office;

/** The words of the language in force. Reading it in a component subscribes. */
export const t = (): Words => words[prefs.lang];
export { say };
