package stream

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strconv"

	"sakimori/base/wire/bgp"
)

// Peer is who told a message, and to which collector.
type Peer struct {
	Host    string // the collector, "rrc00"
	Address netip.Addr
	AS      uint32
}

// Kind is what the server has sent.
type Kind uint8

// The kinds.
const (
	Other  Kind = iota // an acknowledgement, an answer to a question
	BGP                // a BGP message of a peer
	State              // a peer's session with the collector has changed
	Failed             // the server says that something is wrong: Text
)

// Message is one message of the stream. What it refers to is valid until the next Parse.
type Message struct {
	Kind Kind
	Peer Peer
	At   int64    // Unix nanoseconds, by the collector's clock
	Up   bool     // of State: the session is there
	BGP  [][]byte // messages with their header: one as it was sent, or what its words say, in as many as it takes
	Raw  bool     // the former
	AS4  bool     // its AS path has numbers of four bytes
	Text string   // of Failed
}

// What is wrong with a message.
var (
	ErrJSON  = errors.New("ris: not the JSON that RIS Live sends")
	ErrPeer  = errors.New("ris: a message without the address, AS or time of its peer")
	ErrWords = errors.New("ris: a prefix, path or next hop that isn't one")
)

// Parser reads messages of RIS Live, one JSON object each (https://ris-live.ripe.net/manual).
// Its zero value is ready. It allocates for peers that it hasn't seen yet, for what comes in
// words alone, and nothing else once its buffers have grown.
type Parser struct {
	peers map[string]Peer // by host, address and AS as they're written
	who   []byte
	buf   []byte // of BGP messages
	ends  []int  // where each ends in buf
	out   [][]byte
	nlri  [2][]byte // prefixes as they stand in messages: IPv4, IPv6
	attr  []byte
	upd   bgp.Update
	path  bgp.Path
}

// maxPeers is how many peers are remembered; there are some 1,500.
const maxPeers = 1 << 14

// fields are the values of a message, as they stand there.
type fields struct {
	host, peer, as, time, kind, state, raw, path, communities, origin, med, announced, withdrawn []byte
}

// Parse reads one message.
func (p *Parser) Parse(line []byte, m *Message) error {
	*m = Message{}
	var kind, data []byte
	if !object(line, func(k, v []byte) {
		switch string(k) {
		case "type":
			kind = text(v)
		case "data":
			data = v
		}
	}) || len(kind) == 0 {
		return ErrJSON
	}
	switch string(kind) {
	case "ris_message":
	case "ris_error":
		m.Kind = Failed
		object(data, func(k, v []byte) {
			if string(k) == "message" {
				m.Text = string(text(v))
			}
		})
		return nil
	default:
		return nil
	}
	var f fields
	if !object(data, func(k, v []byte) { f.set(k, v) }) {
		return ErrJSON
	}
	var ok bool
	if m.Peer, ok = p.peer(&f); !ok {
		return ErrPeer
	}
	if m.At, ok = nanoseconds(f.time); !ok {
		return ErrPeer
	}
	switch string(f.kind) {
	case "RIS_PEER_STATE":
		m.Kind, m.Up = State, string(f.state) == "connected" || string(f.state) == "up"
		return nil
	case "UPDATE", "OPEN", "KEEPALIVE", "NOTIFICATION":
		m.Kind = BGP
	default:
		return nil
	}
	p.buf, p.ends, p.out = p.buf[:0], p.ends[:0], p.out[:0]
	switch {
	case len(f.raw) > 0:
		m.Raw = true
		p.buf = slices.Grow(p.buf, len(f.raw)/2)[:len(f.raw)/2]
		if n, err := hex.Decode(p.buf, f.raw); err != nil || n*2 != len(f.raw) {
			return ErrJSON
		}
		var b bgp.Message
		if n, err := bgp.Cut(p.buf, bgp.MaxExtended, &b); err != nil || n != len(p.buf) {
			return ErrJSON
		}
		m.AS4 = p.wide(&b, f.path)
		p.ends = append(p.ends, len(p.buf))
	case string(f.kind) == "UPDATE":
		m.AS4 = true
		if !p.words(&f) {
			return ErrWords
		}
	}
	from := 0
	for _, end := range p.ends {
		p.out = append(p.out, p.buf[from:end:end])
		from = end
	}
	m.BGP = p.out
	return nil
}

func (f *fields) set(k, v []byte) {
	switch string(k) {
	case "host":
		f.host = text(v)
	case "peer":
		f.peer = text(v)
	case "peer_asn":
		f.as = text(v)
	case "timestamp":
		f.time = text(v)
	case "type":
		f.kind = text(v)
	case "state":
		f.state = text(v)
	case "raw":
		f.raw = text(v)
	case "path":
		f.path = v
	case "community":
		f.communities = v
	case "origin":
		f.origin = text(v)
	case "med":
		f.med = text(v)
	case "announcements":
		f.announced = v
	case "withdrawals":
		f.withdrawn = v
	}
}

// peer looks up who it is; the collector's name is that before the first dot.
func (p *Parser) peer(f *fields) (Peer, bool) {
	p.who = append(append(append(append(append(p.who[:0], f.host...), '|'), f.peer...), '|'), f.as...)
	if known, ok := p.peers[string(p.who)]; ok {
		return known, true
	}
	addr, err := netip.ParseAddr(string(f.peer))
	as, bad := strconv.ParseUint(string(f.as), 10, 32)
	if err != nil || bad != nil {
		return Peer{}, false
	}
	host, _, _ := bytes.Cut(f.host, []byte("."))
	n := Peer{Host: string(host), Address: addr.Unmap().WithZone(""), AS: uint32(as)}
	if p.peers == nil || len(p.peers) >= maxPeers {
		p.peers = map[string]Peer{}
	}
	p.peers[string(p.who)] = n
	return n, true
}

// nanoseconds reads seconds with a fraction, without losing any of it.
func nanoseconds(b []byte) (n int64, ok bool) {
	whole, part, _ := bytes.Cut(b, []byte("."))
	if len(whole) == 0 || len(whole) > 10 {
		return 0, false
	}
	digit := func(c byte) bool {
		n = n*10 + int64(c-'0')
		return c >= '0' && c <= '9'
	}
	for _, c := range whole {
		if !digit(c) {
			return 0, false
		}
	}
	for i := range 9 {
		c := byte('0')
		if i < len(part) {
			c = part[i]
		}
		if !digit(c) {
			return 0, false
		}
	}
	return n, n > 0
}

// wide tells whether the path of a message has numbers of four bytes: if it has as many as
// the words say. Some peers of RIS still send two.
func (p *Parser) wide(m *bgp.Message, path []byte) bool {
	said := 0
	numbers(path, func(uint32, int) { said++ })
	if m.Type != bgp.TypeUpdate || said == 0 {
		return true
	}
	return p.count(m, true) == said || p.count(m, false) != said
}

// count is how many AS numbers a path has, read so; −1 where it can't be.
func (p *Parser) count(m *bgp.Message, as4 bool) (n int) {
	p.upd.Parse(m.Body, bgp.Options{AS4: as4})
	if p.upd.Fault == bgp.Reset || !p.upd.Has.Has(bgp.AttrPath) {
		return -1
	}
	p.upd.Path(&p.path)
	for _, s := range p.path.Segments {
		n += len(p.path.Of(s))
	}
	return n
}

// words writes what a message says in words as UPDATEs: one for each family that is
// withdrawn, and one for each next hop and family of what is announced.
func (p *Parser) words(f *fields) bool {
	if !p.prefixes(f.withdrawn) {
		return false
	}
	for family, nlri := range p.nlri {
		if len(nlri) == 0 {
			continue
		}
		from := p.begin()
		if family == 0 {
			p.buf = binary.BigEndian.AppendUint16(p.buf, uint16(len(nlri))) // #nosec G115 -- finish refuses what is longer
			p.buf = append(append(p.buf, nlri...), 0, 0)
		} else {
			p.buf = append(p.buf, 0, 0)
			p.buf = binary.BigEndian.AppendUint16(p.buf, uint16(len(nlri)+7)) // #nosec G115 -- as above
			p.buf = option(p.buf, 0x80, bgp.AttrUnreach, 3+len(nlri))
			p.buf = append(append(p.buf, 0, 2, 1), nlri...)
		}
		if !p.finish(from) {
			return false
		}
	}
	if !p.attributes(f) {
		return false
	}
	fine := true
	list(f.announced, func(v []byte) {
		var hop, prefixes []byte
		if !object(v, func(k, v []byte) {
			switch string(k) {
			case "next_hop":
				hop = text(v)
			case "prefixes":
				prefixes = v
			}
		}) {
			fine = false
		}
		fine = fine && p.announce(hop, prefixes)
	})
	return fine
}

func (p *Parser) announce(hop, prefixes []byte) bool {
	first, _, _ := bytes.Cut(hop, []byte(",")) // a global and a link-local one
	at, err := netip.ParseAddr(string(first))
	if err != nil || !p.prefixes(prefixes) {
		return false
	}
	for family, nlri := range p.nlri {
		if len(nlri) == 0 {
			continue
		}
		from := p.begin()
		p.buf = append(p.buf, 0, 0)
		sizeAt := len(p.buf)
		p.buf = append(append(p.buf, 0, 0), p.attr...)
		four, sixteen := at.Unmap().Is4(), at.As16()
		long := sixteen[:]
		if four {
			long = sixteen[12:]
		}
		plain := family == 0 && four
		if plain {
			p.buf = append(option(p.buf, 0x40, bgp.AttrNextHop, 4), long...)
		} else {
			p.buf = option(p.buf, 0x80, bgp.AttrReach, 5+len(long)+len(nlri))
			p.buf = append(append(p.buf, 0, byte(1+family), 1, byte(len(long))), long...) // #nosec G115 -- 4 or 16
			p.buf = append(append(p.buf, 0), nlri...)
		}
		binary.BigEndian.PutUint16(p.buf[sizeAt:], uint16(len(p.buf)-sizeAt-2)) // #nosec G115 -- finish refuses what is longer
		if plain {
			p.buf = append(p.buf, nlri...)
		}
		if !p.finish(from) {
			return false
		}
	}
	return true
}

// attributes writes those that the words tell, and that are the same for all.
func (p *Parser) attributes(f *fields) bool {
	origin := byte(2)
	switch string(f.origin) {
	case "igp", "IGP":
		origin = 0
	case "egp", "EGP":
		origin = 1
	}
	p.attr = append(option(p.attr[:0], 0x40, bgp.AttrOrigin, 1), origin)
	p.attr = option(p.attr, 0x40, bgp.AttrPath, 0)
	at, segment, depth, count := len(p.attr), 0, -1, 0
	if !numbers(f.path, func(as uint32, d int) {
		if d != depth || count == 255 {
			p.attr = append(p.attr, byte(2-min(d&1, 1)), 0) // a sequence; within brackets a set
			segment, depth, count = len(p.attr)-1, d, 0
		}
		count++
		p.attr[segment] = byte(count) // #nosec G115 -- 255 at most
		p.attr = binary.BigEndian.AppendUint32(p.attr, as)
	}) {
		return false
	}
	binary.BigEndian.PutUint16(p.attr[at-2:], uint16(len(p.attr)-at)) // #nosec G115 -- finish refuses what is longer
	if n, err := strconv.ParseUint(string(f.med), 10, 32); err == nil {
		p.attr = binary.BigEndian.AppendUint32(option(p.attr, 0x80, bgp.AttrMED, 4), uint32(n))
	}
	if len(f.communities) > 2 {
		p.attr = option(p.attr, 0xc0, bgp.AttrCommunities, 0)
		at = len(p.attr)
		fine := true
		list(f.communities, func(v []byte) {
			numbers(v, func(n uint32, _ int) {
				fine = fine && n <= 0xffff
				p.attr = binary.BigEndian.AppendUint16(p.attr, uint16(n)) // #nosec G115 -- just looked at
			})
		})
		if n := len(p.attr) - at; !fine || n%4 != 0 {
			return false
		}
		binary.BigEndian.PutUint16(p.attr[at-2:], uint16(len(p.attr)-at)) // #nosec G115 -- as above
	}
	return true
}

// option writes the head of an attribute.
func option(b []byte, flags byte, code bgp.Attribute, size int) []byte {
	return binary.BigEndian.AppendUint16(append(b, flags|0x10, byte(code)), uint16(size)) // #nosec G115 -- finish refuses what is longer
}

// begin begins an UPDATE.
func (p *Parser) begin() int {
	from := len(p.buf)
	for range 16 {
		p.buf = append(p.buf, 0xff)
	}
	p.buf = append(p.buf, 0, 0, byte(bgp.TypeUpdate))
	return from
}

// finish ends it, if it isn't longer than a message may be.
func (p *Parser) finish(from int) bool {
	n := len(p.buf) - from
	if n > bgp.MaxExtended {
		return false
	}
	binary.BigEndian.PutUint16(p.buf[from+16:], uint16(n)) // #nosec G115 -- just looked at
	p.ends = append(p.ends, len(p.buf))
	return true
}

// prefixes writes a list of them as messages have them, IPv4 and IPv6 apart.
func (p *Parser) prefixes(v []byte) bool {
	p.nlri[0], p.nlri[1] = p.nlri[0][:0], p.nlri[1][:0]
	fine := true
	list(v, func(v []byte) {
		q, err := netip.ParsePrefix(string(text(v)))
		if err != nil || q.Addr().Is4In6() {
			fine = false
			return
		}
		q = q.Masked()
		family, a := 0, q.Addr().As16()
		long := a[12:]
		if q.Addr().Is6() {
			family, long = 1, a[:]
		}
		p.nlri[family] = append(append(p.nlri[family], byte(q.Bits())), long[:(q.Bits()+7)/8]...) // #nosec G115 -- at most 128
	})
	return fine
}
