package ddos

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strconv"
	"strings"

	"sakimori/base/sketch"
	"sakimori/base/wire/packet"
	"sakimori/detect"
)

// tellAll tells of attacks that are new, changed, or due.
func (d *Detector) tellAll() {
	for _, a := range d.attacks {
		if a == nil {
			continue
		}
		d.tellCourse(a)
		n := uint32(0)
		for _, v := range a.Flooding {
			if v {
				n++
			}
		}
		// Soon again while the sample is thin, then each ten seconds.
		due := a.Told + min(uint32(1)<<min(a.Versions, 4), 10)
		if !a.Up {
			due = a.Told + 60
		}
		if a.Told == 0 || n != a.ToldVectors || d.now >= due {
			a.ToldVectors = n
			state := detect.Changed
			if a.Versions == 0 {
				state = detect.Opened
			}
			d.tell(a, state)
		}
	}
}

// tell hands out a version of an attack, and of its finding where it says more.
func (d *Detector) tell(a *attack, state detect.State) {
	at := d.attack(a, state)
	important := state != detect.Changed || a.Told == 0 || d.now >= a.FoundTold+300
	a.Told = d.now
	a.Versions++
	a.ToldPeak = max(a.Peak, 1)
	if d.out.Attacks != nil {
		d.out.Attacks.Attack(at)
	}
	if important && d.out.Findings != nil {
		a.FoundTold = d.now
		d.out.Findings.Find(finding(&at))
	}
}

// tellCourse hands out the seconds that are new or more complete.
func (d *Detector) tellCourse(a *attack) {
	if len(a.course) == 0 || d.out.Attacks == nil {
		a.course = a.course[:0]
		return
	}
	w := &d.warms[a.warm]
	cells, _, _ := d.rest(w)
	points := make([]detect.CoursePoint, 0, len(a.course))
	for _, s := range a.course {
		if s+ring <= w.head {
			continue
		}
		c := &cells[s%ring]
		if s > w.head {
			c = &cell{}
		}
		p := detect.CoursePoint{
			At: int64(s), Packets: max(float64(c.p-c.d), 0), Bits: 8 * float64(c.b), Error: z * math.Sqrt(float64(c.v)),
			Dropped: float64(c.d), Limit: max(a.limit.raise.Packets, 0),
		}
		if c.p > 0 {
			p.Bits *= p.Packets / float64(c.p)
		}
		if a.usual != nil {
			p.Usual = a.usual.Packets.N
		}
		points = append(points, p)
	}
	a.course = a.course[:0]
	d.out.Attacks.Course(d.id(a), points)
}

// id is an attack's: its first second, and a hash of its object, as addresses are hidden
// from some who may see the attack.
func (d *Detector) id(a *attack) string {
	h := fnv.New64a()
	o := d.object(a)
	_, _ = fmt.Fprint(h, direction(a), o.Kind, o.Prefix, a.Role)
	if role(a.Role) >= customer {
		_, _ = fmt.Fprint(h, o.Name)
	}
	return "attack-" + unix(a.Opened).Format("20060102T150405Z") + "-" + strconv.FormatUint(h.Sum64()>>28|1<<35, 36)
}

func direction(a *attack) detect.Direction {
	if r := role(a.Role); r == takes || r == foreign {
		return detect.Outgoing
	}
	return detect.Incoming
}

func (d *Detector) object(a *attack) detect.Object {
	r := role(a.Role)
	switch r {
	case customer:
		return detect.Object{Kind: detect.CustomerObject, Name: d.rules.Customers[a.Ours].Name}
	case link:
		return detect.Object{Kind: detect.LinkObject, Name: d.rules.Links[a.Ours].Name}
	}
	o := detect.Object{Kind: detect.AddressObject, Prefix: prefixOf(a.Addr, r)}
	if r != foreign {
		o.Name = d.rules.list[d.rules.of(a.Addr)].name
	}
	if r >= narrow {
		o.Kind = detect.PrefixObject
	}
	return o
}

// attack is the present version.
func (d *Detector) attack(a *attack, state detect.State) detect.Attack {
	at := detect.Attack{
		ID: d.id(a), State: state, Direction: direction(a), Object: d.object(a),
		Opened: unix(a.Opened), Detected: unix(a.Detected), Changed: unix(d.now), Pulses: int(a.Pulses),
		Severity: a.severity(), Confidence: a.confidence(), Witnesses: slices.Clone(a.Witnesses),
		Now: rate(&a.latest), Peak: rate(&a.worst), Usual: a.usual,
		Limit: detect.Rate{
			Packets: detect.Measure{N: max(a.limit.raise.Packets, 0)}, Bits: detect.Measure{N: max(a.limit.raise.Bits, 0)},
			Flows: detect.Measure{N: max(a.limit.raise.Flows, 0)},
		},
		Packets: detect.Measure{N: math.Round(a.Packets), Error: math.Ceil(z*math.Sqrt(a.Variance) + a.Missed)},
		Bytes:   detect.Measure{N: math.Round(a.Bytes), Error: math.Ceil(z*math.Sqrt(a.BytesVariance) + a.Missed*a.Bytes/max(a.Packets, 1))},
		Vectors: a.vectors(), Sample: a.sample.rows(a.Packets), Ordinary: a.ordinary,
	}
	if !a.Up {
		at.Now = detect.Rate{Covered: true}
	}
	at.Now.Covered = d.covered(min(d.warms[a.warm].hi, d.now) - 1)
	if state == detect.Closed {
		at.Closed = unix(d.now)
	}
	at.Targets, at.Hit = d.hits(a)
	at.Ingress = d.ingress(a)
	at.Sources = d.sources(a)
	at.Title, at.Why = title(&at, a), why(&at, a)
	return at
}

func rate(c *cell) detect.Rate {
	r := detect.Rate{
		Packets: detect.Measure{N: float64(c.p), Error: z * math.Sqrt(float64(c.v))},
		Bits:    detect.Measure{N: 8 * float64(c.b), Error: 8 * z * math.Sqrt(float64(c.vb))},
		Flows:   detect.Measure{N: float64(c.f)},
		Covered: true,
	}
	if c.p > 0 {
		r.Flows.Error = r.Packets.Error * float64(c.f) / float64(c.p)
	}
	return r
}

func (a *attack) severity() detect.Severity {
	l := a.limit.raise
	switch {
	case a.Rise:
		return detect.Note
	case direction(a) == detect.Incoming && (l.Packets > 0 && a.Peak >= 2*l.Packets || l.Bits > 0 && a.PeakBits >= 2*l.Bits):
		return detect.Urgent
	}
	return detect.Soon
}

// confidence is the probability, by our own judgement, that somebody attacks: 0.6 when
// 60 % of what came on top has the form of an attack, 0.9 when all has; a tenth less where
// exporters tell only of one direction, as an answer would have refuted it; half of what is
// missing to 1 less missing with each further witness, and never above 0.9 with one alone.
// A rise without form is 0.2.
func (a *attack) confidence() float64 {
	if a.Rise {
		return 0.2
	}
	c := 0.6 + 0.3*(min(a.Share, 1)-enough)/(1-enough)
	if !a.Both {
		c -= 0.1
	}
	c = min(c, 0.9)
	for range len(a.Witnesses) - 1 {
		c += (1 - c) / 2
	}
	return math.Round(1000*c) / 1000
}

// vectors are the classes of the attack by their packets. Later fragments belong to what
// they came with, when there is something.
func (a *attack) vectors() []detect.Vector {
	with := -1
	for c := range classes {
		if t := a.byClass[c]; t != nil && c != int(laterParts) && kinds[c].proto == packet.UDP && (with < 0 || t.Packets > a.byClass[with].Packets) {
			with = c
		}
	}
	var all []detect.Vector
	for c := range classes {
		t := a.byClass[c]
		if t == nil || c == int(laterParts) && with >= 0 && a.byClass[with].Packets > 0.05*t.Packets {
			continue
		}
		k := &kinds[c]
		p, b, variance, square := t.Packets, t.Bytes, t.Variance, t.Square
		if l := a.byClass[laterParts]; c == with && l != nil && t.Packets > 0.05*l.Packets {
			p, b, variance, square = p+l.Packets, b+l.Bytes, variance+l.Variance, square+l.Square
		}
		mean := b / max(p, 1e-9)
		v := detect.Vector{
			Name: k.name, Words: k.words(), Share: p / max(a.Packets, 1e-9), Bits: b / max(a.Bytes, 1e-9),
			Packets: detect.Measure{N: math.Round(p), Error: math.Ceil(z * math.Sqrt(variance))},
			Proto:   k.proto, SrcPort: k.port, Flags: k.flags,
			Length:  detect.Measure{N: math.Round(mean), Error: math.Round(math.Sqrt(max(square/max(p, 1e-9)-mean*mean, 0)))},
			Sources: counted(&t.sources), Ports: ports(&t.dst, t.Packets),
		}
		if v.SrcPort == 0 {
			v.SrcPort = onePort(&t.src, t.Packets)
		}
		v.DstPort = onePort(&t.dst, t.Packets)
		if c == int(synOnly) && measure(a.Measure) == byFlows && a.Peak < a.limit.raise.Packets && mean >= realSYN && a.Bogon < 0.01*a.Seen {
			// Programs that connect, by a system's own TCP: what hurts are the connections.
			v.Name, v.Words = kinds[tcpEmpty].name, kinds[tcpEmpty].words()
		}
		if c == int(dnsQuery) && slices.Contains(a.Witnesses, "names") {
			v.Name, v.Words = "dns-water-torture", detect.Text{JA: "DNS 水責め攻撃(ランダムサブドメイン)", EN: "DNS water torture (random subdomains)"}
		}
		if a.Rise {
			v.Name, v.Words = "rise", detect.Text{JA: "増加(攻撃の形なし)", EN: "rise (no form of attack)"}
		}
		all = append(all, v)
	}
	slices.SortStableFunc(all, func(x, y detect.Vector) int {
		return cmp.Or(cmp.Compare(max(y.Share, y.Bits), max(x.Share, x.Bits)), cmp.Compare(x.Name, y.Name))
	})
	for i, v := range all {
		if i > 0 && max(v.Share, v.Bits) < 0.01 {
			return all[:i]
		}
	}
	return all
}

// realSYN is how many bytes a SYN of an operating system has at least: with its options.
// Tools that forge addresses leave them out.
const realSYN = 50

func counted(s *sketch.Set) detect.Counted {
	c := detect.Counted{N: s.Count()}
	if !s.Exact() {
		c.Error = math.Ceil(z * s.Error() * float64(c.N))
	}
	return c
}

// onePort is the port of nearly all packets, 0 when there are several.
func onePort(p *[portsMost]portCount, all float64) uint16 {
	for _, c := range p {
		if c.Used && c.P > 0.95*all {
			return c.Port
		}
	}
	return 0
}

func ports(p *[portsMost]portCount, all float64) []detect.Share {
	var out []detect.Share
	for _, c := range p {
		if c.Used && c.P > 0.01*all {
			out = append(out, detect.Share{Key: strconv.Itoa(int(c.Port)), Share: min(c.P/max(all, 1e-9), 1), Packets: c.P, Bits: 8 * c.B})
		}
	}
	sortShares(out)
	return out
}

func sortShares(s []detect.Share) {
	slices.SortFunc(s, func(x, y detect.Share) int {
		return cmp.Or(cmp.Compare(y.Packets, x.Packets), cmp.Compare(x.Key, y.Key))
	})
}

// hits are the addresses of the object that are hit.
func (d *Detector) hits(a *attack) (detect.Counted, []detect.Share) {
	switch role(a.Role) {
	case hit, foreign:
		return detect.Counted{N: 1}, []detect.Share{{Key: a.Addr.String(), Share: 1, Packets: a.Packets, Bits: 8 * a.Bytes}}
	case takes:
		return detect.Counted{N: 1}, nil
	}
	var out []detect.Share
	for t, n := range a.targets {
		out = append(out, detect.Share{Key: t.String(), Share: n / max(a.Packets, 1e-9), Packets: n, Bits: 8 * a.Bytes * n / max(a.Packets, 1e-9)})
	}
	sortShares(out)
	return counted(&a.dests), out[:min(len(out), 20)]
}

func (d *Detector) ingress(a *attack) []detect.Share {
	var out []detect.Share
	for k, t := range a.ingress {
		n := uint32(k >> 32)
		name := strconv.Itoa(int(n))
		if e := d.exporters[n]; e != nil && e.name != "" {
			name = e.name
		}
		out = append(out, detect.Share{
			Key: name + "/" + strconv.Itoa(int(uint32(k))), Share: t.Packets / max(a.Packets, 1e-9), //nolint:gosec // the lower half
			Packets: t.Packets, Bits: 8 * t.Bytes,
		})
	}
	sortShares(out)
	return out
}

// sources says who sends. Countries and networks are those of the sample, so that a share
// is uncertain by some ±4 %.
func (d *Detector) sources(a *attack) detect.Sources {
	s := detect.Sources{Count: counted(&a.sources), Infected: int(a.Infected), Own: int(a.Own), Looked: int(a.Looked)}
	if direction(a) == detect.Outgoing {
		s.Own = len(a.partners)
	}
	if d.ports.Place != nil {
		countries, networks := map[string]*detect.Share{}, map[string]*detect.Share{}
		for _, r := range a.sample.rows(a.Packets) {
			cc, as := d.ports.Place(packet.FromNetip(r.Src))
			country, network := "", ""
			if cc != [2]byte{} {
				country = string(cc[:])
			}
			if as != 0 {
				network = "AS" + strconv.FormatUint(uint64(as), 10)
			}
			add(countries, country, &r)
			add(networks, network, &r)
		}
		s.Countries, s.Networks = shares(countries, a.Packets), shares(networks, a.Packets)
	}
	s.Forged, s.ForgedWhy = a.forged()
	return s
}

func add(m map[string]*detect.Share, key string, r *detect.Sample) {
	t := m[key]
	if t == nil {
		t = &detect.Share{Key: key}
		m[key] = t
	}
	t.Packets += r.Packets
	t.Bits += 8 * r.Bytes
}

func shares(m map[string]*detect.Share, all float64) []detect.Share {
	var out []detect.Share
	for _, t := range m {
		t.Share = t.Packets / max(all, 1e-9)
		out = append(out, *t)
	}
	sortShares(out)
	return out
}

// forged says whether the sources are spoofed, as far as flows can tell.
func (a *attack) forged() (*bool, detect.Text) {
	yes, no := true, false
	n := a.Seen
	var answers float64
	for c, t := range a.byClass {
		if t != nil && (c >= int(reflected) || c == int(synAck)) {
			answers += t.Packets
		}
	}
	each := float64(a.sources.Count()) / max(n, 1)
	switch {
	case n < 100:
		return nil, detect.Text{}
	case answers > 0.9*a.Packets:
		return &no, detect.Text{
			JA: "反射サーバーが実際に応答しています。詐称されているのは被害者のアドレスです。",
			EN: "Reflectors really answer: what is forged is the victim's address, in what they were asked.",
		}
	case a.Bogon > 0.01*n:
		return &yes, detect.Textf("送信元の %.1f %% が、インターネットに存在しえないアドレスです。",
			"%.1f %% of the packets come from addresses that nobody on the Internet can have.", 100*a.Bogon/n)
	case a.Exact > 0.9*n && n >= 1000 && a.Single > 0.8*n && each > 0.8:
		return &yes, detect.Textf("ほぼすべてのパケットの送信元が異なります(%s パケットに %s アドレス)。",
			"Nearly every packet has a source of its own (%s packets, %s addresses).",
			detect.Grouped(uint64(n)), detect.Grouped(a.sources.Count()))
	case a.Exact > 0.9*n && each < 0.1:
		return &no, detect.Textf("同じ送信元が繰り返し送信しています(%s パケットに %s アドレス)。",
			"The same sources send again and again (%s packets, %s addresses).",
			detect.Grouped(uint64(n)), detect.Grouped(a.sources.Count()))
	}
	return nil, detect.Text{JA: "標本からは判断できません。", EN: "The samples don't tell."}
}

func fact(key string, m detect.Measure, unit string) detect.Fact {
	f := detect.Fact{Key: key, Value: detect.Grouped(uint64(math.Round(max(m.N, 0)))), Unit: unit}
	if m.Error > 0 {
		f.Error = "±" + detect.Grouped(uint64(math.Ceil(m.Error)))
	}
	return f
}

// finding is the attack for the list of findings.
func finding(at *detect.Attack) detect.Finding {
	f := detect.Finding{
		ID: at.ID, Detector: "ddos", Subject: subject(&at.Object), State: at.State, Severity: at.Severity, Confidence: at.Confidence,
		Opened: at.Opened, Changed: at.Changed, Closed: at.Closed, Title: at.Title, Why: at.Why,
	}
	f.Evidence = append(f.Evidence,
		detect.Fact{Key: "direction", Value: string(at.Direction)},
		fact("peak_packets", at.Peak.Packets, "packets/s"), fact("peak_bits", at.Peak.Bits, "bit/s"),
		fact("packets", at.Packets, "packets"),
		fact("sources", detect.Measure{N: float64(at.Sources.Count.N), Error: at.Sources.Count.Error}, "addresses"))
	for _, v := range at.Vectors {
		f.Evidence = append(f.Evidence, detect.Fact{Key: "vector", Value: fmt.Sprintf("%s %.0f %%", v.Name, 100*v.Share)})
	}
	f.Evidence = append(f.Evidence,
		detect.Fact{Key: "pulses", Value: strconv.Itoa(at.Pulses)},
		detect.Fact{Key: "witnesses", Value: strings.Join(at.Witnesses, ", ")})
	return f
}

// subject is what a finding is about.
func subject(o *detect.Object) string {
	switch o.Kind {
	case detect.AddressObject:
		return o.Prefix.Addr().String()
	case detect.PrefixObject:
		return o.Prefix.String()
	case detect.CustomerObject:
		return "customer " + o.Name
	}
	return "link " + o.Name
}
