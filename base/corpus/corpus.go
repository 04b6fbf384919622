// Package corpus finds the real captures and logs that tests read. They aren't part of
// the project: where they stand is in SAKIMORI_CORPUS, or else they lie beside it.
package corpus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
)

// Folder is a folder of the corpus, or a file of it. Without it the test is skipped, and
// under CI=true it fails.
func Folder(t testing.TB, parts ...string) string {
	t.Helper()
	dir := os.Getenv("SAKIMORI_CORPUS")
	if dir == "" {
		dir = filepath.Join(root(t), "..", "shared", "data")
	}
	dir = filepath.Join(append([]string{dir}, parts...)...)
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no corpus: %v (set SAKIMORI_CORPUS)", err)
		}
		t.Skipf("SKIPPED, NOT TESTED: no corpus: %v (set SAKIMORI_CORPUS)", err)
	}
	return dir
}

// root is the folder of the project, above the test's own.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = up
	}
}

// Datagrams are the payloads of UDP of a capture, which must be whole.
func Datagrams(t testing.TB, path string) (list [][]byte) {
	t.Helper()
	each(t, path, func(p *packet.Packet) {
		if p.Proto == packet.UDP {
			list = append(list, bytes.Clone(p.Payload))
		}
	})
	return list
}

// each gives the packets of a capture, which must be whole.
func each(t testing.TB, path string, f func(p *packet.Packet)) {
	t.Helper()
	r, err := pcap.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b packet.Block
	var d packet.Decoder
	var p packet.Packet
	for err == nil {
		err = r.ReadBlock(&b)
		for i, fr := range b.Frames {
			if d.Decode(fr.Link, b.Bytes(i), fr.Orig, &p) == packet.OK {
				f(&p)
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatalf("%s: %v", path, err)
	}
}

// Streams are the payloads of TCP of a capture, those of each side of each connection
// joined in the order of the capture. It is meant for captures made by hand, whose
// sequence numbers don't add up.
func Streams(t testing.TB, path string) map[string][]byte {
	t.Helper()
	said := map[string][]byte{}
	each(t, path, func(p *packet.Packet) {
		if p.Proto == packet.TCP && len(p.Payload) > 0 {
			side := fmt.Sprint(p.Src, p.SrcPort, p.Dst, p.DstPort)
			said[side] = append(said[side], p.Payload...)
		}
	})
	return said
}
