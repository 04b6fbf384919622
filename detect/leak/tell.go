package leak

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"

	"sakimori/detect"
	"sakimori/observe"
)

// idOf is the incident's id, from what it is and when it began: the same input gives the
// same one.
func (d *Detector) idOf(c *hunt) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %d", kinds[c.kind], c.by, c.to, c.first))
	return "incident-" + hex.EncodeToString(h[:8])
}

// tell makes a version of an incident.
func (d *Detector) tell(c *hunt, s detect.State) {
	c.told, c.toldHits, c.toldPeers, c.toldLive = d.now, len(c.hits), c.seeing(), c.live
	d.keepResult(c)
	if d.out.Incidents == nil && d.out.Findings == nil {
		return
	}
	i := d.incident(c, s)
	if d.out.Incidents != nil {
		d.out.Incidents.Incident(i)
		if s == detect.Closed && len(c.course) > 0 {
			d.out.Incidents.IncidentCourse(c.id, c.course)
		}
	}
	if d.out.Findings != nil {
		d.out.Findings.Find(d.finding(&i))
	}
}

// incident is a case as the others see it.
func (d *Detector) incident(c *hunt, s detect.State) detect.Incident {
	i := detect.Incident{
		ID: c.id, State: s, Kind: kinds[c.kind], Opened: nano(c.first), Detected: second(c.detected), Changed: second(d.now), Last: nano(c.last), Waves: c.waves,
		Restored: c.restored && c.byDown*2 < max(len(c.hits), 1), Confidence: round(c.confid), Signals: []detect.Signal{},
		Leaker: c.by, Prefixes: detect.Counted{N: uint64(len(c.hits)) + c.beyond, Error: float64(c.beyond)}, Now: c.live, Peak: c.peak, MoreSpecific: c.parts,
		Sample: d.sample(c), Origins: []uint32{}, Expected: []uint32{}, Own: d.ownHit(c), Whose: c.whose(), Peers: c.peersSeen(), Seen: max(len(c.peers), len(c.bits)), Whole: d.whole(),
		Lanes: c.lanesSeen(), Evidence: append([]detect.RouteMessage{}, c.evidence...), History: append([]detect.IncidentStep{}, c.history...),
	}
	if s == detect.Closed {
		i.Closed = nano(c.goneAt)
	}
	switch c.kind {
	case outages:
		i.Leaker = 0
	case blackholes:
	default:
		i.To = mostly(c.tos)
	}
	i.From = mostly(c.froms)
	if i.To != 0 && i.Leaker != 0 {
		i.Adjacency = fmt.Sprintf("%d-%d", i.To, i.Leaker)
	}
	for x := range c.tally {
		if c.tally[x].Count > 0 {
			i.Signals = append(i.Signals, c.tally[x].signal(sign(x)))
		}
	}
	slices.SortStableFunc(i.Signals, func(a, b detect.Signal) int { return cmp.Compare(b.Score, a.Score) })
	i.Form, i.Also = c.form()
	origins, expected := map[uint32]int{}, map[uint32]int{}
	for j := range c.hits {
		h := &c.hits[j]
		if h.origin != 0 {
			origins[h.origin]++
		}
		for _, as := range h.expect[:h.expecs] {
			expected[as]++
		}
	}
	i.Origins, i.Expected = most(origins, 32), most(expected, 32)
	i.Addresses, i.Networks64 = c.space()
	i.Severity = detect.Note
	if c.confid >= d.cfg.Sure {
		i.Severity = detect.Soon
	}
	if len(i.Own) > 0 {
		i.Severity = detect.Urgent
	}
	i.Title, i.Why = d.words(c, &i)
	return i
}

// mostly is the AS that nine tenths are of, else 0: there are several.
func mostly(m map[uint32]int) uint32 {
	all, best, who := 0, 0, uint32(0)
	for as, n := range m {
		all += n
		if n > best {
			best, who = n, as
		}
	}
	if best*10 >= all*9 {
		return who
	}
	return 0
}

// most are the ASes with the highest numbers.
func most(m map[uint32]int, n int) []uint32 {
	list := slices.AppendSeq([]uint32{}, maps.Keys(m))
	slices.SortFunc(list, func(a, b uint32) int { return cmp.Or(m[b]-m[a], cmp.Compare(a, b)) })
	return list[:min(n, len(list))]
}

// form is the case's main form, and the others.
func (c *hunt) form() (form string, also []string) {
	switch c.kind {
	case leaks, drifts:
		best := 0
		for t := 1; t < len(c.types); t++ {
			if c.types[t] > c.types[best] || best == 0 && c.types[t] > 0 {
				best = t
			}
		}
		for t := 1; t < len(c.types); t++ {
			if c.types[t] > 0 && t != best {
				also = append(also, "type "+strconv.Itoa(t))
			}
		}
		if best > 0 {
			form = "type " + strconv.Itoa(best)
		}
		if c.parts*2 > len(c.hits) {
			also = append(also, "more-specific")
		}
	default:
		list := slices.Sorted(maps.Keys(c.forms))
		for _, f := range list {
			if form == "" || c.forms[f] > c.forms[form] {
				form = f
			}
		}
		for _, f := range list {
			if f != form {
				also = append(also, f)
			}
		}
		if c.kind == hijacks && c.tally[signMass].Count > 0 {
			also = append(also, "type 5")
		}
	}
	return form, also
}

// sample is the case's prefixes, own ones first, then as they came.
func (d *Detector) sample(c *hunt) []detect.HitPrefix {
	out := make([]detect.HitPrefix, 0, min(len(c.hits), mostSample))
	for _, own := range []bool{true, false} {
		for j := range c.hits {
			h := &c.hits[j]
			if (h.own != 0) != own {
				continue
			}
			if len(out) == mostSample {
				return out
			}
			x := detect.HitPrefix{Prefix: h.prefix, Origin: h.origin, Cover: h.cover, ROV: h.rov.String(), First: nano(h.first), Own: own}
			if h.expecs > 0 {
				x.Expected = slices.Clone(h.expect[:h.expecs])
			}
			if h.mask == 0 {
				x.Gone = nano(h.gone)
			}
			out = append(out, x)
		}
	}
	return out
}

// ownHit is the own and customers' space that the case hits.
func (d *Detector) ownHit(c *hunt) []detect.OwnSpace {
	by := map[int16][]netip.Prefix{}
	for j := range c.hits {
		if h := &c.hits[j]; h.own != 0 {
			by[h.own] = append(by[h.own], h.prefix)
		}
	}
	out := []detect.OwnSpace{}
	for _, i := range slices.Sorted(maps.Keys(by)) {
		o := &d.cfg.Own[i-1]
		n := len(by[i])
		v4, _ := union(by[i])
		out = append(out, detect.OwnSpace{Prefix: o.Prefix, Name: o.Name, Prefixes: n, Addresses: v4})
	}
	slices.SortStableFunc(out, func(a, b detect.OwnSpace) int { return cmp.Compare(b.Prefixes, a.Prefixes) })
	return out[:min(len(out), mostSample)]
}

// whose is the origins by the number of their prefixes.
func (c *hunt) whose() []detect.Share {
	m := map[uint32]int{}
	for j := range c.hits {
		h := &c.hits[j]
		as := h.origin
		if h.expecs > 0 {
			as = h.expect[0]
		}
		m[as]++
	}
	out := []detect.Share{}
	for _, as := range most(m, 32) {
		k := ""
		if as != 0 {
			k = "AS" + strconv.FormatUint(uint64(as), 10)
		}
		out = append(out, detect.Share{Key: k, Share: round(float64(m[as]) / float64(len(c.hits))), Packets: float64(m[as])})
	}
	return out
}

func (c *hunt) peersSeen() []detect.PeerSight {
	out := []detect.PeerSight{}
	for j := range c.peers {
		p := &c.peers[j]
		out = append(out, detect.PeerSight{Peer: p.number, Feed: p.feed, Address: p.address, AS: p.as, First: nano(p.first), Prefixes: p.prefixes, Weight: round(p.weight)})
	}
	return out
}

func (c *hunt) lanesSeen() []detect.Lane {
	order := make([]int, len(c.lanes))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return c.lanes[b].Routes - c.lanes[a].Routes })
	out := []detect.Lane{}
	for _, i := range order {
		l := &c.lanes[i]
		x := detect.Lane{Prefix: l.Prefix, Cover: l.Cover, Peer: l.Peer, Usual: append([]uint32{}, l.Usual...), Is: append([]uint32{}, l.Is...), Routes: l.Routes, First: nano(l.First)}
		if l.Last != 0 {
			x.Last = nano(l.Last)
		}
		out = append(out, x)
	}
	return out
}

// whole is how many peers with a whole table there are, or where no table is known peers
// at all.
func (d *Detector) whole() (n int) {
	all := 0
	for i := range d.peers {
		p := &d.peers[i]
		if !p.known || !p.judged || !p.up {
			continue
		}
		all++
		d.regard(uint32(i))
		if p.whole {
			n++
		}
	}
	if n == 0 {
		return all
	}
	return n
}

// space is what the case's prefixes cover, each address once.
func (c *hunt) space() (v4, nets64 float64) {
	list := make([]netip.Prefix, len(c.hits))
	for i := range c.hits {
		list[i] = c.hits[i].prefix
	}
	return union(list)
}

// union counts the addresses of IPv4 and the /64 of IPv6 in prefixes, each once. It sorts
// the list. A prefix inside the one before it adds nothing.
func union(list []netip.Prefix) (v4, nets64 float64) {
	slices.SortFunc(list, func(a, b netip.Prefix) int { return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) })
	var last netip.Prefix
	for _, p := range list {
		if last.IsValid() && last.Contains(p.Addr()) && last.Bits() <= p.Bits() {
			continue
		}
		last = p
		if p.Addr().Is4() {
			v4 += math.Ldexp(1, 32-p.Bits())
		} else {
			nets64 += math.Ldexp(1, max(64-p.Bits(), 0))
		}
	}
	return v4, nets64
}

// finding is an incident as a finding.
func (d *Detector) finding(i *detect.Incident) detect.Finding {
	f := detect.Finding{
		ID: i.ID, Detector: "leak", State: i.State, Severity: i.Severity, Confidence: i.Confidence, Opened: i.Opened, Changed: i.Changed, Closed: i.Closed,
		Title: i.Title, Why: i.Why, Subject: i.Adjacency, Evidence: []detect.Fact{{Key: "kind", Value: string(i.Kind)}},
	}
	switch {
	case i.Kind == detect.Outage && len(i.Sample) > 0:
		f.Subject = i.Sample[0].Prefix.String()
	case f.Subject == "":
		f.Subject = "AS" + strconv.FormatUint(uint64(i.Leaker), 10)
	}
	off := ""
	if i.Prefixes.Error > 0 {
		off = fmt.Sprintf("up to %.0f less", i.Prefixes.Error)
	}
	f.Evidence = append(f.Evidence, detect.Fact{Key: "prefixes", Value: strconv.FormatUint(i.Prefixes.N, 10), Error: off},
		detect.Fact{Key: "own", Value: strconv.Itoa(len(i.Own))}, detect.Fact{Key: "peers", Value: strconv.Itoa(i.Seen)})
	for _, s := range i.Signals {
		f.Evidence = append(f.Evidence, detect.Fact{Key: s.Name, Value: strconv.FormatFloat(s.Score, 'f', 2, 64)})
	}
	return f
}

// invalid tells whether the state of an origin counts against a route.
func invalid(s observe.ROV) bool { return s == observe.ROVInvalid || s == observe.ROVInvalidLength }
