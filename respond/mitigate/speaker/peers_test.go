package speaker_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sakimori/base/daemon"
	"sakimori/base/wire/packet"
	"sakimori/respond/mitigate"
	"sakimori/respond/mitigate/speaker"
	"sakimori/respond/mitigate/speakertest"
)

// acts between them use every component and every action.
var acts = map[string][]mitigate.Rule{
	"four": {
		{Match: mitigate.Match{Dst: netip.MustParsePrefix("198.51.100.10/32"), Proto: mitigate.Just(packet.UDP), SrcPort: mitigate.Just(53, 123), Length: mitigate.From(1000, 1500)}, Action: mitigate.Drop},
		{Match: mitigate.Match{Dst: netip.MustParsePrefix("198.51.100.11/32"), Src: netip.MustParsePrefix("203.0.113.0/24"), Proto: mitigate.Just(packet.TCP), DstPort: mitigate.From(8000, 8999), Flags: mitigate.Flags{Set: packet.SYN, Clear: packet.ACK}}, Action: mitigate.RateBytes, Rate: 125000},
		{Match: mitigate.Match{Dst: netip.MustParsePrefix("198.51.100.12/32"), Proto: mitigate.Just(packet.ICMP), ICMPType: mitigate.Just(8), ICMPCode: mitigate.Just(0)}, Action: mitigate.RatePackets, Rate: 1000},
		{Match: mitigate.Match{Dst: netip.MustParsePrefix("198.51.100.13/32"), Proto: mitigate.Just(packet.UDP), Fragment: mitigate.Later}, Action: mitigate.Mark, DSCP: 8},
		{Match: mitigate.Match{Dst: netip.MustParsePrefix("198.51.100.14/32"), DSCP: mitigate.Just(46)}, Action: mitigate.Redirect, To: "64500:100"},
		{Match: mitigate.Match{Dst: netip.MustParsePrefix("198.51.100.15/32"), Proto: mitigate.Just(packet.TCP), DstPort: mitigate.Just(443)}, Action: mitigate.Pass},
	},
	"six": {
		{Match: mitigate.Match{Dst: netip.MustParsePrefix("2001:db8:1::10/128"), Proto: mitigate.Just(packet.UDP), SrcPort: mitigate.Just(53)}, Action: mitigate.Drop},
		{Match: mitigate.Match{Dst: netip.MustParsePrefix("2001:db8:1::/48"), Src: netip.MustParsePrefix("2001:db8:bad::/48"), Proto: mitigate.Just(packet.TCP), Flags: mitigate.Flags{Set: packet.SYN}}, Action: mitigate.RateBytes, Rate: 125000},
	},
	"holes": {
		{Match: mitigate.Match{Dst: netip.MustParsePrefix("198.51.100.66/32")}, Action: mitigate.RTBH},
		{Match: mitigate.Match{Dst: netip.MustParsePrefix("2001:db8:1::66/128")}, Action: mitigate.RTBH},
	},
}

// shown is how each router's own command line, or ExaBGP's JSON, shows the acts, by family.
var shown = map[speakertest.Kind]map[string][]string{
	speakertest.GoBGP: {
		"ipv4-flowspec": {
			"[destination: 198.51.100.10/32][protocol: ==udp][source-port: ==53 ==123][packet-length: >=1000&<=1500] ", "{Extcomms: [discard]}", "{Communities: no-export, 64501:13}", "64501:1:666",
			"[destination: 198.51.100.11/32][source: 203.0.113.0/24][protocol: ==tcp][destination-port: >=8000&<=8999][tcp-flags: =S&!A] ", "{Extcomms: [rate: 125000.000000]}",
			"[destination: 198.51.100.12/32][protocol: ==icmp][icmp-type: ==8][icmp-code: ==0] ", fmt.Sprint(0x0c0000447a0000), // 1000 packets a second, a word that it doesn't know
			"[destination: 198.51.100.13/32][protocol: ==udp][fragment: =is-fragment] ", "{Extcomms: [remark: 8]}",
			"[destination: 198.51.100.14/32][dscp: ==46] ", "{Extcomms: [redirect: 64500:100]}",
			"[destination: 198.51.100.15/32][protocol: ==tcp][destination-port: ==443] ",
		},
		"ipv6-flowspec": {"[destination: 2001:db8:1::/48/0][source: 2001:db8:bad::/48/0][protocol: ==tcp][tcp-flags: =S] ", "[destination: 2001:db8:1::10/128/0][protocol: ==udp][source-port: ==53] "},
		"ipv4-unicast":  {"198.51.100.66/32     192.0.2.1            64500", "{Communities: blackhole, no-export, 64501:13}"},
		"ipv6-unicast":  {"2001:db8:1::66/128   100::1               64500", "{Communities: blackhole, no-export, 64501:13}"},
	},
	speakertest.BIRD: {
		"ipv4-flowspec": {
			"flow4 { dst 198.51.100.10/32; proto 17; sport 53,123; length 1000..1500; }", "(generic, 0x80060000, 0x0)", "BGP.community: (65535,65281) (64502,13)", "BGP.large_community: (64502, 1, 666)",
			"flow4 { dst 198.51.100.11/32; src 203.0.113.0/24; proto 6; dport 8000..8999; tcp flags 0x2/0x2 && 0x0/0x10; }", "(generic, 0x80060000, 0x47f42400)",
			"flow4 { dst 198.51.100.12/32; proto 1; icmp type 8; icmp code 0; }", "(generic, 0x800c0000, 0x447a0000)",
			"flow4 { dst 198.51.100.13/32; proto 17; fragment is_fragment; }", "(generic, 0x80090000, 0x8)",
			"flow4 { dst 198.51.100.14/32; dscp 46; }", "(generic, 0x8008fbf4, 0x64)",
			"flow4 { dst 198.51.100.15/32; proto 6; dport 443; }",
		},
		"ipv6-flowspec": {"flow6 { dst 2001:db8:1::/48; src 2001:db8:bad::/48; next header 6; tcp flags 0x2/0x2; }", "flow6 { dst 2001:db8:1::10/128; next header 17; sport 53; }"},
		"ipv4-unicast":  {"198.51.100.66/32 ", "BGP.next_hop: 192.0.2.1", "BGP.community: (65535,666) (65535,65281) (64502,13)"},
		"ipv6-unicast":  {"2001:db8:1::66/128 ", "BGP.next_hop: 100::1", "BGP.community: (65535,666) (65535,65281) (64502,13)"},
	},
	speakertest.FRR: {
		"ipv4-flowspec": {
			"Destination Address 198.51.100.10/32", "Source Port = 53 , = 123", "Packet Length >= 1000 , <= 1500", "FS:rate 0.000000",
			"Destination Address 198.51.100.11/32", "Source Address 203.0.113.0/24", "Destination Port >= 8000 , <= 8999", "FS:rate 125000.000000",
			"Destination Address 198.51.100.12/32", "ICMP Type = 8", "ICMP Code = 0", "UNK:128, 12", // nor FRR 8.4
			"Destination Address 198.51.100.13/32", "Packet Fragment = 2", "FS:marking 8",
			"Destination Address 198.51.100.14/32", "DSCP field = 46", "FS:redirect VRF RT:64500:100",
			"Destination Address 198.51.100.15/32", "Destination Port = 443",
		},
		"ipv6-flowspec": {"Destination Address 2001:db8:1::10/128", "Destination Address 2001:db8:1::/48"},
		"ipv4-unicast":  {"198.51.100.66/32 ", "192.0.2.1"}, // asked for by community 65535:666
		"ipv6-unicast":  {"2001:db8:1::66/128", "100::1"},
	},
	speakertest.ExaBGP: {
		"ipv4-flowspec": {
			`"string": "flow destination-ipv4 198.51.100.10/32 protocol =udp source-port [ =53 =123 ] packet-length [ >=1000&<=1500 ]"`, `"string": "rate-limit:0"`, `"community": [ [ 65535, 65281 ], [ 64503, 13 ] ]`, `[ 64503, 1 , 666 ]`,
			`"string": "flow destination-ipv4 198.51.100.11/32 source-ipv4 203.0.113.0/24 protocol =tcp destination-port [ >=8000&<=8999 ] tcp-flags [ =syn&!ack ]"`, `"string": "rate-limit:125000"`,
			`"string": "flow destination-ipv4 198.51.100.12/32 protocol =icmp icmp-type =echo-request icmp-code =0"`,
			`"string": "flow destination-ipv4 198.51.100.13/32 protocol =udp fragment =is-fragment"`, `mark 8`,
			`"string": "flow destination-ipv4 198.51.100.14/32 dscp =46"`, `redirect:64500:100`,
			`"string": "flow destination-ipv4 198.51.100.15/32 protocol =tcp destination-port =443"`,
		},
		"ipv6-flowspec": {`"string": "flow destination-ipv6 2001:db8:1::10/128/0 next-header =udp source-port =53"`},
		"ipv4-unicast":  {`"announce": { "ipv4 unicast": { "192.0.2.1": [ { "nlri": "198.51.100.66/32" } ] } }`, `"community": [ [ 65535, 666 ], [ 65535, 65281 ], [ 64503, 13 ] ]`},
		"ipv6-unicast":  {`"announce": { "ipv6 unicast": { "100::1": [ { "nlri": "2001:db8:1::66/128" } ] } }`},
	},
}

// has tells whether a router shows all of the acts, family by family.
func has(r *speakertest.Router, family string) error {
	text, err := r.Show(family)
	for _, w := range shown[r.Kind][family] {
		if err == nil && !strings.Contains(text, w) {
			err = fmt.Errorf("%s, %s: no %q in\n%s", r.Kind, family, w, text)
		}
	}
	return err
}

// hasNone tells whether a router has nothing of some addresses any more.
func hasNone(r *speakertest.Router, addresses ...string) error {
	for _, f := range speaker.Families() {
		text, err := r.Show(string(f))
		if err != nil {
			return err
		}
		for _, a := range addresses {
			if strings.Contains(text, a) {
				return fmt.Errorf("%s, %s: still\n%s", r.Kind, f, text)
			}
		}
	}
	return nil
}

// each does something to all routers at once and says how long each took.
func each(t *testing.T, list []*speakertest.Router, what string, most time.Duration, is func(*speakertest.Router) error) {
	t.Helper()
	took := make([]time.Duration, len(list))
	var all sync.WaitGroup
	for i, r := range list {
		all.Go(func() {
			took[i] = daemon.Eventually(t, most, string(r.Kind)+" "+what, func() error { return is(r) })
		})
	}
	all.Wait()
	for i, r := range list {
		t.Logf("%-8s %s after %s", r.Kind, what, took[i].Round(time.Millisecond))
	}
}

func hasAll(r *speakertest.Router) error {
	for _, f := range speaker.Families() {
		if err := has(r, string(f)); err != nil {
			return err
		}
	}
	return nil
}

func gone(r *speakertest.Router) error { return hasNone(r, "198.51.100.", "2001:db8:") }

// Each router takes every component and action, in both families and as routes to be discarded,
// with its own communities and next hops, and loses them by withdrawal.
func TestRouters(t *testing.T) {
	t.Parallel()
	list, c := routers(t, 9)
	s, stop := run(t, c)
	t.Logf("all connected after %s", connected(t, s).Round(time.Millisecond))
	announce := func() {
		for id, rules := range acts {
			if err := s.Announce(t.Context(), id, rules, later(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
	}
	announce()
	each(t, list, "shows all that was announced", 15*time.Second, hasAll)
	if os.Getenv("SHOW") != "" {
		for _, r := range list {
			for _, f := range speaker.Families() {
				text, _ := r.Show(string(f))
				t.Logf("%s %s\n%s", r.Kind, f, text)
			}
		}
	}
	wanted := map[string]int{"four": 6, "holes": 2, "six": 2}
	held, err := s.Held(t.Context())
	for _, h := range held {
		if err != nil || h.Rules != wanted[h.ID] || h.At.IsZero() {
			t.Errorf("held: %+v, %v", h, err)
		}
	}
	if len(held) != len(wanted)*len(list) {
		t.Errorf("held: %+v", held)
	}

	// Rules that are withdrawn while a router is away aren't there when it comes back; the
	// others are. Meanwhile nothing new is announced into the void.
	for _, r := range list {
		r.Kill()
	}
	daemon.Eventually(t, 15*time.Second, "they are missed", func() error {
		for _, p := range s.Peers() {
			if p.State == speaker.Established || p.Held != 0 || p.Error == nil {
				return fmt.Errorf("%+v", p)
			}
		}
		return nil
	})
	if err := s.Announce(t.Context(), "new", acts["four"][:1], later(time.Hour)); !errors.Is(err, speaker.ErrNoPeer) {
		t.Errorf("announced to nobody: %v", err)
	}
	if err := s.Withdraw(t.Context(), "four"); err != nil {
		t.Error(err)
	}
	if held, err := s.Held(t.Context()); err != nil || len(held) != 2*len(list) || held[0].Rules != 0 {
		t.Errorf("held by nobody: %+v, %v", held, err)
	}
	for _, r := range list {
		r.Start(t)
	}
	t.Logf("all connected again after %s", connected(t, s).Round(time.Millisecond))
	each(t, list, "shows again what still stands", 15*time.Second, func(r *speakertest.Router) error {
		return errors.Join(has(r, "ipv6-flowspec"), has(r, "ipv4-unicast"), has(r, "ipv6-unicast"), hasNone(r, "198.51.100.1"))
	})
	for id := range acts {
		if err := s.Withdraw(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	each(t, list, "has lost what was withdrawn", 15*time.Second, gone)
	announce()
	each(t, list, "shows all again", 15*time.Second, hasAll)
	stop()
	each(t, list, "has lost all at the speaker's end", 15*time.Second, gone)
}

// Who has another password gets no session, whether it calls or is called. And nothing is left
// standing of a speaker that is killed, as its routers see the connection end, nor of one that
// hangs with its connections open, within the hold time.
func TestEnds(t *testing.T) {
	t.Parallel()
	list, c := routers(t, 3)
	wrong := c
	wrong.Peers = slices.Clone(c.Peers)
	for i := range wrong.Peers {
		wrong.Peers[i].PasswordFile = secret(t, "of somebody else")
	}
	s, stop := run(t, wrong)
	daemon.Eventually(t, 12*time.Second, "those that we call are told to be unreachable", func() error {
		for _, p := range s.Peers() {
			if p.State == speaker.Established {
				t.Fatalf("%s let us in with another password", p.Name)
			}
			if p.Error == nil && p.Name != string(speakertest.ExaBGP) {
				return fmt.Errorf("%s: no error", p.Name)
			}
		}
		return nil
	})
	t.Log(s.Peers()[0].Error.EN)
	stop()

	p := start(t, c) // with the right one
	each(t, list, "shows all that was announced", 25*time.Second, hasAll)
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	each(t, list, "has lost all after SIGKILL", 15*time.Second, gone)

	for _, r := range list {
		if r.Kind == speakertest.GoBGP { // it would let nobody in for 5 s
			r.Kill()
			r.Start(t)
		}
	}
	p = start(t, c)
	each(t, list, "shows all again", 25*time.Second, hasAll)
	if err := p.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	each(t, list, "has lost all while the speaker hangs, hold time 3 s", 12*time.Second, gone)
}
