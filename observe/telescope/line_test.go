package telescope_test

import (
	"encoding/json"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sakimori/observe/telescope"
)

// anyScanner has what scanners have, and now and then what they never have.
func anyScanner(t *rapid.T) telescope.Scanner {
	addr := rapid.OneOf(
		rapid.Custom(func(t *rapid.T) netip.Addr {
			return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4")))
		}),
		rapid.Custom(func(t *rapid.T) netip.Addr {
			return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "v6")))
		}),
		rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("::"), netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("fe80::1%<eth\"0>")}),
	)
	word := rapid.OneOf(rapid.SampledFrom([]string{"tcp", "icmpv6", "unknown", "zmap", "< 3.0", "2.1 – 4.0", ""}), rapid.String())
	share := rapid.OneOf(
		rapid.SampledFrom([]float64{0, 1, math.Copysign(0, -1), 1e-6, 9.99e-7, 1e-300, 1e20, 1e21, 0.012}),
		rapid.Float64Range(0, 1),
		rapid.Map(rapid.Float32Range(0, 1), func(f float32) float64 { return float64(f) }),
		rapid.Map(rapid.Uint32Range(0, 1<<18), func(n uint32) float64 { return float64(n) / (1 << 18) }),
	)
	at := rapid.Custom(func(t *rapid.T) time.Time {
		ns := rapid.OneOf(
			rapid.Int64Range(1.7e18, 1.8e18), rapid.Int64(),
			rapid.Map(rapid.Int64Range(1.7e15, 1.8e15), func(us int64) int64 { return us * 1000 }),
			rapid.Map(rapid.Int64Range(1.7e9, 1.8e9), func(s int64) int64 { return s * 1e9 }),
		).Draw(t, "ns")
		return rapid.SampledFrom([]time.Time{
			time.Unix(0, ns).UTC(), time.Unix(0, ns).UTC(), time.Unix(0, ns).In(time.FixedZone("JST", 9*3600)), {}, time.Unix(253402300799, 5).UTC(),
		}).Draw(t, "time")
	})
	return telescope.Scanner{
		Source: addr.Draw(t, "source"), Port: rapid.Uint16().Draw(t, "port"), Protocol: word.Draw(t, "protocol"),
		Packets: rapid.Uint64().Draw(t, "packets"), Targets: rapid.Uint64().Draw(t, "targets"),
		TargetsErr: share.Draw(t, "error"), Coverage: share.Draw(t, "coverage"),
		Tool: word.Draw(t, "tool"), ToolVersions: word.Draw(t, "versions"), Research: rapid.Bool().Draw(t, "research"), MaybeVictim: rapid.Bool().Draw(t, "victim"),
		First: at.Draw(t, "first"), Last: at.Draw(t, "last"),
	}
}

// TestLines holds the hand-written JSON to encoding/json's, byte for byte.
func TestLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l telescope.Lines
		for _, s := range rapid.SliceOfN(rapid.Custom(anyScanner), 1, 5).Draw(t, "scanners") {
			want, err := json.Marshal(&s)
			if err != nil {
				t.Fatal(err)
			}
			got, err := l.Append([]byte("before "), &s)
			if err != nil || string(got) != "before "+string(want) {
				t.Fatalf("%v\n%s, by encoding/json\n%s", err, got, want)
			}
		}
	})
}

// TestAppendPort does the same for ports, indented.
func TestAppendPort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyScanner(t)
		d := telescope.Document{Ports: []telescope.PortCount{{s.Port, s.Protocol, s.Packets, s.Targets, s.Coverage}}}
		whole, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		_, want, _ := strings.Cut(string(whole), "\"ports\": [\n")
		want, _, _ = strings.Cut(want, "\n  ]")
		if got, err := telescope.AppendPort(nil, &d.Ports[0]); err != nil || string(got) != want {
			t.Fatalf("%v\n%s\nby encoding/json\n%s", err, got, want)
		}
	})
}

// TestLinesRefuse: what JSON can't say is an error here as there.
func TestLinesRefuse(t *testing.T) {
	late := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, s := range map[string]telescope.Scanner{
		"not a number": {TargetsErr: math.NaN()}, "infinite": {Coverage: math.Inf(1)}, "first": {First: late}, "last": {Last: late},
	} {
		var l telescope.Lines
		if _, err := json.Marshal(&s); err == nil {
			t.Errorf("%s: encoding/json takes it", name)
		}
		if _, err := l.Append(nil, &s); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestLinesAllocateNothing(t *testing.T) {
	var l telescope.Lines
	s := telescope.Scanner{
		Source: netip.MustParseAddr("192.0.2.1"), Protocol: "tcp", Coverage: 1.0 / 3, Tool: "zmap",
		First: time.Unix(1.7e9, 123456000).UTC(), Last: time.Unix(1.7e9, 0).UTC(),
	}
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(1000, func() { _, _ = l.Append(buf, &s) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLines(b *testing.B) {
	var l telescope.Lines
	s := telescope.Scanner{
		Source: netip.MustParseAddr("192.0.2.1"), Port: 23, Protocol: "tcp", Packets: 17, Targets: 15, Coverage: 15.0 / (1 << 18), Tool: "unknown",
		First: time.Unix(1.7e9, 123456000).UTC(), Last: time.Unix(1.7e9, 7000).UTC(),
	}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for range b.N {
		if _, err := l.Append(buf, &s); err != nil {
			b.Fatal(err)
		}
	}
}
