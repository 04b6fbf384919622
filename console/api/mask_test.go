package api

import (
	"encoding/json"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var ownPrefixes = []netip.Prefix{
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("2001:db8:1::/48"),
}

func ownAddr(a netip.Addr) bool {
	for _, p := range ownPrefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func TestMaskerHidesEveryTextualForm(t *testing.T) {
	m := masker{ownAddr}
	for in, want := range map[string]string{
		"203.0.113.7":                              "203.0.113.x",
		"from 203.0.113.7.":                        "from 203.0.113.x.",
		"203.0.113.7:443 > 198.51.100.1:23":        "203.0.113.x:443 > 198.51.100.1:23",
		"203.0.113.7/32":                           "203.0.113.x/32",
		"203.0.113.0/24 203.0.113.0/25":            "203.0.113.0/24 203.0.113.x/25",
		"203.0.113.7/24 203.0.113.0/ 203.0.0.0/16": "203.0.113.x/24 203.0.113.x/ 203.0.0.0/16",
		"2001:db8:1::/48 2001:db8:1::/56":          "2001:db8:1::/48 2001:db8:1::x/56",
		"2001:db8:1::9/48":                         "2001:db8:1::x/48",
		"203.000.113.007":                          "203.000.113.x",
		"host-203-0-113-7.example":                 "host-203-0-113-x.example",
		"203_0_113_7.pcap":                         "203_0_113_x.pcap",
		"7.113.0.203.in-addr.arpa":                 "x.113.0.203.in-addr.arpa",
		"1.203.0.113.7":                            "1.203.0.113.x",
		"契約者203.0.113.7から":                         "契約者203.0.113.xから",
		"::ffff:203.0.113.7":                       "203.0.113.x",
		"::ffff:cb00:7107":                         "203.0.113.x",
		"x::203-0-113-7":                           "x::203-0-113-x",
		"64:ff9b::203.0.113.7":                     "64:ff9b::x",
		"64:ff9b::cb00:7107":                       "64:ff9b::x",
		"2002:cb00:7107::1":                        "2002:cb00:7107::x",
		"2001:db8:1::9":                            "2001:db8:1::x",
		"2001:DB8:1:0:0:0:0:9":                     "2001:db8:1::x",
		"[2001:db8:1::9]:80":                       "[2001:db8:1::x]:80",
		"2001:db8:1::9%eth0":                       "2001:db8:1::x%eth0",
		"src=2001:db8:1::9, dst=2001:db8:ff::1":    "src=2001:db8:1::x, dst=2001:db8:ff::1",
		"2001:db8:1::9.":                           "2001:db8:1::x.",
		"198.51.100.7 and 2001:db8:2::9 aren't":    "198.51.100.7 and 2001:db8:2::9 aren't",
		"2016-09-01T12:34:56.203Z 1.4.2":           "2016-09-01T12:34:56.203Z 1.4.2",
		"203.0.113.256 203.0.113 203.0.113.1234":   "203.0.113.256 203.0.113 203.0.113.1234",
		"aa:bb:cc:dd:ee:ff :: ::1 a::b 12:34:56":   "aa:bb:cc:dd:ee:ff :: ::1 a::b 12:34:56",
		"203.0.113.1 203.0.113.2,2001:db8:1:2::3;": "203.0.113.x 203.0.113.x,2001:db8:1::x;",
	} {
		if got := m.String(in); got != want {
			t.Errorf("%q\n got %q\nwant %q", in, got, want)
		}
	}
	for _, in := range []string{"203.0.113.7", "2001:db8:1::9", "2001:db8:1:2:3:4:5:6", "::ffff:cb00:7107"} {
		if once := m.String(in); m.String(once) != once {
			t.Errorf("%q masked twice is %q", in, m.String(once))
		}
	}
	wall := masker{everybody}
	if got := wall.String("198.51.100.7 [2001:db8:2::9]"); got != "198.51.100.x [2001:db8:2::x]" {
		t.Error(got)
	}
}

// Whatever stands around it and however it is cut into writes, an own address
// doesn't come out, the document stays JSON and the rest stays as it was.
func TestMaskWriterLeaksNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a netip.Addr
		if rapid.Bool().Draw(t, "v4") {
			a = netip.AddrFrom4([4]byte{203, 0, 113, rapid.Byte().Draw(t, "host")})
		} else {
			b := ownPrefixes[1].Addr().As16()
			copy(b[6:], rapid.SliceOfN(rapid.Byte(), 10, 10).Draw(t, "host6"))
			a = netip.AddrFrom16(b)
		}
		form := rapid.SampledFrom([]string{a.String(), a.StringExpanded(), strings.ToUpper(a.String())}).Draw(t, "form")
		around := rapid.StringMatching(`[^0-9a-fA-F:.\-_]{0,5}`)
		before, after := around.Draw(t, "before"), around.Draw(t, "after")
		doc, err := json.Marshal(map[string]any{"text": before + form + after, "n": 203.0113, "list": []string{form, "x"}})
		if err != nil {
			t.Fatal(err)
		}
		rec := httptest.NewRecorder()
		w := &maskWriter{ResponseWriter: rec, m: masker{ownAddr}}
		for rest := doc; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "write")
			if _, err := w.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var got struct {
			Text string
			N    float64
			List []string
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
			t.Fatalf("%v in %s", err, rec.Body)
		}
		if strings.Contains(got.Text, form) || !strings.HasSuffix(got.List[0], "x") || strings.Contains(got.List[0], form) {
			t.Fatalf("%q came out as %q and %q", form, got.Text, got.List)
		}
		if got.N != 203.0113 || got.List[1] != "x" || !strings.HasSuffix(got.Text, after) {
			t.Fatalf("%s became %s", doc, rec.Body)
		}
	})
}

func FuzzMasker(f *testing.F) {
	f.Add("203.0.113.7 ::ffff:203.0.113.7 2001:db8:1::1")
	f.Add("1.203.0.113.7.in-addr.arpa ::1.2.3.4:5")
	m := masker{ownAddr}
	f.Fuzz(func(t *testing.T, s string) {
		once := m.String(s)
		for _, word := range strings.FieldsFunc(once, func(r rune) bool { return strings.ContainsRune(" \t\n,;\"'[]()<>=%", r) }) {
			word, length, _ := strings.Cut(word, "/")
			if a, err := netip.ParseAddr(word); err == nil && m.hidden(a) && !network(a, []byte("/"+length)) {
				t.Fatalf("%q leaves %q", s, word)
			}
		}
	})
}

func BenchmarkMasker(b *testing.B) {
	line := []byte(strings.Repeat(`{"id":"1","source":"198.51.100.7","first":"2016-09-01T12:34:56Z","packets":203,"sample":["SYN 203.0.113.7:1 > 192.0.2.1:23"]},`, 1000))
	m := masker{ownAddr}
	var out []byte
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		out = m.Append(out[:0], line)
	}
}
