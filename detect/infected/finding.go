package infected

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"sakimori/detect"
	"sakimori/observe"
)

// finding puts a verdict into words.
//
// Confidence is the probability, by our own judgement, that a program on the
// line of this address scans. What is missing to 1 is mostly a forged source
// address, which the telescope can't exclude, and peer-to-peer programs that
// look for peers which have gone:
//
//	Mirai's fingerprint (chance 2^-32 a packet) on two targets or more  0.99
//	Mirai's fingerprint on one target, masscan's fingerprint            0.95
//	TCP to 100 dark targets or more / 10 or more / 3 or more            0.97 / 0.92 / 0.85
//	15 TCP ports or more of one target                                  0.90
//	UDP and ICMP alone                                                  at most 0.70
//
// sure says that nobody can forge the address, by what the operator states.
func finding(h *host, v *verdict, state detect.State, at int64, quiet time.Duration, sure bool) detect.Finding {
	opened := time.Unix(0, h.Opened).UTC()
	f := detect.Finding{
		ID: fmt.Sprintf("infected-%s-%s", strings.ReplaceAll(h.Addr.String(), ":", "-"),
			opened.Format("20060102T1504Z")),
		Detector:   "infected",
		Subject:    h.Addr.String(),
		State:      state,
		Severity:   detect.Soon,
		Confidence: confidence(v),
		Opened:     opened,
		Changed:    time.Unix(0, at).UTC(),
	}
	if state == detect.Closed {
		f.Closed = f.Changed
	}
	if !v.tcp && !v.mirai {
		f.Severity = detect.Note
	}
	if !v.scans {
		withdrawn(&f, h)
		return f
	}
	f.Title = title(h, v)
	f.Why = why(v, state, quiet, sure)
	f.Evidence = evidence(h, v)
	return f
}

func confidence(v *verdict) float64 {
	masscan := v.tool == observe.MasscanOld || v.tool == observe.MasscanNew
	switch {
	case !v.scans:
		return 0
	case v.mirai && v.top.Targets >= 2:
		return 0.99
	case v.mirai, masscan && !v.mixed:
		return 0.95
	case !v.tcp:
		return 0.70
	case v.top.Targets >= 100:
		return 0.97
	case v.top.Targets >= 10:
		return 0.92
	case v.vertical:
		return 0.90
	}
	return 0.85
}

func title(h *host, v *verdict) detect.Text {
	ja, en := "へ接続を試みています", "is trying to connect to"
	if v.top.Kind != observe.KindTCPSyn {
		ja, en = "へ探査パケットを送っています", "is sending probes to"
	}
	moreJA, moreEN := " ", ""
	if n := len(v.ports) - 1; n > 0 {
		moreJA, moreEN = fmt.Sprintf(" ほか %d ポート", n), fmt.Sprintf(" and %d more ports", n)
		if n == 1 {
			moreEN = " and one more port"
		}
	}
	targetsEN := "unused addresses"
	if v.top.Targets == 1 {
		targetsEN = "unused address"
	}
	toolJA, toolEN := tool(v)
	port := detect.PortName(v.top.Port, v.top.Proto)
	return detect.Text{
		JA: fmt.Sprintf("%s が未使用アドレス %s 件の %s%s%s(%s)",
			h.Addr, detect.Grouped(uint64(v.top.Targets)), port, moreJA, ja, toolJA),
		EN: fmt.Sprintf("%s %s %s%s on %s %s (%s)",
			h.Addr, en, port, moreEN, detect.Grouped(uint64(v.top.Targets)), targetsEN, toolEN),
	}
}

// tool says what the packets fit, and no more.
func tool(v *verdict) (ja, en string) {
	switch {
	case v.mirai:
		return "Mirai の特徴に一致", "fits Mirai"
	case v.mixed || v.tool == observe.Unknown || v.tool == observe.IrregularSYN:
		return "既知のツールの特徴なし", "fits no known tool"
	}
	name := v.tool.String()
	if ver := v.tool.Versions(); ver != "" {
		return fmt.Sprintf("%s(%s)の特徴に一致", name, ver), fmt.Sprintf("fits %s, %s", name, ver)
	}
	return name + " の特徴に一致", "fits " + name
}

func why(v *verdict, state detect.State, quiet time.Duration, sure bool) detect.Text {
	var ja, en string
	switch {
	case v.mirai:
		ja = "TCP のシーケンス番号が宛先アドレスと等しく(偶然の一致は 1 パケットあたり 2^-32)、Mirai 系のマルウェアの動作です。"
		en = "The TCP sequence number equals the destination address (by chance once in 2^32 packets), which is what Mirai and its descendants do."
	case v.vertical && v.top.Targets <= fewTargets:
		ja = "使われていないアドレスの多数のポートを順に調べており、通常の通信では起こりません。"
		en = "It asks for many ports of an address that nobody uses, which no ordinary communication does."
	case v.top.Targets <= fewTargets:
		ja = "パケットの形がスキャンツールの特徴に一致します。"
		en = "The form of its packets is that of a scanning tool."
	default:
		ja = "使われていない複数のアドレスの同じポートへ送っており、スキャンの定義(3 件以上)に当たります。"
		en = "It sends to the same port of several addresses that nobody uses, which meets the definition of a scan (3 or more)."
	}
	if !v.tcp && !v.mirai {
		ja += "ただし TCP を含まないため、P2P ソフトや計測の可能性が残ります。"
		en += " As there is no TCP in it, a peer-to-peer program or a measurement remains possible."
	}
	if sure {
		ja += "設定(telescope.verified)によれば、この範囲のアドレスを詐称した通信は観測点に届きません(BCP 38・84)。"
		en += " By the configuration (telescope.verified) nobody can send to the sensors in the name of these addresses (BCP 38 and 84)."
	} else {
		ja += "送信元の詐称は観測だけでは否定できません。通知の前に契約者側の通信記録か送信元検証(BCP 38)で確かめてください。"
		en += " A forged source address can't be excluded from here: check it against records on the subscriber's side, or source address validation (BCP 38), before anybody is told."
	}
	if state == detect.Closed {
		ja = fmt.Sprintf("%s の間、観測がないため終了しました。", hours(quiet, "時間", "分")) + ja
		en = fmt.Sprintf("Closed: nothing more was seen for %s. ", hours(quiet, " hours", " minutes")) + en
	}
	return detect.Text{JA: ja, EN: en}
}

func withdrawn(f *detect.Finding, h *host) {
	f.Title = detect.Textf("%s の検知を取り消しました", "The finding about %s is withdrawn", h.Addr)
	f.Why = detect.Text{
		JA: "根拠とした特徴に、同じ通信の後のパケットが一致しませんでした。感染とは言えません。",
		EN: "Later packets of the same event don't carry the fingerprint that it stood on. Nothing is held against the address.",
	}
	f.Evidence = []detect.Fact{{Key: "withdrawn", Value: "true"}}
}

func evidence(h *host, v *verdict) []detect.Fact {
	facts := []detect.Fact{
		{Key: "packets", Value: strconv.FormatUint(v.packets, 10), Unit: "packets"},
		{
			Key: "targets", Value: strconv.FormatUint(uint64(v.top.Targets), 10), Unit: "addresses",
			Error: "of the widest event: a lower bound",
		},
		{Key: "ports", Value: portList(v.ports)},
		{Key: "first", Value: time.Unix(0, v.first).UTC().Format(time.RFC3339)},
		{Key: "last", Value: time.Unix(0, v.last).UTC().Format(time.RFC3339)},
		{Key: "family", Value: v.family()},
	}
	t := v.tool
	if v.mixed {
		t = observe.Unknown
	}
	if v.mirai {
		t = observe.Mirai
	}
	facts = append(facts, detect.Fact{Key: "tool", Value: t.String()})
	if ver := t.Versions(); ver != "" {
		facts = append(facts, detect.Fact{Key: "tool_versions", Value: ver})
	}
	if v.mirai {
		facts = append(facts, detect.Fact{Key: "chance_match", Value: "2^-32", Unit: "per packet"})
	}
	if v.other > 0 {
		facts = append(facts, detect.Fact{
			Key: "not_counted", Value: strconv.FormatUint(v.other, 10),
			Unit: "packets", Error: "to dark space, but no scan",
		})
	}
	var b strings.Builder
	for i, m := range h.Sample[:h.Sampled] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %d", time.Unix(m.Start, 0).UTC().Format("15:04"), m.Packets)
	}
	return append(facts, detect.Fact{
		Key: "per_minute", Value: b.String(), Unit: "packets",
		Error: "the first minutes only, UTC",
	})
}

// portList names the busiest ports, at most eight, and how many more.
func portList(ports []PortCount) string {
	const most = 8
	names := make([]string, 0, most+1)
	for i, p := range ports {
		if i == most {
			names = append(names, fmt.Sprintf("+%d", len(ports)-most))
			break
		}
		names = append(names, detect.PortName(p.Port, p.Proto))
	}
	return strings.Join(names, " ")
}

func hours(d time.Duration, h, m string) string {
	if d%time.Hour == 0 {
		return fmt.Sprintf("%d%s", d/time.Hour, h)
	}
	return fmt.Sprintf("%d%s", d/time.Minute, m)
}
