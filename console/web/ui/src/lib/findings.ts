/** Whether a finding is an attack that flows show, with a page of its own. What the
 *  telescope sees of attacks on others bears the same detector's name, and other ids. */
export const isAttack = (f: { detector: string; id: string }): boolean => f.detector === 'ddos' && f.id.startsWith('attack-');

/** Whether a finding is an incident of routing, with a page of its own. */
export const isIncident = (f: { detector: string; id: string }): boolean => f.detector === 'leak' && f.id.startsWith('incident-');
