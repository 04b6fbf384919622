package sim_test

import (
	"io"
	"testing"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/sim"
)

// nowhere takes frames and counts their bytes.
type nowhere struct{ frames, bytes uint64 }

func (n *nowhere) WriteFrame(_ int64, data []byte) error {
	n.frames++
	n.bytes += uint64(len(data))
	return nil
}

func BenchmarkAutumn2016(b *testing.B) { speed(b, sim.Autumn2016(1)) }

func BenchmarkZipf(b *testing.B) { speed(b, sim.Zipf(10_000_000, 300_000, 1_000_000, 1)) }

// speed has the capture written as a file that nobody keeps.
func speed(b *testing.B, c sim.Capture) {
	var packets uint64
	for b.Loop() {
		w, err := pcap.NewWriter(io.Discard, packet.LinkEthernet)
		if err != nil {
			b.Fatal(err)
		}
		truth, err := c.Write(w)
		if err != nil {
			b.Fatal(err)
		}
		packets += truth.Packets
	}
	b.ReportMetric(float64(packets)/b.Elapsed().Seconds(), "packets/s")
}
