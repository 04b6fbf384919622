import { prefs } from '../lib/prefs.svelte';
import type { Text } from '../lib/types';
import { en } from './en';
import { ja } from './ja';

export type Lang = 'ja' | 'en';
export type Words = typeof ja;
export const dictionaries: Record<Lang, Words> = { ja, en };

/** The words of the language in force. Reading it in a component subscribes. */
export const t = (): Words => dictionaries[prefs.lang];

/** The side of a text from the server that the reader wants, or the other one. */
export const say = (text: Text | null | undefined): string => (text ? text[prefs.lang] || text.en || text.ja : '');
