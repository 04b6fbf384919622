import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const source = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Runs axe on the page as it stands, or on the dialog that is open: what is under it can't be
 *  reached then, and is another test's. Gives one line for each violation. The lines are made
 *  in the page: to hand over all that was found right takes longer than to look for what is wrong. */
export const violations = async (p) => {
  await p.evaluate(source); // through the debugger: the page's policy stays as it is
  return p.evaluate(async () => {
    const found = await axe.run(document.querySelector('dialog:modal') ?? document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations'] });
    return found.violations.flatMap((v) => v.nodes.slice(0, 4).map((n) => `${v.id}: ${n.target.join(' ')}: ${(n.any[0] ?? n.all[0] ?? n.none[0])?.message ?? v.help}`));
  });
};
