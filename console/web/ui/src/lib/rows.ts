import type { Words } from '../i18n/index.svelte';
import { change, compact, count, error, percent, region, unique } from './format';
import type { Lang } from './prefs.svelte';
import { cell, type Twin } from './twin';
import type { Dim, Row, Series, Unique } from './types';
import { clock, date, type Zone } from './time';
import type { Bar } from '../parts/Bars.svelte';

// How rows of a ranking and points of a series are put in words.

/** The name of a key: countries by the browser, the rest as the server says. */
export const label = (dim: Dim, key: string, lang: Lang, w: Words): string => {
  if (dim === 'country') return key === 'ZZ' || key === '' ? w.darknet.unknownCountry : region(key, lang);
  if (dim === 'as' && key === 'AS0') return w.darknet.unknownCountry;
  if (dim === 'class') return w.darknet.class[key] ?? key;
  if (dim === 'protocol') return key.toUpperCase();
  return key;
};

const note = (dim: Dim, r: { key: string; name: string; name_ja?: string }, lang: Lang): string => {
  if (dim === 'country') return r.key;
  return (lang === 'ja' && r.name_ja) || r.name;
};

export const bars = (dim: Dim, rows: readonly Row[], lang: Lang, w: Words): Bar[] =>
  rows.map((r) => ({
    key: r.key,
    label: label(dim, r.key, lang, w),
    note: note(dim, r, lang),
    value: r.packets,
    hosts: r.sources.n,
    figure: compact(r.packets, lang),
    second: `${r.sources.at_most ? '≤ ' : ''}${compact(r.sources.n, lang)}`,
    err: error(r.sources, lang),
    change: change(r.change, lang),
    rising: (r.change ?? 0) > 0.5,
  }));

const uniqueCells = (u: Unique, lang: Lang) => [cell(`${u.at_most ? '≤ ' : ''}${count(u.n, lang)}`, u.n), cell(u.at_most ? '≤' : error(u, lang) || '=', u.at_most ? 'at most' : u.err)];

export const topTwin = (title: string, dim: Dim, rows: readonly Row[], lang: Lang, w: Words): Twin => ({
  name: title,
  columns: [
    { label: w.darknet.dims[dim] ?? dim },
    { label: w.panel.name },
    { label: w.darknet.packets, num: true },
    { label: w.panel.share, num: true },
    { label: w.darknet.hosts, num: true },
    { label: '±', num: true },
    { label: w.darknet.targets, num: true },
    { label: '±', num: true },
    { label: w.panel.before, num: true },
    { label: w.panel.change, num: true },
  ],
  rows: rows.map((r) => [
    cell(label(dim, r.key, lang, w), r.key),
    cell(note(dim, r, lang)),
    cell(count(r.packets, lang), r.packets),
    cell(percent(r.share, lang), r.share),
    ...uniqueCells(r.sources, lang),
    ...uniqueCells(r.targets, lang),
    cell(r.before === null ? '–' : count(r.before, lang), r.before),
    cell(change(r.change, lang), r.change),
  ]),
});

export const seriesTwin = (title: string, s: Pick<Series, 'points' | 'previous'>, lang: Lang, zone: Zone, w: Words): Twin => ({
  name: title,
  columns: [
    { label: w.panel.time },
    { label: w.darknet.packets, num: true },
    { label: w.darknet.hosts, num: true },
    { label: '±', num: true },
    { label: w.darknet.targets, num: true },
    { label: '±', num: true },
  ],
  rows: (s.points ?? []).map((p) => {
    const ms = Date.parse(p.time);
    return [cell(`${date(ms, zone)} ${clock(ms, zone)}`, p.time), cell(count(p.packets, lang), p.packets), ...uniqueCells(p.sources, lang), ...uniqueCells(p.targets, lang)];
  }),
});
