package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sakimori/base/wire/dns"
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
	text := fmt.Sprintf("listen: [%q]\nclients: [127.0.0.0/24]\nupstream: [{addr: %q}]\nprimaries: [%q]\nkey: {name: %s, algorithm: %s, file: %q}\nfolder: %q\n", at, authority.Addr, primary.Addr, key.Name, key.Algorithm, key.File, dir)
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
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit code %d: %s", code, errs.String())
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
