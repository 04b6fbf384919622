package flow_test

import (
	"math"
	"net/netip"
	"testing"

	"sakimori/observe/flow"
)

// options9 is an options template of version 9: its scope's types and lengths, and its fields.
func options9(id int, scope []int, f ...int) []byte {
	return append(append(words(id, 2*len(scope), 2*len(f)), words(scope...)...), words(f...)...)
}

// options10 is one of IPFIX.
func options10(id, scope int, f ...int) []byte {
	return append(words(id, len(f)/2, scope), words(f...)...)
}

// TestRate: which sampling rate counts.
func TestRate(t *testing.T) {
	t.Parallel()
	plain := []int{8, 4, 12, 4, 2, 4, 1, 4, 10, 4}
	values := []uint64{1, 2, 10, 1000, 7}
	// What was told before: for the domain, for samplers 1 and 2, for interface 7.
	domain := [][]byte{set(1, options9(300, []int{1, 4}, 34, 4)), set(300, record([]int{1, 4, 34, 4}, 0, 100))}
	samplers := [][]byte{set(1, options9(301, []int{1, 4}, 48, 1, 50, 4)), set(301, record([]int{1, 4, 48, 1, 50, 4}, 0, 1, 200), record([]int{1, 4, 48, 1, 50, 4}, 0, 2, 300))}
	face := [][]byte{set(1, options9(302, []int{2, 4}, 34, 4)), set(302, record([]int{2, 4, 34, 4}, 7, 400))}
	for _, tt := range []struct {
		name     string
		settings flow.Settings
		before   [][]byte
		fields   []int
		values   []uint64
		want     uint32
		unknown  bool
	}{
		{name: "nothing is told", want: 1, unknown: true},
		{name: "configured", settings: flow.Settings{Rate: 50}, want: 50},
		{name: "configured, and unsampled", settings: flow.Settings{Rate: 1}, want: 1},
		{name: "domain before configured", settings: flow.Settings{Rate: 50}, before: domain, want: 100},
		{name: "two samplers, and none named", before: samplers, want: 1, unknown: true},
		{name: "two samplers, and none named, but for the domain", before: append(domain, samplers...), want: 100},
		{name: "sampler", before: append(domain, samplers...), fields: []int{48, 1}, values: []uint64{2}, want: 300},
		{name: "selector", before: append(domain, samplers...), fields: []int{302, 8}, values: []uint64{1}, want: 200},
		{name: "a sampler that isn't known", before: append(domain, samplers...), fields: []int{48, 1}, values: []uint64{3}, want: 100},
		{name: "interface before domain", before: append(domain, face...), want: 400},
		{name: "interface of what leaves by another", before: append(domain, face...), fields: []int{14, 4, 61, 1}, values: []uint64{8, 1}, want: 100},
		{name: "sampler before interface", before: append(samplers, face...), fields: []int{48, 1}, values: []uint64{1}, want: 200},
		{name: "record before sampler", before: samplers, fields: []int{48, 1, 34, 4}, values: []uint64{1, 500}, want: 500},
		{name: "a record that says 0", before: domain, fields: []int{34, 4}, values: []uint64{0}, want: 100},
		{name: "a record that says 1", before: domain, fields: []int{34, 4}, values: []uint64{1}, want: 1},
		{name: "random interval", fields: []int{50, 4}, values: []uint64{2048}, want: 2048},
		{name: "interval and space", fields: []int{305, 4, 306, 4}, values: []uint64{1, 999}, want: 1000},
		{name: "interval and space, several taken", fields: []int{305, 4, 306, 4}, values: []uint64{10, 990}, want: 100},
		{name: "interval without space", fields: []int{305, 4}, values: []uint64{64}, want: 64},
		{name: "size and population", fields: []int{305, 4, 309, 4, 310, 4}, values: []uint64{1, 1, 256}, want: 256},
		{name: "probability", fields: []int{311, 8}, values: []uint64{math.Float64bits(0.001)}, want: 1000},
		{name: "probability in four bytes", fields: []int{311, 4}, values: []uint64{uint64(math.Float32bits(0.01))}, want: 100},
		{name: "a probability that is none", fields: []int{311, 8}, values: []uint64{math.Float64bits(math.NaN())}, want: 1, unknown: true},
		{name: "override", settings: flow.Settings{Rate: 50, Override: true}, before: append(append(domain, samplers...), face...), fields: []int{48, 1, 34, 4}, values: []uint64{1, 500}, want: 50},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCollector(t, flow.Config{Default: tt.settings})
			if tt.before != nil {
				c.take(v9(tt.before...), now)
			}
			f := append(append([]int{}, plain...), tt.fields...)
			got := c.one(v9(set(0, fields(256, f...)), set(256, record(f, append(append([]uint64{}, values...), tt.values...)...))), now)
			if got.Rate != tt.want || got.Packets != 10*uint64(tt.want) || got.Bytes != 1000*uint64(tt.want) || got.Seen != 10 {
				t.Errorf("%+v, want rate %d", got, tt.want)
			}
			if h := c.health(); (h.RateUnknown == 1) != tt.unknown || len(h.Rates) != 1 || h.Rates[0] != (flow.Rate{Rate: tt.want, Flows: 1}) {
				t.Errorf("%d not known, %v", h.RateUnknown, h.Rates)
			}
		})
	}
}

// TestRateOfIPFIX: of options whose scope is the selector (as Cisco's), and of one that is told
// of domain 0 for the whole exporter.
func TestRateOfIPFIX(t *testing.T) {
	t.Parallel()
	f := []int{8, 4, 12, 4, 2, 4, 1, 4}
	flows := func(domain uint32) []byte {
		return message10(0, uint32(now/1e9), domain, set(2, fields(256, f...)), set(256, record(f, 1, 2, 10, 1000)))
	}
	c := newCollector(t, flow.Config{})
	o := []int{302, 4, 305, 4, 304, 2, 309, 4, 310, 4}
	c.take(message10(0, uint32(now/1e9), 5, set(3, options10(257, 1, o...)), set(257, record(o, 1, 1, 3, 1, 256))), now)
	if got := c.one(flows(5), now); got.Rate != 256 {
		t.Errorf("%+v", got)
	}
	if got := c.one(flows(6), now); got.Rate != 1 {
		t.Errorf("another domain: %+v", got)
	}
	o = []int{149, 4, 305, 4, 306, 4}
	c.take(message10(0, uint32(now/1e9), 0, set(3, options10(257, 1, o...)), set(257, record(o, 0, 1, 511))), now)
	if got := c.one(flows(6), now); got.Rate != 512 {
		t.Errorf("of domain 0: %+v", got)
	}
	if got := c.one(flows(5), now); got.Rate != 256 {
		t.Errorf("its own: %+v", got)
	}
}

// TestRateLate: options count from when they come, and so do other ones.
func TestRateLate(t *testing.T) {
	t.Parallel()
	f := []int{8, 4, 12, 4, 2, 4, 1, 4}
	data := v9(set(0, fields(256, f...)), set(256, record(f, 1, 2, 10, 1000)))
	c := newCollector(t, flow.Config{})
	tell := func(rate uint64) {
		c.take(v9(set(1, options9(300, []int{1, 4}, 34, 4)), set(300, record([]int{1, 4, 34, 4}, 0, rate))), now)
	}
	for i, want := range []uint32{1, 100, 1000} {
		if i > 0 {
			tell(uint64(want))
		}
		if got := c.one(data, now); got.Rate != want {
			t.Errorf("rate %d, want %d", got.Rate, want)
		}
	}
	if h := c.health(); h.RateUnknown != 1 || len(h.Rates) != 3 || h.Options != 2 {
		t.Errorf("%d not known, %v", h.RateUnknown, h.Rates)
	}
}

// TestRateOfVersion5: the header's, whatever its mode; options of nobody else.
func TestRateOfVersion5(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		settings flow.Settings
		sampling int
		want     uint32
	}{{flow.Settings{}, 0, 1}, {flow.Settings{Rate: 64}, 0, 64}, {flow.Settings{Rate: 64}, 1<<14 | 100, 100}, {flow.Settings{}, 100, 100}, {flow.Settings{Rate: 64, Override: true}, 1<<14 | 100, 64}} {
		c := newCollector(t, flow.Config{Default: tt.settings})
		if got := c.one(message5(0, 10_000, uint32(now/1e9), tt.sampling, 1), now); got.Rate != tt.want || got.Packets != 10*uint64(tt.want) {
			t.Errorf("%+v: %+v", tt, got)
		}
	}
}

// TestNames: what options call interfaces.
func TestNames(t *testing.T) {
	t.Parallel()
	c := newCollector(t, flow.Config{Exporters: []flow.Settings{{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Interfaces: map[uint32]flow.Interface{9: {Name: "transit"}}}}})
	o := []int{10, 4, 82, 16, 83, 20}
	row := func(n uint64, name, about string) []byte {
		b := make([]byte, 40)
		b[3] = byte(n)
		copy(b[4:20], name)
		copy(b[20:], about)
		return b
	}
	c.take(v10(set(3, options10(257, 1, o...)), set(257, row(7, "et-0/0/7", "to Osaka"), row(9, "et-0/0/9", "evil\x01\xff"))), now)
	c.take(message5(0, 10_000, uint32(now/1e9), 0, 1), now)
	c.Publish(now)
	for i, want := range []string{7: "et-0/0/7", 9: "transit", 10: ""} {
		if got := c.dir.Interface(1, uint32(i)); got != want {
			t.Errorf("interface %d is %q", i, got)
		}
	}
	for _, e := range c.dir.Exporters()[0].Interfaces {
		if e.Index == 9 && e.About != "evil??" || e.Index == 7 && e.About != "to Osaka" {
			t.Errorf("%+v", e)
		}
	}
}

// TestOptionsAreBounded: an exporter that invents samplers and interfaces gets no further.
func TestOptionsAreBounded(t *testing.T) {
	t.Parallel()
	c := newCollector(t, flow.Config{})
	c.take(v9(set(1, options9(300, []int{1, 4}, 48, 4, 34, 4)), set(1, options9(301, []int{2, 4}, 34, 4, 82, 40))), now)
	for i := range 300 {
		var a, b [][]byte
		for j := range 30 {
			n := uint64(i*30 + j + 1)
			a = append(a, record([]int{1, 4, 48, 4, 34, 4}, 0, n, n))
			b = append(b, record([]int{2, 4, 34, 4, 82, 40}, n, n, n))
		}
		c.take(v9(set(300, a...), set(301, b...)), now)
	}
	h := c.health()
	if h.Options != 18000 || len(h.Interfaces) > 4096 {
		t.Errorf("%d options, %d interfaces", h.Options, len(h.Interfaces))
	}
	if n := len(c.dir.Snapshot()); n > 1<<20 {
		t.Errorf("%d bytes are kept", n)
	}
}
