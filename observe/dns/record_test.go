package dns_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/observe/dns"
)

func record(t testing.TB, db *relation.DB) *dns.Record {
	t.Helper()
	r, err := dns.Open(t.Context(), db, clock.Fixed(noon))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRecord: what is counted adds up by day, zone, family and resolver; a content
// counts once; what couldn't be kept isn't lost.
func TestRecord(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := record(t, db)
		o := observer(t, all("match"), nil)
		fill := func(day int) {
			var frames [][]byte
			for i := range 20 {
				at := noon.AddDate(0, 0, day).Add(time.Duration(i) * time.Hour / 2)
				frames = append(frames, frame(at, "192.0.2.1", false, message("c2.example", 0, false, "")), frame(at, "192.0.2.1", true, message("c2.example", 3, true, "c2.")))
			}
			read(t, o, stream(t, frames...))
		}
		fill(0)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Keep(gone, o, nil); err == nil {
			t.Fatal("kept although it was cancelled")
		}
		if err := r.Keep(t.Context(), o, &dns.File{Digest: "d1", Name: "a"}); err != nil {
			t.Fatal(err)
		}
		if err := r.Keep(t.Context(), o, nil); err != nil { // nothing more
			t.Fatal(err)
		}
		fill(0)
		if err := r.Keep(t.Context(), o, &dns.File{Digest: "d1", Name: "b"}); !errors.Is(err, dns.ErrTaken) {
			t.Errorf("%v", err)
		}
		o = observer(t, all("match"), nil)
		fill(1)
		if err := r.Keep(t.Context(), o, &dns.File{Digest: "d2", Name: "c"}); err != nil {
			t.Fatal(err)
		}
		for by, want := range map[dns.By]string{
			dns.ByDay:      "2026-11-26:40/40, 2026-11-27:80/80, 2026-11-28:40/40, ",
			dns.ByZone:     "c2.:0/40, ",
			dns.ByFamily:   "mirai:0/40, ",
			dns.ByResolver: "res1:40/40, ",
			dns.Total:      "total:40/40, ",
		} {
			list, err := r.Counts(t.Context(), noon.AddDate(0, 0, -1), noon.AddDate(0, 0, 9), by)
			if err != nil {
				t.Fatal(by, err)
			}
			got := ""
			sum := uint64(0)
			for _, c := range list {
				if by == dns.ByDay {
					sum += c.Blocked
					continue
				}
				got += fmt.Sprintf("%s:%d/%d, ", c.Key, c.Queries, c.Blocked)
			}
			if by == dns.ByDay {
				if len(list) != 2+1 && len(list) != 2 || sum != 40 || list[0].At.Format(time.DateOnly) != "2026-11-26" {
					t.Errorf("%+v", list)
				}
				continue
			}
			if got != want {
				t.Errorf("by %s: %s", by, got)
			}
		}
		if _, err := r.Counts(t.Context(), noon, noon, "colour"); err == nil {
			t.Error("counts by colour")
		}
		reached, err := r.Reached(t.Context(), "c2.example", noon.AddDate(0, 0, -1), 10)
		if err != nil || len(reached) == 0 || !reached[0].Few || reached[0].Clients != 0 {
			t.Errorf("%+v %v", reached, err)
		}
	})
}

// TestKilled: a process that is killed while it keeps counts has kept what it
// acknowledged, and at most what it was about to.
func TestKilled(t *testing.T) {
	if path := os.Getenv("DNS_TEST_KEEPS"); path != "" {
		r, o := record(t, relationtest.Open(t, path)), observer(t, all("match"), nil)
		for i := 0; ; i++ {
			read(t, o, stream(t, frame(noon, "192.0.2.1", true, message("c2.example", 3, true, "c2.")), frame(noon, "192.0.2.1", false, message("c2.example", 0, false, ""))))
			if err := r.Keep(t.Context(), o, nil); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(os.Stderr, i+1) // acknowledged
		}
	}
	path := filepath.Join(t.TempDir(), "house.sqlite")
	for round := range 3 {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
		c.Env = append(os.Environ(), "DNS_TEST_KEEPS="+path)
		var said bytes.Buffer
		c.Stderr = &said
		before := uint64(0)
		if round > 0 {
			before = kept(t, path)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(300+77*round) * time.Millisecond)
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait() // it was killed
		acknowledged := uint64(strings.Count(said.String(), "\n"))
		if got := kept(t, path) - before; got != acknowledged && got != acknowledged+1 {
			t.Errorf("%d kept, %d acknowledged", got, acknowledged)
		}
	}
	if kept(t, path) == 0 {
		t.Error("nothing was kept in three rounds")
	}
}

func kept(t *testing.T, path string) uint64 {
	t.Helper()
	db, err := relation.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	list, err := record(t, db).Counts(t.Context(), noon.AddDate(0, 0, -1), noon.AddDate(0, 0, 1), dns.Total)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		return 0
	}
	if list[0].Responses != list[0].Queries || list[0].Blocked != list[0].Responses {
		t.Errorf("kept by halves: %+v", list[0])
	}
	return list[0].Blocked
}

// TestNobodyIsKept: of a client whose hits may not be kept there is no trace: not in
// what is in memory, not in what is told, not on disk.
func TestNobodyIsKept(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		who := may{}
		names := []string{"c2.example", "hole.example", "www.example", "shadow.example", "q7x.example", "maybe.example"}
		var frames [][]byte
		secret := map[netip.Addr]bool{}
		for range rapid.IntRange(1, 60).Draw(rt, "lookups") {
			client := netip.AddrFrom4([4]byte{203, 0, 113, byte(rapid.IntRange(1, 9).Draw(rt, "client"))})
			if rapid.Bool().Draw(rt, "v6") {
				client = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: client.As4()[3]})
			}
			if _, is := who[client.String()]; !is {
				who[client.String()] = rapid.SampledFrom([]string{"", "match", "hits"}).Draw(rt, "consent")
			}
			secret[client] = who[client.String()] != "hits"
			rcode := rapid.SampledFrom([]uint8{0, 3}).Draw(rt, "rcode")
			frames = append(frames, frame(noon, client.String(), true, message(rapid.SampledFrom(names).Draw(rt, "name"), rcode, true, "", "198.51.100.7")))
		}
		h := &heard{}
		o := observer(t, who, h)
		st := read(t, o, stream(t, frames...))
		checkMemory(rt, o, secret)
		for _, l := range h.all() {
			if secret[l.Client] {
				rt.Fatalf("a detector hears of %s", l.Client)
			}
		}
		const seldom = 10 // a store is opened for
		if n%seldom != 1 {
			return
		}
		path := filepath.Join(dir, fmt.Sprint(n))
		db, err := relation.Open(t.Context(), path)
		if err != nil {
			rt.Fatal(err)
		}
		r := record(t, db)
		if err := r.Keep(t.Context(), o, nil); err != nil {
			rt.Fatal(err)
		}
		checkMemory(rt, o, secret)
		told := fmt.Sprintf("%+v %+v %+v %+v", st, o.Stats(), o.Top(100), o.Pending())
		if err := db.Close(); err != nil {
			rt.Fatal(err)
		}
		disk, err := os.ReadFile(path)
		if err != nil {
			rt.Fatal(err)
		}
		for a, is := range secret {
			if is && (strings.Contains(told, a.String()) || bytes.Contains(disk, []byte(a.String())) || bytes.Contains(disk, a.AsSlice())) {
				rt.Fatalf("%s is told or on disk", a)
			}
		}
	})
}

// checkMemory looks for addresses in all that an observer holds.
func checkMemory(t *rapid.T, o *dns.Observer, secret map[netip.Addr]bool) {
	bytesOf := map[string]bool{}
	number := map[uint64]bool{}
	for a, is := range secret {
		if is {
			bytesOf[string(a.AsSlice())], bytesOf[a.String()] = true, true
			if a.Is4() {
				b := a.As4()
				number[uint64(b[0])<<24|uint64(b[1])<<16|uint64(b[2])<<8|uint64(b[3])] = true
			}
		}
	}
	seen := map[uintptr]bool{}
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		switch v.Kind() {
		case reflect.Pointer:
			if v.IsNil() || seen[v.Pointer()] {
				return
			}
			seen[v.Pointer()] = true
			walk(v.Elem(), path)
		case reflect.Struct:
			if v.Type() == reflect.TypeFor[netip.Addr]() {
				u := v.Field(0)
				hi, lo := u.Field(0).Uint(), u.Field(1).Uint()
				for a, is := range secret {
					b := a.As16()
					h, l := uint64(0), uint64(0)
					for i := range 8 {
						h, l = h<<8|uint64(b[i]), l<<8|uint64(b[i+8])
					}
					if is && h == hi && l == lo {
						t.Fatalf("%s holds %s", path, a)
					}
				}
				return
			}
			for i := range v.NumField() {
				name := v.Type().Field(i).Name
				if path == "" && (name == "clients" || name == "out" || name == "policy" || name == "clock") {
					continue // whose consent is whose, and what detectors may know
				}
				walk(v.Field(i), path+"."+name)
			}
		case reflect.Map:
			for it := v.MapRange(); it.Next(); {
				walk(it.Key(), path+"[key]")
				walk(it.Value(), path+"[]")
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() == reflect.Uint8 {
				for b := range bytesOf {
					if bytes.Contains(v.Slice(0, v.Len()).Bytes(), []byte(b)) {
						t.Fatalf("%s holds an address", path)
					}
				}
				return
			}
			for i := range v.Len() {
				walk(v.Index(i), path+"[]")
			}
		case reflect.Array:
			for i := range v.Len() {
				walk(v.Index(i), path+"[]")
			}
		case reflect.String:
			for b := range bytesOf {
				if strings.Contains(v.String(), b) {
					t.Fatalf("%s holds an address", path)
				}
			}
		case reflect.Uint32, reflect.Uint64:
			if number[v.Uint()] {
				t.Fatalf("%s holds an address", path)
			}
		}
	}
	walk(reflect.ValueOf(o).Elem(), "")
}
