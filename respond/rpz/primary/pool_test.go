package primary

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	oracle "github.com/miekg/dns"

	"sakimori/base/clock"
	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
)

// watcher is a resolver that is told of changes, and fetches when it gets round to it.
type watcher struct {
	conn *net.UDPConn
	from string // address that it asks from
}

// slowPool starts resolvers of one pool, each of which takes a while to fetch; log is what
// happened, in order.
func slowPool(t *testing.T, n int, takes time.Duration, primary *netip.AddrPort) (peers []Peer, log func() []string) {
	var mu sync.Mutex
	var lines []string
	say := func(s string) {
		mu.Lock()
		lines = append(lines, s)
		mu.Unlock()
	}
	for i := range n {
		from := fmt.Sprintf("127.0.0.%d", 10+i)
		c, err := net.ListenPacket("udp", from+":0")
		if err != nil {
			t.Fatal(err)
		}
		w := &watcher{c.(*net.UDPConn), from}
		t.Cleanup(func() { _ = c.Close() })
		name := fmt.Sprint("dns", i)
		go func() {
			buf := make([]byte, 1024)
			for {
				k, to, err := w.conn.ReadFromUDP(buf)
				if err != nil {
					return
				}
				q := new(oracle.Msg)
				if q.Unpack(buf[:k]) != nil || q.Opcode != oracle.OpcodeNotify {
					say("what is that")
					continue
				}
				a := new(oracle.Msg)
				a.SetReply(q)
				raw, _ := a.Pack()
				_, _ = w.conn.WriteToUDP(raw, to)
				if zone := q.Question[0].Name; zone == "c2." {
					say("begin " + name)
					time.Sleep(takes)
					say("end " + name)
					if err := w.fetch(*primary, zone); err != nil {
						say(err.Error())
					}
				} else if err := w.fetch(*primary, zone); err != nil {
					say(err.Error())
				}
			}
		}()
		peers = append(peers, Peer{
			Name: name, Pool: "tokyo", Address: []netip.Prefix{netip.MustParsePrefix(from + "/32")}, Notify: []netip.AddrPort{c.LocalAddr().(*net.UDPAddr).AddrPort()},
		})
	}
	return peers, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(lines)
	}
}

func (w *watcher) fetch(at netip.AddrPort, zone string) error {
	q := new(oracle.Msg)
	q.SetAxfr(zone)
	raw, _ := q.Pack()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(w.from)}, Timeout: time.Second}
	c, err := d.Dial("tcp", at.String())
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(dns.AppendFrame(nil, raw)); err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
	_, err = dns.ReadFrame(c, nil)
	return err
}

// Never two of a pool at once; one that is dead holds nobody up for long; and a choice
// doesn't wait behind the large zone.
func TestPoolIsToldOneByOne(t *testing.T) {
	t.Parallel()
	s := store(t, t.TempDir(), rpz.Options{})
	at := netip.AddrPortFrom(local.Addr(), uint16(free(t)))
	peers, log := slowPool(t, 3, 200*time.Millisecond, &at)
	dead := Peer{Name: "dead", Pool: "tokyo", Address: []netip.Prefix{netip.MustParsePrefix("127.0.0.20/32")}, Notify: []netip.AddrPort{netip.AddrPortFrom(local.Addr(), uint16(free(t)))}}
	peers = append([]Peer{dead}, peers...)
	server, _, _ := run(t, Config{Listen: []netip.AddrPort{at}, Peers: peers}, s)
	all := func(zone int, serial uint32) func() bool {
		return func() bool {
			for _, p := range server.Peers() {
				if p.Name != "dead" && p.Zones[zone].Serial != serial {
					return false
				}
			}
			return true
		}
	}
	within(t, 10*time.Second, "all have c2.", all(2, 1))
	p := publish(t, s, rpz.C2, rpz.Change{Add: blocks("a.example")})
	quick := publish(t, s, rpz.OptOut, rpz.Change{Add: []rpz.Rule{{Client: local, Action: rpz.Passthru}}})
	within(t, 2*time.Second, "all have the choice", all(0, quick.Serial))
	within(t, 10*time.Second, "all have c2. again", all(2, p.Serial))
	open := ""
	for _, l := range log() {
		var what, who string
		if n, _ := fmt.Sscanf(l, "%s %s", &what, &who); n != 2 || what != "begin" && what != "end" {
			t.Errorf("%s", l)
			continue
		}
		if what == "begin" && open != "" {
			t.Errorf("%s begins while %s fetches: %v", who, open, log())
		}
		open = map[string]string{"begin": who}[what]
	}
	if n := len(log()); n < 12 {
		t.Errorf("only %d events: %v", n, log())
	}
	for _, p := range server.Peers() {
		if (len(p.Errors) > 0) != (p.Name == "dead") {
			t.Errorf("%s: %v", p.Name, p.Errors)
		}
	}
}

// TestFormer: what was known of a peer before a restart is shown with the time of it, and
// believed only once the peer is heard again.
func TestFormer(t *testing.T) {
	s := store(t, t.TempDir(), rpz.Options{First: 7})
	seen := clock.System{}.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	peers := []Peer{{Name: "one", Address: []netip.Prefix{local}}}
	former := []PeerState{{Name: "one", Full: 3, Refused: map[string]uint64{"key": 2}, Errors: []Trouble{{At: seen}}, Zones: []ZoneState{{Zone: rpz.C2, Serial: 7, How: Fetched, At: seen, Last: &Transfer{Kind: "axfr"}}, {Zone: rpz.Allow}}}, {Name: "gone"}}
	server, addr, _ := run(t, Config{Peers: peers, Former: former}, s)
	of := func(z rpz.Zone) (PeerState, ZoneState) {
		p := server.Peers()[0]
		return p, p.Zones[slices.IndexFunc(p.Zones, func(x ZoneState) bool { return x.Zone == z })]
	}
	p, z := of(rpz.C2)
	if p.Full != 3 || p.Refused["key"] != 2 || len(p.Errors) != 1 || z.Serial != 7 || z.How != Kept || !z.At.Equal(seen) || z.Last == nil || z.has(7) {
		t.Errorf("%+v %+v", p, z)
	}
	if _, z := of(rpz.Allow); z.Serial != 0 || z.How != "" {
		t.Errorf("%+v", z)
	}
	ask := func(kind uint16) {
		m := new(oracle.Msg).SetQuestion("c2.", kind)
		if kind == oracle.TypeIXFR {
			m.SetIxfr("c2.", 6, "localhost.", "hostmaster.localhost.")
		}
		if a, err := oracle.Exchange(m, addr.String()); err != nil || a.Rcode != 0 {
			t.Fatal(a, err)
		}
	}
	ask(oracle.TypeSOA)
	if _, z := of(rpz.C2); z.How != Kept {
		t.Errorf("it may be about to ask for more: %+v", z)
	}
	time.Sleep(presumeAfter)
	if _, z := of(rpz.C2); z.How != Presumed || z.Serial != 7 || !z.At.After(seen) || !z.has(7) {
		t.Errorf("it has it: %+v", z)
	}
	ask(oracle.TypeIXFR)
	if _, z := of(rpz.C2); z.How != Said || z.Serial != 6 {
		t.Errorf("it says what it has: %+v", z)
	}
}
