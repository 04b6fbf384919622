package access_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/access"
)

// reader reads a text and gives records and reasons, a line each.
func read(text string, by func(io.Reader, access.Emit) (subscriber.Stats, error)) (string, subscriber.Stats, error) {
	got, emit := collect()
	s, err := by(strings.NewReader(text), emit)
	return strings.Join(append(*got, s.Examples...), "; "), s, err
}

func asDetail(o access.DetailOptions) func(io.Reader, access.Emit) (subscriber.Stats, error) {
	return func(r io.Reader, emit access.Emit) (subscriber.Stats, error) { return access.ReadDetail(r, o, emit) }
}

const heading = "Wed Apr  1 12:00:00 2026\n"

func TestDetail(t *testing.T) {
	block := func(lines ...string) string { return heading + "\t" + strings.Join(lines, "\n\t") + "\n\n" }
	fine := block(`Acct-Status-Type = Start`, `User-Name = "fred"`, `Framed-IP-Address = 203.0.113.7`, `NAS-IP-Address = 10.0.0.1`)
	const fred = "Begin, 203.0.113.7/32, line fred, source 10.0.0.1, at 12:00:00"
	for _, tt := range []struct{ name, text, want string }{
		{"a block", fine, fred},
		{"without an empty line at the end", strings.TrimSpace(fine), fred},
		{"no empty line between", strings.TrimSuffix(fine, "\n") + fine, fred + "; " + fred},
		{"lines of Windows", strings.ReplaceAll(fine, "\n", "\r\n"), fred},
		{"spaces for the tab", strings.ReplaceAll(fine, "\t", "    "), fred},
		{"the time of arrival by number", block(`Acct-Status-Type = 1`, `Framed-IP-Address = 203.0.113.7`, `Packet-Src-IP-Address = 10.0.0.9`, `Timestamp = 1775040000`), "Begin, 203.0.113.7/32, source 10.0.0.9, at 10:40:00"},
		{"sent on by a relay", block(`Acct-Status-Type = Alive`, `Framed-IP-Address = 203.0.113.7`, `NAS-Identifier = "b"`, `Donestamp = 1775040000`), "Alive, 203.0.113.7/32, source b, at 10:40:00"},
		{"escapes", block(`Acct-Status-Type = Start`, `User-Name = "a\"b\\c\303\251"`, `Framed-IP-Address = 203.0.113.7`, `NAS-Identifier = "b"`), `Begin, 203.0.113.7/32, line a"b\cé, source b, at 12:00:00`},
		{"unknown attributes, and a value with = in it", block(`Acct-Status-Type = Start`, `Attr-26.4874.210 = 0x00000004`, `Filter-Id = "a = b"`, `Framed-IP-Address = 203.0.113.7`, `NAS-Identifier = "x = y"`), "Begin, 203.0.113.7/32, source x = y, at 12:00:00"},
		{"a number for an address", block(`Acct-Status-Type = Start`, `Framed-IP-Address = 0xcb007107`, `NAS-Identifier = "b"`), "Begin, 203.0.113.7/32, source b, at 12:00:00"},
		{"another packet", block(`Packet-Type = Access-Request`, `User-Name = "fred"`), ""},
		{"no attribute", heading + "\n", "line 1: no Acct-Status-Type"},
		{"no arrival", "\tAcct-Status-Type = Start\n\tFramed-IP-Address = 203.0.113.7\n", "line 1: no time of arrival"},
		{"a heading that is none", "hello\n\tAcct-Status-Type = Start\n", "line 1: no time of arrival"},
		{"a line without a value, and the next block", block(`Acct-Status-Type = Start`, `Framed-IP-Address`) + fine, fred + "; line 3: a line has no value"},
		{"an address that is none", block(`Acct-Status-Type = Start`, `Framed-IP-Address = fred`), "line 3: an attribute's value has the wrong form"},
		{"a prefix of the other family", block(`Acct-Status-Type = Start`, `Framed-IPv6-Prefix = 10.0.0.0/8`), "line 3: an attribute's value has the wrong form"},
		{"a string that doesn't end", block(`Acct-Status-Type = Start`, `User-Name = "fred`), "line 3: an attribute's value has the wrong form"},
		{"half an escape", block(`Acct-Status-Type = Start`, `User-Name = "fred\"`), "line 3: an attribute's value has the wrong form"},
		{"a name of two thousand bytes", block(`Acct-Status-Type = Start`, `User-Name = "`+strings.Repeat("x", 2000)+`"`), "line 3: an attribute's value has the wrong form"},
		{"a number too large", block(`Acct-Status-Type = Start`, `Acct-Delay-Time = 4294967296`), "line 3: an attribute's value has the wrong form"},
		{"a date that is none", block(`Acct-Status-Type = Start`, `Event-Timestamp = "soon"`), "line 3: a date can't be read, or its zone isn't known: set the zone of the server"},
		{"a line of a million bytes, and the next block", heading + "\t" + strings.Repeat("x", 1e6) + "\n\n" + fine, fred + "; line 2: a line is too long"},
		{"nothing", "", ""},
	} {
		got, s, err := read(tt.text, asDetail(access.DetailOptions{}))
		if got != tt.want || err != nil {
			t.Errorf("%s: %v\n%s, want\n%s", tt.name, err, got, tt.want)
		}
		if tt.want == "" && tt.text != "" && s.Ignored != 1 {
			t.Errorf("%s: %+v", tt.name, s)
		}
	}
}

// TestDetailKey: the attribute that names the contract goes by either of its names.
func TestDetailKey(t *testing.T) {
	for _, tt := range []struct{ key, line, want string }{
		{"vendor:4874:177:ERX-Thing", `Attr-26.4874.177 = 0x6c696e65`, "line"},
		{"vendor:4874:177:ERX-Thing", `ERX-Thing = "line"`, "line"},
		{"vendor:4874:177", `ERX-Thing = "line"`, ""},
		{"class", `Class = 0x6c696e65`, "line"},
		{"class", `Class = 0x00ff`, "0x00ff"},
		{"calling-station-id", `Calling-Station-Id = "line"`, "line"},
	} {
		var got string
		s, err := access.ReadDetail(strings.NewReader(heading+"\tAcct-Status-Type = Start\n\tUser-Name = \"fred\"\n\tFramed-IP-Address = 203.0.113.7\n\t"+tt.line+"\n"), access.DetailOptions{Accounting: access.Accounting{Line: key(t, tt.key)}},
			func(r *subscriber.Record) error { got = r.Line; return nil })
		if err != nil || s.Records != 1 || got != tt.want {
			t.Errorf("%s, %s: %q, want %q (%v, %+v)", tt.key, tt.line, got, tt.want, err, s)
		}
	}
}

// TestReaderErrors: the error of a file, and that of whoever takes the records, ends the
// reading, and is handed up.
func TestReaderErrors(t *testing.T) {
	broken := errors.New("the disk is gone")
	full := errors.New("no more")
	for name, tt := range map[string]struct {
		text string
		by   func(io.Reader, access.Emit) (subscriber.Stats, error)
	}{
		"detail": {heading + "\tAcct-Status-Type = Accounting-On\n\n", asDetail(access.DetailOptions{})},
		"kea": {"address,valid_lifetime,expire\n203.0.113.7,60,1700000000\n", func(r io.Reader, e access.Emit) (subscriber.Stats, error) {
			return access.ReadKea(r, access.LeaseOptions{}, e)
		}},
		"isc": {"lease 203.0.113.7 { starts 4 2026/04/01 10:00:00; binding state active; }\n", func(r io.Reader, e access.Emit) (subscriber.Stats, error) {
			return access.ReadISC(r, access.LeaseOptions{}, e)
		}},
		"capture": {string(captured(t, packet(t, 4, attributes{{status, u32(7)}}))), func(r io.Reader, e access.Emit) (subscriber.Stats, error) {
			return access.ReadCapture(r, access.CaptureOptions{}, e)
		}},
	} {
		s, err := tt.by(strings.NewReader(tt.text), func(*subscriber.Record) error { return full })
		if !errors.Is(err, full) || s.Records != 0 {
			t.Errorf("%s: %v, %+v", name, err, s)
		}
		_, emit := collect()
		s, err = tt.by(io.MultiReader(strings.NewReader(tt.text), iotest.ErrReader(broken)), emit)
		if !errors.Is(err, broken) || s.Records != 1 {
			t.Errorf("%s: %v, %+v", name, err, s)
		}
	}
}

// TestStats: the times of the first and the last record are by their own clock.
func TestStats(t *testing.T) {
	var text strings.Builder
	for _, n := range []int{5, 1, 9} {
		fmt.Fprintf(&text, "%s\tAcct-Status-Type = Accounting-On\n\tEvent-Timestamp = \"2026-04-01T0%d:00:00Z\"\n\n", heading, n)
	}
	_, s, err := read(text.String(), asDetail(access.DetailOptions{}))
	if err != nil || s.Records != 3 || stamp(s.First) != "01:00:00" || stamp(s.Last) != "09:00:00" {
		t.Errorf("%v, %+v", err, s)
	}
}
