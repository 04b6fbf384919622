package canary_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/base/wire/dns"
	"sakimori/lawful"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/canary"
	"sakimori/respond/rpz/policy"
)

const (
	domain = "canary.example.jp"
	truth  = "sakimori"
)

var (
	taking   = netip.MustParseAddr("127.0.0.2")
	declined = netip.MustParseAddr("127.0.0.3")
)

// resolver answers by policy zones, and otherwise truly. It may be made worse.
type resolver struct {
	addr netip.AddrPort
	mu   sync.Mutex
	set  *policy.Set
	rude func(q dns.Question, query, answer []byte) [][]byte // what is sent instead
}

func (r *resolver) load(set *policy.Set) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set = set
}

func (r *resolver) spoil(rude func(q dns.Question, query, answer []byte) [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rude = rude
}

func start(t *testing.T, set *policy.Set) *resolver {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &resolver{addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(), set: set}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			for _, a := range r.answer(from.Addr(), buf[:n]) {
				_, _ = conn.WriteToUDPAddrPort(a, from)
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return r
}

func (r *resolver) answer(client netip.Addr, raw []byte) [][]byte {
	var m dns.Message
	if m.Read(raw) != nil {
		return nil
	}
	q, err := m.Question(nil)
	if err != nil {
		return nil
	}
	r.mu.Lock()
	set, rude := r.set, r.rude
	r.mu.Unlock()
	a := dns.Message{ID: m.ID, Response: true, Available: true, Counts: [4]uint16{1, 1}}
	data := append([]byte{byte(len(truth))}, truth...)
	if set == nil {
		a.Rcode = dns.ServFail
	} else if match, ok := set.Match(client, q.Name); ok && match.Action() != rpz.Passthru {
		if match.Action() == rpz.NXDomain {
			a.Rcode = dns.NXDomain
		} else if local := match.Local(q.Name, q.Type); len(local) > 0 {
			data = local[0].Data
		}
	}
	if a.Rcode != dns.NoError {
		a.Counts[1] = 0
	}
	out := dns.AppendQuestion(a.AppendHeader(nil), q)
	if a.Counts[1] > 0 {
		out = dns.AppendRR(out, dns.ToQuestion, dns.TXT, dns.IN, 1, data)
	}
	if rude != nil {
		return rude(q, raw, out)
	}
	return [][]byte{out}
}

// zones are the four with their canaries; change may spoil them.
func zones(t *testing.T, serial uint32, change func(z rpz.Zone, rules []rpz.Rule) []rpz.Rule) *policy.Set {
	t.Helper()
	var out []*policy.Zone
	for _, z := range rpz.Zones() {
		rules := canary.Rules(domain, z, serial, []netip.Addr{declined})
		if change != nil {
			rules = change(z, rules)
		}
		c, err := policy.Compile(z, serial, rules)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return policy.NewSet(out...)
}

func without(zone rpz.Zone, which func(r rpz.Rule) bool) func(z rpz.Zone, rules []rpz.Rule) []rpz.Rule {
	return func(z rpz.Zone, rules []rpz.Rule) []rpz.Rule {
		if z != zone {
			return rules
		}
		return slices.DeleteFunc(rules, which)
	}
}

// office notes what it is told.
type office struct {
	mu     sync.Mutex
	alarms []string
	pauses []string
	serial uint32
	since  time.Time
	fails  bool
	empty  map[rpz.Zone]time.Time // since when
}

func (o *office) Alarm(_ context.Context, d canary.Deviation, ended bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	word := "begun"
	if ended {
		word = "ended"
	}
	o.alarms = append(o.alarms, fmt.Sprintf("%s %s %s", word, d.Kind, d.Zone))
	return nil
}

func (o *office) Pause(_ context.Context, z rpz.Zone, why lawful.Text) error {
	if o.fails {
		return errors.New("not now")
	}
	if why.JA == "" || why.EN == "" {
		return errors.New("no reason")
	}
	o.pauses = append(o.pauses, string(z))
	return nil
}

func (o *office) Published(rpz.Zone) (uint32, time.Time, bool) {
	return o.serial, o.since, o.serial > 0
}

func (o *office) InForce(z rpz.Zone) (bool, time.Time) {
	since, empty := o.empty[z]
	return !empty, since
}

func (o *office) told() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.alarms
	o.alarms = nil
	return out
}

// hand is a clock that is moved by hand.
type hand struct {
	mu  sync.Mutex
	now time.Time
}

func (h *hand) Now() time.Time { h.mu.Lock(); defer h.mu.Unlock(); return h.now }
func (h *hand) move(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

var noon = time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)

func watch(t *testing.T, r *resolver, keep canary.Recorder, o *office, c clock.Clock, change func(*canary.Config)) *canary.Watch {
	t.Helper()
	cfg := canary.Config{Domain: domain, Truth: truth, Wait: 150 * time.Millisecond, PauseAfter: 2, Resolvers: []canary.Resolver{{Name: "r1", Addr: r.addr, Taking: taking, Declined: declined}}}
	if change != nil {
		change(&cfg)
	}
	w, err := canary.New(cfg, keep, o, o, o, c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestAHealthyResolverIsProven(t *testing.T) {
	o, c := &office{serial: 7, since: noon}, &hand{now: noon}
	r := start(t, zones(t, 7, nil))
	w := watch(t, r, nil, o, c, nil)
	rounds := w.Round(t.Context())
	if !rounds[0].Proven() || len(rounds[0].Probes) != 13 || len(rounds[0].Serials) != 4 || rounds[0].Serials[rpz.C2] != 7 {
		t.Errorf("%+v", rounds)
	}
	s := w.States()[0]
	if !s.Proven.Equal(noon) || len(s.Deviations) != 0 || len(o.told()) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestDeviations(t *testing.T) {
	for _, c := range []struct {
		what   string
		spoil  func(z rpz.Zone, rules []rpz.Rule) []rpz.Rule
		alarms []string
	}{
		{
			"the opt-out is missing", without(rpz.OptOut, func(r rpz.Rule) bool { return r.Client.IsValid() }),
			[]string{"begun declined_blocked allow.", "begun declined_blocked c2.", "begun declined_blocked emergency."},
		},
		{"the exception is missing", without(rpz.Allow, func(r rpz.Rule) bool { return r.Action == rpz.Passthru }), []string{"begun allowed_blocked allow."}},
		{"the zone is missing", without(rpz.C2, func(rpz.Rule) bool { return true }), []string{"begun missing c2.", "begun open c2."}},
		{"a rule is missing", without(rpz.Emergency, func(r rpz.Rule) bool { return r.Action == rpz.NXDomain }), []string{"begun open emergency."}},
	} {
		t.Run(c.what, func(t *testing.T) {
			o := &office{}
			r := start(t, zones(t, 7, c.spoil))
			w := watch(t, r, nil, o, &hand{now: noon}, nil)
			w.Round(t.Context())
			if got := o.told(); !slices.Equal(got, c.alarms) {
				t.Errorf("%q", got)
			}
			w.Round(t.Context())
			if got := o.told(); len(got) != 0 {
				t.Errorf("told twice: %q", got)
			}
			r.load(zones(t, 8, nil))
			w.Round(t.Context())
			if got := o.told(); len(got) != len(c.alarms) || got[0][:5] != "ended" {
				t.Errorf("well again: %q", got)
			}
		})
	}
}

func TestWhoDeclinedAndIsBlockedPausesTheZone(t *testing.T) {
	o := &office{fails: true}
	r := start(t, zones(t, 7, without(rpz.OptOut, func(r rpz.Rule) bool { return r.Client.IsValid() })))
	w := watch(t, r, nil, o, &hand{now: noon}, nil)
	w.Round(t.Context())
	w.Round(t.Context())
	if s := w.States()[0]; s.Error == "" {
		t.Error("that nothing could be paused isn't said")
	}
	o.fails = false
	w.Round(t.Context())
	w.Round(t.Context())
	slices.Sort(o.pauses)
	if !slices.Equal(o.pauses, []string{"c2.", "emergency."}) {
		t.Errorf("paused: %q", o.pauses)
	}
	w.Resumed(rpz.C2)
	w.Round(t.Context())
	if len(o.pauses) != 3 {
		t.Errorf("after it was resumed: %q", o.pauses)
	}
}

// TestEmpty: by a zone that was emptied nobody may be blocked, once resolvers must know.
func TestEmpty(t *testing.T) {
	o, c := &office{serial: 7, since: noon.Add(-time.Hour), empty: map[rpz.Zone]time.Time{rpz.C2: noon}}, &hand{now: noon}
	r := start(t, zones(t, 7, nil))
	w := watch(t, r, nil, o, c, nil)
	rounds := w.Round(t.Context())
	if got := o.told(); len(got) != 0 || slices.ContainsFunc(rounds[0].Probes, func(p canary.Probe) bool { return p.Zone == rpz.C2 }) {
		t.Errorf("just now: %q %+v", got, rounds)
	}
	c.move(2 * time.Minute)
	w.Round(t.Context())
	if got := o.told(); !slices.Equal(got, []string{"begun behind c2."}) {
		t.Errorf("it still blocks: %q", got)
	}
	r.load(zones(t, 8, without(rpz.C2, func(rpz.Rule) bool { return true })))
	o.serial = 8
	rounds = w.Round(t.Context())
	if got := o.told(); !slices.Equal(got, []string{"ended behind c2."}) || !rounds[0].Proven() {
		t.Errorf("it blocks no more: %q %+v", got, rounds)
	}
}

func TestBehind(t *testing.T) {
	o, c := &office{serial: 8, since: noon.Add(-30 * time.Second)}, &hand{now: noon}
	w := watch(t, start(t, zones(t, 7, nil)), nil, o, c, nil)
	w.Round(t.Context())
	if s := w.States()[0]; len(o.told()) != 0 || s.Lag[rpz.C2] != 30*time.Second {
		t.Errorf("half a minute: %+v", s)
	}
	c.move(time.Minute)
	w.Round(t.Context())
	if got := o.told(); len(got) != 4 || got[0] != "begun behind allow." {
		t.Errorf("%q", got)
	}
	o.serial = 6 // an older one: the resolver is ahead of what we know
	w.Round(t.Context())
	if got := o.told(); len(got) != 4 || got[0] != "ended behind allow." {
		t.Errorf("%q", got)
	}
}

// A resolver that says nothing, nonsense, or what somebody else asked for, proves nothing.
func TestNothingIsProven(t *testing.T) {
	for what, rude := range map[string]func(q dns.Question, query, answer []byte) [][]byte{
		"silent":         func(dns.Question, []byte, []byte) [][]byte { return nil },
		"garbage":        func(dns.Question, []byte, []byte) [][]byte { return [][]byte{{1}, make([]byte, 400)} },
		"echo":           func(_ dns.Question, query, _ []byte) [][]byte { return [][]byte{query} },
		"another number": func(_ dns.Question, _, a []byte) [][]byte { a[1]++; return [][]byte{a} },
		"another name":   func(_ dns.Question, _, a []byte) [][]byte { a[14]++; return [][]byte{a} },
		"cut":            func(_ dns.Question, _, a []byte) [][]byte { a[2] |= 2; return [][]byte{a} }, // nobody listens by TCP
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			o := &office{}
			r := start(t, zones(t, 7, nil))
			r.spoil(rude)
			w := watch(t, r, nil, o, &hand{now: noon}, func(c *canary.Config) { c.Wait = 50 * time.Millisecond })
			round := w.Round(t.Context())[0]
			for _, p := range round.Probes {
				if p.Got != canary.Silence {
					t.Errorf("%+v", p)
				}
			}
			if got := o.told(); len(got) != 4 || got[0] != "begun unproven allow." || len(o.pauses) != 0 {
				t.Errorf("%q %q", got, o.pauses)
			}
		})
	}
	t.Run("one answer is lost", func(t *testing.T) {
		o := &office{}
		r := start(t, zones(t, 7, nil))
		first := map[string]bool{}
		r.spoil(func(q dns.Question, _, a []byte) [][]byte {
			if key := q.Name.String(); !first[key] {
				first[key] = true
				return nil
			}
			return [][]byte{a}
		})
		if round := watch(t, r, nil, o, &hand{now: noon}, nil).Round(t.Context())[0]; !round.Proven() {
			t.Errorf("%+v", round)
		}
	})
}

func TestStore(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		s, err := canary.OpenStore(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		c := &hand{now: noon}
		w := watch(t, start(t, zones(t, 7, nil)), s, &office{}, c, nil)
		for range 3 {
			w.Round(t.Context())
			c.move(time.Minute)
		}
		rounds, err := s.Rounds(t.Context(), "", noon, noon.Add(time.Hour), 10)
		if err != nil || len(rounds) != 3 || !rounds[0].Proven() || rounds[0].Serials[rpz.Allow] != 7 || !rounds[2].At.Equal(noon) {
			t.Fatalf("%+v %v", rounds, err)
		}
		if r, ok, err := s.At(t.Context(), "r1", noon.Add(90*time.Second)); err != nil || !ok || !r.At.Equal(noon.Add(time.Minute)) {
			t.Errorf("%+v %v %v", r, ok, err)
		}
		if _, ok, err := s.At(t.Context(), "r1", noon.Add(-1)); ok || err != nil {
			t.Errorf("before the first: %v %v", ok, err)
		}
		if err := s.Keep(t.Context(), rounds[0]); err == nil {
			t.Error("a round was written over")
		}
		if n, err := s.Forget(t.Context(), noon.Add(time.Minute)); n != 1 || err != nil {
			t.Errorf("%d forgotten: %v", n, err)
		}
	})
}

func TestWhatCantBeWatched(t *testing.T) {
	good := canary.Resolver{Name: "r", Addr: netip.MustParseAddrPort("127.0.0.1:53"), Taking: taking, Declined: declined}
	for _, c := range []canary.Config{
		{Truth: truth},
		{Domain: "a..b", Truth: truth},
		{Domain: domain},
		{Domain: domain, Truth: truth, Every: 3 * time.Second},
		{Domain: domain, Truth: truth, Resolvers: []canary.Resolver{good, good}},
		{Domain: domain, Truth: truth, Resolvers: []canary.Resolver{{Name: "r", Addr: good.Addr, Taking: taking, Declined: taking}}},
		{Domain: domain, Truth: truth, Resolvers: []canary.Resolver{{Name: "r", Taking: taking, Declined: declined}}},
	} {
		if _, err := canary.New(c, nil, nil, nil, nil, clock.System{}, slog.New(slog.DiscardHandler)); !errors.Is(err, canary.ErrConfig) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestRunAsksAtOnce(t *testing.T) {
	o := &office{}
	w := watch(t, start(t, nil), nil, o, clock.System{}, func(c *canary.Config) { c.Wait, c.Every = 50*time.Millisecond, 200*time.Millisecond })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	ready := false
	if err := w.Run(ctx, func() { ready = true }); err != nil || !ready {
		t.Error(err)
	}
	if d := w.States()[0].Deviations; len(d) != 4 || d[0].Rounds < 3 {
		t.Errorf("%+v", d)
	}
}
