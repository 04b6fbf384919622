package ipfix_test

import (
	"bytes"
	"testing"

	"github.com/netsampler/goflow2/v2/decoders/netflow"

	"sakimori/base/wire/ipfix"
)

// perMessage is how many records fit a datagram of 1,400 bytes.
const perMessage = 30

// sum reads every field of every record.
func sum(c *ipfix.Cache[struct{}], r *ipfix.Records, b []byte) (total uint64, records int) {
	var m ipfix.Message
	if ipfix.Parse(b, &m) != nil {
		return 0, 0
	}
	for s := (ipfix.Set{}); m.Next(&s); {
		switch s.Kind {
		case ipfix.Templates, ipfix.OptionsTemplates:
			c.Learn(exporter, &m, &s)
		case ipfix.Data:
			e := c.Find(exporter, &m, s.ID)
			if e == nil {
				continue
			}
			for r.Start(e.Template, s.Body); r.Next(); records++ {
				for i := range e.Template.Fields {
					total += r.Uint(i)
				}
			}
		}
	}
	return total, records
}

var (
	fixed    = message(0, set(2, flow), set(256, flows(perMessage)))
	named    = words(257, 3, 8, 4, 82, ipfix.Variable, 1, 8)
	variable = func() []byte {
		var b []byte
		for range perMessage {
			b = append(b, "\x0a\x00\x00\x01\x05et1/3\x00\x00\x00\x00\x00\x00\x05\xdc"...)
		}
		return message(0, set(2, named), set(257, b))
	}()
)

// Neither records nor templates that are sent again allocate.
func TestNothingIsAllocated(t *testing.T) {
	for name, b := range map[string][]byte{"fixed": fixed, "variable": variable} {
		c := ipfix.NewCache[struct{}](1000, nil)
		var r ipfix.Records
		if _, n := sum(c, &r, b); n != perMessage {
			t.Fatalf("%s: %d records", name, n)
		}
		if n := testing.AllocsPerRun(100, func() { sum(c, &r, b) }); n != 0 {
			t.Errorf("%s: %.1f allocations a message", name, n)
		}
	}
}

func BenchmarkRecords(b *testing.B) {
	for _, bb := range []struct {
		name string
		data []byte
	}{{"fixed", fixed}, {"variable", variable}} {
		b.Run(bb.name, func(b *testing.B) {
			c := ipfix.NewCache[struct{}](1000, nil)
			var r ipfix.Records
			b.ReportAllocs()
			for b.Loop() {
				sum(c, &r, bb.data)
			}
			b.ReportMetric(perMessage*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
		})
		b.Run(bb.name+"/goflow2", func(b *testing.B) {
			c := netflow.CreateTemplateSystem()
			b.ReportAllocs()
			for b.Loop() {
				var v9 netflow.NFv9Packet
				var v10 netflow.IPFIXPacket
				if err := netflow.DecodeMessageVersion(bytes.NewBuffer(bb.data), c, &v9, &v10); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(perMessage*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
		})
	}
}
