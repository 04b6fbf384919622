package dns

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	oracle "github.com/miekg/dns"
)

var (
	now    = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	secret = []byte("0123456789abcdef0123456789abcdef")
)

func key(a Algorithm) *Key {
	return &Key{Name: Name("\x04peer\x04test\x00"), Algorithm: a, Secret: secret}
}

// signed is a query with its signature.
func signed(s *Stream, id uint16, at time.Time) []byte {
	m := Message{ID: id, Counts: [4]uint16{1}}
	raw := AppendQuestion(m.AppendHeader(nil), Question{Name("\x02c2\x00"), SOA, IN})
	raw = append(raw, s.Sign(at, raw)...)
	binary.BigEndian.PutUint16(raw[10:], 1)
	return raw
}

func read(t *testing.T, raw []byte) *Message {
	t.Helper()
	var m Message
	if err := m.Read(raw); err != nil {
		t.Fatal(err)
	}
	return &m
}

func TestSignedAsTheOracleDoes(t *testing.T) {
	for _, a := range []Algorithm{SHA256, SHA512} {
		k, b64 := key(a), base64.StdEncoding.EncodeToString(secret)
		at := time.Now()
		s := k.Begin(nil)
		raw := signed(s, 7, at)
		if err := oracle.TsigVerify(bytes.Clone(raw), b64, "", false); err != nil {
			t.Errorf("%s: the oracle refuses our request: %v", a, err)
		}
		x, _, err := read(t, raw).Signature()
		if err != nil {
			t.Fatal(err)
		}
		// An answer of three messages by the oracle, the second unsigned, is ours to verify.
		mac, ours, theirs := hexOf(x.MAC), k.Begin(x.MAC), k.Begin(x.MAC)
		for i := range 3 {
			m := new(oracle.Msg)
			m.SetQuestion("c2.", oracle.TypeSOA)
			m.Id, m.Response = 7, true
			m.SetTsig(k.Name.String()+".", string(a)+".", 300, at.Unix())
			b, next, err := oracle.TsigGenerate(m, b64, mac, i > 0)
			if err != nil {
				t.Fatal(err)
			}
			mac = next
			if err := theirs.Verify(read(t, b), at); err != nil {
				t.Errorf("%s: message %d of the oracle: %v", a, i, err)
			}
		}
		// And ours the oracle's.
		mac = hexOf(x.MAC)
		for i := range 3 {
			raw := signed(ours, 7, at)
			if err := oracle.TsigVerify(bytes.Clone(raw), b64, mac, i > 0); err != nil {
				t.Errorf("%s: the oracle refuses message %d: %v", a, i, err)
			}
			y, _, _ := read(t, raw).Signature()
			mac = hexOf(y.MAC)
		}
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s []byte
	for _, c := range b {
		s = append(s, digits[c>>4], digits[c&15])
	}
	return string(s)
}

func TestSignatureThatDoesntHold(t *testing.T) {
	k := key(SHA256)
	good := signed(k.Begin(nil), 7, now)
	x, _, _ := read(t, good).Signature()
	verify := func(k *Key, raw []byte, at time.Time) error { return k.Begin(nil).Verify(read(t, raw), at) }
	if err := verify(k, good, now.Add(299*time.Second)); err != nil {
		t.Error(err)
	}
	forwarded := bytes.Clone(good) // by a proxy that changes the id
	forwarded[0] ^= 1
	if err := verify(k, forwarded, now); err != nil {
		t.Error(err)
	}
	altered := bytes.Clone(good)
	altered[HeaderSize+1] ^= 1
	other := key(SHA256)
	other.Secret = []byte("another secret of some length")
	cut := func(n int) []byte {
		y := x
		y.MAC = x.MAC[:n]
		return y.append(bytes.Clone(good[:x.At]))
	}
	behind := append(bytes.Clone(good), 0)
	for name, c := range map[string]struct {
		k    *Key
		raw  []byte
		at   time.Time
		want error
	}{
		"altered": {k, altered, now, ErrSig}, "another secret": {other, good, now, ErrSig}, "another algorithm": {key(SHA512), good, now, ErrKey},
		"late": {k, good, now.Add(301 * time.Second), ErrTime}, "early": {k, good, now.Add(-301 * time.Second), ErrTime},
		"cut": {k, cut(16), now, ErrTrunc}, "cut too far": {k, cut(8), now, ErrSig}, "none": {k, cut(0), now, ErrSig}, "bytes behind": {k, behind, now, ErrShort},
	} {
		if err := verify(c.k, c.raw, c.at); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, not %v", name, err, c.want)
		}
	}
	if err := verify(k, AppendQuestion((&Message{Counts: [4]uint16{1}}).AppendHeader(nil), Question{Root(), SOA, IN}), now); !errors.Is(err, ErrUnsigned) {
		t.Errorf("unsigned: %v", err)
	}
	// The oracle reads what is said of a signature that doesn't hold.
	raw := append((&Message{ID: 7, Response: true, Rcode: NotAuth, Counts: [4]uint16{0, 0, 0, 1}}).AppendHeader(nil), x.Unsigned(BadSig)...)
	m := new(oracle.Msg)
	if err := m.Unpack(raw); err != nil || m.IsTsig() == nil || m.IsTsig().Error != BadSig || m.IsTsig().MACSize != 0 {
		t.Errorf("%v %v", m, err)
	}
}

// Ninety-nine messages may go unsigned, no more, and not the last.
func TestSomeMessagesUnsigned(t *testing.T) {
	k := key(SHA256)
	out, in := k.Begin([]byte("of the request")), k.Begin([]byte("of the request"))
	plain := AppendQuestion((&Message{ID: 7, Counts: [4]uint16{1}}).AppendHeader(nil), Question{Root(), SOA, IN})
	if err := in.Verify(read(t, plain), now); !errors.Is(err, ErrUnsigned) {
		t.Fatalf("the first: %v", err)
	}
	take := func(raw []byte) {
		t.Helper()
		if err := in.Verify(read(t, raw), now); err != nil {
			t.Fatal(err)
		}
	}
	take(signed(out, 7, now))
	for range 99 {
		out.hash.Write(plain)
		take(plain)
	}
	if in.Settled() {
		t.Error("unsigned messages count as verified")
	}
	take(signed(out, 7, now))
	if !in.Settled() {
		t.Error("not settled")
	}
	for range 99 {
		take(plain)
	}
	if err := in.Verify(read(t, plain), now); !errors.Is(err, ErrUnsigned) {
		t.Errorf("a hundredth: %v", err)
	}
}

func TestWrittenAsRead(t *testing.T) {
	start := Start{Name("\x09localhost\x00"), Root(), 1, 2, 3, 4, 5}
	m := Message{ID: 1, Response: true, Opcode: Notify, Authority: true, Truncated: true, Desired: true, Available: true, Checked: true, Rcode: Refused, Counts: [4]uint16{1, 1}}
	raw := AppendQuestion(m.AppendHeader(nil), Question{Name("\x02c2\x00"), SOA, IN})
	raw = AppendRR(raw, ToQuestion, SOA, IN, 60, start.Append(nil))
	again := read(t, raw)
	m.Raw = raw
	if again.AppendHeader(nil) == nil || !bytes.Equal(again.AppendHeader(nil), m.AppendHeader(nil)) {
		t.Errorf("%+v", again)
	}
	var rr RR
	r := again.Records()
	if !r.Next(&rr) {
		t.Fatal(r.Err())
	}
	if s, err := again.Start(&rr); err != nil || s.Serial != 1 || s.Minimum != 5 || s.Primary.String() != "localhost" {
		t.Errorf("%+v %v", s, err)
	}
	o := new(oracle.Msg)
	if err := o.Unpack(raw); err != nil || o.Answer[0].Header().Name != "c2." || o.Opcode != oracle.OpcodeNotify || !o.Truncated {
		t.Errorf("%v %v", o, err)
	}
	if b, err := ReadFrame(bytes.NewReader(AppendFrame(nil, raw)), nil); err != nil || !bytes.Equal(b, raw) {
		t.Errorf("%q %v", b, err)
	}
	if _, err := ReadFrame(bytes.NewReader(AppendFrame(nil, raw)[:20]), nil); err == nil {
		t.Error("a message that was cut off was read")
	}
}

// FuzzSignature finds signatures in anything without harm, and believes none of them.
func FuzzSignature(f *testing.F) {
	k := key(SHA256)
	good := signed(k.Begin(nil), 7, now)
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m Message
		if m.Read(raw) != nil {
			return
		}
		other := &Key{Name: k.Name, Algorithm: SHA256, Secret: []byte("a secret nobody signed with")}
		if other.Begin(nil).Verify(&m, now) == nil {
			t.Fatalf("believed: %q", raw)
		}
		x, signed, err := m.Signature()
		if err == nil && signed && x.At > len(raw) {
			t.Fatalf("at %d of %d", x.At, len(raw))
		}
		r := m.Records()
		var rr RR
		for r.Next(&rr) {
			if rr.Type == SOA {
				_, _ = m.Start(&rr)
			}
		}
	})
}
