package leak

import (
	"net/netip"
	"slices"

	"sakimori/detect"
)

// ROAs tell the state of an origin.
type ROAs interface {
	ROV(p netip.Prefix, origin uint32) ROV
}

// MoreSpecific is an own route, longer than what is announced in the incident, that would
// bring traffic back. It is announced only as an Act.
type MoreSpecific struct {
	Prefix      netip.Prefix  `json:"prefix"`
	Of          netip.Prefix  `json:"of"` // own space as it is configured
	Effect      detect.Text   `json:"effect"`
	SideEffects []detect.Text `json:"side_effects"`
	Possible    bool          `json:"possible"`
	Why         detect.Text   `json:"why"`
}

// What is passed on by most of the Internet: nothing longer.
const (
	longest4 = 24
	longest6 = 48
)

// mostSpecific is how many are proposed at most: each is one more route in everybody's table.
const mostSpecific = 16

// MoreSpecifics are those that would win against the routes of an incident on own space:
// the two halves of what is announced, where that is shorter than what is passed on; the
// very prefix, where it can't be halved. Where a ROA forbids one it isn't possible, and
// says what must change first. r may be nil: then nobody knows, and it says so.
func MoreSpecifics(h *House, i *detect.Incident, r ROAs) []MoreSpecific {
	list := []MoreSpecific{}
	if i.Kind != detect.Leak && i.Kind != detect.Hijack {
		return list
	}
	var hit []netip.Prefix
	for _, p := range i.Sample {
		if _, own := h.within(p.Prefix); own && p.Gone.IsZero() {
			hit = append(hit, p.Prefix)
		}
	}
	done := map[netip.Prefix]bool{}
	for _, p := range ordered(hit) {
		own, _ := h.within(p)
		for _, s := range halves(p) {
			if done[s] || len(list) == mostSpecific {
				continue
			}
			done[s] = true
			list = append(list, h.specific(i, own, p, s, r))
		}
	}
	return list
}

// halves of a prefix, or itself where they would be too long to be passed on.
func halves(p netip.Prefix) []netip.Prefix {
	longest := longest6
	if p.Addr().Is4() {
		longest = longest4
	}
	if p.Bits() >= longest {
		return []netip.Prefix{p}
	}
	low := netip.PrefixFrom(p.Masked().Addr(), p.Bits()+1)
	b := low.Addr().AsSlice()
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	a, _ := netip.AddrFromSlice(b) // of the same length
	return []netip.Prefix{low, netip.PrefixFrom(a, p.Bits()+1)}
}

// specific is one proposal: s against p.
func (h *House) specific(i *detect.Incident, own Own, p, s netip.Prefix, r ROAs) MoreSpecific {
	m := MoreSpecific{Prefix: s, Of: own.Prefix, Possible: true}
	share := 0.0
	if i.Whole > 0 {
		share = min(1, float64(i.Seen)/float64(i.Whole))
	}
	longer := s.Bits() > p.Bits()
	switch {
	case longer && i.Whole > 0:
		m.Effect = detect.Textf(
			"%[1]s は %[2]s より細かいため、これを受け取るすべてのASで優先されます。いま障害の経路を見ている観測点は %[3]s(%[4]d/%[5]d)で、その通信が戻る見込みです(観測点の割合による推定で、通信量の割合ではありません)",
			"%[1]s is longer than %[2]s, so that it wins in every AS that gets it. %[3]s of the vantage points (%[4]d of %[5]d) see the incident's routes now: their traffic should come back (an estimate by vantage points, not by traffic)",
			s, p, percent(share), i.Seen, i.Whole)
	case longer:
		m.Effect = detect.Textf("%[1]s は %[2]s より細かいため、これを受け取るすべてのASで優先されます。どれだけ戻るかは、全経路を持つ観測点がないため分かりません", "%[1]s is longer than %[2]s, so that it wins in every AS that gets it. How much comes back isn't known: no vantage point has a whole table", s, p)
	default:
		m.Effect = detect.Textf("%[1]s より細かい経路は多くの事業者が破棄するため、同じ長さで広告します。ASパスが当社の方が短いASだけが戻ります。どれだけかは分かりません", "what is longer than %[1]s is dropped by most operators, so the same length is announced: only those ASes come back to which our path is the shorter one. How many isn't known", s)
	}
	m.SideEffects = append(m.SideEffects,
		detect.Textf("世界中の経路表が 1 経路増えます(%s)", "everybody's table grows by one route (%s)", s),
		detect.Text{JA: "経路を絞って広告している上流がある場合、入りの通信の偏り(非対称)が変わります", EN: "incoming traffic moves between upstreams: what is balanced by prefix or by path changes"},
		detect.Text{JA: "障害が終われば、または期限(既定では24時間以内)が来れば取り下げます。取り下げの際に数分間、経路の揺れが起こり得ます", EN: "it is withdrawn when the incident is over or its time has come (within 24 hours); while it is, paths may flap for some minutes"},
	)
	origin := h.AS
	if len(own.Origins) > 0 && !slices.Contains(own.Origins, h.AS) {
		m.Possible = false
		m.Why = detect.Textf("%[1]s の起源は当社(AS%[2]d)ではなく AS%[3]d です。広告は顧客が行うもので、連絡文を送ってください", "%[1]s is originated by AS%[3]d, not by us (AS%[2]d): the customer announces it; send them the letter", own.Prefix, h.AS, own.Origins[0])
		return m
	}
	state := ROVUnknown
	if r != nil {
		state = r.ROV(s, origin)
	}
	switch state {
	case ROVValid:
		m.Why = detect.Textf("AS%[1]d によるこの長さの広告はROAで有効です", "announced by AS%[1]d at this length it is ROV valid", origin)
	case ROVInvalidLength:
		m.Possible = false
		m.Why = detect.Textf("ROAの最大長が /%[1]d より短いため、広告するとROVで無効になり、多くの事業者が破棄します。先に、起源 AS%[2]d で %[3]s を含む最大長 /%[1]d のROAに改めてください(反映まで数十分かかることがあります)", "the ROA's maximum length is shorter than /%[1]d: announced it would be ROV invalid, and many operators would drop it. First change the ROA to origin AS%[2]d, %[3]s, maximum length /%[1]d (which may take tens of minutes to be seen)", s.Bits(), origin, own.Prefix)
	case ROVInvalid:
		m.Possible = false
		m.Why = detect.Textf("%[1]s のROAは AS%[2]d を起源としていません。先にROAを改めてください", "no ROA of %[1]s names AS%[2]d as origin: change the ROA first", s, origin)
	case ROVNotFound:
		m.Why = detect.Textf("%s を含むROAがありません。広告はできますが、ROVで守られません", "no ROA covers %s: it can be announced, and ROV doesn't protect it", s)
	default:
		m.Why = detect.Text{JA: "ROAのデータがないため、ROVで有効かどうかは分かりません。広告の前に確かめてください", EN: "there are no data of ROAs: whether it is ROV valid isn't known. Look it up before it is announced"}
	}
	return m
}
