package forward_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/forward"
	"sakimori/respond/rpz/policy"
	rt "sakimori/respond/rpz/resolvertest"
)

// The zones come from BIND by AXFR, then by IXFR, signed; they outlive it, and a restart.
func TestSecondary(t *testing.T) {
	key := rt.Secret(t)
	primary := rt.NewPrimary(t, key, rt.Port(t))
	var filler []rpz.Rule // so that BIND sends differences
	for i := range 100 {
		filler = append(filler, rpz.Rule{Name: fmt.Sprintf("filler%d.example", i)})
	}
	primary.Publish(t, rpz.C2, append(filler, rpz.Rule{Name: "bot.example"}, rpz.Rule{Name: "local.example", Action: rpz.Local, Data: []string{"A 192.0.2.1", `TXT "x y"`}})...)
	var set atomic.Pointer[policy.Set]
	src := forward.Source{Primaries: []netip.AddrPort{primary.Addr}, KeyName: key.Name, Algorithm: key.Algorithm, Secret: "c2FraW1vcmkgdGVzdCBrZXkgb2YgMzIgYnl0ZXMhIQ==", Folder: t.TempDir(), Quick: 50 * time.Millisecond, Slow: 50 * time.Millisecond}
	follow := func(src forward.Source) (*forward.Secondary, func()) {
		s, err := forward.NewSecondary(src, func(p *policy.Set) { set.Store(p) }, clock.System{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx, func() {}) }()
		return s, func() { cancel(); <-done }
	}
	hit := func(client netip.Addr, name string, want bool) func() error {
		return func() error {
			n, err := dns.ParseName(name)
			m, ok := set.Load().Match(client, n)
			if err == nil && (ok && m.Action() != rpz.Passthru) != want {
				err = fmt.Errorf("%s asks for %s: blocked %v", client, name, ok)
			}
			return err
		}
	}
	s, stop := follow(src)
	rt.Eventually(t, 5*time.Second, "AXFR", hit(taking, "bot.example", true))
	for i := range 5 {
		primary.Publish(t, rpz.C2, append(filler, rpz.Rule{Name: fmt.Sprintf("bot%d.example", i)})...)
		rt.Eventually(t, 5*time.Second, "IXFR adds", hit(taking, fmt.Sprintf("bot%d.example", i), true))
	}
	rt.Eventually(t, time.Second, "and removes", hit(taking, "bot.example", false))
	rt.Eventually(t, time.Second, "and removes", hit(taking, "bot3.example", false))
	primary.Publish(t, rpz.OptOut, rpz.Rule{Client: netip.PrefixFrom(declined, 32), Action: rpz.Passthru})
	rt.Eventually(t, 5*time.Second, "an opt-out", hit(declined, "bot4.example", false))
	if c := s.Copies()[2]; c.Serial != primary.Serial(rpz.C2) || c.Confirmed.IsZero() || c.Error != "" || c.Records != 102 {
		t.Errorf("%+v", c)
	}

	stop()
	wrong := src
	wrong.Secret = "d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmc="
	s, stop = follow(wrong)
	rt.Eventually(t, 5*time.Second, "a wrong key is said", func() error {
		if s.Copies()[2].Error == "" {
			return fmt.Errorf("%+v", s.Copies()[2])
		}
		return hit(taking, "bot4.example", true)()
	})
	stop()
	primary.Stop()
	s, stop = follow(src)
	defer stop()
	rt.Eventually(t, 5*time.Second, "what was kept counts", func() error {
		if c := s.Copies()[2]; c.Error == "" || c.Serial != primary.Serial(rpz.C2) {
			return fmt.Errorf("%+v", c)
		}
		if err := hit(declined, "bot4.example", false)(); err != nil {
			return err
		}
		return hit(taking, "bot4.example", true)()
	})
}

// A copy that is broken is said and taken anew, never half believed.
func TestABrokenCopy(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "c2.rpz"), []byte("c2. 5 IN SOA localhost. root.localhost. 1 5 5 5 5\nbot.example.c2. 5 IN CNAME .\nhalf.exa"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := forward.NewSecondary(forward.Source{Primaries: []netip.AddrPort{rt.Port(t)}, Folder: folder}, func(*policy.Set) {}, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil || s.Copies()[2].Serial != 0 {
		t.Errorf("%+v %v", s.Copies(), err)
	}
}
