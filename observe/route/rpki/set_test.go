package rpki_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/base/corpus"
	"sakimori/observe"
	"sakimori/observe/route/rpki"
)

// files is a set that takes files, which the test writes and looks at.
type files struct {
	*rpki.Set
	t     *testing.T
	clock *hands
	dir   string
	told  []rpki.Change
}

func fromFiles(t *testing.T, c rpki.Config, names ...string) *files {
	t.Helper()
	f := &files{t: t, clock: &hands{at: noon}, dir: t.TempDir()}
	for _, n := range names {
		c.Sources = append(c.Sources, rpki.Source{Name: n, File: filepath.Join(f.dir, n)})
	}
	s, err := rpki.New(c, f.clock, slog.New(slog.DiscardHandler), func(list []rpki.Change) { f.told = append(f.told, list...) })
	if err != nil {
		t.Fatal(err)
	}
	f.Set = s
	return f
}

// write writes a file and has it looked at; a minute goes by.
func (f *files) write(name, text string) {
	f.t.Helper()
	f.clock.add(time.Minute)
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Chtimes(path, f.clock.Now(), f.clock.Now()); err != nil {
		f.t.Fatal(err)
	}
	f.Look()
}

// kinds takes what was told.
func (f *files) kinds() (list []rpki.ChangeKind) {
	for _, c := range f.told {
		if c.Words.JA == "" || c.Words.EN == "" || c.At.IsZero() {
			f.t.Errorf("%+v", c)
		}
		list = append(list, c.Kind)
	}
	f.told = nil
	return list
}

func (f *files) want(what string, kinds ...rpki.ChangeKind) {
	f.t.Helper()
	if got := f.kinds(); !slices.Equal(got, kinds) {
		f.t.Errorf("%s: told %v, want %v", what, got, kinds)
	}
}

func lines(n int, more ...string) string {
	var b strings.Builder
	b.WriteString("ASN,IP Prefix,Max Length,Trust Anchor,Expires\n")
	for i := range n {
		fmt.Fprintf(&b, "AS64500,10.%d.0.0/16,16,%s,\n", i, []string{"apnic", "ripe"}[i%2])
	}
	return b.String() + strings.Join(more, "\n")
}

// Of one's own space each change is told, of the rest only what is gone in great number.
func TestChanges(t *testing.T) {
	own := pfx("192.0.2.0/24")
	f := fromFiles(t, rpki.Config{Own: []netip.Prefix{own}}, "a")
	f.Look()
	if st := f.Status()[0]; st.State != rpki.Down || st.Error == nil {
		t.Errorf("%+v", st)
	}
	f.write("a", lines(100, "AS64500,192.0.2.0/24,24,apnic,"))
	f.want("the first table is no news")
	f.write("a", lines(100, "AS64500,192.0.2.0/24,24,apnic,", "AS1,192.0.2.128/25,25,apnic,", "AS2,192.0.0.0/16,16,apnic,", "AS3,172.16.0.0/12,16,apnic,"))
	f.want("inside and around", rpki.Added, rpki.Added)
	f.write("a", lines(100, "AS64500,192.0.2.0/24,26,apnic,"))
	f.want("the owner's changed, the others' are gone", rpki.Removed, rpki.Altered, rpki.Removed)
	f.write("a", lines(95, "AS64500,192.0.2.0/24,26,apnic,"))
	f.want("five of a hundred of other people")
	f.write("a", lines(80))
	f.want("fifteen, and one's own", rpki.Shrunk, rpki.AnchorLost, rpki.AnchorLost, rpki.Removed)
	f.write("a", strings.ReplaceAll(lines(80), ",ripe,", ",lacnic,"))
	f.want("an anchor", rpki.AnchorLost)
	f.write("a", "nonsense")
	f.want("a file that can't be read")
	if st := f.Status()[0]; st.State != rpki.Down || f.Origin(pfx("10.1.0.0/16"), 64500) != observe.ROVValid {
		t.Errorf("what the file said doesn't hold: %+v", st)
	}
	f.clock.add(24 * time.Hour)
	f.Look()
	f.want("a day later", rpki.Void)
	if st := f.Status()[0]; st.State != rpki.Stale || f.Origin(pfx("10.1.0.0/16"), 64500) != observe.ROVUnknown {
		t.Errorf("old data hold: %+v", st)
	}
	f.write("a", lines(80, "nonsense,192.0.2.0/24,24,,"))
	f.want("they are back")
	if st := f.Status()[0]; st.State != rpki.Faulty || st.Kind != "csv" || st.ROAs != 80 || f.Origin(pfx("10.1.0.0/16"), 64500) != observe.ROVValid {
		t.Errorf("%+v", st)
	}
}

// One's own that nobody renews is told once; when it has expired it is gone.
func TestExpiring(t *testing.T) {
	f := fromFiles(t, rpki.Config{Own: []netip.Prefix{pfx("192.0.2.0/24")}}, "a")
	end := noon.Add(4 * time.Hour)
	f.write("a", lines(3, fmt.Sprintf("AS64500,192.0.2.0/24,24,apnic,%d", end.Unix()), fmt.Sprintf("AS64501,172.16.0.0/12,24,apnic,%d", end.Unix())))
	f.want("in four hours")
	f.clock.add(2 * time.Hour)
	f.Look()
	f.want("in two", rpki.Expires)
	f.clock.add(time.Minute)
	f.Look()
	f.want("again")
	f.clock.add(2 * time.Hour)
	f.Look()
	f.want("it has", rpki.Removed)
	if f.Origin(pfx("172.16.0.0/12"), 64501) != observe.ROVNotFound || f.Origin(pfx("10.1.0.0/16"), 64500) != observe.ROVValid {
		t.Error("expired ones hold, or others don't")
	}
}

// What changed while the process was away is told by the next one, once all its sources have
// spoken.
func TestRestart(t *testing.T) {
	own := []netip.Prefix{pfx("192.0.2.0/24")}
	f := fromFiles(t, rpki.Config{Own: own}, "a", "b")
	if f.Own() != nil {
		t.Error("something is known")
	}
	f.write("a", lines(10, "AS64500,192.0.2.0/24,24,apnic,"))
	f.write("b", lines(10, "AS64501,192.0.2.0/25,25,,"))
	f.want("the first data")
	known := f.Own()
	if len(known) != 2 {
		t.Errorf("%v", known)
	}
	g := fromFiles(t, rpki.Config{Own: own, Known: known}, "a", "b")
	g.write("a", lines(10))
	g.want("one of two sources")
	g.write("b", lines(10, "AS64501,192.0.2.0/25,25,,"))
	g.want("both", rpki.Removed)
	g.write("b", lines(10))
	g.want("and on", rpki.Removed)
}

// A source that comes or goes isn't its holders' doing.
func TestSourcesComeAndGo(t *testing.T) {
	f := fromFiles(t, rpki.Config{Own: []netip.Prefix{pfx("192.0.2.0/24")}}, "a", "b")
	f.write("a", lines(10, "AS64500,192.0.2.0/24,24,apnic,"))
	f.clock.add(23 * time.Hour)
	f.write("b", lines(10, "AS64500,192.0.2.0/24,25,apnic,"))
	f.want("another source comes")
	if f.Origin(pfx("192.0.2.0/25"), 64500) != observe.ROVValid {
		t.Error("what the second says doesn't hold")
	}
	f.clock.add(time.Hour)
	f.Look()
	f.want("the first is void", rpki.Void)
	if f.Origin(pfx("192.0.2.0/25"), 64500) != observe.ROVValid {
		t.Error("what the second says doesn't hold any more")
	}
}

func TestSLURM(t *testing.T) {
	dir := corpus.Folder(t, "bgp", "rpki")
	f := fromFiles(t, rpki.Config{SLURM: filepath.Join(dir, "slurm.json")}, "a")
	f.write("a", "64496,10.0.0.0/8,8\n64500,192.0.2.128/25,25\n64500,192.0.0.0/16,16\n64497,198.51.100.0/24,24\n64498,198.51.100.0/24,24\n")
	for _, c := range []struct {
		p    string
		as   uint32
		want observe.ROV
	}{
		{"10.0.0.0/8", 64496, observe.ROVNotFound},          // filtered by AS
		{"192.0.2.128/25", 64500, observe.ROVInvalidLength}, // by prefix: what is inside
		{"192.0.0.0/16", 64500, observe.ROVValid},           // and not what is around
		{"198.51.100.0/24", 64497, observe.ROVInvalid},      // by both
		{"198.51.100.0/24", 64498, observe.ROVValid},        // both must fit
		{"198.51.100.0/24", 64496, observe.ROVValid},        // added
		{"2001:db8:5::/48", 64496, observe.ROVValid},
		{"2001:db8:5::/49", 64496, observe.ROVInvalidLength},
	} {
		if got := f.Origin(pfx(c.p), c.as); got != c.want {
			t.Errorf("%s AS%d: %s, want %s", c.p, c.as, got, c.want)
		}
	}
	if _, err := rpki.ReadSLURM(filepath.Join(dir, "test.slurm.json")); err != nil {
		t.Error(err)
	}
	for name, text := range map[string]string{
		"everything": `{"slurmVersion":1,"validationOutputFilters":{"prefixFilters":[{"comment":"oops"}]}}`,
		"version":    `{"slurmVersion":3}`, "prefix": `{"slurmVersion":1,"locallyAddedAssertions":{"prefixAssertions":[{"asn":1,"prefix":"10.0.0.0/33"}]}}`,
		"no asn": `{"slurmVersion":1,"locallyAddedAssertions":{"prefixAssertions":[{"prefix":"10.0.0.0/8"}]}}`, "JSON": `{`,
		"length": `{"slurmVersion":1,"locallyAddedAssertions":{"prefixAssertions":[{"asn":1,"prefix":"10.0.0.0/8","maxPrefixLength":7}]}}`,
	} {
		if _, err := rpki.ParseSLURM([]byte(text)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	s, err := rpki.ParseSLURM([]byte(`{"slurmVersion":2,"validationOutputFilters":{"aspaFilters":[{"customerAsn":1}]},"locallyAddedAssertions":{"aspaAssertions":[{"customerAsn":2,"providerAsns":[3]}]}}`))
	if err != nil || s == nil {
		t.Fatal(err)
	}
}

// One's own exceptions may change at any time; a file that can't be read changes nothing.
func TestExceptionsChange(t *testing.T) {
	file := filepath.Join(t.TempDir(), "slurm.json")
	at := noon
	write := func(text string) {
		t.Helper()
		at = at.Add(time.Minute)
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chtimes(file, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"slurmVersion":1,"locallyAddedAssertions":{"prefixAssertions":[{"asn":64501,"prefix":"192.0.2.0/24"}]}}`)
	f := fromFiles(t, rpki.Config{SLURM: file}, "a")
	f.write("a", lines(3))
	if f.Origin(pfx("192.0.2.0/24"), 64501) != observe.ROVValid || f.Origin(pfx("10.1.0.0/16"), 64500) != observe.ROVValid {
		t.Error("what is asserted, or told, doesn't hold")
	}
	write(`{"slurmVersion":1,"validationOutputFilters":{"prefixFilters":[{"prefix":"10.1.0.0/16"}]}}`)
	f.Look()
	if f.Origin(pfx("192.0.2.0/24"), 64501) != observe.ROVNotFound || f.Origin(pfx("10.1.0.0/16"), 64500) != observe.ROVNotFound {
		t.Error("the new exceptions don't hold")
	}
	write(`{`)
	f.Look()
	if f.Exceptions() == nil || f.Origin(pfx("10.1.0.0/16"), 64500) != observe.ROVNotFound {
		t.Error("the former exceptions don't hold")
	}
	write(`{"slurmVersion":1}`)
	f.Look()
	if f.Exceptions() != nil || f.Origin(pfx("10.1.0.0/16"), 64500) != observe.ROVValid {
		t.Error("what was filtered is gone for good")
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]rpki.Config{
		"no name":  {Sources: []rpki.Source{{File: "x"}}},
		"twice":    {Sources: []rpki.Source{{Name: "a", File: "x"}, {Name: "a", File: "y"}}},
		"neither":  {Sources: []rpki.Source{{Name: "a"}}},
		"both":     {Sources: []rpki.Source{{Name: "a", File: "x", RTR: "y"}}},
		"no SLURM": {SLURM: filepath.Join(t.TempDir(), "none")},
	} {
		if _, err := rpki.New(c, &hands{}, slog.New(slog.DiscardHandler), nil); !errors.Is(err, rpki.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Over TLS, if the cache is who it says.
func TestTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS() // for its certificate alone
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	c := newCache(t, 2, &tls.Config{Certificates: server.TLS.Certificates})
	c.whole = announce("192.0.2.0/24", 24, 64500)
	cfg := of(c.at, c.at)
	cfg.Sources[0].TLS = &tls.Config{RootCAs: pool, ServerName: "example.com"}
	cfg.Sources[1].TLS = &tls.Config{RootCAs: pool, ServerName: "another.example"}
	s := follow(t, cfg, nil)
	waits(t, s, "192.0.2.0/24", 64500, observe.ROVValid)
	eventually(t, "the other isn't believed", func() error {
		if st := s.Status()[1]; st.Error == nil || st.ROAs > 0 || !strings.Contains(st.Error.EN, "certificate") {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
}
