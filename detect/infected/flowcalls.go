package infected

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// contact is what a source has to do with one listed endpoint.
type contact struct {
	Addr            packet.Addr
	Port            uint16
	Proto           uint8
	Entry, Family   string
	Contact         observe.Contact
	Count           int   // connections that came about, callsApart of each other
	Tries           int   // that didn't, as far apart
	First, Last     int64 // of either
	Out, In         int64 // when it was last sent something, and sent something
	Counted, Missed int64 // when Count and Tries last rose
}

// What it takes to say that a source talks to a C&C.
const (
	// webCalls connections over webSpan on the web's ports: a server there may have
	// pages that people read, too.
	webCalls = 3
	webSpan  = int64(10 * time.Minute)
	// fewestTries of which nothing came, over triesSpan.
	fewestTries = 5
	triesSpan   = int64(5 * time.Minute)
	// bothWithin is within what both directions must be seen.
	bothWithin = int64(time.Minute)

	mostCalls = 16 // listed endpoints of a source
	mostParts = 16 // attacks of a source

	// What one costs, in places of targets.
	callPlaces = 5
	partPlaces = 8
)

// web tells ports of pages that people read.
func web(port uint16) bool { return port == 80 || port == 443 || port == 8080 || port == 8443 }

// asker tells the end of a flow that asked, by the ports: those of services are low, and
// those that systems give to who asks are high. False: it can't be told.
func asker(own, remote uint16) bool {
	const ephemeral = 32768 // Linux; others begin higher
	return remote < 1024 && own >= 1024 || own >= ephemeral && remote < ephemeral
}

// listed notes a flow between an own address and a listed endpoint. That a listed one
// knocks at an own address says nothing about that.
func (d *Flows) listed(f *observe.Flow) {
	own, remote, ownPort, port, out := f.Src, f.Dst, f.SrcPort, f.DstPort, true
	if !d.ours(own) {
		own, remote, ownPort, port, out = f.Dst, f.Src, f.DstPort, f.SrcPort, false
		if !d.ours(own) {
			return
		}
	}
	miss := out && f.Proto == packet.TCP && lone(f)
	if !miss && !asker(ownPort, port) {
		return
	}
	entry, family, how, ok := d.ports.Listed(remote.Netip(), port, time.Unix(0, f.First).UTC())
	if !ok || d.ports.May == nil || !d.ports.May(own.Netip()) {
		return
	}
	s := d.sources[own]
	if s == nil {
		if s = d.newSource(own, f.First); s == nil {
			return
		}
	}
	s.Last = max(s.Last, f.Last)
	i := slices.IndexFunc(s.Calls, func(c contact) bool { return c.Addr == remote && c.Port == port && c.Proto == f.Proto })
	if i < 0 {
		if len(s.Calls) >= mostCalls || !d.reserve(callPlaces, s) {
			return // there is evidence enough, or no room
		}
		i = len(s.Calls)
		s.Calls = append(s.Calls, contact{Addr: remote, Port: port, Proto: f.Proto, Entry: strings.Clone(entry), Family: strings.Clone(family), Contact: how, First: f.First, Last: f.First})
	}
	c := &s.Calls[i]
	c.Last = max(c.Last, f.Last)
	c.note(f, out, miss)
	d.touch(s)
}

// note adds a flow to what is known of an endpoint.
func (c *contact) note(f *observe.Flow, out, miss bool) {
	at := f.Last
	if miss {
		if c.Missed == 0 || at-c.Missed >= callsApart {
			c.Tries, c.Missed = c.Tries+1, at
		}
		return
	}
	talks := f.Proto == packet.UDP || f.TCPFlags&packet.ACK != 0 && f.TCPFlags&(packet.RST|packet.SYN) != packet.RST
	switch {
	case f.Marks&observe.FlowNoFlags != 0 && f.Proto == packet.TCP, !talks:
		return
	case out:
		c.Out = max(c.Out, at)
	default:
		c.In = max(c.In, at)
	}
	both := c.Out != 0 && c.In != 0 && max(c.Out-c.In, c.In-c.Out) <= bothWithin
	alone := !both && out && f.Proto == packet.TCP && f.TCPFlags&whole == whole && f.Seen >= 3
	if (both || alone) && (c.Counted == 0 || at-c.Counted >= callsApart) {
		c.Count, c.Counted = c.Count+1, at
	}
}

// enough tells whether the connections, or the tries, say something.
func (c *contact) enough() (made, missed bool) {
	made = c.Count >= fewestCalls
	if web(c.Port) {
		made = c.Count >= webCalls && c.Counted-c.First >= webSpan
	}
	return made, c.Tries >= fewestTries && c.Missed-c.First >= triesSpan
}

// judgeCalls says that a source talks to a C&C, or tries to.
func (d *Flows) judgeCalls(s *source) {
	n, last, any := 0, int64(0), false
	for i := range s.Calls {
		made, missed := s.Calls[i].enough()
		any = any || made || missed
		n += s.Calls[i].Count
		if made {
			n++ // what is made is news beside what is missed
		}
		last = max(last, s.Calls[i].Last)
	}
	if any {
		d.tell(s, called, n, last)
	}
}

// Keep forgets what is known of a source's talk to listed endpoints where that mayn't be
// noted any more. What was said of it ends.
func (d *Flows) Keep(may func(own netip.Addr) bool) {
	var list []packet.Addr
	d.mu.Lock()
	for a, s := range d.sources {
		if len(s.Calls) > 0 {
			list = append(list, a)
		}
	}
	d.mu.Unlock()
	slices.SortFunc(list, packet.Addr.Compare)
	for _, a := range list {
		if may(a.Netip()) { // asked without the lock: it may take a while
			continue
		}
		d.mu.Lock()
		if s := d.sources[a]; s != nil {
			if s.Said[called].Open {
				d.out.Find(d.noLonger(s))
			}
			d.over(s, called)
		}
		d.mu.Unlock()
	}
}

// Part is what an own address did in an attack on somebody else.
type Part struct {
	Attack      string // its id
	Address     netip.Addr
	Target      string   // whom it is against, as words say it
	Vectors     []string // by which the address takes part, as the detector of floods names them
	Packets     float64  // that it sent, scaled
	Error       float64  // of that, 95 %
	First, Last time.Time
	Confidence  float64 // that it is an attack
	Forged      *bool   // whether the attack's sources are forged; nil can't be told
}

// part is one of a source.
type part struct {
	Attack, Target string
	Vectors        []string
	Packets, Error float64
	First, Last    int64
	Confidence     float64
	Unsure         bool // the sources may be forged
}

// answers tells vectors that are answers to somebody else's packets: the address is
// misused as a reflector, or a victim itself. That is no infection.
func answers(vector string) bool {
	return strings.HasSuffix(vector, "-amplification") || strings.HasSuffix(vector, "-reflection") ||
		vector == "rst" || vector == "icmp" || vector == "fragments"
}

// TookPart takes what an own address does in an attack; again whenever there is more of
// it. It tells whether that says something about the address: not where its packets are
// answers, or the attack's sources are forged.
func (d *Flows) TookPart(p Part) bool {
	var vectors []string
	for _, v := range p.Vectors {
		if !answers(v) {
			vectors = append(vectors, v)
		}
	}
	a := packet.FromNetip(p.Address)
	first, last := p.First.UnixNano(), p.Last.UnixNano()
	if len(vectors) == 0 || p.Forged != nil && *p.Forged || first < 0 || last < first || last > flowTime {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ours(a) {
		return false
	}
	d.advance(last)
	s := d.sources[a]
	if s == nil {
		if s = d.newSource(a, first); s == nil {
			return false
		}
	}
	s.Last = max(s.Last, last)
	row := part{p.Attack, p.Target, vectors, p.Packets, p.Error, first, last, p.Confidence, p.Forged == nil}
	if i := slices.IndexFunc(s.Parts, func(x part) bool { return x.Attack == p.Attack }); i >= 0 {
		s.Parts[i] = row
	} else if len(s.Parts) < mostParts && d.reserve(partPlaces, s) {
		s.Parts = append(s.Parts, row)
	}
	slices.SortFunc(s.Parts, func(x, y part) int { return cmp.Or(cmp.Compare(x.Last, y.Last), strings.Compare(x.Attack, y.Attack)) })
	d.tell(s, takesPart, len(s.Parts), last)
	return true
}
