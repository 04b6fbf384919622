package never_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sakimori/base/corpus"
	"sakimori/detect/cnc/never"
	"sakimori/observe"
)

// TestOverlap: what stands above, below, around and in a protected thing.
func TestOverlap(t *testing.T) {
	l := never.New()
	if err := l.Protect("ours", []string{"isp.example.jp", "*.shop.example.net"}, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}); err != nil {
		t.Fatal(err)
	}
	if err := l.Warninglist(strings.NewReader(`{"name":"dyn","type":"hostname","matching_attributes":["domain"],"list":[".dyn.example.org"]}`), "dynamic-dns", never.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := l.Warninglist(strings.NewReader(`{"name":"one","type":"string","list":["exact.example.org","BÜCHER.example"]}`), "one", never.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := l.Warninglist(strings.NewReader(`{"name":"part","type":"substring","list":["cdn-"]}`), "part", never.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := l.Warninglist(strings.NewReader(`{"name":"expr","type":"regex","list":["/^ns[0-9]+\\./i", "("]}`), "expr", never.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind  observe.IndicatorKind
		value string
		want  never.Class
	}{
		{observe.IndicatorName, "isp.example.jp", never.Protected},
		{observe.IndicatorName, "www.isp.example.jp", never.Protected},
		{observe.IndicatorName, "example.jp", never.Protected}, // it would take isp.example.jp down
		{observe.IndicatorHost, "example.jp", never.Free},      // it alone doesn't
		{observe.IndicatorName, "notisp.example.jp", never.Free},
		{observe.IndicatorName, "jp", never.Protected},
		{observe.IndicatorName, "co.jp", never.Protected},
		{observe.IndicatorName, "github.io", never.Protected},
		{observe.IndicatorName, "evil.github.io", never.Free},
		{observe.IndicatorName, "a.dyn.example.org", never.Shared},
		{observe.IndicatorName, "exact.example.org", never.Protected},
		{observe.IndicatorName, "x.exact.example.org", never.Free},
		{observe.IndicatorName, "xn--bcher-kva.example", never.Protected},
		{observe.IndicatorName, "a.cdn-7.example.org", never.Protected},
		{observe.IndicatorName, "ns12.bad.example.org", never.Protected},
		{observe.IndicatorURL, "http://www.isp.example.jp/x", never.Protected},
		{observe.IndicatorURL, "http://198.51.100.9:80/x", never.Protected},
		{observe.IndicatorAddress, "198.51.100.9", never.Protected},
		{observe.IndicatorEndpoint, "198.51.100.9:443", never.Protected},
		{observe.IndicatorPrefix, "198.51.0.0/16", never.Protected},
		{observe.IndicatorPrefix, "198.51.100.128/25", never.Protected},
		{observe.IndicatorPrefix, "198.51.101.0/24", never.Free},
		{observe.IndicatorAddress, "10.1.2.3", never.Protected},
		{observe.IndicatorAddress, "::1", never.Protected},
		{observe.IndicatorPrefix, "0.0.0.0/0", never.Protected},
	} {
		if v := l.Check(c.kind, c.value); v.Class != c.want {
			t.Errorf("%s %s: %+v, not %d", c.kind, c.value, v, c.want)
		}
	}
	for _, x := range l.Lists() {
		if x.Name == "expr" && x.Skipped != 1 {
			t.Errorf("%+v", x)
		}
	}
}

// TestAgainstThePlainWay: the table says of random names what a walk over all of them does.
func TestAgainstThePlainWay(t *testing.T) {
	label := rapid.StringMatching(`[ab]{1,2}`)
	name := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(label, 1, 4).Draw(t, "labels"), ".") + ".example"
	})
	rapid.Check(t, func(t *rapid.T) {
		listed := rapid.SliceOfN(name, 0, 6).Draw(t, "listed")
		l := never.New()
		if err := l.Protect("x", listed, nil); err != nil {
			t.Fatal(err)
		}
		n := name.Draw(t, "name")
		want := false
		for _, p := range listed {
			want = want || p == n || strings.HasSuffix(n, "."+p) || strings.HasSuffix(p, "."+n)
		}
		if got := l.Check(observe.IndicatorName, n).Class == never.Protected; got != want {
			t.Fatalf("%s with %v: %v", n, listed, got)
		}
	})
}

// TestWarninglists reads the real ones.
func TestWarninglists(t *testing.T) {
	l := never.New()
	if err := l.Folder(corpus.Folder(t, "intel", "warninglists"), never.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, x := range l.Lists() {
		if !x.Ignored && x.Entries == 0 || x.Skipped*100 > x.Entries {
			t.Errorf("%+v", x)
		}
	}
	for value, want := range map[string]never.Class{"8.8.8.8": never.Protected, "104.16.0.1": never.Shared} {
		if v := l.Check(observe.IndicatorAddress, value); v.Class != want {
			t.Errorf("%s: %+v", value, v)
		}
	}
	if _, known := l.Sinkhole(netip.MustParseAddr("104.155.11.149")); !known {
		t.Error("a sinkhole isn't known")
	}
	if v := l.Check(observe.IndicatorName, "10086.cn"); v.Class < never.Popular {
		t.Errorf("%+v", v)
	}
}

func FuzzWarninglist(f *testing.F) {
	f.Add([]byte(`{"name":"x","type":"hostname","list":[".a.example","1.2.3.4"]}`), "a.example")
	f.Add([]byte(`{"type":"cidr","list":["1.2.3.0/24","::/0","x"]}`), "1.2.3.4")
	f.Add([]byte(`{"type":"regex","list":["/a/i","("]}`), "http://a/b")
	f.Fuzz(func(_ *testing.T, file []byte, value string) {
		l := never.New()
		_ = l.Warninglist(bytes.NewReader(file), "x", never.Options{}) // an error is an answer
		_ = l.Rank(bytes.NewReader(file), "r", 10)
		for _, k := range []observe.IndicatorKind{observe.IndicatorName, observe.IndicatorHost, observe.IndicatorAddress, observe.IndicatorEndpoint, observe.IndicatorPrefix, observe.IndicatorURL} {
			l.Check(k, value)
		}
	})
}

// BenchmarkCheck asks for names among the real lists.
func BenchmarkCheck(b *testing.B) {
	l := never.New()
	if err := l.Folder(corpus.Folder(b, "intel", "warninglists"), never.Options{}); err != nil {
		b.Fatal(err)
	}
	names := []string{"c2-7f3a.bad.example.net", "www.google.com", "a.b.c.evil.co.jp", "x.duckdns.org"}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Check(observe.IndicatorName, names[i&3])
	}
}
