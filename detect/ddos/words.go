package ddos

import (
	"fmt"
	"math"
	"strings"

	"sakimori/detect"
)

// title says what happens to whom. What flows alone show is suspected.
func title(at *detect.Attack, a *attack) detect.Text {
	s := subject(&at.Object)
	if at.Object.Kind == detect.CustomerObject {
		s = at.Object.Name
	}
	ja, en := names(at.Vectors)
	peakJA, peakEN := amount(at.Peak, a)
	if a.Rise {
		return detect.Text{
			JA: fmt.Sprintf("%s へのトラフィックが普段を大きく超えています(攻撃の形なし、最大 %s)", s, peakJA),
			EN: fmt.Sprintf("traffic to %s is far above its habit (no form of attack; peak %s)", s, peakEN),
		}
	}
	maybeJA, maybeEN := "", ""
	if len(at.Witnesses) == 1 {
		maybeJA, maybeEN = "の疑い", "suspected: "
	}
	switch {
	case at.Direction == detect.Outgoing && len(a.partners) > 0 && role(a.Role) == foreign:
		who := "one of our addresses takes part"
		if len(a.partners) > 1 {
			who = fmt.Sprintf("%d of our addresses take part", len(a.partners))
		}
		return detect.Text{
			JA: fmt.Sprintf("自網の %d アドレスが %s への%sに参加%s(最大 %s)", len(a.partners), s, ja, maybeJA, peakJA),
			EN: fmt.Sprintf("%s%s in a %s against %s (peak %s)", maybeEN, who, en, s, peakEN),
		}
	case at.Direction == detect.Outgoing:
		return detect.Text{
			JA: fmt.Sprintf("%s からの%s%s(最大 %s)", s, ja, maybeJA, peakJA),
			EN: fmt.Sprintf("%s%s from %s (peak %s)", maybeEN, en, s, peakEN),
		}
	case at.Object.Kind == detect.PrefixObject:
		return detect.Text{
			JA: fmt.Sprintf("%s 全体へのカーペット爆撃%s: %s(%s アドレス、最大 %s)", s, maybeJA, ja, detect.Grouped(at.Targets.N), peakJA),
			EN: fmt.Sprintf("%scarpet bombing all over %s: %s (%s addresses, peak %s)", maybeEN, s, en, detect.Grouped(at.Targets.N), peakEN),
		}
	}
	return detect.Text{
		JA: fmt.Sprintf("%s への%s%s(最大 %s)", s, ja, maybeJA, peakJA),
		EN: fmt.Sprintf("%s%s against %s (peak %s)", maybeEN, en, s, peakEN),
	}
}

// names are the largest vectors.
func names(v []detect.Vector) (ja, en string) {
	var j, e []string
	for i, x := range v {
		if i == 3 {
			return strings.Join(j, "・") + " ほか", strings.Join(e, ", ") + " and more"
		}
		j, e = append(j, x.Words.JA), append(e, x.Words.EN)
	}
	return strings.Join(j, "・"), strings.Join(e, ", ")
}

// amount is a rate as the rule that decided counts it.
func amount(r detect.Rate, a *attack) (ja, en string) {
	switch measure(a.Measure) {
	case byPackets:
		ja, en = written(r.Packets)
		return ja + " pps", en + " pps"
	case byBits:
		ja, en = written(r.Bits)
		return ja + " bit/s", en + " bit/s"
	}
	ja, en = written(r.Flows)
	return ja + " フロー/秒", en + " flows/s"
}

// written is a figure with its error: "20 ± 4 k".
func written(m detect.Measure) (ja, en string) {
	div, unit := 1.0, ""
	for _, u := range []struct {
		at   float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if m.N >= u.at {
			div, unit = u.at, u.name
			break
		}
	}
	s := number(m.N / div)
	if m.Error > 0 {
		s += " ± " + number(m.Error/div)
	}
	if unit != "" {
		s += " " + unit
	}
	return s, s
}

func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// why says how it was decided.
func why(at *detect.Attack, a *attack) detect.Text {
	m := measure(a.Measure)
	peakJA, peakEN := amount(at.Peak, a)
	lineJA, lineEN := amount(detect.Rate{Packets: at.Limit.Packets, Bits: at.Limit.Bits, Flows: at.Limit.Flows}, a)
	kindJA, kindEN := "設定値", "the fixed line"
	if a.limit.habit[m] {
		kindJA, kindEN = "この曜日・時刻の普段の値から求めた線", "the line of its habit at this hour of the week"
	}
	var t detect.Text
	t.JA, t.EN = fmt.Sprintf("%s(95 %% の誤差)は、%s %s を誤差の下限でも超えました。", peakJA, kindJA, lineJA),
		fmt.Sprintf("%s (with its 95 %% error) is above %s of %s even at the lower end. ", peakEN, kindEN, lineEN)
	if a.Rise {
		return detect.Text{
			JA: t.JA + "ただし増えた分に攻撃の形はありません。何もせず、見守ってください。",
			EN: t.EN + "But what came on top doesn't have the form of an attack: watch it, do nothing.",
		}
	}
	topJA, topEN := "普段を上回る分", "what came on top of the usual"
	if !a.Known {
		topJA, topEN = "全体(普段の量はまだ不明)", "all of it (what is usual isn't known yet)"
	}
	t.JA += fmt.Sprintf("%sの %.0f %% が攻撃の形です。", topJA, 100*min(a.Share, 1))
	t.EN += fmt.Sprintf("%.0f %% of %s has the form of an attack. ", 100*min(a.Share, 1), topEN)
	if a.Both {
		t.JA += "逆方向の通信は、これを説明しません。"
		t.EN += "The traffic the other way doesn't account for it."
	} else {
		t.JA += "逆方向は通知されていないため、割合だけで判断しました。"
		t.EN += "The other direction isn't told, so that shares alone decided."
	}
	if a.Pulses > 1 {
		t.JA += fmt.Sprintf("%d 回目の波です。", a.Pulses)
		t.EN += fmt.Sprintf(" It is the %s wave.", ordinal(int(a.Pulses)))
	}
	if a.Quiet {
		t.JA += "現在は線を下回っています。"
		t.EN += " It is below the line now."
	}
	return t
}

func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return fmt.Sprintf("%d%s", n, suffix)
}
