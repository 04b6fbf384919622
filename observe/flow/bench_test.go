package flow_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/netsampler/goflow2/v2/decoders/netflow"
	"github.com/netsampler/goflow2/v2/decoders/netflowlegacy"

	"sakimori/observe"
	"sakimori/observe/flow"
)

var from = netip.MustParseAddrPort("192.0.2.1:2055")

// words are numbers of 16 bits.
func words(w ...int) (b []byte) {
	for _, n := range w {
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	}
	return b
}

// fields is a template with a number, of elements and their lengths.
func fields(id int, f ...int) []byte { return append(words(id, len(f)/2), words(f...)...) }

func set(id int, bodies ...[]byte) []byte {
	b := bytes.Join(bodies, nil)
	return append(words(id, 4+len(b)), b...)
}

// message9 is one of NetFlow version 9, message10 of IPFIX.
func message9(sequence, uptime, seconds uint32, domain uint32, sets ...[]byte) []byte {
	b := words(9, len(sets))
	for _, n := range [...]uint32{uptime, seconds, sequence, domain} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return append(b, bytes.Join(sets, nil)...)
}

func message10(sequence, seconds uint32, domain uint32, sets ...[]byte) []byte {
	body := bytes.Join(sets, nil)
	b := words(10, 16+len(body))
	for _, n := range [...]uint32{seconds, sequence, domain} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return append(b, body...)
}

// usual is a router's template of 17 fields.
var usual = fields(256, 8, 4, 12, 4, 15, 4, 10, 4, 14, 4, 2, 4, 1, 4, 22, 4, 21, 4, 7, 2, 11, 2, 6, 1, 4, 1, 5, 1, 16, 4, 17, 4, 61, 1)

// usualRecord is a record of it; n makes it another one.
func usualRecord(n int, first, last uint32) []byte {
	var b []byte
	for _, v := range [...]uint32{0xc0000200 + uint32(n), 0xcb007107, 0, 7, 8, 10, 15000, first, last} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	b = append(b, words(40000+n, 443)...)
	b = append(b, 0x1b, 6, 0)
	b = binary.BigEndian.AppendUint32(b, 64500)
	b = binary.BigEndian.AppendUint32(b, 64501)
	return append(b, 0)
}

func usualRecords(n int) (b []byte) {
	for i := range n {
		b = append(b, usualRecord(i, 9000, 9900)...)
	}
	return b
}

// message5 is one of NetFlow version 5 with n records.
func message5(sequence, uptime, seconds uint32, sampling, n int) []byte {
	b := words(5, n)
	for _, v := range [...]uint32{uptime, seconds, 0, sequence} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	b = append(b, words(0, sampling)...)
	for i := range n {
		for _, v := range [...]uint32{0xc0000200 + uint32(i), 0xcb007107, 0, 7<<16 | 8, 10, 15000, uptime - 1000, uptime - 100, uint32(40000+i)<<16 | 443, 0x1b<<16 | 6<<8} {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		b = append(b, words(100, 200, 24<<8|24, 0)...)
	}
	return b
}

// sample5 is a datagram of sFlow with n samples.
func sample5(sequence uint32, n int) (b []byte) {
	u := func(v ...uint32) {
		for _, v := range v {
			b = binary.BigEndian.AppendUint32(b, v)
		}
	}
	u(5, 1, 0xc0000201, 0, sequence, 1000, uint32(n))
	frame := make([]byte, 128)
	copy(frame, "\x00\x01\x02\x03\x04\x05\x00\x01\x02\x03\x04\x06\x08\x00\x45\x00\x05\xdc\x00\x00\x00\x00\x40\x06\x00\x00\xc0\x00\x02\x07\xcb\x00\x71\x07\x9c\x40\x01\xbb\x00\x00\x00\x01\x00\x00\x00\x02\x50\x18")
	for i := range n {
		u(1, 32+8+16+128, uint32(i), 7, 1000, 1000*uint32(i), 0, 7, 8, 1, 1, 16+128, 1, 1518, 4, 128)
		b = append(b, frame...)
	}
	return b
}

// datagrams are what BenchmarkIngest measures: with a template that is sent once before.
var datagrams = []struct {
	name           string
	template, data []byte
	records        int
}{
	{"netflow5", nil, message5(0, 10000, 1800000000, 0, 30), 30},
	{"netflow9", message9(0, 10000, 1800000000, 0, set(0, usual)), message9(1, 10000, 1800000000, 0, set(256, usualRecords(24))), 24},
	{"ipfix", message10(0, 1800000000, 0, set(2, ipfixUsual)), message10(0, 1800000000, 0, set(256, ipfixRecords(20))), 20},
	{"sflow5", nil, sample5(0, 7), 7},
}

// ipfixUsual is a template of IPv6, with times in milliseconds and wide counters.
var ipfixUsual = fields(256, 27, 16, 28, 16, 10, 4, 14, 4, 2, 8, 1, 8, 152, 8, 153, 8, 7, 2, 11, 2, 6, 2, 4, 1, 5, 1, 16, 4, 17, 4, 61, 1)

func ipfixRecords(n int) (b []byte) {
	for i := range n {
		a := netip.MustParseAddr("2001:db8::1").As16()
		a[15] = byte(i)
		b = append(b, a[:]...)
		a[7] = 9
		b = append(b, a[:]...)
		b = append(b, words(0, 7, 0, 8)...)
		for _, v := range [...]uint64{10, 15000, 1800000000000 - 900, 1800000000000 - 100} {
			b = binary.BigEndian.AppendUint64(b, v)
		}
		b = append(b, words(40000+i, 443, 0x1b)...)
		b = append(b, 6, 0)
		b = append(b, words(0, 64500, 0, 64501)...)
		b = append(b, 0)
	}
	return b
}

// TestNothingIsAllocated: neither for a record nor for a datagram.
func TestNothingIsAllocated(t *testing.T) {
	for _, dd := range datagrams {
		d, err := flow.NewDirectory(flow.Config{})
		if err != nil {
			t.Fatal(err)
		}
		flows := 0
		c := d.Collector(func(b []observe.Flow) { flows += len(b) })
		if dd.template != nil {
			if err := c.Ingest(dd.template, from, 1); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Ingest(dd.data, from, 1); err != nil {
			t.Fatal(err)
		}
		c.Flush()
		if flows != dd.records {
			t.Errorf("%s: %d flows", dd.name, flows)
		}
		if n := testing.AllocsPerRun(100, func() { _ = c.Ingest(dd.data, from, 1) }); n != 0 {
			t.Errorf("%s: %.1f allocations a datagram", dd.name, n)
		}
	}
}

func BenchmarkIngest(b *testing.B) {
	for _, dd := range datagrams {
		b.Run(dd.name, func(b *testing.B) {
			d, err := flow.NewDirectory(flow.Config{})
			if err != nil {
				b.Fatal(err)
			}
			c := d.Collector(func([]observe.Flow) {})
			_ = c.Ingest(dd.template, from, 1)
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Ingest(dd.data, from, 1800000000e9); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(dd.records), "ns/record")
		})
	}
}

// BenchmarkGoflow is the decoder alone, without what makes flows of it.
func BenchmarkGoflow(b *testing.B) {
	for _, dd := range datagrams[:3] {
		b.Run(dd.name, func(b *testing.B) {
			c := netflow.CreateTemplateSystem()
			b.ReportAllocs()
			decode := func(d []byte) error {
				var v5 netflowlegacy.PacketNetFlowV5
				var v9 netflow.NFv9Packet
				var v10 netflow.IPFIXPacket
				if len(d) == 0 {
					return nil
				}
				if d[1] == 5 {
					return netflowlegacy.DecodeMessageVersion(bytes.NewBuffer(d), &v5)
				}
				return netflow.DecodeMessageVersion(bytes.NewBuffer(d), c, &v9, &v10)
			}
			if err := decode(dd.template); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := decode(dd.data); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(dd.records), "ns/record")
		})
	}
}
