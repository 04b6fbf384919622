package netflow_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/netsampler/goflow2/v2/decoders/netflowlegacy"

	"sakimori/base/corpus"
	"sakimori/base/wire/netflow"
)

// datagram has n records, of which the header counts so many.
func datagram(n, counted int) []byte {
	b := make([]byte, 24, 24+48*n)
	for i := range b {
		b[i] = byte(i + 100)
	}
	binary.BigEndian.PutUint16(b, netflow.Version)
	binary.BigEndian.PutUint16(b[2:], uint16(counted))
	for i := range n {
		for j := range 48 {
			b = append(b, byte(i*48+j))
		}
	}
	return b
}

// mine reads a datagram by us.
func mine(b []byte) (h netflow.Header, list []netflow.Record, err error) {
	var m netflow.Message
	err = netflow.Parse(b, &m)
	for r := (netflow.Record{}); m.Next(&r); {
		list = append(list, r)
	}
	return m.Header, list, err
}

// theirs reads it by goflow2.
func theirs(b []byte) (h netflow.Header, list []netflow.Record, err error) {
	var p netflowlegacy.PacketNetFlowV5
	err = netflowlegacy.DecodeMessageVersion(bytes.NewBuffer(b), &p)
	h = netflow.Header{
		Count: int(p.Count), Uptime: p.SysUptime, Seconds: p.UnixSecs, Nanos: p.UnixNSecs, Sequence: p.FlowSequence,
		Engine: uint16(p.EngineType)<<8 | uint16(p.EngineId), Mode: uint8(p.SamplingInterval >> 14), Interval: p.SamplingInterval & 0x3fff,
	}
	for _, r := range p.Records {
		list = append(list, netflow.Record{
			Src: uint32(r.SrcAddr), Dst: uint32(r.DstAddr), NextHop: uint32(r.NextHop), In: r.Input, Out: r.Output, Packets: r.DPkts, Bytes: r.DOctets,
			First: r.First, Last: r.Last, SrcPort: r.SrcPort, DstPort: r.DstPort, Flags: r.TCPFlags, Proto: r.Proto, TOS: r.Tos,
			SrcAS: r.SrcAS, DstAS: r.DstAS, SrcMask: r.SrcMask, DstMask: r.DstMask,
		})
	}
	return h, list, err
}

// alike compares both readings.
func alike(t *testing.T, b []byte) int {
	t.Helper()
	h, list, err := mine(b)
	wantH, want, failed := theirs(b)
	if (err == nil) != (failed == nil) {
		t.Fatalf("we say %v, goflow2 %v", err, failed)
	}
	if err != nil {
		return 0
	}
	if d := cmp.Diff(wantH, h) + cmp.Diff(want, list); d != "" {
		t.Fatalf("- goflow2, + ours:\n%s", d)
	}
	return len(list)
}

// TestEqualToGoflow: every datagram of the corpus is read as goflow2 reads it.
func TestEqualToGoflow(t *testing.T) {
	t.Parallel()
	var list [][]byte
	files, err := filepath.Glob(filepath.Join(corpus.Folder(t, "flow", "logstash"), "netflow5*.dat"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	list = append(list, corpus.Datagrams(t, corpus.Folder(t, "flow", "akvorado", "nfv5.pcap"))...)
	list = append(list, corpus.Datagrams(t, corpus.Folder(t, "generated", "flow", "synflood-netflow5.pcap"))...)
	datagrams, records := 0, 0
	for _, b := range list {
		if !bytes.HasPrefix(b, []byte{0, netflow.Version}) {
			continue
		}
		datagrams++
		records += alike(t, b)
	}
	t.Logf("%d datagrams, %d records", datagrams, records)
	if datagrams < 1303 || records < 37669 {
		t.Errorf("only %d datagrams and %d records: is the corpus whole?", datagrams, records)
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	if n := alike(t, datagram(3, 3)); n != 3 {
		t.Errorf("%d records", n)
	}
	// What follows the records that are counted is nobody's.
	if _, list, err := mine(datagram(3, 2)); len(list) != 2 || err != nil {
		t.Errorf("%d records, %v", len(list), err)
	}
}

// TestDamage: cut anywhere, what is whole is read, and what is wrong is said.
func TestDamage(t *testing.T) {
	t.Parallel()
	whole := datagram(3, 3)
	for n := range whole {
		_, list, err := mine(whole[:n])
		want := netflow.ErrShort
		if n >= 24 {
			want = netflow.ErrLength
		}
		if !errors.Is(err, want) || len(list) != max(0, n-24)/48 {
			t.Errorf("of %d bytes: %d records, %v", n, len(list), err)
		}
	}
	if _, list, err := mine(datagram(1, 65535)); len(list) != 1 || !errors.Is(err, netflow.ErrLength) {
		t.Errorf("a count that lies: %d records, %v", len(list), err)
	}
	for _, version := range []byte{0, 1, 7, 9, 10} {
		b := slices.Clone(whole)
		b[1] = version
		if _, list, err := mine(b); len(list) != 0 || !errors.Is(err, netflow.ErrVersion) || !strings.Contains(err.Error(), "port") {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	b := datagram(30, 30)
	var m netflow.Message
	var r netflow.Record
	if n := testing.AllocsPerRun(100, func() {
		_ = netflow.Parse(b, &m)
		for m.Next(&r) {
		}
	}); n != 0 {
		t.Errorf("%.1f allocations a datagram", n)
	}
}

// FuzzParse: nothing is read beyond the datagram, and what goflow2 reads is read alike.
func FuzzParse(f *testing.F) {
	f.Add(datagram(2, 2))
	f.Add(datagram(2, 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = slices.Clip(b)
		h, list, err := mine(b)
		if len(list) > h.Count || err == nil && len(list) != h.Count {
			t.Fatalf("%d records of %d, %v", len(list), h.Count, err)
		}
		if err == nil && h.Count < 100 { // goflow2 takes a count that lies, and reserves room for it
			alike(t, b)
		}
	})
}

func BenchmarkRecords(b *testing.B) {
	d := datagram(30, 30)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		var m netflow.Message
		var r netflow.Record
		sum := uint32(0)
		for b.Loop() {
			_ = netflow.Parse(d, &m)
			for m.Next(&r) {
				sum += r.Src + r.Bytes
			}
		}
		b.ReportMetric(30*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
	})
	b.Run("goflow2", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var p netflowlegacy.PacketNetFlowV5
			if err := netflowlegacy.DecodeMessageVersion(bytes.NewBuffer(d), &p); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(30*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
	})
}
