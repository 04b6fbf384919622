import { csv } from './format';

/** The table that stands for a picture. raw is what the CSV holds: plain
 *  numbers, times in UTC. */
export type Cell = { text: string; raw: string | number | null; title?: string };
export type Column = { label: string; num?: boolean };
export type Twin = { name: string; columns: Column[]; rows: Cell[][] };

export const cell = (text: string, raw: string | number | null = text): Cell => ({ text, raw });

export const twinCSV = (t: Twin): string => csv([t.columns.map((c) => c.label), ...t.rows.map((r) => r.map((c) => c.raw))]);
