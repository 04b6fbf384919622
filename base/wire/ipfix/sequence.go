package ipfix

// Sequence follows the sequence numbers of one exporter and observation domain. Those of
// version 9 count messages (RFC 3954 §5.1), those of IPFIX count data records, options
// records among them (RFC 7011 §3.1). The zero value is ready.
type Sequence struct {
	next  uint32
	known bool
	gap   Gap
}

// Gap counts what didn't come as it was sent.
type Gap struct {
	Lost     uint64 // messages of version 9, records of IPFIX; a late one is lost first and taken off when it comes
	Late     uint64 // messages that came after a later one
	Restarts uint64 // the numbers began anew
}

// window is how far back a number may lie that belongs to a late message; further back,
// the exporter has begun anew. Messages hold fewer than 64 records, and networks
// reorder within a few.
const window = 1024

// farthest is how far ahead a number may lie that tells a loss: some minutes of the
// busiest exporter's records. Further, the exporter has begun anew with another number.
const farthest = 1 << 24

// Take takes the header of a message with so many records; a negative number says that
// they couldn't be counted because their template wasn't there. It returns what this
// message added.
func (s *Sequence) Take(h *Header, records int) Gap {
	if h.Version == V9 {
		return s.Step(h.Sequence, 1)
	}
	return s.Step(h.Sequence, records)
}

// Step takes a message of any protocol by its number and by how much the next one's is
// higher, negative where that isn't known. NetFlow version 5 counts flows, sFlow datagrams.
func (s *Sequence) Step(number uint32, by int) (g Gap) {
	step := uint32(max(by, 0)) //nolint:gosec // fewer than the bytes of a message
	ahead := number - s.next
	switch {
	case !s.known:
	case ahead < farthest:
		g.Lost = uint64(ahead)
	case -ahead <= window:
		g.Late = 1
		s.gap.Late++
		s.gap.Lost -= min(s.gap.Lost, uint64(step))
		return g
	default:
		g.Restarts = 1
	}
	s.gap.Lost += g.Lost
	s.gap.Restarts += g.Restarts
	s.next, s.known = number+step, by >= 0
	return g
}

// Total is what all messages came to.
func (s *Sequence) Total() Gap { return s.gap }
