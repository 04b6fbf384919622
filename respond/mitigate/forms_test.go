package mitigate

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sakimori/base/wire/packet"
	"sakimori/detect"
)

func need(t testing.TB, pkg string, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil && os.Getenv("CI") == "true" {
			t.Fatalf("needs %s (Debian: %s)", tool, pkg)
		} else if err != nil {
			t.Skipf("SKIPPED, NOT TESTED: needs %s (Debian: %s)", tool, pkg)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: a network namespace takes root")
	}
}

// drawRule is any rule that can be written, of one family.
func drawRule(t *rapid.T) Rule {
	p := netip.MustParsePrefix
	m := Match{Dst: p(rapid.SampledFrom([]string{"203.0.113.7/32", "203.0.113.0/24", "2001:db8::7/128"}).Draw(t, "dst"))}
	if rapid.Bool().Draw(t, "src?") {
		if m.Src = p("198.51.100.0/25"); m.family() < 0 {
			m.Src = p("2001:db8:1::/48")
		}
	}
	ports := func(what string) Set { return drawSet(t, what, 3, 1000) }
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		m.Proto, m.DstPort, m.SrcPort = Just(packet.UDP), ports("dport"), ports("sport")
	case 1:
		m.Proto, m.DstPort, m.Flags = Just(packet.TCP), ports("dport"), Flags{packet.SYN, packet.ACK | packet.RST}
	case 2:
		m.ICMPType, m.ICMPCode = Just(8), Just(0)
	case 3:
		m.Fragment = rapid.SampledFrom([]Fragments{Later, Whole | First, Whole, First, First | Later}).Draw(t, "part")
	case 4:
		m.Proto, m.DstPort = Just(packet.TCP, packet.UDP), From(1000, 2000)
	}
	if rapid.Bool().Draw(t, "length?") {
		m.Length = Union(Span{40, 60}, Span{1400, 1500})
	}
	if rapid.Bool().Draw(t, "dscp?") {
		m.DSCP = Just(0, 46)
	}
	r := Rule{Match: m, Action: rapid.SampledFrom([]Action{Pass, Drop, RateBytes, RatePackets, Mark}).Draw(t, "action")}
	switch r.Action {
	case RateBytes, RatePackets:
		r.Rate = float64(rapid.IntRange(1, 2_000_000).Draw(t, "rate"))
	case Mark:
		r.DSCP = 8
	}
	return r
}

// TestNFTLoads: nft takes every kind of rule, a second time in place of the first, and
// deletes it as the script's head says.
func TestNFTLoads(t *testing.T) {
	t.Parallel()
	need(t, "nftables, util-linux", "nft", "unshare")
	var rules []Rule
	rapid.Check(t, func(t *rapid.T) {
		r := drawRule(t)
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
		rules = append(rules, r)
	})
	rules = append(rules, Rule{Match: Match{Dst: netip.MustParsePrefix("203.0.113.7/32")}, Action: RTBH})
	text, err := nftables(rules)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.nft")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	remove := regexp.MustCompile(`remove: (nft .*)\n`).FindStringSubmatch(text)[1]
	script := fmt.Sprintf("set -e\nnft -c -f %[1]s\nnft -f %[1]s\nnft -f %[1]s\nnft list ruleset\n%[2]s\necho left: $(nft list ruleset)", file, remove)
	out, err := exec.CommandContext(t.Context(), "unshare", "-n", "sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %.3000s", err, out)
	}
	if got := strings.Count(string(out), "counter"); got < len(rules)-len(marks(rules)) || !strings.HasSuffix(string(out), "left:\n") {
		t.Errorf("%d counters of %d rules: %.3000s", got, len(rules), out)
	}
}

func marks(rules []Rule) (list []Rule) {
	for _, r := range rules {
		if r.Action == Mark {
			list = append(list, r)
		}
	}
	return list
}

// TestNFTWorks: in a network namespace, what fits a rule is dropped and what doesn't fit
// passes, by the kernel's own counters.
func TestNFTWorks(t *testing.T) {
	t.Parallel()
	need(t, "nftables, util-linux, iproute2, hping3", "nft", "unshare", "ip", "hping3")
	host := netip.MustParsePrefix("127.0.0.1/32")
	rules := []Rule{
		{Match: Match{Dst: host, Proto: Just(packet.UDP), SrcPort: Just(53), Length: From(100, 200)}, Action: Drop},
		{Match: Match{Dst: host, Proto: Just(packet.TCP), DstPort: Just(443), Flags: Flags{packet.SYN, packet.ACK}}, Action: Drop},
		{Match: Match{Dst: host, ICMPType: Just(8), Length: From(1000, 1100)}, Action: Drop},
	}
	text, err := nftables(rules)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.nft")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`ip link set lo up
nft -f %s || exit 1
h="hping3 -q -i u1000 127.0.0.1"
$h -2 -c 3 -k -s 53 -p 9 -d 120   # 148 bytes: dropped
$h -2 -c 5 -k -s 53 -p 9 -d 20    # 48 bytes: passes
$h -2 -c 5 -k -s 54 -p 9 -d 120   # another port: passes
$h -S -c 4 -p 443                 # dropped
$h -S -A -c 5 -p 443              # passes
$h -S -c 5 -p 444                 # passes
$h -1 -c 2 -d 1000                # 1028 bytes: dropped
$h -1 -c 5 -d 10                  # passes
nft list ruleset`, file)
	out, _ := exec.CommandContext(t.Context(), "unshare", "-n", "sh", "-c", script).CombinedOutput() // hping3 fails where nobody answers
	var got []string
	for _, m := range regexp.MustCompile(`counter packets (\d+) bytes`).FindAllStringSubmatch(string(out), -1) {
		got = append(got, m[1])
	}
	if strings.Join(got, " ") != "3 4 2" {
		t.Errorf("dropped %v, not 3, 4 and 2:\n%s", got, out)
	}
}

// TestIPTables: each line is one that iptables' manual describes, and iptables takes the
// scripts in a network namespace.
func TestIPTables(t *testing.T) {
	t.Parallel()
	line := regexp.MustCompile(`^ip6?tables -w -t raw -A S_[0-9a-f]{12} -d \S+( -s \S+)?( -p \d+)?( -m multiport --dports [\d:]+)?( -m multiport --sports [\d:]+)?( --icmp(v6)?-type \d+(/\d+)?)?( --tcp-flags [A-Z,]+ [A-Z,]+)?( -m length --length \d+:\d+)?( -m dscp --dscp \d+)?( -f| ! -f)?( -m hashlimit --hashlimit-name \S+ --hashlimit-above \d+(b/s|/sec))? -j (DROP|ACCEPT)$`)
	var scripts []string
	rapid.Check(t, func(t *rapid.T) {
		r := drawRule(t)
		text, err := iptables([]Rule{r})
		if err != nil {
			if !strings.Contains(err.Error(), "use nftables") && !strings.Contains(err.Error(), "flowspec") {
				t.Fatal(err)
			}
			return
		}
		n := 0
		for l := range strings.Lines(text) {
			if l = strings.TrimSuffix(l, "\n"); strings.Contains(l, " -A ") {
				if n++; !line.MatchString(l) {
					t.Fatal(l)
				}
			}
		}
		if n == 0 {
			t.Fatalf("no line for %s", r.String())
		}
		scripts = append(scripts, text)
	})
	if len(scripts) == 0 {
		t.Fatal("nothing was tested")
	}
	need(t, "iptables, util-linux", "iptables", "ip6tables", "unshare")
	all := strings.Join(scripts[:min(len(scripts), 12)], "iptables -w -t raw -F; iptables -w -t raw -X; ip6tables -w -t raw -F; ip6tables -w -t raw -X\n")
	if out, err := exec.CommandContext(t.Context(), "unshare", "-n", "sh", "-c", all).CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, out, all)
	}
}

// TestRequest: the text to an upstream says what, how much and until when, in both
// languages; and each form can be had by its name.
func TestRequest(t *testing.T) {
	t.Parallel()
	a := attackOn(draw(1, mix{900: udp(53, -1, 1300, 1500)}), web(52, 60))
	p := Plan(a, Options{})[0]
	for _, want := range []string{"203.0.113.7/32", "A-1", "200,000", p.Rules[0].String(), "2026-11-26 03:00:00 UTC", "24"} {
		if !strings.Contains(p.Forms.Request.JA, want) || !strings.Contains(p.Forms.Request.EN, want) {
			t.Errorf("%q isn't in it:\n%s\n%s", want, p.Forms.Request.JA, p.Forms.Request.EN)
		}
	}
	for _, form := range []string{"flowspec", "nftables", "iptables", "request"} {
		if text, err := p.Forms.As(form); err != nil || !strings.Contains(text, "203.0.113.7") {
			t.Errorf("%s: %q, %v", form, text, err)
		}
	}
	if _, err := p.Forms.As("cisco"); err == nil {
		t.Error("a form that isn't there")
	}
	last := Plan(a, Options{Asked: true})
	if f := last[len(last)-1].Forms; f.RTBH != "route 203.0.113.7/32 community 65535:666\n" || f.FlowSpec != "" {
		t.Errorf("%+v", f)
	}
}

// FuzzRule: what is read is a rule that can be written, comes back as it was, and is
// taken apart by nothing that follows.
func FuzzRule(f *testing.F) {
	for _, r := range []Rule{
		{Match: Match{Dst: netip.MustParsePrefix("203.0.113.7/32"), Proto: Just(17), SrcPort: Just(53, 123), Length: From(400, 1500)}, Action: Drop},
		{Match: Match{Src: netip.MustParsePrefix("2001:db8::/48"), ICMPType: Just(128)}, Action: RateBytes, Rate: 1e6},
		{Match: Match{Dst: netip.MustParsePrefix("203.0.113.7/32")}, Action: RTBH},
	} {
		b, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Rule
		if r.UnmarshalJSON(b) != nil {
			return
		}
		out, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back Rule
		if err := back.UnmarshalJSON(out); err != nil || back.String() != r.String() {
			t.Fatalf("%s comes back as %s: %v", r.String(), back.String(), err)
		}
		if strings.ContainsAny(r.String(), "\n\"'`$;") {
			t.Fatalf("%q", r.String())
		}
		a := detect.Attack{Object: detect.Object{Prefix: r.Match.Dst}}
		_ = formsOf(&a, &Proposal{Rules: []Rule{r}})
		if !r.Match.In(&r.Match) || r.Match.Before(&r.Match) {
			t.Fatalf("%s isn't in itself, or stands before itself", r.String())
		}
	})
}
