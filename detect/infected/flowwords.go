package infected

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/observe"
)

// idKinds are the kinds of finding, as ids have them.
var idKinds = [kinds]string{scans: "scan", called: "contact", takesPart: "part"}

// words puts what is said of a source into a finding.
func (d *Flows) words(s *source, k kind, state detect.State) detect.Finding {
	f := d.frame(s, k, state)
	switch k {
	case scans:
		s.scanWords(&f)
	case called:
		s.callWords(&f)
	case takesPart:
		s.partWords(&f)
	}
	if state == detect.Closed {
		f.Why.JA = fmt.Sprintf("%s の間、観測がないため終了しました。", hours(d.cfg.Quiet, "時間", "分")) + f.Why.JA
		f.Why.EN = fmt.Sprintf("Closed: nothing more was seen for %s. ", hours(d.cfg.Quiet, " hours", " minutes")) + f.Why.EN
	}
	return f
}

// frame is what all kinds of finding have in common.
func (d *Flows) frame(s *source, k kind, state detect.State) detect.Finding {
	l := &s.Said[k]
	f := detect.Finding{
		ID: idOf(s.Addr.Netip(), idKinds[k], l.Opened), Detector: "infected", Subject: s.Addr.String(), State: state, Severity: detect.Soon,
		Opened: time.Unix(0, l.Opened).UTC(), Changed: time.Unix(0, d.now).UTC(),
	}
	if state == detect.Closed {
		f.Changed = time.Unix(0, l.Last+int64(d.cfg.Quiet)).UTC()
		f.Closed = f.Changed
	}
	return f
}

// ended is a finding that ends for another reason than silence.
func (d *Flows) ended(s *source, k kind) detect.Finding {
	f := d.frame(s, k, detect.Closed)
	f.Changed = time.Unix(0, d.now).UTC()
	f.Closed = f.Changed
	f.Severity = detect.Note
	f.Title = detect.Textf("%s の検知を取り消しました", "The finding about %s is withdrawn", s.Addr)
	f.Evidence = []detect.Fact{{Key: "source", Value: "flow"}, {Key: "withdrawn", Value: "true"}}
	return f
}

// takenBack withdraws that a source scans.
func (d *Flows) takenBack(s *source) detect.Finding {
	f := d.ended(s, scans)
	f.Why = detect.Text{
		JA: "後から届いたフローにより、同じポートの多くの宛先と通信が成立していたことが分かりました。スキャンとは言えません。",
		EN: "Flows that came later show that it did reach many of the addresses on that port. That is no scan, and nothing is held against the address.",
	}
	return f
}

// noLonger ends what was noted with a consent that is gone.
func (d *Flows) noLonger(s *source) detect.Finding {
	f := d.words(s, called, detect.Closed)
	f.Changed = time.Unix(0, d.now).UTC()
	f.Closed = f.Changed
	f.Why = detect.Text{JA: "記録についての同意がなくなったため、観察を終えました。", EN: "The consent to contacts being kept is gone: it isn't watched any more."}
	return f
}

// scanWords says that a source scans.
//
// Confidence is the probability, by our own judgement, that a program on the line scans
// whose owner doesn't know of it. What is missing to 1 is mostly somebody who scans on
// purpose, a forged source where the network doesn't validate sources (BCP 38), and
// programs that look for peers:
//
//	TCP, 1,000 addresses or more / 100 or more / 25 or more   0.95 / 0.92 / 0.85
//	TCP on ports of common use alone, or by sampled flows     at most 0.80
//	UDP alone                                                 at most 0.60
func (s *source) scanWords(f *detect.Finding) {
	var names []string
	var all, failed, refused, good, packets uint64
	var off float64
	rate := uint32(1)
	tcp, rare, beyond := false, false, uint64(0)
	first, last := int64(1<<63-1), int64(0)
	list := slices.Clone(s.Ports)
	slices.SortFunc(list, func(a, b *tries) int {
		return 2*(int(a.Port)-int(b.Port)) + int(a.Proto) - int(b.Proto)
	})
	for _, p := range list {
		if !p.Open {
			continue
		}
		names = append(names, detect.PortName(p.Port, p.Proto))
		n, share := p.targets()
		all += n
		off = max(off, share)
		failed += uint64(p.Failed)   //nolint:gosec // counts
		refused += uint64(p.Refused) //nolint:gosec // counts
		good += uint64(p.Good)       //nolint:gosec // counts
		packets += p.Packets
		beyond += p.Beyond
		rate = max(rate, p.Rate)
		tcp = tcp || p.Proto == packet.TCP
		rare = rare || p.Proto == packet.TCP && !common(p.Port)
		first, last = min(first, p.First), max(last, p.Last)
	}
	switch {
	case all >= 1000:
		f.Confidence = 0.95
	case all >= 100:
		f.Confidence = 0.92
	default:
		f.Confidence = 0.85
	}
	if !rare || rate > 1 {
		f.Confidence = min(f.Confidence, 0.80)
	}
	if !tcp {
		f.Confidence, f.Severity = 0.60, detect.Note
	}
	said := strings.Join(names[:min(len(names), 4)], ", ")
	if n := len(names) - 4; n > 0 {
		said += fmt.Sprintf(" +%d", n)
	}
	f.Title = detect.Textf(
		"%s が %s 件のアドレスの %s へ接続を試み、ほぼすべて失敗しています",
		"%s tries to connect to %s addresses on %s, and fails on nearly all", s.Addr, detect.Grouped(all), said)
	f.Why = detect.Text{
		JA: fmt.Sprintf("直近の集計では宛先 %d 件に届かず、通信が成立したのは %d 件です。通信先を知るプログラムはこのようになりません。感染した機器が次の標的を探す動作です。", failed, good),
		EN: fmt.Sprintf("When it was last counted, it had failed on %d addresses and met %d. A program that knows whom it talks to doesn't do that: an infected device that looks for its next victims does.", failed, good),
	}
	if !tcp {
		f.Why.JA += "ただし UDP のみのため、P2P ソフトや計測の可能性が残ります。"
		f.Why.EN += " As it is UDP alone, a peer-to-peer program or a measurement remains possible."
	}
	if rate > 1 {
		f.Why.JA += fmt.Sprintf("1/%d のサンプリングのため、応答の有無は個々の宛先では分かりません。接続開始のパケットばかりが見えることから判断しています。", rate)
		f.Why.EN += fmt.Sprintf(" One packet in %d was sampled: of a single address it isn't known whether it answered; what counts is that hardly anything but first packets is seen.", rate)
	}
	f.Why.JA += "送信元の詐称は、送信元検証(BCP 38)のない網では否定できません。"
	f.Why.EN += " A forged source address can't be excluded where the network doesn't validate sources (BCP 38)."
	targets := detect.Fact{Key: "targets", Value: strconv.FormatUint(all, 10), Unit: "addresses"}
	switch {
	case rate > 1:
		targets.Error = fmt.Sprintf("a lower bound: one packet in %d was seen", rate)
	case off > 0:
		targets.Error = fmt.Sprintf("±%.1f %%", off*100)
	}
	f.Evidence = []detect.Fact{
		{Key: "source", Value: "flow"},
		{Key: "ports", Value: strings.Join(names, " ")},
		targets,
		{Key: "failed", Value: strconv.FormatUint(failed, 10), Unit: "addresses", Error: "in the last window, of the first 512 of each port"},
		{Key: "refused", Value: strconv.FormatUint(refused, 10), Unit: "addresses", Error: "of these, as far as answers are seen"},
		{Key: "met", Value: strconv.FormatUint(good, 10), Unit: "addresses", Error: "in the last window"},
		{Key: "packets", Value: strconv.FormatUint(packets, 10), Unit: "packets"},
		{Key: "first", Value: time.Unix(0, first).UTC().Format(time.RFC3339)},
		{Key: "last", Value: time.Unix(0, last).UTC().Format(time.RFC3339)},
		{Key: "family", Value: unknown},
	}
	if beyond > 0 {
		f.Evidence = append(f.Evidence, detect.Fact{Key: "not_followed", Value: strconv.FormatUint(beyond, 10), Unit: "tries", Error: "beyond 512 addresses in a window it isn't known what came of them"})
	}
}

// callWords says that a source talks to a C&C server, or tries to.
//
// Confidence is the probability, by our own judgement, that a program on the line does.
// Connections: 0.80 with two, 0.90 with five, 0.95 with twenty; 0.10 less on the web's
// ports, as a listed server may have pages that people read; 0.05 less where one
// direction alone was seen; 0.03 more where it is a sinkhole. Tries of which nothing
// came: 0.60.
func (s *source) callWords(f *detect.Finding) {
	list := slices.Clone(s.Calls)
	slices.SortFunc(list, func(a, b contact) int { return 2*a.Addr.Compare(b.Addr) + int(a.Port) - int(b.Port) })
	count, missed, best := 0, 0, 0.0
	family, sunk, entries, where := "", false, []string{}, []string{}
	first, last := int64(1<<63-1), int64(0)
	for _, c := range list {
		count, missed = count+c.Count, missed+c.Tries
		first, last = min(first, c.First), max(last, c.Last)
		entries = append(entries, c.Entry)
		where = append(where, fmt.Sprintf("%s %s", c.Addr, detect.PortName(c.Port, c.Proto)))
		switch {
		case family == "":
			family = c.Family
		case c.Family != "" && c.Family != family:
			family = unknown // several
		}
		sunk = sunk || c.Contact == observe.Sinkholed
		best = max(best, c.confidence())
	}
	if family == "" {
		family = unknown
	}
	ja, en := family, family
	if family == unknown {
		ja, en = "ファミリー不明", "family unknown"
	}
	f.Confidence = best
	if count > 0 {
		f.Title = detect.Text{
			JA: fmt.Sprintf("%s が C&C サーバーと %d 回通信しています(%s)", s.Addr, count, ja),
			EN: fmt.Sprintf("%s talked to a C&C server %d times (%s)", s.Addr, count, en),
		}
		f.Why = detect.Text{
			JA: "リストに載っている C&C サーバーとの通信が、時間を空けて繰り返し成立しています。",
			EN: "It talks to C&C servers of the list again and again, a while apart.",
		}
	} else {
		f.Severity = detect.Note
		f.Title = detect.Text{
			JA: fmt.Sprintf("%s が C&C サーバーへ %d 回接続を試みましたが、成立していません(%s)", s.Addr, missed, ja),
			EN: fmt.Sprintf("%s tried %d times to reach a C&C server, and nothing came of it (%s)", s.Addr, missed, en),
		}
		f.Why = detect.Text{
			JA: "リストに載っている C&C サーバーへの接続を繰り返し試みています。応答はなく、感染の疑いにとどまります。",
			EN: "It tries to reach C&C servers of the list again and again. As nothing is answered this is a suspicion, no more.",
		}
	}
	if sunk {
		f.Why.JA += "その一部は防御側が管理するサーバー(シンクホール)です。"
		f.Why.EN += " Some of them are sinkholes of defenders."
	}
	f.Evidence = []detect.Fact{
		{Key: "source", Value: "flow"},
		{Key: "family", Value: family},
		{Key: "servers", Value: strings.Join(where, ", "), Unit: fmt.Sprintf("%d servers", len(where))},
		{Key: "entries", Value: strings.Join(slices.Compact(slices.Sorted(slices.Values(entries))), " ")},
		{Key: "contacts", Value: strconv.Itoa(count), Unit: "connections", Error: "those within 30 s of each other count as one"},
		{Key: "attempts", Value: strconv.Itoa(missed), Unit: "tries"},
		{Key: "first", Value: time.Unix(0, first).UTC().Format(time.RFC3339)},
		{Key: "last", Value: time.Unix(0, last).UTC().Format(time.RFC3339)},
	}
}

func (c *contact) confidence() float64 {
	made, missed := c.enough()
	var v float64
	switch {
	case made && c.Count >= 20:
		v = 0.95
	case made && c.Count >= 5:
		v = 0.90
	case made:
		v = 0.80
	case missed:
		return 0.60
	default:
		return 0
	}
	if web(c.Port) {
		v -= 0.10
	}
	if c.In == 0 {
		v -= 0.05
	}
	if c.Contact == observe.Sinkholed {
		v += 0.03
	}
	return v
}

// partWords says that a source takes part in an attack.
//
// Confidence is at most that of the attack, and at most 0.85, as a device may be made to
// send by somebody else; 0.60 where it isn't known whether the sources are forged.
func (s *source) partWords(f *detect.Finding) {
	best, packets := 0.0, 0.0
	var ids, targets, vectors []string
	var off float64
	first, last := int64(1<<63-1), int64(0)
	for _, p := range s.Parts {
		c := min(p.Confidence, 0.85)
		if p.Unsure {
			c = min(c, 0.60)
		}
		best = max(best, c)
		packets += p.Packets
		off += p.Error
		ids, targets, vectors = append(ids, p.Attack), append(targets, p.Target), append(vectors, p.Vectors...)
		first, last = min(first, p.First), max(last, p.Last)
	}
	slices.Sort(vectors)
	vectors = slices.Compact(vectors)
	slices.Sort(targets)
	targets = slices.Compact(targets)
	f.Confidence = best
	f.Title = detect.Textf("%s が %s への攻撃に加わっています(%s)", "%s takes part in an attack on %s (%s)", s.Addr, strings.Join(targets, ", "), strings.Join(vectors, ", "))
	f.Why = detect.Text{
		JA: "このアドレスから出たパケットが、攻撃と判定されたフラッドの一部です。応答だけのもの(踏み台や被害者)は含めていません。",
		EN: "Packets from this address are part of a flood that was found to be an attack. Answers, as reflectors and victims send them, aren't counted.",
	}
	if slices.ContainsFunc(s.Parts, func(p part) bool { return p.Unsure }) {
		f.Why.JA += "送信元が詐称かどうかは分かっていません。"
		f.Why.EN += " Whether its sources are forged isn't known."
	}
	count := detect.Fact{Key: "packets", Value: strconv.FormatFloat(packets, 'f', 0, 64), Unit: "packets"}
	if off > 0 {
		count.Error = fmt.Sprintf("±%.0f (95 %%)", off)
	}
	f.Evidence = []detect.Fact{
		{Key: "source", Value: "flow"},
		{Key: "attacks", Value: strings.Join(ids, " ")},
		{Key: "targets", Value: strings.Join(targets, ", ")},
		{Key: "vectors", Value: strings.Join(vectors, " ")},
		count,
		{Key: "first", Value: time.Unix(0, first).UTC().Format(time.RFC3339)},
		{Key: "last", Value: time.Unix(0, last).UTC().Format(time.RFC3339)},
	}
}
