package backscatter

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/observe"
)

const allIPv4 = 1 << 32

// finding puts a run into words.
//
// Confidence is the probability, by our own judgement, that the address is
// under a flood with forged sources: 0.95 when it answers to TCP connections,
// 0.85 for answers of UDP services and ICMP alone, which broken programs and
// routers send off in runs too.
func finding(cfg *Config, r *run, state detect.State, at int64) detect.Finding {
	opened := time.Unix(0, r.Opened).UTC()
	f := detect.Finding{
		ID: fmt.Sprintf("ddos-%s-%s", strings.ReplaceAll(r.Addr.String(), ":", "-"),
			opened.Format("20060102T1504Z")),
		Detector:   "ddos",
		Subject:    r.Addr.String(),
		State:      state,
		Severity:   severity(cfg, r),
		Confidence: 0.85,
		Opened:     opened,
		Changed:    time.Unix(0, at).UTC(),
		Title:      title(cfg, r),
		Why:        why(cfg, r, state),
		Evidence:   evidence(cfg, r),
	}
	if slices.ContainsFunc(r.vectors, func(v vector) bool { return v.Proto == packet.TCP }) {
		f.Confidence = 0.95
	}
	if state == detect.Closed {
		f.Closed = f.Changed
	}
	return f
}

// factor is by how much an observed rate falls short of the attack's, when its
// forged sources are spread evenly over all of IPv4.
func factor(cfg *Config, r *run) (float64, bool) {
	if !r.Addr.Is4() || cfg.DarkAddresses == 0 {
		return 0, false
	}
	return allIPv4 / float64(cfg.DarkAddresses), true
}

func severity(cfg *Config, r *run) detect.Severity {
	rate := float64(r.Peak) / 60
	if k, ok := factor(cfg, r); ok {
		rate *= k
	}
	switch {
	case r.Own:
		return detect.Urgent
	case rate >= cfg.Large:
		return detect.Soon
	}
	return detect.Note
}

func title(cfg *Config, r *run) detect.Text {
	services := r.rows()
	top := slices.MaxFunc(services, func(a, b Victim) int { return cmp.Compare(a.Packets, b.Packets) })
	port := detect.PortName(top.Port, top.Proto)
	moreJA, moreEN := "", ""
	if n := len(services) - 1; n > 0 {
		moreJA, moreEN = fmt.Sprintf(" ほか %d 種", n), fmt.Sprintf(" and %d more", n)
	}
	rateJA, rateEN := "", ""
	if k, ok := factor(cfg, r); ok {
		est := rounded(float64(r.Peak) / 60 * k)
		rateJA = fmt.Sprintf("、推定 %s パケット/秒以上", detect.Grouped(est))
		rateEN = fmt.Sprintf(", estimated at %s packets/s or more", detect.Grouped(est))
	}
	return detect.Text{
		JA: fmt.Sprintf("%s が送信元を詐称した DoS 攻撃を受けています(%s%s、応答 %s パケットを観測%s)",
			r.Addr, port, moreJA, detect.Grouped(r.Packets), rateJA),
		EN: fmt.Sprintf("%s is under a denial-of-service attack with forged sources (%s%s; %s answers seen%s)",
			r.Addr, port, moreEN, detect.Grouped(r.Packets), rateEN),
	}
}

func why(cfg *Config, r *run, state detect.State) detect.Text {
	length := time.Duration(r.Last - r.First).Round(time.Second)
	ja := fmt.Sprintf("問い合わせていない未使用アドレスへ、%s の間に応答 %s パケットが届き、60 秒間の最大は %s パケットでした(基準: %d パケット以上、%d 秒以上、60 秒間に %d パケット以上)。",
		length, detect.Grouped(r.Packets), detect.Grouped(r.Peak), cfg.Packets, int(cfg.Length.Seconds()), cfg.Window)
	en := fmt.Sprintf("Over %s, %s answers came to unused addresses that had asked nothing, %s of them within 60 s (rule: %d packets, %d s, and %d packets in 60 s, or more).",
		length, detect.Grouped(r.Packets), detect.Grouped(r.Peak), cfg.Packets, int(cfg.Length.Seconds()), cfg.Window)
	if k, ok := factor(cfg, r); ok {
		floor := detect.Grouped(rounded(float64(cfg.Window) / 60 * k))
		ja += fmt.Sprintf("推定値は下限です: 詐称された送信元が IPv4 全体に一様で、1 パケットに 1 応答と仮定しています。被害側が応答を制限していれば実際はこれより多く、%s パケット/秒に満たない攻撃は見えません。", floor)
		en += fmt.Sprintf(" The estimate is a lower bound: it assumes forged sources spread evenly over IPv4 and one answer a packet. A victim that limits its answers is hit harder than that, and attacks below %s packets/s can't be seen.", floor)
	} else {
		ja += "攻撃の規模は推定できません。"
		en += " The attack's rate can't be estimated."
	}
	if slices.ContainsFunc(r.vectors, func(v vector) bool { return v.Kind == observe.KindICMPError }) {
		ja += "ICMP エラーは途中のルーターが返すこともあります。"
		en += " ICMP errors may also come from a router on the way."
	}
	if state == detect.Closed {
		ja = fmt.Sprintf("%d 秒間応答がなく、終了しました。", int(cfg.Silence.Seconds())) + ja
		en = fmt.Sprintf("Closed: no answer for %d s. ", int(cfg.Silence.Seconds())) + en
	}
	return detect.Text{JA: ja, EN: en}
}

func evidence(cfg *Config, r *run) []detect.Fact {
	seconds := float64(r.Last-r.First) / 1e9
	mean := float64(r.Packets) / seconds
	facts := []detect.Fact{
		{Key: "packets", Value: strconv.FormatUint(r.Packets, 10), Unit: "packets"},
		{Key: "first", Value: time.Unix(0, r.First).UTC().Format(time.RFC3339)},
		{Key: "last", Value: time.Unix(0, r.Last).UTC().Format(time.RFC3339)},
		{Key: "duration", Value: strconv.FormatFloat(seconds, 'f', 0, 64), Unit: "s"},
		{Key: "peak_window", Value: strconv.FormatUint(r.Peak, 10), Unit: "packets in 60 s"},
		{Key: "observed_rate", Value: strconv.FormatFloat(mean, 'f', 2, 64), Unit: "packets/s"},
	}
	if k, ok := factor(cfg, r); ok {
		floor := fmt.Sprintf("lower bound; can't be seen below %d packets/s", rounded(float64(cfg.Window)/60*k))
		facts = append(facts,
			detect.Fact{
				Key: "estimated_rate", Value: strconv.FormatUint(rounded(mean*k), 10),
				Unit: "packets/s", Error: sampling(r.Packets) + ", " + floor,
			},
			detect.Fact{
				Key: "estimated_peak", Value: strconv.FormatUint(rounded(float64(r.Peak)/60*k), 10),
				Unit: "packets/s", Error: sampling(r.Peak) + ", " + floor,
			},
			detect.Fact{Key: "assumed", Value: "sources forged evenly over IPv4; one answer a packet"})
	}
	vectors := slices.Clone(r.vectors)
	slices.SortFunc(vectors, func(a, b vector) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), a.order(&b))
	})
	for i, v := range vectors {
		if i == mostVectors {
			break
		}
		facts = append(facts, detect.Fact{
			Key:   "vector",
			Value: fmt.Sprintf("%s %s %d", detect.PortName(v.Port, v.Proto), v.Kind, v.Packets), Unit: "packets",
		})
	}
	rest := r.Other
	for i := mostVectors; i < len(vectors); i++ {
		rest += vectors[i].Packets
	}
	if rest > 0 {
		facts = append(facts, detect.Fact{Key: "other_vectors", Value: strconv.FormatUint(rest, 10), Unit: "packets"})
	}
	return facts
}

// mostVectors is how many vectors a finding names.
const mostVectors = 8

// sampling is the 95 % interval of a count of rare independent packets.
func sampling(n uint64) string {
	return fmt.Sprintf("±%.0f %%", 196/math.Sqrt(float64(max(n, 1))))
}

// rounded keeps three digits: more would claim what nobody knows.
func rounded(x float64) uint64 {
	if x < 1 {
		return 0
	}
	scale := math.Pow(10, max(0, math.Floor(math.Log10(x))-2))
	return uint64(math.Round(x/scale) * scale)
}
