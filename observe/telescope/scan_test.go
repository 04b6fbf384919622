package telescope_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/telescope"
)

// dht is a question that BitTorrent's peers ask each other (BEP 5).
var dht = []byte("d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe")

// TestScanDefinition walks around the edges of what a scan is.
func TestScanDefinition(t *testing.T) {
	to := func(k int) string { return fmt.Sprintf("198.51.100.%d", 1+k) }
	targets := func(n, times int) (recs []rec) {
		for i := range n * times {
			recs = append(recs, syn(host, to(i%n), 445).at(start+int64(i)*second))
		}
		return recs
	}
	// ports asks n ports of one address, one each step.
	ports := func(n int, step int64, first int, make func(port uint16) rec) (recs []rec) {
		for i := range n {
			recs = append(recs, make(uint16(first+i)).at(start+int64(i)*step))
		}
		return recs
	}
	tcpTo := func(port uint16) rec { return syn(host, target, port) }
	udpTo := func(port uint16) rec { return ip{src: host, dst: target}.udp(50000, port, make([]byte, 12)) }
	peers := func(n int) (recs []rec) {
		for i := range n {
			recs = append(recs, ip{src: host, dst: to(i)}.udp(6881, 6881, dht).at(start+int64(i)*second))
		}
		return recs
	}
	for _, c := range []struct {
		name string
		recs []rec
		scan bool
	}{
		{"one target", targets(1, 1), false},
		{"one target a thousand times", targets(1, 1000), false},
		{"a primary and a secondary, often", targets(2, 500), false},
		{"three targets", targets(3, 1), true},
		{"14 ports at once", ports(14, second, 1000, tcpTo), false},
		{"15 ports at once", ports(15, second, 1000, tcpTo), true},
		{"15 ports within 5 minutes", ports(15, 20*second, 1000, tcpTo), true},
		{"15 ports, one a minute", ports(15, minute, 1000, tcpTo), false},
		{"100 ports, one in two minutes", ports(100, 2*minute, 1000, tcpTo), false},
		{"15 UDP ports", ports(15, second, 1000, udpTo), true},
		{"a UDP traceroute", ports(90, second, 33434, udpTo), false},
		{"below and above the traceroute ports, 14", append(ports(7, second, 33427, udpTo), ports(7, second, 33535, udpTo)...), false},
		{"TCP to the traceroute ports", ports(15, second, 33434, tcpTo), true},
		{"the same port fifteen times", ports(15, second, 80, func(uint16) rec { return syn(host, target, 80) }), false},
		{"15 ports of answers", ports(15, second, 1000, func(p uint16) rec {
			return ip{src: host, dst: target}.tcp(tcp{from: p, to: 5, flags: packet.SYN | packet.ACK})
		}), false},
		{"24 peers that have gone", peers(24), false},
		{"25 peers", peers(25), true},
		{"pings to two", []rec{ip{src: host, dst: to(1)}.icmp(8, 0, nil).at(start), ip{src: host, dst: to(2)}.icmp(8, 0, nil).at(start + 1)}, false},
		{"pings to three", []rec{ip{src: host, dst: to(1)}.icmp(8, 0, nil).at(start), ip{src: host, dst: to(2)}.icmp(8, 0, nil).at(start + 1), ip{src: host, dst: to(3)}.icmp(8, 0, nil).at(start + 2)}, true},
		{"FINs to three", []rec{fin(to(1)), fin(to(2)), fin(to(3))}, true},
		{"bare ACKs to many", []rec{ack(to(1)), ack(to(2)), ack(to(3)), ack(to(4))}, false},
	} {
		for _, workers := range []int{1, 3} {
			cfg := dark("198.51.100.0/24")
			cfg.Workers = workers
			d := watch(t, cfg, c.recs...).document()
			if got := len(d.Scanners) > 0; got != c.scan {
				t.Errorf("%s: scan %v", c.name, got)
			}
		}
	}
}

func fin(dst string) rec {
	return ip{src: host, dst: dst}.tcp(tcp{from: 5, to: 22, flags: packet.FIN}).at(start)
}

func ack(dst string) rec {
	return ip{src: host, dst: dst}.tcp(tcp{from: 5, to: 22, ack: 5, flags: packet.ACK}).at(start)
}

// TestPortWindow: the window of new ports isn't reset by packets that come a
// little late, over the boundary of a minute.
func TestPortWindow(t *testing.T) {
	var recs []rec
	for i := range 15 {
		at := start + 60*second + int64(i)*second
		if i%3 == 2 {
			at -= 70 * second
		}
		recs = append(recs, syn(host, target, uint16(1000+i)).at(max(at, start)))
	}
	if d := watch(t, dark("198.51.100.0/24"), recs...).document(); len(d.Scanners) == 0 || d.Late != 0 {
		t.Errorf("%d scanners, %d late", len(d.Scanners), d.Late)
	}
}

// TestLowAndSlow: a scanner that sends a packet each 20 to 60 minutes for days
// is one event and a scan. A host that calls its old server as often is none.
func TestLowAndSlow(t *testing.T) {
	cfg := dark("10.0.0.0/14") // 262,144 addresses: time-out 4,915 s
	r := rand.New(rand.NewPCG(9, 10))
	var recs []rec
	now, n := start, 0
	for now < start+4*day {
		recs = append(recs, syn(host, fmt.Sprintf("10.%d.%d.%d", r.IntN(4), r.IntN(256), r.IntN(256)), 22).at(now))
		recs = append(recs, syn("203.0.113.77", "10.1.2.3", 25).at(now+second))
		now += 20*minute + r.Int64N(40*minute)
		n++
	}
	rig := watch(t, cfg, recs...)
	if len(rig.Ended) != 0 {
		t.Errorf("%d events ended; the slow scan must be one", len(rig.Ended))
	}
	d := rig.document()
	if len(d.Scanners) != 1 || d.Scanners[0].Packets != uint64(n) || d.Scanners[0].Targets < uint64(n-2) {
		t.Fatalf("%d packets, but %+v", n, d.Scanners)
	}
	if got := d.Scanners[0].Coverage; math.Abs(got-float64(d.Scanners[0].Targets)/(1<<18)) > 1e-12 {
		t.Errorf("coverage %g", got)
	}
	all := rig.AllOpen()
	if len(all) != 2 || all[0].Packets != uint64(n) || all[1].Packets != uint64(n) {
		t.Errorf("events: %+v", all)
	}
	if e := all[0]; e.Source.String() == host && math.Abs(e.Rate-float64(n-1)/e.Last.Sub(e.First).Seconds()) > 1e-9 {
		t.Errorf("rate %g of %d packets in %s", e.Rate, n, e.Last.Sub(e.First))
	}
}

// TestTimeout: the time-out follows from the size of the dark space, between ten
// minutes and a day; a scan ends with it, and what comes later is another event.
func TestTimeout(t *testing.T) {
	for _, c := range []struct {
		prefix string
		want   time.Duration
	}{
		{"10.0.0.0/8", 10 * time.Minute},              // 77 s
		{"10.0.0.0/14", 4915200 * time.Millisecond},   // 3 · 2^32/(10 · 2^18)
		{"10.0.0.0/16", 19660800 * time.Millisecond},  // Merit's example has another rate
		{"198.51.100.0/24", 24 * time.Hour},           // 1,398 hours
		{"2001:db8::/32", time.Hour},                  // nobody sweeps IPv6
		{"198.51.100.7/32", 24 * time.Hour},           //
		{"0.0.0.0/1", 10 * time.Minute},               //
		{"10.0.0.0/13", 2457600 * time.Millisecond},   //
		{"10.0.0.0/11", 614400 * time.Millisecond},    //
		{"10.0.0.0/10", 10 * time.Minute},             // 307 s
		{"100.64.0.0/12", 1228800 * time.Millisecond}, //
	} {
		if got := build(t, dark(c.prefix)).Idle(); got != c.want {
			t.Errorf("%s: %s, want %s", c.prefix, got, c.want)
		}
	}

	cfg := dark("10.0.0.0/14")
	idle := int64(build(t, cfg).Idle())
	scan := func(at int64) (recs []rec) {
		for i := range 5 {
			recs = append(recs, syn(host, fmt.Sprintf("10.0.0.%d", i), 22).at(at+int64(i)))
		}
		return recs
	}
	first := start + 4 // of its last packet
	for _, c := range []struct {
		name string
		gap  int64
		ends int
	}{{"exactly the time-out", idle, 0}, {"a nanosecond more", idle + 1, 1}, {"two days", 2 * day, 1}} {
		r := build(t, cfg).feed(scan(start)...)
		r.Settle()
		r.Advance(time.Unix(0, first+c.gap)) // five packets are too few to say that two days are gone
		r.feed(scan(first + c.gap)...).finish()
		if len(r.Ended) != c.ends || len(r.AllOpen()) != 1 {
			t.Errorf("%s: %d ended, %d open", c.name, len(r.Ended), len(r.AllOpen()))
		}
		// The document joins both to one scanner.
		d := r.document()
		if len(d.Scanners) != 1 || d.Scanners[0].Packets != 10 || d.Scanners[0].Targets != 5 {
			t.Errorf("%s: %+v", c.name, d.Scanners)
		}
		if c.ends == 1 {
			e := r.Ended[0]
			if e.Open || e.Packets != 5 || !e.Last.Equal(time.Unix(0, first)) || e.ID == r.AllOpen()[0].ID {
				t.Errorf("%s: ended %+v", c.name, e)
			}
		}
	}
}

// TestEventFields checks an event's every field once, against packets by hand.
func TestEventFields(t *testing.T) {
	cfg := dark("198.51.100.0/24")
	cfg.Place = func(packet.Addr) ([2]byte, uint32) { return [2]byte{'J', 'P'}, 64500 }
	cfg.Research = func(a packet.Addr) bool { return a.String() == host }
	var recs []rec
	for i := range 20 {
		recs = append(recs, ip{src: host, dst: fmt.Sprintf("198.51.100.%d", 10+i%5), ttl: 55, id: 77}.tcp(
			tcp{from: 1234, to: 8080, seq: 5, flags: packet.SYN, window: 99, options: linux}).at(start+int64(i)*10*second))
	}
	r := watch(t, own(cfg, "192.0.2.0/24"), recs...)
	e := r.one(t)
	want := observe.Event{
		ID: e.ID, Source: e.Source, Port: 8080, Proto: 6, Kind: observe.KindTCPSyn,
		First: time.Unix(0, start).UTC(), Last: time.Unix(0, start+190*second).UTC(), Packets: 20, Targets: observe.Unique{N: 5},
		Coverage: 5.0 / 256, Rate: 19.0 / 190, Country: "JP", ASN: 64500, Open: true, Flags: observe.Own | observe.Research | observe.Scanner,
		Sample: []string{"192.0.2.9 > 198.51.100.10 ttl 55 id 77 length 60 tcp 1234 > 8080 flags S seq 5 win 99 options 20 bytes"},
	}
	same(t, "event", want, e)
	if e.Kind != want.Kind || e.Flags != want.Flags || e.Tool != observe.Unknown || e.ID == 0 || int64(e.ID) < 0 {
		t.Errorf("kind %s flags %b tool %s id %d", e.Kind, e.Flags, e.Tool, e.ID)
	}
	// The source is one's own: each of the four minutes is told.
	var packets, first uint32
	for i, g := range r.sights() {
		packets += g.Packets
		if g.Flags&observe.FirstMinute != 0 {
			first++
		}
		if g.Packets > 6 || g.Bins[0] != 1 || g.Since != start || g.Total != packets || g.Minute*1e9 != start+int64(i)*minute || g.First != g.Minute*1e9 ||
			g.Country != [2]byte{'J', 'P'} || g.ASN != 64500 || g.Targets != 5 {
			t.Errorf("sighting %+v", g)
		}
	}
	if packets != 20 || first != 1 || len(r.sights()) != 4 {
		t.Errorf("%d packets in %d sightings, %d of them the first", packets, len(r.sights()), first)
	}
}

// TestSampleWords: the sampled packet is told in words for each protocol.
func TestSampleWords(t *testing.T) {
	for want, r := range map[string]rec{
		"192.0.2.9 > 198.51.100.7 ttl 64 id 0 length 40 tcp 443 > 5000 flags SA seq 0 win 0 options 0 bytes":     ip{src: host, dst: target}.tcp(tcp{from: 443, to: 5000, flags: packet.SYN | packet.ACK}),
		"192.0.2.9 > 198.51.100.7 ttl 64 id 0 length 40 tcp 443 > 5000 flags none seq 0 win 0 options 0 bytes":   ip{src: host, dst: target}.tcp(tcp{from: 443, to: 5000}),
		"192.0.2.9 > 198.51.100.7 ttl 64 id 0 length 30 udp 9 > 53":                                              ip{src: host, dst: target}.udp(9, 53, []byte("xx")),
		"192.0.2.9 > 198.51.100.7 ttl 64 id 0 length 28 icmp type 8 code 3":                                      ip{src: host, dst: target}.icmp(8, 3, nil),
		"192.0.2.9 > 198.51.100.7 ttl 64 id 0 length 20 protocol 47":                                             frame(ip{src: host, dst: target}, 47, nil),
		"2001:db8::1 > 2001:db8:d::1 ttl 64 id 0 length 60 tcp 1 > 2 flags FSRPAUEC seq 0 win 0 options 0 bytes": ip{src: "2001:db8::1", dst: "2001:db8:d::1"}.tcp(tcp{from: 1, to: 2, flags: 0xff}),
	} {
		e := watch(t, dark("198.51.100.0/24", "2001:db8:d::/64"), r.at(start)).one(t)
		if len(e.Sample) == 0 {
			t.Error("no sample of ", want)
		} else if e.Sample[0] != want && e.Kind != observe.KindOther {
			t.Errorf("%q, want %q", e.Sample[0], want)
		}
	}
}

// TestOpen: the largest events that are worth keeping, never more than asked for.
func TestOpen(t *testing.T) {
	var recs []rec
	for src := range 40 { // 40 sources; source k sends 3+k/10 packets to as many targets
		for i := range 3 + src/10 {
			recs = append(recs, syn(fmt.Sprintf("192.0.2.%d", 1+src), fmt.Sprintf("198.51.100.%d", i), 23).at(start+int64(src)*minute))
		}
	}
	recs = append(recs, syn("203.0.113.1", target, 23).at(start+40*minute)) // not worth it
	r := watch(t, dark("198.51.100.0/24"), recs...)
	for _, most := range []int{0, 1, 7, 10, 39, 40, 100} {
		e, left := r.Open(time.Time{}, most)
		if len(e) != min(most, 40) || left != 40-len(e) {
			t.Errorf("most %d: %d events, %d left", most, len(e), left)
		}
		for i := range e {
			if e[i].Packets < uint64(6-(min(most, 40)-1)/10) {
				t.Errorf("most %d: one of %d packets", most, e[i].Packets)
			}
		}
	}
	if e, left := r.Open(time.Unix(0, start+30*minute), 100); len(e) != 10 || left != 0 {
		t.Errorf("since half an hour: %d events, %d left", len(e), left)
	}
}

// TestResearchers: the list knows who an address belongs to, and nobody else's.
func TestResearchers(t *testing.T) {
	list, err := telescope.NewResearchList()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range telescope.Researchers {
		for _, p := range r.Prefixes {
			a := p.Addr().Next()
			name, url, ok := list.Who(a)
			if !list.Has(packet.FromNetip(a)) || !ok || name != r.Name || url == "" {
				t.Errorf("%s of %s: %q %v", a, r.Name, name, ok)
			}
		}
	}
	for _, a := range []string{host, "2001:db8::1", "162.142.126.1"} {
		addr := frameAddr(a)
		if _, _, ok := list.Who(addr.Netip()); ok || list.Has(addr) {
			t.Errorf("%s is said to be a researcher's", a)
		}
	}
}

func frameAddr(s string) packet.Addr {
	var d packet.Decoder
	var p packet.Packet
	r := frame(ip{src: s, dst: s}, 255, nil)
	d.Decode(r.link, r.data, 0, &p)
	return p.Src
}
