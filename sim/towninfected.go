package sim

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sakimori/base/wire/packet"
)

// Spell is a time in which a device of a line was infected.
type Spell struct {
	Line   string    `json:"line"`
	Family string    `json:"family"` // "mirai", or "unknown"
	Shared bool      `json:"shared"` // the line is behind the translator
	From   time.Time `json:"from"`
	To     time.Time `json:"to,omitzero"` // when it was cleaned; zero: it lasts
	line   int32
}

// visit is a part of a spell with one address, and one block of ports.
type visit struct {
	spell    int
	session  int
	block    int // -1: the address isn't shared
	from, to int64
}

// choose says which lines are infected sooner or later.
func (l *Life) choose(r *rng) {
	order := make([]int32, l.Lines)
	for i := range order {
		order[i] = int32(i)
	}
	for i := range l.Infected {
		k := i + int(r.below(uint64(len(order)-i)))
		order[i], order[k] = order[k], order[i]
	}
	l.ill = order[:l.Infected]
}

// infect gives their lines spells: some last, some are cleaned, some come back.
func (l *Life) infect(r *rng) {
	const day = 24 * time.Hour
	between := func(a, b time.Duration) int64 { return int64(a) + int64(r.below(uint64(b-a))) }
	for i, line := range l.ill {
		family := "mirai"
		if i%5 == 4 {
			family = "unknown"
		}
		from := l.start + between(l.Duration/20, l.Duration/3)
		to := from + between(day, 4*day)
		switch i % 4 {
		case 0: // it lasts
			l.spell(line, family, from, l.end)
		case 2: // it comes back: while the desk still looks, or after the quiet period
			from = l.start + between(l.Duration/30, l.Duration/8)
			to = from + between(day, 3*day)
			l.spell(line, family, from, to)
			again := to + between(9*day, 12*day)
			if i%8 == 2 {
				again = to + between(3*day, 5*day)
			}
			l.spell(line, family, again, again+between(2*day, 4*day))
		case 3: // at any time
			from = l.start + between(l.Duration/3, l.Duration*9/10)
			l.spell(line, family, from, from+between(day, 4*day))
		default:
			l.spell(line, family, from, to)
		}
	}
	slices.SortFunc(l.spells, func(a, b Spell) int { return cmp.Or(cmp.Compare(a.line, b.line), a.From.Compare(b.From)) })
	for i := range l.visits {
		l.visits[i].spell = slices.IndexFunc(l.spells, func(s Spell) bool {
			at := time.Unix(0, l.visits[i].from).UTC()
			return s.line == l.sessions[l.visits[i].session].line && !at.Before(s.From) && (s.To.IsZero() || at.Before(s.To))
		})
	}
}

// spell adds one, if its line was on the net meanwhile.
func (l *Life) spell(line int32, family string, from, to int64) {
	const least = int64(15 * time.Minute)
	if from >= l.end {
		return
	}
	n := len(l.visits)
	add := func(session, block int, a, b int64) {
		if a, b = max(a, from, l.start), min(b, to, l.end); b-a >= least {
			l.visits = append(l.visits, visit{session: session, block: block, from: a, to: b})
		}
	}
	for i := range l.sessions {
		if s := &l.sessions[i]; s.line == line && !l.lines[line].shared {
			add(i, -1, s.from+int64(20*time.Second), s.to)
		}
	}
	for i := range l.blocks {
		if b := &l.blocks[i]; l.sessions[b.session].line == line {
			add(int(b.session), i, b.from+int64(20*time.Second), b.to)
		}
	}
	if len(l.visits) == n {
		return
	}
	s := Spell{Line: lineName(line), Family: family, Shared: l.lines[line].shared, From: time.Unix(0, from).UTC(), To: time.Unix(0, to).UTC(), line: line}
	if to >= l.end {
		s.To = time.Time{}
	}
	l.spells = append(l.spells, s)
}

// lineName is the name of a contract in the accounting.
func lineName(line int32) string { return fmt.Sprintf("line%06d@example.jp", line+1) }

// publicAt is where a visit's packets come from, and the ports that they may have.
func (l *Life) publicAt(v *visit) (addr netip.Addr, low uint16) {
	if v.block >= 0 {
		b := &l.blocks[v.block]
		return packet.V4(b.addr).Netip(), b.low
	}
	return packet.V4(l.sessions[v.session].addr).Netip(), 0
}

// Own are the addresses that a town lends, and Shared those of its translator.
func (*Town) Own() []netip.Prefix { return []netip.Prefix{town4, town4s, town6} }

// Actors are the town's senders to dark space, for a scene that may begin before or
// after the town: infected devices from the address that they have then, and subscribers
// who mean no harm, above all those who have an infected one's address after them.
func (l *Life) Actors(start time.Time) []Actor {
	var actors []Actor
	span := func(from, to int64) (Span, bool) {
		a, b := time.Duration(from-start.UnixNano()), time.Duration(to-start.UnixNano())
		a = max(a, 0)
		return Span{From: a, For: b - a}, b > a
	}
	followed := map[int]bool{}
	for i := range l.visits {
		v := &l.visits[i]
		addr, low := l.publicAt(v)
		when, is := span(v.from, v.to)
		if !is {
			continue
		}
		s := Scan{Source: addr, Form: FormMirai, Ports: MiraiPorts(), Role: RoleBot, Pace: PerHour(30), Span: when, FromPort: low}
		if l.spells[v.spell].Family != "mirai" {
			s.Form, s.Ports = FormLinux, TCP(5555, 37215)
		}
		actors = append(actors, s)
		if next := l.next(v.session); v.block < 0 && next >= 0 && !followed[next] {
			followed[next] = true
			actors = append(actors, l.follower(next, span)...)
		}
	}
	for i := 0; i < len(l.sessions); i += 97 {
		x := &l.sessions[i]
		if when, is := span(x.from, x.to); is && !l.lines[x.line].shared && l.lines[x.line].fixed == 0 && !l.infected(x.line) {
			actors = append(actors, Misconfigured{Source: packet.V4(x.addr).Netip(), Port: portNTP, Targets: ips("198.18.9.1"), Pace: PerHour(6), Span: when})
		}
	}
	return actors
}

// follower is what the next subscriber of an infected one's address sends to dark space.
func (l *Life) follower(next int, span func(from, to int64) (Span, bool)) []Actor {
	x := &l.sessions[next]
	if l.infected(x.line) {
		return nil
	}
	when, is := span(x.from+int64(time.Minute), x.to)
	if !is {
		return nil
	}
	addr := packet.V4(x.addr).Netip()
	switch next % 3 {
	case 0: // somebody's telnet to one dark address
		return []Actor{Curl{Source: addr, Target: ip("198.18.80.81"), Port: 23, At: when.From, Tries: 4}}
	case 1:
		return []Actor{Misconfigured{Source: addr, Port: portSyslog, Targets: ips("198.18.5.5"), Pace: PerHour(12), Span: when}}
	}
	return nil
}

// next is the session that has the address of another after it, -1 none.
func (l *Life) next(session int) int {
	for i := session + 1; i < len(l.sessions); i++ {
		if l.sessions[i].addr == l.sessions[session].addr {
			return i
		}
	}
	return -1
}

func (l *Life) infected(line int32) bool {
	return slices.ContainsFunc(l.spells, func(s Spell) bool { return s.line == line })
}

// Scene is what the telescope sees of the town, with a little of the rest of the world.
func (l *Life) Scene() Scene {
	s := base("town", l.Seed, l.Duration)
	s.Start, s.Own = l.Start, l.Own()
	s.Actors = append(l.Actors(l.Start), Crowd{Size: 300, Ports: usual(), Skew: true, Pace: PerHour(30)})
	return s
}
