//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	wiredns "sakimori/base/wire/dns"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/canary"
	"sakimori/respond/rpz/resolver"
)

// The aims of part G.
const (
	aimTransfer = 600 * time.Millisecond
	aimServed   = 150e6 // bytes of memory
	aimVisible  = 2 * time.Second
	aimFeed     = 30 * time.Second
	aimTap      = 500_000
)

// named is what part G found, for the aims.
type named struct {
	transfer      time.Duration
	served        int64
	visible       map[string]time.Duration // worst, by resolver and zone
	feed, again   time.Duration
	tap           float64 // frames a second of one processor
	tapLost       uint64
	blocked, hits map[string]float64 // answers/s, by program
}

// names measures the C&C list on its way: into the house, to resolvers, in answers, and back
// as dnstap.
func names(ctx context.Context, o *options, r *report) (s section, err error) {
	s = section{
		title: "G. C&C リストと DNS / The C&C list and DNS",
		head:  []string{"measured", "program", "result", "p50", "p99 or worst", "RSS MiB", "ratio"},
	}
	r.names = &named{visible: map[string]time.Duration{}, blocked: map[string]float64{}, hits: map[string]float64{}}
	dir, err := os.MkdirTemp(o.dir, "names-")
	if err != nil {
		return s, err
	}
	defer os.RemoveAll(dir)
	if err := importedFeed(ctx, o, r.names, &s, dir); err != nil {
		return s, err
	}
	if err := takenTap(ctx, o, r.names, &s, dir); err != nil {
		return s, err
	}
	zone := filepath.Join(dir, "zones")
	made, served, err := served(ctx, o, r.names, &s, dir, zone)
	if err != nil {
		return s, err
	}
	defer served.p.end()
	s.note("%s 規則(半分は名前、半分はその下すべて)を 1 度に公開: %s 秒。/ %s rules (half of them names, half all below these), published at once in %s s by a process of its own.", thousands(o.rules), seconds(made), thousands(o.rules), seconds(made))
	if err := visible(ctx, o, r.names, &s, dir, served); err != nil {
		return s, err
	}
	return s, asked(ctx, o, r.names, &s, dir, served)
}

// serving is our primary under way, and where the resolvers will be.
type zoneServing struct {
	p                   *actor
	at                  netip.AddrPort
	bind, unbound, edge netip.AddrPort
}

// freePort is an address on loopback that nobody listens on.
func freePort() (netip.AddrPort, error) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0") //nolint:noctx // for a free port
	if err != nil {
		return netip.AddrPort{}, err
	}
	at := netip.MustParseAddrPort(c.LocalAddr().String())
	return at, c.Close()
}

// served sends the zone to a reader that looks at nothing, beside knotd.
func served(ctx context.Context, o *options, n *named, s *section, dir, zone string) (made time.Duration, x *zoneServing, err error) {
	own, err := os.Executable()
	if err != nil {
		return 0, nil, err
	}
	o.say("G: %s rules", thousands(o.rules))
	c, err := spend(ctx, o.timeout, io.Discard, nil, own, "role", "make", zone, fmt.Sprint(o.rules))
	if err != nil {
		return 0, nil, err
	}
	x = &zoneServing{}
	for _, at := range []*netip.AddrPort{&x.bind, &x.unbound, &x.edge} {
		if *at, err = freePort(); err != nil {
			return 0, nil, err
		}
	}
	p, at, err := role(ctx, nil, "serve", zone, "bind="+x.bind.String(), "plain="+x.unbound.String(), "edge="+x.edge.String())
	if err != nil {
		return 0, nil, err
	}
	x.p = p
	if x.at, err = netip.ParseAddrPort(at); err != nil {
		return 0, nil, err
	}
	k, knot, err := startKnot(ctx, o, dir)
	if err != nil {
		return 0, x, err
	}
	defer k.end()
	var took [2][]time.Duration
	var bytes [2]int
	for range max(o.rounds, 1) * 3 { // in turn
		for i, at := range []netip.AddrPort{x.at, knot} {
			begun := time.Now()
			records, got, err := drain(ctx, at, int(o.rules))
			if err != nil {
				return 0, x, fmt.Errorf("AXFR from %s: %d records: %w", at, records, err)
			}
			took[i], bytes[i] = append(took[i], time.Since(begun)), got
		}
	}
	n.served = peak(p.c.Process.Pid)
	base := middle(took[1])
	for i, who := range []string{"sakimori", "knotd"} {
		rss := n.served
		if i == 1 {
			rss = peak(k.c.Process.Pid)
		}
		s.row(fmt.Sprintf("AXFR, %s rules, %s MB", thousands(o.rules), fmt.Sprintf("%.1f", float64(bytes[i])/1e6)), who, fmt.Sprintf("%.3f s", middle(took[i]).Seconds()), "", fmt.Sprintf("%.3f s", slices.Max(took[i]).Seconds()), mib(rss), fmt.Sprintf("%.2f", float64(middle(took[i]))/float64(base)))
	}
	n.transfer = middle(took[0])
	return c.wall, x, nil
}

func middle(list []time.Duration) time.Duration { return ranked(list, 0.5) }

func ranked(list []time.Duration, q float64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	l := slices.Sorted(slices.Values(list))
	return l[min(len(l)-1, int(q*float64(len(l))))]
}

// drain makes an AXFR and counts, without reading what the records are.
func drain(ctx context.Context, at netip.AddrPort, want int) (records, bytes int, err error) {
	q := new(dns.Msg)
	q.SetAxfr(string(rpz.C2))
	raw, err := q.Pack()
	if err != nil {
		return 0, 0, err
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", at.String())
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	if _, err := c.Write(wiredns.AppendFrame(nil, raw)); err != nil {
		return 0, 0, err
	}
	buf := make([]byte, wiredns.MaxMessage)
	for records < want {
		if buf, err = wiredns.ReadFrame(c, buf); err != nil {
			return records, bytes, err
		}
		var m wiredns.Message
		if err := m.Read(buf); err != nil || m.Rcode != 0 {
			return records, bytes, errors.Join(fmt.Errorf("answer %d", m.Rcode), err)
		}
		records, bytes = records+int(m.Counts[1]), bytes+len(buf)+2
	}
	return records, bytes, nil
}

// startKnot starts knotd with the same rules in a file.
func startKnot(ctx context.Context, o *options, dir string) (*actor, netip.AddrPort, error) {
	at, err := freePort()
	if err != nil {
		return nil, at, err
	}
	name, err := program("knotd")
	if err != nil {
		return nil, at, err
	}
	var z strings.Builder
	z.WriteString("$ORIGIN c2.\n$TTL 60\n@ SOA localhost. root.localhost. 1 300 60 21600 60\n@ NS localhost.\n")
	for i := range int(o.rules) / 2 {
		n := ruleName(i)
		z.WriteString(n + " CNAME .\n*." + n + " CNAME .\n")
	}
	conf := filepath.Join(dir, "knot.conf")
	text := fmt.Sprintf("server:\n  listen: 127.0.0.1@%d\n  rundir: %q\ndatabase:\n  storage: %q\nacl:\n  - id: all\n    address: 127.0.0.1\n    action: transfer\nzone:\n  - domain: c2.\n    storage: %q\n    file: c2.zone\n    acl: all\n", at.Port(), dir, dir, dir)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "c2.zone"), []byte(z.String()), 0o644), os.WriteFile(conf, []byte(text), 0o644)); err != nil {
		return nil, at, err
	}
	a, err := act(ctx, nil, name, "-c", conf)
	if err != nil {
		return nil, at, err
	}
	go func() { _, _ = io.Copy(io.Discard, a.out) }()
	return a, at, until(ctx, time.Minute, "knotd has the zone", func() bool {
		_, _, err := drain(ctx, at, 1)
		return err == nil
	})
}

// truth answers every name with an address, or a text: upstream of the resolvers.
func truth() (at netip.AddrPort, stop func(), err error) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0") //nolint:noctx // it is closed by stop
	if err != nil {
		return at, nil, err
	}
	d := &dns.Server{PacketConn: c, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		a.RecursionAvailable = true
		h := dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET, Ttl: 3600}
		if h.Rrtype == dns.TypeA {
			a.Answer = append(a.Answer, &dns.A{Hdr: h, A: net.IPv4(192, 0, 2, 1)})
		}
		_ = w.WriteMsg(a) // who asked asks again
	})}
	go func() { _ = d.ActivateAndServe() }()
	return netip.MustParseAddrPort(c.LocalAddr().String()), func() { _ = d.Shutdown() }, nil
}

// launch starts a resolver from the files that the house generates; more is what Unbound is
// to have otherwise.
func launch(ctx context.Context, v resolver.Vendor, s resolver.Site, more string) (*actor, error) {
	texts, _, err := resolver.Config(v, s)
	if err != nil {
		return nil, err
	}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(s.Folder, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	name, args := "named", []string{"-g", "-c", filepath.Join(s.Folder, "named.conf")}
	if v == resolver.Unbound {
		file := filepath.Join(s.Folder, "bench.conf")
		if err := os.WriteFile(file, []byte("include: \""+filepath.Join(s.Folder, "unbound.conf")+"\"\nserver:\n\tusername: \"\"\n\tuse-syslog: no\n"+more), 0o644); err != nil {
			return nil, err
		}
		name, args = "unbound", []string{"-d", "-p", "-c", file}
	}
	if name, err = program(name); err != nil {
		return nil, err
	}
	a, err := act(ctx, nil, name, args...)
	if err == nil {
		go func() { _, _ = io.Copy(io.Discard, a.out) }()
	}
	return a, err
}

// blockedAt tells whether a name is answered with NXDOMAIN.
func blockedAt(ctx context.Context, at netip.AddrPort, name string) bool {
	n, err := wiredns.ParseName(name)
	if err != nil {
		return false
	}
	once, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	a, err := canary.Ask(once, canary.Question{To: at, Name: n, Type: wiredns.A})
	return err == nil && a.Rcode == wiredns.NXDomain
}

func site(at, primary, up netip.AddrPort, dir string) resolver.Site {
	return resolver.Site{Primaries: []netip.AddrPort{primary}, Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Listen: []netip.AddrPort{at}, Folder: dir, Upstream: []netip.AddrPort{up}, Unsigned: true}
}

// visible tells how long a change takes from being published to being answered by.
func visible(ctx context.Context, o *options, n *named, s *section, dir string, z *zoneServing) error {
	up, stop, err := truth()
	if err != nil {
		return err
	}
	defer stop()
	type taker struct {
		name string
		at   netip.AddrPort
		a    *actor
		took []time.Duration
	}
	takers := []*taker{{name: "BIND", at: z.bind}, {name: "Unbound", at: z.unbound}}
	key := filepath.Join(dir, "bind.key")
	if err := os.WriteFile(key, []byte("key \"bind\" {\n\talgorithm hmac-sha256;\n\tsecret \""+benchSecret+"\";\n};\n"), 0o644); err != nil {
		return err
	}
	last := ruleName(int(o.rules)/2 - 1)
	for i, v := range []resolver.Vendor{resolver.BIND, resolver.Unbound} {
		t := takers[i]
		folder := filepath.Join(dir, string(v))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		x := site(t.at, z.at, up, folder)
		if v == resolver.BIND {
			x.Key = resolver.Key{Name: "bind", Algorithm: "hmac-sha256", File: key}
		}
		o.say("G: %s takes the zones", t.name)
		begun := time.Now()
		if t.a, err = launch(ctx, v, x, ""); err != nil {
			return err
		}
		defer t.a.end()
		if err := until(ctx, 3*time.Minute, t.name+" has the zone", func() bool { return blockedAt(ctx, t.at, last) }); err != nil {
			return fmt.Errorf("%w: %s", err, lastLine(t.a.said.String()))
		}
		s.row("start until "+thousands(o.rules)+" rules are obeyed", t.name, seconds(time.Since(begun))+" s", "", "", mib(peak(t.a.c.Process.Pid)), "")
	}
	for _, zone := range []rpz.Zone{rpz.Emergency, rpz.C2} {
		o.say("G: changes in %s", zone)
		var published []time.Duration // what we take, sync to disk included; the rest is the resolver's
		for i := range o.changes {
			name := fmt.Sprintf("new%d.%sexample", i, zone)
			begun := time.Now()
			if _, err := z.p.ask(string(zone) + " " + name); err != nil {
				return fmt.Errorf("publish: %w: %s", err, lastLine(z.p.said.String()))
			}
			published = append(published, time.Since(begun))
			var all sync.WaitGroup
			errs := make([]error, len(takers))
			for j, t := range takers {
				all.Go(func() {
					for !blockedAt(ctx, t.at, name) {
						if time.Since(begun) > time.Minute || ctx.Err() != nil {
							errs[j] = fmt.Errorf("%s doesn't see %s in %s after a minute", t.name, name, zone)
							return
						}
						time.Sleep(5 * time.Millisecond)
					}
					t.took = append(t.took, time.Since(begun))
				})
			}
			all.Wait()
			if err := errors.Join(errs...); err != nil {
				return err
			}
			pause := 200 * time.Millisecond
			if zone == rpz.C2 && !o.quick { // in use it is a minute or more
				pause = 5500 * time.Millisecond
			}
			time.Sleep(pause + time.Duration(i*137%900)*time.Millisecond) // not in step with anybody
		}
		s.row(fmt.Sprintf("of which until it is published, %s", zone), "sakimori", "", fmt.Sprintf("%.3f s", middle(published).Seconds()), fmt.Sprintf("%.3f s", slices.Max(published).Seconds()), "", "")
		for _, t := range takers {
			worst := slices.Max(t.took)
			n.visible[t.name+" "+string(zone)] = worst
			s.row(fmt.Sprintf("a change in %s is obeyed, %d times", zone, len(t.took)), t.name, "", fmt.Sprintf("%.3f s", middle(t.took).Seconds()), fmt.Sprintf("%.3f s", worst.Seconds()), mib(peak(t.a.c.Process.Pid)), "")
			t.took = nil
		}
	}
	s.note("公開の命令から、生成した設定の BIND 9.18(TSIG)と Unbound 1.17 が遮断を答えるまで(公開の同期書き込みと NOTIFY を含む)。c2. の変更は 5.5 秒以上あけた(公開の間隔は 1 分以上で、それより詰めている)。Unbound 1.17 は変更のたびにゾーン全体をファイルへ書くが、生成した設定ではその間も別のスレッドが答える。/ From the order to publish, its sync to disk included, until BIND 9.18 (TSIG) and Unbound 1.17 with the generated configurations answer with the block. Changes in c2. come 5.5 s apart or more; in use it is a minute or more. Unbound 1.17 writes all of the zone into its file after each change; with the generated configuration another thread answers meanwhile.")
	return nil
}
