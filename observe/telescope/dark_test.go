package telescope_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/telescope"
)

// TestMonitored: overlapping and adjacent prefixes count each address once, and
// of dark and own prefixes that overlap the longer one decides.
func TestMonitored(t *testing.T) {
	for _, c := range []struct {
		dark, own []string
		want      uint64
	}{
		{[]string{"198.51.100.0/24"}, nil, 256},
		{[]string{"198.51.100.9/24"}, nil, 256}, // host bits don't matter
		{[]string{"198.51.100.7/32"}, nil, 1},
		{[]string{"198.51.100.0/24", "198.51.100.0/24"}, nil, 256},
		{[]string{"198.51.100.0/24", "198.51.100.128/25", "198.51.0.0/16"}, nil, 65536},
		{[]string{"198.51.100.0/25", "198.51.100.128/25"}, nil, 256},
		{[]string{"198.51.100.0/25", "198.51.101.0/24"}, nil, 384},
		{[]string{"10.0.0.0/8"}, nil, 1 << 24},
		{[]string{"10.0.0.0/8", "11.0.0.0/32"}, nil, 1<<24 + 1},
		{[]string{"0.0.0.0/0"}, nil, 1 << 32},
		{[]string{"2001:db8::/32"}, nil, 0},
		{[]string{"198.51.100.0/24", "2001:db8::/32"}, nil, 256},
		{[]string{"198.51.100.0/24"}, []string{"198.51.100.0/28"}, 240}, // the operator uses a part of it
		{[]string{"198.51.100.0/28"}, []string{"198.51.100.0/24"}, 16},  // unused addresses inside its own
		{[]string{"198.51.100.0/24"}, []string{"198.51.100.0/24"}, 256}, // as dark as can be said
		{[]string{"::ffff:198.51.100.0/120"}, nil, 256},                 // IPv4-mapped
		{[]string{"198.51.100.0/24", "2001:db8::/32"}, []string{"2001:db8::/40"}, 256},
	} {
		if got := build(t, own(dark(c.dark...), c.own...)).Monitored(time.Unix(0, start)); got != c.want {
			t.Errorf("%v without %v: %d addresses, want %d", c.dark, c.own, got, c.want)
		}
	}
}

// TestMembership compares with netip over thirty prefixes, at their edges and
// at random.
func TestMembership(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	var text []string
	var prefixes []netip.Prefix
	for i := range 30 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(r.IntN(4)) * 60, byte(r.IntN(4)), byte(r.UintN(256)), byte(r.UintN(256))}), 18+r.IntN(15)).Masked()
		if i%5 == 0 {
			b := [16]byte{0x20, 1, 0xd, 0xb8, 0, byte(r.IntN(3))}
			p = netip.PrefixFrom(netip.AddrFrom16(b), 44+r.IntN(85)).Masked()
		}
		prefixes, text = append(prefixes, p), append(text, p.String())
	}
	tel := build(t, dark(text...))
	check := func(a netip.Addr) {
		if !a.IsValid() {
			return
		}
		want := false
		for _, p := range prefixes {
			want = want || p.Contains(a)
		}
		if got := tel.Dark(packet.FromNetip(a), start); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
	for _, p := range prefixes {
		a := p.Addr()
		check(a)
		check(a.Prev())
		check(a.Next())
		for range 50 {
			b := a.As16()
			for i := range 16 - (p.Bits()+7)/8%16 {
				if p.Addr().Is4() && i >= 4 {
					break
				}
				b[15-i] = byte(r.UintN(256))
			}
			check(netip.AddrFrom16(b).Unmap())
		}
	}
	check(netip.MustParseAddr("0.0.0.0"))
	check(netip.MustParseAddr("255.255.255.255"))
	check(netip.MustParseAddr("::"))
	check(netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))
}

// TestValidity: the dark space changes in the middle of a capture, at the
// nanosecond given; what is monitored follows, in buckets, coverage and verdicts.
func TestValidity(t *testing.T) {
	change := time.Unix(0, start+90*second)
	cfg := dark()
	cfg.Dark = []telescope.DarkPrefix{
		{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Until: change},
		{Prefix: netip.MustParsePrefix("203.0.113.0/25"), From: change},
		{Prefix: netip.MustParsePrefix("203.0.113.128/25")},
	}
	at := change.UnixNano()
	recs := []rec{
		syn(host, "198.51.100.1", 23).at(start),                      // dark
		syn(host, "203.0.113.1", 23).at(start + 1),                   // not yet
		syn(host, "203.0.113.200", 23).at(start + 2),                 // always
		syn(host, "198.51.100.1", 23).at(at - 1),                     // still
		syn(host, "198.51.100.2", 23).at(at),                         // no longer
		syn(host, "203.0.113.1", 23).at(at),                          // now
		ip{src: "198.51.100.9", dst: host}.icmp(8, 0, nil).at(at),    // in use: not from dark
		ip{src: "203.0.113.9", dst: host}.icmp(8, 0, nil).at(at - 1), // in use still
		ip{src: "203.0.113.9", dst: host}.icmp(8, 0, nil).at(at),     // from dark
		syn(host, "203.0.113.2", 23).at(at + 2*minute),
	}
	for _, workers := range []int{1, 3} {
		cfg.Workers = workers
		r := watch(t, cfg, recs...)
		d := r.document()
		if d.DarkPackets != 5 || d.FromDark != 1 || d.DarkAddresses.Monitored != 512 || d.DarkAddresses.Hit != 4 {
			t.Errorf("%d dark, %d from dark, %+v", d.DarkPackets, d.FromDark, d.DarkAddresses)
		}
		for when, want := range map[int64]uint64{start: 384, at - 1: 384, at: 256, at + day: 256} {
			if got := r.Monitored(time.Unix(0, when)); got != want {
				t.Errorf("monitored at %d: %d, want %d", when, got, want)
			}
		}
		for _, b := range r.Buckets {
			if want := map[bool]uint64{true: 384, false: 256}[b.Start*1e9 < at]; b.Grain == observe.Minute && b.DarkV4 != want {
				t.Errorf("minute %d: %d dark addresses, want %d", b.Start, b.DarkV4, want)
			}
		}
		if e := r.one(t); e.Targets.N != 4 || e.Coverage != 4.0/256 {
			t.Errorf("%d targets, coverage %g of the present space", e.Targets.N, e.Coverage)
		}
	}
}

// TestHits: the dark addresses hit are exact up to a /8; beyond, and of IPv6,
// they are counted by a set that is exact up to half a million.
func TestHits(t *testing.T) {
	for _, prefix := range []string{"10.0.0.0/8", "8.0.0.0/6"} {
		r := build(t, dark(prefix, "2001:db8:d::/64"))
		var recs []rec
		for i := range 3000 {
			recs = append(recs, syn(host, fmt.Sprintf("10.%d.%d.1", i%7, i%250), 23).at(start), syn("2001:db8::1", fmt.Sprintf("2001:db8:d::%x", i%900), 23).at(start))
		}
		d := r.feed(recs...).finish().document()
		if d.DarkAddresses.Hit != 1750 || d.DarkAddresses.HitV6 != 900 {
			t.Errorf("%s: %+v", prefix, d.DarkAddresses)
		}
	}
}

// TestBadInput: what can't be watched is refused in words that say what to do.
func TestBadInput(t *testing.T) {
	p := netip.MustParsePrefix("198.51.100.0/24")
	when := time.Unix(0, start)
	for _, c := range []struct {
		name, says string
		change     func(*telescope.Config)
	}{
		{"no prefix", "no dark prefix", func(c *telescope.Config) { c.Dark = nil }},
		{"an empty prefix", "a dark prefix is empty", func(c *telescope.Config) { c.Dark = append(c.Dark, telescope.DarkPrefix{}) }},
		{"an empty own prefix", "an own prefix is empty", func(c *telescope.Config) { c.Own = []netip.Prefix{{}} }},
		{"dates turned round", "turn the dates round", func(c *telescope.Config) {
			c.Dark = []telescope.DarkPrefix{{Prefix: p, From: when, Until: when.Add(-time.Hour)}}
		}},
		{"no time at all", "turn the dates round", func(c *telescope.Config) { c.Dark = []telescope.DarkPrefix{{Prefix: p, From: when, Until: when}} }},
		{"hardly any events", "at least 1024", func(c *telescope.Config) { c.MaxEvents = 1023 }},
		{"no slowest scanner", "above zero", func(c *telescope.Config) { c.MinRate = 0 }},
		{"no memory of slow scans", "above zero", func(c *telescope.Config) { c.Slow = 0 }},
	} {
		cfg := dark("198.51.100.0/24")
		c.change(&cfg)
		if _, err := telescope.New(cfg, &sink{}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	cfg := dark("198.51.100.0/24")
	cfg.Workers = 1000
	r := watch(t, cfg, syn(host, target, 23).at(start))
	if live, _ := r.Live(); len(live) != 8 {
		t.Errorf("%d workers", len(live))
	}
	if d, err := telescope.Empty(cfg); err != nil || d.Packets != 0 || d.First != nil || d.DarkAddresses.Monitored != 256 || d.Scanners == nil || d.Ports == nil {
		t.Errorf("empty document: %+v, %v", d, err)
	}
}
