package ipfix_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sakimori/base/wire/ipfix"
)

// words writes numbers of two bytes.
func words(v ...uint16) (b []byte) {
	for _, w := range v {
		b = binary.BigEndian.AppendUint16(b, w)
	}
	return b
}

// set puts the header before a set's body.
func set(id uint16, body ...[]byte) []byte {
	b := slices.Concat(body...)
	return append(words(id, uint16(4+len(b))), b...)
}

// message is an IPFIX message of domain 7.
func message(sequence uint32, sets ...[]byte) []byte {
	b := slices.Concat(sets...)
	head := words(10, uint16(16+len(b)))
	for _, v := range []uint32{1_700_000_000, sequence, 7} {
		head = binary.BigEndian.AppendUint32(head, v)
	}
	return append(head, b...)
}

// message9 is the same in version 9.
func message9(sequence uint32, sets ...[]byte) []byte {
	head := words(9, 1)
	for _, v := range []uint32{60_000, 1_700_000_000, sequence, 7} {
		head = binary.BigEndian.AppendUint32(head, v)
	}
	return append(head, slices.Concat(sets...)...)
}

// flow is a template of fixed length: addresses, ports, protocol, octets.
var flow = words(256, 6, 8, 4, 12, 4, 7, 2, 11, 2, 4, 1, 1, 8)

// flows are n records of it, 21 bytes each.
func flows(n int) (b []byte) {
	for i := range n {
		b = append(b, 10, 0, 0, byte(i), 192, 0, 2, 1, 4, byte(i), 0, 53, 17)
		b = binary.BigEndian.AppendUint64(b, uint64(i)*100)
	}
	return b
}

// learn feeds messages and gives what was learned of the last one.
func learn(t testing.TB, c *ipfix.Cache[struct{}], messages ...[]byte) (l ipfix.Learned, err error) {
	t.Helper()
	for _, b := range messages {
		var m ipfix.Message
		if err := ipfix.Parse(b, &m); err != nil {
			t.Fatal(err)
		}
		for s := (ipfix.Set{}); m.Next(&s); {
			if s.Kind == ipfix.Templates || s.Kind == ipfix.OptionsTemplates {
				l, err = c.Learn(exporter, &m, &s)
			}
		}
	}
	return l, err
}

func has(t testing.TB, c *ipfix.Cache[struct{}], id uint16) bool {
	t.Helper()
	var m ipfix.Message
	if err := ipfix.Parse(message(0), &m); err != nil {
		t.Fatal(err)
	}
	return c.Find(exporter, &m, id) != nil
}

func TestTemplatesComeAndGo(t *testing.T) {
	small, other := words(257, 1, 8, 4), words(257, 1, 12, 4)
	options := words(258, 2, 1, 149, 4, 41, 8)
	tests := []struct {
		name   string
		sets   [][]byte
		last   ipfix.Learned
		known  []uint16
		absent []uint16
		err    error
	}{
		{name: "two in a set", sets: [][]byte{set(2, flow, small)}, last: ipfix.Learned{New: 2}, known: []uint16{256, 257}},
		{name: "sent again", sets: [][]byte{set(2, flow), set(2, flow)}, last: ipfix.Learned{Same: 1}, known: []uint16{256}},
		{name: "used anew", sets: [][]byte{set(2, small), set(2, other)}, last: ipfix.Learned{Changed: 1}, known: []uint16{257}},
		{name: "a data template's number given to options", sets: [][]byte{set(2, small), set(3, words(257, 1, 1, 8, 4))}, last: ipfix.Learned{Changed: 1}, known: []uint16{257}},
		{name: "padded", sets: [][]byte{set(2, small, words(0, 0))}, last: ipfix.Learned{New: 1}, known: []uint16{257}},
		{name: "withdrawn", sets: [][]byte{set(2, flow, small), set(2, words(256, 0))}, last: ipfix.Learned{Withdrawn: 1}, known: []uint16{257}, absent: []uint16{256}},
		{name: "withdrawn and given again", sets: [][]byte{set(2, flow), set(2, words(256, 0), flow)}, last: ipfix.Learned{Withdrawn: 1, New: 1}, known: []uint16{256}},
		{name: "what isn't there withdrawn", sets: [][]byte{set(2, flow), set(2, words(300, 0))}, known: []uint16{256}},
		{name: "all data templates withdrawn", sets: [][]byte{set(2, flow, small), set(3, options), set(2, words(2, 0))}, last: ipfix.Learned{Withdrawn: 2}, known: []uint16{258}, absent: []uint16{256, 257}},
		{name: "all options templates withdrawn", sets: [][]byte{set(2, flow), set(3, options), set(3, words(3, 0))}, last: ipfix.Learned{Withdrawn: 1}, known: []uint16{256}, absent: []uint16{258}},
		{name: "records without a byte", sets: [][]byte{set(2, words(256, 1, 8, 0))}, last: ipfix.Learned{Refused: 1}, absent: []uint16{256}},
		{name: "options without scope", sets: [][]byte{set(3, words(258, 1, 0, 41, 8))}, err: ipfix.ErrTemplate, absent: []uint16{258}},
		{name: "cut short", sets: [][]byte{set(2, small, flow[:20])}, last: ipfix.Learned{New: 1}, err: ipfix.ErrTemplate, known: []uint16{257}, absent: []uint16{256}},
		{name: "number of no data set", sets: [][]byte{set(2, words(12, 1, 8, 4))}, err: ipfix.ErrTemplate},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := ipfix.NewCache[struct{}](1000, nil)
			var all [][]byte
			for _, s := range tt.sets {
				all = append(all, message(0, s))
			}
			got, err := learn(t, c, all...)
			if got != tt.last || !errors.Is(err, tt.err) {
				t.Errorf("learned %+v, %v", got, err)
			}
			for _, id := range tt.known {
				if !has(t, c, id) {
					t.Errorf("%d isn't known", id)
				}
			}
			for _, id := range tt.absent {
				if has(t, c, id) {
					t.Errorf("%d is known", id)
				}
			}
		})
	}
}

// A template is an exporter's and a domain's and a version's own.
func TestTemplatesAreApart(t *testing.T) {
	c := ipfix.NewCache[struct{}](1000, nil)
	if _, err := learn(t, c, message(0, set(2, flow))); err != nil {
		t.Fatal(err)
	}
	var m ipfix.Message
	if err := ipfix.Parse(message(0), &m); err != nil {
		t.Fatal(err)
	}
	if c.Find(netip.MustParseAddrPort("192.0.2.2:4739"), &m, 256) != nil {
		t.Error("another exporter's template was found")
	}
	m.Domain++
	if c.Find(exporter, &m, 256) != nil {
		t.Error("another domain's template was found")
	}
	if err := ipfix.Parse(message9(0), &m); err != nil {
		t.Fatal(err)
	}
	if c.Find(exporter, &m, 256) != nil {
		t.Error("another version's template was found")
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := ipfix.NewCache[struct{}](100*(1+8), nil)
	if _, err := learn(t, c, message(0, set(2, words(256, 1, 8, 4)))); err != nil {
		t.Fatal(err)
	}
	for id := uint16(1000); id < 6000; id++ {
		if _, err := learn(t, c, message(0, set(2, words(id, 1, 8, 4)))); err != nil {
			t.Fatal(err)
		}
		if !has(t, c, 256) {
			t.Fatal("the template in use went before those that nobody used")
		}
	}
	if c.Len() > 100 || c.Len() < 70 || c.Evicted() != 5001-uint64(c.Len()) {
		t.Errorf("%d templates, %d evicted", c.Len(), c.Evicted())
	}
	if l, _ := learn(t, c, message(0, set(2, append(words(256, 1200), make([]byte, 4800)...)))); l.Refused != 1 {
		t.Errorf("a template larger than the whole cache: %+v", l)
	}
}

// values gives the records of a message's data set, as bytes of each field.
func values(t testing.TB, template, data []byte) (all [][]string, damaged bool) {
	t.Helper()
	c := ipfix.NewCache[struct{}](1000, nil)
	if _, err := learn(t, c, message(0, set(2, template))); err != nil {
		t.Fatal(err)
	}
	var m ipfix.Message
	if err := ipfix.Parse(message(0, set(256, data)), &m); err != nil {
		t.Fatal(err)
	}
	var r ipfix.Records
	for s := (ipfix.Set{}); m.Next(&s); {
		r.Start(c.Find(exporter, &m, s.ID).Template, s.Body)
		for r.Next() {
			var rec []string
			for i := range r.Template().Fields {
				rec = append(rec, string(r.Bytes(i)))
			}
			all = append(all, rec)
		}
	}
	return all, r.Damaged()
}

func TestVariableLength(t *testing.T) {
	// A name of variable length, an enterprise's element of variable length, a number.
	template := append(words(256, 3, 82, ipfix.Variable, 0x8001, ipfix.Variable), append(words(0, 9999), words(4, 1)...)...)
	long := make([]byte, 300)
	tests := []struct {
		name    string
		data    []byte
		want    [][]string
		damaged bool
	}{
		{name: "short, empty", data: []byte("\x03abc\x00\x06"), want: [][]string{{"abc", "", "\x06"}}},
		{name: "three bytes of length", data: slices.Concat([]byte{255, 1, 44}, long, []byte{1, 'x', 17}), want: [][]string{{string(long), "x", "\x11"}}},
		{name: "two records and padding", data: []byte("\x01a\x01b\x06\x01c\x01d\x11\x00\x00"), want: [][]string{{"a", "b", "\x06"}, {"c", "d", "\x11"}}},
		{name: "two bytes, shorter than any record", data: []byte("\x01a\x01b\x06\x09c"), want: [][]string{{"a", "b", "\x06"}}},
		{name: "long length cut", data: []byte("\x01a\x01b\x06\xff\x01\xff"), want: [][]string{{"a", "b", "\x06"}}, damaged: true},
	}
	for _, tt := range tests {
		got, damaged := values(t, template, tt.data)
		if !slices.EqualFunc(got, tt.want, slices.Equal) || damaged != tt.damaged {
			t.Errorf("%s: %q, damaged %v", tt.name, got, damaged)
		}
	}
}

func TestNumbersAndAddresses(t *testing.T) {
	c := ipfix.NewCache(1000, func(t *ipfix.Template) int { return t.Find(0, 8) })
	template := append(words(256, 5, 1, 3, 8, 4, 27, 16, 0x8001, 2), append(words(0, 9), words(82, 5)...)...)
	data := append([]byte{1, 2, 3, 192, 0, 2, 9}, netip.MustParseAddr("2001:db8::1").AsSlice()...)
	data = append(data, 255, 254, 'h', 'e', 'l', 'l', 'o')
	var m ipfix.Message
	if err := ipfix.Parse(message(0, set(2, template), set(256, data)), &m); err != nil {
		t.Fatal(err)
	}
	var s ipfix.Set
	m.Next(&s)
	if _, err := c.Learn(exporter, &m, &s); err != nil {
		t.Fatal(err)
	}
	m.Next(&s)
	e := c.Find(exporter, &m, 256)
	var r ipfix.Records
	r.Start(e.Template, s.Body)
	if !r.Next() || r.Uint(0) != 0x010203 || r.Addr(e.Plan).String() != "192.0.2.9" || r.Addr(2).String() != "2001:db8::1" ||
		r.Uint(3) != 65534 || r.Uint(2) != 0 || r.Addr(0).IsValid() || string(r.Bytes(4)) != "hello" || r.Next() {
		t.Error("fields were misread")
	}
	if e.Template.Find(9, 1) != 3 || e.Template.Find(0, 1) != 0 || e.Template.Find(0, 99) != -1 {
		t.Error("elements were found in the wrong place")
	}
}

func TestDamagedMessages(t *testing.T) {
	whole := message(0, set(2, flow))
	tests := []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, ipfix.ErrShort},
		{"a version 9 header cut", message9(0)[:19], ipfix.ErrShort},
		{"an IPFIX header cut", whole[:15], ipfix.ErrShort},
		{"a length within the header", words(10, 15, 0, 0, 0, 0, 0, 0), ipfix.ErrShort},
		{"cut on the way", whole[:len(whole)-1], ipfix.ErrLength},
		{"NetFlow version 5", words(5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), ipfix.ErrVersion},
		{"a set longer than the message", message(0, words(256, 9, 1)), ipfix.ErrSet},
		{"a set without end", message(0, words(256, 0, 0, 0)), ipfix.ErrSet},
		{"version 9 padded", message9(0, set(0, flow), make([]byte, 64)), nil},
		{"version 9, two bytes over", message9(0, set(0, flow), make([]byte, 2)), nil},
	}
	for _, tt := range tests {
		var m ipfix.Message
		err := ipfix.Parse(tt.b, &m)
		if err == nil {
			for s := (ipfix.Set{}); m.Next(&s); {
			}
			err = m.Err()
		}
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestSequence(t *testing.T) {
	type step struct {
		sequence uint32
		records  int
		want     ipfix.Gap
	}
	tests := []struct {
		name    string
		version uint16
		steps   []step
		total   ipfix.Gap
	}{
		{"version 9 counts messages", 9, []step{{5, 30, ipfix.Gap{}}, {6, 30, ipfix.Gap{}}, {9, 30, ipfix.Gap{Lost: 2}}}, ipfix.Gap{Lost: 2}},
		{"IPFIX counts records", 10, []step{{5, 30, ipfix.Gap{}}, {35, 10, ipfix.Gap{}}, {50, 1, ipfix.Gap{Lost: 5}}}, ipfix.Gap{Lost: 5}},
		{"the number after the last is zero", 10, []step{{1<<32 - 2, 3, ipfix.Gap{}}, {1, 1, ipfix.Gap{}}}, ipfix.Gap{}},
		{"two change places", 10, []step{{0, 10, ipfix.Gap{}}, {20, 10, ipfix.Gap{Lost: 10}}, {10, 10, ipfix.Gap{Late: 1}}, {30, 1, ipfix.Gap{}}}, ipfix.Gap{Late: 1}},
		{"records of an unknown template", 10, []step{{0, 10, ipfix.Gap{}}, {10, -1, ipfix.Gap{}}, {70, 10, ipfix.Gap{}}, {80, 1, ipfix.Gap{}}}, ipfix.Gap{}},
		{"the exporter starts anew", 9, []step{{70000, 1, ipfix.Gap{}}, {0, 1, ipfix.Gap{Restarts: 1}}, {1, 1, ipfix.Gap{}}}, ipfix.Gap{Restarts: 1}},
		{"with a number far ahead", 9, []step{{7, 1, ipfix.Gap{}}, {1 << 30, 1, ipfix.Gap{Restarts: 1}}}, ipfix.Gap{Restarts: 1}},
	}
	for _, tt := range tests {
		var s ipfix.Sequence
		for i, st := range tt.steps {
			h := ipfix.Header{Version: tt.version, Sequence: st.sequence}
			if got := s.Take(&h, st.records); got != st.want {
				t.Errorf("%s, step %d: %+v, want %+v", tt.name, i, got, st.want)
			}
		}
		if s.Total() != tt.total {
			t.Errorf("%s: in all %+v, want %+v", tt.name, s.Total(), tt.total)
		}
	}
}

// What arrives is counted right whatever is lost, as long as nothing changes places.
func TestSequenceCountsLosses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s ipfix.Sequence
		h := ipfix.Header{Version: ipfix.IPFIX, Sequence: rapid.Uint32().Draw(t, "first")}
		lost, pending, begun := uint64(0), uint64(0), false
		for range rapid.IntRange(1, 50).Draw(t, "messages") {
			n := rapid.IntRange(0, 60).Draw(t, "records")
			if rapid.Bool().Draw(t, "arrives") {
				s.Take(&h, n)
				lost, pending, begun = lost+pending, 0, true
			} else if begun {
				pending += uint64(n)
			}
			h.Sequence += uint32(n)
		}
		if got := s.Total(); got != (ipfix.Gap{Lost: lost}) {
			t.Fatalf("%+v, want %d lost", got, lost)
		}
	})
}
