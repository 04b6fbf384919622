package dns_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"sakimori/base/clock"
	wire "sakimori/base/wire/dns"
	"sakimori/observe"
	"sakimori/observe/dns"
)

// crowd consents as a tenth of subscribers that also let hits be kept.
type crowd struct{ hits map[netip.Addr]bool }

func (c crowd) May(a netip.Addr, _ time.Time) (match, hits bool) { return true, c.hits[a] }

// names is a list by the bytes on the wire.
type names map[string]dns.Listing

func (l names) Match(n wire.Name) (dns.Listing, bool) {
	for ; len(n) > 1; n = n.Parent() {
		if x, is := l[string(n)]; is {
			return x, true
		}
	}
	return dns.Listing{}, false
}

type ignored struct{ n int }

func (i *ignored) Look(b []observe.Lookup) { i.n += len(b) }

// BenchmarkDnstap counts a stream of questions and answers: 20,000 clients who all
// consent to matching, one in ten to hits; 5,000 names; a list of 10,000.
func BenchmarkDnstap(b *testing.B) {
	who, list := crowd{map[netip.Addr]bool{}}, names{}
	for i := range 10_000 {
		n, _ := wire.ParseName(fmt.Sprintf("c2-%d.example", i))
		list[string(n)] = dns.Listing{Zone: "c2.", Family: "mirai", Contact: observe.Blocked}
	}
	var frames [][]byte
	const n = 100_000
	for i := range n / 2 {
		client := netip.AddrFrom4([4]byte{10, 1, byte(i % 20_000 >> 8), byte(i % 20_000)})
		who.hits[client] = i%10 == 0
		name := fmt.Sprintf("www.site%d.example", i*7%5000)
		rcode, soa, answers := uint8(0), "", []string{"198.51.100.7", "198.51.100.8"}
		if i%100 == 0 {
			name, rcode, soa, answers = fmt.Sprintf("c2-%d.example", i%10_000), 3, "c2.", nil
		}
		frames = append(frames, frame(noon.Add(time.Duration(i)), client.String(), false, message(name, 0, false, "")),
			frame(noon.Add(time.Duration(i)), client.String(), true, message(name, rcode, true, soa, answers...)))
	}
	file := stream(b, frames...)
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		out := &ignored{}
		o, err := dns.New(dns.Config{}, who, list, out, clock.Fixed(noon))
		if err != nil {
			b.Fatal(err)
		}
		st, err := o.File(b.Context(), bytes.NewReader(file), dns.FileOptions{Name: "bench"})
		if err != nil || st.Frames != n {
			b.Fatal(st, err)
		}
		if total, by := sums(b, o); total.Queries+total.Responses != n || by["c2.mirai"].Blocked != n/200 || out.n == 0 {
			b.Fatal(total, by)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "frames/s")
}

// BenchmarkSocket takes the same stream from a socket; whatever is dropped fails it.
func BenchmarkSocket(b *testing.B) {
	const n = 500_000
	q := frame(noon, "10.1.0.1", false, message("www.site.example", 0, false, ""))
	r := frame(noon, "10.1.0.1", true, message("www.site.example", 0, true, "", "198.51.100.7"))
	var frames [][]byte
	for range n / 2 {
		frames = append(frames, q, r)
	}
	file := stream(b, frames...)
	for b.Loop() {
		o := observer(b, all("match"), nil)
		l, stop := listen(b, o, dns.Listen{Name: "socket", Socket: b.TempDir() + "/dnstap.sock"})
		c, err := net.Dial("unix", l.Address().String())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Write(file); err != nil {
			b.Fatal(err)
		}
		_ = c.Close()
		until(b, "all frames", func() bool { s := l.Stats(); return s.Frames+s.Dropped == n })
		stop()
		if s := l.Stats(); s.Dropped != 0 || s.Broken != 0 {
			b.Fatalf("%+v", s)
		}
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "frames/s")
}
