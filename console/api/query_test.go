package api

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sakimori/observe"
)

func TestKeysReadBackWhatTheyWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dim := observe.Dim(rapid.IntRange(0, observe.Dims-1).Draw(t, "dim"))
		key := rapid.Uint32().Draw(t, "key")
		switch dim {
		case observe.ByTotal:
			key = 0
		case observe.ByClass:
			key %= uint32(observe.Classes)
		case observe.ByProtocol:
			key %= 256
		case observe.ByPort:
			key %= 1 << 24
		case observe.ByCountry:
			key = ('A'+key%25)<<8 | ('A' + key>>8%26)
		}
		got, err := parseKey(dim, keyText(dim, key))
		if err != nil || got != key {
			t.Fatalf("%v %d is %q, read as %d, %v", dim, key, keyText(dim, key), got, err)
		}
	})
	for _, dim := range []observe.Dim{observe.ByCountry, observe.ByAS} {
		if got, err := parseKey(dim, keyText(dim, 0)); got != 0 || err != nil {
			t.Errorf("unknown %v: %d, %v", dim, got, err)
		}
	}
}

func TestKeyTexts(t *testing.T) {
	for text, key := range map[string]uint32{"23/tcp": telnet, "53/udp": 17<<16 | 53, "8.0/icmp": 1<<16 | 8<<8, "0/gre": 47 << 16, "0/200": 200 << 16} {
		if got := portKey(key); got != text {
			t.Errorf("%d is %q", key, got)
		}
	}
	if en, ja := portName(telnet); en != "telnet" || ja != "Telnet（IoT）" {
		t.Error(en, ja)
	}
	if en, _ := portName(1<<16 | 8<<8); en != "echo request (ping)" {
		t.Error(en)
	}
	if n := len(portNames); n < 120 {
		t.Errorf("%d ports have names", n)
	}
	type row struct {
		port  uint16
		proto uint8
	}
	seen := map[row]bool{}
	for _, p := range portNames {
		if seen[row{p.port, p.proto}] || p.en == "" {
			t.Errorf("%d/%d twice or without a name", p.port, p.proto)
		}
		seen[row{p.port, p.proto}] = true
	}
}

func TestGrainIsChosenByTheSpan(t *testing.T) {
	for length, want := range map[time.Duration]observe.Grain{time.Hour: observe.Minute, day: observe.Hour, 14 * day: observe.Hour, 60 * day: observe.Day} {
		if g, err := grainFor("auto", observe.Range{From: dataEnd.Add(-length), To: dataEnd}); err != nil || g != want {
			t.Errorf("%v: %v, %v", length, g, err)
		}
	}
}

func FuzzQuery(f *testing.F) {
	f.Add("2016-09-01T00:00:00Z", "2016-09-02T00:00:00+09:00", "23/tcp", uint8(3), "mirai,zmap")
	f.Add("", "9999-12-31T23:59:59Z", "8.0/icmp", uint8(4), "tcp-syn,,udp")
	f.Add("1969-12-31T23:59:59Z", "", "AS4294967296", uint8(5), "x")
	f.Fuzz(func(t *testing.T, from, to, key string, dim uint8, words string) {
		for _, have := range []bool{true, false} {
			r, ok, err := parseSpan(from, to, dataEnd, have)
			if err == nil && ok {
				if !r.From.Before(r.To) || r.To.Sub(r.From) > longestSpan {
					t.Fatalf("%q %q give %v", from, to, r)
				}
				if b := before(r); b.To.Sub(b.From) != r.To.Sub(r.From) || !b.To.Equal(r.From) {
					t.Fatalf("before %v is %v", r, b)
				}
				if g, err := grainFor("auto", r); err != nil || int64(r.To.Sub(r.From).Seconds())/g.Seconds() > mostPoints {
					t.Fatalf("%v: %v, %v", r, g, err)
				}
			}
		}
		d := observe.Dim(dim % uint8(observe.Dims))
		if k, err := parseKey(d, key); err == nil {
			if again, err := parseKey(d, keyText(d, k)); err != nil || again != k {
				t.Fatalf("%v %q is %d, then %d, %v", d, key, k, again, err)
			}
		}
		_, _ = parseKinds(words)
		_, _ = parseTools(words)
		if p, _, err := parsePort(words); err == nil && (p < -1 || p > 65535) {
			t.Fatalf("%q is port %d", words, p)
		}
		_, _ = parseTopics(words)
		if a, err := parseAddr(words); err == nil && (a.Is4In6() || a == netip.Addr{}) {
			t.Fatalf("%q is %v", words, a)
		}
		_ = language(words)
		_ = takes(words, "br")
	})
}

func FuzzCursor(f *testing.F) {
	s, err := newSealer(make([]byte, secretBytes))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(*s.cursor(cursor{Query: "q", Offset: 3}))
	f.Add("gggg")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := s.openCursor(text, "q")
		if err != nil {
			return
		}
		if *s.cursor(c) != text { // only what was sealed opens
			t.Fatalf("%q opens as %+v", text, c)
		}
	})
}
