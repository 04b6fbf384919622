package cnc_test

import (
	"bufio"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sakimori/base/corpus"
	"sakimori/base/relation/relationtest"
	"sakimori/base/wire/dns"
	"sakimori/detect/cnc"
	"sakimori/detect/cnc/never"
	"sakimori/observe"
)

// TestNothingProtectedIsEnforced reads every real list of C&C servers as a source that
// needs no person: of what the real warninglists and popularity lists hold, nothing is
// enforced.
func TestNothingProtectedIsEnforced(t *testing.T) {
	t.Parallel()
	cfg := rules()
	if err := cfg.Never.Folder(corpus.Folder(t, "intel", "warninglists"), never.Options{}); err != nil {
		t.Fatal(err)
	}
	r := open(t, relationtest.Open(t, relationtest.Place(t, "sqlite")), cfg)
	files, err := filepath.Glob(filepath.Join(corpus.Folder(t, "intel", "maltrail"), "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	list := c2("www.google.com", "10086.cn", "office.com", "x.duckdns.org", "bit.ly")
	for _, path := range files {
		if strings.Contains(path, "mass_scanner") { // its addresses aren't said to be C&C
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			v, _, _ := strings.Cut(strings.ToLower(s.Text()), "#")
			v = strings.TrimSpace(v)
			x := observe.Indicator{Kind: observe.IndicatorName, Value: v, Role: observe.RoleC2}
			if a, err := netip.ParseAddr(v); err == nil {
				x.Kind, x.Value = observe.IndicatorAddress, a.String()
			} else if a, err := netip.ParseAddrPort(v); err == nil {
				x.Kind, x.Value = observe.IndicatorEndpoint, a.String()
			} else if _, err := dns.ParseName(v); err != nil || !strings.Contains(v, ".") || strings.Contains(v, "/") {
				continue
			}
			list = append(list, x)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	res := r.read("trusted", false, list...)
	if res.Held != "" { // a real list may hold many, and then a person looks
		if _, err := r.Release(t.Context(), res.Held, "abuse:hanako", "for the test"); err != nil {
			t.Fatal(err)
		}
	}
	r.pass(day)
	r.tick()
	var in []cnc.Entry
	if _, err := r.List.Enforced(t.Context(), func(list []cnc.Entry) error {
		in = append(in, list...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i := range in {
		e := &in[i]
		if v := cfg.Never.Check(e.Kind, e.Value); v.Class != never.Free {
			t.Errorf("%s is enforced, and is on %s", e.Value, v.List)
		}
	}
	t.Logf("%d read, %d protected, %d enforced", res.Read, res.Shielded, len(in))
	if res.Shielded == 0 || len(in) < 1000 {
		t.Errorf("%d protected, %d enforced: the test shows nothing", res.Shielded, len(in))
	}
}
