package access_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"sakimori/base/clock"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/access"
)

// sound reads and looks at what every record must be: with a time between 2000 and a
// century from now, with an address that can be a subscriber's unless it is a Reset,
// with names that are short and printable; and that nothing is counted twice.
func sound(t *testing.T, data []byte, by func(io.Reader, access.Emit) (subscriber.Stats, error)) {
	t.Helper()
	n := uint64(0)
	s, _ := by(bytes.NewReader(data), func(r *subscriber.Record) error {
		n++
		a := r.Address
		switch {
		case r.Kind < subscriber.Begin || r.Kind > subscriber.Reset, r.At.Year() < 2000, r.At.Year() > 2200, !r.Since.IsZero() && r.Since.After(r.At):
			t.Fatalf("%+v", r)
		case (r.Kind == subscriber.Reset) == a.IsValid(), a.IsValid() && (a != a.Masked() || a.Addr().IsUnspecified() || a.Addr().IsMulticast() || a.Addr().Is6() && a.Bits() < 16):
			t.Fatalf("%+v", r)
		}
		for _, name := range []string{r.Line, r.Session, r.Source} {
			if len(name) > 2200 || strings.ContainsAny(name, "\n\x00\x1b") {
				t.Fatalf("%+v", r)
			}
		}
		return nil
	})
	bad := uint64(0)
	for _, k := range s.Reasons {
		bad += k
	}
	if s.Records != n || s.Malformed != bad || len(s.Examples) > 20 {
		t.Fatalf("%d records, %+v", n, s)
	}
}

func FuzzCapture(f *testing.F) {
	f.Add(packet(f, 4, attributes{{status, start}, {user, "fred"}, {nasID, "bng"}, {framed, one}, {delegated, pd}, {event, at("11:00:00")}}), true)
	f.Add(packet(f, 4, attributes{{status, interim}, {vsa, "\x00\x00\x0d\xe9\x01\x05a|b"}, {framed6, host6}, {sessionTime, u32(9)}, {timeout, u32(99)}}), true)
	f.Add(captured(f, packet(f, 4, attributes{{status, u32(7)}, {nas6, host6}})), false)
	f.Fuzz(func(t *testing.T, data []byte, payload bool) {
		if payload { // as a datagram, so that not all of the work goes into the frame
			if len(data) > 60_000 {
				return
			}
			data = captured(t, data)
		}
		k, _ := access.ParseKey("agent-circuit")
		for _, cfg := range []access.Accounting{{}, {Line: k, WholeAddress: true, StampKept: true}} {
			sound(t, data, func(r io.Reader, e access.Emit) (subscriber.Stats, error) {
				return access.ReadCapture(r, access.CaptureOptions{Accounting: cfg}, e)
			})
		}
	})
}

func FuzzDetail(f *testing.F) {
	f.Add([]byte(heading + "\tAcct-Status-Type = Start\n\tUser-Name = \"a\\\"\\303\\251\"\n\tFramed-IP-Address = 203.0.113.7\n\tDelegated-IPv6-Prefix = 2001:db8::/56\n\tEvent-Timestamp = \"Mar 23 2021 13:50:39 EDT\"\n\tTimestamp = 1775040000\n\n"))
	f.Add([]byte("x\n\tPacket-Type = Access-Request\n\n\tAcct-Status-Type = 7\n\tClass = 0x00ff\n\tEvent-Timestamp = 1775040000\n\tAttr-26.3561.1 = 0x61\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, _ := access.ParseKey("agent-circuit")
		sound(t, data, asDetail(access.DetailOptions{}))
		sound(t, data, asDetail(access.DetailOptions{Accounting: access.Accounting{Line: k}}))
	})
}

func FuzzKea(f *testing.F) {
	f.Add([]byte(four + "203.0.113.7,00:1a:2b,01:00:1a,3600,1775048400,1,0,0,a&#x2cb,0,{ \"ISC\": { \"relay-agent-info\": { \"sub-options\": \"0x01046F6C7431\" } } }\n"))
	f.Add([]byte(six + "2001:db8:7::,00:03,3600,1775048400,1,1800,2,9,56,0,0,,,2,{ \"ISC\": { \"relays\": [ { \"hop\": 0&#x2c \"options\": \"0x0012000166\" } ] } },,\n"))
	f.Fuzz(func(t *testing.T, data []byte) { sound(t, data, asKea(access.LeaseOptions{})) })
}

func FuzzISC(f *testing.F) {
	f.Add([]byte("lease 203.0.113.7 {\n starts 3 2026/04/01 12:00:00;\n ends never;\n binding state active;\n uid \"\\001\\\"a\";\n option agent.circuit-id 0:4:ff;\n on expiry { x; }\n}\n"))
	f.Add([]byte("authoring-byte-order big-endian;\nia-pd \"\\000\\000\\000\\011ab\" { cltt epoch 1775040000; iaprefix 2001:db8:7::/56 { binding state released; ends 3 2026/04/01 12:00:00; } }\nlease 1.2.3.4 {"))
	f.Fuzz(func(t *testing.T, data []byte) {
		sound(t, data, func(r io.Reader, e access.Emit) (subscriber.Stats, error) {
			return access.ReadISC(r, access.LeaseOptions{Clock: clock.Fixed(arrival), MAC: true}, e)
		})
	})
}
