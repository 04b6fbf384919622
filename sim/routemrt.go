package sim

import (
	"encoding/binary"
	"io"
	"net/netip"
)

// The collector of route scenes.
var (
	collector4  = netip.MustParseAddr("198.18.255.1")
	collector6  = netip.MustParseAddr("2001:db8:b6:ffff::1")
	collectorAS = uint32(homeAS)
)

// MRT types (RFC 6396).
const (
	mrtTable   = 13
	mrtBGP4MP  = 17 // with microseconds
	mrtPeers   = 1
	mrtRIB4    = 2
	mrtRIB6    = 4
	mrtMessage = 4 // with AS numbers of four bytes
	mrtState   = 5
)

// WriteMRT writes a scene as a collector's files: the table at the start (TABLE_DUMP_V2)
// and what came after it (BGP4MP_ET with four-byte ASes).
func (s RouteScene) WriteMRT(dump, updates io.Writer) (RouteTruth, error) {
	return s.Play(&mrtWriter{dump: dump, updates: updates})
}

// mrtWriter is the sink of files.
type mrtWriter struct {
	dump, updates io.Writer
	peers         []RoutePeer
	start         uint32
	seq           uint32
	buf           []byte
}

// record writes what buf holds behind a head.
func (m *mrtWriter) record(w io.Writer) error {
	binary.BigEndian.PutUint32(m.buf[8:], uint32(len(m.buf)-12))
	_, err := w.Write(m.buf)
	return err
}

func (m *mrtWriter) head(seconds uint32, kind, sub uint16) {
	m.buf = binary.BigEndian.AppendUint32(m.buf[:0], seconds)
	m.buf = binary.BigEndian.AppendUint16(m.buf, kind)
	m.buf = binary.BigEndian.AppendUint16(m.buf, sub)
	m.buf = append(m.buf, 0, 0, 0, 0)
}

func (m *mrtWriter) Begin(start int64, peers []RoutePeer) error {
	m.start, m.peers = uint32(start/1e9), append([]RoutePeer{}, peers...)
	m.head(m.start, mrtTable, mrtPeers)
	m.buf = append(m.buf, collector4.AsSlice()...)
	const view = "sim"
	m.buf = append(binary.BigEndian.AppendUint16(m.buf, uint16(len(view))), view...)
	m.buf = binary.BigEndian.AppendUint16(m.buf, uint16(len(peers)))
	for _, p := range peers {
		kind := byte(2) // AS of four bytes
		if p.Address.Is6() {
			kind |= 1
		}
		m.buf = append(append(append(m.buf, kind), p.BGPID.AsSlice()...), p.Address.AsSlice()...)
		m.buf = binary.BigEndian.AppendUint32(m.buf, p.AS)
	}
	return m.record(m.dump)
}

func (m *mrtWriter) Entry(p netip.Prefix, routes []RouteEntry) error {
	sub := uint16(mrtRIB4)
	if p.Addr().Is6() {
		sub = mrtRIB6
	}
	m.head(m.start, mrtTable, sub)
	m.buf = appendPrefix(binary.BigEndian.AppendUint32(m.buf, m.seq), p)
	m.seq++
	m.buf = binary.BigEndian.AppendUint16(m.buf, uint16(len(routes)))
	for _, r := range routes {
		m.buf = binary.BigEndian.AppendUint16(m.buf, uint16(r.Peer))
		m.buf = binary.BigEndian.AppendUint32(m.buf, uint32(r.Since))
		m.buf = append(binary.BigEndian.AppendUint16(m.buf, uint16(len(r.Attrs))), r.Attrs...)
	}
	return m.record(m.dump)
}

func (m *mrtWriter) Ready() error { return nil }

func (m *mrtWriter) session(at int64, peer int, sub uint16) {
	m.head(uint32(at/1e9), mrtBGP4MP, sub)
	m.buf = binary.BigEndian.AppendUint32(m.buf, uint32(at%1e9/1e3))
	m.buf = binary.BigEndian.AppendUint32(m.buf, m.peers[peer].AS)
	m.buf = binary.BigEndian.AppendUint32(m.buf, collectorAS)
	afi, to := byte(1), collector4
	if m.peers[peer].Address.Is6() {
		afi, to = 2, collector6
	}
	m.buf = append(append(append(m.buf, 0, 0, 0, afi), m.peers[peer].Address.AsSlice()...), to.AsSlice()...)
}

func (m *mrtWriter) Message(at int64, peer int, message []byte) error {
	m.session(at, peer, mrtMessage)
	m.buf = append(m.buf, message...)
	return m.record(m.updates)
}

// State writes the change between Established and Idle.
func (m *mrtWriter) State(at int64, peer int, up bool) error {
	m.session(at, peer, mrtState)
	if up {
		m.buf = append(m.buf, 0, 5, 0, 6) // OpenConfirm, Established
	} else {
		m.buf = append(m.buf, 0, 6, 0, 1) // Established, Idle
	}
	return m.record(m.updates)
}
