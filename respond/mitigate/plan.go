package mitigate

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"sakimori/detect"
)

// Options are what a person chooses of a plan.
type Options struct {
	Share     float64     // of the attack that is to be stopped; 0 means 0.95
	Limit     float64     // share of ordinary traffic that may be hit; 0 means 0.05, as the guideline's rule
	Rules     int         // most of one proposal; 0 means 20, as many features as the guideline's rule names
	Protected []Protected // what no rule may touch
	Asked     bool        // the customer asks for it: then what it costs the customer is for the customer to say
}

func (o *Options) fill() {
	if o.Share == 0 {
		o.Share = 0.95
	}
	if o.Limit == 0 {
		o.Limit = 0.05
	}
	if o.Rules == 0 {
		o.Rules = 20
	}
}

// Check tells which option can't be.
func (o *Options) Check() error {
	if !(o.Share >= 0 && o.Share <= 1) || !(o.Limit >= 0 && o.Limit <= 1) || o.Rules < 0 {
		return fmt.Errorf("the share to be stopped (%g) and the limit of collateral (%g) lie between 0 and 1, and the number of rules (%d) isn't negative", o.Share, o.Limit, o.Rules)
	}
	for i := range o.Protected {
		if m := &o.Protected[i].Match; m.check() != nil || m.Text() == "" {
			return fmt.Errorf("what is protected as %q can't be: it names a prefix, a port or a protocol, and doesn't contradict itself", o.Protected[i].Name)
		}
	}
	return nil
}

// Plan makes proposals against an attack, and changes nothing. The first is the least
// set of rules that stops the chosen share: of what the attack shows to have in common,
// that which costs the least of what is ordinary; then that which is narrowest; then
// that of fewest rules. Where it is refused the next narrower ones follow, which stop
// less; last what is widest of all, a route to discard by. Of the same attack it makes
// the same proposals.
func Plan(a *detect.Attack, o Options) []Proposal {
	o.fill()
	if a.State == detect.Closed {
		return []Proposal{refusal(&o, detect.Text{JA: "攻撃は終わっています", EN: "the attack is over"})}
	}
	if rises(a) {
		return []Proposal{refusal(&o, detect.Text{JA: "増えた分に攻撃の形がないため、何も提案しません", EN: "what came on top doesn't have the form of an attack: nothing is proposed against it"})}
	}
	b := newBench(a)
	if b.packets <= 0 || b.bytes <= 0 {
		return []Proposal{refusal(&o, detect.Text{JA: "攻撃の標本がまだないため、特性が分かりません", EN: "there is no sample of the attack yet: its features aren't known"})}
	}
	a = b.a
	anchors := b.anchorsOf()
	sc := scaleOf(a)
	var cands []candidate
	for _, base := range b.bases(anchors) {
		cands = append(cands, b.forms(base)...)
	}
	rules := b.cover(cands, &o, sc)
	if len(rules) == 0 {
		return append([]Proposal{refusal(&o, detect.Text{JA: "攻撃に共通する特性が見つかりません", EN: "nothing was found that the attack has in common"})}, b.last(anchors, &o, sc)...)
	}
	rules = b.budget(rules, o.Rules)
	list := []Proposal{b.judge(rules, &o, sc)}
	if list[0].Refused {
		list = append(list, b.lesser(rules, &o, sc)...)
	}
	list = append(list, b.last(anchors, &o, sc)...)
	weighed := b.weighed(rules, anchors, &o, sc)
	for i := range list {
		list[i].Alternatives = append([]Alternative(nil), weighed...)
		for j := range list[:i] {
			if list[j].Refused {
				list[i].Alternatives = append(list[i].Alternatives, list[j].alternative(list[j].Why))
			}
		}
	}
	return list
}

// rises tells whether an attack is none: traffic far above its habit, without the form of
// one.
func rises(a *detect.Attack) bool { return a.Severity == detect.Note }

func refusal(o *Options, why detect.Text) Proposal {
	return Proposal{Refused: true, Why: why, Rules: []Rule{}, Alternatives: []Alternative{}, Conditions: []Condition{}, Collateral: Collateral{Share: detect.Measure{N: 1}, Limit: o.Limit, Method: method}}
}

var method = detect.Text{
	JA: "攻撃前の通常の通信の標本のうち、規則に当たり得る割合(パケットとバイトの大きい方)。95% の上限で判断。フロー記録では長さとフラグが分からない分も当たるものとして数え、接続の最初のパケットが落ちる通信は全体を数える",
	EN: "share of samples of ordinary traffic before the attack that the rules may hit, of packets or bytes, whichever is more. The upper end of its 95 % interval counts. What a flow record doesn't tell of lengths and flags counts as hit, and a connection whose first packet is hit counts as a whole",
}

// bases are what every rule has: the object's side, and where the other side is few
// addresses that aren't forged, each of them.
func (b *bench) bases(list []netip.Prefix) (bases []Match) {
	a := b.a
	peers := map[netip.Addr]float64{}
	for i := range b.sample {
		peers[peerOf(a, &b.sample[i])] += b.sample[i].Packets / b.packets
	}
	known := len(peers) <= few
	if !sends(a) {
		known = known && float64(a.Sources.Count.N)+a.Sources.Count.Error <= few && (a.Sources.Forged == nil || !*a.Sources.Forged)
	}
	for _, p := range list {
		m := Match{Dst: p}
		if sends(a) {
			m = Match{Src: p}
		}
		if !known {
			bases = append(bases, m)
			continue
		}
		for _, x := range heavy(peers) {
			if !x.IsValid() || x.Is4() != p.Addr().Is4() {
				continue
			}
			n := m
			if host := netip.PrefixFrom(x, x.BitLen()); sends(a) {
				n.Dst = host
			} else {
				n.Src = host
			}
			bases = append(bases, n)
		}
	}
	return bases
}

// cover takes candidates until they stop the chosen share: each time of those that cost
// least for what they add the one that adds most, and of its like the narrowest. Wide
// ones are for what nothing narrower stops.
func (b *bench) cover(cands []candidate, o *Options, sc scale) (rules []Rule) {
	costs := make([][]float64, len(cands))
	hit := make([]float64, len(b.a.Ordinary))
	left := make([]bool, len(b.sample))
	for i := range left {
		left[i] = true
	}
	for i := range cands {
		costs[i] = b.costs(&cands[i].match)
	}
	for wide := false; ; {
		if stops(rules, b.sample, sc, b.spent(hit)).N >= o.Share {
			break
		}
		best := -1
		var bestCost, bestGain float64
		type option struct{ cost, gain float64 }
		offers := make([]option, len(cands))
		for i := range cands {
			c := &cands[i]
			if c.wide && !wide {
				continue
			}
			gain := b.gain(c, left)
			if gain < least {
				continue
			}
			const step = 0.02 // costs nearer than this are alike: they are estimates
			cost := math.Round(b.added(hit, costs[i]) / gain / step)
			offers[i] = option{cost, gain}
			if best < 0 || cost < bestCost || cost == bestCost && gain > bestGain {
				best, bestCost, bestGain = i, cost, gain
			}
		}
		if best < 0 {
			if wide {
				break
			}
			wide = true
			continue
		}
		for i := range cands {
			like := offers[i].gain >= nearly*nearly*bestGain && offers[i].cost == bestCost
			if like && cands[i].width < cands[best].width-1e-9 {
				best = i
			}
		}
		rules = append(rules, Rule{Match: cands[best].match, Action: Drop})
		for _, i := range cands[best].fits {
			left[i] = false
		}
		for i, h := range costs[best] {
			hit[i] = max(hit[i], h)
		}
	}
	return b.prune(merge(rules), o, sc)
}

func (b *bench) gain(c *candidate, left []bool) (gain float64) {
	for _, i := range c.fits {
		if left[i] {
			gain += (b.sample[i].Packets/b.packets + b.sample[i].Bytes/b.bytes) / 2
		}
	}
	return gain
}

// costs are the parts of ordinary samples that a match may hit.
func (b *bench) costs(m *Match) []float64 {
	list := make([]float64, len(b.a.Ordinary))
	open := m.opened(b.a.Ordinary)
	for i := range list {
		list[i] = m.maybe(&b.a.Ordinary[i], open).most
	}
	return list
}

// added is the share of ordinary packets that a candidate hits besides.
func (b *bench) added(hit, more []float64) float64 {
	var sum, all float64
	for i := range hit {
		w := b.a.Ordinary[i].Packets
		all += w
		sum += w * max(0, more[i]-hit[i])
	}
	if all == 0 {
		return 0
	}
	return sum / all
}

func (b *bench) spent(hit []float64) float64 { return b.added(make([]float64, len(hit)), hit) }

// prune leaves out what the rest makes needless, from the last taken on.
func (b *bench) prune(rules []Rule, o *Options, sc scale) []Rule {
	enough := min(o.Share, stops(rules, b.sample, sc, 0).N)
	for i := len(rules) - 1; i >= 0 && len(rules) > 1; i-- {
		rest := slices.Delete(slices.Clone(rules), i, i+1)
		if stops(rest, b.sample, sc, 0).N >= enough {
			rules = rest
		}
	}
	return rules
}

// merge makes one rule of those that differ in one set of ports alone: it matches the
// same.
func merge(rules []Rule) []Rule {
	port := []func(*Match) *Set{func(m *Match) *Set { return &m.SrcPort }, func(m *Match) *Set { return &m.DstPort }}
	for _, of := range port {
		var out []Rule
		at := map[string]int{}
		for _, r := range rules {
			if len(*of(&r.Match)) == 0 {
				out = append(out, r)
				continue
			}
			key := r
			*of(&key.Match) = nil
			if i, is := at[key.String()]; is {
				s := of(&out[i].Match)
				*s = Union(append(slices.Clone(*s), *of(&r.Match)...)...)
				continue
			}
			at[key.String()] = len(out)
			out = append(out, r)
		}
		rules = out
	}
	return rules
}

// budget brings rules within a number: lengths are left out, so that more of them can be
// one; and then the last are, which stop least.
func (b *bench) budget(rules []Rule, most int) []Rule {
	if len(rules) <= most {
		return rules
	}
	wider := slices.Clone(rules)
	for i := range wider {
		wider[i].Match.Length = nil
	}
	if wider = merge(wider); len(wider) <= most {
		return wider
	}
	return wider[:most]
}

// judge makes a proposal of rules.
func (b *bench) judge(rules []Rule, o *Options, sc scale) Proposal {
	rules = spare(rules, o.Protected)
	share, n := collateral(rules, b.a, sc)
	p := Proposal{
		Rules: rules, Stops: stops(rules, b.sample, sc, share.N), Alternatives: []Alternative{}, Conditions: []Condition{},
		Collateral: Collateral{Share: share, Limit: o.Limit, Known: n > 0, Ordinary: n, Method: method},
	}
	upper := p.Collateral.Upper()
	c := &p.Collateral
	switch touched := Touches(rules, o.Protected); {
	case len(touched) > 0:
		p.Refused = true
		p.Why = detect.Textf("保護対象「%s」に及ぶため、行えません", "it reaches into %q, which is protected", touched[0].Protected.Name)
	case len(rules) > o.Rules:
		p.Refused = true
		p.Why = detect.Textf("規則が %d 個になり、上限 %d を超えます", "it takes %d rules, more than %d", len(rules), o.Rules)
	case o.Asked:
		p.Why = detect.Textf("顧客の求めによる。攻撃の %s を止め、通常の通信の最大 %s を巻き込みます", "the customer asks for it: it stops %s of the attack, and hits at most %s of what is ordinary", percent(p.Stops.N), percent(upper))
		if !c.Known {
			p.Why = detect.Textf("顧客の求めによる。攻撃の %s を止めます。通常の通信が分からないため、巻き込みは不明です", "the customer asks for it: it stops %s of the attack. What is ordinary isn't known, nor what it hits of it", percent(p.Stops.N))
		}
	case !c.Known:
		p.Refused = true
		p.Why = detect.Text{JA: "この対象の通常の通信がまだ分からないため、巻き込みを見積もれません。顧客自身の求めがあれば、それを根拠にできます", EN: "what is ordinary for this object isn't known yet, nor what the rules would hit of it. If the customer asks for it, that can be the ground"}
	case upper > o.Limit:
		p.Refused = true
		p.Why = detect.Textf("通常の通信の %s(95%% 上限 %s)を巻き込み、上限 %s を超えます。%d 件の標本による見積もりです",
			"it hits %s of what is ordinary (at most %s, 95 %%), more than %s, by %d samples", percent(share.N), percent(upper), percent(o.Limit), n)
	case p.Stops.N < o.Share:
		p.Why = detect.Textf("攻撃の %s を止めます(求めは %s)。通常の通信の巻き込みは最大 %s", "it stops %s of the attack, less than the %s that was asked for, and hits at most %s of what is ordinary", percent(p.Stops.N), percent(o.Share), percent(upper))
	default:
		p.Why = detect.Textf("攻撃の %s を止め、通常の通信の巻き込みは最大 %s。試したうち、これより狭い規則では足りません", "it stops %s of the attack and hits at most %s of what is ordinary. Nothing narrower that was tried does", percent(p.Stops.N), percent(upper))
	}
	p.Forms = formsOf(b.a, &p)
	return p
}

// lesser are the next narrower proposals where one is refused: without the rules that
// cost most, and with these as limits of the rate.
func (b *bench) lesser(rules []Rule, o *Options, sc scale) (list []Proposal) {
	const worth = 0.05 // of the attack, below which it isn't worth an act
	kept, out := slices.Clone(rules), []Rule(nil)
	for len(kept) > 0 {
		p := b.judge(kept, o, sc)
		if !p.Refused {
			if len(out) > 0 && p.Stops.N >= worth {
				list = append(list, p)
			}
			break
		}
		i := b.dearest(kept, sc)
		out = append(out, kept[i])
		kept = slices.Delete(kept, i, i+1)
	}
	if limited, some := b.limited(kept, out, o, sc); some {
		if p := b.judge(limited, o, sc); !p.Refused && p.Stops.N >= worth {
			list = append(list, p)
		}
	}
	return list
}

// dearest is the rule that costs most for what it stops.
func (b *bench) dearest(rules []Rule, sc scale) (worst int) {
	most := -1.0
	for i := range rules {
		one := rules[i : i+1]
		share, _ := collateral(one, b.a, sc)
		if cost := (share.N + share.Error) / max(least, stops(one, b.sample, sc, 0).N); cost > most {
			worst, most = i, cost
		}
	}
	return worst
}

// limited turns rules into limits of the rate, as low as the collateral permits.
func (b *bench) limited(kept, out []Rule, o *Options, sc scale) ([]Rule, bool) {
	if len(out) == 0 || sc.bytes <= 0 {
		return nil, false
	}
	at := func(share float64) []Rule {
		rules := slices.Clone(kept)
		for _, r := range out {
			_, bytes := r.Match.matched(b.sample)
			r.Action, r.Rate = RateBytes, max(1, math.Ceil(sc.bytes*bytes*(1-share)))
			rules = append(rules, r)
		}
		return rules
	}
	fits := func(share float64) bool {
		c, n := collateral(at(share), b.a, sc)
		return n > 0 && c.N+c.Error <= o.Limit
	}
	low, high := 0.0, 1.0
	if !fits(low) {
		return nil, false
	}
	for range 12 {
		if mid := (low + high) / 2; fits(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return at(low), low > least
}

// last is the route to discard by, of single addresses: it ends the attack's harm to
// others, and takes everything from the one that is hit.
func (b *bench) last(anchors []netip.Prefix, o *Options, sc scale) []Proposal {
	if b.a.Direction == detect.Outgoing || len(anchors) == 0 || len(anchors) > 4 || slices.ContainsFunc(anchors, func(p netip.Prefix) bool { return !p.IsSingleIP() }) {
		return nil
	}
	var rules []Rule
	for _, p := range anchors {
		rules = append(rules, Rule{Match: Match{Dst: p}, Action: RTBH})
	}
	return []Proposal{b.judge(rules, o, sc)}
}

// weighed are the means besides those that are proposed, each tried on the samples.
func (b *bench) weighed(rules []Rule, anchors []netip.Prefix, o *Options, sc scale) (list []Alternative) {
	try := func(rules []Rule, why func(p *Proposal) detect.Text) {
		if len(rules) == 0 {
			return
		}
		share, _ := collateral(rules, b.a, sc)
		p := Proposal{Rules: rules, Stops: stops(rules, b.sample, sc, share.N), Collateral: Collateral{Share: share}}
		list = append(list, p.alternative(why(&p)))
	}
	less := func(p *Proposal) detect.Text {
		return detect.Textf("攻撃の %s しか止まりません(必要 %s)", "stops only %s of the attack: %s is needed", percent(p.Stops.N), percent(o.Share))
	}
	if rules[0].Match.Src.IsValid() == rules[0].Match.Dst.IsValid() {
		less = func(p *Proposal) detect.Text {
			return detect.Textf("攻撃の %s だけを止めます(求めは %s)", "stops %s of the attack: %s was asked for", percent(p.Stops.N), percent(o.Share))
		}
	} else {
		try(b.bySource(anchors, o.Rules), less)
	}
	if len(rules) > 1 {
		try(rules[:1], less)
	}
	half := slices.Clone(rules)
	for i := range half {
		_, bytes := half[i].Match.matched(b.sample)
		half[i].Action, half[i].Rate = RateBytes, max(1, math.Ceil(sc.bytes*bytes/2))
	}
	if sc.bytes > 0 {
		try(half, less)
	}
	return list
}

// bySource are rules for the addresses on the other side that send most.
func (b *bench) bySource(list []netip.Prefix, most int) (rules []Rule) {
	peers := map[netip.Addr]float64{}
	for i := range b.sample {
		peers[peerOf(b.a, &b.sample[i])] += b.sample[i].Packets
	}
	for _, x := range heavy(peers) {
		for _, p := range list {
			if len(rules) == most || !x.IsValid() || x.Is4() != p.Addr().Is4() {
				continue
			}
			m := Match{Dst: p, Src: netip.PrefixFrom(x, x.BitLen())}
			if sends(b.a) {
				m.Dst, m.Src = m.Src, m.Dst
			}
			rules = append(rules, Rule{Match: m, Action: Drop})
		}
	}
	return rules
}

// alternative writes a proposal down as one that wasn't taken.
func (p *Proposal) alternative(why detect.Text) Alternative {
	const shown = 3 // rules
	var text, ja, en []string
	for i := range p.Rules {
		if i == shown {
			text = append(text, fmt.Sprintf("… (%d)", len(p.Rules)))
			ja = append(ja, fmt.Sprintf("ほか、計 %d 規則", len(p.Rules)))
			en = append(en, fmt.Sprintf("and more, %d rules in all", len(p.Rules)))
			break
		}
		w := p.Rules[i].Words()
		text, ja, en = append(text, p.Rules[i].String()), append(ja, w.JA), append(en, w.EN)
	}
	return Alternative{
		Text: strings.Join(text, "; "), Words: detect.Text{JA: strings.Join(ja, "、"), EN: strings.Join(en, "; ")},
		Stops: p.Stops, Collateral: p.Collateral.Share, Why: why,
	}
}

// percent writes a share with a digit where it matters, the percent sign doubled nowhere.
func percent(f float64) string {
	if f > 0 && f < 0.0995 || f >= 0.995 && f < 1 {
		return fmt.Sprintf("%.1f %%", 100*f)
	}
	return fmt.Sprintf("%.0f %%", 100*f)
}
