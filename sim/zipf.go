package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sakimori/base/wire/packet"
)

// Bulk is the benchmark's file: very many packets, fast, with the mix and the
// rate of a large telescope but nobody in particular in it.
type Bulk struct {
	Packets uint64
	Sources int // distinct, their packets by Zipf's law (exponent 1)
	Keys    int // distinct (source, port, type), all seen in the first two fifths of the file
	Seed    uint64
}

// Rate is NICTER's mean of 2025: 701.0 billion packets in the year (NICT,
// 2026-02-05) is 22,229 a second.
const Rate = 22229

// BulkDark is the dark space of a Bulk: 262,144 addresses, close to NICTER's.
var BulkDark = []netip.Prefix{netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("100.64.0.0/15")}

// Zipf is a Bulk. The file of the benchmark is Zipf(10_000_000, 300_000,
// 1_000_000, seed).
func Zipf(packets uint64, sources, keys int, seed uint64) Bulk {
	return Bulk{packets, sources, keys, seed}
}

// bulkKey is one event: what its packets have in common, and how many there were.
type bulkKey struct {
	src  uint32
	n    uint32
	port uint16
	own  uint16 // the other port, where it is always the same
	form uint8
	ttl  uint8
}

// The forms of a bulk's packets; each has a template.
const (
	bulkMirai = iota
	bulkMasscan
	bulkLinux
	bulkUDP
	bulkEcho
	bulkSynAck
	bulkRst
	bulkForms
)

var bulkKinds = [bulkForms]struct {
	proto uint8
	class Class
}{
	bulkMirai: {packet.TCP, ByScan}, bulkMasscan: {packet.TCP, ByScan}, bulkLinux: {packet.TCP, ByScan},
	bulkUDP: {packet.UDP, ByScan}, bulkEcho: {packet.ICMP, ByScan},
	bulkSynAck: {packet.TCP, ByBackscatter}, bulkRst: {packet.TCP, ByBackscatter},
}

// template is a frame with zeros where a packet differs, and the sums of the
// rest, so that a checksum costs a few additions.
type template struct {
	frame   []byte
	ip, top uint64
}

func bulkTemplates() (t [bulkForms]template) {
	var f frame
	r := rng(1)
	var zero packet.Addr
	h := ipHead{src: packet.V4(0), dst: packet.V4(0)}
	for i := range t {
		f.part = f.part[:0]
		switch i {
		case bulkMirai:
			f.tcp(h, tcpHead{window: 30311, flags: packet.SYN})
		case bulkMasscan:
			f.tcp(h, tcpHead{window: 1024, flags: packet.SYN, options: optMSS})
		case bulkLinux:
			f.tcp(h, tcpHead{window: 64240, flags: packet.SYN, options: f.linuxOptions(0, zero.Is4(), &r)})
		case bulkUDP:
			f.udp(h, 0, 0, make([]byte, 18))
		case bulkEcho:
			f.icmp(h, 8, 0, 0, make([]byte, 16))
		case bulkSynAck:
			f.tcp(h, tcpHead{window: 29200, flags: packet.SYN | packet.ACK, options: optMSS})
		default:
			f.tcp(h, tcpHead{flags: packet.RST | packet.ACK})
		}
		at := map[uint8]int{packet.TCP: 50, packet.UDP: 40, packet.ICMP: 36}[bulkKinds[i].proto] // of the checksum
		sums := [2]uint16{binary.BigEndian.Uint16(f.buf[24:]), binary.BigEndian.Uint16(f.buf[at:])}
		t[i] = template{slices.Clone(f.buf[:f.n]), uint64(^sums[0]), uint64(^sums[1])}
	}
	return t
}

// Write makes the file. It holds 16 bytes for each key and 16 for each source.
func (b Bulk) Write(w FrameWriter) (Truth, error) {
	if b.Packets == 0 || b.Sources < 1 || b.Keys < b.Sources || b.Keys > b.Sources*maxKeys || b.Packets > 1<<32 {
		return Truth{}, errors.New("bulk: it needs packets (up to 4 billion), sources, and keys between one and 40,000 a source")
	}
	dark, err := newSpace("dark", BulkDark)
	if err != nil {
		return Truth{}, err
	}
	r := rng(mix(b.Seed, 0x21f))
	keys, first, err := b.cast(&r)
	if err != nil {
		return Truth{}, err
	}
	pick := newAlias(b.Sources)
	tmpl := bulkTemplates()
	hit := make([]uint64, dark.n4/64)
	start := time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	stride := max(1, b.Packets*2/5/uint64(b.Keys))
	step, cover, covered := stepAcross(uint64(b.Keys), &r), uint64(0), 0
	var ts int64
	for i := range b.Packets {
		var k *bulkKey
		if i%stride == 0 && covered < b.Keys {
			k = &keys[cover]
			cover = (cover + step) % uint64(b.Keys)
			covered++
		} else {
			s := pick.draw(&r)
			k = &keys[uint64(first[s])+r.below(uint64(first[s+1]-first[s]))]
		}
		k.n++
		u := r.u64()
		d := (u >> 46) % dark.n4
		hit[d/64] |= 1 << (d % 64)
		ts = start + int64(i*1_000_000_000/Rate)
		if err := w.WriteFrame(ts, tmpl[k.form].fill(k, dark.at(d).V4(), uint32(u), r.u32())); err != nil {
			return Truth{}, fmt.Errorf("writing frame %d: %w", i+1, err)
		}
	}
	t := b.truth(keys)
	t.Dark, t.Seed, t.First, t.Last = BulkDark, b.Seed, time.Unix(0, start).UTC(), time.Unix(0, ts).UTC()
	t.DarkAddresses.Monitored, t.DarkAddresses.Hit = dark.n4, ones(hit)
	return t, nil
}

// fill puts one packet into the template.
func (t *template) fill(k *bulkKey, dst, u, v uint32) []byte {
	f := t.frame
	id, sport, dport := uint16(u), k.own, k.port
	seq := v
	switch k.form {
	case bulkMirai:
		seq = dst
	case bulkMasscan:
		id = uint16(dst ^ uint32(k.port) ^ seq)
	case bulkSynAck, bulkRst:
		sport, dport = k.port, uint16(u>>16)|0x400
	}
	addrs := uint64(k.src) + uint64(dst)
	binary.BigEndian.PutUint16(f[18:], id)
	f[22] = k.ttl
	binary.BigEndian.PutUint32(f[26:], k.src)
	binary.BigEndian.PutUint32(f[30:], dst)
	binary.BigEndian.PutUint16(f[24:], fold(t.ip+addrs+uint64(id)+uint64(k.ttl)<<8))
	switch k.form {
	case bulkUDP:
		binary.BigEndian.PutUint16(f[34:], sport)
		binary.BigEndian.PutUint16(f[36:], dport)
		c := fold(t.top + addrs + uint64(sport) + uint64(dport))
		if c == 0 {
			c = 0xffff
		}
		binary.BigEndian.PutUint16(f[40:], c)
	case bulkEcho:
		binary.BigEndian.PutUint32(f[38:], seq)
		binary.BigEndian.PutUint16(f[36:], fold(t.top+uint64(seq)))
	default:
		binary.BigEndian.PutUint16(f[34:], sport)
		binary.BigEndian.PutUint16(f[36:], dport)
		binary.BigEndian.PutUint32(f[38:], seq)
		binary.BigEndian.PutUint16(f[50:], fold(t.top+addrs+uint64(sport)+uint64(dport)+uint64(seq)))
	}
	return f
}

// maxKeys is how many ports one source may ask for.
const maxKeys = 40000

// cast draws the sources and their keys; those of source s are keys[first[s]:first[s+1]].
func (b Bulk) cast(r *rng) (keys []bulkKey, first []uint32, err error) {
	world, err := newPlaces(nil)
	if err != nil {
		return nil, nil, err
	}
	ports, err := newWants(usual()[:21]) // those over TCP
	if err != nil {
		return nil, nil, err
	}
	services := [...]uint16{portDNS, portNTP, portSIP, portSSDP, portSNMP, portCLDAP, portMemcached, portNetcore}
	counts := b.counts()
	keys, first = make([]bulkKey, 0, b.Keys), make([]uint32, 1, b.Sources+1)
	taken := make(map[uint32]struct{}, b.Sources)
	for s, n := range counts {
		who := r.u64() | 1
		src := world.host(who).V4()
		for again := uint64(1); ; again++ {
			if _, is := taken[src]; !is {
				break
			}
			src = world.host(mix(who, again)).V4()
		}
		taken[src] = struct{}{}
		k := bulkKey{src: src, form: bulkForm(mix(who, 4) % 100), port: ports.draw(mix(who, 3)).Port, ttl: 64 - hops(who)}
		if s < 1000 || n > 64 {
			k.form = bulkMasscan // who sends most, scans
		}
		if k.form == bulkMasscan {
			k.ttl = 255 - hops(who)
		}
		if k.form == bulkUDP {
			k.port = services[mix(who, 6)%uint64(len(services))]
		}
		k.own = 32768 + uint16(mix(who, 5)%28000)
		stride := uint16(mix(who, 7)) | 1
		for j := range n {
			keys = append(keys, k)
			if j == 0 && k.form == bulkEcho {
				keys[len(keys)-1].port = 8 << 8
				k.form = bulkLinux
			}
			k.port += stride
		}
		first = append(first, uint32(len(keys)))
	}
	return keys, first, nil
}

// counts is how many keys each source has: one at least, the rest by Zipf's law.
func (b Bulk) counts() []int {
	n := make([]int, b.Sources)
	total, left := 0.0, b.Keys-b.Sources
	for s := range n {
		n[s] = 1
		total += 1 / float64(s+1)
	}
	extra := float64(left)
	for s := range n {
		e := min(maxKeys-1, int(extra/float64(s+1)/total))
		n[s] += e
		left -= e
	}
	for s := 0; left > 0; s = (s + 1) % b.Sources {
		if n[s] < maxKeys {
			n[s]++
			left--
		}
	}
	return n
}

// bulkForm is the mix by percent: SYN 86, UDP 8, echo 1, backscatter 5.
func bulkForm(u uint64) uint8 {
	switch {
	case u < 12:
		return bulkMirai
	case u < 40:
		return bulkMasscan
	case u < 86:
		return bulkLinux
	case u < 94:
		return bulkUDP
	case u < 95:
		return bulkEcho
	case u < 98:
		return bulkSynAck
	}
	return bulkRst
}

// truth adds up the keys.
func (b Bulk) truth(keys []bulkKey) Truth {
	t := Truth{Scene: zipf, Note: Note}
	ports := map[[2]uint16]*Port{}
	last := uint32(0)
	for i := range keys {
		k := &keys[i]
		if k.n == 0 {
			continue
		}
		n, kind := uint64(k.n), bulkKinds[k.form]
		t.Packets += n
		t.Keys++
		if k.src != last {
			t.UniqueSources++
			last = k.src
		}
		if kind.class == ByBackscatter {
			t.Classes.Backscatter += n
			continue
		}
		t.Classes.Scan += n
		pk := [2]uint16{k.port, uint16(kind.proto)}
		if ports[pk] == nil {
			ports[pk] = &Port{Port: k.port, Protocol: kind.proto}
		}
		ports[pk].Packets += n
		ports[pk].Sources++
	}
	t.DarkPackets = t.Packets
	for _, p := range ports {
		t.Ports = append(t.Ports, *p)
	}
	sortPorts(t.Ports)
	return t
}

// alias draws ranks by Zipf's law in constant time (Walker 1977, Vose 1991).
type alias []struct{ keep, other uint32 }

func newAlias(n int) alias {
	a := make(alias, n)
	total := 0.0
	for i := range n {
		total += 1 / float64(i+1)
	}
	share := make([]float64, n)
	var small, large []int
	for i := range share {
		share[i] = float64(n) / float64(i+1) / total
		if share[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		a[s].keep, a[s].other = uint32(share[s]*(1<<32-1)), uint32(l)
		if share[l] -= 1 - share[s]; share[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(small, large...) {
		a[i].keep, a[i].other = 1<<32-1, uint32(i)
	}
	return a
}

func (a alias) draw(r *rng) uint32 {
	u := r.u64()
	i := uint32(u >> 32 * uint64(len(a)) >> 32)
	if uint32(u) <= a[i].keep {
		return i
	}
	return a[i].other
}
