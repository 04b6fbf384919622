package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/dns"
	tap "sakimori/observe/dns"
	"sakimori/respond/rpz"
	rt "sakimori/respond/rpz/resolvertest"
)

// From its configuration to a blocked name, through a real primary and a real authority.
func TestDNS(t *testing.T) {
	authority := rt.Authority(t, "*.example. TXT \"truth\"\n")
	key, at, dir := rt.Secret(t), rt.Port(t), t.TempDir()
	primary := rt.NewPrimary(t, key, at)
	declined := netip.MustParseAddr("127.0.0.10")
	primary.Publish(t, rpz.OptOut, rpz.Rule{Client: netip.PrefixFrom(declined, 32), Action: rpz.Passthru})
	primary.Publish(t, rpz.C2, rpz.Rule{Name: "bot.example"})
	file := filepath.Join(dir, "edge.yaml")
	who, hear := listener(t, filepath.Join(dir, "tap"))
	text := fmt.Sprintf("listen: [%q]\nclients: [127.0.0.0/24]\nupstream: [{addr: %q}]\nprimaries: [%q]\nkey: {name: %s, algorithm: %s, file: %q}\nfolder: %q\ndnstap: {socket: %q, identity: edge}\n", at, authority.Addr, primary.Addr, key.Name, key.Algorithm, key.File, dir, filepath.Join(dir, "tap"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	var errs bytes.Buffer
	go func() { done <- Main(ctx, []string{"dns", "--config", file}, &errs, &errs) }()
	is := func(from netip.Addr, rcode uint8) func() error {
		return func() error {
			a, err := rt.Ask(t, at, from, "bot.example", dns.TXT, false)
			if err == nil && (a.Rcode != rcode || rcode == dns.NXDomain && !strings.Contains(a.Why, "遮断")) {
				err = errors.New("answered otherwise")
			}
			return err
		}
	}
	rt.Eventually(t, 10*time.Second, "it blocks", is(netip.MustParseAddr("127.0.0.1"), dns.NXDomain))
	rt.Eventually(t, 10*time.Second, "and not who declined", is(declined, dns.NoError))
	rt.Eventually(t, 10*time.Second, "a free name is answered", func() error {
		a, err := rt.Ask(t, at, netip.MustParseAddr("127.0.0.1"), "free.example", dns.TXT, false)
		if err == nil && a.Rcode != dns.NoError {
			err = errors.New("answered otherwise")
		}
		return err
	})
	hear("both are counted, and not who declined", func(n tap.Tally, by map[string]uint64) bool {
		return n.Responses >= 2 && n.NXDomain == 1 && by["c2."] == 1
	})
	if len(who.asked) != 1 || !who.asked[netip.MustParseAddr("127.0.0.1")] {
		t.Errorf("told of %v", who.asked)
	}
	var said bytes.Buffer
	rt.Eventually(t, 10*time.Second, "the status tells it", func() error {
		said.Reset()
		if code := Main(ctx, []string{"status", "--config", file}, &said, &said); code != 0 || !strings.Contains(said.String(), fmt.Sprintf("serial %d", primary.Serial(rpz.C2))) || !strings.Contains(said.String(), "dropped 0") {
			return errors.New(said.String())
		}
		return nil
	})
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}

// clients let everybody be counted, and remember whom they were asked about.
type clients struct{ asked map[netip.Addr]bool }

func (c *clients) May(a netip.Addr, _ time.Time) (match, hits bool) {
	c.asked[a] = true
	return true, false
}

// listener takes dnstap as the house does.
func listener(t *testing.T, socket string) (*clients, func(what string, is func(tap.Tally, map[string]uint64) bool)) {
	t.Helper()
	who := &clients{map[netip.Addr]bool{}}
	o, err := tap.New(tap.Config{Live: true}, who, nil, nil, clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := o.Listen(tap.Listen{Name: "edge", Socket: socket}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- l.Run(ctx, func() { close(ready) }) }()
	<-ready
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return who, func(what string, is func(tap.Tally, map[string]uint64) bool) {
		rt.Eventually(t, 10*time.Second, what, func() error {
			var all tap.Tally
			by := map[string]uint64{}
			for _, r := range o.Pending() {
				all.Add(&r.Tally)
				if r.Zone != "" {
					by[r.Zone] += r.Blocked
				}
			}
			if !is(all, by) {
				return fmt.Errorf("%+v %v", all, by)
			}
			return nil
		})
	}
}

func TestWrongConfigurations(t *testing.T) {
	for _, text := range []string{"unknown: 1\n", "listen: [\"127.0.0.1:0\"]\n", "primaries: [\"127.0.0.1:53\"]\nfolder: /nowhere\nclients: [0.0.0.0/0]\nlisten: [\"127.0.0.1:0\"]\nupstream: [{addr: \"127.0.0.1:53\"}]\n"} {
		file := filepath.Join(t.TempDir(), "edge.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		if code := Main(t.Context(), []string{"dns", "--config", file}, &errs, &errs); code != 1 || errs.Len() == 0 {
			t.Errorf("%q: exit code %d: %s", text, code, errs.String())
		}
	}
}
