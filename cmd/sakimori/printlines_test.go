package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sakimori/observe/telescope"
)

func manyScanners(n int) telescope.Document {
	var d telescope.Document
	for i := range n {
		d.Scanners = append(d.Scanners, telescope.Scanner{
			Source: netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), Port: uint16(i), Protocol: "tcp", Packets: uint64(n - i),
			Coverage: float64(i) / float64(n), Tool: "unknown", First: time.Unix(int64(i), int64(i)).UTC(), Last: time.Unix(1.7e9, int64(i)*1000).UTC(),
		})
	}
	d.Ports = []telescope.PortCount{}
	for i := range n % 3 * linesAtOnce {
		d.Ports = append(d.Ports, telescope.PortCount{Port: uint16(i), Protocol: "tcp", Sources: 1, SourcesErr: 1 / float64(i+1)})
	}
	return d
}

func printed(w io.Writer, d telescope.Document) error {
	return printDocumentJSON(w, d, len(d.Scanners), func(i int) telescope.Scanner { return d.Scanners[i] })
}

// TestLongDocument: however long the list, the document is the same JSON, and a
// line of it what encoding/json makes of a scanner.
func TestLongDocument(t *testing.T) {
	for _, n := range []int{10_000, 10_001, 3 * linesAtOnce, 3*linesAtOnce + 1, 50_000} {
		d := manyScanners(n)
		var out bytes.Buffer
		if err := printed(&out, d); err != nil {
			t.Fatal(err)
		}
		if n > 10_000 {
			var want strings.Builder
			for i := range d.Scanners {
				line, err := json.Marshal(&d.Scanners[i])
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&want, "    %s,\n", line)
			}
			_, list, _ := strings.Cut(out.String(), "  \"scanners\": [\n")
			list, rest, _ := strings.Cut(list, "\n  ]")
			if p, err := json.MarshalIndent(d.Ports, "  ", "  "); err != nil || !strings.Contains(rest, "\n  \"ports\": "+string(p)+",\n") {
				t.Fatalf("%d scanners: not the ports of encoding/json (%v)", n, err)
			}
			if list+",\n" != want.String() || !strings.HasPrefix(rest, ",\n  \"victims\": ") {
				t.Fatalf("%d scanners: not the lines of encoding/json", n)
			}
		}
		var got, want bytes.Buffer
		short, err := json.Marshal(d)
		if err == nil {
			err = json.Compact(&got, out.Bytes())
		}
		if err == nil {
			err = json.Compact(&want, short)
		}
		if err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Fatalf("%d scanners: another document (%v)", n, err)
		}
	}
}

type failing struct{ after int }

func (f *failing) Write(b []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, errors.New("disk full")
	}
	return len(b), nil
}

func TestLongDocumentOnAFullDisk(t *testing.T) {
	d := manyScanners(50_000)
	for after := range 16 {
		if err := printed(&failing{after}, d); err == nil || err.Error() != "disk full" {
			t.Errorf("after %d writes: error %v", after, err)
		}
	}
	d.Scanners[30_000].First = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := printed(&bytes.Buffer{}, d); err == nil {
		t.Error("a scanner of the year 10000 was written")
	}
}
