package gates_test

import (
	"cmp"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sakimori/base/corpus"
	"sakimori/base/wire/pcap"
	"sakimori/detect"
	"sakimori/detect/ddos"
	"sakimori/observe"
	"sakimori/observe/flow"
	"sakimori/observe/flow/mirror"
)

// mirrored is what a capture's packets come to, seen on a mirror port.
func mirrored(t *testing.T, path string, lines ddos.Thresholds) (*watch, mirror.Stats, error) {
	t.Helper()
	w := newWatch(t, nil, lines)
	r, err := pcap.Open(path)
	if err != nil {
		return w, mirror.Stats{}, err
	}
	defer r.Close()
	m, err := mirror.New(mirror.Config{}, func(batch []observe.Flow) {
		w.until(batch[0].First)
		w.take(batch)
	})
	if err != nil {
		t.Fatal(err)
	}
	err = m.Read(r.ReadBlock)
	w.until((w.now + 5) * int64(time.Second))
	return w, m.Stats(), err
}

// said are the attacks without the notes, as "direction target vector".
func (w *watch) said() (list []string) {
	for _, id := range w.order {
		if a := w.attacks[id]; a.Severity != detect.Note {
			list = append(list, string(a.Direction)+" "+a.Object.Prefix.String()+" "+a.Vectors[0].Name)
		}
	}
	return list
}

// few is a tenth of the lines that are set, or less: real captures of attacks are small.
func few(pps float64) ddos.Thresholds {
	l := ddos.Line{Packets: pps, Bits: 50_000 * pps, Flows: pps}
	return ddos.Thresholds{Address: l, Outgoing: l, Prefix: ddos.Line{Packets: 3 * l.Packets, Bits: 3 * l.Bits, Flows: 3 * l.Flows}}
}

// TestRealFloods: real captures of floods are named as what they are.
func TestRealFloods(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		file string
		pps  float64
		want string
	}{
		{"pkt.TCP.synflood.spoofed.pcap", 800, "incoming 10.10.10.10/32 syn"},
		{"denial6-5.pcap", 2000, "incoming 2001:db8:1::1/128 icmp"},
		{"amp.UDP.isakmp.pcap", 1000, "incoming 10.10.10.10/32 ike-amplification"}, // all of it within 0.4 seconds
	} {
		w, s, err := mirrored(t, corpus.Folder(t, "pcap", "ddos", tt.file), few(tt.pps))
		if err != nil {
			t.Error(err)
		}
		got := strings.Join(w.said(), "; ")
		t.Logf("%s: %d frames, %d records: %s", tt.file, s.Frames, s.Records, cmp.Or(got, "nothing"))
		if got != tt.want {
			t.Errorf("%s: said %q, want %q", tt.file, got, tt.want)
		}
	}
}

// TestRealExport: the flood once more, as NetFlow of a softflowd that read it at a stroke:
// 1,299 datagrams within 10 ms tell of 24 seconds.
func TestRealExport(t *testing.T) {
	t.Parallel()
	w := newWatch(t, nil, few(800))
	n, err := flow.Read(t.Context(), w.collector, corpus.Folder(t, "generated", "flow", "synflood-netflow5.pcap"), netip.AddrPort{})
	if err != nil || n.Err != nil || w.flows != 37_669 || w.packets != 37_841 {
		t.Errorf("%d flows, %d packets: %+v, %v", w.flows, w.packets, n, err)
	}
	w.until(n.Last + 3*int64(time.Second))
	if got := strings.Join(w.said(), "; "); got != "incoming 10.10.10.10/32 syn" {
		t.Errorf("said %q", got)
	}
}

// TestBenignCaptures: real captures of ordinary traffic, as packets and as exports, accuse
// nobody, not even at a twentieth of the usual lines.
func TestBenignCaptures(t *testing.T) {
	t.Parallel()
	files, frames, records := 0, uint64(0), uint64(0)
	walk := func(root string, take func(path string) *watch) {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			w := take(path)
			if w == nil {
				return nil
			}
			files++
			records += w.flows
			for _, id := range w.order {
				if a := w.attacks[id]; a.Severity != detect.Note {
					t.Errorf("%s: %s; %s", filepath.Base(path), saidOf(&a), a.Why.EN)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	walk(corpus.Folder(t, "pcap", "benign"), func(path string) *watch {
		w, s, err := mirrored(t, path, few(1000))
		if err != nil {
			t.Logf("%s: %v", filepath.Base(path), err)
		}
		frames += s.Frames
		return w
	})
	walk(corpus.Folder(t, "flow"), func(path string) *watch {
		if strings.HasSuffix(path, ".json") || strings.HasSuffix(path, ".nfdump") {
			return nil
		}
		w := newWatch(t, nil, ddos.DefaultThresholds())
		n, err := flow.Read(t.Context(), w.collector, path, netip.MustParseAddrPort("192.0.2.1:2055"))
		if err != nil {
			return nil // no exports
		}
		w.until(n.Last + 3*int64(time.Second))
		return w
	})
	t.Logf("%d files, %d frames, %d records: nobody accused", files, frames, records)
	if files < 50 || frames < 10_000 || records < 5_000 {
		t.Error("that is less than there is")
	}
}
