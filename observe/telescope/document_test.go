package telescope_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/telescope"
)

// TestDocumentKeys: the keys of the JSON document are an interface that scripts
// rely on. Lists are never null, and times are RFC 3339.
func TestDocumentKeys(t *testing.T) {
	var recs []rec
	for i := range 3 {
		recs = append(recs, syn(host, fmt.Sprintf("198.51.100.%d", i), 23).at(start))
	}
	full := watch(t, dark("198.51.100.0/24"), append(recs, ip{src: target, dst: host}.icmp(8, 0, nil).at(start))...).document()
	empty, err := telescope.Empty(dark("198.51.100.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []telescope.Document{full, empty} {
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]json.RawMessage
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		for _, k := range []string{
			"packets", "dark_packets", "from_dark", "malformed", "first", "last", "dark_addresses", "unique_sources", "classes",
			"scanners", "victims", "infected", "ports", "answering", "errors", "fragments", "late", "evicted",
		} {
			v, ok := m[k]
			if !ok || string(v) == "null" && k != "first" && k != "last" {
				t.Errorf("%s: %s", k, v)
			}
		}
	}
	b, _ := json.Marshal(full)
	for _, want := range []string{
		`"first":"2026-03-02T00:00:00Z"`, `"dark_addresses":{"monitored":256,"hit":3,"hit_v6":0}`,
		`"classes":{"scan":3,"backscatter":0,"reflection":0,"other":0}`,
		`"scanners":[{"source":"192.0.2.9","port":23,"protocol":"tcp","packets":3,"targets":3,"targets_err":0,"coverage":0.01171875,"tool":"unknown"`,
		`"ports":[{"port":23,"protocol":"tcp","packets":3,"sources":1,"sources_err":0}]`, `"answering":[{"address":"198.51.100.7","packets":1}]`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the document lacks %s: %s", want, b)
		}
	}
}

// TestDocumentJoins: the events of one source and port, whatever their kind, are
// one scanner; another protocol is another.
func TestDocumentJoins(t *testing.T) {
	var recs []rec
	for i := range 4 {
		dst := fmt.Sprintf("198.51.100.%d", i)
		recs = append(recs, syn(host, dst, 53), ip{src: host, dst: dst}.tcp(tcp{from: 1, to: 53, flags: packet.FIN}), ip{src: host, dst: dst}.udp(1, 53, dns(1, "example")))
	}
	for i := range recs {
		recs[i].t = start + int64(i)*second
	}
	d := watch(t, dark("198.51.100.0/24"), recs...).document()
	if len(d.Scanners) != 2 || d.Scanners[0].Protocol != "tcp" || d.Scanners[0].Packets != 8 || d.Scanners[0].Targets != 4 || d.Scanners[1].Protocol != "udp" || d.Scanners[1].Packets != 4 {
		t.Errorf("%+v", d.Scanners)
	}
}

// TestGlance: the moving picture has the true numbers, few packets of each
// stratum, all of them from that stratum, and is the same for the same packets.
func TestGlance(t *testing.T) {
	var recs []rec
	for i := range 900 {
		src := fmt.Sprintf("192.0.2.%d", 1+i%200)
		at := start + int64(i)*second/300 // three seconds
		recs = append(recs, syn(src, target, 23).at(at))
		if i%10 == 0 {
			recs = append(recs, ip{src: src, dst: target}.udp(9, 161, snmp(0xa0)).at(at), ip{src: src, dst: target}.icmp(8, 0, nil).at(at),
				ip{src: src, dst: target}.tcp(tcp{from: 80, to: 5, flags: packet.RST}).at(at), ip{src: src, dst: target}.tcp(tcp{from: 80, to: 5, flags: packet.ACK}).at(at),
				frame(ip{src: src, dst: target}, 47, nil).at(at))
		}
	}
	for i := range 40 { // a worker shows a second when its next packet is of another
		recs = append(recs, syn(fmt.Sprintf("192.0.2.%d", 1+i), target, 23).at(start+10*second))
	}
	look := func(workers int) []telescope.Second {
		var mu sync.Mutex
		var seconds []telescope.Second
		cfg := dark("198.51.100.0/24")
		cfg.Workers = workers
		cfg.Glance = func(s telescope.Second) {
			s.Sample = slices.Clone(s.Sample)
			mu.Lock()
			defer mu.Unlock()
			seconds = append(seconds, s)
		}
		watch(t, cfg, recs...)
		return seconds
	}
	one := look(1)
	if len(one) != 3 {
		t.Fatalf("%d seconds", len(one))
	}
	for i, s := range one {
		if s.Unix != start/second+int64(i) || s.Total != [telescope.Strata]uint32{300, 30, 30, 30, 30, 30} {
			t.Errorf("second %d: %v", s.Unix, s.Total)
		}
		var kept [telescope.Strata]int
		for _, g := range s.Sample {
			kept[g.Stratum]++
		}
		if kept != [telescope.Strata]int{100, 30, 30, 30, 30, 30} {
			t.Errorf("second %d: %v kept", s.Unix, kept)
		}
	}
	same(t, "the picture of the same packets", one, look(1))
	var total [telescope.Strata]uint32
	for _, s := range look(3) {
		for i, n := range s.Total {
			total[i] += n
		}
	}
	if total != [telescope.Strata]uint32{900, 90, 90, 90, 90, 90} {
		t.Errorf("three workers saw %v", total)
	}
}

// TestIoTPorts: the dated table is whole, and its keys are those of the counts.
func TestIoTPorts(t *testing.T) {
	keys := telescope.IoTKeys()
	if !slices.IsSorted(keys) || len(slices.Compact(slices.Clone(keys))) != len(telescope.IoTPorts) || telescope.IoTDated.IsZero() {
		t.Errorf("%d keys of %d ports", len(keys), len(telescope.IoTPorts))
	}
	for _, p := range telescope.IoTPorts {
		if p.Why == "" || p.Port == 0 || !slices.Contains(keys, uint32(p.Proto)<<16|uint32(p.Port)) {
			t.Errorf("%+v", p)
		}
	}
	for _, want := range []uint32{6<<16 | 23, 6<<16 | 2323} {
		if !slices.Contains(keys, want) {
			t.Errorf("port %d isn't among them", want&0xffff)
		}
	}
	for i, y := range telescope.Reference {
		if i > 0 && y.Year != telescope.Reference[i-1].Year+1 || y.Packets == 0 || y.Source == "" || y.Published == "" {
			t.Errorf("%+v", y)
		}
	}
}

// TestKindsAreTold: a sighting is made of what detectors ask for, and of
// nothing else: answers, and whatever one's own addresses send.
func TestKindsAreTold(t *testing.T) {
	rst := tcp{from: 80, to: 5, flags: packet.RST}
	r := watch(t, own(dark("198.51.100.0/24"), "203.0.113.0/24"),
		syn(host, target, 23).at(start),
		ip{src: host, dst: target}.tcp(rst).at(start),
		ip{src: host, dst: target}.udp(53, 41000, dns(0x81, "example")).at(start),
		ip{src: host, dst: target}.udp(19, 41000, []byte("abc")).at(start),
		syn("203.0.113.9", target, 23).at(start),
		ip{src: "203.0.113.9", dst: target}.tcp(tcp{from: 80, to: 5, flags: packet.ACK}).at(start),
	)
	var got []string
	for _, s := range r.sights() {
		got = append(got, fmt.Sprint(s.Source, " ", s.Kind, " ", s.Flags&observe.Own != 0))
	}
	want := []string{"192.0.2.9 udp-reflected false", "192.0.2.9 udp-answer false", "192.0.2.9 tcp-rst false", "203.0.113.9 tcp-ack true", "203.0.113.9 tcp-syn true"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
