package access

import (
	"maps"
	"net/netip"
	"sync/atomic"
)

// counts are of one client.
type counts struct {
	client Client
	index  int

	requests, records, answered, duplicates, ignored, unkept atomic.Uint64
	refused                                                  [reasons]atomic.Uint64
}

// ClientStats is what came from one client since the start.
type ClientStats struct {
	Name       string
	Prefix     netip.Prefix
	Requests   uint64            // datagrams
	Records    uint64            // kept
	Answered   uint64            // with an Accounting-Response
	Duplicates uint64            // retransmissions of what was, or is being, kept
	Ignored    uint64            // answered, though they say nothing of an address
	Unkept     uint64            // not answered, as the sink failed
	Refused    map[string]uint64 // not answered, by reason (English)
}

// ServerStats is what came since the start.
type ServerStats struct {
	Clients []ClientStats // in the order of the configuration
	// Unknown are the datagrams from addresses of no client: of the first hundred
	// such addresses, and of all the others.
	Unknown       map[netip.Addr]uint64
	UnknownOthers uint64
	Lost          uint64 // datagrams for which the kernel had no room; Linux only
}

// Stats may be asked at any time.
func (s *Server) Stats() ServerStats {
	out := ServerStats{Lost: s.lost.Load()}
	for _, c := range s.clients {
		k := ClientStats{
			Name: c.client.Name, Prefix: c.client.Prefix, Requests: c.requests.Load(), Records: c.records.Load(), Answered: c.answered.Load(),
			Duplicates: c.duplicates.Load(), Ignored: c.ignored.Load(), Unkept: c.unkept.Load(), Refused: map[string]uint64{},
		}
		for r := range reasons {
			if n := c.refused[r].Load(); n > 0 {
				k.Refused[r.String()] = n
			}
		}
		out.Clients = append(out.Clients, k)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out.Unknown, out.UnknownOthers = maps.Clone(s.unknown), s.others
	return out
}

// stranger counts a datagram from an address of no client.
func (s *Server) stranger(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.unknown[a]; !ok && len(s.unknown) == mostUnknown {
		s.others++
		return
	}
	s.unknown[a]++
}
