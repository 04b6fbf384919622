package subscriber

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Verdict is what can be said of who had an address at a time.
type Verdict string

// The verdicts. Only the first two may lead to a notice.
const (
	Unique    Verdict = "unique"           // the same holder over the whole interval of doubt
	UniqueBut Verdict = "unique_with_skew" // one holder alone touches it; there is idle time, an open or an inferred end in it
	Ambiguous Verdict = "ambiguous"        // several may have had it
	Expired   Verdict = "expired"          // the log doesn't reach back so far, or has a gap there
	Foreign   Verdict = "foreign"          // not ours, or another company's contract
	NoPort    Verdict = "no_port"          // a shared address, and the port isn't told
)

// Certain tells whether a verdict may lead to a notice.
func (v Verdict) Certain() bool { return v == Unique || v == UniqueBut }

// Hold is a holder's claim to the address: for sure from From to To, and perhaps
// from Earliest to Latest.
type Hold struct {
	Holder
	Source           uint16
	Session          uint64 // of Use; 0 of a point
	From, To         int64  // Unix nanoseconds; what records vouch for
	Earliest, Latest int64  // what they don't exclude
	Believed         int64  // until then an open claim may be named; later it only keeps others from being certain
	Open             bool   // no end was told: To is the last sign, and the holder may still have it
	Inferred         bool   // the end was concluded: from the next holder, a restart of the source, silence, or a promise
	Shared           bool   // of some ports alone
	Skew             int64  // by how much the source's clock may be off, either way: in Earliest and Latest already
}

// Decision is the verdict with what it rests on.
type Decision struct {
	Verdict Verdict
	Holder  Holder // of a certain verdict
	Holds   []Hold // that touch the interval, by beginning
	// Margin is how much larger the doubt about the time could be with the same
	// verdict; negative when there is no such limit.
	Margin time.Duration
}

// Limits are what is known of a source.
type Limits struct {
	// Silence is how long a session that hasn't ended is believed after its last sign:
	// two and a half intervals of a source that sends Interim-Updates; 0 for ever.
	Silence time.Duration
	Resets  []int64 // when it began anew, ascending: all its sessions had ended then
	// Skew is by how much its clock may be off, either way.
	Skew time.Duration
}

// Decide says who had the address and port between from and to (both included, Unix
// nanoseconds). spans are all that overlap it in address, ports and protocol, in any
// order and however split; limits knows of each source.
func Decide(spans []Span, port uint16, from, to int64, limits func(source uint16) Limits) Decision {
	all := claims(spans, limits)
	holds := touching(all, from, to)
	sortHolds(holds)
	d := Decision{Holds: holds, Margin: -1}
	switch {
	case len(holds) == 0:
		d.Verdict = Expired
		return d
	case port == 0 && slices.ContainsFunc(holds, func(h Hold) bool { return h.Shared }):
		d.Verdict = NoPort
		return d
	}
	holder := holds[0].Holder
	for _, h := range holds[1:] {
		if h.Holder != holder {
			d.Verdict = Ambiguous
			return d
		}
	}
	if holder.Unnamed {
		d.Verdict = Expired
		return d
	}
	d.Holder = holder
	switch sure, near := cover(holds, from, to); {
	case sure:
		d.Verdict = Unique
	case near:
		d.Verdict = UniqueBut
	default: // only a beginning that nobody told reaches it
		d.Verdict, d.Holder = Expired, Holder{}
		return d
	}
	d.Margin = margin(all, holder, from, to)
	return d
}

// touching are the holds that may have been inside the interval.
func touching(holds []Hold, from, to int64) (list []Hold) {
	for _, h := range holds {
		if h.Earliest <= to && from <= h.Latest {
			list = append(list, h)
		}
	}
	return list
}

// cover tells whether what the holds vouch for fills the interval, and whether
// anything of it, or of an open end, touches it.
func cover(holds []Hold, from, to int64) (sure, near bool) {
	at, begun := from, false
	sorted := slices.SortedFunc(slices.Values(holds), func(a, b Hold) int { return cmp.Compare(a.From, b.From) })
	for _, h := range sorted {
		if h.From <= h.To && h.From+h.Skew <= at && h.To-h.Skew >= at {
			at, begun = h.To-h.Skew, true
		}
		near = near || h.From-h.Skew <= to && from <= min(h.Latest, h.Believed) && h.From <= h.To
	}
	return begun && at >= to, near
}

// margin is how far the nearest claim of another holder is away.
func margin(holds []Hold, holder Holder, from, to int64) time.Duration {
	least := int64(math.MaxInt64)
	for _, h := range holds {
		if h.Holder == holder {
			continue
		}
		if h.Latest < from {
			least = min(least, from-h.Latest)
		} else if h.Earliest > to {
			least = min(least, h.Earliest-to)
		}
	}
	if least == math.MaxInt64 {
		return -1
	}
	return time.Duration(least)
}

// Holds turns spans into claims. What it makes of them doesn't depend on their order,
// nor on how often or in how many pieces they were kept.
func Holds(spans []Span, limits func(source uint16) Limits) []Hold {
	holds := claims(spans, limits)
	sortHolds(holds)
	return holds
}

func sortHolds(holds []Hold) {
	slices.SortFunc(holds, func(a, b Hold) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Source, b.Source), slices.Compare(a.ID[:], b.ID[:]))
	})
}

// claims are the holds, in no order: an address may have had a hundred uses, of which a
// question is about one or two.
func claims(spans []Span, limits func(source uint16) Limits) []Hold {
	spans = joined(spans)
	holds := make([]Hold, 0, len(spans))
	var points []Span
	for i := range spans {
		s := &spans[i]
		if s.Point {
			points = append(points, *s)
			continue
		}
		h := Hold{Holder: s.Holder, Source: s.Source, Session: s.Session, From: s.First, To: s.Last, Earliest: math.MinInt64, Latest: math.MaxInt64, Believed: math.MaxInt64, Shared: !s.Ports.Whole()}
		if s.Begun() {
			h.Earliest = h.From
		} else if i, _ := slices.BinarySearch(limits(s.Source).Resets, s.First); i > 0 {
			h.Earliest = limits(s.Source).Resets[i-1] // nothing of its source is older than its restart
		}
		if s.Ended() {
			h.To = max(h.To, s.End)
			h.Latest = h.To
		} else {
			h.Open = true
			limit(&h, s, limits(s.Source))
		}
		holds = append(holds, h)
	}
	holds = append(holds, paired(points, limits)...)
	bound(holds)
	for i := range holds {
		holds[i].doubt(limits(holds[i].Source).Skew)
	}
	return holds
}

// doubt widens a claim by what its source's clock may be off.
func (h *Hold) doubt(skew time.Duration) {
	h.Skew = int64(skew)
	if h.Earliest > math.MinInt64+h.Skew {
		h.Earliest -= h.Skew
	}
	if h.Latest < math.MaxInt64-h.Skew {
		h.Latest += h.Skew
	}
}

// limit ends what nobody ended: by the source's restart, by its silence, by what was
// promised.
func limit(h *Hold, s *Span, l Limits) {
	if l.Silence > 0 && !s.Point {
		h.Believed = s.Last + int64(l.Silence)
	}
	if s.Until != 0 {
		h.Latest = min(h.Latest, max(s.Until, s.Last))
	}
	if i, _ := slices.BinarySearch(l.Resets, s.Last+1); i < len(l.Resets) {
		h.Latest = min(h.Latest, l.Resets[i])
	}
	h.Inferred = h.Latest != math.MaxInt64
}

// joined are the spans with those of one use in one piece, and without doubles.
func joined(spans []Span) []Span {
	out := slices.Clone(spans)
	slices.SortFunc(out, func(a, b Span) int { return a.Compare(&b) })
	n := 0
	for i := range out {
		if n > 0 && out[n-1].Join(&out[i]) {
			continue
		}
		out[n] = out[i]
		n++
	}
	return resumed(out[:n])
}

// resumed joins pieces of one session further apart than Link, when the earlier one
// has no end and the later one no beginning: it went on in between.
func resumed(spans []Span) []Span {
	n := 0
	for i := range spans {
		s := &spans[i]
		if n > 0 && !s.Point && spans[n-1].Use == s.Use && !spans[n-1].Ended() && !s.Begun() {
			p := &spans[n-1]
			p.Last, p.End, p.Until = max(p.Last, s.Last), max(p.End, s.End), max(p.Until, s.Until)
			continue
		}
		spans[n] = *s
		n++
	}
	return spans[:n]
}

// paired makes claims of points: of one source, address and range of ports each
// beginning holds until the next point.
func paired(points []Span, limits func(source uint16) Limits) (holds []Hold) {
	same := func(a, b *Span) bool {
		return a.Addr == b.Addr && a.Bits == b.Bits && a.Ports == b.Ports && a.Proto == b.Proto && a.Source == b.Source
	}
	slices.SortFunc(points, func(a, b Span) int {
		if same(&a, &b) { // an end before a beginning of the same moment
			return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(b.End, a.End), slices.Compare(a.Holder.ID[:], b.Holder.ID[:]))
		}
		return a.Compare(&b)
	})
	for i := 0; i < len(points); i++ {
		s := &points[i]
		h := Hold{Holder: s.Holder, Source: s.Source, From: s.First, To: s.Last, Earliest: s.First, Latest: math.MaxInt64, Believed: math.MaxInt64, Open: true, Shared: !s.Ports.Whole()}
		if s.End != 0 { // nobody said when it began
			h.Earliest, h.Latest, h.Open, h.From = math.MinInt64, s.End, false, s.End
			if i > 0 && same(&points[i-1], s) {
				h.Earliest = points[i-1].Last
			}
			h.To = h.From - 1 // nothing is vouched for
			holds = append(holds, h)
			continue
		}
		limit(&h, s, limits(s.Source))
		if s.Until > s.Last { // a lease is its holder's until it runs out
			h.To, h.Latest, h.Open, h.Inferred = s.Until, min(h.Latest, s.Until), false, true
		}
		for i+1 < len(points) && same(&points[i+1], s) {
			next := &points[i+1]
			if next.First > h.Latest {
				break
			}
			if next.Holder != s.Holder || next.Begun() && h.Open { // whoever comes next ends it, or they come again
				h.To, h.Latest, h.Open, h.Inferred = min(h.To, next.First), min(h.Latest, next.First), false, true
				break
			}
			i++
			if next.End != 0 {
				h.To, h.Latest, h.Open, h.Inferred = next.End, next.End, false, false
				break
			}
			h.To = max(h.To, next.First)
			if next.Until > next.Last {
				h.To, h.Latest = max(h.To, next.Until), max(h.Latest, next.Until)
			} else {
				h.Latest, h.Open = math.MaxInt64, true
				limit(&h, next, limits(next.Source))
			}
		}
		holds = append(holds, h)
	}
	return holds
}

// bound ends each open claim where another holder's begins for sure, and begins those
// whose beginning isn't known after the last one that is vouched for.
func bound(holds []Hold) {
	if !slices.ContainsFunc(holds, func(h Hold) bool { return h.Open || h.Earliest < h.From }) {
		return
	}
	byFrom := make([]*Hold, 0, len(holds)) // what is vouched for
	for i := range holds {
		if holds[i].From <= holds[i].To {
			byFrom = append(byFrom, &holds[i])
		}
	}
	byTo := slices.Clone(byFrom)
	slices.SortFunc(byFrom, func(a, b *Hold) int { return cmp.Compare(a.From, b.From) })
	slices.SortFunc(byTo, func(a, b *Hold) int { return cmp.Compare(a.To, b.To) })
	for i := range holds {
		h := &holds[i]
		if h.Open {
			k, _ := slices.BinarySearchFunc(byFrom, h.To+1, func(o *Hold, t int64) int { return cmp.Compare(o.From, t) })
			for ; k < len(byFrom) && byFrom[k].Holder == h.Holder; k++ {
			}
			if k < len(byFrom) && byFrom[k].From < h.Latest {
				h.Latest, h.Inferred = byFrom[k].From, true
			}
		}
		if h.Earliest < h.From {
			k, _ := slices.BinarySearchFunc(byTo, h.From, func(o *Hold, t int64) int { return cmp.Compare(o.To, t) })
			for k--; k >= 0 && byTo[k].Holder == h.Holder; k-- {
			}
			if k >= 0 {
				h.Earliest = max(h.Earliest, byTo[k].To)
			}
		}
	}
}
