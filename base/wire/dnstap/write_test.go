package dnstap_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"sakimori/base/wire/dnstap"
)

func drawn(t *rapid.T) dnstap.Message {
	data := func(name string) []byte {
		b := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, name)
		if len(b) == 0 {
			return nil
		}
		return b
	}
	address := func(name string) netip.Addr {
		switch b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name); rapid.IntRange(0, 2).Draw(t, "family") {
		case 0:
			return netip.Addr{}
		case 1:
			return netip.AddrFrom4([4]byte(b))
		default:
			return netip.AddrFrom16([16]byte(b)).Unmap()
		}
	}
	return dnstap.Message{
		Identity: data("identity"), Type: dnstap.Type(rapid.IntRange(1, 14).Draw(t, "type")), TCP: rapid.Bool().Draw(t, "tcp"),
		Client: address("client"), Server: address("server"), ClientPort: rapid.Uint16().Draw(t, "port"), ServerPort: rapid.Uint16().Draw(t, "port"),
		QueryTime: rapid.Int64Range(0, 9e18).Draw(t, "asked"), ResponseTime: rapid.Int64Range(0, 9e18).Draw(t, "answered"),
		Query: data("query"), Response: data("response"), Zone: data("zone"),
		Policy: dnstap.Policy{Kind: data("kind"), Rule: data("rule"), Action: rapid.Uint8().Draw(t, "action"), Match: rapid.Uint8().Draw(t, "match"), Value: data("value")},
	}
}

// TestWritten: what is written is read again, by a file and by a sender that is answered.
func TestWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.Custom(drawn), 0, 5).Draw(t, "messages")
		var file bytes.Buffer
		w, err := dnstap.NewWriter(&file, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			if err := w.Write(&list[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		read(t, dnstap.NewFrames(&file, nil), list)
	})
}

type fails interface{ Fatalf(string, ...any) }

func read(t fails, r *dnstap.Frames, want []dnstap.Message) {
	for i := 0; ; i++ {
		frame, err := r.Next()
		if errors.Is(err, io.EOF) && i == len(want) {
			return
		}
		if err != nil || i >= len(want) {
			t.Fatalf("%d of %d messages: %v", i, len(want), err)
		}
		var m dnstap.Message
		if err := m.Read(frame); err != nil || !reflect.DeepEqual(m, want[i]) {
			t.Fatalf("%+v\nnot\n%+v\n%v", m, want[i], err)
		}
	}
}

// TestAnswered: both sides of a connection agree on begin and end.
func TestAnswered(t *testing.T) {
	here, there := net.Pipe()
	want := []dnstap.Message{{Type: dnstap.ClientQuery, Query: []byte{1, 2, 3}}}
	done := make(chan error)
	go func() {
		w, err := dnstap.NewWriter(here, here)
		if err == nil {
			err = w.Write(&want[0])
		}
		if err == nil {
			err = w.Close()
		}
		done <- err
	}()
	read(t, dnstap.NewFrames(there, there), want)
	if err := <-done; err != nil {
		t.Error(err)
	}
	m := dnstap.Message{Type: dnstap.ClientQuery, Query: make([]byte, dnstap.MaxFrame)}
	w, err := dnstap.NewWriter(io.Discard, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(&m); !errors.Is(err, dnstap.ErrTooLong) {
		t.Errorf("too long a message: %v", err)
	}
}
