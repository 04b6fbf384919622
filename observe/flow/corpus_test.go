package flow_test

import (
	"net/netip"
	"testing"

	"sakimori/base/corpus"
	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/flow"
)

// collect reads files one after another as one collector does.
func collect(t testing.TB, cfg flow.Config, paths ...string) (*flow.Directory, []observe.Flow, flow.File) {
	t.Helper()
	d, err := flow.NewDirectory(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var flows []observe.Flow
	c := d.Collector(func(b []observe.Flow) { flows = append(flows, b...) })
	var all flow.File
	for _, p := range paths {
		n, err := flow.Read(t.Context(), c, p, netip.MustParseAddrPort("192.0.2.1:2055"))
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		all.Frames += n.Frames
		all.Datagrams += n.Datagrams
		all.Malformed += n.Malformed
		all.Others += n.Others
		if all.Err == nil {
			all.Err = n.Err
		}
		all.Last = n.Last
	}
	c.Publish(all.Last)
	return d, flows, all
}

// TestKnownTruth: an export whose totals are known.
func TestKnownTruth(t *testing.T) {
	t.Parallel()
	d, flows, n := collect(t, flow.Config{}, corpus.Folder(t, "generated", "flow", "synflood-netflow5.pcap"))
	// The export was made of a capture of another year within 10 ms. Its packets keep their
	// places: they took 23.684 s, most of them came in the first second.
	sources, took, most := map[packet.Addr]bool{}, int64(0), uint64(0)
	packets, bytes := uint64(0), uint64(0)
	for i := range flows {
		f := &flows[i]
		sources[f.Src] = true
		took = max(took, f.Last-flows[0].First)
		if f.First < flows[0].First+second {
			most += f.Packets
		}
		packets += f.Packets
		bytes += f.Bytes
	}
	if n.Datagrams != 1299 || len(flows) != 37669 || packets != 37841 || bytes != 1740686 || len(sources) != 37623 {
		t.Errorf("%d datagrams, %d flows, %d packets, %d bytes, %d sources", n.Datagrams, len(flows), packets, bytes, len(sources))
	}
	if took != 23_684e6 || most < 23_500 || most > 23_700 {
		t.Errorf("%d ns, %d packets in the first second", took, most)
	}
	h := d.Exporters()
	if len(h) != 1 || h[0].ClockIgnored != 37669 || h[0].Records != 37669 || h[0].Packets != packets || h[0].Bytes != bytes || h[0].Protocol != "netflow5" || h[0].Gaps != 0 || h[0].Restarts != 0 {
		t.Errorf("%+v", h)
	}
}

// TestTunnelInCorpus: what a router exports of a packet in SRv6 is the packet inside, where
// such tunnels are looked into.
func TestTunnelInCorpus(t *testing.T) {
	t.Parallel()
	for _, tunnels := range []packet.Tunnels{0, packet.IPIP} {
		_, flows, _ := collect(t, flow.Config{Tunnels: packet.Decoder{Tunnels: tunnels}}, corpus.Folder(t, "flow", "akvorado", "ipfix-srv6-template.pcap"), corpus.Folder(t, "flow", "akvorado", "ipfix-srv6-data.pcap"))
		if len(flows) != 1 {
			t.Fatalf("%d flows", len(flows))
		}
		f := flows[0]
		inner := f.Marks&observe.FlowInner != 0
		if inner != (tunnels != 0) || f.Src.Is4() != inner || f.Marks&observe.FlowSample == 0 || f.Proto == 4 == inner {
			t.Errorf("tunnels %d: %+v", tunnels, f)
		}
	}
}
