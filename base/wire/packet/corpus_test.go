package packet_test

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"sakimori/base/corpus"
	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
)

// each calls f with every frame of a capture, as far as that can be read.
func each(path string, f func(i int, fr packet.Frame, data []byte)) error {
	r, err := pcap.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	var b packet.Block
	for n := 0; ; {
		if err := r.ReadBlock(&b); err != nil {
			return err
		}
		for i, fr := range b.Frames {
			f(n, fr, b.Bytes(i))
			n++
		}
	}
}

// captures lists the capture files below dir.
func captures(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.Contains(e.Name(), ".pcap") {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestCorpusAgreesWithGopacket compares each frame of each real capture, broken
// ones included, and reads each once more with every tunnel switched on.
func TestCorpusAgreesWithGopacket(t *testing.T) {
	dir := corpus.Folder(t, "pcap")
	all := packet.Decoder{Tunnels: packet.GRE | packet.ERSPAN | packet.VXLAN | packet.IPIP, VXLANPort: 8472}
	var plain packet.Decoder
	compared, statuses := 0, map[packet.Status]int{}
	for _, name := range captures(t, dir) {
		bad := 0
		_ = each(name, func(i int, f packet.Frame, data []byte) {
			var p packet.Packet
			all.Decode(f.Link, data, f.Orig, &p)
			within(t, data, &p)
			s := plain.Decode(f.Link, data, f.Orig, &p)
			within(t, data, &p)
			statuses[s]++
			if _, ok := firstLayers[f.Link]; !ok {
				return
			}
			compared++
			if d := disagreement(f.Link, data, s, &p); d != "" && bad < 3 {
				bad++
				t.Errorf("%s frame %d (%d of %d bytes): %s", strings.TrimPrefix(name, dir), i+1, f.Len, f.Orig, d)
			}
		})
	}
	t.Logf("%d frames compared; %v", compared, statuses)
	if compared < 50000 {
		t.Errorf("only %d frames compared: is the corpus whole?", compared)
	}
}

// within fails when p's slices reach beyond the frame they were read from.
func within(t testing.TB, data []byte, p *packet.Packet) {
	t.Helper()
	for _, s := range [][]byte{p.Payload, p.TCPOptions} {
		if len(s) > 0 && (cap(s) > cap(data) || len(s) > len(data) || &s[:cap(s)][cap(s)-1] != &data[:cap(data)][cap(data)-1]) {
			t.Fatal("a slice lies outside of the frame")
		}
	}
}
