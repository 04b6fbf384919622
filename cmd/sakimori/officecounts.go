package main

import (
	"sakimori/base/telemetry"
	"sakimori/respond/subscriber/access"
	"sakimori/respond/subscriber/translation/live"
)

// What an office takes off the network is counted, above all what is lost or not believed.

func counter(name, help string, read func() uint64) telemetry.Metric {
	return telemetry.Metric{Name: name, Kind: telemetry.Counter, Help: help, Read: func() float64 { return float64(read()) }}
}

func (h *office) watchRadius(s *access.Server) {
	sum := func(f func(*access.ClientStats) uint64) func() uint64 {
		return func() (n uint64) {
			clients := s.Stats().Clients
			for i := range clients {
				n += f(&clients[i])
			}
			return n
		}
	}
	h.counts = append(h.counts,
		counter("radius_requests_total", "Datagrams of clients that are configured.", sum(func(c *access.ClientStats) uint64 { return c.Requests })),
		counter("radius_records_total", "Records kept.", sum(func(c *access.ClientStats) uint64 { return c.Records })),
		counter("radius_unkept_total", "Requests not answered, as they could not be kept.", sum(func(c *access.ClientStats) uint64 { return c.Unkept })),
		counter("radius_refused_total", "Requests that can't be used, or whose secret is wrong.", sum(func(c *access.ClientStats) (n uint64) {
			for _, k := range c.Refused {
				n += k
			}
			return n
		})),
		counter("radius_strangers_total", "Datagrams of nobody who is configured.", func() uint64 {
			st := s.Stats()
			n := st.UnknownOthers
			for _, k := range st.Unknown {
				n += k
			}
			return n
		}),
		counter("radius_lost_total", "Datagrams for which the kernel had no room.", func() uint64 { return s.Stats().Lost }),
	)
}

func (h *office) watchListener(name string, l *live.Listener) {
	h.counts = append(h.counts,
		counter(name+"_datagrams_total", "Datagrams of senders that are named.", func() uint64 { return l.Stats().Datagrams }),
		counter(name+"_records_total", "Records in them.", func() uint64 { return l.Stats().Records }),
		counter(name+"_malformed_total", "What can't be used of them.", func() uint64 { return l.Stats().Malformed }),
		counter(name+"_strangers_total", "Datagrams of others, which aren't read.", func() uint64 { return l.Stats().Strangers }),
		counter(name+"_lost_total", "Datagrams for which the kernel had no room.", func() uint64 { return l.Stats().Lost }),
	)
}
