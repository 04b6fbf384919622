package access_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	wire "sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/access"
)

// framed is a capture of whole frames, the first of which may be cut.
func capturedFrames(t *testing.T, cut int, frames ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := pcap.NewWriter(&out, wire.LinkEthernet)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range frames {
		have := f
		if i == 0 && cut > 0 {
			have = f[:cut]
		}
		if err := w.WriteCut(arrival.UnixNano(), have, uint32(len(f))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestCapture(t *testing.T) {
	request := packet(t, 4, attributes{{status, start}, {user, "fred"}, {nasID, "bng"}, {framed, one}})
	const fred = "Begin, 203.0.113.7/32, line fred, source bng, at 12:00:00"
	fragment := frame(1813, request)
	fragment[20] = 0x20
	later := frame(1813, request)
	later[21] = 9
	answer := append([]byte{5, request[1], 0, 20}, make([]byte, 16)...)
	damaged := capturedFrames(t, 0, frame(1813, request))
	damaged = append(damaged, 1, 2, 3)
	for _, tt := range []struct {
		name    string
		file    []byte
		options access.CaptureOptions
		want    string
		ignored uint64
		broken  bool
	}{
		{name: "a request", file: captured(t, request), want: fred},
		{name: "its retransmissions and its answer", file: captured(t, request, request, answer, request), want: fred, ignored: 3},
		{name: "verified", file: captured(t, request), options: access.CaptureOptions{Secret: []byte(secret)}, want: fred},
		{name: "with another secret", file: captured(t, request), options: access.CaptureOptions{Secret: []byte("no")}, want: "packet 1: the shared secret is another one"},
		{name: "the old port", file: capturedFrames(t, 0, frame(1646, request)), want: fred},
		{name: "another port", file: capturedFrames(t, 0, frame(2083, request)), ignored: 1},
		{name: "that is asked for", file: capturedFrames(t, 0, frame(2083, request)), options: access.CaptureOptions{Ports: []uint16{2083}}, want: fred},
		{name: "a fragment and the rest of it", file: capturedFrames(t, 0, fragment, later), want: "packet 1: a fragment", ignored: 1},
		{name: "cut off", file: capturedFrames(t, 60, frame(1813, request), frame(1813, request)), want: fred + "; packet 1: cut off by the snapshot length"},
		{name: "nonsense", file: captured(t, []byte("\x04nonsense"), []byte{}, request), want: fred + "; packet 1: shorter than it says; packet 2: shorter than it says"},
		{name: "no IP", file: capturedFrames(t, 0, make([]byte, 60)), ignored: 1},
		{name: "damaged at its end", file: damaged, want: fred, broken: true},
		{name: "no capture", file: []byte("hello, hello, hello, hello, hello"), broken: true},
	} {
		got, emit := collect()
		s, err := access.ReadCapture(bytes.NewReader(tt.file), tt.options, emit)
		var bad *pcap.Error
		if errors.As(err, &bad) != tt.broken || (err != nil) != tt.broken {
			t.Errorf("%s: %v", tt.name, err)
		}
		if have := strings.Join(append(*got, s.Examples...), "; "); have != tt.want || s.Ignored != tt.ignored {
			t.Errorf("%s: %d ignored\n%s, want\n%s", tt.name, s.Ignored, have, tt.want)
		}
	}
}

// TestTshark: tshark reads the same names and addresses in a capture as we do.
func TestTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("tshark isn't installed (Debian: tshark)")
		}
		t.Skip("SKIPPED, NOT TESTED: tshark isn't installed (Debian: tshark)")
	}
	file := captured(t,
		packet(t, 4, attributes{{status, start}, {user, "fred"}, {sessionID, "s1"}, {nasID, "bng"}, {framed, one}}),
		packet(t, 4, attributes{{status, stop}, {user, "wilma"}, {sessionID, "s2"}, {nasID, "bng2"}, {framed, "\xcb\x00\x71\x08"}, {event, at("11:00:00")}}),
		packet(t, 4, attributes{{status, interim}, {user, "betty@example.net"}, {sessionID, "s3"}, {nasID, "bng"}, {framed, "\xcb\x00\x71\x09"}}))
	path := filepath.Join(t.TempDir(), "a.pcap")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), tshark, "-r", path, "-T", "fields", "-e", "radius.User_Name", "-e", "radius.Acct_Session_Id", "-e", "radius.NAS_Identifier", "-e", "radius.Framed-IP-Address").Output()
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	if _, err := access.ReadCapture(bytes.NewReader(file), access.CaptureOptions{}, func(r *subscriber.Record) error {
		_, err := io.WriteString(&got, strings.Join([]string{r.Line, r.Session, r.Source, r.Address.Addr().String()}, "\t")+"\n")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if got.String() != string(out) || got.Len() == 0 {
		t.Errorf("we read\n%s, tshark\n%s", got.String(), out)
	}
}
