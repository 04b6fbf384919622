// What a finding, a row or a search is about, and where it is looked at.

export type Subject = { dim: 'address' | 'port' | 'as' | 'country'; key: string };

const v4 = /^(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/;
const v6 = /^(?=[^:]*:[^:]*:)[0-9a-f:]+(:\d+\.\d+\.\d+\.\d+)?$/i;

/** A whole address: a masked one ("203.0.113.x") leads nowhere. */
export const isAddress = (s: string): boolean => v4.test(s) || (v6.test(s) && (s.match(/::/g) ?? []).length <= 1);

/** Reads a subject as the API writes it; null for anything else. */
export const parseSubject = (s: string): Subject | null => {
  if (isAddress(s)) return { dim: 'address', key: s };
  if (/^\d{1,5}\/(tcp|udp)$/.test(s) || /^\d{1,3}\.\d{1,3}\/icmp6?$/.test(s)) return { dim: 'port', key: s };
  if (/^AS\d{1,10}$/.test(s)) return { dim: 'as', key: s };
  if (/^[A-Z]{2}$/.test(s)) return { dim: 'country', key: s };
  return null;
};

/** What a person may mean by what was typed, best first. names maps the codes
 *  of countries and regions to their names in the reader's language. */
export const guess = (typed: string, names: ReadonlyMap<string, string>): Subject[] => {
  const s = typed.trim();
  if (!s) return [];
  const low = s.toLowerCase();
  if (isAddress(s)) return [{ dim: 'address', key: low }];
  let m = /^(\d{1,5})(?:\/(tcp|udp))?$/.exec(low);
  if (m && Number(m[1]) <= 65535) {
    const n = String(Number(m[1]));
    const port = (proto: string): Subject => ({ dim: 'port', key: `${n}/${proto}` });
    return m[2] ? [port(m[2])] : [port('tcp'), port('udp'), { dim: 'as', key: `AS${n}` }];
  }
  m = /^as\s*(\d{1,10})$/.exec(low);
  if (m) return [{ dim: 'as', key: `AS${Number(m[1])}` }];
  const exact: Subject[] = [];
  const begins: Subject[] = [];
  for (const [code, name] of names) {
    if (code.toLowerCase() === low) exact.unshift({ dim: 'country', key: code });
    else if (name.toLowerCase() === low) exact.push({ dim: 'country', key: code });
    else if (name.toLowerCase().startsWith(low)) begins.push({ dim: 'country', key: code });
  }
  return [...exact, ...begins].slice(0, 6);
};

/** The number of a case as it is written: whole, in either case of letters. */
export const isCaseID = (s: string): boolean => /^c-\d{4}-\d{6,}$/i.test(s.trim());
