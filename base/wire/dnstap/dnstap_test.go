package dnstap_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	oracle "github.com/dnstap/golang-dnstap"
	framestream "github.com/farsightsec/golang-framestream"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"sakimori/base/corpus"
	"sakimori/base/wire/dns"
	"sakimori/base/wire/dnstap"
)

// TestCorpus: a file that dnsdist wrote.
func TestCorpus(t *testing.T) {
	f, err := os.Open(corpus.Folder(t, "dns", "dnstap.fstrm"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := dnstap.NewFrames(f, nil)
	var m dnstap.Message
	for i, want := range []dnstap.Type{dnstap.ClientQuery, dnstap.ClientResponse} {
		frame, err := s.Next()
		if err != nil {
			t.Fatal(i, err)
		}
		if err := m.Read(frame); err != nil {
			t.Fatal(i, err)
		}
		var d dns.Message
		if err := d.Read(m.Wire()); err != nil {
			t.Fatal(err)
		}
		q, err := d.Question(nil)
		if err != nil || q.Name.String() != "www.google.com" || m.Type != want || m.TCP || string(m.Identity) != "dnsdist" ||
			m.Client != netip.MustParseAddr("172.19.0.1") || m.ServerPort != 53 || time.Unix(0, m.At()).Year() != 2024 {
			t.Errorf("%+v %v", m, err)
		}
	}
	if _, err := s.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
}

// TestOracle: what another program writes is read as it was meant.
func TestOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		opt := func(name string) []byte {
			if rapid.Bool().Draw(t, name+"?") {
				return nil
			}
			return rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, name)
		}
		addr := func(name string) []byte {
			return rapid.SampledFrom([][]byte{nil, {192, 0, 2, 1}, netip.MustParseAddr("2001:db8::7").AsSlice()}).Draw(t, name)
		}
		in := &oracle.Message{
			Type:            oracle.Message_Type(rapid.IntRange(1, 14).Draw(t, "type")).Enum(),
			SocketProtocol:  oracle.SocketProtocol(rapid.IntRange(1, 2).Draw(t, "protocol")).Enum(),
			QueryAddress:    addr("client"),
			ResponseAddress: addr("server"),
			QueryPort:       new(rapid.Uint32Range(0, 65535).Draw(t, "port")),
			QueryTimeSec:    new(rapid.Uint64Range(0, 4e9).Draw(t, "sec")),
			QueryTimeNsec:   new(rapid.Uint32Range(0, 999_999_999).Draw(t, "nsec")),
			QueryMessage:    opt("query"), QueryZone: opt("zone"), ResponseMessage: opt("response"),
		}
		frame, err := proto.Marshal(&oracle.Dnstap{Type: oracle.Dnstap_MESSAGE.Enum(), Identity: opt("identity"), Extra: opt("extra"), Message: in})
		if err != nil {
			t.Fatal(err)
		}
		var m dnstap.Message
		if err := m.Read(frame); err != nil {
			t.Fatal(err)
		}
		if int(m.Type) != int(in.GetType()) || m.TCP != (in.GetSocketProtocol() == oracle.SocketProtocol_TCP) || !bytes.Equal(m.Client.AsSlice(), in.GetQueryAddress()) ||
			!bytes.Equal(m.Server.AsSlice(), in.GetResponseAddress()) || uint32(m.ClientPort) != in.GetQueryPort() ||
			m.QueryTime != int64(in.GetQueryTimeSec())*1e9+int64(in.GetQueryTimeNsec()) || !bytes.Equal(m.Query, in.GetQueryMessage()) ||
			!bytes.Equal(m.Zone, in.GetQueryZone()) || !bytes.Equal(m.Response, in.GetResponseMessage()) {
			t.Fatalf("%+v\nwas read as\n%+v", in, m)
		}
		if n := testing.AllocsPerRun(1, func() { _ = m.Read(frame) }); n != 0 {
			t.Fatalf("%v allocations", n)
		}
	})
}

// TestPolicy: the newer fields of the policy, which the oracle doesn't know.
func TestPolicy(t *testing.T) {
	policy := []byte("\x0a\x03RPZ\x12\x05\x03c2x\x00\x18\x01\x20\x01\x2a\x01v")
	inner := append([]byte("\x08\x06\x7a"), byte(len(policy)))
	inner = append(inner, policy...)
	frame := append([]byte("\x78\x01\x72"), byte(len(inner)))
	frame = append(frame, inner...)
	var m dnstap.Message
	if err := m.Read(frame); err != nil || string(m.Policy.Kind) != "RPZ" || string(m.Policy.Rule) != "\x03c2x\x00" || m.Policy.Action != dnstap.ActionNXDomain {
		t.Errorf("%+v %v", m, err)
	}
}

// TestHandshake: a sender that wants to be answered is, and one that is cut off in the
// middle is told apart from one that ended.
func TestHandshake(t *testing.T) {
	for _, ends := range []bool{true, false} {
		ours, theirs := net.Pipe()
		sent := make(chan error, 1)
		go func() {
			w, err := framestream.NewWriter(theirs, &framestream.WriterOptions{ContentTypes: [][]byte{[]byte(dnstap.ContentType)}, Bidirectional: true})
			if err == nil {
				_, err = w.WriteFrame([]byte("one"))
			}
			if err == nil {
				err = w.Flush()
			}
			if err == nil && ends {
				err = w.Close()
			}
			sent <- errors.Join(err, theirs.Close())
		}()
		s := dnstap.NewFrames(ours, ours)
		b, err := s.Next()
		if err != nil || string(b) != "one" {
			t.Fatalf("%q %v", b, err)
		}
		_, err = s.Next()
		if want := map[bool]error{true: io.EOF, false: io.ErrUnexpectedEOF}[ends]; !errors.Is(err, want) {
			t.Errorf("%v instead of %v", err, want)
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
	}
}

func TestWhatIsntAStream(t *testing.T) {
	for in, want := range map[string]error{
		"":                 io.ErrUnexpectedEOF,
		"\x00\x00\x00\x05": dnstap.ErrStream,
		"\x00\x00\x00\x00\x00\x00\x00\x0d\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x01x":                dnstap.ErrContent,
		"\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x04":                                                 dnstap.ErrStream, // READY, and nobody to answer
		"\x00\x00\x00\x00\xff\xff\xff\xff":                                                                 dnstap.ErrStream,
		"\x00\x00\x00\x00\x00\x00\x00\x0c\x00\x00\x00\x02\x00\x00\x00\x01\xff\xff\xff\xff":                 dnstap.ErrStream,
		"\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x02\x7f\xff\xff\xff":                                 dnstap.ErrTooLong,
		"\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x02\x00\x00\x00\x09abc":                              io.ErrUnexpectedEOF,
		"\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x01": dnstap.ErrStream,
	} {
		s := dnstap.NewFrames(bytes.NewReader([]byte(in)), nil)
		if _, err := s.Next(); !errors.Is(err, want) {
			t.Errorf("%q: %v instead of %v", in, err, want)
		}
	}
	l := dnstap.NewLengths(bytes.NewReader([]byte("\x00\x03abc\x00\x09ab")))
	if b, err := l.Next(); err != nil || string(b) != "abc" {
		t.Errorf("%q %v", b, err)
	}
	if _, err := l.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// FuzzFrames reads anything without harm, and ends.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x02\x00\x00\x00\x04\x72\x02\x08\x06"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		s := dnstap.NewFrames(bytes.NewReader(b), io.Discard)
		for {
			if _, err := s.Next(); err != nil {
				break
			}
		}
		l := dnstap.NewLengths(bytes.NewReader(b))
		for {
			if _, err := l.Next(); err != nil {
				return
			}
		}
	})
}

// FuzzRead reads anything without harm; what is read lies in what came.
func FuzzRead(f *testing.F) {
	f.Add([]byte("\x78\x01\x72\x0e\x08\x06\x7a\x0a\x0a\x03RPZ\x18\x01\x20\x01"))
	f.Add([]byte("\x08\x02\x32\x04\xc0\x00\x02\x01\x62\x0c\x0a\x08c2.test.\x10\x01\x6a\x0a\x08\x03\x1a\x03c2.\x50\x03"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m dnstap.Message
		if m.Read(b) == nil && (m.Type == 0 || m.Type > dnstap.UpdateResponse || len(m.Query)+len(m.Response)+len(m.Zone) > len(b)) {
			t.Fatalf("%+v", m)
		}
		var p dnstap.PowerDNS
		if p.Read(b) == nil && (p.Type == 0 || len(p.Name)+len(p.Policy) > len(b) || p.Rcode > 15) {
			t.Fatalf("%+v", p)
		}
	})
}

func TestPowerDNS(t *testing.T) {
	var p dnstap.PowerDNS
	in := []byte("\x08\x02\x1a\x03rec\x32\x04\xc0\x00\x02\x01\x48\xcd\xe6\x82\xb3\x06\x50\x05\x62\x0c\x0a\x08c2.test.\x10\x01\x6a\x13\x08\x03\x12\x08\x10\x01\x2a\x04\xc6\x33\x64\x01\x1a\x03c2.\x50\x03\xa0\x01\x35")
	if err := p.Read(in); err != nil {
		t.Fatal(err)
	}
	if p.Type != dnstap.ClientResponse || string(p.Identity) != "rec" || string(p.Name) != "c2.test." || p.QType != 1 || p.Rcode != 3 || string(p.Policy) != "c2." ||
		p.PolicyKind != dnstap.KindNXDomain || p.Answers[0] != netip.MustParseAddr("198.51.100.1") || p.Answered != 1 || p.ClientPort != 53 {
		t.Errorf("%+v", p)
	}
}
