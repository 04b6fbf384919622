package dns_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sakimori/base/clock"
	wire "sakimori/base/wire/dns"
	"sakimori/observe/dns"
)

// told is what was said of a zone.
type told struct {
	zone         string
	distinct, nx uint64
	at           time.Time
}

type gaps struct{ list []told }

func (g *gaps) Missing(zone string, distinct, nx uint64, at time.Time) {
	g.list = append(g.list, told{zone, distinct, nx, at})
}

// A zone below which made-up names are asked for is told once a second, with how many
// differ; of who doesn't consent, and of a few mistyped names, nothing is said.
func TestMadeUpNamesOfAZone(t *testing.T) {
	client := netip.MustParseAddr("203.0.113.9")
	ask := func(o *dns.Observer, at time.Time, name string, rcode uint8) {
		n, err := wire.ParseName(name)
		if err != nil {
			t.Fatal(err)
		}
		o.Take([]dns.Exchange{{At: at.UnixNano(), Resolver: "r", Client: client, Kind: dns.Response, Name: n, Type: 1, Rcode: rcode}})
	}
	for who, said := range map[all]int{"match": 2, "": 0} {
		var g gaps
		o, err := dns.New(dns.Config{Missing: &g}, who, nil, nil, clock.Fixed(noon))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 400 {
			ask(o, noon, fmt.Sprintf("x%d.victim.example", i), wire.NXDomain)
			ask(o, noon, "same.popular.example", wire.NXDomain)
			ask(o, noon, fmt.Sprintf("there%d.fine.example", i), wire.NoError)
			ask(o, noon, fmt.Sprintf("typo%d.example", i), wire.NXDomain) // directly below a top level domain
			if i < 50 {
				ask(o, noon, fmt.Sprintf("y%d.few.example", i), wire.NXDomain)
			}
		}
		ask(o, noon.Add(time.Second), "x.later.example", wire.NXDomain)
		if len(g.list) != said {
			t.Fatalf("%q: %+v", who, g.list)
		}
		if said > 0 && (g.list[0] != told{"victim.example", 400, 400, noon} || g.list[1] != told{"popular.example", 1, 400, noon}) {
			t.Errorf("%+v", g.list)
		}
	}
}
