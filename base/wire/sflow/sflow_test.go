package sflow_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/sflow"
)

// xdr writes numbers and bytes, which it pads, as RFC 4506 has them.
func xdr(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = binary.BigEndian.AppendUint32(b, uint32(p))
		case uint64:
			b = binary.BigEndian.AppendUint64(b, p)
		case []byte:
			b = append(b, p...)
			b = append(b, make([]byte, -len(p)&3)...)
		case netip.Addr:
			kind := 1
			if p.Is6() {
				kind = 2
			}
			b = append(b, xdr(kind, p.AsSlice())...)
		}
	}
	return b
}

// opaque is a kind, a length and as many bytes: a sample or a record.
func opaque(kind int, parts ...any) []byte {
	body := xdr(parts...)
	return xdr(kind, len(body), body)
}

var (
	agent4 = netip.MustParseAddr("192.0.2.1")
	agent6 = netip.MustParseAddr("2001:db8::1")
	frame  = []byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 7, 198, 51, 100, 9, 4, 1, 0, 23, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 1, 0, 0}
)

func datagram(agent netip.Addr, samples ...[]byte) []byte {
	b := xdr(5, agent, 7, 1234, 86_400_000, len(samples))
	for _, s := range samples {
		b = append(b, s...)
	}
	return b
}

var (
	header   = opaque(1, 11, 1400, 4, len(frame), frame)
	ipv4     = opaque(3, 60, 6, []byte{192, 0, 2, 7}, []byte{198, 51, 100, 9}, 1025, 23, 2, 8)
	ipv6     = opaque(4, 80, 17, agent6.AsSlice(), agent6.AsSlice(), 53, 4000, 0, 1)
	ethernet = opaque(2, 64, []byte{2, 0, 0, 0, 0, 1}, []byte{2, 0, 0, 0, 0, 2}, 0x0806)
	vlans    = opaque(1001, 10, 1, 20, 2)
	router   = opaque(1002, agent6, 24, 22)
	gateway  = opaque(1003, agent4, 64500, 64501, 64502, 2, 2, 2, 64503, 64504, 1, 1, 64505, 1, 6553600, 100)
	unnamed  = opaque(9<<12|5, 1, 2, 3)
	counters = opaque(1, 3, 6, uint64(1e9), 1, 3, uint64(1<<40), 4, 5, 6, 7, 8, 9, uint64(1<<41), 10, 11, 12, 13, 14, 0)

	flow      = opaque(1, 99, 5<<24|77, 1000, 123456, 2, 77, 2<<30|3, 4, header, vlans, router, gateway)
	expanded  = opaque(3, 100, 0, 1<<25, 2000, 123457, 3, 0, 1<<25, 1, 256, 4, ipv4, ipv6, ethernet, unnamed)
	counted   = opaque(2, 101, 3, 2, counters, unnamed)
	counted2  = opaque(4, 102, 0, 1<<25, 1, counters)
	discarded = opaque(5, 103, 0, 3, 17, 3, 0, 256, 1, header)
	foreign   = opaque(4300<<12|1002, 1, 2)
)

// TestSamples: every kind of sample and record says what was put into it.
func TestSamples(t *testing.T) {
	for _, agent := range []netip.Addr{agent4, agent6} {
		var d sflow.Datagram
		if err := sflow.Parse(datagram(agent, flow, expanded, foreign, counted, counted2, discarded), &d); err != nil {
			t.Fatal(err)
		}
		if d.Agent != agent || d.SubAgent != 7 || d.Sequence != 1234 || d.Uptime != 86_400_000 || d.Samples != 6 {
			t.Errorf("header: %+v", d)
		}
		type sample struct {
			Kind                   sflow.Kind
			Sequence, Class, Index uint32
			Rate, Pool, Drops      uint32
			In, Out                sflow.Port
			Reason                 uint32
			Records                []any
		}
		var got []sample
		for s := (sflow.Sample{}); d.Next(&s); {
			x := sample{s.Kind, s.Sequence, s.SourceClass, s.SourceIndex, s.Rate, s.Pool, s.Drops, s.Input, s.Output, s.Reason, nil}
			for r := (sflow.Record{}); s.Next(&r); {
				x.Records = append(x.Records, read(t, &s, &r))
			}
			if s.Err() != nil {
				t.Error(s.Err())
			}
			got = append(got, x)
		}
		raw := sflow.RawHeader{Protocol: 11, Length: 1400, Stripped: 4, Bytes: frame}
		unread := sflow.Record{Type: 9<<12 | 5, Body: xdr(1, 2, 3)}
		interfaces := sflow.InterfaceCounters{
			Index: 3, Type: 6, Speed: 1e9, Direction: 1, Status: 3,
			InOctets: 1 << 40, InUcastPkts: 4, InMulticastPkts: 5, InBroadcastPkts: 6, InDiscards: 7, InErrors: 8, InUnknownProtos: 9,
			OutOctets: 1 << 41, OutUcastPkts: 10, OutMulticastPkts: 11, OutBroadcastPkts: 12, OutDiscards: 13, OutErrors: 14,
		}
		want := []sample{
			{
				sflow.Flow, 99, 5, 77, 1000, 123456, 2, sflow.Port{Value: 77}, sflow.Port{Format: sflow.Multiple, Value: 3}, 0, []any{
					raw,
					sflow.SwitchInfo{SrcVLAN: 10, SrcPriority: 1, DstVLAN: 20, DstPriority: 2},
					sflow.RouterInfo{NextHop: agent6, SrcBits: 24, DstBits: 22},
					sflow.GatewayInfo{NextHop: agent4, AS: 64500, SrcAS: 64501, SrcPeerAS: 64502, DstAS: 64505, DstPeerAS: 64503, Hops: 3, LocalPref: 100},
				},
			},
			{
				sflow.Flow, 100, 0, 1 << 25, 2000, 123457, 3, sflow.Port{Value: 1 << 25}, sflow.Port{Format: sflow.Dropped, Value: 256}, 0, []any{
					sflow.IPHeader{Length: 60, Proto: 6, Src: netip.MustParseAddr("192.0.2.7"), Dst: netip.MustParseAddr("198.51.100.9"), SrcPort: 1025, DstPort: 23, TCPFlags: 2, TOS: 8},
					sflow.IPHeader{Length: 80, Proto: 17, Src: agent6, Dst: agent6, SrcPort: 53, DstPort: 4000, TOS: 1},
					sflow.EthernetHeader{Length: 64, Src: [6]byte{2, 0, 0, 0, 0, 1}, Dst: [6]byte{2, 0, 0, 0, 0, 2}, Kind: 0x0806},
					unread,
				},
			},
			{},
			{sflow.Counters, 101, 0, 3, 0, 0, 0, sflow.Port{}, sflow.Port{}, 0, []any{interfaces, unread}},
			{sflow.Counters, 102, 0, 1 << 25, 0, 0, 0, sflow.Port{}, sflow.Port{}, 0, []any{interfaces}},
			{sflow.Discarded, 103, 0, 3, 0, 0, 17, sflow.Port{Value: 3}, sflow.Port{}, 256, []any{raw}},
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("- want, + got:\n%s", diff)
		}
		if d.Err() != nil {
			t.Error(d.Err())
		}
	}
}

// read reads a record by its type; one that isn't read is given as it is.
func read(t testing.TB, s *sflow.Sample, r *sflow.Record) any {
	t.Helper()
	x, err := content(s, r)
	if err != nil {
		t.Errorf("record %d: %v", r.Type, err)
	}
	return x
}

func content(s *sflow.Sample, r *sflow.Record) (any, error) {
	if s.Kind == sflow.Counters {
		if r.Type == sflow.Interface {
			return value(r.Interface)
		}
		return *r, nil
	}
	switch r.Type {
	case sflow.Header:
		return value(r.Header)
	case sflow.Ethernet:
		return value(r.Ethernet)
	case sflow.IPv4, sflow.IPv6:
		return value(r.IP)
	case sflow.Switch:
		return value(r.Switch)
	case sflow.Router:
		return value(r.Router)
	case sflow.Gateway:
		return value(r.Gateway)
	}
	return *r, nil
}

func value[T any](read func(*T) error) (any, error) {
	var x T
	err := read(&x)
	return x, err
}

// TestPorts: an interface that isn't one alone has no index.
func TestPorts(t *testing.T) {
	for p, want := range map[sflow.Port]uint32{
		{}:                                     0,
		{Value: 12}:                            12,
		{Value: sflow.Internal}:                0,
		{Value: 1<<32 - 1}:                     0,
		{Format: sflow.Dropped, Value: 256}:    0,
		{Format: sflow.Multiple, Value: 2}:     0,
		{Format: sflow.Single, Value: 1 << 31}: 1 << 31,
	} {
		if got := p.Index(); got != want {
			t.Errorf("%+v: %d, want %d", p, got, want)
		}
	}
}

// TestLinks: what packet reads is handed to it, and nothing else.
func TestLinks(t *testing.T) {
	want := map[uint32]packet.LinkType{1: packet.LinkEthernet, 7: packet.LinkPPP, 11: packet.LinkIPv4, 12: packet.LinkIPv6, 14: packet.LinkPPPHDLC}
	for i := range uint32(20) {
		h := sflow.RawHeader{Protocol: i}
		link, ok := h.Link()
		if l, is := want[i]; ok != is || link != l {
			t.Errorf("protocol %d: %d, %v", i, link, ok)
		}
	}
}

// TestPaths: where a packet goes is the last AS of its path, unless that is a set.
func TestPaths(t *testing.T) {
	for _, c := range []struct {
		path     []any
		peer, as uint32
	}{
		{[]any{0}, 0, 0},
		{[]any{1, 2, 1, 64503}, 64503, 64503},
		{[]any{1, 2, 3, 64503, 64504, 64505}, 64503, 64505},
		{[]any{2, 2, 1, 64503, 1, 2, 64504, 64505}, 64503, 0},
		{[]any{1, 1, 2, 64503, 64504}, 0, 0},
		{[]any{1, 2, 0}, 0, 0},
	} {
		r := sflow.Record{Type: sflow.Gateway, Body: xdr(append(append([]any{0, 64500, 0, 0}, c.path...), 0, 100)...)}
		var g sflow.GatewayInfo
		if err := r.Gateway(&g); err != nil || g.DstPeerAS != c.peer || g.DstAS != c.as || g.LocalPref != 100 || g.NextHop.IsValid() {
			t.Errorf("path %v: %+v, %v", c.path, g, err)
		}
	}
}

// TestUnpaddedAddresses: an Ethernet record without XDR's padding is read too.
func TestUnpaddedAddresses(t *testing.T) {
	r := sflow.Record{Type: sflow.Ethernet, Body: []byte{0, 0, 0, 64, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0, 0, 8, 6}}
	var e sflow.EthernetHeader
	if err := r.Ethernet(&e); err != nil || e.Dst != [6]byte{2, 0, 0, 0, 0, 2} || e.Kind != 0x0806 {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestLies: lengths and counts that don't hold end what they stand in, and nothing
// beyond it.
func TestLies(t *testing.T) {
	lie := func(b []byte, at int, v uint32) []byte {
		b = append([]byte(nil), b...)
		binary.BigEndian.PutUint32(b[at:], v)
		return b
	}
	huge := uint32(1<<32 - 1)
	for name, c := range map[string]struct {
		b                        []byte
		parse, datagram, sample  error
		record                   error
		samples, records, damage int
	}{
		"empty":                  {b: nil, parse: sflow.ErrShort},
		"another version":        {b: lie(datagram(agent4, flow), 0, 4), parse: sflow.ErrVersion},
		"another kind of agent":  {b: lie(datagram(agent4, flow), 4, 3), parse: sflow.ErrAgent},
		"more samples than sent": {b: lie(datagram(agent4, flow), 24, 1000), datagram: sflow.ErrCut, samples: 1, records: 4},
		"no samples said":        {b: lie(datagram(agent4, flow), 24, 0)},
		"sample too long":        {b: lie(datagram(agent4, flow, flow), 32, huge), datagram: sflow.ErrCut},
		"sample without length":  {b: datagram(agent4, opaque(1), flow), sample: sflow.ErrSample, samples: 2, records: 4, damage: 1},
		"more records than sent": {b: datagram(agent4, opaque(1, 1, 2, 3, 4, 5, 6, 7, 99, header), flow), sample: sflow.ErrSample, samples: 2, records: 5, damage: 1},
		"record too long":        {b: datagram(agent4, opaque(1, 1, 2, 3, 4, 5, 6, 7, 1, lie(header, 4, huge)), flow), sample: sflow.ErrSample, samples: 2, records: 4, damage: 1},
		"record too short":       {b: datagram(agent4, opaque(1, 1, 2, 3, 4, 5, 6, 7, 1, opaque(1, 11, 60)), flow), record: sflow.ErrRecord, samples: 2, records: 5},
		"header too long":        {b: datagram(agent4, opaque(1, 1, 2, 3, 4, 5, 6, 7, 1, lie(header, 20, 41))), record: sflow.ErrRecord, samples: 1, records: 1},
		"path too long":          {b: datagram(agent4, opaque(1, 1, 2, 3, 4, 5, 6, 7, 1, opaque(1003, agent4, 1, 2, 3, 1, 2, 1<<30, 5))), record: sflow.ErrRecord, samples: 1, records: 1},
		"more parts than sent":   {b: datagram(agent4, opaque(1, 1, 2, 3, 4, 5, 6, 7, 1, opaque(1003, agent4, 1, 2, 3, 1<<31-1, 2, 1, 5))), record: sflow.ErrRecord, samples: 1, records: 1},
		"communities too long":   {b: datagram(agent4, opaque(1, 1, 2, 3, 4, 5, 6, 7, 1, opaque(1003, agent4, 1, 2, 3, 0, 1<<30, 5))), record: sflow.ErrRecord, samples: 1, records: 1},
		"another kind of hop":    {b: datagram(agent4, opaque(1, 1, 2, 3, 4, 5, 6, 7, 1, opaque(1002, 9, 1, 2, 3))), record: sflow.ErrRecord, samples: 1, records: 1},
		"bytes behind the last":  {b: append(datagram(agent4, flow), 1, 2, 3), samples: 1, records: 4},
	} {
		var d sflow.Datagram
		err := sflow.Parse(c.b, &d)
		if !errors.Is(err, c.parse) || (err == nil) != (c.parse == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		samples, records, damage := 0, 0, 0
		var sample, record error
		for s := (sflow.Sample{}); d.Next(&s); samples++ {
			for r := (sflow.Record{}); s.Next(&r); records++ {
				if _, err := content(&s, &r); err != nil {
					record = err
				}
			}
			if s.Err() != nil {
				sample = s.Err()
				damage++
			}
		}
		if !errors.Is(d.Err(), c.datagram) || !errors.Is(sample, c.sample) || !errors.Is(record, c.record) {
			t.Errorf("%s: datagram %v, sample %v, record %v", name, d.Err(), sample, record)
		}
		if samples != c.samples || records != c.records || damage != c.damage {
			t.Errorf("%s: %d samples, %d records, %d damaged", name, samples, records, damage)
		}
	}
}

// TestCutAnywhere: a datagram that was cut gives what stands before the cut, as the
// whole one does, and an error.
func TestCutAnywhere(t *testing.T) {
	b := datagram(agent6, flow, counted, expanded, foreign, discarded)
	whole, err := lines(b)
	if err != nil {
		t.Fatal(err)
	}
	for n := range b {
		got, err := lines(b[:n:n])
		if err == nil {
			t.Fatalf("cut at %d of %d: no error", n, len(b))
		}
		if len(got) > len(whole) || !slices.Equal(whole[:len(got)], got) {
			t.Fatalf("cut at %d of %d: %v", n, len(b), got)
		}
	}
}

// TestNoAllocation: walking a datagram and reading its records allocates nothing.
func TestNoAllocation(t *testing.T) {
	b := datagram(agent4, flow, expanded, counted, discarded)
	if n := testing.AllocsPerRun(100, func() { walk(b) }); n != 0 {
		t.Errorf("%v allocations a datagram", n)
	}
}

// walk reads everything and says how many records there were.
func walk(b []byte) (records int) {
	var d sflow.Datagram
	if sflow.Parse(b, &d) != nil {
		return 0
	}
	var h sflow.RawHeader
	var i sflow.IPHeader
	var g sflow.GatewayInfo
	var c sflow.InterfaceCounters
	for s := (sflow.Sample{}); d.Next(&s); {
		for r := (sflow.Record{}); s.Next(&r); records++ {
			switch {
			case s.Kind == sflow.Counters && r.Type == sflow.Interface:
				_ = r.Interface(&c)
			case r.Type == sflow.Header:
				_ = r.Header(&h)
			case r.Type == sflow.IPv4:
				_ = r.IP(&i)
			case r.Type == sflow.Gateway:
				_ = r.Gateway(&g)
			}
		}
	}
	return records
}
