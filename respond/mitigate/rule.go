package mitigate

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"sakimori/base/wire/packet"
	"sakimori/detect"
)

// Rule is one line of a filter: which packets, and what is done with them.
type Rule struct {
	Match  Match   `json:"match"`
	Action Action  `json:"action"`
	Rate   float64 `json:"rate,omitempty"` // of RateBytes and RatePackets, a second
	DSCP   uint8   `json:"dscp,omitempty"` // that Mark writes
	To     string  `json:"to,omitempty"`   // where Redirect sends: a route target "64500:100", or the operator's name of a VRF
}

// Match is what a packet must be, component by component: all of them hold at once, and
// one that is zero holds always. They are those of RFC 8955, section 4.2.2, for IPv4 and
// RFC 8956 for IPv6, without the flow label.
type Match struct {
	Dst      netip.Prefix `json:"dst,omitzero"` // type 1
	Src      netip.Prefix `json:"src,omitzero"` // type 2
	Proto    Set          `json:"proto,omitempty"`
	DstPort  Set          `json:"dst_port,omitempty"`
	SrcPort  Set          `json:"src_port,omitempty"`
	ICMPType Set          `json:"icmp_type,omitempty"`
	ICMPCode Set          `json:"icmp_code,omitempty"`
	Flags    Flags        `json:"flags,omitzero"`
	Length   Set          `json:"length,omitempty"` // of the IP packet with its header, bytes
	DSCP     Set          `json:"dscp,omitempty"`
	Fragment Fragments    `json:"fragment,omitempty"`
}

// Flags are the TCP flags that must be set and those that must not.
type Flags struct {
	Set   packet.TCPFlags `json:"set,omitempty"`
	Clear packet.TCPFlags `json:"clear,omitempty"`
}

// Fragments are which parts of a datagram a rule matches; 0 all of them.
type Fragments uint8

// The parts of a datagram.
const (
	Whole Fragments = 1 << iota // not fragmented
	First                       // the first fragment, which has the ports
	Later                       // any other, which hasn't
)

const anyFragment = Whole | First | Later

// Action is what is done with a packet.
type Action string

// The actions, with how RFC 8955, section 7, and RFC 7999 say them.
const (
	Pass        Action = "pass"         // no action: matching ends here, and the packet goes on
	Drop        Action = "drop"         // traffic-rate-bytes 0
	RateBytes   Action = "rate_bytes"   // 0x8006
	RatePackets Action = "rate_packets" // 0x800c
	Mark        Action = "mark"         // 0x8009
	Redirect    Action = "redirect"     // 0x8008
	RTBH        Action = "rtbh"         // a route with the community 65535:666
)

// is tells whether an action is of a kind that a person asks for.
func (a Action) is(kind Action) bool {
	return a == kind || kind == "rate" && (a == RateBytes || a == RatePackets)
}

var target = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$`)

// The largest number of a component.
const (
	topByte = 255
	topDSCP = 63
	topPort = 65535
)

// Check tells what keeps a rule from being written: a component that isn't one, two that
// no packet has both of, or no prefix that says where it applies.
func (r *Rule) Check() error {
	m := &r.Match
	if err := m.check(); err != nil {
		return err
	}
	switch {
	case !m.Dst.IsValid() && !m.Src.IsValid():
		return errors.New("a rule names a destination or a source: one for everybody is never written")
	case r.Action != RateBytes && r.Action != RatePackets && r.Rate != 0, r.Action != Mark && r.DSCP != 0, r.Action != Redirect && r.To != "":
		return fmt.Errorf("action %s has a parameter of another one", r.Action)
	}
	switch r.Action {
	case Pass, Drop:
	case RateBytes, RatePackets:
		if !(r.Rate >= 1) || math.IsInf(r.Rate, 0) || r.Rate > math.MaxFloat32 {
			return fmt.Errorf("a rate of %g a second: it is 1 at least, and a number that fits RFC 8955's 32 bits", r.Rate)
		}
	case Mark:
		if r.DSCP > topDSCP {
			return fmt.Errorf("DSCP %d: it is at most %d", r.DSCP, topDSCP)
		}
	case Redirect:
		if !target.MatchString(r.To) {
			return errors.New("a redirect names its route target or VRF: letters, digits and . _ : -, at most 64")
		}
	case RTBH:
		if n := *m; !n.Dst.IsValid() || n.only() != "dst" {
			return errors.New("RTBH knows a destination only: it drops everything to it")
		}
	default:
		return fmt.Errorf("no action %.20q: pass, drop, rate_bytes, rate_packets, mark, redirect or rtbh", r.Action)
	}
	return nil
}

// only is "dst" of a match that has no other component.
func (m *Match) only() string {
	bare := Match{Dst: m.Dst}
	if m.Text() == bare.Text() {
		return "dst"
	}
	return ""
}

func (m *Match) check() error {
	for what, p := range map[string]netip.Prefix{"destination": m.Dst, "source": m.Src} {
		if p.IsValid() && (p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "") {
			return fmt.Errorf("%s: write address/length, without bits after the length, and IPv4 as IPv4", what)
		}
	}
	for _, c := range []struct {
		what string
		set  Set
		top  uint16
	}{
		{"protocol", m.Proto, topByte},
		{"destination port", m.DstPort, topPort},
		{"source port", m.SrcPort, topPort},
		{"ICMP type", m.ICMPType, topByte},
		{"ICMP code", m.ICMPCode, topByte},
		{"packet length", m.Length, topPort},
		{"DSCP", m.DSCP, topDSCP},
	} {
		if err := c.set.check(c.what, c.top); err != nil {
			return err
		}
	}
	if m.Fragment&^anyFragment != 0 {
		return fmt.Errorf("fragment bits %#x aren't known", m.Fragment)
	}
	if len(m.ICMPType)+len(m.ICMPCode) > 0 && m.family() == 0 {
		return errors.New("ICMP types mean one thing in IPv4 and another in IPv6: name a prefix, if only 0.0.0.0/0 or ::/0")
	}
	if m.Empty() {
		return errors.New("no packet is like this: the components contradict each other")
	}
	return nil
}

// String is the canonical text of a rule: what a Grant lists as the feature, and what
// is asked for at the moment of announcing.
func (r *Rule) String() string {
	s := "match " + r.Match.Text() + " then "
	switch r.Action {
	case Drop:
		return s + "traffic-rate-bytes 0"
	case RateBytes:
		return s + "traffic-rate-bytes " + strconv.FormatFloat(r.Rate, 'f', -1, 64)
	case RatePackets:
		return s + "traffic-rate-packets " + strconv.FormatFloat(r.Rate, 'f', -1, 64)
	case Mark:
		return s + "traffic-marking " + strconv.Itoa(int(r.DSCP))
	case Redirect:
		return s + "redirect " + r.To
	case RTBH:
		return "route " + r.Match.Dst.String() + " community 65535:666"
	}
	return s + "accept"
}

// Text writes the components in their order and with the operators of RFC 8955, section
// 4.2.2. Two matches of the same text are the same.
func (m *Match) Text() string {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+" "+value)
		}
	}
	prefix := func(name string, p netip.Prefix) {
		if p.IsValid() {
			add(name, p.String())
		}
	}
	prefix("destination", m.Dst)
	prefix("source", m.Src)
	add("protocol", m.Proto.String())
	add("destination-port", m.DstPort.String())
	add("source-port", m.SrcPort.String())
	add("icmp-type", m.ICMPType.String())
	add("icmp-code", m.ICMPCode.String())
	add("tcp-flags", m.Flags.String())
	add("packet-length", m.Length.String())
	add("dscp", m.DSCP.String())
	add("fragment", m.Fragment.String())
	return strings.Join(parts, " ")
}

var flagNames = []string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"}

func names(f packet.TCPFlags) string {
	var list []string
	for i, n := range flagNames {
		if f>>i&1 == 1 {
			list = append(list, n)
		}
	}
	return strings.Join(list, "+")
}

// String writes "=syn&!ack+rst": all of the first, none of the second.
func (f Flags) String() string {
	var parts []string
	if f.Set != 0 {
		parts = append(parts, "="+names(f.Set))
	}
	if f.Clear != 0 {
		parts = append(parts, "!"+names(f.Clear))
	}
	return strings.Join(parts, "&")
}

// String names the parts: "=later or =first"; of all of them nothing.
func (f Fragments) String() string {
	if f == 0 || f == anyFragment {
		return ""
	}
	var list []string
	for _, x := range []struct {
		bit  Fragments
		name string
	}{{Whole, "=not-a-fragment"}, {First, "=first-fragment"}, {Later, "=is-fragment"}} {
		if f&x.bit != 0 {
			list = append(list, x.name)
		}
	}
	return strings.Join(list, " or ")
}

// Words say what a rule does, for a person.
func (r *Rule) Words() detect.Text {
	what := r.Match.words()
	switch r.Action {
	case Drop:
		return detect.Text{JA: what.JA + " を遮断", EN: "drop " + what.EN}
	case RateBytes:
		return detect.Text{JA: fmt.Sprintf("%s を毎秒 %s バイトに制限", what.JA, grouped(r.Rate)), EN: fmt.Sprintf("limit %s to %s bytes a second", what.EN, grouped(r.Rate))}
	case RatePackets:
		return detect.Text{JA: fmt.Sprintf("%s を毎秒 %s パケットに制限", what.JA, grouped(r.Rate)), EN: fmt.Sprintf("limit %s to %s packets a second", what.EN, grouped(r.Rate))}
	case Mark:
		return detect.Text{JA: fmt.Sprintf("%s に DSCP %d を付ける", what.JA, r.DSCP), EN: fmt.Sprintf("mark %s with DSCP %d", what.EN, r.DSCP)}
	case Redirect:
		return detect.Text{JA: fmt.Sprintf("%s を %s に迂回", what.JA, r.To), EN: fmt.Sprintf("divert %s to %s", what.EN, r.To)}
	case RTBH:
		return detect.Textf("%[1]s あての全通信を破棄 (RTBH)", "discard everything to %[1]s (RTBH)", r.Match.Dst)
	}
	return detect.Text{JA: what.JA + " は通す(保護対象)", EN: "let " + what.EN + " pass (protected)"}
}

func grouped(f float64) string { return detect.Grouped(uint64(f)) }

// ruleJSON is how a rule is shown: its text and words with it.
type ruleJSON struct {
	Text   string      `json:"text"`
	Match  Match       `json:"match"`
	Action Action      `json:"action"`
	Rate   *float64    `json:"rate"`
	DSCP   uint8       `json:"dscp,omitempty"`
	To     string      `json:"to,omitempty"`
	Words  detect.Text `json:"words"`
}

// MarshalJSON writes the rule with its text and words.
func (r Rule) MarshalJSON() ([]byte, error) {
	j := ruleJSON{Text: r.String(), Match: r.Match, Action: r.Action, DSCP: r.DSCP, To: r.To, Words: r.Words()}
	if r.Rate != 0 {
		j.Rate = &r.Rate
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote; the text and words follow from the rest.
func (r *Rule) UnmarshalJSON(b []byte) error {
	var j ruleJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*r = Rule{Match: j.Match, Action: j.Action, DSCP: j.DSCP, To: j.To}
	if j.Rate != nil {
		r.Rate = *j.Rate
	}
	return r.Check()
}
