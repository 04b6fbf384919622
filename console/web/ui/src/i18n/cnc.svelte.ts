import { prefs } from '../lib/prefs.svelte';
import { words as office, say } from './office.svelte';
import type { Lang } from './index.svelte';
import * as en from './cnc.en';
import * as ja from './cnc.ja';

// The words of the C&C list, its zones and their proof, on top of the office's: they
// come with those pages.

const all = { ja: { ...office.ja, cnc: ja.cnc }, en: { ...office.en, cnc: en.cnc } };
export type Words = (typeof all)['ja'];
export const words: Record<Lang, Words> = all;

/** The words of the language in force. Reading it in a component subscribes. */
export const t = (): Words => words[prefs.lang];
export { say };
