package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"sakimori/base/store"
	"sakimori/base/wire/packet"
	"sakimori/observe"
	flowrecord "sakimori/observe/flow/record"
)

// TestFlowCommands asks a data folder with some flows, as a person would.
func TestFlowCommands(t *testing.T) {
	t.Setenv("LANG", "C")
	dir := t.TempDir()
	keepFlows(t, dir)
	ask := func(want int, args ...string) (out, errs string) {
		t.Helper()
		var o, e bytes.Buffer
		if got := Main(t.Context(), append([]string{"flow"}, append(args, "--data", dir)...), strings.NewReader(""), &o, &e); got != want {
			t.Fatalf("%v: exit %d, not %d: %s", args, got, want, e.String())
		}
		return o.String(), e.String()
	}
	has := func(out string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("no %q in:\n%s", w, out)
			}
		}
	}
	out, _ := ask(0, "top", "--by", "dst_port", "--last", "10m")
	has(out, "2026-11-20T03:00:00Z to 2026-11-20T03:10:00Z, kept by 1m", "total: 80,000 (±6.9 %) packets", "443/tcp", "53/udp", "75.0 %", "others: 0.0 %")
	out, _ = ask(0, "talkers", "proto=udp", "dst=203.0.113.0/28", "-o", "json")
	var talk struct {
		Rows []struct{ Src, Dst string }
	}
	if err := json.Unmarshal([]byte(out), &talk); err != nil || len(talk.Rows) != 1 || talk.Rows[0].Dst != "203.0.113.1" {
		t.Errorf("%v: %s", err, out)
	}
	out, _ = ask(0, "search", "--limit", "700", "-o", "csv")
	if n := strings.Count(out, "\n"); n != 1+610 { // two pages
		t.Errorf("%d lines", n)
	}
	out, _ = ask(0, "search", "--limit", "3", "src_port=53")
	has(out, "kept by 1m", "198.51.100.9", "there are more")
	out, _ = ask(0, "top", "dst=192.0.2.0/24")
	has(out, "no flows fit")
	for _, bad := range [][]string{{"top", "dst"}, {"top", "to=203.0.113.1"}, {"search", "--limit", "0"}, {"talkers", "--last", "1h", "--from", "2026-11-20T03:00:00Z"}} {
		ask(2, bad...)
	}
	_, errs := ask(1, "top", "proto=nothing")
	has(errs, `"nothing" can't be read as proto`)
	t.Setenv("LANG", "ja_JP.UTF-8")
	out, _ = ask(0, "top", "--last", "10m")
	has(out, "合計: 80,000 (±6.9 %) パケット")
}

// keepFlows writes ten minutes of flows.
func keepFlows(t *testing.T, dir string) {
	t.Helper()
	s, err := store.Open(t.Context(), dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rec, err := flowrecord.New(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	w, err := rec.Writer(t.Context(), flowrecord.Options{})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 11, 20, 3, 0, 0, 0, time.UTC).UnixNano()
	for i := range int64(800) {
		f := observe.Flow{
			Src: packet.V4(0xc6336409), Dst: packet.V4(0xcb007101), Proto: packet.UDP, SrcPort: uint16(50_000 + i%300), DstPort: 443, Packets: 100, Bytes: 50_000, Seen: 1, Rate: 100, Exporter: 1,
			First: start + i*750e6, Last: start + i*750e6,
		}
		if f.Proto = packet.TCP; i%4 == 0 {
			f.Proto, f.SrcPort, f.DstPort = packet.UDP, 53, 53
		}
		w.Take([]observe.Flow{f})
	}
	serial := w.Finish()
	if err := s.Tx(t.Context(), func(tx *store.Tx) error { return w.Save(t.Context(), tx, serial) }); err != nil {
		t.Fatal(err)
	}
}
