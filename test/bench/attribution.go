//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zeebo/xxh3"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/access"
	"sakimori/respond/subscriber/history"
)

// The aims of the reference, and the load.
const (
	aimTaken     = 100_000 // records/s on two cores
	aimMillion   = time.Minute
	aimLookUp    = 5 * time.Millisecond // p99
	benchLines   = 1_000_000            // that are kept
	liveLines    = 50_000               // whose accounting is sent
	benchSockets = 8
)

// attribution measures who had which address: taking it in, keeping it, asking for it.
func attribution(ctx context.Context, o *options, r *report) (section, error) {
	s := section{
		title: "E. 加入者の特定 / Attribution",
		head:  []string{"taker of RADIUS accounting, live", "version", "answered/s", "lost", "CPU µs a record: taker", "sender", "bytes a record", "RSS MiB", "rate ÷ FreeRADIUS detail"},
	}
	if err := liveAccounting(ctx, o, r, &s); err != nil {
		return s, err
	}
	if err := memoryAccounting(ctx, o, r, &s); err != nil {
		return s, err
	}
	return s, keptRecords(ctx, o, r, &s)
}

func liveAccounting(ctx context.Context, o *options, r *report, s *section) error {
	pg, err := startPostgres(ctx)
	if err != nil {
		return err
	}
	defer pg.end()
	if err := pg.make(ctx, "radius", sqlFiles+"postgresql/schema.sql"); err != nil {
		return err
	}
	detail := func(dir string) (int64, error) { return weight(filepath.Join(dir, "detail")) }
	takers := []*taker{
		freeRADIUS("detail file", detailModule, detail),
		sakimoriTaker(o),
		freeRADIUS("SQLite", sqlModule("sqlite", "sqlite", `sqlite { filename = "DIR/radius.db"  busy_timeout = 200  bootstrap = "`+sqlFiles+`sqlite/schema.sql" }`), func(dir string) (int64, error) { return weight(filepath.Join(dir, "radius.db")) }),
		freeRADIUS("PostgreSQL", sqlModule("postgresql", "postgresql", `radius_db = "host=`+pg.dir+` dbname=radius user=sakimori"`), func(string) (int64, error) { return weight(filepath.Join(pg.dir, "data", "base")) }),
	}
	long := 5 * o.trial
	nobody, cancel := context.WithCancel(ctx)
	where, err := echo(nobody)
	if err != nil {
		cancel()
		return err
	}
	alone, err := (&nases{to: where, sockets: benchSockets, lines: liveLines}).send(ctx, long)
	cancel()
	if err != nil {
		return err
	}
	s.row("(nobody: sender and loopback alone)", "", thousands(uint64(alone.rate())), thousands(alone.lost), "–", micro(alone.cpu, alone.answered), "–", "–", "–")
	base := 0.0
	for _, t := range takers {
		version, err := versionOf(ctx, t.from)
		if err != nil {
			s.row(t.name, err.Error())
			continue
		}
		o.say("E: %s", t.name)
		x, used, bytes, err := t.measure(ctx, o, long)
		if err != nil {
			s.row(t.name, version, err.Error())
			r.faults = append(r.faults, t.name+": "+err.Error())
			continue
		}
		if base == 0 {
			base = x.rate()
		}
		if t.from.debian == "" {
			r.taken = x.rate()
		}
		s.row(t.name, version, thousands(uint64(x.rate())), thousands(x.lost), micro(used.cpu, x.answered), micro(x.cpu, x.answered), each(bytes, x.answered), mib(used.rss), fmt.Sprintf("%.2f", x.rate()/base))
	}
	s.note("同じ機械の送信側(%d ソケット、応答待ち各 %d 件)が Accounting-Request(約 200 バイト、契約 %s、正しい認証子)を送り、全契約が一度現れてから応答を %s 間数えた。/ A sender on the same machine, which shares its processors (%d sockets, each with %d requests on the way), sends Accounting-Requests of some 200 bytes with right authenticators, of %s contracts, each of which was seen before, and counts answers for %s.",
		benchSockets, onTheWay, thousands(liveLines), long, benchSockets, onTheWay, thousands(liveLines), long)
	s.note("sakimori は契約名を封じ、記録を同期書き込みしてから応答する。FreeRADIUS の detail は同期しない。SQL は付属のスキーマとクエリのまま。/ sakimori seals the contract's name and answers when the record is synced to disk. FreeRADIUS's detail file isn't synced; its SQL modules have the schema and queries of its package. PostgreSQL's own processes aren't in the taker's CPU.")
	return nil
}

func each(bytes int64, n uint64) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprint(bytes / int64(n))
}

func micro(d time.Duration, n uint64) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f", float64(d.Microseconds())/float64(n))
}

func (t *taker) measure(ctx context.Context, o *options, long time.Duration) (x sending, used cost, kept int64, err error) {
	dir, err := os.MkdirTemp(o.dir, "taker-")
	if err != nil {
		return x, used, 0, err
	}
	defer os.RemoveAll(dir)
	p, err := t.begin(ctx, dir)
	if err != nil {
		return x, used, 0, err
	}
	before, _ := t.kept(dir) // nothing, perhaps
	n := &nases{to: p.where, sockets: benchSockets, lines: liveLines}
	for began := time.Now(); n.next.Load() < liveLines && err == nil && time.Since(began) < 4*long; { // who is seen for the first time costs more
		_, err = n.send(ctx, long/10)
	}
	if err == nil {
		before, _ = t.kept(dir)
		spent := cpuOf(p.c.Process.Pid)
		x, err = n.send(ctx, long)
		spent = cpuOf(p.c.Process.Pid) - spent
		defer func() { used.cpu = spent }()
	}
	used, ended := p.end()
	after, weighed := t.kept(dir)
	return x, used, after - before, errors.Join(err, ended, weighed)
}

// cpuOf is what a process has used of the processors so far.
func cpuOf(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, is := strings.Cut(string(b), ") ")
	if f := strings.Fields(rest); err == nil && is && len(f) > 12 {
		user, _ := strconv.ParseInt(f[11], 10, 64) // in hundredths of a second
		system, _ := strconv.ParseInt(f[12], 10, 64)
		return time.Duration(user+system) * 10 * time.Millisecond
	}
	return 0
}

// memoryAccounting is the same without sockets: requests in a capture in memory, verified
// and kept.
func memoryAccounting(ctx context.Context, o *options, r *report, s *section) error {
	const requests = 1 << 17
	var captures [2][]byte // one for each processor
	for c := range captures {
		var b bytes.Buffer
		w, err := pcap.NewWriter(&b, packet.LinkEthernet)
		if err != nil {
			return err
		}
		var a []byte
		for i := range requests {
			a = accounting(a[:0], byte(i), uint64(c*requests+i), benchLines)
			if err := w.WriteFrame(time.Now().UnixNano(), datagram(a)); err != nil {
				return err
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
		captures[c] = b.Bytes()
	}
	dir, err := os.MkdirTemp(o.dir, "history-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	h, err := history.Open(dir, history.Options{Pseudonym: pseudonym})
	if err != nil {
		return err
	}
	began, cpu := time.Now(), ownCPU()
	n := uint64(0)
	for n < 4*requests || time.Since(began) < 2*o.trial {
		var all sync.WaitGroup
		var errs [len(captures)]error
		for c := range captures {
			all.Go(func() { errs[c] = readAll(ctx, captures[c], h, requests) })
		}
		all.Wait()
		if err := errors.Join(errs[:]...); err != nil {
			return errors.Join(err, h.Close())
		}
		n += uint64(len(captures)) * requests
	}
	took := time.Since(began)
	r.memory = float64(n) / took.Seconds()
	s.note("ソケットなし(メモリ上のキャプチャから検証・保存、2 並列): %s 件/秒、1 件 %s µs CPU。/ Without sockets, from captures in memory, verified and kept by two goroutines: %s records/s, %s µs of processor time each.",
		thousands(uint64(r.memory)), micro(ownCPU()-cpu, n), thousands(uint64(r.memory)), micro(ownCPU()-cpu, n))
	return h.Close()
}

func readAll(ctx context.Context, file []byte, h *history.History, want uint64) error {
	var lot []subscriber.Record
	stats, err := access.ReadCapture(bytes.NewReader(file), access.CaptureOptions{Secret: []byte(nasSecret)}, func(r *subscriber.Record) error {
		if lot = append(lot, *r); len(lot) < 4096 {
			return nil
		}
		err := h.Take(ctx, lot)
		lot = lot[:0]
		return err
	})
	if err == nil && stats.Records != want {
		err = fmt.Errorf("%d records of %d requests", stats.Records, want)
	}
	return errors.Join(err, h.Take(ctx, lot))
}

// datagram puts a payload into a frame to port 1813; nobody looks at the checksum of UDP.
func datagram(payload []byte) []byte {
	b := make([]byte, 42, 42+len(payload))
	b[12] = 8
	ip := b[14:34]
	ip[0], ip[8], ip[9] = 0x45, 64, packet.UDP
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(payload)))
	copy(ip[12:], []byte{10, 0, 0, 1, 10, 0, 0, 250})
	var sum uint32
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(b[34:], 1646)
	binary.BigEndian.PutUint16(b[36:], 1813)
	binary.BigEndian.PutUint16(b[38:], uint16(8+len(payload)))
	return append(b, payload...)
}

func pseudonym(line string) (id [16]byte) { return xxh3.HashString128(line).Bytes() }

// keeping is what a process that keeps so many records says of it.
type keeping struct {
	Records  uint64        `json:"records"`
	Took     time.Duration `json:"took"`
	Disk     int64         `json:"disk"`
	Rows     uint64        `json:"rows"`
	Segments int           `json:"segments"`
	Million  time.Duration `json:"million"` // a million rows attributed by two goroutines
	Certain  int           `json:"certain"`
	Own      int64         `json:"own"` // most memory of its own, bytes; the rest is files in the page cache
	P50      time.Duration `json:"p50"` // of one look-up, alone
	P99      time.Duration `json:"p99"`
}

// keptRecords has a process of its own keep records, so that its memory is its own.
func keptRecords(ctx context.Context, o *options, r *report, s *section) error {
	own, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "kept-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var said bytes.Buffer
	o.say("E: %s records kept", thousands(o.kept))
	x, err := spend(ctx, time.Hour, &said, []string{"GOMEMLIMIT=1100MiB"}, own, "-keep", dir, "-kept", fmt.Sprint(o.kept))
	if err != nil {
		return err
	}
	var k keeping
	if err := json.Unmarshal(said.Bytes(), &k); err != nil {
		return err
	}
	r.kept, r.keptCost = k, x
	rate := float64(k.Records) / k.Took.Seconds()
	s.note("%s 件を保存: %s 件/秒、ディスク %s MiB(1 件 %.1f バイト、%d ファイル)、メモリ最大 %s MiB(ほかにファイルのページキャッシュ)。/ %s records kept: %s records/s, %s MiB on disk (%.1f bytes a record, %d files), memory at most %s MiB, and the files in the page cache besides.",
		thousands(k.Records), thousands(uint64(rate)), mib(k.Disk), float64(k.Disk)/float64(k.Records), k.Segments, mib(k.Own),
		thousands(k.Records), thousands(uint64(rate)), mib(k.Disk), float64(k.Disk)/float64(k.Records), k.Segments, mib(k.Own))
	s.note("そこへ通報 100 万行を 2 並列で照会: %s 秒(%.0f %% が一意)。単独の照会は p50 %.3f ms、p99 %.3f ms。/ A million report rows attributed in it by two goroutines: %s s, %.0f %% with a certain answer. One look-up alone: p50 %.3f ms, p99 %.3f ms.",
		seconds(k.Million), float64(k.Certain)/1e4, milli(k.P50), milli(k.P99), seconds(k.Million), float64(k.Certain)/1e4, milli(k.P50), milli(k.P99))
	return nil
}

// ownMemory is the most memory that this process had which isn't a file's, until ctx ends.
func ownMemory(ctx context.Context) (most int64) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		b, _ := os.ReadFile("/proc/self/status")
		_, rest, _ := strings.Cut(string(b), "RssAnon:")
		if f := strings.Fields(rest); len(f) > 0 {
			n, _ := strconv.ParseInt(f[0], 10, 64)
			most = max(most, n<<10)
		}
		select {
		case <-ctx.Done():
			return most
		case <-tick.C:
		}
	}
}

func milli(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// keep is that process: records of 90 days, of a million lines, and questions about them.
func keep(ctx context.Context, dir string, records uint64, questions int) (k keeping, err error) {
	h, err := history.Open(dir, history.Options{Pseudonym: pseudonym})
	if err != nil {
		return k, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	watching, stop := context.WithCancel(ctx)
	most := make(chan int64, 1)
	go func() { most <- ownMemory(watching) }()
	defer func() {
		stop()
		k.Own = <-most
	}()
	const hours, lot = 24 * 90, 1 << 14
	began, start := time.Now(), time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)
	address := func(line int) netip.Addr {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 0x0a000000+uint32(line))
		return netip.AddrFrom4(a)
	}
	var all sync.WaitGroup
	var errs [2]error
	for w := range errs {
		all.Go(func() {
			// In the order of time, as a network's: so that a session's records come far apart.
			list := make([]subscriber.Record, 0, lot)
			each := records / uint64(len(errs))
			for n := range each {
				i := n*2 + uint64(w)
				hour := int(i * hours / records)
				line := int(i*2654435761%benchLines) / 2 * 2
				list = append(list, subscriber.Record{
					Kind: [...]subscriber.Kind{subscriber.Begin, subscriber.Alive, subscriber.End}[i%3], Source: nasNames[line%len(nasNames)],
					Session: fmt.Sprintf("%07x-%03x", line, hour/24), Line: fmt.Sprintf("u%07d@example.net", line),
					Address: netip.PrefixFrom(address(line), 32), At: start.Add(time.Duration(hour)*time.Hour + time.Duration(i%3600)*time.Second),
				})
				if len(list) == lot || n == each-1 {
					if errs[w] = h.Take(ctx, list); errs[w] != nil {
						return
					}
					list = list[:0]
				}
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return k, err
	}
	k.Records, k.Took = records/2*2, time.Since(began)
	z := h.Size()
	k.Disk, k.Rows, k.Segments = z.Bytes, z.Rows, z.Segments
	ask := func(r *rand.Rand) bool {
		at := start.Add(time.Duration(r.IntN(hours*3600)) * time.Second)
		return h.Who(address(r.IntN(benchLines)/2*2), 0, 0, at.Add(-2*time.Second), at.Add(2*time.Second)).Verdict.Certain()
	}
	began = time.Now()
	var certain [2]int
	for w := range certain {
		all.Go(func() {
			r := rand.New(rand.NewPCG(3, uint64(w)))
			for range questions / len(certain) {
				if ask(r) {
					certain[w]++
				}
			}
		})
	}
	all.Wait()
	k.Million, k.Certain = time.Since(began), certain[0]+certain[1]
	times := make([]time.Duration, min(questions, 20_000))
	r := rand.New(rand.NewPCG(5, 6))
	for i := range times {
		began := time.Now()
		ask(r)
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	k.P50, k.P99 = times[len(times)/2], times[len(times)*99/100]
	return k, nil
}

var nasNames = [...]string{"bng1", "bng2", "bng3", "bng4", "bng5", "bng6", "bng7", "bng8"}
