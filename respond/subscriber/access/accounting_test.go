package access_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	oracle "layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2866"
	"layeh.com/radius/rfc2869"
	"layeh.com/radius/rfc3162"
	"layeh.com/radius/rfc4679"
	"layeh.com/radius/rfc4818"
	"pgregory.net/rapid"

	wire "sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/access"
)

// arrival is when the requests of these tests are captured.
var arrival = time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)

// collect gives an Emit and what it took, a line each.
func collect() (*[]string, access.Emit) {
	list := new([]string)
	return list, func(r *subscriber.Record) error {
		*list = append(*list, written(r))
		return nil
	}
}

var kinds = map[subscriber.Kind]string{subscriber.Begin: "Begin", subscriber.Alive: "Alive", subscriber.End: "End", subscriber.Reset: "Reset"}

// written is a record as these tests compare it.
func written(r *subscriber.Record) string {
	out := kinds[r.Kind]
	for _, f := range []struct{ name, value string }{{"", prefix(r.Address)}, {"line ", r.Line}, {"session ", r.Session}, {"source ", r.Source}, {"at ", stamp(r.At)}, {"since ", stamp(r.Since)}, {"until ", stamp(r.Until)}} {
		if f.value != "" {
			out += ", " + f.name + f.value
		}
	}
	return out
}

func prefix(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// stamp is a time within the day of arrival, else the whole of it.
func stamp(t time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case t.Truncate(24 * time.Hour).Equal(arrival.Truncate(24 * time.Hour)):
		return t.Format("15:04:05")
	}
	return t.Format(time.RFC3339)
}

// frame is a UDP datagram in Ethernet.
func frame(port uint16, payload []byte) []byte {
	b := make([]byte, 42, 42+len(payload))
	b[12], b[14] = 8, 0x45
	binary.BigEndian.PutUint16(b[16:], uint16(28+len(payload)))
	b[22], b[23] = 64, wire.UDP
	copy(b[26:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	binary.BigEndian.PutUint16(b[34:], 1024)
	binary.BigEndian.PutUint16(b[36:], port)
	binary.BigEndian.PutUint16(b[38:], uint16(8+len(payload)))
	return append(b, payload...)
}

type failer interface {
	Helper()
	Fatal(args ...any)
}

// captured is a capture of datagrams to port 1813, all at arrival.
func captured(t failer, payloads ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := pcap.NewWriter(&out, wire.LinkEthernet)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range payloads {
		if err := w.WriteFrame(arrival.UnixNano(), frame(1813, p)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func ipnet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 128)}
}

func u32(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

func at(clock string) string {
	t, err := time.Parse("15:04:05", clock)
	if err != nil {
		panic(err)
	}
	day := arrival.Truncate(24 * time.Hour).Add(time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second)
	return u32(uint32(day.Unix()))
}

// The numbers of attributes, as the requests below use them.
const (
	user, nasIP, framed, class, vsa, timeout, calling, nasID = 1, 4, 8, 25, 26, 27, 31, 32
	status, delay, sessionID, sessionTime, multi, event      = 40, 41, 44, 46, 50, 55
	nas6, prefix6, delegated, framed6                        = 95, 97, 123, 168
)

var (
	start, stop, interim = u32(1), u32(2), u32(3)
	one                  = "\xcb\x00\x71\x07" // 203.0.113.7
	pd                   = "\x00\x38\x20\x01\x0d\xb8\x00\x01\x01"
	host6                = "\x20\x01\x0d\xb8\x00\x02\x00\x03\x00\x00\x00\x00\x00\x00\x00\x09"
)

func TestAccounting(t *testing.T) {
	circuit := "\x00\x00\x0d\xe9\x01\x0dolt1/0/7:42\x02\x05r-9"
	for _, tt := range []struct {
		name    string
		cfg     access.Accounting
		request attributes
		want    string // records, or the reason; "" ignored
	}{
		{"Start", access.Accounting{}, attributes{{status, start}, {user, "fred"}, {sessionID, "1"}, {nasID, "bng"}, {framed, one}}, "Begin, 203.0.113.7/32, line fred, session 1, source bng, at 12:00:00"},
		{"Start with its own time", access.Accounting{}, attributes{{status, start}, {user, "fred"}, {nasID, "bng"}, {framed, one}, {event, at("11:58:00")}}, "Begin, 203.0.113.7/32, line fred, source bng, at 11:58:00"},
		{"arrival less delay", access.Accounting{}, attributes{{status, start}, {user, "fred"}, {nasID, "bng"}, {framed, one}, {delay, u32(90)}}, "Begin, 203.0.113.7/32, line fred, source bng, at 11:58:30"},
		{"the stamp is kept, whatever the delay", access.Accounting{StampKept: true}, attributes{{status, start}, {user, "fred"}, {nasID, "bng"}, {framed, one}, {event, at("11:58:00")}, {delay, u32(90)}}, "Begin, 203.0.113.7/32, line fred, source bng, at 11:58:00"},
		{"stamped anew at each sending", access.Accounting{}, attributes{{status, start}, {user, "fred"}, {nasID, "bng"}, {framed, one}, {event, at("11:58:00")}, {delay, u32(90)}}, "Begin, 203.0.113.7/32, line fred, source bng, at 11:56:30"},
		{"Interim-Update", access.Accounting{}, attributes{{status, interim}, {user, "fred"}, {nasID, "bng"}, {framed, one}, {sessionTime, u32(600)}, {timeout, u32(3600)}}, "Alive, 203.0.113.7/32, line fred, source bng, at 12:00:00, since 11:50:00, until 12:50:00"},
		{"Interim-Update without session time", access.Accounting{}, attributes{{status, interim}, {user, "fred"}, {nasID, "bng"}, {framed, one}, {timeout, u32(3600)}}, "Alive, 203.0.113.7/32, line fred, source bng, at 12:00:00"},
		{"Stop", access.Accounting{}, attributes{{status, stop}, {user, "fred"}, {nasID, "bng"}, {framed, one}, {sessionTime, u32(600)}, {timeout, u32(3600)}}, "End, 203.0.113.7/32, line fred, source bng, at 12:00:00, since 11:50:00"},
		{"a promised end", access.Accounting{}, attributes{{status, start}, {user, "fred"}, {nasID, "bng"}, {framed, one}, {timeout, u32(3600)}}, "Begin, 203.0.113.7/32, line fred, source bng, at 12:00:00, until 13:00:00"},
		{"no end is promised", access.Accounting{}, attributes{{status, start}, {user, "fred"}, {nasID, "bng"}, {framed, one}, {timeout, u32(1<<32 - 1)}}, "Begin, 203.0.113.7/32, line fred, source bng, at 12:00:00"},
		{"the NAS begins anew", access.Accounting{}, attributes{{status, u32(7)}, {nasIP, "\x0a\x00\x00\x01"}}, "Reset, source 10.0.0.1, at 12:00:00"},
		{"the NAS goes", access.Accounting{}, attributes{{status, u32(8)}, {nas6, host6}}, "Reset, source 2001:db8:2:3::9, at 12:00:00"},
		{"the sender names the source", access.Accounting{}, attributes{{status, u32(7)}}, "Reset, source 192.0.2.1, at 12:00:00"},
		{"all its addresses", access.Accounting{}, attributes{{status, start}, {user, "fred"}, {nasID, "bng"}, {framed, one}, {delegated, pd}, {prefix6, "\x00\x40\x20\x01\x0d\xb8\x00\x02\x00\x03"}, {framed6, host6}}, "Begin, 203.0.113.7/32, line fred, source bng, at 12:00:00; Begin, 2001:db8:1:100::/56, line fred, source bng, at 12:00:00; Begin, 2001:db8:2:3::/64, line fred, source bng, at 12:00:00"},
		{"one address of IPv6", access.Accounting{WholeAddress: true}, attributes{{status, start}, {user, "fred"}, {nasID, "bng"}, {framed6, host6}}, "Begin, 2001:db8:2:3::9/128, line fred, source bng, at 12:00:00"},
		{"by Calling-Station-Id", access.Accounting{Line: key(t, "calling-station-id")}, attributes{{status, start}, {user, "fred"}, {calling, "0001"}, {nasID, "bng"}, {framed, one}}, "Begin, 203.0.113.7/32, line 0001, source bng, at 12:00:00"},
		{"by Class, which is bytes", access.Accounting{Line: key(t, "class")}, attributes{{status, start}, {user, "fred"}, {class, "\x01\xff"}, {nasID, "bng"}, {framed, one}}, "Begin, 203.0.113.7/32, line 0x01ff, source bng, at 12:00:00"},
		{"by circuit", access.Accounting{Line: key(t, "agent-circuit")}, attributes{{status, start}, {user, "fred"}, {vsa, circuit}, {nasID, "bng"}, {framed, one}}, "Begin, 203.0.113.7/32, line olt1/0/7:42|r-9, source bng, at 12:00:00"},
		{"by circuit, in two attributes", access.Accounting{Line: key(t, "agent-circuit")}, attributes{{status, start}, {vsa, "\x00\x00\x0d\xe9\x02\x03r"}, {vsa, "\x00\x00\x0d\xe9\x01\x05a|b"}, {nasID, "bng"}, {framed, one}}, "Begin, 203.0.113.7/32, line 0x617c62|r, source bng, at 12:00:00"},
		{"by a vendor's attribute", access.Accounting{Line: key(t, "vendor:4874:177")}, attributes{{status, start}, {user, "fred"}, {vsa, "\x00\x00\x13\x0a\xb1\x06line"}, {nasID, "bng"}, {framed, one}}, "Begin, 203.0.113.7/32, line line, source bng, at 12:00:00"},
		{"nobody's name", access.Accounting{Line: key(t, "class")}, attributes{{status, start}, {user, "fred"}, {nasID, "bng"}, {framed, one}}, "Begin, 203.0.113.7/32, source bng, at 12:00:00"},
		{"a name with a NUL behind it", access.Accounting{}, attributes{{status, start}, {user, "fred\x00"}, {nasID, "bng\x00"}, {framed, one}}, "Begin, 203.0.113.7/32, line fred, source bng, at 12:00:00"},
		{"a name in Japanese, and one with a line break", access.Accounting{}, attributes{{status, start}, {user, "東京"}, {nasID, "a\nb"}, {framed, one}}, "Begin, 203.0.113.7/32, line 東京, source 0x610a62, at 12:00:00"},
		{"a link of a bundle is a session", access.Accounting{}, attributes{{status, stop}, {user, "fred"}, {sessionID, "link2"}, {multi, "bundle"}, {nasID, "bng"}, {framed, one}}, "End, 203.0.113.7/32, line fred, session link2, source bng, at 12:00:00"},
		{"the bundle, if there is nothing else", access.Accounting{}, attributes{{status, stop}, {user, "fred"}, {multi, "bundle"}, {nasID, "bng"}, {framed, one}}, "End, 203.0.113.7/32, line fred, session bundle, source bng, at 12:00:00"},
		{"the user chooses", access.Accounting{}, attributes{{status, start}, {framed, "\xff\xff\xff\xff"}}, ""},
		{"the NAS chooses", access.Accounting{}, attributes{{status, start}, {framed, "\xff\xff\xff\xfe"}}, ""},
		{"not yet an address", access.Accounting{}, attributes{{status, start}, {framed, "\x00\x00\x00\x00"}}, ""},
		{"link-local", access.Accounting{}, attributes{{status, start}, {prefix6, "\x00\x40\xfe\x80\x00\x00\x00\x00\x00\x00"}}, ""},
		{"no address", access.Accounting{}, attributes{{status, start}, {user, "fred"}}, ""},
		{"a tunnel", access.Accounting{}, attributes{{status, u32(12)}, {framed, one}}, ""},
		{"Failed", access.Accounting{}, attributes{{status, u32(15)}, {framed, one}}, ""},
		{"no status", access.Accounting{}, attributes{{framed, one}}, "no Acct-Status-Type"},
		{"an unknown status", access.Accounting{}, attributes{{status, u32(16)}, {framed, one}}, "an unknown Acct-Status-Type"},
		{"1970", access.Accounting{}, attributes{{status, start}, {framed, one}, {event, u32(77)}}, "its time lies before 2000"},
		{"a delay of a century", access.Accounting{}, attributes{{status, start}, {framed, one}, {delay, u32(3155760000)}}, "its time lies before 2000"},
		{"the day after tomorrow", access.Accounting{}, attributes{{status, start}, {framed, one}, {event, u32(uint32(arrival.Unix()) + 86401)}}, "its time lies more than a day after its arrival"},
		{"tomorrow", access.Accounting{}, attributes{{status, start}, {framed, one}, {event, u32(uint32(arrival.Unix()) + 86400)}}, "Begin, 203.0.113.7/32, source 192.0.2.1, at 2026-04-02T12:00:00Z"},
		{"a session of a century", access.Accounting{}, attributes{{status, stop}, {framed, one}, {sessionTime, u32(3155760000)}}, "its session would have begun before 2000"},
		{"three bytes of an address", access.Accounting{}, attributes{{status, start}, {framed, "abc"}}, "an attribute's value has the wrong form"},
		{"an address of the other family", access.Accounting{}, attributes{{status, start}, {framed, host6}}, "an attribute's value has the wrong form"},
		{"a prefix of 129 bits", access.Accounting{}, attributes{{status, start}, {delegated, "\x00\x81" + host6}}, "an attribute's value has the wrong form"},
		{"a prefix of everything", access.Accounting{}, attributes{{status, start}, {delegated, "\x00\x00"}}, "an IPv6 prefix shorter than /16"},
		{"sixty-five addresses", access.Accounting{}, many(65), "too many addresses"},
	} {
		got, emit := collect()
		s, err := access.ReadCapture(bytes.NewReader(captured(t, packet(t, oracle.CodeAccountingRequest, tt.request))), access.CaptureOptions{Accounting: tt.cfg, Secret: []byte(secret)}, emit)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		have := strings.Join(*got, "; ")
		for r := range s.Reasons {
			have += r
		}
		if have != tt.want {
			t.Errorf("%s:\n%s, want\n%s", tt.name, have, tt.want)
		}
		if s.Records+s.Malformed+s.Ignored == 0 || s.Records != uint64(len(*got)) || (tt.want == "") != (s.Ignored == 1) {
			t.Errorf("%s: %+v", tt.name, s)
		}
	}
}

func many(n int) attributes {
	list := attributes{{status, start}}
	for i := range n {
		list = append(list, attributes{{framed, "\x0a\x00\x00" + string([]byte{byte(i + 1)})}}...)
	}
	return list
}

func key(t testing.TB, s string) access.Key {
	t.Helper()
	k, err := access.ParseKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestParseKey(t *testing.T) {
	for _, s := range []string{"", "user-name", "calling-station-id", "class", "agent-circuit", "vendor:9:1", "vendor:4874:177:ERX-Pppoe-Description"} {
		key(t, s)
	}
	for _, s := range []string{"User-Name", "vendor", "vendor:9", "vendor:x:1", "vendor:9:256", "vendor:9:0", "vendor:0:1", "vendor:16777216:1"} {
		if _, err := access.ParseKey(s); err == nil || !strings.Contains(err.Error(), "vendor:NUMBER:TYPE") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// truth is a request as the property test makes it up.
type truth struct {
	status                      rfc2866.AcctStatusType
	user, session, nas          string
	circuit, remote             string
	v4                          netip.Addr
	pd, framed                  []netip.Prefix
	event, delay, lasted, limit int // seconds; -1: not told
}

func draw(t *rapid.T) (x truth) {
	word := rapid.StringMatching(`[a-z0-9"\\ @é東]{1,12}`)
	x.status = rapid.SampledFrom([]rfc2866.AcctStatusType{1, 2, 3, 7, 8}).Draw(t, "status")
	x.user, x.session, x.nas = word.Draw(t, "user"), word.Draw(t, "session"), word.Draw(t, "nas")
	x.circuit, x.remote = word.Draw(t, "circuit"), word.Draw(t, "remote")
	if rapid.Bool().Draw(t, "IPv4") {
		x.v4 = netip.AddrFrom4([4]byte{100, 64, rapid.Byte().Draw(t, "c"), rapid.Byte().Draw(t, "d")})
	}
	prefixes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) netip.Prefix {
		a := [16]byte{0x20, 1, 0xd, 0xb8, rapid.Byte().Draw(t, "4"), rapid.Byte().Draw(t, "5"), rapid.Byte().Draw(t, "6"), rapid.Byte().Draw(t, "7")}
		return netip.PrefixFrom(netip.AddrFrom16(a), rapid.IntRange(32, 64).Draw(t, "bits")).Masked()
	}), 0, 3)
	x.pd, x.framed = prefixes.Draw(t, "delegated"), prefixes.Draw(t, "framed")
	seconds := rapid.OneOf(rapid.Just(-1), rapid.IntRange(0, 40_000))
	x.event, x.delay, x.lasted, x.limit = seconds.Draw(t, "event"), seconds.Draw(t, "delay"), seconds.Draw(t, "session time"), seconds.Draw(t, "timeout")
	return x
}

// records is what the rules say of it, written down once more.
func (x *truth) records(byCircuit bool) (out []string) {
	when := arrival
	if x.event >= 0 {
		when = arrival.Add(-time.Duration(x.event) * time.Second)
	} else if x.delay > 0 {
		when = arrival.Add(-time.Duration(x.delay) * time.Second)
	}
	r := subscriber.Record{Kind: map[rfc2866.AcctStatusType]subscriber.Kind{1: 1, 2: 3, 3: 2, 7: 4, 8: 4}[x.status], Source: x.nas, At: when}
	if r.Kind == subscriber.Reset {
		return []string{written(&r)}
	}
	r.Line, r.Session = x.user, x.session
	if byCircuit {
		r.Line = x.circuit + "|" + x.remote
	}
	if x.lasted >= 0 && r.Kind != subscriber.Begin {
		r.Since = when.Add(-time.Duration(x.lasted) * time.Second)
	}
	if x.limit > 0 && r.Kind == subscriber.Begin {
		r.Until = when.Add(time.Duration(x.limit) * time.Second)
	}
	if x.limit > 0 && r.Kind == subscriber.Alive && !r.Since.IsZero() {
		r.Until = r.Since.Add(time.Duration(x.limit) * time.Second)
	}
	var all []netip.Prefix
	if x.v4.IsValid() {
		all = append(all, netip.PrefixFrom(x.v4, 32))
	}
	for _, p := range slices.Concat(x.pd, x.framed) {
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	for _, p := range all {
		r.Address = p
		out = append(out, written(&r))
	}
	return out
}

// packet writes it with the typed setters of layeh.com/radius.
func (x *truth) packet(t *rapid.T) []byte {
	p := oracle.New(oracle.CodeAccountingRequest, []byte(secret))
	var failed error
	must := func(err error) {
		if err != nil {
			failed = err
		}
	}
	must(rfc2866.AcctStatusType_Set(p, x.status))
	must(rfc2865.UserName_SetString(p, x.user))
	must(rfc2866.AcctSessionID_SetString(p, x.session))
	must(rfc2865.NASIdentifier_SetString(p, x.nas))
	must(rfc4679.ADSLAgentCircuitID_SetString(p, x.circuit))
	must(rfc4679.ADSLAgentRemoteID_SetString(p, x.remote))
	if x.v4.IsValid() {
		must(rfc2865.FramedIPAddress_Set(p, x.v4.AsSlice()))
	}
	for _, v := range x.pd {
		must(rfc4818.DelegatedIPv6Prefix_Add(p, ipnet(v)))
	}
	for _, v := range x.framed {
		must(rfc3162.FramedIPv6Prefix_Add(p, ipnet(v)))
	}
	if x.event >= 0 {
		must(rfc2869.EventTimestamp_Set(p, arrival.Add(-time.Duration(x.event)*time.Second)))
	}
	if x.delay >= 0 {
		must(rfc2866.AcctDelayTime_Set(p, rfc2866.AcctDelayTime(x.delay)))
	}
	if x.lasted >= 0 {
		must(rfc2866.AcctSessionTime_Set(p, rfc2866.AcctSessionTime(x.lasted)))
	}
	if x.limit >= 0 {
		must(rfc2865.SessionTimeout_Set(p, rfc2865.SessionTimeout(x.limit)))
	}
	b, err := p.Encode()
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	return b
}

// detail writes it as FreeRADIUS would.
func (x *truth) detail() string {
	var b strings.Builder
	line := func(name string, value any) { fmt.Fprintf(&b, "\t%s = %v\n", name, value) }
	text := func(name, value string) {
		line(name, `"`+strings.ReplaceAll(strings.ReplaceAll(value, `\`, `\\`), `"`, `\"`)+`"`)
	}
	b.WriteString(arrival.Format("Mon Jan _2 15:04:05 2006\n"))
	line("Acct-Status-Type", x.status)
	text("User-Name", x.user)
	text("Acct-Session-Id", x.session)
	text("NAS-Identifier", x.nas)
	text("ADSL-Agent-Circuit-Id", x.circuit)
	line("Attr-26.3561.2", fmt.Sprintf("0x%x", x.remote))
	if x.v4.IsValid() {
		line("Framed-IP-Address", x.v4)
	}
	for _, v := range x.pd {
		line("Delegated-IPv6-Prefix", v)
	}
	for _, v := range x.framed {
		line("Framed-IPv6-Prefix", v)
	}
	if x.event >= 0 {
		text("Event-Timestamp", arrival.Add(-time.Duration(x.event)*time.Second).In(time.FixedZone("JST", 9*3600)).Format("Jan _2 2006 15:04:05 MST"))
	}
	for name, n := range map[string]int{"Acct-Delay-Time": x.delay, "Acct-Session-Time": x.lasted, "Session-Timeout": x.limit} {
		if n >= 0 {
			line(name, n)
		}
	}
	line("Timestamp", arrival.Unix())
	return b.String() + "\n"
}

// TestTruth: made-up requests give the records that the rules say, whether they come as
// packets that layeh.com/radius wrote, or as detail files.
func TestTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Custom(draw), 1, 5).Draw(t, "requests")
		cfg, byCircuit := access.Accounting{StampKept: true}, rapid.Bool().Draw(t, "by circuit")
		if byCircuit {
			cfg.Line, _ = access.ParseKey("agent-circuit")
		}
		var want []string
		var packets [][]byte
		var text strings.Builder
		for i := range all {
			want = append(want, all[i].records(byCircuit)...)
			packets = append(packets, all[i].packet(t))
			text.WriteString(all[i].detail())
		}
		got, emit := collect()
		s, err := access.ReadDetail(strings.NewReader(text.String()), access.DetailOptions{Accounting: cfg}, emit)
		if err != nil || s.Malformed != 0 || !slices.Equal(*got, want) {
			t.Fatalf("detail: %v, %+v\n%s, want\n%s\n%s", err, s, strings.Join(*got, "\n"), strings.Join(want, "\n"), text.String())
		}
		got, emit = collect()
		s, err = access.ReadCapture(bytes.NewReader(captured(t, packets...)), access.CaptureOptions{Accounting: cfg, Secret: []byte(secret)}, emit)
		if err != nil || s.Malformed != 0 || !slices.Equal(*got, want) {
			t.Fatalf("capture: %v, %+v\n%s, want\n%s", err, s, strings.Join(*got, "\n"), strings.Join(want, "\n"))
		}
	})
}
