package sflow_test

import (
	"bytes"
	"testing"

	oracle "github.com/netsampler/goflow2/v2/decoders/sflow"
)

// BenchmarkDatagram reads a datagram of seven flow samples, as many as fit 1,400 bytes.
func BenchmarkDatagram(b *testing.B) {
	sample := opaque(1, 99, 77, 1000, 123456, 2, 77, 78, 2, opaque(1, 1, 1400, 4, 128, make([]byte, 128)), router)
	data := datagram(agent4, sample, sample, sample, sample, sample, sample, sample)
	b.Run("sakimori", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			walk(data)
		}
	})
	b.Run("goflow2", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var p oracle.Packet
			if err := oracle.DecodeMessageVersion(bytes.NewBuffer(data), &p); err != nil {
				b.Fatal(err)
			}
		}
	})
}
