package mrt_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"sakimori/base/wire/bgp"
	"sakimori/base/wire/mrt"
)

// table is a dump of n prefixes that both peers announce, each with one of a thousand
// paths.
func table(n int) (b []byte) {
	b = record(1503631370, mrt.TypeTableDumpV2, 1, peers)
	for i := range n {
		path := i * 7919 % 1000
		a := slices.Concat([]byte{0x40, 1, 1, 0, 0x40, 2, 22, 2, 5}, numbers(4, 64500, 3356, uint64(1000+path), uint64(20000+path), uint64(200000+path)),
			[]byte{0x40, 3, 4, 192, 0, 2, 1, 0xc0, 8, 12}, numbers(4, 0xfbf40001, 0xfbf40002, 0x0d1c0003))
		b = append(b, record(1503631370, mrt.TypeTableDumpV2, 2, numbers(4, uint64(i)), []byte{24, byte(1 + i>>16), byte(i >> 8), byte(i)}, numbers(2, 2), entry(0, a), entry(1, a))...)
	}
	return b
}

// used is the CPU time of this process, or of one that has ended.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestAllocations: once the memory is there, neither reading nor text allocates.
func TestAllocations(t *testing.T) {
	data := sample()
	var d mrt.Dumper
	var u bgp.Update
	var text []byte
	if n := testing.AllocsPerRun(20, func() {
		var r mrt.Record
		for rest := data; len(rest) > 0; {
			n, err := mrt.Parse(rest, &r)
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
			if r.Kind() == mrt.KindPeers && cap(text) > 0 { // once in a file
				continue
			}
			text, _ = d.Append(text[:0], &r)
			walk(&r, &u)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// walk reads all that a record holds, and tells how many routes.
func walk(r *mrt.Record, u *bgp.Update) (n int) {
	switch r.Kind() {
	case mrt.KindRIB:
		var rib mrt.RIB
		if r.RIB(&rib) == nil {
			for e := (mrt.Entry{}); rib.Next(&e); n++ {
				u.ParseEntry(e.Attributes, rib.Options)
			}
		}
	case mrt.KindMessage:
		var m mrt.Message
		if r.Message(&m) == nil && m.Type == bgp.TypeUpdate {
			u.Parse(m.Body, m.Options)
			var p bgp.Prefix
			for _, block := range u.Announced() {
				for ; block.Next(&p); n++ {
				}
			}
		}
	case mrt.Unread, mrt.KindState, mrt.KindPeers, mrt.KindTable:
	}
	return n
}

// BenchmarkTable reads a table of 100,000 prefixes of two peers, and says it as text as
// bgpdump does.
func BenchmarkTable(b *testing.B) {
	const routes = 200000
	data := table(routes / 2)
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		var u bgp.Update
		before := used()
		for b.Loop() {
			n := 0
			var r mrt.Record
			for s := mrt.NewReader(bytes.NewReader(data)); s.Next(&r) == nil; {
				n += walk(&r, &u)
			}
			if n != routes {
				b.Fatal(n)
			}
		}
		b.ReportMetric(float64(b.N*routes)/(used()-before).Seconds(), "routes/CPU-s")
	})
	b.Run("text", func(b *testing.B) {
		b.ReportAllocs()
		before := used()
		var d mrt.Dumper
		var text []byte
		for b.Loop() {
			var r mrt.Record
			for s := mrt.NewReader(bytes.NewReader(data)); s.Next(&r) == nil; {
				var err error
				if text, err = d.Append(text[:0], &r); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(b.N*routes)/(used()-before).Seconds(), "routes/CPU-s")
	})
	b.Run("bgpdump", func(b *testing.B) {
		needsBgpdump(b)
		path := filepath.Join(b.TempDir(), "table.mrt")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			b.Fatal(err)
		}
		var spent time.Duration
		for b.Loop() {
			c := exec.CommandContext(b.Context(), "bgpdump", "-m", path)
			if err := c.Run(); err != nil {
				b.Fatal(err)
			}
			spent += c.ProcessState.UserTime() + c.ProcessState.SystemTime()
		}
		b.ReportMetric(float64(b.N*routes)/spent.Seconds(), "routes/CPU-s")
	})
}
