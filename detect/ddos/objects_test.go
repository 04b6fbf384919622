package ddos_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/base/yaml"
	"sakimori/detect"
	"sakimori/detect/ddos"
	"sakimori/observe"
)

// Thresholds are written as YAML; what can't be is said.
func TestThresholds(t *testing.T) {
	t.Parallel()
	text := `
address: {packets: 2000, bits: 100000000, flows: 350}
customers:
  - {name: Example KK, prefixes: [203.0.113.0/24], address: {packets: 50000}, total: {packets: 8000}}
  - {name: Branch, within: Example KK, prefixes: [203.0.113.128/25]}
prefixes:
  - {prefix: 203.0.113.80/32, name: the shop, address: {packets: 500}}
links:
  - {name: upstream, exporter: r1, interface: 10, capacity: 1000000000}
`
	var th ddos.Thresholds
	if err := yaml.Decode([]byte(text), &th); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, ddos.Config{Thresholds: th})
	r.run(onset+4, func(s int) {
		r.town()
		if s >= onset {
			r.hits(700, observe.Flow{Proto: packet.UDP, DstPort: 9}, 500, 3000)
			// 30,000 packets a second are below the customer's line for an address.
			r.hits(3000, observe.Flow{Dst: packet.V4(0xcb007190), Proto: packet.UDP, DstPort: 9}, 500, 3000)
		}
	})
	a := r.said.one(t)
	if a.Object.Name != "the shop" || a.Limit.Packets.N != 500 {
		t.Errorf("%+v %+v", a.Object, a.Limit)
	}

	for _, bad := range []string{
		"customers: [{name: a, within: b}]", "customers: [{name: a}, {name: a}]", "customers: [{name: a, within: b}, {name: b, within: a}]",
		"raise: 1\nclear: 2", "floor: 3", "quiet: -1",
	} {
		var th ddos.Thresholds
		if err := yaml.Decode([]byte(bad), &th); err != nil {
			t.Fatal(err)
		}
		if _, err := ddos.New(ddos.Config{Thresholds: th}, ddos.Ports{}, ddos.Sinks{}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// A customer is hit in all its prefixes, none of which is over its line; one whose single
// address is hit isn't told twice, and neither is the one around it.
func TestCustomer(t *testing.T) {
	t.Parallel()
	th := ddos.DefaultThresholds()
	th.Address, th.Prefix = ddos.Line{Packets: 2000}, ddos.Line{Packets: 1e6}
	th.Customers = []ddos.Customer{
		{Name: "Holding", Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.112.0/23")}, Total: ddos.Line{Packets: 5000}},
		{Name: "Shop", Within: "Holding", Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, Total: ddos.Line{Packets: 5000}},
	}
	for _, single := range []bool{false, true} {
		r := newRig(t, ddos.Config{Thresholds: th})
		r.run(onset+4, func(s int) {
			r.town()
			if s < onset {
				return
			}
			for k := range 7000 {
				f := observe.Flow{Dst: packet.V4(0xcb007100 + uint32(k&0xff)), Proto: packet.ICMP, DstPort: 8 << 8}
				if single {
					f.Dst = victim
				}
				r.hits(1, f, 84, 0)
			}
		})
		a := r.said.one(t)
		if want := map[bool]detect.ObjectKind{false: detect.CustomerObject, true: detect.AddressObject}[single]; a.Object.Kind != want || a.Object.Name != "Shop" {
			t.Errorf("%+v %s", a.Object, describe(&a))
		}
	}
}

// A link that is full is told even without an attack's form, as a note.
func TestLink(t *testing.T) {
	t.Parallel()
	th := ddos.DefaultThresholds()
	th.Links = []ddos.Link{{Name: "upstream", Exporter: "r1", Interface: 10, Capacity: 10e6}}
	r := newRig(t, ddos.Config{Thresholds: th})
	r.d.Link(1, "r1")
	r.run(10, func(int) {
		for k := range 100 {
			r.flow(observe.Flow{Src: outside(k), Dst: packet.V4(0xcb007100 + uint32(k)), Proto: packet.TCP, SrcPort: 443, DstPort: 50000, TCPFlags: 0x18, Packets: 10, Bytes: 15000})
			r.flow(observe.Flow{Dst: outside(k), Src: packet.V4(0xcb007100 + uint32(k)), Proto: packet.TCP, DstPort: 443, SrcPort: 50000, TCPFlags: 0x18, Packets: 5, Bytes: 300})
		}
	})
	a := r.said.one(t)
	if a.Object.Kind != detect.LinkObject || a.Severity != detect.Note || a.Vectors[0].Name != "rise" || a.Confidence > 0.2 || a.Ingress[0].Key != "r1/10" {
		t.Errorf("%s %v", describe(&a), a.Severity)
	}
	if f := r.said.findings[0]; f.Subject != "link upstream" {
		t.Errorf("subject %q", f.Subject)
	}
}

// Without own prefixes every destination is protected; and one direction alone still
// shows what is certain by its form.
func TestNoOwnPrefixes(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]observe.Flow{
		"syn":                {Proto: packet.TCP, DstPort: 80, TCPFlags: packet.SYN},
		"ntp-amplification":  {Proto: packet.UDP, SrcPort: 123},
		"syn-ack-reflection": {Proto: packet.TCP, SrcPort: 443, DstPort: 50000, TCPFlags: packet.SYN | packet.ACK},
	} {
		r := newRig(t, ddos.Config{Own: []netip.Prefix{}})
		r.run(6, func(int) { r.hits(2500, f, 468, 3000) })
		if a := r.said.one(t); a.Vectors[0].Name != name || !strings.Contains(a.Why.EN, "shares alone") {
			t.Errorf("%s: %s", name, describe(&a))
		}
	}
}

// Sources are forged where flows show it, and it isn't said where they don't.
func TestForged(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	for _, x := range []struct {
		name    string
		flow    observe.Flow
		sources int
		rate    uint32
		want    *bool
	}{
		{"random", observe.Flow{Proto: packet.TCP, DstPort: 80, TCPFlags: packet.SYN}, 0, 0, &yes},
		{"bots", observe.Flow{Proto: packet.UDP, DstPort: 80}, 100, 0, &no},
		{"reflectors", observe.Flow{Proto: packet.UDP, SrcPort: 123}, 3000, 0, &no},
		{"sampled", observe.Flow{Proto: packet.UDP, DstPort: 80}, 100000, 10, nil},
	} {
		r := newRig(t, ddos.Config{})
		r.rate = x.rate
		r.run(onset+5, func(s int) {
			r.town()
			if s >= onset {
				r.hits(4000, x.flow, 468, x.sources)
			}
		})
		a := r.said.one(t)
		if g := a.Sources.Forged; (g == nil) != (x.want == nil) || g != nil && *g != *x.want {
			t.Errorf("%s: forged %v: %s", x.name, g, a.Sources.ForgedWhy.EN)
		}
	}
}

// A second witness makes an attack more certain, and less suspected.
func TestWitness(t *testing.T) {
	t.Parallel()
	r := newRig(t, ddos.Config{})
	play := func(s int) {
		r.town()
		if s >= onset {
			r.syn(2500)
		}
	}
	r.run(onset+4, play)
	before := r.said.one(t)
	r.d.Witness(victim.Netip(), "backscatter", time.Unix(r.now, 0))
	r.run(2, play)
	after := r.said.one(t)
	if len(after.Witnesses) != 2 || after.Confidence <= before.Confidence || !strings.Contains(before.Title.EN, "suspected") || strings.Contains(after.Title.EN, "suspected") {
		t.Errorf("%v %s → %v %s", before.Confidence, before.Title.EN, after.Confidence, after.Title.EN)
	}
}

// What is usual comes with the attack as a sample from before it.
func TestOrdinary(t *testing.T) {
	t.Parallel()
	r := newRig(t, ddos.Config{})
	r.run(90, func(s int) {
		for k := range 20 {
			r.flow(observe.Flow{Src: outside(k), Dst: victim, Proto: packet.TCP, SrcPort: 40000, DstPort: 443, TCPFlags: 0x1b, Packets: 30, Bytes: 9000})
			r.flow(observe.Flow{Dst: outside(k), Src: victim, Proto: packet.TCP, DstPort: 40000, SrcPort: 443, TCPFlags: 0x1b, Packets: 30, Bytes: 30000})
		}
		if s >= 80 {
			r.hits(3000, observe.Flow{Proto: packet.UDP, SrcPort: 389}, 1400, 900)
		}
	})
	a := r.said.one(t)
	if len(a.Ordinary) < 60 {
		t.Fatalf("%d ordinary flows", len(a.Ordinary))
	}
	for _, o := range a.Ordinary {
		if o.SrcPort == 389 || o.Packets <= 0 {
			t.Fatalf("a flow of the attack is called ordinary: %+v", o)
		}
	}
	if len(a.Sample) != 512 {
		t.Errorf("%d flows in the sample", len(a.Sample))
	}
	var sum float64
	for _, o := range a.Sample {
		sum += o.Packets
		if o.SrcPort != 389 {
			t.Errorf("an ordinary flow is in the sample of the attack: %+v", o)
		}
	}
	if sum < 0.999*a.Packets.N || sum > 1.001*a.Packets.N {
		t.Errorf("the sample stands for %v packets of %v", sum, a.Packets.N)
	}
}

// More addresses than there is room for: memory is bounded, and whoever is busy is
// counted all the same.
func TestFullTable(t *testing.T) {
	t.Parallel()
	for _, six := range []bool{false, true} {
		r := newRig(t, ddos.Config{Addresses: 4096, Warm: 128, Prefixes: 256})
		busy := victim
		if six {
			busy = packet.FromNetip(netip.MustParseAddr("2001:db8:1::80"))
		}
		r.run(30, func(s int) {
			r.town()
			for range 3000 {
				dst := packet.V4(0xcb007000 + uint32(r.below(1024)))
				if six {
					dst = packet.Addr{Hi: 0x20010db8<<32 | r.u64()>>32, Lo: r.u64()}
				}
				r.flow(observe.Flow{Src: outside(s), Dst: dst, Proto: packet.ICMPv6, Packets: 1, Bytes: 60})
			}
			if s >= onset {
				r.hits(2500, observe.Flow{Dst: busy, Proto: packet.UDP, SrcPort: 1900}, 320, 3000)
			}
		})
		var found bool
		for _, a := range r.said.last() {
			found = found || a.Object.Prefix.Addr() == busy.Netip() && a.Object.Kind == detect.AddressObject && a.Vectors[0].Name == "ssdp-amplification" && delay(&a) <= 2*time.Second
		}
		f := r.d.Figures()
		if !found || f.Addresses > 4096 || f.Prefixes > 256 || six && (f.Uncounted == 0 || f.NoPrefix == 0) {
			t.Errorf("six %v: found %v, %+v", six, found, f)
		}
	}
}
