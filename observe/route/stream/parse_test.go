package stream_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sakimori/base/corpus"
	"sakimori/base/wire/bgp"
	"sakimori/observe/route/stream"
)

// sample are the lines of the corpus.
func sample(t testing.TB) [][]byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(corpus.Folder(t, "bgp", "ris"), "ris-live-stream.json"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSpace(b), []byte("\n"))
}

// inWords is what UPDATEs say, as a test compares it.
func inWords(m *stream.Message) string {
	var s strings.Builder
	for _, raw := range m.BGP {
		var b bgp.Message
		if n, err := bgp.Cut(raw, bgp.MaxExtended, &b); err != nil || n != len(raw) {
			return fmt.Sprint(n, err)
		}
		if b.Type != bgp.TypeUpdate {
			fmt.Fprintf(&s, "%s; ", map[bgp.Type]string{bgp.TypeOpen: "open", bgp.TypeNotification: "notification", bgp.TypeKeepalive: "keepalive"}[b.Type])
			continue
		}
		var u bgp.Update
		var path bgp.Path
		u.Parse(b.Body, bgp.Options{AS4: m.AS4})
		if u.Fault != bgp.Sound {
			fmt.Fprintf(&s, "%s %v ", u.Fault, u.Err)
		}
		u.Path(&path)
		var p bgp.Prefix
		for _, b := range u.Withdrawn() {
			for b.Next(&p) {
				fmt.Fprintf(&s, "-%s ", p.Netip())
			}
		}
		for _, b := range u.Announced() {
			for b.Next(&p) {
				fmt.Fprintf(&s, "+%s by %s ", p.Netip(), b.NextHop)
			}
		}
		if len(path.ASes) > 0 || path.Set {
			for _, seg := range path.Segments {
				fmt.Fprintf(&s, "%v", path.Of(seg))
			}
			fmt.Fprintf(&s, " origin %d set %t", u.Origin, path.Set)
		}
		if u.Has.Has(bgp.AttrMED) {
			fmt.Fprintf(&s, " med %d", u.MED)
		}
		if len(u.Communities) > 0 {
			fmt.Fprintf(&s, " %x", u.Communities)
		}
		s.WriteString("; ")
	}
	return s.String()
}

func TestSample(t *testing.T) {
	t.Parallel()
	const path = "[11708 32097 1299 52320 263009 263009 263009 263009 263009 52993 268481 268481] origin 0 set false; "
	want := []struct {
		kind stream.Kind
		peer stream.Peer
		say  string
	}{
		{stream.BGP, stream.Peer{Host: "rrc00", Address: netip.MustParseAddr("72.22.223.9"), AS: 11708}, "+45.161.192.0/23 by 72.22.223.9 " + path},
		{stream.State, stream.Peer{Host: "rrc01", Address: netip.MustParseAddr("195.66.224.59"), AS: 24931}, ""},
		{stream.Failed, stream.Peer{}, ""},
		{stream.BGP, stream.Peer{Host: "rrc00", Address: netip.MustParseAddr("94.177.122.251"), AS: 60474}, "open; "},
		{stream.BGP, stream.Peer{Host: "rrc01", Address: netip.MustParseAddr("2001:7f8:4::73ab:1"), AS: 29611}, "notification; "},
		{stream.BGP, stream.Peer{Host: "rrc03", Address: netip.MustParseAddr("80.249.210.89"), AS: 31042}, "keepalive; "},
	}
	var p stream.Parser
	for i, line := range sample(t) {
		var m stream.Message
		if err := p.Parse(line, &m); i == len(want) { // whose last brace is missing
			if !errors.Is(err, stream.ErrJSON) {
				t.Errorf("line %d: %v", i, err)
			}
			continue
		} else if err != nil {
			t.Errorf("line %d: %v", i, err)
			continue
		}
		if got := inWords(&m); m.Kind != want[i].kind || m.Peer != want[i].peer || !strings.EqualFold(got, want[i].say) {
			t.Errorf("line %d: %+v: %s", i, m, got)
		}
		switch i {
		case 0:
			if m.At != 1553627987_890000000 || !m.Raw || !m.AS4 {
				t.Errorf("%+v", m)
			}
			// What it says in words says the same.
			var w stream.Message
			if err := p.Parse(regexp.MustCompile(`"raw":"[^"]*",`).ReplaceAll(line, nil), &w); err != nil || w.Raw || !w.AS4 || inWords(&w) != want[0].say {
				t.Errorf("%+v, %v: %s", w, err, inWords(&w))
			}
		case 1:
			if m.Up {
				t.Error("it is up")
			}
		case 2:
			if m.Text != "this is a test error message" {
				t.Errorf("%+v", m)
			}
		}
	}
}

func update(fields string) []byte {
	return []byte(`{"type":"ris_message","data":{"timestamp":1700000000.5,"peer":"192.0.2.1","peer_asn":"64501","id":"x","host":"rrc21.ripe.net","type":"UPDATE",` + fields + `}}`)
}

func TestWords(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("64501,", 300) + "64502"
	for fields, want := range map[string]string{
		`"path":[64501,4200000000,[64502,64503],64504,[64505]],"origin":"incomplete","community":[[64501,7],[65535,666]],"med":9,"announcements":[{"next_hop":"192.0.2.9","prefixes":["198.51.100.0/24","10.0.0.0/8"]}]`: "+198.51.100.0/24 by 192.0.2.9 +10.0.0.0/8 by 192.0.2.9 [64501 4200000000][64502 64503][64504][64505] origin 2 set true med 9 fbf50007ffff029a; ",
		`"withdrawals":["198.51.100.0/24","2001:db8::/32","0.0.0.0/0"]`: "-198.51.100.0/24 -0.0.0.0/0 ; -2001:db8::/32 ; ",
		`"path":[1],"origin":"IGP","announcements":[{"next_hop":"2001:db8::1,fe80::1","prefixes":["2001:db8:1::/48"]},{"next_hop":"192.0.2.9","prefixes":["192.0.2.1/24"]}],"withdrawals":[]`: "+2001:db8:1::/48 by 2001:db8::1 [1] origin 0 set false; +192.0.2.0/24 by 192.0.2.9 [1] origin 0 set false; ",
		`"path":[1],"announcements":[{"next_hop":"2001:db8::1","prefixes":["192.0.2.0/24"]}]`:                                                                                                 "+192.0.2.0/24 by 2001:db8::1 [1] origin 2 set false; ",
		`"path":[` + many + `],"announcements":[{"next_hop":"192.0.2.9","prefixes":["192.0.2.0/24"]}]`:                                                                                        "+192.0.2.0/24 by 192.0.2.9 [" + strings.TrimSpace(strings.Repeat("64501 ", 255)) + "][" + strings.Repeat("64501 ", 45) + "64502] origin 2 set false; ",
		`"path":null,"announcements":null`: "",
	} {
		var p stream.Parser
		var m stream.Message
		if err := p.Parse(update(fields), &m); err != nil || m.Peer.Host != "rrc21" {
			t.Errorf("%s: %v", fields, err)
			continue
		}
		if got := inWords(&m); got != want {
			t.Errorf("%s:\n got %s\nwant %s", fields, got, want)
		}
	}
}

func TestBroken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		line []byte
		want error
	}{
		"nothing":           {nil, stream.ErrJSON},
		"no object":         {[]byte(`[1]`), stream.ErrJSON},
		"cut":               {[]byte(`{"type":"ris_message","data":{"timestamp":1`), stream.ErrJSON},
		"no type":           {[]byte(`{"data":{}}`), stream.ErrJSON},
		"no data":           {[]byte(`{"type":"ris_message"}`), stream.ErrJSON},
		"deep":              {[]byte(`{"type":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`), stream.ErrJSON},
		"no peer":           {[]byte(`{"type":"ris_message","data":{"timestamp":1,"type":"UPDATE"}}`), stream.ErrPeer},
		"no time":           {[]byte(`{"type":"ris_message","data":{"peer":"192.0.2.1","peer_asn":"1","type":"UPDATE"}}`), stream.ErrPeer},
		"AS":                {[]byte(`{"type":"ris_message","data":{"timestamp":1,"peer":"192.0.2.1","peer_asn":"AS1","type":"UPDATE"}}`), stream.ErrPeer},
		"time":              {[]byte(`{"type":"ris_message","data":{"timestamp":"noon","peer":"192.0.2.1","peer_asn":"1","type":"UPDATE"}}`), stream.ErrPeer},
		"odd hexadecimals":  {update(`"raw":"FFF"`), stream.ErrJSON},
		"no hexadecimals":   {update(`"raw":"GG"`), stream.ErrJSON},
		"no BGP":            {update(`"raw":"0000"`), stream.ErrJSON},
		"two messages":      {update(`"raw":"` + strings.Repeat(strings.Repeat("FF", 16)+"001304", 2) + `"`), stream.ErrJSON},
		"prefix":            {update(`"withdrawals":["10.0.0.0/33"]`), stream.ErrWords},
		"no next hop":       {update(`"path":[1],"announcements":[{"prefixes":["10.0.0.0/8"]}]`), stream.ErrWords},
		"AS that isn't":     {update(`"path":[4294967296],"announcements":[]`), stream.ErrWords},
		"half a community":  {update(`"path":[1],"community":[[1]],"announcements":[]`), stream.ErrWords},
		"large a community": {update(`"path":[1],"community":[[65536,1]],"announcements":[]`), stream.ErrWords},
		"more than fits":    {update(`"withdrawals":["10.0.0.0/32"` + strings.Repeat(`,"10.0.0.1/32"`, 14000) + `]`), stream.ErrWords},
	} {
		var p stream.Parser
		var m stream.Message
		if err := p.Parse(c.line, &m); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// A peer that sends AS numbers of two bytes is found out by what the words say.
func TestTwoBytes(t *testing.T) {
	t.Parallel()
	raw := strings.Repeat("FF", 16) + "0031" + "02" + "0000" + "0016" + "40010100" + "400208" + "0203" + "FBF512345678" + "400304C0000201" + "18C63364"
	line := update(`"raw":"` + raw + `","path":[64501,4660,22136]`)
	var p stream.Parser
	var m stream.Message
	if err := p.Parse(line, &m); err != nil || m.AS4 {
		t.Fatalf("%+v, %v", m, err)
	}
	if got := inWords(&m); got != "+198.51.100.0/24 by 192.0.2.1 [64501 4660 22136] origin 0 set false; " {
		t.Error(got)
	}
}

// FuzzParse: nothing crashes it, and what it makes of words are messages.
func FuzzParse(f *testing.F) {
	f.Add(update(`"path":[64501,[64502,64503]],"origin":"igp","community":[[64501,7]],"med":9,"announcements":[{"next_hop":"192.0.2.9","prefixes":["198.51.100.0/24"]}]`))
	f.Add(update(`"withdrawals":["198.51.100.0/24","2001:db8::/32"]`))
	f.Add(update(`"raw":"FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF001304"`))
	f.Add([]byte(`{"type":"ris_error","data":{"message":"x"}}`))
	f.Add([]byte(`{"type":"pong","data":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p stream.Parser
		var m stream.Message
		if p.Parse(b, &m) != nil {
			return
		}
		for _, raw := range m.BGP {
			var c bgp.Message
			if n, err := bgp.Cut(raw, bgp.MaxExtended, &c); err != nil || n != len(raw) {
				t.Fatalf("%x: %v", raw, err)
			}
			var u bgp.Update
			if u.Parse(c.Body, bgp.Options{AS4: true}); !m.Raw && u.Fault == bgp.Reset {
				t.Fatalf("%x: %v", raw, u.Err)
			}
		}
	})
}

func TestAllocations(t *testing.T) {
	line := sample(t)[0]
	var p stream.Parser
	var m stream.Message
	if n := testing.AllocsPerRun(100, func() {
		if err := p.Parse(line, &m); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkParse(b *testing.B) {
	line := sample(b)[0]
	var p stream.Parser
	var m stream.Message
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if err := p.Parse(line, &m); err != nil {
			b.Fatal(err)
		}
	}
}
