package pcap_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
)

// BenchmarkReader walks a capture of 60-byte frames in the page cache. It is
// 64 MiB long.
func BenchmarkReader(b *testing.B) {
	path := filepath.Join(b.TempDir(), "bench.pcap")
	const size = 64 << 20
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w, err := pcap.NewWriter(f, packet.LinkEthernet)
	if err != nil {
		b.Fatal(err)
	}
	frame := bytes.Repeat([]byte{0x45}, 60)
	n := size / 76
	for i := range n {
		if err := w.WriteFrame(int64(i), frame); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		b.Fatal(err)
	}
	b.Run("read", func(b *testing.B) {
		var block packet.Block
		b.SetBytes(size)
		for b.Loop() {
			r, err := pcap.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			for err = r.ReadBlock(&block); err == nil; err = r.ReadBlock(&block) {
			}
			if !errors.Is(err, io.EOF) || r.Frames() != uint64(n) {
				b.Fatal(err, r.Frames())
			}
			r.Close()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/frame")
	})
	b.Run("digest", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			if _, _, err := pcap.Digest(path); err != nil {
				b.Fatal(err)
			}
		}
	})
}
