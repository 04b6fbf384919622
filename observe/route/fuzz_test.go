package route_test

import (
	"net/netip"
	"testing"

	"sakimori/base/wire/bgp"
	"sakimori/base/wire/bmp"
	"sakimori/observe"
	"sakimori/observe/route"
)

// FuzzMessages: whatever peers and routers say in whatever order, the changes that are
// handed on are those of the table, and what is left when all are gone is nothing.
func FuzzMessages(f *testing.F) {
	x := netip.MustParsePrefix("198.51.100.0/24")
	update := said{announce: []netip.Prefix{x}, ases: []uint32{64501, 2}}.bytes()
	f.Add(append([]byte{0}, update...))
	f.Add(append(append([]byte{1}, update...), append([]byte{9, 2, 5}, said{withdraw: []netip.Prefix{x}}.bytes()...)...))
	f.Add(append(append([]byte{4}, told{kind: 3, peer: address(1), as: 64501, body: upBody(64501, true)}.bytes()...), append([]byte{4}, told{peer: address(1), as: 64501, body: update}.bytes()...)...))
	f.Add(append([]byte{3, 8}, endOfRIB()...))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newMirror(t)
		tab := table(t, route.Config{MaxPrefixes: 64, MaxPaths: 32, MaxRoutes: 128, MaxPeers: 8, Batch: 3}, m)
		list := peers(tab, 3)
		at := epoch
		for len(b) > 0 {
			what, peer := b[0]%10, list[int(b[0])%len(list)]
			b = b[1:]
			switch what {
			case 2:
				tab.Down(peer, at)
			case 3:
				tab.Up(peer, at, netip.Addr{})
			case 4:
				var x bmp.Message
				n, err := bmp.Cut(b, &x)
				if err != nil {
					n = 0
				} else {
					_ = tab.BMP("edge", edge, x.Raw, at)
				}
				b = b[n:]
			case 9:
				at += 30e9
				tab.Tick(at)
			default:
				var x bgp.Message
				n, err := bgp.Cut(b, bgp.MaxExtended, &x)
				if err != nil {
					continue
				}
				o := bgp.Options{AS4: what != 5}
				if what == 6 {
					o.AddPath = 0xff
				}
				_ = tab.Update(peer, o, x.Raw, at)
				b = b[n:]
			}
		}
		tab.Flush()
		sum := func() (n int) {
			tab.Peers(func(p *observe.RoutePeer) {
				v4, v6 := tab.Prefixes(p.Number)
				if n += p.Routes; v4 < 0 || v6 < 0 || v4+v6 > p.Routes {
					t.Fatalf("%+v has %d and %d prefixes", p, v4, v6)
				}
			})
			return n
		}
		if c := tab.Counts(); c.Routes != len(m.routes) || c.Routes != sum() {
			t.Fatalf("%+v, %d told, %d of peers", c, len(m.routes), sum())
		}
		tab.Peers(func(p *observe.RoutePeer) { tab.Down(p.Number, at) })
		tab.Tick(at + 3600e9)
		if c := tab.Counts(); c.Routes+c.Paths+c.Prefixes+len(m.routes) != 0 {
			t.Fatalf("all are gone, and there are %+v", c)
		}
	})
}
