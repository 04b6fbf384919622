// A believable office for the mock: cases, the gate, the ledger, notices. Every
// figure is counted from the same histories, so that they add up; names, contracts
// and addresses are invented.
import { createHash } from 'node:crypto';
import { DAY, HOUR, MINUTE, dataNow, hash, iso } from './data.mjs';
import { guideline } from './rules.mjs';

// As in the demo, the office lives in the time of the replay: 60 times as fast.
const now = dataNow;
const began = now();
const text = (ja, en) => ({ ja, en });
const sha = (...parts) => createHash('sha256').update(parts.join('|')).digest('hex');

const words = {
  new: text('兆候を受け取りました。加入者の特定を待っています。', "signs came; the subscriber isn't known yet"),
  attributed: text('加入者(仮名)を特定しました。注意喚起の根拠の確認を待っています。', 'the subscriber is known by pseudonym; a ground to tell them is to be checked'),
  lawful: text('注意喚起の根拠があります。通知を待っています。', 'there is a ground to tell them; a notice is to be sent'),
  notified: text('通知しました。応答または対処を待っています。', 'they were told; an answer, or the end of the signs, is awaited'),
  acknowledged: text('加入者が確認しました。対処を待っています。', 'they know; the clean-up is awaited'),
  claimed_fixed: text('対処済みとの連絡がありました。静穏期間に入るのを待っています。', 'they say that it is clean; the quiet period is to begin'),
  verifying: text('新しい兆候がないか、静穏期間中です。', 'the quiet period runs: nothing may be seen'),
  clean: text('どの情報源にも兆候がなく、静穏期間が過ぎました。', 'no source saw a sign through the quiet period'),
  relapsed: text('再び兆候がありました。根拠の再確認を待っています。', 'signs came again; the ground is to be checked again'),
  unreachable: text('通知が届きませんでした。別の手段を待っています。', 'what was sent came back; another channel is to be tried'),
  escalated: text('書面・電話などに切り替えました。応答を待っています。', 'a letter, a call or the portal; an answer is awaited'),
  closed: text('終了しました。', 'closed'),
};
const states = Object.keys(words);
const next = {
  new: ['attributed'], attributed: ['lawful'], lawful: ['notified', 'unreachable'], notified: ['notified', 'acknowledged', 'claimed_fixed', 'verifying', 'unreachable', 'escalated'], acknowledged: ['claimed_fixed', 'verifying', 'notified', 'escalated'],
  claimed_fixed: ['verifying', 'relapsed'], verifying: ['clean', 'relapsed'], clean: ['relapsed'], relapsed: ['lawful'], unreachable: ['escalated', 'lawful'], escalated: ['notified', 'acknowledged', 'claimed_fixed', 'verifying', 'unreachable'], closed: ['relapsed'],
};
const dueDays = { new: 1, attributed: 2, lawful: 2, relapsed: 2, unreachable: 3, notified: 14, acknowledged: 14, escalated: 14, claimed_fixed: 1 };
const quiet = (family) => (family === 'mirai' ? 7 : 14);
const isOpen = (s) => s !== 'clean' && s !== 'closed';
const told = ['new', 'attributed', 'lawful', 'notified'];
const lives = {
  new: ['new'], attributed: ['new', 'attributed'], lawful: ['new', 'attributed', 'lawful'], notified: told, acknowledged: [...told, 'acknowledged'], claimed_fixed: [...told, 'acknowledged', 'claimed_fixed'], verifying: [...told, 'acknowledged', 'claimed_fixed', 'verifying'],
  clean: [...told, 'verifying', 'clean'], relapsed: [...told, 'verifying', 'clean', 'relapsed'], unreachable: [...told, 'unreachable'], escalated: [...told, 'unreachable', 'escalated'], closed: ['new', 'attributed', 'closed'],
};
const plan = { attributed: 5, notified: 12, lawful: 4, verifying: 8, clean: 9, acknowledged: 6, relapsed: 4, escalated: 3, unreachable: 3, claimed_fixed: 3, closed: 4, new: 2 };
const families = ['mirai', 'mirai', 'mirai', 'gafgyt', 'mozi', 'mirai', 'qakbot', ''];
const devices = ['camera', 'router', 'recorder', 'camera', 'router', 'pc', '', 'nas'];
const desk = ['abuse:suzuki', 'abuse:mori'];
const sources = ['telescope', 'shadowserver', 'partner-isp'];
const why = {
  new: (c) => `seen by ${sources[c.k % 3]}`, attributed: () => 'unique', lawful: () => 'sender-by-log', notified: () => 'mail', acknowledged: () => '照会番号の確認', claimed_fixed: () => 'ポータルで対処済みと連絡', verifying: () => 'no sign for 24h0m0s after notified',
  clean: (c) => `no sign from any source for ${quiet(c.family) * 24}h0m0s`, relapsed: (c) => `seen by ${sources[c.k % 3]}`, unreachable: () => 'mail: 550 5.1.1 unknown user', escalated: () => '書面に切り替え', closed: () => '情報源の誤りと確認',
};
const who = { acknowledged: 'sakimori', claimed_fixed: 'sakimori', escalated: 'abuse:mori', closed: 'abuse:suzuki' };

export const cases = [];
const histories = new Map();
const dueOf = (c) => (c.state === 'verifying' ? c.seen + quiet(c.family) * DAY : dueDays[c.state] ? c.changed + dueDays[c.state] * DAY : 0);
{
  let k = 0;
  const order = [];
  for (const [state, n] of Object.entries(plan)) for (let i = 0; i < n; i++) order.push({ state, r: hash('order', state, i) });
  // Those of the month before, so that there is something to compare with.
  for (let i = 0; i < 34; i++) order.push({ state: i % 9 === 4 ? 'closed' : 'clean', r: -1 - i, old: true });
  order.sort((a, b) => a.r - b.r);
  for (const { state, old } of order) {
    k++;
    const c = { k, state, family: families[Math.floor(hash('fam', k) * families.length)], device: devices[Math.floor(hash('dev', k) * devices.length)] };
    const life = lives[state];
    // What time brings by itself isn't late: only people are.
    const span = (state === 'verifying' ? quiet(c.family) - 1.2 : old ? 24 : (dueDays[state] ?? 10)) * DAY;
    let t = began - (old ? 26 * DAY : 0) - (k % 9 === 0 && dueDays[state] ? 1.02 + hash('age', k) * 0.5 : 0.05 + hash('age', k) * 0.9) * span;
    const times = [];
    for (let i = life.length - 1; i >= 0; i--) {
      times[i] = t;
      const s = life[i - 1];
      t -= s === 'new' ? (8 + hash('n', k) * 40) * MINUTE : s === 'verifying' ? quiet(c.family) * DAY : s === 'clean' ? (2 + hash('cl', k) * 6) * DAY : (4 + hash(s ?? '', k) * 44) * HOUR;
    }
    c.opened = times[0];
    c.changed = times.at(-1);
    c.seen = state === 'relapsed' ? c.changed : Math.min(began, state === 'verifying' ? c.changed - DAY : state === 'clean' ? c.changed - quiet(c.family) * DAY : c.changed + (began - c.changed) * hash('seen', k) * 0.9);
    c.id = `C-2026-${String(60 + k).padStart(6, '0')}`;
    c.subject = `S-${sha('subject', k).slice(0, 12)}`;
    c.assignee = hash('ass', k) > 0.45 ? ['suzuki', 'mori', 'demo'][k % 3] : '';
    c.held = isOpen(state) && k % 23 === 5;
    c.reason = state === 'closed' ? '情報源の誤りと確認' : '';
    c.merged = '';
    const h = life.map((s, i) => ({ at: times[i], who: who[s] ?? (s === 'lawful' || s === 'notified' ? desk[k % 2] : 'sakimori'), what: s, why: why[s](c) }));
    if (c.assignee) h.push({ at: times[Math.min(1, times.length - 1)] + 20 * MINUTE, who: desk[k % 2], what: 'assigned', why: `${c.assignee}: 当番` });
    if (hash('sg', k) > 0.5) h.push({ at: c.opened + 3 * HOUR, who: 'sakimori', what: 'sign', why: `seen by ${sources[(k + 1) % 3]}` });
    if (k % 7 === 2) h.push({ at: c.changed + 30 * MINUTE, who: desk[(k + 1) % 2], what: 'note', why: '電話で機種を確認。再起動の手順を案内済み。' });
    if (c.held) h.push({ at: c.changed + HOUR, who: desk[0], what: 'held', why: '医療機関の回線のため、送信前に法務へ相談' });
    histories.set(c.id, h.filter((e) => e.at <= began).sort((a, b) => a.at - b.at));
    cases.push(c);
  }
}
const find = (id) => cases.find((c) => c.id === id);
const shape = (c) => {
  const due = dueOf(c);
  return {
    id: c.id, subject: c.subject, state: c.state, words: words[c.state], family: c.family, device: c.device, opened: iso(c.opened), changed: iso(c.changed), seen: iso(c.seen), due: due && isOpen(c.state) ? iso(due) : null, overdue: !!due && isOpen(c.state) && due < now(),
    notices: histories.get(c.id).filter((e) => e.what === 'notified').length, assignee: c.assignee, held: c.held, reason: c.reason, merged: c.merged, open: isOpen(c.state), next: [...next[c.state], ...(c.state === 'closed' ? [] : ['closed'])],
  };
};
const event = (c, user, what, reason) => {
  histories.get(c.id).push({ at: now(), who: user, what, why: reason });
  write('change', user, { case: c.id, what, why: reason });
};

const verdicts = {
  unique: text('同じ契約者が、時刻のずれの範囲全体を通じて使っていました。', 'One subscriber had it over the whole interval.'),
  unique_with_skew: text('一人の契約者だけが範囲に触れています。時刻が 41 秒を超えてずれていれば変わります。', 'One subscriber alone touches the interval; it would change with more than 41 s of skew.'),
  ambiguous: text('時刻のずれの範囲に複数の利用者がいます。', 'Several had the address within the doubt about the time.'),
  expired: text('その時刻の記録がありません。', 'The log has nothing of that time.'),
  foreign: text('自社のアドレスではありません。', "It isn't an address of ours."),
  no_port: text('共有アドレスで、ポートが分かりません。', "The address is shared, and the port isn't told."),
};
const doubts = { unique_with_skew: text('終了の記録が失われ、次の利用開始から推定しています。', 'The end was lost, and concluded from the next beginning.'), ambiguous: verdicts.ambiguous, expired: verdicts.expired, foreign: verdicts.foreign, no_port: verdicts.no_port };
const sign = (name, n, at, family, verdict, extra = {}) => ({
  id: `${sources[n % 3]}:${sha('sign', name, n).slice(0, 10)}`, source: sources[n % 3], claim: ['infected', 'attacking', 'exposed'][n % 3], family, at: iso(at), came: iso(at + (n % 3 === 0 ? MINUTE : 9 * HOUR)), verdict, verdict_words: verdicts[verdict], doubt: doubts[verdict] ?? null, mediated: false, withdrawn: false, ...extra,
});
const signsOf = (c) => [sign(c.id, c.k, c.opened - 4 * MINUTE, c.family, c.k % 4 === 1 ? 'unique_with_skew' : 'unique'), ...(c.seen > c.opened + HOUR ? [sign(c.id, c.k + 1, c.seen, c.family, 'unique')] : []), ...(c.state === 'closed' ? [sign(c.id, c.k + 3, c.opened, '', 'unique', { withdrawn: true })] : [])].reverse();
const nobody = Array.from({ length: 23 }, (_, i) => sign('nobody', i, began - i * 7.3 * HOUR - HOUR, families[i % 8], ['ambiguous', 'no_port', 'expired', 'ambiguous', 'foreign', 'no_port'][i % 6], i % 5 === 4 ? { mediated: true } : {}));

export const notices = [];
const channelWords = { mail: text('メール', 'mail'), letter: text('書面', 'letter'), portal: text('ポータル', 'portal'), webhook: text('SMS・CRM', 'SMS or CRM') };
const noticeWords = {
  proposed: text('承認を待っています。', 'To be approved.'), approved: text('承認されました。次の送信で送られます。', 'Approved; goes out with the next sending.'), sending: text('送信中です。', 'Being sent.'), in_doubt: text('送信の途中で止まりました。送られたかもしれません。', 'Sending was interrupted: it may have gone out.'), sent: text('中継サーバーが受け取りました。', 'The next hop took it.'),
  delivered: text('届いたことが確認されています。', 'Something says that it arrived.'), bounced: text('戻ってきました。', 'It came back.'), failed: text('送られませんでした。', 'It never went out.'), unprintable: text('宛名に印刷できない文字があります。', 'The font lacks letters of the name.'), withdrawn: text('取り下げました。', 'Withdrawn.'),
};
const notice = (c, n, channel, state, at, extra = {}) => ({
  id: `N-${sha('notice', c.id, n).slice(0, 10)}`, case: c.id, subject: c.subject, channel, template: { family: c.family || 'mirai', device: c.device || 'unknown' }, language: '', reference: String(BigInt(`0x${sha('ref', c.id, n).slice(0, 12)}`) % 10n ** 12n).padStart(12, '0').replace(/(....)(....)(....)/, '$1 $2 $3'), state, words: noticeWords[state], reason: '', attempts: state === 'proposed' ? 0 : 1,
  due: null, batch: channel === 'letter' && state !== 'proposed' ? 'L-2026-11' : '', rule: ['proposed', 'approved'].includes(state) ? '' : 'sender-by-log', receipt: '', proposer: desk[c.k % 2], proposed: iso(at - HOUR), changed: iso(at), sent: ['sent', 'delivered', 'bounced'].includes(state) ? iso(at) : null, ...extra,
});
for (const c of cases) {
  const at = histories.get(c.id).find((e) => e.what === 'notified')?.at;
  if (at) notices.push(notice(c, 0, 'mail', ['unreachable', 'escalated'].includes(c.state) ? 'bounced' : ['acknowledged', 'claimed_fixed', 'verifying', 'clean'].includes(c.state) ? 'delivered' : 'sent', at, ['unreachable', 'escalated'].includes(c.state) ? { reason: '550 5.1.1 unknown user' } : {}));
  if (c.state === 'escalated') notices.push(notice(c, 1, 'letter', 'sent', c.changed));
  if (c.state === 'unreachable') notices.push(notice(c, 1, 'letter', 'proposed', c.changed));
  if (c.state === 'lawful') notices.push(notice(c, 0, 'mail', c.k % 2 ? 'proposed' : 'approved', c.changed + HOUR));
}
const doubtful = notices.find((n) => n.state === 'sent' && find(n.case).state === 'notified');
if (doubtful) Object.assign(doubtful, { state: 'in_doubt', words: noticeWords.in_doubt, sent: null, reason: 'connection lost after DATA' });
const body = (n, name) => `${name} 様\n\nいつも当社のサービスをご利用いただき、ありがとうございます。\n\nお客様の回線につながっている${{ camera: 'ネットワークカメラ', router: 'ルーター', recorder: '録画機', nas: 'NAS', pc: 'パソコン' }[n.template.device] ?? '機器'}が、マルウェア(${n.template.family})に感染しているおそれがあります。\n\n1. 機器の電源を切り、10秒待ってから入れ直してください。\n2. 管理画面のパスワードを、ほかで使っていないものに変えてください。\n3. ファームウェアを最新にしてください。\n\nこのお知らせが本物かどうかは、当社のホームページから次の照会番号で確かめられます。\nこのメールにはリンクも添付もありません。\n\n照会番号  ${n.reference}\n`;
const pdf = (line) => {
  const stream = `BT /F1 14 Tf 60 760 Td (${line}) Tj ET`;
  const parts = ['<< /Type /Catalog /Pages 2 0 R >>', '<< /Type /Pages /Kids [3 0 R] /Count 1 >>', '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>', `<< /Length ${stream.length} >>\nstream\n${stream}\nendstream`, '<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>'];
  let out = '%PDF-1.4\n';
  const at = parts.map((p, i) => ((out += ''), [out.length, (out += `${i + 1} 0 obj\n${p}\nendobj\n`)][0]));
  const start = out.length;
  out += `xref\n0 6\n0000000000 65535 f \n${at.map((o) => `${String(o).padStart(10, '0')} 00000 n \n`).join('')}trailer << /Size 6 /Root 1 0 R >>\nstartxref\n${start}\n%%EOF\n`;
  return Buffer.from(out, 'latin1').toString('base64');
};
const preview = (n, name) => (n.channel === 'letter' ? { type: 'application/pdf', subject: '', text: '', html: '', pdf: pdf(`Letter ${n.reference}`), masked: !name } : { type: 'text/plain', subject: '【重要】お使いの機器のマルウェア感染について', text: body(n, name || '●●●●'), html: '', pdf: '', masked: !name });

// The gate.
const rule = (id) => guideline.rules.find((r) => r.id === id);
const decision = (id, outcome, at, lasts, measure, asker, purpose, by, subjects, extra = {}) => ({
  id, outcome, at: iso(at), until: iso(at + lasts), measure, purpose, who: asker, second: '', rule: by, title: rule(by).title, edition: rule(by).edition, source: rule(by).source, subjects,
  proofs: rule(by).conditions.filter((c) => !c.for.length || c.for.includes(measure)).map((c) => ({ condition: c.name, verified: c.check.startsWith('finding') || c.check === 'consent' || c.check === 'terms', by: c.check.startsWith('finding') || c.check === 'consent' || c.check === 'terms' ? '' : asker })), ...extra,
});
const open = cases.filter((c) => ['lawful', 'notified', 'acknowledged'].includes(c.state));
export const grants = [
  decision('G-000041', 'granted', began - 5 * HOUR, 72 * HOUR, 'notify', 'abuse:suzuki', '感染した録画機の利用者への注意喚起', 'sender-by-log', [open[0].subject]),
  decision('G-000042', 'granted', began - 69 * HOUR, 72 * HOUR, 'name_subscriber', 'abuse:mori', '電話での機種の確認', 'sender-by-log', [open[1].subject]),
  decision('G-000043', 'granted', began - 2 * HOUR, 24 * HOUR, 'filter', 'legal:hayashi', '権威DNSへの大量照会の遮断', 'facilities-attack', []),
  decision('G-000044', 'granted', began - 26 * HOUR, 720 * HOUR, 'match_names', 'legal:hayashi', 'C&Cリストとの機械的な照合', 'consent-terms', [], { second: 'legal:ito' }),
];
export const waiting = [
  decision('R-000051', 'waiting', began - 40 * MINUTE, 24 * HOUR, 'block', 'abuse:suzuki', 'C&C名前解決要求の遮断(リスト 2026-11-24 版)', 'consent-terms', []),
  decision('R-000052', 'waiting', began - 3 * HOUR, 24 * HOUR, 'block', 'admin:demo', '発生中の攻撃に合致する通信の遮断', 'facilities-attack', []),
];
const judge = (measure, facts, scope, only, trying) => {
  const all = guideline.rules.filter((r) => r.measures.includes(measure) && (!only || r.id === only)).map((r) => {
    const missing = r.conditions.filter((c) => !c.for.length || c.for.includes(measure)).filter((c) => {
      if (c.check === 'features') return !scope.features?.length;
      if (c.check === 'window') return !scope.window;
      if (c.check === 'receiver') return !scope.to?.length;
      if (c.check === 'terms' || c.check === 'consent') return !(trying && facts[c.fact]);
      return facts[c.fact] === undefined || facts[c.fact] === '';
    });
    const lacks = missing.map((c) => ({ condition: c.name, missing: c.missing, satisfy: c.satisfy, detail: text('', '') }));
    if (!r.verified) lacks.unshift({ condition: 'verified', missing: text('この規則は出典と照合されていません', "the rule wasn't compared with its source"), satisfy: text('法務が原典と照合し、運用の規則ファイルに記録してください', "have the legal desk compare it, and say so in the operator's file"), detail: text('', '') });
    return { r, lacks };
  });
  const best = all.find((x) => !x.lacks.length) ?? all.sort((a, b) => a.lacks.length - b.lacks.length)[0];
  if (!best) return { outcome: 'refused', id: '', rule: '', until: null, text: text('認められません', 'Refused'), missing: [{ condition: 'rule', missing: text('この措置を認める規則が、この時点では存在しません', 'no rule in force speaks of this measure'), satisfy: text('規則とその期間を確認してください', 'see the rules and their dates'), detail: null }] };
  const until = iso(now() + best.r.limits.longest_seconds * 1000);
  if (best.lacks.length) return { outcome: 'refused', id: '', rule: best.r.id, until: null, text: text('認められません', 'Refused'), missing: best.lacks };
  const two = best.r.four_eyes.includes(measure);
  return { outcome: two ? 'waiting' : 'granted', id: '', rule: best.r.id, until, text: two ? text('二人目の同意が要ります。', 'A second person must agree.') : text('認められます。', 'It is granted.'), missing: [] };
};

// The ledger, chained as the real one is.
const entries = [];
const kindWords = { grant: text('許可', 'grant'), refusal: text('拒否', 'refusal'), revocation: text('許可の終了', 'end of a grant'), 'look-up': text('閲覧', 'look'), notice: text('通知', 'notice'), approval: text('承認', 'approval'), change: text('案件の変更', 'change of a case'), configuration: text('設定', 'setting'), consent: text('同意', 'consent'), export: text('書き出し', 'export'), 'sign-in': text('ログイン', 'sign-in'), source: text('情報源', 'source') };
const write = (kind, by, what, personal = 'none', at = now()) => {
  const prev = entries.at(-1)?.hash ?? '0'.repeat(64);
  const seq = entries.length + 1;
  entries.push({ seq, at: iso(at), kind, words: kindWords[kind] ?? text(kind, kind), who: by, what, personal, hash: sha(prev, seq, at, kind, by, JSON.stringify(what)) });
};
{
  const lines = [];
  for (const c of cases) for (const e of histories.get(c.id)) lines.push([e.at, 'change', e.who, { case: c.id, what: e.what, why: e.why }]);
  for (const g of grants) lines.push([Date.parse(g.at), 'grant', g.who, { id: g.id, measure: g.measure, rule: g.rule, purpose: g.purpose, outcome: 'granted' }, 'kept']);
  for (const g of waiting) lines.push([Date.parse(g.at), 'approval', g.who, { id: g.id, measure: g.measure, rule: g.rule, purpose: g.purpose, outcome: 'waiting' }, 'kept']);
  for (const n of notices) if (n.sent) lines.push([Date.parse(n.sent), 'notice', n.proposer, { id: n.id, case: n.case, to: 'sent', channel: n.channel, reference: n.reference }, 'kept']);
  const no = [['name_subscriber', 'sender-by-log', 'abuse:mori', '電話での確認'], ['filter', 'facilities-foreseen', 'operator:kato', '混雑の予防'], ['share', '', 'abuse:suzuki', '提携先への提供'], ['store_hits', 'consent-hits', 'abuse:suzuki', '照合結果の保存'], ['name_subscriber', 'sender-by-log', 'abuse:suzuki', '注意喚起の準備'], ['notify', 'consent-hits', 'abuse:mori', '注意喚起'], ['share_history', 'association-history', 'legal:hayashi', '協会への提供']];
  no.forEach(([measure, by, asker, purpose], i) => {
    const missing = judge(measure, i % 2 ? { harm: 'x' } : {}, {}, by || 'none', false).missing;
    lines.push([began - (i * 3.4 + 0.6) * DAY, 'refusal', asker, { id: `D-0000${30 + i}`, measure, rule: by, purpose, outcome: 'refused', missing }, 'kept']);
  });
  for (let i = 0; i < 34; i++) lines.push([began - hash('look', i) * 28 * DAY, 'look-up', i % 4 ? desk[i % 2] : 'legal:hayashi', { subject: cases[i % 40].subject, of: i % 3 ? 'person' : 'contract', rule: i % 5 ? 'sender-by-log' : 'joint-attacker', why: '注意喚起' }]);
  for (let i = 0; i < 26; i++) lines.push([began - hash('in', i) * 29 * DAY, 'sign-in', ['abuse:suzuki', 'abuse:mori', 'legal:hayashi', 'operator:kato'][i % 4], { what: i === 7 ? 'failed' : 'signed in' }]);
  for (let i = 0; i < 5; i++) lines.push([began - i * 5 * DAY - HOUR, 'consent', 'consents', { what: i % 2 ? 'withdrawn' : 'given', count: 1 + i }, 'kept']);
  lines.sort((a, b) => a[0] - b[0]).forEach(([at, kind, by, what, personal]) => write(kind, by, what, personal, at));
}
const heads = () => [1, 2, 3].map((d) => entries.filter((e) => Date.parse(e.at) < began - d * DAY).at(-1)).filter(Boolean).map((e) => ({ seq: e.seq, at: e.at, key: 'k7Qm2v0Xv1sD8yZ4tE6nq3WbC5hLr9pJ0aGfUuIoYxM=' }));

// Orders about many cases.
const bulks = [];
const hold = Number(process.env.MOCK_HOLD ?? 20) * 60_000;
const ripe = () => {
  for (const b of bulks) {
    if (b.state !== 'waiting' || Date.parse(b.at) > now()) continue;
    b.state = 'done';
    for (const x of b.cases) {
      const c = find(x.id);
      const refused = c.held && b.action !== 'release' ? '保留中です' : b.action === 'release' && !c.held ? '保留されていません' : '';
      Object.assign(x, { result: refused ? 'refused' : 'done', reason: refused });
      if (!refused) act(c, b.action, b.to, b.who, b.why);
    }
  }
};
const act = (c, action, to, user, reason) => {
  if (action === 'move') Object.assign(c, { state: to, changed: now(), reason: to === 'closed' ? reason : '' });
  if (action === 'assign') c.assignee = to;
  if (action === 'hold' || action === 'release') c.held = action === 'hold';
  event(c, user, { move: to, assign: 'assigned', hold: 'held', release: 'released' }[action], action === 'assign' ? `${to}: ${reason}` : reason);
};

const flowNames = { opened: 'new', notified: 'notified', acknowledged: 'acknowledged', cleaned: 'clean', relapsed: 'relapsed', unreachable: 'unreachable' };
const flow = (list, from, to) => Object.fromEntries(Object.entries(flowNames).map(([name, what]) => [name, list.reduce((n, c) => n + histories.get(c.id).filter((e) => e.what === what && e.at >= from && e.at < to).length, 0)]));
const summary = (from, to) => {
  const all = cases.map(shape);
  const groups = (key) => [...new Set(cases.map((c) => c[key]))].map((name) => { const of = cases.filter((c) => c[key] === name); return { name, open: of.filter((c) => isOpen(c.state)).length, ...flow(of, from, to) }; }).sort((a, b) => b.open - a.open || a.name.localeCompare(b.name));
  const days = [];
  for (let t = Math.floor(from / DAY) * DAY; t < Math.min(to, now()); t += DAY) days.push({ at: iso(t), ...flow(cases, Math.max(t, from), Math.min(t + DAY, to)) });
  return { from: iso(from), to: iso(to), states: states.map((s) => ({ state: s, words: words[s], count: all.filter((c) => c.state === s).length })), open: all.filter((c) => c.open).length, overdue: all.filter((c) => c.overdue).length, held: all.filter((c) => c.held).length, unassigned: all.filter((c) => c.open && !c.assignee).length, nobody: nobody.length, flow: flow(cases, from, to), families: groups('family'), devices: groups('device'), days };
};
const page = (list, q, name) => {
  const limit = Math.min(500, Number(q.get('limit') || 50));
  const at = Number(q.get('cursor') || 0);
  return { [name]: list.slice(at, at + limit), total: list.length, next: at + limit < list.length ? String(at + limit) : '' };
};

const refuse = (status, code, ja, en) => ({ status, code, ja, en });
const missing = refuse(404, 'not_found', '見つかりません。', 'There is nothing here by that name.');

/** Answers one request, or gives undefined when the path isn't the office's. A
 *  refusal is {refusal}. user acts as "admin:demo". */
export const office = (method, path, q, body) => {
  ripe();
  const user = 'admin:demo';
  const to = Date.parse(q.get('to') ?? '') || now();
  const from = Date.parse(q.get('from') ?? '') || to - 30 * DAY;
  const post = method === 'POST';
  let m;
  if (path === '/cases' && !post) {
    const is = (name, value) => !q.get(name) || (q.get(name) === '-' ? !value : q.get(name) === value);
    const list = cases.map(shape).filter((c) => (!q.get('state') || q.get('state').split(',').includes(c.state)) && (!q.get('open') || c.open) && is('family', c.family) && is('device', c.device) && is('assignee', c.assignee) && (!q.get('held') || c.held) && (!q.get('overdue') || c.overdue) && (!q.get('q') || c.id.startsWith(q.get('q').toUpperCase()) || c.subject.startsWith(q.get('q'))));
    list.sort((a, b) => (a.due ?? '9').localeCompare(b.due ?? '9') || a.id.localeCompare(b.id));
    return page(list, q, 'cases');
  }
  if (path === '/cases/summary') return summary(from, to);
  if (path === '/signs/nobody') return page(nobody, q, 'signs');
  if (path === '/cases/bulk' && !post) return { bulks: [...bulks].reverse() };
  if (path === '/cases/bulk') {
    const b = { id: `B-${sha(now()).slice(0, 8)}`, action: body.action, to: body.to ?? '', why: body.why, who: user, asked: iso(now()), at: iso(now() + hold), state: 'waiting', cases: body.cases.map((id) => ({ id, result: '', reason: '' })) };
    bulks.push(b);
    return { bulk: b };
  }
  if ((m = /^\/cases\/bulk\/([^/]+)\/stop$/.exec(path))) {
    const b = bulks.find((x) => x.id === m[1]);
    if (!b || b.state !== 'waiting') return { refusal: missing };
    b.state = 'stopped';
    return { bulk: b };
  }
  if ((m = /^\/cases\/([^/]+)(?:\/(\w+))?$/.exec(path))) {
    const c = find(decodeURIComponent(m[1]));
    if (!c) return { refusal: missing };
    const mine = grants.filter((g) => g.subjects.includes(c.subject) && Date.parse(g.until) > now());
    const history = histories.get(c.id);
    if (!m[2])
      return {
        case: shape(c), history: history.map((e, i) => ({ n: i + 1, at: iso(e.at), who: e.who, what: e.what, why: e.why })), signs: signsOf(c), notices: notices.filter((n) => n.case === c.id), grants: mine, why: text(`${words[c.state].ja}${iso(c.changed).slice(0, 10)} に${history.filter((e) => states.includes(e.what)).at(-1).who}が変えました。`, `${words[c.state].en[0].toUpperCase()}${words[c.state].en.slice(1)}, since ${iso(c.changed).slice(0, 10)}.`),
        deadlines: dueOf(c) && isOpen(c.state) ? [{ id: 'step', name: text('次の対応', 'Next step'), due: iso(dueOf(c)), source: text('不正利用対応の運用規則(既定)', "the desk's own rules (as delivered)"), over: dueOf(c) < now(), done: null, verified: true }] : [],
      };
    if (!post) return undefined;
    if (m[2] === 'ask') {
      const a = judge(body.measure, { finding: c.id, ...body.facts }, { subjects: [c.subject] }, '', false);
      const id = a.outcome === 'refused' ? '' : `G-${String(45 + grants.length).padStart(6, '0')}`;
      write(a.outcome === 'refused' ? 'refusal' : 'grant', user, { id, measure: body.measure, rule: a.rule, purpose: body.purpose, outcome: a.outcome, missing: a.missing }, 'kept');
      if (a.outcome === 'granted') {
        const lasts = Number(process.env.MOCK_GRANT ?? 1800) * 60_000;
        grants.push(decision(id, 'granted', now(), lasts, body.measure, user, body.purpose, a.rule, [c.subject]));
        return { ...a, id, until: iso(now() + lasts) };
      }
      return { ...a, id };
    }
    if (m[2] === 'identity') {
      const g = mine.find((x) => x.id === body.grant && x.measure === 'name_subscriber');
      if (!g) return { refusal: refuse(403, 'no_grant', 'この加入者を表示する有効な許可がありません。根拠を選んで求めてください。', 'No grant in force allows to name this subscriber: choose a basis and ask.') };
      write('look-up', user, { subject: c.subject, of: 'person', rule: g.rule, why: g.purpose });
      return { contract: `K-${sha('contract', c.k).slice(0, 8).toUpperCase()}`, person: { name: ['見本 花子', '見本 太郎', '見本 次郎'][c.k % 3], mail: `mihon${c.k}@example.jp`, phone: '03-0000-0000', postal: { code: '100-0000', lines: ['東京都千代田区見本町 1-2-3', `見本荘 ${100 + c.k}`] } }, grant: g.id, rule: g.rule, until: g.until };
    }
    if (m[2] === 'notices') {
      const n = notice(c, notices.length, body.channel || 'mail', 'proposed', now(), { proposer: user });
      notices.push(n);
      return { notice: n };
    }
    if (c.held && ['move', 'merge'].includes(m[2])) return { refusal: refuse(422, 'held', '案件は保留中です。先に保留を解いてください。', 'The case is held: release it first.') };
    if (m[2] === 'move') act(c, 'move', body.to, user, body.why);
    if (m[2] === 'assign') act(c, 'assign', body.to, user, body.why);
    if (m[2] === 'hold') act(c, body.held ? 'hold' : 'release', '', user, body.why);
    if (m[2] === 'note') event(c, user, 'note', body.text);
    if (m[2] === 'merge') {
      const into = find(body.into);
      if (!into || into === c) return { refusal: refuse(422, 'refused', '統合先の案件がありません。', 'There is no such case to merge into.') };
      Object.assign(c, { merged: into.id, state: 'closed', changed: now(), reason: `merged into ${into.id}` });
      event(c, user, 'closed', `merged into ${into.id}: ${body.why}`);
      event(into, user, 'merged', `${c.id}: ${body.why}`);
    }
    return { case: shape(c) };
  }
  if (path === '/who') return body.port ? { verdict: 'unique', words: verdicts.unique, pseudonym: cases[3].subject, margin: '3m12s', evidence: [{ source: 'radius-tokyo', from: iso(now() - 9 * HOUR), to: iso(now() - HOUR), rule: '', text: text('この間ずっと記録があります。', 'Vouched for over all of it.') }], contract: '' } : { verdict: 'no_port', words: verdicts.no_port, pseudonym: '', margin: '', evidence: [], contract: '' };
  if (path === '/lawful/rules') return guideline;
  if (path === '/lawful/ask') return judge(body.measure, body.facts ?? {}, body.scope ?? {}, body.rule, body.try);
  if (path === '/lawful/grants') return { grants: grants.filter((g) => Date.parse(g.until) > now()), waiting };
  if ((m = /^\/lawful\/grants\/([^/]+)\/(approve|decline|revoke)$/.exec(path))) {
    const list = m[2] === 'revoke' ? grants : waiting;
    const i = list.findIndex((g) => g.id === m[1]);
    if (i < 0) return { refusal: missing };
    if (m[2] !== 'revoke' && list[i].who === user) return { refusal: refuse(403, 'own', '自分の求めには同意できません。', 'Nobody agrees to their own request.') };
    const [g] = list.splice(i, 1);
    const done = { ...g, outcome: { approve: 'granted', decline: 'declined', revoke: 'revoked' }[m[2]], second: m[2] === 'revoke' ? g.second : user };
    if (m[2] === 'approve') grants.push({ ...done, at: iso(now()), until: iso(now() + 24 * HOUR) });
    write(m[2] === 'revoke' ? 'revocation' : 'approval', user, { id: g.id, measure: g.measure, rule: g.rule, outcome: done.outcome, why: body.why ?? '' }, 'kept');
    return { decision: done };
  }
  if (path === '/lawful/consents')
    return {
      terms: [
        { version: '2024-04', ground: 'comprehensive_consent', from: '2024-04-01T00:00:00Z', purposes: ['cc_block'], opt_out: true, otherwise_unchanged: true, limited: true, notices: [{ at: '2024-02-01T00:00:00Z', channel: 'web', reference: 'example.jp/terms/2024-04' }, { at: '2024-02-15T00:00:00Z', channel: 'mail', reference: '全契約者あて' }] },
        { version: '2026-06', ground: 'individual_consent', from: '2026-06-01T00:00:00Z', purposes: ['cc_hits'], opt_out: true, otherwise_unchanged: false, limited: true, notices: [] },
      ],
      counts: [{ purpose: 'cc_block', consenting: 1_204_311, outdated: 0, declined: 8_412 }, { purpose: 'cc_hits', consenting: 20_118, outdated: 1_530, declined: 402 }],
    };
  if (path === '/ledger' && !post) {
    const kinds = q.get('kind')?.split(',').filter(Boolean) ?? [];
    return page([...entries].reverse().filter((e) => (!kinds.length || kinds.includes(e.kind)) && (!q.get('who') || e.who === q.get('who')) && Date.parse(e.at) >= from && Date.parse(e.at) < to), q, 'entries');
  }
  if (path === '/ledger/summary') {
    const seen = entries.filter((e) => Date.parse(e.at) >= from && Date.parse(e.at) < to);
    const refusals = new Map();
    for (const e of seen) if (e.kind === 'refusal') refusals.set(`${e.what.rule} ${e.what.measure}`, (refusals.get(`${e.what.rule} ${e.what.measure}`) ?? 0) + 1);
    return { kinds: Object.keys(kindWords).map((kind) => ({ kind, words: kindWords[kind], count: seen.filter((e) => e.kind === kind).length })).filter((k) => k.count), last: (({ seq, at, hash: h }) => ({ seq, at, hash: h }))(entries.at(-1)), heads: heads(), refusals: [...refusals].map(([k, count]) => ({ rule: k.split(' ')[0], measure: k.split(' ')[1], count })) };
  }
  if (path === '/ledger/verify') return { entries: entries.length, last: entries.length, until: entries.at(-1).at, private: entries.filter((e) => e.personal === 'kept').length, erased: 0, heads: heads().length, faults: [], took_ms: 12 };
  if (path === '/ledger/export') {
    write('export', user, { what: 'ledger', format: q.get('format') });
    return { file: q.get('format') === 'csv' ? 'seq,at,kind,who,hash\r\n' + entries.map((e) => [e.seq, e.at, e.kind, e.who, e.hash].join(',')).join('\r\n') : entries.map((e) => JSON.stringify(e)).join('\n') };
  }
  if (path === '/notices/channels') return { channels: ['mail', 'letter', 'portal', 'webhook'].map((channel) => ({ channel, words: channelWords[channel], configured: channel !== 'webhook', reason: channel === 'webhook' ? text('設定に webhook がありません', 'no webhook is configured') : null })), policy: {} };
  if (path === '/notices/letters') return { batch: 'L-2026-11-26', letters: notices.filter((n) => n.channel === 'letter' && n.state === 'approved').length, unprintable: 0, later: 0 };
  if (path === '/notices') return page(notices.filter((n) => (!q.get('case') || n.case === q.get('case')) && (!q.get('state') || n.state === q.get('state'))), q, 'notices');
  if ((m = /^\/notices\/([^/]+)(?:\/(\w+))?$/.exec(path))) {
    const n = notices.find((x) => x.id === m[1]);
    if (!n) return { refusal: missing };
    if (!m[2]) return { notice: n, history: [{ at: n.proposed, from: '', to: 'proposed', who: n.proposer, reason: '', said: '' }, ...(n.state === 'proposed' ? [] : [{ at: n.changed, from: 'proposed', to: n.state, who: 'sakimori', reason: n.reason, said: '' }])] };
    if (m[2] === 'preview') {
      if (!post) return preview(n, '');
      write('look-up', user, { subject: n.subject, of: 'person', rule: 'sender-by-log', why: 'preview' });
      return preview(n, '見本 花子');
    }
    if (m[2] === 'approve' && !grants.some((g) => g.measure === 'notify' && g.subjects.includes(n.subject) && Date.parse(g.until) > now())) {
      const a = judge('notify', { finding: n.case, ...body.facts }, {}, '', false);
      write(a.outcome === 'refused' ? 'refusal' : 'grant', user, { measure: 'notify', rule: a.rule, outcome: a.outcome, missing: a.missing }, 'kept');
      const lines = (l) => `\n${a.missing.map((x) => `- ${x.missing[l]}\n  → ${x.satisfy[l]}`).join('\n')}`;
      if (a.outcome === 'refused') return { refusal: refuse(422, 'refused', `認められません(notify)。${lines('ja')}`, `Refused (notify).${lines('en')}`) };
    }
    const become = { approve: 'approved', withdraw: 'withdrawn', resolve: body.sent ? 'sent' : 'failed', confirm: body.became }[m[2]];
    Object.assign(n, { state: become, words: noticeWords[become], reason: body.why ?? '', changed: iso(now()), sent: become === 'sent' ? iso(now()) : n.sent });
    write('notice', user, { id: n.id, case: n.case, to: become });
    return { notice: n };
  }
  return undefined;
};
