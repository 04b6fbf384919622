package gates_test

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sakimori/observe/telescope"
	"sakimori/sim"
)

// service is the key of scanners, victims and ports.
type service struct {
	address  netip.Addr
	port     uint16
	protocol string
}

func (s service) String() string { return fmt.Sprintf("%s %d/%s", s.address, s.port, s.protocol) }

func truthScanner(s *sim.Scanner) service {
	return service{s.Source, s.Port, telescope.ProtocolName(s.Protocol)}
}

// The telescope's definition of a scan: three dark addresses on one port, or
// fifteen ports in five minutes, or packets that only a scanning tool sends.
// Whoever asked less can't be told from a mistake by anybody.
const (
	scanTargets  = 3
	scanPorts    = 15
	remembered   = 7 * 24 * time.Hour // Config.Slow
	oftenEnough  = 24 * time.Hour     // mean gap from which longer spans are safe to be joined
	toolPackets  = 3                  // most that any rule asks for
	betweenParts = 5 * time.Minute    // silence that ends an attack
)

// irregular is what the binary says of a SYN that no operating system sends.
const irregular = "irregular-syn"

// findable tells whether a truth scanner meets the definition.
func findable(s *sim.Scanner) bool {
	if s.Role == sim.RoleVertical {
		return s.Ports >= scanPorts
	}
	length := s.Last.Sub(s.First)
	return s.Targets >= scanTargets && (length <= remembered || length/time.Duration(s.Packets) <= oftenEnough)
}

// scanners: by source, port and protocol; vertical scans by source.
func scanners(o *outcome, s *score) {
	said, true1, vertical := map[service]bool{}, map[service]bool{}, map[netip.Addr]bool{}
	for i := range o.truth.Scanners {
		v := &o.truth.Scanners[i]
		if v.Role == sim.RoleVertical {
			vertical[v.Source] = true
		} else {
			true1[truthScanner(v)] = true
		}
	}
	sources := map[netip.Addr]bool{}
	for _, v := range o.doc.Scanners {
		k := service{v.Source, v.Port, v.Protocol}
		said[k] = true
		switch {
		case vertical[v.Source] && !true1[k]:
			if !sources[v.Source] {
				s.claim(true, "")
			}
		default:
			s.claim(true1[k] || v.MaybeVictim && o.forged(k), "scanner %s: %s", k, show(v))
		}
		sources[v.Source] = true
	}
	for i := range o.truth.Scanners {
		v := &o.truth.Scanners[i]
		switch {
		case !findable(v):
			s.beyond++
		case v.Role == sim.RoleVertical:
			s.want(sources[v.Source], "vertical scan %s", show(v))
		default:
			s.want(said[truthScanner(v)], "scanner %s", show(v))
		}
	}
}

// forged tells whether somebody asks in the name of this address: the list of
// scanners may show it if it says that it may be so.
func (o *outcome) forged(k service) bool {
	for _, a := range o.scene.Actors {
		f, ok := a.(sim.Forged)
		if ok && slices.Contains(f.From, k.address) && slices.ContainsFunc(f.Ports, func(w sim.Want) bool { return w.Port == k.port }) {
			return true
		}
	}
	return false
}

// doubtful tells whether everything that an address does is said to be perhaps
// somebody else's: it then can't be called infected.
func (o *outcome) doubtful(a netip.Addr) bool {
	n := 0
	for _, v := range o.doc.Scanners {
		if v.Source == a {
			if n++; !v.MaybeVictim {
				return false
			}
		}
	}
	return n > 0
}

// tools: no wrong name ever, and the nameable named.
func tools(o *outcome, s *score) {
	type name struct{ tool, versions string }
	truth, vertical := map[service]*sim.Scanner{}, map[netip.Addr]*sim.Scanner{}
	for i := range o.truth.Scanners {
		v := &o.truth.Scanners[i]
		if v.Role == sim.RoleVertical {
			vertical[v.Source] = v
		} else {
			truth[truthScanner(v)] = v
		}
	}
	named := map[service]name{}
	namedSource := map[netip.Addr]name{}
	for _, v := range o.doc.Scanners {
		if v.Tool == "unknown" {
			continue
		}
		k, n := service{v.Source, v.Port, v.Protocol}, name{v.Tool, v.ToolVersions}
		named[k], namedSource[v.Source] = n, n
		of := truth[k]
		if of == nil {
			of = vertical[v.Source]
		}
		right := of != nil && n == name{of.Tool, of.Versions}
		if v.Tool == irregular { // names no tool: it is right of whatever isn't a kernel's
			right = of != nil && of.Tool != "unknown"
		}
		s.claim(right, "tool of %s is in truth %s", show(v), show(of))
	}
	for i := range o.truth.Scanners {
		v := &o.truth.Scanners[i]
		n := name{v.Tool, v.Versions}
		switch {
		case !v.Nameable:
		case v.Packets < toolPackets || !findable(v):
			s.beyond++
		case v.Role == sim.RoleVertical:
			s.want(namedSource[v.Source] == n, "tool of vertical scan %s", show(v))
		default:
			s.want(named[truthScanner(v)] == n, "tool of %s, said %v", show(v), named[truthScanner(v)])
		}
	}
}

// infected: own addresses.
func infected(o *outcome, s *score) {
	truth, said := map[netip.Addr]*sim.Infected{}, map[netip.Addr]bool{}
	for i := range o.truth.Infected {
		truth[o.truth.Infected[i].Address] = &o.truth.Infected[i]
	}
	for _, v := range o.doc.Infected {
		if !said[v.Address] {
			s.claim(truth[v.Address] != nil, "infected %s", show(v))
		}
		said[v.Address] = true
	}
	for a, v := range truth {
		if !said[a] && o.doubtful(a) {
			s.beyond++
			continue
		}
		s.want(said[a], "infected %s", show(v))
	}
	for _, f := range o.findings {
		if f.Detector != "infected" {
			continue
		}
		a := netip.MustParseAddr(f.Subject)
		s.claim(said[a], "the finding %s is about nobody in the document", f.ID)
		if v := truth[a]; v != nil {
			s.delays = append(s.delays, o.first[f.ID].Sub(v.First))
		}
	}
}

// family: what infected them, by address, and the ports that they ask for.
func family(o *outcome, s *score) {
	said := map[netip.Addr]string{}
	for _, v := range o.doc.Infected {
		if said[v.Address] != "mirai" {
			said[v.Address] = v.Family
		}
		i := slices.IndexFunc(o.truth.Infected, func(x sim.Infected) bool { return x.Address == v.Address })
		if i >= 0 && v.Family != "unknown" {
			x := &o.truth.Infected[i]
			s.claim(v.Family == x.Family && slices.Contains(x.Ports, v.Port), "%s is in truth %s", show(v), show(x))
		}
	}
	for i := range o.truth.Infected {
		x := &o.truth.Infected[i]
		if said[x.Address] == "" && o.doubtful(x.Address) {
			s.beyond++
			continue
		}
		s.want(said[x.Address] == x.Family, "family of %s, said %q", show(x), said[x.Address])
	}
}

// overlap tells whether two attacks may be the same one.
func overlap(aFirst, aLast, bFirst, bLast time.Time) bool {
	return !aFirst.After(bLast.Add(betweenParts)) && !bFirst.After(aLast.Add(betweenParts))
}

func sameService(v *sim.Victim, port uint16, protocol string) bool {
	if v.Protocol != 6 && v.Protocol != 17 {
		return true // an answer to ping has no port
	}
	return v.Port == port && telescope.ProtocolName(v.Protocol) == protocol
}

// victims: by address and service. An attack of which some services alone would
// stay below the thresholds is one attack all the same.
func victims(o *outcome, s *score) {
	for _, d := range o.doc.Victims {
		attacked, known := false, false
		for i := range o.truth.Victims {
			v := &o.truth.Victims[i]
			if v.Address == d.Address && overlap(v.First, v.Last, d.First, d.Last) {
				attacked = attacked || v.Attack
				known = known || sameService(v, d.Port, d.Protocol)
			}
		}
		s.claim(attacked && known, "victim %s (address attacked: %v, service: %v)", show(d), attacked, known)
	}
	for i := range o.truth.Victims {
		v := &o.truth.Victims[i]
		if !v.Attack {
			s.beyond++
			continue
		}
		found, packets := false, uint64(0)
		for _, d := range o.doc.Victims {
			if v.Address == d.Address && sameService(v, d.Port, d.Protocol) && overlap(v.First, v.Last, d.First, d.Last) {
				found, packets = true, packets+d.Packets
			}
		}
		s.want(found && packets == v.Packets, "victim %s, seen with %d packets", show(v), packets)
	}
}

// attacks: the findings of victims, one for each attack, and how late they are.
func attacks(o *outcome, s *score) {
	hit := map[int]bool{}
	for _, f := range o.findings {
		if f.Detector != "ddos" {
			continue
		}
		ok := false
		for i := range o.truth.Victims {
			v := &o.truth.Victims[i]
			if !v.Attack || v.Address.String() != f.Subject || f.Opened.Before(v.First.Add(-betweenParts)) || f.Opened.After(v.Last) {
				continue
			}
			if ok, hit[i] = true, true; !f.Opened.After(v.First) {
				s.delays = append(s.delays, o.first[f.ID].Sub(v.First))
			}
		}
		s.claim(ok, "finding %s: %s", f.ID, f.Title.EN)
	}
	for i := range o.truth.Victims {
		if v := &o.truth.Victims[i]; v.Attack {
			s.want(hit[i], "finding of %s", show(v))
		}
	}
}

// innocents: those who mean no harm are accused of nothing.
func innocents(o *outcome, s *score) {
	guilty := map[netip.Addr]bool{}
	for _, v := range o.truth.Infected {
		guilty[v.Address] = true
	}
	for _, v := range o.truth.Victims {
		guilty[v.Address] = true
	}
	scanner, accused := map[service]bool{}, map[string]string{}
	for _, v := range o.doc.Scanners {
		scanner[service{v.Source, v.Port, v.Protocol}] = true
	}
	for _, v := range o.doc.Infected {
		accused[v.Address.String()] = "infected"
	}
	for _, v := range o.doc.Victims {
		accused[v.Address.String()] = "victim"
	}
	for _, f := range o.findings {
		accused[f.Subject] = f.Detector
	}
	for _, q := range slices.Concat(o.truth.Misconfigured, o.truth.Benign) {
		as := accused[q.Address.String()]
		if guilty[q.Address] {
			as = ""
		}
		if scanner[service{q.Address, q.Port, telescope.ProtocolName(q.Protocol)}] {
			as = "scanner"
		}
		s.claim(as == "", "%s accused as %s", show(q), as)
	}
}
