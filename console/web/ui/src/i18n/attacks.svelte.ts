import { prefs } from '../lib/prefs.svelte';
import { dictionaries, say, type Lang } from './index.svelte';
import * as en from './attacks.en';
import * as ja from './attacks.ja';

// The words of attacks, mitigations, flows and exporters, on top of the console's: they
// come with those pages.

const all = { ja: { ...dictionaries.ja, attacks: ja.attacks, acts: ja.acts, flows: ja.flows, exporters: ja.exporters, whatif: ja.whatif }, en: { ...dictionaries.en, attacks: en.attacks, acts: en.acts, flows: en.flows, exporters: en.exporters, whatif: en.whatif } };
export type Words = (typeof all)['ja'];
export const words: Record<Lang, Words> = all;

/** The words of the language in force. Reading it in a component subscribes. */
export const t = (): Words => words[prefs.lang];
export { say };
