package flow_test

import (
	"bytes"
	"compress/gzip"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sakimori/base/corpus"
	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/observe/flow"
)

// capture is a capture of datagrams, one a second, to a port.
func capture(t *testing.T, port int, cut int, datagrams ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := pcap.NewWriter(&b, packet.LinkEthernet)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range datagrams {
		frame := append(make([]byte, 12), 8, 0)
		ip := words(0x4500, 28+len(d), 0, 0, 0x4011, 0, 0xc000, 0x0201, 0xc000, 0x0202, 40000, port, 8+len(d), 0)
		frame = append(append(frame, ip...), d...)
		if err := w.WriteCut(now+int64(i)*second, frame[:len(frame)-cut], uint32(len(frame))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRead: captures on ports that are usual and others, packed ones, broken ones; and exports
// without a capture.
func TestRead(t *testing.T) {
	t.Parallel()
	five := message5(0, 10_000, uint32(now/second), 0, 3)
	nine := message9(0, 10_000, uint32(now/second), 0, set(0, usual), set(256, usualRecords(3)))
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(capture(t, 2055, 0, five))
	_ = z.Close()
	dns := append(words(5, 1), bytes.Repeat([]byte("x"), 40)...) // begins as NetFlow 5 does
	for _, tt := range []struct {
		name  string
		file  []byte
		flows int
		want  flow.File // but for Err, First and Last
		fails bool
	}{
		{"usual port", capture(t, 2055, 0, five, nine), 6, flow.File{Frames: 2, Datagrams: 2}, false},
		{"any port", capture(t, 40001, 0, five, nine, sample5(0, 2)), 8, flow.File{Frames: 3, Datagrams: 3}, false},
		{"others", capture(t, 40001, 0, five, dns, []byte("hello")), 3, flow.File{Frames: 3, Datagrams: 1, Others: 2}, false},
		{"nonsense to a usual port", capture(t, 2055, 0, five, []byte("hello")), 3, flow.File{Frames: 2, Datagrams: 2, Malformed: 1}, false},
		{"cut frames", capture(t, 2055, 50, five), 1, flow.File{Frames: 1, Datagrams: 1, Cut: 1, Malformed: 1}, false},
		{"packed", packed.Bytes(), 3, flow.File{Frames: 1, Datagrams: 1}, false},
		{"broken off", capture(t, 2055, 0, five, nine)[:500], 3, flow.File{Frames: 1, Datagrams: 1}, true},
		{"one datagram", nine, 3, flow.File{Datagrams: 1}, false},
		{"several datagrams", append(append([]byte{}, five...), message10(0, uint32(now/second), 0, set(2, usual), set(256, usualRecords(2)))...), 5, flow.File{Datagrams: 2}, false},
		{"sFlow", sample5(0, 2), 2, flow.File{Datagrams: 1}, false},
		{"something else", []byte("%PDF-1.7 and more"), 0, flow.File{}, true},
		{"nothing", nil, 0, flow.File{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCollector(t, flow.Config{})
			n, err := flow.ReadFrom(t.Context(), c.Collector, bytes.NewReader(tt.file), from)
			if (err != nil) != tt.fails || (n.Err != nil) != (n.Malformed > 0) {
				t.Errorf("%v; %v", err, n.Err)
			}
			first, last := n.First, n.Last
			n.Err, n.First, n.Last = nil, 0, 0
			if n != tt.want || len(c.flows) != tt.flows {
				t.Errorf("%+v, %d flows", n, len(c.flows))
			}
			if n.Frames > 0 && (first != now || last != now+int64(n.Datagrams-1)*second) {
				t.Errorf("from %d to %d", first, last)
			}
		})
	}
}

// TestConcatenated: files of several datagrams without a capture, as other collectors keep them.
func TestConcatenated(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct{ datagrams, flows uint64 }{"netflow5.dat": {12, 30}, "ipfix.dat": {3, 12}} {
		d, flows, n := collect(t, flow.Config{}, corpus.Folder(t, "flow", "logstash", name))
		h := d.Exporters()
		if n.Datagrams != want.datagrams || uint64(len(flows)) != want.flows || n.Malformed != 0 || len(h) != 1 || h[0].Gaps != 0 {
			t.Errorf("%s: %+v, %d flows, %+v", name, n, len(flows), h)
		}
	}
}

// TestBenign: captures that hold no exports give no flows, whatever is in them.
func TestBenign(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(corpus.Folder(t, "pcap", "benign"), "*", "*.pcap"))
	if err != nil || len(files) == 0 {
		t.Fatal(len(files), err)
	}
	others := uint64(0)
	for _, f := range files {
		if i, err := os.Stat(f); err != nil || i.Size() > 200_000 || strings.Contains(f, "netflow") {
			continue
		}
		c := newCollector(t, flow.Config{})
		n, err := flow.Read(t.Context(), c.Collector, f, netip.AddrPort{})
		if err != nil {
			t.Logf("%s: %v", f, err)
		}
		others += n.Others
		if n.Datagrams-n.Malformed != 0 || len(c.flows) != 0 {
			t.Errorf("%s: %+v, %d flows", f, n, len(c.flows))
		}
	}
	if others == 0 {
		t.Error("is the corpus whole?")
	}
	t.Logf("%d other datagrams in %d captures", others, len(files))
}
