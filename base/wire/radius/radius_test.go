package radius_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"

	oracle "layeh.com/radius"
	"layeh.com/radius/rfc2869"
	"pgregory.net/rapid"

	"sakimori/base/wire/radius"
)

// pair is an attribute.
type pair struct {
	Type  radius.Type
	Value string
}

func pairs(a radius.Attributes) (list []pair) {
	for {
		t, v, ok := a.Next()
		if !ok {
			return list
		}
		list = append(list, pair{t, string(v)})
	}
}

// request is an Accounting-Request that the oracle signed.
func request(t testing.TB, secret string, attributes ...pair) radius.Packet {
	t.Helper()
	p := oracle.New(oracle.CodeAccountingRequest, []byte(secret))
	for _, a := range attributes {
		p.Add(oracle.Type(a.Type), oracle.Attribute(a.Value))
	}
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	q, err := radius.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestExample: the authenticator is what `openssl md5` makes of these bytes, with
// zeros in its place, and the secret behind them.
func TestExample(t *testing.T) {
	b, err := hex.DecodeString("04070024" + "73fd8143c61cb9f9229feb8d7f95d916" + "010666726564" + "280600000001" + "2c043031")
	if err != nil {
		t.Fatal(err)
	}
	p, err := radius.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if p.Code() != radius.AccountingRequest || p.ID() != 7 || len(pairs(p.Attributes())) != 3 {
		t.Errorf("code %d, identifier %d, %q", p.Code(), p.ID(), pairs(p.Attributes()))
	}
	if err := radius.NewSecret([]byte("xyzzy5461")).Check(p); err != nil {
		t.Error(err)
	}
	if err := radius.NewSecret([]byte("xyzzy5462")).Check(p); !errors.Is(err, radius.ErrAuthenticator) {
		t.Errorf("with another secret: %v", err)
	}
}

// What is refused, and that a datagram may be longer than the packet in it.
func TestParse(t *testing.T) {
	good := request(t, "s", pair{radius.UserName, "a"})
	change := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for _, tt := range []struct {
		name string
		b    []byte
		err  error
	}{
		{"as it was", good, nil},
		{"padding", change(func(b []byte) []byte { return append(b, 1, 2, 3) }), nil},
		{"nothing", nil, radius.ErrShort},
		{"19 bytes", good[:19], radius.ErrShort},
		{"a length of 19", change(func(b []byte) []byte { b[3] = 19; return b }), radius.ErrLength},
		{"a length of 4097", append(change(func(b []byte) []byte { b[2], b[3] = 16, 1; return b }), make([]byte, 5000)...), radius.ErrLength},
		{"a byte is missing", good[:len(good)-1], radius.ErrCut},
		{"an attribute of length 0", change(func(b []byte) []byte { b[21] = 0; return b }), radius.ErrAttribute},
		{"an attribute of length 1", change(func(b []byte) []byte { b[21] = 1; return b }), radius.ErrAttribute},
		{"an attribute beyond the end", change(func(b []byte) []byte { b[21] = 4; return b }), radius.ErrAttribute},
		{"half an attribute", change(func(b []byte) []byte { b[21], b[3] = 2, 23; return b }), radius.ErrAttribute},
	} {
		p, err := radius.Parse(tt.b)
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
		}
		if err == nil && !bytes.Equal(p, good) {
			t.Errorf("%s: %x", tt.name, p)
		}
	}
}

// Long extended attributes (RFC 6929 §2.2) are passed over, one fragment after the
// other, even if what is in them looks like attributes.
func TestExtended(t *testing.T) {
	trap := "\x01\x80\x01\x06evil"
	p := request(t, "s", pair{245, trap}, pair{245, "\x01\x00\x08\x06\x01\x01\x01\x01"}, pair{241, "\x01x"}, pair{radius.UserName, "fred"})
	want := []pair{{245, trap}, {245, "\x01\x00\x08\x06\x01\x01\x01\x01"}, {241, "\x01x"}, {radius.UserName, "fred"}}
	got := pairs(p.Attributes())
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%d: %q, want %q", i, got[i], want[i])
		}
	}
}

func TestVendor(t *testing.T) {
	for _, tt := range []struct {
		value  string
		vendor uint32
		sub    []pair
		ok     bool
	}{
		{"\x00\x00\x0d\xe9\x01\x06eth0\x02\x05abc", radius.ADSLForum, []pair{{radius.AgentCircuit, "eth0"}, {radius.AgentRemoteID, "abc"}}, true},
		{"\x00\x00\x0d\xe9", radius.ADSLForum, nil, true},
		{"\x00\x00\x0d", 0, nil, false},
		{"\x00\x00\x0d\xe9\x01\x07eth0", 0, nil, false},
		{"\x00\x00\x01\xad\x00\x00\x90\x09\x00\x00\x00\x05", 0, nil, false}, // 3Com's own form
	} {
		vendor, sub, ok := radius.Vendor([]byte(tt.value))
		got := pairs(sub)
		if vendor != tt.vendor || ok != tt.ok || len(got) != len(tt.sub) {
			t.Errorf("%q: %d %q %v", tt.value, vendor, got, ok)
			continue
		}
		for i := range got {
			if got[i] != tt.sub[i] {
				t.Errorf("%q: %q", tt.value, got)
			}
		}
	}
}

func TestValues(t *testing.T) {
	for _, tt := range []struct{ hex, want string }{
		{"004020010db800010002", "2001:db8:1:2::/64"},
		{"004020010db8000100020000000000000000", "2001:db8:1:2::/64"},
		{"003820010db80001ffff", "2001:db8:1:ff00::/56"}, // bits behind it are cleared
		{"003820010db80001ff", "2001:db8:1:ff00::/56"},
		{"0000", "::/0"},
		{"0080" + "20010db8000000000000000000000001", "2001:db8::1/128"},
		{"0081" + "20010db8000000000000000000000001", ""},
		{"004020010db80001", ""}, // too few bytes
		{"00", ""},
		{"", ""},
		{"004020010db800010002000000000000000000", ""}, // too many
	} {
		b, err := hex.DecodeString(tt.hex)
		if err != nil {
			t.Fatal(err)
		}
		p, ok := radius.IPv6Prefix(b)
		if ok != (tt.want != "") || ok && p.String() != tt.want {
			t.Errorf("%s: %v %v, want %q", tt.hex, p, ok, tt.want)
		}
	}
	if n, ok := radius.Uint32([]byte{1, 0, 0, 2}); !ok || n != 1<<24+2 {
		t.Error(n, ok)
	}
	if _, ok := radius.Uint32([]byte{1, 0, 0}); ok {
		t.Error("three bytes are no integer")
	}
	if a, ok := radius.Addr([]byte{192, 0, 2, 1}); !ok || a != netip.MustParseAddr("192.0.2.1") {
		t.Error(a, ok)
	}
	if _, ok := radius.Addr(make([]byte, 8)); ok {
		t.Error("eight bytes are no address")
	}
}

// TestOracle: random packets are read as layeh.com/radius reads them, and what one
// of the two signs the other accepts.
func TestOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOfN(rapid.Byte(), 1, 80).Draw(t, "secret")
		p := oracle.New(oracle.CodeAccountingRequest, secret)
		for range rapid.IntRange(0, 12).Draw(t, "attributes") {
			kind := rapid.SampledFrom([]int{1, 4, 26, 33, 40, 97, 245}).Draw(t, "type")
			p.Add(oracle.Type(kind), rapid.SliceOfN(rapid.Byte(), 0, 253).Draw(t, "value"))
		}
		if rapid.Bool().Draw(t, "with Message-Authenticator") {
			authenticate(t, p, secret)
		}
		b, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		q, err := radius.Parse(append(bytes.Clone(b), rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "padding")...))
		if err != nil {
			t.Fatal(err)
		}
		same(t, q, b, secret)
		s := radius.NewSecret(secret)
		if err := s.Check(q); err != nil {
			t.Fatal(err)
		}
		answer := s.AppendResponse([]byte("before"), radius.AccountingResponse, q)[len("before"):]
		if !oracle.IsAuthenticResponse(answer, b, secret) {
			t.Fatalf("the oracle refuses %x", answer)
		}
		a, err := radius.Parse(answer)
		if err != nil {
			t.Fatal(err)
		}
		proxied(t, a, q)
		// One bit more or less, anywhere but in the code: nobody signed that.
		bent := bytes.Clone(q)
		at := rapid.IntRange(4, len(bent)-1).Draw(t, "bent at")
		bent[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if r, err := radius.Parse(bent); err == nil && s.Check(r) == nil {
			t.Fatal("a bent packet was accepted")
		}
	})
}

// proxied: Proxy-State comes back in its order, and nothing else.
func proxied(t *rapid.T, answer, request radius.Packet) {
	var want []pair
	for _, a := range pairs(request.Attributes()) {
		if a.Type == radius.ProxyState {
			want = append(want, a)
		}
	}
	got := pairs(answer.Attributes())
	if len(got) != len(want) {
		t.Fatalf("%d Proxy-State, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("Proxy-State %d differs", i)
		}
	}
}

// TestStatusServer: it must carry a Message-Authenticator, and so does the answer.
func TestStatusServer(t *testing.T) {
	b := append([]byte{byte(radius.StatusServer), 1, 0, 20}, "0123456789abcdef"...)
	s := radius.NewSecret([]byte("s"))
	if err := s.Check(b); !errors.Is(err, radius.ErrUnsigned) {
		t.Errorf("without: %v", err)
	}
	b = append(b, byte(radius.MessageAuthenticator), 18)
	b = append(b, make([]byte, 16)...)
	b[3] = byte(len(b))
	if err := s.Check(b); !errors.Is(err, radius.ErrMessageAuthenticator) {
		t.Errorf("wrong: %v", err)
	}
	copy(b[22:], mac([]byte("s"), b))
	if err := s.Check(b); err != nil {
		t.Errorf("right: %v", err)
	}
	answer := s.AppendResponse(nil, radius.AccountingResponse, b)
	if !oracle.IsAuthenticResponse(answer, b, []byte("s")) || len(answer) != 38 {
		t.Fatalf("%x", answer)
	}
	// As it was when its own sum was taken: the request's authenticator, and zeros.
	sum := bytes.Clone(answer[22:])
	copy(answer[4:20], b[4:20])
	copy(answer[22:], make([]byte, 16))
	if !bytes.Equal(sum, mac([]byte("s"), answer)) {
		t.Error("the answer's Message-Authenticator is wrong")
	}
}

// authenticate puts a Message-Authenticator into a request, computed with the
// standard library alone.
func authenticate(t *rapid.T, p *oracle.Packet, secret []byte) {
	p.Set(rfc2869.MessageAuthenticator_Type, make([]byte, 16))
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	copy(b[4:20], make([]byte, 16))
	p.Set(rfc2869.MessageAuthenticator_Type, mac(secret, b))
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// same compares a packet with what the oracle reads in it.
func same(t failer, q radius.Packet, b, secret []byte) {
	t.Helper()
	p, err := oracle.Parse(b, secret)
	if err != nil {
		t.Fatalf("the oracle refuses what was read: %v", err)
	}
	if int(p.Code) != int(q.Code()) || p.Identifier != q.ID() || !bytes.Equal(p.Authenticator[:], q.Authenticator()) || int(binary.BigEndian.Uint16(q[2:])) != len(q) {
		t.Fatalf("headers differ: %x, %+v", q[:20], p)
	}
	got := pairs(q.Attributes())
	if len(got) != len(p.Attributes) {
		t.Fatalf("%d attributes, the oracle has %d", len(got), len(p.Attributes))
	}
	for i, a := range p.Attributes {
		if int(a.Type) != int(got[i].Type) || string(a.Attribute) != got[i].Value {
			t.Fatalf("attribute %d differs", i)
		}
	}
}

// Nothing of it allocates.
func TestAllocations(t *testing.T) {
	b := request(t, "secret", pair{radius.UserName, "user@example.net"}, pair{radius.AcctStatusType, "\x00\x00\x00\x03"}, pair{radius.VendorSpecific, "\x00\x00\x0d\xe9\x01\x06eth0"}, pair{radius.ProxyState, "x"})
	s := radius.NewSecret([]byte("secret"))
	answer := make([]byte, 0, radius.MaxLen)
	if n := testing.AllocsPerRun(100, func() {
		p, err := radius.Parse(b)
		if err != nil || s.Check(p) != nil {
			t.Fatal("refused")
		}
		for rest := p.Attributes(); ; {
			kind, value, ok := rest.Next()
			if !ok {
				break
			}
			if kind == radius.VendorSpecific {
				if _, sub, ok := radius.Vendor(value); ok {
					sub.Next()
				}
			}
		}
		answer = s.AppendResponse(answer[:0], radius.AccountingResponse, p)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
