package primary

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	oracle "github.com/miekg/dns"

	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
)

// million is the zone of the measurements: 500,000 names and all below each.
const million = 1_000_000

// drain makes an AXFR, and counts records and bytes without reading what they are: the
// reader costs nothing, so the sender is what is measured.
func drain(at netip.AddrPort, zone string, buf []byte) (records, bytes int, err error) {
	q := new(oracle.Msg)
	q.SetAxfr(zone)
	raw, err := q.Pack()
	if err != nil {
		return 0, 0, err
	}
	c, err := net.Dial("tcp", at.String())
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	if _, err := c.Write(dns.AppendFrame(nil, raw)); err != nil {
		return 0, 0, err
	}
	for records < million {
		var head [2]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return records, bytes, err
		}
		n := int(head[0])<<8 | int(head[1])
		if _, err := io.ReadFull(c, buf[:n]); err != nil {
			return records, bytes, err
		}
		var m dns.Message
		if err := m.Read(buf[:n]); err != nil || m.Rcode != 0 {
			return records, bytes, errors.Join(fmt.Errorf("rcode %d", m.Rcode), err)
		}
		records, bytes = records+int(m.Counts[1]), bytes+n+2
	}
	return records, bytes, nil
}

// BenchmarkAXFR sends a zone of a million rules, beside knotd in the same run.
func BenchmarkAXFR(b *testing.B) {
	buf := make([]byte, dns.MaxMessage)
	s := store(b, b.TempDir(), rpz.Options{})
	publish(b, s, rpz.C2, rpz.Change{Whole: many(million)})
	_, at, _ := run(b, Config{Peers: []Peer{{Name: "one", Address: []netip.Prefix{local}}}}, s)
	measure := func(at netip.AddrPort) func(b *testing.B) {
		return func(b *testing.B) {
			for b.Loop() {
				records, bytes, err := drain(at, "c2.", buf)
				if err != nil || records < million {
					b.Fatal(records, err)
				}
				b.SetBytes(int64(bytes))
			}
		}
	}
	b.Run("sakimori", measure(at))
	signed := Config{Keys: keys, Peers: []Peer{{Name: "one", Address: []netip.Prefix{local}, Key: keys[0].Name}}}
	_, tsig, _ := run(b, signed, s)
	b.Run("sakimori, TSIG, the oracle reads", func(b *testing.B) {
		for b.Loop() {
			if n, err := fetch(tsig, &keys[0], "c2."); err != nil || n != million+3 {
				b.Fatal(n, err)
			}
		}
	})
	runtime.GC()
	b.Run("knotd", func(b *testing.B) {
		dir := b.TempDir()
		var z strings.Builder
		z.WriteString("$ORIGIN c2.\n$TTL 60\n@ SOA localhost. hostmaster.localhost. 1 300 60 21600 60\n@ NS localhost.\n")
		for r := range s.Current(rpz.C2).Set.All() {
			z.WriteString(r.Name + " CNAME .\n")
		}
		if err := os.WriteFile(filepath.Join(dir, "c2.zone"), []byte(z.String()), 0o644); err != nil {
			b.Fatal(err)
		}
		port := free(b)
		conf := fmt.Sprintf("server:\n  listen: 127.0.0.1@%d\n  rundir: \"DIR\"\ndatabase:\n  storage: \"DIR\"\nacl:\n  - id: all\n    address: 127.0.0.1\n    action: transfer\nzone:\n  - domain: c2.\n    storage: %q\n    file: c2.zone\n    acl: all\n", port, dir)
		k := start(b, "knotd", conf, port)
		for range 600 {
			if k.serves(rpz.C2, 1) {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		measure(k.addr)(b)
	})
}

// resident is how many bytes of memory this process has.
func resident(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("SKIPPED: there is no /proc")
	}
	for l := range strings.SplitSeq(string(b), "\n") {
		var n int
		if _, err := fmt.Sscanf(l, "VmRSS: %d kB", &n); err == nil {
			return n << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// TestMillionRules holds the bounds: memory while it is served, a small change, and a
// roll-back. Run with -bench, or alone, it says the figures; it is left out where the
// detector of races makes them meaningless.
func TestMillionRules(t *testing.T) {
	if os.Getenv("SAKIMORI_MILLION") == "" {
		t.Skip("SKIPPED: it takes some seconds and all of the memory: set SAKIMORI_MILLION")
	}
	dir := t.TempDir()
	s := store(t, dir, rpz.Options{})
	took := func(what string, do func()) time.Duration {
		begin := time.Now()
		do()
		d := time.Since(begin)
		t.Logf("%s: %s, %d MB resident", what, d.Round(time.Millisecond), resident(t)>>20)
		return d
	}
	took("published at once", func() { publish(t, s, rpz.C2, rpz.Change{Whole: many(million)}) })
	took("opened again", func() {
		_ = s.Close()
		s = store(t, dir, rpz.Options{})
	})
	_, at, _ := run(t, Config{Peers: []Peer{{Name: "one", Address: []netip.Prefix{local}}}}, s)
	buf := make([]byte, dns.MaxMessage)
	for range 3 {
		took("AXFR", func() {
			if n, _, err := drain(at, "c2.", buf); err != nil || n < million {
				t.Fatal(n, err)
			}
		})
	}
	took("four AXFRs at once", func() {
		done := make(chan error)
		for range 4 {
			go func() {
				_, _, err := drain(at, "c2.", make([]byte, dns.MaxMessage))
				done <- err
			}()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	p := s.Current(rpz.C2).Serial
	took("a rule added", func() { publish(t, s, rpz.C2, rpz.Change{Add: blocks("one-more.example")}) })
	took("a thousand added", func() {
		var l []rpz.Rule
		for i := range 1000 {
			l = append(l, rpz.Rule{Name: fmt.Sprintf("m%d.example", i*7919)})
		}
		publish(t, s, rpz.C2, rpz.Change{Add: l})
	})
	took("emptied", func() { _, _ = s.Empty(t.Context(), rpz.C2, desk) })
	if d := took("rolled back", func() {
		if _, err := s.Rollback(t.Context(), rpz.C2, ground{}, p, desk); err != nil {
			t.Fatal(err)
		}
	}); d > 20*time.Second {
		t.Errorf("rolling back took %s", d)
	}
	runtime.GC()
	took("then", func() {})
}
