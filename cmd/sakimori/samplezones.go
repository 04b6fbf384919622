package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sakimori/base/clock"
	"sakimori/base/run"
	"sakimori/base/wire/dns"
	"sakimori/lawful"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/forward"
	"sakimori/respond/rpz/publish"
	"sakimori/sim"
)

// nameservers are the resolvers of a demo: two small forwarders of our own in this
// process, which fetch the policy zones as any other would. They answer on the loopback
// interface alone, and all that they can ask is the small Internet.
type nameservers struct {
	primary netip.AddrPort
	list    []nameserver
	net     *sim.Internet
	cfg     *config
}

type nameserver struct {
	name   string
	at     netip.AddrPort
	secret string // of its key
	folder string
}

const (
	canaryDomain = "canary.example.jp"
	canaryEvery  = 5 * time.Second  // of the machine, as all else of the resolvers
	canaryLate   = 20 * time.Second // for which they may be behind
)

// resolverNames are what resolvers of the town call themselves.
var resolverNames = [...]string{"ns1", "ns2"}

// sampleZones has the policy zones, their resolvers and the proof in a demo's
// configuration. Where this machine has no 127.0.0.2 there are no resolvers, and nil.
func sampleZones(ctx context.Context, cfg *config, dir string, speed float64) (*nameservers, error) {
	taking, declined, all := "127.0.0.2", "127.0.0.3", "127.0.0.0/8"
	ports, err := freePorts(ctx, 1+len(resolverNames))
	if err != nil {
		return nil, err
	}
	cfg.Zones.Listen = []string{ports[0].String()}
	cfg.Zones.Allow = []string{"sodan-mihon.jp"} // the desk's own
	for _, a := range []string{taking, declined} {
		c, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", a+":0")
		if err != nil {
			return nil, nil //nolint:nilnil,nilerr // there are none
		}
		_ = c.Close() // only whether it can be had
	}
	n := &nameservers{primary: ports[0], cfg: cfg}
	if n.net, err = sim.NewInternet(ctx, netip.MustParseAddrPort("127.0.0.1:0"), canaryDomain, cfg.Resolvers.Canary.Truth); err != nil {
		return nil, err
	}
	for i, name := range resolverNames {
		x := nameserver{name: name, at: ports[1+i], folder: filepath.Join(dir, name)}
		secret := make([]byte, 32)
		_, _ = rand.Read(secret) // never fails
		x.secret = base64.StdEncoding.EncodeToString(secret)
		key := filepath.Join(dir, name+".key")
		if err := errors.Join(os.MkdirAll(x.folder, 0o700), os.WriteFile(key, []byte(x.secret), 0o600)); err != nil {
			return nil, err
		}
		n.list = append(n.list, x)
		cfg.Zones.Keys = append(cfg.Zones.Keys, zonesKey{Name: name, SecretFile: key})
		cfg.Zones.Peers = append(cfg.Zones.Peers, zonesPeer{Name: name, Address: []string{all}, Pool: "mihon", Key: name, Vendor: "sakimori"})
		cfg.Resolvers.List = append(cfg.Resolvers.List, resolverListened{Name: name, Addr: x.at.String()})
	}
	s := &cfg.Resolvers.Site
	s.Primaries, s.Clients, s.Unsigned = []string{ports[0].String()}, []string{all}, true
	s.Key.Name, s.Key.Algorithm, s.Key.File = resolverNames[0], string(dns.SHA256), "/etc/sakimori/"+resolverNames[0]+".key"
	c := &cfg.Resolvers.Canary
	c.Domain, c.Every, c.Wait, c.Taking, c.Declined = canaryDomain, canaryEvery, time.Second, taking, declined
	c.Late = time.Duration(float64(canaryLate) * speed) // in the time of the demo
	return n, nil
}

// freePorts are ports of the loopback interface that nobody has now, by UDP and TCP.
func freePorts(ctx context.Context, n int) (list []netip.AddrPort, err error) {
	var c net.ListenConfig
	for range 10 * n { // a port may be free by one and not by the other
		t, err := c.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer t.Close() // all at the end, so that none comes twice
		u, err := c.ListenPacket(ctx, "udp", t.Addr().String())
		if err != nil {
			continue
		}
		defer u.Close()
		a, err := netip.ParseAddrPort(t.Addr().String())
		if err != nil {
			return nil, err
		}
		if list = append(list, a); len(list) == n {
			return list, nil
		}
	}
	return nil, errors.New("the loopback interface has no free ports")
}

// components are the small Internet, and the resolvers before it. They are ready when each
// has fetched the zones.
func (n *nameservers) components(log *slog.Logger) ([]run.Component, error) {
	list := []run.Component{{Name: "small Internet", Run: n.net.Run}}
	for i := range n.list {
		x := &n.list[i]
		server, err := forward.New(forward.Config{
			Listen: []netip.AddrPort{x.at}, Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Upstream: []forward.Upstream{{Addr: n.net.Address()}},
			Reason: say("見本: マルウェアの C&C サーバー", "sample: a C&C server of malware"),
		}, clock.System{}, log)
		if err != nil {
			return nil, err
		}
		zones, err := forward.NewSecondary(forward.Source{
			Primaries: []netip.AddrPort{n.primary}, KeyName: x.name, Algorithm: string(dns.SHA256), Secret: x.secret, Folder: x.folder,
			Quick: time.Second, Slow: 2 * time.Second,
		}, server.Load, clock.System{}, log)
		if err != nil {
			return nil, err
		}
		list = append(list,
			run.Component{Name: "zones of " + x.name, Run: func(ctx context.Context, ready func()) error {
				go whenFetched(ctx, zones, ready)
				return zones.Run(ctx, func() {})
			}},
			run.Component{Name: x.name, Run: server.Run})
	}
	return list, nil
}

// whenFetched says so when each zone was; or after a while, as what comes then is shown.
func whenFetched(ctx context.Context, s *forward.Secondary, ready func()) {
	defer ready()
	for range 100 {
		if !slices.ContainsFunc(s.Copies(), func(c forward.Copy) bool { return c.Confirmed.IsZero() }) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// within puts parts behind the one of a name.
func within(list []run.Component, behind string, parts []run.Component) ([]run.Component, error) {
	i := slices.IndexFunc(list, func(c run.Component) bool { return c.Name == behind })
	if i < 0 {
		return nil, fmt.Errorf("nothing called %q runs", behind)
	}
	return slices.Insert(list, i+1, parts...), nil
}

// sampleRules has the operator's rules in a demo's configuration: its legal desk has
// compared one with its source, which exists in the sample alone.
func sampleRules(cfg *config, dir string) error {
	const text = `# 見本:架空の法務担当者による確認です。実在の確認ではありません。
# A sample: a legal desk that doesn't exist has looked at it. Nobody really has.
rules:
  - id: consent-hits
    verified: {by: "sample, legal:karita", on: 2016-09-20}
`
	cfg.Rules = filepath.Join(dir, "rules.yaml")
	return os.WriteFile(cfg.Rules, []byte(text), 0o600)
}

// grants asks for what the DNS goes by: to match and block names for all who consent, and
// to keep hits of those who consent to that. One asks, another agrees.
func (s *sample) grants(ctx context.Context) error {
	now := s.clock.Now()
	for _, x := range []struct {
		measure lawful.Measure
		purpose string
		why     string
	}{
		{lawful.MatchNames, purposeBlock, say("C&C サーバーの名前の照合", "match the names of C&C servers")},
		{lawful.Block, purposeBlock, say("C&C サーバーの名前解決の遮断", "block the names of C&C servers")},
		{lawful.StoreHits, purposeHits, say("感染した契約者への注意喚起", "warn subscribers whose devices are infected")},
	} {
		_, err := s.office.gate.Ask(ctx, lawful.Request{
			Measure: x.measure, Purpose: x.why, Who: legal, Scope: lawful.Scope{Consenting: x.purpose},
			Facts: lawful.Facts{"list": say("見本の C&C リスト", "the sample C&C list"), "list_reviewed_at": now.Add(-time.Hour), "mechanical": true},
		})
		if waits, is := errors.AsType[*lawful.Pending](err); is {
			_, err = s.office.gate.Approve(ctx, waits.Decision.ID, deskA)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", x.measure, err)
		}
	}
	return nil
}

// publish publishes what the list has by now, as serve does once a second.
func (s *sample) publish(ctx context.Context, cfg *config) error {
	if s.publisher == nil {
		h := s.office
		s.publisher = publish.New(publish.Config{Cadence: cfg.Zones.Cadence, Allow: cfg.Zones.Allow}, inForce{h.list}, keptZones{h.zones}, blockGrounds{h}, s.clock, slog.New(slog.DiscardHandler))
		if _, err := (leftAlone{h.zones}).Change(ctx, nil, nil); err != nil { // who is left alone, before anything is blocked
			return err
		}
		if err := s.publisher.Publish(ctx, rpz.Allow, "house:publisher", say("設定", "the configuration")); err != nil {
			return err
		}
	}
	return s.publisher.Look(ctx)
}
