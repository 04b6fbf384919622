package sim

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"sakimori/base/wire/packet"
)

// Told is one report from outside, and what is true of it.
type Told struct {
	Type    string     `json:"type"` // Shadowserver's
	At      time.Time  `json:"at"`   // unique in its file, to the second
	Address netip.Addr `json:"address"`
	Port    uint16     `json:"port"` // 0 not told
	// Line is whose device it was, "" when nobody is to be named; Why says why:
	// "infected" and "near" (within two seconds of a change of hands, or the error of the
	// clock that tells it: they, or nobody), "no_port" (shared, the port isn't told), "vacant" (nobody had it), "before" (older than the
	// log), "mediated" (through a resolver) and "victim" (it did nothing).
	Line string `json:"line"`
	Why  string `json:"why"`
	// Moved says that somebody else has the address at the end, when the report is read.
	Moved bool `json:"moved"`
}

type report struct {
	Told

	family string
	device string // its kind, "" not seen
}

// devices are what is infected, by the number of the line; that of every fourth isn't seen.
var devices = [...]string{"ip-camera", "dvr", "router", ""}

// The types of reports that a town gets.
const (
	typeSinkhole  = "event4_sinkhole"
	typeSinkhole6 = "event6_sinkhole"
	typeDNS       = "event4_sinkhole_dns"
	typeVictim    = "event4_honeypot_ddos_amp"
)

// ReportTypes are the files that Reports writes.
var ReportTypes = []string{typeSinkhole, typeSinkhole6, typeDNS, typeVictim}

// tell makes what others report.
func (l *Life) tell(r *rng) {
	taken := map[string]bool{}
	add := func(x report) {
		x.At = x.At.UTC().Truncate(time.Second)
		key := x.Type + x.At.Format(time.RFC3339)
		if taken[key] {
			return // two of the same second couldn't be told apart
		}
		taken[key] = true
		x.Moved = l.movedOn(&x)
		l.reports = append(l.reports, x)
	}
	for i := range l.visits {
		l.reportVisit(&l.visits[i], r, add)
	}
	l.doubtful(r, add)
	slices.SortFunc(l.reports, func(a, b report) int { return cmp.Or(cmp.Compare(a.Type, b.Type), a.At.Compare(b.At)) })
}

// reportVisit makes about a report a day.
func (l *Life) reportVisit(v *visit, r *rng, add func(report)) {
	s := &l.spells[v.spell]
	addr, low := l.publicAt(v)
	margin := int64(time.Minute) // those near a change of hands are made apart
	for at := v.from + margin + int64(r.below(uint64(min(v.to-v.from-2*margin, int64(18*time.Hour))))); at < v.to-margin; at += int64(20*time.Hour) + int64(r.below(uint64(8*time.Hour))) {
		x := report{Told: Told{Type: typeSinkhole, At: time.Unix(0, at), Address: addr, Port: 1024 + uint16(r.below(60000)), Line: s.Line, Why: "infected"}, family: "mirai"}
		if s.Family != "mirai" {
			x.family = "gafgyt"
		}
		x.device = devices[l.sessions[v.session].line%int32(len(devices))]
		switch {
		case low != 0 && r.below(8) == 0:
			x.Port, x.Line, x.Why = 0, "", "no_port"
		case low != 0:
			x.Port = low + uint16(r.below(blockPorts))
		case r.below(10) == 0:
			a := l.prefix6(&l.sessions[v.session]).Addr().As16()
			a[7], a[8], a[15] = byte(r.u64()), byte(r.u64()), byte(r.u64())
			x.Type, x.Address = typeSinkhole6, netip.AddrFrom16(a)
		}
		add(x)
	}
	if v.block >= 0 {
		return
	}
	near := func(at int64) {
		add(report{Told: Told{Type: typeSinkhole, At: time.Unix(0, at), Address: addr, Port: 50000, Line: s.Line, Why: "near"}, family: "mirai"})
	}
	x := &l.sessions[v.session]
	if k := l.next(v.session); k >= 0 && l.sessions[k].after == int32(v.session) && v.to == x.to {
		near(x.to - int64(500*time.Millisecond))
	}
	if x.after >= 0 && l.sessions[x.after].addr == x.addr && v.from-x.from <= int64(20*time.Second) {
		near(v.from + int64(time.Second)) // by a clock that is off before the change
	}
}

// doubtful are the reports that must accuse nobody.
func (l *Life) doubtful(r *rng, add func(report)) {
	add4 := func(typ, why string, at int64, addr uint32) {
		add(report{Told: Told{Type: typ, At: time.Unix(0, at), Address: packet.V4(addr).Netip(), Port: 40000, Why: why}, family: "mirai"})
	}
	many := max(10, l.Lines/10)
	for n := range many {
		s := &l.sessions[r.below(uint64(len(l.sessions)))]
		from, to := max(s.from, l.start), s.to
		if l.lines[s.line].shared || l.lines[s.line].fixed != 0 || to-from < int64(time.Hour) {
			continue
		}
		mid := from + int64(r.below(uint64(to-from)))
		switch n % 4 {
		case 0:
			if !l.infected(s.line) {
				add4(typeDNS, "mediated", mid, s.addr)
			}
		case 1:
			add4(typeVictim, "victim", mid, s.addr)
		case 2:
			add4(typeSinkhole, "before", l.start-int64(3*24*time.Hour)-int64(r.below(uint64(24*time.Hour))), s.addr)
		default: // an address that was never lent
			add4(typeSinkhole, "vacant", mid, first4(town4)+30_000+uint32(r.below(2000)))
		}
	}
	for i := range l.sessions {
		s := &l.sessions[i]
		if k := l.next(i); k >= 0 && i%40 == 0 && !l.lines[s.line].shared && !s.silent && !s.cut && l.sessions[k].from-s.to > int64(20*time.Minute) && s.to > l.start {
			add4(typeSinkhole, "vacant", s.to+int64(10*time.Minute), s.addr)
		}
	}
}

// movedOn tells whether the address of a report is another's at the end.
func (l *Life) movedOn(x *report) bool {
	if x.Line == "" || !x.Address.Is4() {
		return false
	}
	v := packet.FromNetip(x.Address).V4()
	for i := len(l.sessions) - 1; i >= 0; i-- {
		if s := &l.sessions[i]; s.addr == v && !l.lines[s.line].shared {
			return lineName(s.line) != x.Line
		}
	}
	return false
}

// Reports writes those of one type, of a time from one moment to just before another, as
// Shadowserver writes them, and says how many.
func (l *Life) Reports(w io.Writer, typ string, from, until time.Time) (n int, err error) {
	if _, err := io.WriteString(w, `"timestamp","protocol","src_ip","src_port","src_asn","src_geo","device_type","dst_ip","dst_port","tag","infection","family"`+"\n"); err != nil {
		return 0, err
	}
	for i := range l.reports {
		x := &l.reports[i]
		if x.Type != typ || x.At.Before(from) || !x.At.Before(until) {
			continue
		}
		port, asked, proto, tag := fmt.Sprint(x.Port), "80", "tcp", x.family
		switch {
		case x.Port == 0:
			port = ""
		case typ == typeDNS:
			asked, proto = "53", "udp"
		case typ == typeVictim:
			asked, proto, tag = "123", "udp", "ddos-amp"
		}
		if _, err := fmt.Fprintf(w, "\"%s\",\"%s\",\"%s\",\"%s\",\"64500\",\"JP\",\"%s\",\"192.0.2.10\",\"%s\",\"%s\",\"%s\",\"%s\"\n",
			x.At.Format(time.DateTime), proto, x.Address, port, x.device, asked, tag, x.family, x.family); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
