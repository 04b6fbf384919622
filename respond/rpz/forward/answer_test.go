package forward

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"sakimori/base/clock"
	wire "sakimori/base/wire/dns"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/policy"
)

// quickly makes a server that blocks bot.example, and has the answer to free.example.
func quickly(t testing.TB) (s *Server, ask func(name string) (raw []byte)) {
	t.Helper()
	s, err := New(Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}, Clients: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Upstream: []Upstream{{Addr: netip.MustParseAddrPort("127.0.0.1:54")}}, Rate: 1 << 40, Reason: "why"}, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	z, err := policy.Compile(rpz.C2, 1, []rpz.Rule{{Name: "bot.example"}})
	if err != nil {
		t.Fatal(err)
	}
	s.Load(policy.NewSet(z))
	ask = func(name string) []byte {
		m := new(dns.Msg).SetQuestion(name, dns.TypeA)
		m.SetEdns0(1232, false)
		raw, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	var q question
	if err := q.read(ask("free.example."), asker, false, s.clock.Now()); err != nil {
		t.Fatal(err)
	}
	a := new(dns.Msg).SetQuestion("free.example.", dns.TypeA)
	a.Response = true
	for i := range 2 {
		rr, err := dns.NewRR(fmt.Sprintf("free.example. 3600 IN A 198.51.100.%d", i))
		if err != nil {
			t.Fatal(err)
		}
		a.Answer = append(a.Answer, rr)
	}
	k := keep(&q, a)
	if k == nil {
		t.Fatal("not kept")
	}
	s.cache.Add(q.key(), k)
	return s, ask
}

var asker = netip.MustParseAddrPort("192.0.2.1:5353")

// What is answered at once allocates nothing.
func TestQuickAllocates(t *testing.T) {
	s, ask := quickly(t)
	for _, name := range []string{"bot.example.", "Free.eXample."} {
		raw, out := ask(name), make([]byte, 0, 512)
		var q question
		now := s.clock.Now()
		var a []byte
		if n := testing.AllocsPerRun(1000, func() {
			var done bool
			if a, done = s.quick(&q, raw, asker, false, now, out); !done {
				t.Fatal(name, "isn't answered at once")
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
		m := new(dns.Msg)
		if err := m.Unpack(a); err != nil || m.Question[0].Name != name {
			t.Error(m, err)
		}
	}
}

func BenchmarkQuick(b *testing.B) {
	s, ask := quickly(b)
	for _, name := range []string{"bot.example.", "free.example."} {
		raw, out := ask(name), make([]byte, 0, 512)
		b.Run(name, func(b *testing.B) {
			var q question
			now := s.clock.Now()
			for b.Loop() {
				s.quick(&q, raw, asker, false, now, out)
			}
		})
	}
}

// Whatever comes is answered in a form that others can read, or not at all.
func FuzzQuick(f *testing.F) {
	s, ask := quickly(f)
	f.Add(ask("bot.example."))
	f.Add(ask("free.example."))
	f.Add(ask("other.example.")[:20])
	f.Fuzz(func(t *testing.T, raw []byte) {
		var q question
		a, done := s.quick(&q, raw, asker, false, s.clock.Now(), nil)
		if !done || len(a) == 0 {
			return
		}
		if err := new(dns.Msg).Unpack(a); err != nil && new(dns.Msg).Unpack(raw) == nil {
			t.Errorf("%x is answered by %x: %v", raw, a, err)
		}
		var m wire.Message
		if m.Read(a) != nil || !m.Response || len(a) > 1232 {
			t.Errorf("%x is answered by %x", raw, a)
		}
	})
}

// FuzzTaking: hostile transfers change nothing, or make a zone that can be kept and read.
func FuzzTaking(f *testing.F) {
	m := new(dns.Msg).SetAxfr("c2.")
	m.Response = true
	for _, l := range []string{"c2. 5 IN SOA a. b. 2 1 1 1 1", "c2. 5 IN NS localhost.", "bot.example.c2. 5 IN CNAME .", "c2. 5 IN SOA a. b. 2 1 1 1 1"} {
		rr, err := dns.NewRR(l)
		if err != nil {
			f.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	raw, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, false)
	f.Add(raw, true)
	f.Fuzz(func(t *testing.T, raw []byte, incremental bool) {
		h := &held{Copy: Copy{Zone: rpz.C2, Serial: 1}, records: map[record]struct{}{record("\x02c2\x00\x00\x02\x00"): {}}}
		x := taking{held: h, kind: wire.AXFR}
		if h.begun = incremental; incremental {
			x.kind = wire.IXFR
		}
		var m wire.Message
		if m.Read(raw) != nil || x.message(&m) != nil || !x.done {
			return
		}
		next, err := x.apply()
		if err != nil || next == nil {
			return
		}
		file := t.TempDir() + "/zone"
		if err := next.write(file); err != nil {
			t.Fatal(err)
		}
		again, err := read(rpz.C2, file)
		if err != nil || len(again.records) != len(next.records) || again.Serial != next.Serial {
			t.Errorf("%v: %d records, not %d", err, len(again.records), len(next.records))
		}
	})
}
