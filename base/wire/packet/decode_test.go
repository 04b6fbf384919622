package packet_test

import (
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"sakimori/base/wire/packet"
)

// synFrame is a plain Ethernet frame with a TCP SYN, 192.0.2.1:40000 to
// 198.51.100.7:23, in the 60 bytes that a frame has at least.
var synFrame = []byte{
	0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0x00,
	0x45, 0x00, 0x00, 0x2c, 0x12, 0x34, 0x40, 0x00, 0x36, 0x06, 0x00, 0x00, 192, 0, 2, 1, 198, 51, 100, 7,
	0x9c, 0x40, 0x00, 0x17, 0xc6, 0x33, 0x64, 0x07, 0, 0, 0, 0, 0x60, 0x02, 0x39, 0x08, 0, 0, 0, 0,
	0x02, 0x04, 0x05, 0xb4,
	0, 0,
}

func BenchmarkDecode(b *testing.B) {
	b.Run("own", func(b *testing.B) {
		var d packet.Decoder
		var p packet.Packet
		b.ReportAllocs()
		for b.Loop() {
			if d.Decode(packet.LinkEthernet, synFrame, 60, &p) != packet.OK {
				b.Fatal("not decoded")
			}
		}
	})
	b.Run("gopacket", func(b *testing.B) {
		var (
			eth  layers.Ethernet
			ip4  layers.IPv4
			tcp  layers.TCP
			pay  gopacket.Payload
			kept []gopacket.LayerType
		)
		parser := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &eth, &ip4, &tcp, &pay)
		b.ReportAllocs()
		for b.Loop() {
			if err := parser.DecodeLayers(synFrame, &kept); err != nil {
				b.Fatal(err)
			}
		}
	})
}
