package dns_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	oracle "github.com/dnstap/golang-dnstap"
	framestream "github.com/farsightsec/golang-framestream"
	"google.golang.org/protobuf/proto"

	"sakimori/base/clock"
	wire "sakimori/base/wire/dns"
	"sakimori/base/wire/dnstap"
	"sakimori/observe"
	"sakimori/observe/dns"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// may is who consents to what, by address.
type may map[string]string

func (m may) May(c netip.Addr, _ time.Time) (match, hits bool) {
	switch m[c.String()] {
	case "hits":
		return true, true
	case "match":
		return true, false
	}
	return false, false
}

// all consent to something.
type all string

func (a all) May(netip.Addr, time.Time) (match, hits bool) { return a != "", a == "hits" }

// list is a list of names in memory, with all that is below them.
type list map[string]dns.Listing

func (l list) Match(n wire.Name) (dns.Listing, bool) {
	for ; len(n) > 1; n = n.Parent() {
		if x, is := l[n.String()]; is {
			x.Owner = n
			return x, true
		}
	}
	return dns.Listing{}, false
}

var known = list{
	"c2.example":     {Zone: "c2.", Entry: "e1", Family: "mirai", Contact: observe.Blocked},
	"hole.example":   {Zone: "c2.", Entry: "e2", Family: "gafgyt", Contact: observe.Sinkholed},
	"shadow.example": {Zone: "c2.", Entry: "e3", Family: "mozi", Contact: observe.Blocked, Shadow: true},
	"maybe.example":  {Entry: "e4"},
}

// heard keeps what detectors hear.
type heard struct {
	mu   sync.Mutex
	list []observe.Lookup
}

func (h *heard) Look(b []observe.Lookup) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, b...)
}

func (h *heard) all() []observe.Lookup {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]observe.Lookup(nil), h.list...)
}

func observer(t testing.TB, who dns.Clients, out observe.Lookups) *dns.Observer {
	t.Helper()
	o, err := dns.New(dns.Config{}, who, known, out, clock.Fixed(noon))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// message is a DNS message; answers are addresses.
func message(name string, rcode uint8, response bool, soa string, answers ...string) []byte {
	n, err := wire.ParseName(name)
	if err != nil {
		panic(err)
	}
	flags := byte(1)
	if response {
		flags |= 0x80
	}
	extra := byte(0)
	if soa != "" {
		extra = 1
	}
	b := append([]byte{0, 7, flags, rcode, 0, 1, 0, byte(len(answers)), 0, 0, 0, extra}, n...)
	b = append(b, 0, 1, 0, 1)
	for _, a := range answers {
		b = append(b, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4)
		b = append(b, netip.MustParseAddr(a).AsSlice()...)
	}
	if soa != "" {
		z, _ := wire.ParseName(soa)
		b = append(b, z...)
		b = append(b, 0, 6, 0, 1, 0, 0, 0, 5, 0, 22, 0, 0)
		b = append(b, make([]byte, 20)...)
	}
	return b
}

// frame is one of dnstap.
func frame(at time.Time, client string, response bool, msg []byte) []byte {
	m := &oracle.Message{
		Type: oracle.Message_CLIENT_QUERY.Enum(), SocketProtocol: oracle.SocketProtocol_UDP.Enum(), QueryAddress: netip.MustParseAddr(client).AsSlice(),
		QueryTimeSec: new(uint64(at.Unix())), QueryTimeNsec: new(uint32(at.Nanosecond())), QueryPort: proto.Uint32(4000), QueryMessage: msg,
	}
	if response {
		m.Type, m.QueryMessage, m.ResponseMessage = oracle.Message_CLIENT_RESPONSE.Enum(), nil, msg
		m.ResponseTimeSec, m.ResponseTimeNsec = m.QueryTimeSec, m.QueryTimeNsec
	}
	b, err := proto.Marshal(&oracle.Dnstap{Type: oracle.Dnstap_MESSAGE.Enum(), Identity: []byte("res1"), Version: []byte("test 1"), Message: m})
	if err != nil {
		panic(err)
	}
	return b
}

// stream is frames as a file holds them.
func stream(t testing.TB, frames ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := framestream.NewWriter(&b, &framestream.WriterOptions{ContentTypes: [][]byte{[]byte(dnstap.ContentType)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if _, err := w.WriteFrame(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read reads a file that holds so many bytes, and fails with what can't be.
func read(t testing.TB, o *dns.Observer, b []byte) dns.SourceStats {
	t.Helper()
	st, err := o.File(t.Context(), bytes.NewReader(b), dns.FileOptions{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// sums are the totals, and blocks by zone and family.
func sums(t testing.TB, o *dns.Observer) (total dns.Tally, by map[string]dns.Tally) {
	t.Helper()
	by = map[string]dns.Tally{}
	for _, r := range o.Pending() {
		if r.Zone == "" && r.Family == "" {
			total.Add(&r.Tally)
			continue
		}
		x := by[r.Zone+r.Family]
		x.Add(&r.Tally)
		by[r.Zone+r.Family] = x
	}
	return total, by
}

// TestWhatIsBlocked: each way in which a resolver can show that a policy was applied,
// and what isn't one.
func TestWhatIsBlocked(t *testing.T) {
	at := noon
	for name, tt := range map[string]struct {
		client  string
		msg     []byte
		contact observe.Contact
		zone    string
		want    dns.Tally // of c2.
	}{
		"the SOA of the zone":         {"192.0.2.1", message("c2.example", 3, true, "c2."), observe.Blocked, "c2.mirai", dns.Tally{Blocked: 1}},
		"a name that nobody listed":   {"192.0.2.1", message("new.example", 3, true, "emergency."), observe.Blocked, "emergency.", dns.Tally{Blocked: 1}},
		"concluded from the list":     {"192.0.2.1", message("www.c2.example", 3, true, ""), observe.Blocked, "c2.mirai", dns.Tally{Blocked: 1}},
		"no such records":             {"192.0.2.1", message("c2.example", 0, true, ""), observe.Blocked, "c2.mirai", dns.Tally{Blocked: 1}},
		"enforced, and yet answered":  {"192.0.2.1", message("c2.example", 0, true, "", "198.51.100.1"), observe.Reached, "c2.mirai", dns.Tally{Reached: 1}},
		"a server failure":            {"192.0.2.1", message("c2.example", 2, true, ""), observe.NoContact, "", dns.Tally{}},
		"a sinkhole":                  {"192.0.2.1", message("hole.example", 0, true, "", "198.51.100.9"), observe.Sinkholed, "c2.gafgyt", dns.Tally{Sinkholed: 1}},
		"a shadow":                    {"192.0.2.1", message("shadow.example", 0, true, "", "198.51.100.9"), observe.NoContact, "c2.mozi", dns.Tally{Would: 1}},
		"a shadow that is gone":       {"192.0.2.1", message("shadow.example", 3, true, ""), observe.NoContact, "c2.mozi", dns.Tally{Would: 1}},
		"under review":                {"192.0.2.1", message("maybe.example", 0, true, "", "198.51.100.9"), observe.NoContact, "", dns.Tally{}},
		"somebody else's policy":      {"192.0.2.1", message("new.example", 3, true, "other.policy."), observe.NoContact, "", dns.Tally{}},
		"an allowed name":             {"192.0.2.1", message("c2.example", 0, true, "allow.", "198.51.100.9"), observe.NoContact, "", dns.Tally{}},
		"who doesn't consent to it":   {"192.0.2.3", message("c2.example", 3, true, "c2."), observe.NoContact, "", dns.Tally{}},
		"who only consents to blocks": {"192.0.2.2", message("c2.example", 3, true, "c2."), observe.NoContact, "c2.mirai", dns.Tally{Blocked: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			h := &heard{}
			o := observer(t, may{"192.0.2.1": "hits", "192.0.2.2": "match"}, h)
			read(t, o, stream(t, frame(at, tt.client, true, tt.msg)))
			total, by := sums(t, o)
			if total.Responses != 1 || total.Queries != 0 {
				t.Errorf("totals %+v", total)
			}
			if tt.zone == "" && len(by) > 0 || tt.zone != "" && by[tt.zone] != tt.want {
				t.Errorf("%+v", by)
			}
			l := h.all()
			if tt.client != "192.0.2.1" {
				if len(l) != 0 {
					t.Errorf("a detector hears %+v", l)
				}
				return
			}
			if len(l) != 1 || l[0].Contact != tt.contact || l[0].Client.String() != tt.client || !l[0].At.Equal(at) || l[0].Resolver != "res1" {
				t.Errorf("%+v", l)
			}
		})
	}
}

// TestDropped: a question that a policy leaves without an answer is a block. Of who doesn't
// consent it stays a question, as it does without a policy or by another's.
func TestDropped(t *testing.T) {
	h := &heard{}
	o := observer(t, may{"192.0.2.1": "hits", "192.0.2.2": "match"}, h)
	var frames [][]byte
	for _, client := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		m := dnstap.Message{Identity: []byte("edge"), Type: dnstap.ClientQuery, Client: netip.MustParseAddr(client), QueryTime: noon.UnixNano(), Query: message("c2.example", 0, false, "")}
		frames = append(frames, m.Append(nil))
		for _, p := range []dnstap.Policy{
			{Kind: []byte("RPZ"), Rule: []byte("\x02c2\x00"), Action: dnstap.ActionDrop},
			{Kind: []byte("RPZ"), Rule: []byte("\x05other\x00"), Action: dnstap.ActionDrop},
			{Kind: []byte("RPZ"), Rule: []byte("\x02c2\x00"), Action: dnstap.ActionNXDomain}, // its answer tells it
		} {
			m.Policy = p
			frames = append(frames, m.Append(nil))
		}
	}
	read(t, o, stream(t, frames...))
	total, by := sums(t, o)
	if total.Queries != 12 || total.Responses != 0 || len(by) != 1 || by["c2.mirai"] != (dns.Tally{Blocked: 2}) {
		t.Errorf("%+v %+v", total, by)
	}
	if l := h.all(); len(l) != 2 || l[0].Contact != observe.Blocked || l[0].Zone != "c2." || l[0].Client.String() != "192.0.2.1" || l[1].Contact != observe.NoContact {
		t.Errorf("%+v", l)
	}
}

// TestStreams: what can't be read harms nothing else, and is counted.
func TestStreams(t *testing.T) {
	o := observer(t, all("match"), nil)
	good := frame(noon, "192.0.2.1", true, message("a.example", 0, true, ""))
	st := read(t, o, stream(t, good, []byte("\xff\xff"), frame(noon, "192.0.2.1", true, []byte{1, 2, 3}), good))
	if st.Frames != 4 || st.Malformed != 2 || st.Broken != 0 {
		t.Errorf("%+v", st)
	}
	b := stream(t, good, good)
	st, err := o.File(t.Context(), bytes.NewReader(b[:len(b)-20]), dns.FileOptions{Name: "cut"})
	if err == nil || st.Broken != 1 || st.Frames < 1 {
		t.Errorf("%+v %v", st, err)
	}
	total, _ := sums(t, o)
	if total.Malformed != 2 || total.Broken != 1 || total.Responses < 3 {
		t.Errorf("%+v", total)
	}
	if _, err := o.File(t.Context(), strings.NewReader("hello\nworld\n"), dns.FileOptions{Name: "text"}); err == nil {
		t.Error("a text was taken for a log")
	}
}

// TestLogs: what BIND and Unbound write.
func TestLogs(t *testing.T) {
	for name, log := range map[string]string{
		"bind": `26-Nov-2026 21:00:00.123 queries: info: client @0x7f0 192.0.2.1#5300 (www.example.com): query: www.example.com IN A +E(0)K (192.0.2.53)
26-Nov-2026 21:00:01.123 queries: info: client @0x7f0 192.0.2.1#5300 (c2.example): query: c2.example IN A +E(0)K (192.0.2.53)
26-Nov-2026 21:00:01.124 rpz: info: client @0x7f0 192.0.2.1#5300 (c2.example): rpz QNAME NXDOMAIN rewrite c2.example/A/IN via c2.example.c2.
26-Nov-2026 21:00:02.000 general: info: running
26-Nov-2026 21:00:02.124 rpz: info: client @0x7f0 192.0.2.1#5300 (ok.example): rpz QNAME PASSTHRU rewrite ok.example/A/IN via ok.example.allow.
`,
		"unbound": `[1795726800] unbound[1:0] info: 192.0.2.1 www.example.com. A IN
[1795726800] unbound[1:0] info: 192.0.2.1 www.example.com. A IN NOERROR 0.000000 0 60
[1795726801] unbound[1:0] info: rpz: applied [c2] c2.example. rpz-nxdomain 192.0.2.1@5300 c2.example. A IN
[1795726801] unbound[1:0] info: 192.0.2.1 c2.example. A IN
[1795726801] unbound[1:0] info: 192.0.2.1 c2.example. A IN NXDOMAIN 0.000000 0 60
[1795726801] unbound[1:0] info: service stopped
[bad] unbound[1:0] info: 192.0.2.1 c2.example. A IN NXDOMAIN 0.000000 0 60
`,
	} {
		t.Run(name, func(t *testing.T) {
			h := &heard{}
			o := observer(t, all("hits"), h)
			read(t, o, []byte(log))
			total, by := sums(t, o)
			if total.Queries != 2 || by["c2.mirai"].Blocked != 1 || len(by) != 1 {
				t.Errorf("%+v %+v", total, by)
			}
			if name == "unbound" && (total.Responses != 2 || total.NXDomain != 1 || total.Malformed != 1) {
				t.Errorf("%+v", total)
			}
		})
	}
}

// TestReach: how many would lose a name is told, and of few only that they are few.
func TestReach(t *testing.T) {
	o := observer(t, all("match"), nil)
	var frames [][]byte
	for i := range 300 {
		client := fmt.Sprintf("192.0.%d.%d", i/250, i%250)
		frames = append(frames, frame(noon, client, true, message("shop.example", 0, true, "", "198.51.100.7")),
			frame(noon, client, true, message("shop.example", 0, true, "", "198.51.100.7")))
		if i < 200 {
			frames = append(frames, frame(noon, client, true, message(fmt.Sprintf("h%d.maybe.example", i%3), 0, true, "", "198.51.100.7")))
		}
		if i < 9 {
			frames = append(frames, frame(noon, client, true, message("rare.example", 0, true, "", "198.51.100.7")))
		}
	}
	read(t, o, stream(t, frames...))
	name := func(s string) wire.Name { n, _ := wire.ParseName(s); return n }
	if r := o.Reach(name("maybe.example")); r.Clients != 200 || r.Few || len(r.Neighbours) != 1 || r.Neighbours[0] != "shop.example" {
		t.Errorf("%+v", r)
	}
	if r := o.Reach(name("rare.example")); r.Clients != 0 || !r.Few || r.Lookups != 0 {
		t.Errorf("%+v", r)
	}
	if top := o.Top(10); len(top) != 2 || top[0].Name != "shop.example" || top[0].Clients != 300 {
		t.Errorf("%+v", top)
	}
}
