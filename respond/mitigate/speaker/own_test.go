package speaker_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"sakimori/base/clock"
	"sakimori/base/daemon"
	"sakimori/respond/mitigate"
	"sakimori/respond/mitigate/speaker"
	"sakimori/respond/mitigate/speakertest"
)

// TestOwn: BIRD gets own prefixes with the next hop and the communities that are theirs,
// beside a route to be discarded with its own; a peer that isn't set to take own prefixes
// gets none; and what ends or counts the one never touches the other.
func TestOwn(t *testing.T) {
	t.Parallel()
	speakertest.Needs(t, speakertest.BIRD)
	edge := speakertest.New(t, speakertest.BIRD, daemon.Loopback(21), speakertest.Link{Us: netip.AddrPortFrom(us, 0), OurAS: ours, AS: 64502})
	other := newFar(t, daemon.Loopback(22), 64512, bgp.RF_IPv4_UC)
	n := neighbor(t, edge)
	n.Own = &speaker.Own{NextHop4: netip.MustParseAddr("192.0.2.77"), NextHop6: netip.MustParseAddr("2001:db8::77"), Communities: []string{"64500:77", "64500:1:77"}}
	s, _ := run(t, speaker.Config{Peers: []speaker.Neighbor{n, other.as("other", 64512, speaker.Unicast4)}})
	connected(t, s)
	own := s.Origins()
	prefixes := []netip.Prefix{netip.MustParsePrefix("203.0.4.0/24"), netip.MustParsePrefix("203.0.5.0/24"), netip.MustParsePrefix("2001:db8:4::/48")}
	if err := own.Announce(t.Context(), "R-1", prefixes, later(time.Hour)); err != nil {
		t.Fatal(err)
	}
	hole := []mitigate.Rule{{Match: mitigate.Match{Dst: netip.MustParsePrefix("198.51.100.66/32")}, Action: mitigate.RTBH}}
	if err := s.Announce(t.Context(), "M-1", hole, later(time.Hour)); err != nil {
		t.Fatal(err)
	}
	daemon.Eventually(t, 15*time.Second, "BIRD has them", func() error {
		four, err := edge.Show("ipv4-unicast")
		six, failed := edge.Show("ipv6-unicast")
		if err = errors.Join(err, failed); err != nil {
			return err
		}
		for text, want := range map[string][]string{four: {"203.0.4.0/24", "203.0.5.0/24", "198.51.100.66/32"}, six: {"2001:db8:4::/48"}} {
			for _, p := range want {
				if !strings.Contains(text, p) {
					return fmt.Errorf("no %s in %s", p, text)
				}
			}
		}
		return nil
	})
	other.waits(t, bgp.RF_IPv4_UC, 1)
	four, _ := edge.Show("ipv4-unicast")
	six, _ := edge.Show("ipv6-unicast")
	ours, discarded := about(four, "203.0.4.0/24"), about(four, "198.51.100.66/32")
	if !strings.Contains(ours, "BGP.next_hop: 192.0.2.77") || !strings.Contains(ours, "BGP.community: (64500,77)\n") || !strings.Contains(ours, "BGP.large_community: (64500, 1, 77)") || !strings.Contains(ours, "BGP.as_path: 64500\n") {
		t.Errorf("own: %s", ours)
	}
	if !strings.Contains(about(six, "2001:db8:4::/48"), "BGP.next_hop: 2001:db8::77") {
		t.Errorf("own: %s", six)
	}
	if !strings.Contains(discarded, "BGP.next_hop: 192.0.2.1\n") || !strings.Contains(discarded, "(65535,666) (65535,65281) (64502,13)") {
		t.Errorf("to be discarded: %s", discarded)
	}
	if got := other.has(t, bgp.RF_IPv4_UC); !strings.HasPrefix(got[0], "198.51.100.66/32") {
		t.Errorf("who isn't to have own prefixes has %v", got)
	}

	// Each side sees and ends its own.
	held, err := own.Held(t.Context())
	if err != nil || len(held) != 1 || held[0].ID != "R-1" || held[0].Peer != "bird" || held[0].Rules != 3 || held[0].At.IsZero() {
		t.Errorf("%+v, %v", held, err)
	}
	if rules, err := s.Held(t.Context()); err != nil || len(rules) != 2 || rules[0].ID != "M-1" || rules[1].ID != "M-1" {
		t.Errorf("%+v, %v", rules, err)
	}
	if err := errors.Join(s.Withdraw(t.Context(), "R-1"), own.Withdraw(t.Context(), "M-1")); err != nil {
		t.Error(err)
	}
	if held, err := own.Held(t.Context()); err != nil || len(held) != 1 {
		t.Errorf("another's withdrawal ended it: %v", err)
	}
	for name, err := range map[string]error{
		"another's id":  own.Announce(t.Context(), "M-1", prefixes[:1], later(time.Hour)),
		"to be dropped": own.Announce(t.Context(), "R-2", []netip.Prefix{netip.MustParsePrefix("198.51.100.66/32")}, later(time.Hour)),
		"nothing":       own.Announce(t.Context(), "R-2", nil, later(time.Hour)),
		"everything":    own.Announce(t.Context(), "R-2", []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, later(time.Hour)),
		"bits":          own.Announce(t.Context(), "R-2", []netip.Prefix{netip.MustParsePrefix("203.0.4.1/24")}, later(time.Hour)),
		"too long":      own.Announce(t.Context(), "R-2", prefixes[:1], later(25*time.Hour)),
	} {
		if err == nil {
			t.Errorf("%s was announced", name)
		}
	}

	// The end moves, and it ends by itself.
	if err := own.Announce(t.Context(), "R-1", prefixes, later(300*time.Millisecond)); err != nil {
		t.Error(err)
	}
	daemon.Eventually(t, 10*time.Second, "BIRD has lost them", func() error { return hasNone(edge, "203.0.", "2001:db8:4::") })
	other.waits(t, bgp.RF_IPv4_UC, 1)
}

// about is what BIRD says of one prefix.
func about(text, prefix string) string {
	_, rest, _ := strings.Cut(text, "\n"+prefix+" ")
	for i, line := range strings.SplitAfter(rest, "\n") {
		if i > 0 && line != "" && line[0] != '\t' && line[0] != ' ' {
			rest, _, _ = strings.Cut(rest, line)
			break
		}
	}
	return rest
}

// TestOwnConfig: own prefixes never go where routes to be discarded go.
func TestOwnConfig(t *testing.T) {
	t.Parallel()
	right := speaker.Own{NextHop4: netip.MustParseAddr("192.0.2.77")}
	for name, change := range map[string]func(n *speaker.Neighbor){
		"":              func(*speaker.Neighbor) {},
		"no family":     func(n *speaker.Neighbor) { n.Families = []speaker.Family{speaker.FlowSpec4} },
		"no next hop":   func(n *speaker.Neighbor) { n.Own = &speaker.Own{} },
		"another":       func(n *speaker.Neighbor) { n.Own = &speaker.Own{NextHop4: netip.MustParseAddr("2001:db8::1")} },
		"the discarded": func(n *speaker.Neighbor) { n.NextHop4 = right.NextHop4 },
		"to discard":    func(n *speaker.Neighbor) { n.Own.Communities = []string{"65535:666"} },
		"no community":  func(n *speaker.Neighbor) { n.Own.Communities = []string{"x"} },
		"six, too": func(n *speaker.Neighbor) {
			n.Families, n.NextHop6 = append(n.Families, speaker.Unicast6), netip.MustParseAddr("100::1")
		},
	} {
		own := right
		n := speaker.Neighbor{Name: "edge", Address: netip.MustParseAddrPort("192.0.2.1:179"), AS: 64501, Families: []speaker.Family{speaker.Unicast4}, Own: &own}
		change(&n)
		_, err := speaker.New(speaker.Config{AS: ours, RouterID: id, Peers: []speaker.Neighbor{n}}, clock.System{}, nil)
		if (err == nil) != (name == "") || err != nil && !errors.Is(err, speaker.ErrConfig) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
