package policy_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/canary"
	"sakimori/respond/rpz/policy"
	"sakimori/respond/rpz/resolver"
	rt "sakimori/respond/rpz/resolvertest"
)

// said is an answer in one word that ours and theirs are compared by.
func said(a canary.Answer, err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "dropped"
	case err != nil:
		return err.Error()
	case a.Rcode == dns.NXDomain:
		return "nxdomain"
	case a.Rcode != dns.NoError:
		return fmt.Sprint("rcode ", a.Rcode)
	case a.TCP:
		return "tcp only"
	case len(a.Aliases) > 0:
		return "alias " + a.Aliases[0]
	case len(a.Texts) > 0:
		slices.Sort(a.Texts)
		return strings.Join(a.Texts, ",")
	}
	return "nodata"
}

// ours is the same by our own evaluator; everything that no rule is about is "truth".
func ours(set *policy.Set, client netip.Addr, n dns.Name) string {
	m, ok := set.Match(client, n)
	if !ok || m.Action() == rpz.Passthru {
		return "truth"
	}
	switch m.Action() {
	case rpz.NXDomain:
		return "nxdomain"
	case rpz.NoData:
		return "nodata"
	case rpz.Drop:
		return "dropped"
	case rpz.TCPOnly:
		return "tcp only"
	}
	var texts []string
	for _, r := range m.Local(n, dns.TXT) {
		if r.Type == dns.CNAME {
			return "alias " + dns.Name(r.Data).String()
		}
		texts = append(texts, string(r.Data[1:]))
	}
	if len(texts) == 0 {
		return "nodata"
	}
	slices.Sort(texts)
	return strings.Join(texts, ",")
}

// scene is random rules and questions. Names are few, so that rules meet.
type scene struct {
	r     *rand.Rand
	zones map[rpz.Zone][]rpz.Rule
}

func (s *scene) name(least int) string {
	n := least + s.r.IntN(4-least)
	words := make([]string, n, n+1)
	for i := range words {
		words[i] = string(rune('a' + s.r.IntN(5)))
	}
	return strings.Join(append(words, "example"), ".")
}

func (s *scene) rule(v resolver.Vendor) rpz.Rule {
	r := rpz.Rule{Name: s.name(1), Action: rpz.Action(s.r.IntN(6))}
	if s.r.IntN(2) == 0 {
		r.Name = "*." + r.Name
	}
	if r.Action == rpz.Drop && s.r.IntN(3) > 0 { // each costs the time-out
		r.Action = rpz.NXDomain
	}
	if r.Action == rpz.Local {
		n := s.r.IntN(4)
		switch {
		case n == 0 && v != resolver.Knot: // it ignores aliases
			r.Data = []string{"CNAME elsewhere.other."}
		case n == 1 && v != resolver.Knot:
			r.Data = []string{"CNAME *.garden.other."}
		case n == 2:
			r.Data = []string{"A 192.0.2.9"}
		default:
			r.Data = []string{fmt.Sprintf(`TXT "%d"`, s.r.IntN(1000)), `TXT "more"`}
		}
	}
	return r
}

// random makes the zones.
func random(r *rand.Rand, v resolver.Vendor) *scene {
	s := &scene{r, map[rpz.Zone][]rpz.Rule{}}
	for _, z := range rpz.Zones() {
		seen := map[string]bool{}
		for range 20 {
			rule := s.rule(v)
			if z == rpz.OptOut {
				p, _ := netip.AddrFrom4([4]byte{127, 0, 0, byte(4 + r.IntN(40))}).Prefix([]int{32, 32, 31, 30}[r.IntN(4)])
				rule = rpz.Rule{Client: p, Action: rpz.Passthru}
			}
			key := rule.Name + rule.Client.String()
			if !seen[key] && !strings.HasPrefix(rule.Name, "serial") {
				seen[key] = true
				s.zones[z] = append(s.zones[z], rule)
			}
		}
		if z != rpz.OptOut {
			s.zones[z] = append(s.zones[z], rpz.Rule{Name: "serial-" + strings.TrimSuffix(string(z), ".") + ".other", Action: rpz.Local, Data: []string{`TXT "ready"`}})
		}
	}
	return s
}

// Every resolver answers random questions under random rules as the evaluator says.
func TestResolversAgree(t *testing.T) {
	rt.Needs(t, resolver.Vendors()...)
	authority := rt.Authority(t, "*.example. TXT \"truth\"\nexample. TXT \"truth\"\n*.other. TXT \"elsewhere\"\n")
	for _, v := range resolver.Vendors() {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			agree(t, v, authority, random(rand.New(rand.NewPCG(seed, 0)), v))
		})
	}
}

func agree(t *testing.T, v resolver.Vendor, authority *rt.Process, s *scene) {
	site := resolver.Site{Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/24")}, Listen: []netip.AddrPort{rt.Port(t)}, Folder: t.TempDir(), Unsigned: true, Upstream: []netip.AddrPort{authority.Addr}}
	primary := rt.NewPrimary(t, resolver.Key{}, site.Listen[0])
	site.Primaries = []netip.AddrPort{primary.Addr}
	if v == resolver.Knot {
		primary.Files = site.Folder
	}
	var compiled []*policy.Zone
	for _, z := range rpz.Zones() {
		serial := primary.Publish(t, z, policy.Plain(s.zones[z])...)
		compiled = append(compiled, compile(t, z, serial, s.zones[z]...)) // as it was meant
	}
	set := policy.NewSet(compiled...)
	p := rt.Launch(t, v, site)
	unlisted := netip.MustParseAddr("127.0.0.1")
	p.Up(t, unlisted, "other")
	rt.Eventually(t, 10*time.Second, "the zones are loaded", func() error {
		for _, z := range rpz.Zones()[1:] {
			if got := said(rt.Ask(t, p.Addr, unlisted, "serial-"+strings.TrimSuffix(string(z), ".")+".other", dns.TXT, false)); got != "ready" {
				return fmt.Errorf("%s %s", z, got)
			}
		}
		return nil
	})
	if v == resolver.BIND {
		time.Sleep(1500 * time.Millisecond) // optout. may be updated after min-update-interval
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	different, count := 0, map[string]int{}
	gate := make(chan bool, 8) // BIND drops the 11th who waits for one answer (clients-per-query 10)
	for range 600 {
		client, q := netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + s.r.IntN(48))}), s.name(0)
		if s.r.IntN(2) == 0 {
			client = unlisted
		}
		wg.Go(func() {
			gate <- true
			defer func() { <-gate }()
			n := name(t, q)
			want := ours(set, client, n)
			ctx, cancel := context.WithTimeout(t.Context(), map[bool]time.Duration{true: 200 * time.Millisecond, false: 5 * time.Second}[want == "dropped"])
			defer cancel()
			got := said(canary.Ask(ctx, canary.Question{From: client, To: p.Addr, Name: n, Type: dns.TXT}))
			mu.Lock()
			defer mu.Unlock()
			kind, _, _ := strings.Cut(want, " ")
			count[kind]++
			if got != want {
				if different++; different < 15 {
					by := "no rule"
					if m, ok := set.Match(client, n); ok {
						by = fmt.Sprintf("%s %+v", m.Zone(), m.Rule())
					}
					t.Errorf("%s asks for %s: %s says %q, we say %q by %s", client, q, v, got, want, by)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d different; asked: %v", different, count)
	if different > 0 {
		for _, z := range rpz.Zones() {
			t.Logf("%s", rt.Text(z, 0, s.zones[z]...))
		}
	}
}
