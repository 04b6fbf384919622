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
