package record_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sakimori/base/store"
	"sakimori/observe"
	"sakimori/observe/telescope/record"
)

// dense stands for a dense sketch of 12 KiB: merging is the greater of each byte.
func mergeDense(sets [][]byte, _ bool) ([]byte, observe.Unique, error) {
	return each(mergeDense2, sets)
}

func mergeDense2(a, b []byte) ([]byte, observe.Unique, error) {
	out := make([]byte, len(a))
	var n uint64
	for i := range a {
		out[i] = max(a[i], b[i])
		n += uint64(out[i])
	}
	return out, observe.Unique{N: n, Err: 0.0081}, nil
}

// BenchmarkYear asks the console's questions of a year as large as NICTER's:
// a day row for each of 65,536 ports, 30,000 ASes and 250 countries on 365 days, with
// sketches of the 30 busiest ports, and hour rows of the last 60 days, and a
// million events. The ports' ranks are scattered over the port space, which is
// the worst case for order on disk. YEAR_HOURS changes
// the 60, YEAR_ASK asks only questions whose name contains it.
func BenchmarkYear(b *testing.B) {
	ctx := context.Background()
	s, err := store.Open(ctx, b.TempDir(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	r, err := record.New(ctx, s, mergeDense)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Date(2026, 11, 20, 10, 17, 0, 0, time.UTC)
	hourDays := int64(60)
	if n, err := strconv.ParseInt(os.Getenv("YEAR_HOURS"), 10, 64); err == nil {
		hourDays = n
	}
	began := time.Now()
	generate(b, s, r, now, hourDays)
	report("generated in %v", time.Since(began).Round(time.Second))
	began = time.Now()
	if err := r.Rollup(ctx); err != nil {
		b.Fatal(err)
	}
	report("12 months rolled up in %v", time.Since(began).Round(time.Second))
	began = time.Now()
	if err := r.Cluster(ctx, now.AddDate(0, 0, -1)); err != nil {
		b.Fatal(err)
	}
	report("a day of hours sorted in %v", time.Since(began).Round(time.Millisecond))
	if err := s.Checkpoint(ctx); err != nil {
		b.Fatal(err)
	}
	z, _ := s.Size()
	report("%d MiB on disk", z.Database>>20)

	last := func(days int) observe.Range { return observe.Range{From: now.AddDate(0, 0, -days), To: now} }
	const telnet = 6<<16 | 23
	questions := []struct {
		name string
		ask  func(i int) error
	}{
		{"series port, year by day", func(i int) error {
			_, err := r.Series(ctx, observe.ByPort, telnet+uint32(i)*997, last(365), observe.Day)
			return err
		}},
		{"series port, 30 days by hour", func(i int) error {
			_, err := r.Series(ctx, observe.ByPort, telnet+uint32(i)*997, last(30), observe.Hour)
			return err
		}},
		{"series total, year by day", func(int) error { _, err := r.Series(ctx, observe.ByTotal, 0, last(365), observe.Day); return err }},
		{"total, year", func(int) error { _, err := r.Total(ctx, last(365)); return err }},
		{"total, 30 days", func(int) error { _, err := r.Total(ctx, last(30)); return err }},
		{"top ports by packets, year", func(int) error { return top(r.Top(ctx, observe.ByPort, last(365), "packets", 20, 0)) }},
		{"top ports by packets, 30 days", func(int) error { return top(r.Top(ctx, observe.ByPort, last(30), "packets", 20, 0)) }},
		{"top ports by packets, 7 days", func(int) error { return top(r.Top(ctx, observe.ByPort, last(7), "packets", 20, 0)) }},
		{"top ports by packets, 24 hours", func(int) error { return top(r.Top(ctx, observe.ByPort, last(1), "packets", 20, 0)) }},
		{"top ports by sources, year", func(int) error { return top(r.Top(ctx, observe.ByPort, last(365), "sources", 20, 0)) }},
		{"top ports by sources, 30 days", func(int) error { return top(r.Top(ctx, observe.ByPort, last(30), "sources", 20, 0)) }},
		{"top ASes by packets, year", func(int) error { return top(r.Top(ctx, observe.ByAS, last(365), "packets", 20, 0)) }},
		{"top countries, 30 days", func(int) error { return top(r.Top(ctx, observe.ByCountry, last(30), "packets", 20, 0)) }},
		{"heat strip, 7 days x 20 ports", func(int) error { _, _, _, _, err := r.Heat(ctx, last(7), 20); return err }},
		{"heat strip, 30 days x 20 ports", func(int) error { _, _, _, _, err := r.Heat(ctx, last(30), 20); return err }},
		{"baseline, 8 weeks", func(int) error { _, err := r.Baseline(ctx, observe.ByPort, telnet, now, 8); return err }},
		{"covered, year", func(int) error { _, _, _, err := r.Covered(ctx, last(365)); return err }},
		{"years", func(int) error {
			_, err := r.Years(ctx, []uint32{telnet, 6<<16 | 2323, 6<<16 | 5555, 6<<16 | 7547, 6<<16 | 37215, 6<<16 | 52869})
			return err
		}},
		{"events, first page", func(int) error { _, _, err := r.Events(ctx, observe.EventQuery{Port: -1, Limit: 50}); return err }},
		{"events of a port, scanners", func(int) error {
			_, _, err := r.Events(ctx, observe.EventQuery{Port: 23, Limit: 50, Scanners: true, Range: last(30)})
			return err
		}},
		{"one address", func(i int) error {
			_, err := r.Address(ctx, netip.AddrFrom4([4]byte{100, 0, 0, byte(i)}))
			return err
		}},
	}
	for range b.N {
		report("%-32s %8s %8s %8s", "ms", "p50", "p95", "worst")
		for _, q := range questions {
			if !strings.Contains(q.name, os.Getenv("YEAR_ASK")) {
				continue
			}
			var took []time.Duration
			for i := range 21 {
				t := time.Now()
				if err := q.ask(i); err != nil {
					b.Fatal(q.name, err)
				}
				if i > 0 { // the first reads the disk
					took = append(took, time.Since(t))
				}
			}
			slices.Sort(took)
			ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
			report("%-32s %8.1f %8.1f %8.1f", q.name, ms(took[10]), ms(took[18]), ms(took[19]))
		}
	}
}

// report prints at once; a benchmark's own log is cut off after ten lines.
func report(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func top(rows []observe.Row, err error) error {
	if err == nil && len(rows) != 20 {
		return fmt.Errorf("%d rows", len(rows))
	}
	return err
}

func generate(b *testing.B, s *store.Store, r *record.Record, now time.Time, hourDays int64) {
	b.Helper()
	ctx := context.Background()
	run := func(q string, args ...any) {
		b.Helper()
		if err := s.Tx(ctx, func(tx *store.Tx) error { return tx.Exec(ctx, fmt.Sprintf(q, args...)) }); err != nil {
			b.Fatal(err)
		}
	}
	today := now.Unix() / 86400 * 86400
	// A row of one of the dims: a Zipf-like share of the packets that wobbles.
	run(`CREATE TABLE bench_key AS
		SELECT 3::UTINYINT AS dim, (6 * 65536 + p)::UINTEGER AS key, 1 + hash(p) %% 65536 AS rank FROM range(65536) t(p)
		UNION ALL SELECT 5, a, 1 + hash(a) %% 30000 FROM range(30000) t(a)
		UNION ALL SELECT 4, c, 1 + c FROM range(250) t(c)
		UNION ALL SELECT 2, p, 1 + p FROM range(8) t(p)
		UNION ALL SELECT 1, p, 1 + p FROM range(4) t(p)
		UNION ALL SELECT 0, 0, 1`)
	row := `dim, key, 100 + (2e9 / rank)::UBIGINT // %d + (t + key * 7919) %%%% 211, 50 + (1e6 / rank)::UBIGINT // %d + (t + key) %%%% 97, 1 + (3e5 / rank)::UBIGINT, 0.0081, 0.0081, false, 1`
	run(`INSERT INTO telescope_count_day SELECT %d + 86400 * t, `+fmt.Sprintf(row, 1, 1)+` FROM range(366) u(t), bench_key ORDER BY t, dim, key`, today-365*86400)
	run(`INSERT INTO telescope_bucket SELECT 2, %d + 86400 * t, 1, false, 300000, 1 FROM range(366) u(t)`, today-365*86400)
	for d := -hourDays; d <= 0; d++ {
		order := "dim, key, t"
		if d >= -1 {
			order = "t, dim, key" // as written; Cluster comes later
		}
		run(`INSERT INTO telescope_count_hour SELECT %d + 3600 * t, `+fmt.Sprintf(row, 24, 12)+` FROM range(24) u(t), bench_key WHERE dim != 5 OR key < 8000 ORDER BY `+order, today+d*86400)
	}
	run(`INSERT INTO telescope_bucket SELECT 1, %d + 3600 * t, 1, false, 300000, 1 FROM range(%d) u(t)`, today-hourDays*86400, (hourDays+1)*24)
	run(`INSERT INTO telescope_event SELECT hash(i), 0, 281470681743360 + 1677721600 + hash(i) %% 200000, [23, 2323, 80, 443, 22][1 + i %% 5], 6, 1, i %% 4, 32 * (i %% 2),
		%[1]d + i * 2000000000, %[1]d + i * 2000000000 + 400000000000, 1000, 800, 0, false, 0.01, 2.5, 'JP', 4713, 'SYN to 192.0.2.1:23', 1 FROM range(1000000) t(i)`, now.AddDate(0, 0, -23).UnixNano())
	for _, g := range []string{"day", "hour"} {
		run(`INSERT INTO telescope_head_%[1]s SELECT c.* FROM telescope_count_%[1]s c JOIN bench_key USING (dim, key) WHERE dim NOT IN (3, 5) OR rank <= 320 OR (dim = 5 AND key < 400)
			QUALIFY dim NOT IN (3, 5) OR row_number() OVER (PARTITION BY start, dim ORDER BY packets DESC) <= 300 ORDER BY start, dim, key`, g)
	}
	set := make([]byte, 12<<10)
	if err := s.Tx(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(ctx, `SELECT dim, key FROM bench_key WHERE (dim = 3 AND rank <= 30) OR dim = 0 ORDER BY dim, key`)
		if err != nil {
			return err
		}
		var list [][2]uint32
		for rows.Next() {
			var k [2]uint32
			if err := rows.Scan(&k[0], &k[1]); err != nil {
				return err
			}
			list = append(list, k)
		}
		if err := rows.Close(); err != nil {
			return err
		}
		for d := int64(-365); d <= 0; d++ {
			day := record.Bucket{Grain: observe.Day, Start: today + d*86400}
			for _, k := range list {
				binary.BigEndian.PutUint64(set[(d+365)*8:], uint64(d)*uint64(k[1]))
				day.Rows = append(day.Rows, record.Row{Dim: observe.Dim(k[0]), Key: k[1], Sources: 50, Targets: 1, SourceSet: slices.Clone(set), TargetSet: slices.Clone(set)})
			}
			if err := r.WriteSketches(tx, 1, day); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkWrite appends hour buckets of NICTER's size.
func BenchmarkWrite(b *testing.B) {
	s, r := open(b, b.TempDir())
	rows := make([]record.Row, 0, 100_000)
	for k := range uint32(100_000) {
		rows = append(rows, record.Row{Dim: observe.ByPort, Key: k, Packets: uint64(k) * 7, Sources: uint64(k) % 1000, Targets: uint64(k) % 300, SourcesErr: 0.0081})
	}
	began, n := time.Now(), 0
	for i := 0; b.Loop(); i++ {
		for again := range 2 { // open, then closed: half of the work is replacing
			write(b, s, r, record.Batch{Part: 1, Buckets: []record.Bucket{{Grain: observe.Hour, Start: epoch + int64(i)*3600, Open: again == 0, DarkV4: 300000, Looked: 1, Rows: rows}}})
			n += len(rows)
		}
	}
	b.ReportMetric(float64(n)/time.Since(began).Seconds(), "rows/s")
}

// BenchmarkMinutes asks for what stands in minutes: an hour of NICTER's size, whose
// keys are so much alike that heads decide nothing.
func BenchmarkMinutes(b *testing.B) {
	s, r := open(b, b.TempDir())
	const ports = 65536
	hour := bucket(observe.Hour, epoch, 1)
	day := bucket(observe.Day, epoch, 1)
	write(b, s, r, record.Batch{Part: 1, Buckets: []record.Bucket{hour, day}})
	for m := range int64(60) {
		minute := bucket(observe.Minute, epoch+m*60, 1)
		for k := range uint32(ports) {
			n := uint64(k*7919+uint32(m)*104729) % 211
			minute.Rows = append(minute.Rows, record.Row{Dim: observe.ByPort, Key: 6<<16 | k, Packets: 1 + n, Sources: 1 + n/2, Targets: 1 + n/3})
		}
		write(b, s, r, record.Batch{Part: 1, Buckets: []record.Bucket{minute}})
	}
	ctx, in := b.Context(), observe.Range{From: at(epoch), To: at(epoch + 50*60)}
	for name, ask := range map[string]func() error{
		"series": func() error { _, err := r.Series(ctx, observe.ByPort, 6<<16|4711, in, observe.Minute); return err },
		"top":    func() error { return top(r.Top(ctx, observe.ByPort, in, "packets", 20, 0)) },
		"total":  func() error { _, err := r.Total(ctx, in); return err },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := ask(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
