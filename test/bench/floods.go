//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The stage of part H: own addresses that are flooded at a multiple of the threshold, and others
// that are as busy and no victims. Both detectors see the same.
type scene struct {
	name   string
	addr   netip.Addr
	factor float64 // of the threshold, in packets a second to the address
	flow   func(rng *rand.Rand, dst uint32) flowRecord
	back   func(f flowRecord) flowRecord // what is answered; nil nothing
	attack bool
	after  time.Duration // of the calm: each begins at another part of a second, as an attack does
}

// Each record tells of so many packets and of a tenth of a second, at whose end it is sent: an
// exporter that is as quick as there can be.
const (
	eachFlow = 10
	every    = 100 * time.Millisecond
)

// detecting is what part H leaves for the aims.
type detecting struct {
	slowest time.Duration // of sakimori's delays
	missed  int
	false_  int
	known   bool
}

// scenes are those that are attacked, by factor and kind, and those that aren't.
func scenes(quick bool) (list []scene) {
	factors := []float64{1.1, 1.5, 2, 5}
	if quick {
		factors = []float64{5}
	}
	n := uint32(0)
	add := func(name string, factor float64, attack bool, flow func(*rand.Rand, uint32) flowRecord, back func(flowRecord) flowRecord) {
		// Each in a /20 of its own.
		a := binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(ownFlows.Addr().AsSlice())+n<<12+80)
		addr, _ := netip.AddrFromSlice(a) // four bytes
		n++
		list = append(list, scene{name: name, addr: addr, factor: factor, flow: flow, back: back, attack: attack, after: every * time.Duration(3*(n-1)%10)})
	}
	anywhere := func(rng *rand.Rand) uint32 { return rng.Uint32N(0xdf000000-0x01000000) + 0x01000000 }
	for _, f := range factors {
		add("SYN flood, forged sources", f, true, func(rng *rand.Rand, dst uint32) flowRecord {
			return flowRecord{src: anywhere(rng), dst: dst, packets: eachFlow, bytes: 40 * eachFlow, srcPort: uint16(rng.Uint32()), dstPort: 80, proto: 6, flags: 0x02}
		}, nil)
		add("DNS amplification", f, true, func(rng *rand.Rand, dst uint32) flowRecord {
			return flowRecord{src: 0x08000000 + rng.Uint32N(4000)*7919, dst: dst, packets: eachFlow, bytes: 1400 * eachFlow, srcPort: 53, dstPort: uint16(rng.Uint32()), proto: 17}
		}, nil)
		add("UDP flood by bots", f, true, func(rng *rand.Rand, dst uint32) flowRecord {
			return flowRecord{src: 0x2d000000 + rng.Uint32N(20000)*6007, dst: dst, packets: eachFlow, bytes: 500 * eachFlow, srcPort: uint16(1024 + rng.Uint32N(60000)), dstPort: uint16(rng.Uint32()), proto: 17}
		}, nil)
	}
	answered := func(packets, bytes uint32) func(flowRecord) flowRecord {
		return func(f flowRecord) flowRecord {
			f.src, f.dst, f.srcPort, f.dstPort, f.packets, f.bytes = f.dst, f.src, f.dstPort, f.srcPort, packets, bytes
			return f
		}
	}
	add("flash crowd at a web server", 2, false, func(rng *rand.Rand, dst uint32) flowRecord {
		return flowRecord{src: 0x0a000000 + rng.Uint32N(30000)*30011, dst: dst, packets: eachFlow, bytes: 120 * eachFlow, srcPort: uint16(1024 + rng.Uint32N(60000)), dstPort: 443, proto: 6, flags: 0x1b}
	}, answered(15, 15*1300))
	add("speed test", 4, false, func(_ *rand.Rand, dst uint32) flowRecord {
		return flowRecord{src: 0x08080808, dst: dst, packets: eachFlow * 20, bytes: 1500 * eachFlow * 20, srcPort: 443, dstPort: 50123, proto: 6, flags: 0x18}
	}, answered(eachFlow*10, 52*eachFlow*10))
	add("backup of one night", 3, false, func(_ *rand.Rand, dst uint32) flowRecord {
		return flowRecord{src: 0x34000001, dst: dst, packets: eachFlow * 20, bytes: 1460 * eachFlow * 20, srcPort: 41234, dstPort: 22, proto: 6, flags: 0x18}
	}, answered(eachFlow*8, 60*eachFlow*8))
	add("fill of a cache", 2, false, func(rng *rand.Rand, dst uint32) flowRecord {
		return flowRecord{src: 0x17000001 + rng.Uint32N(8), dst: dst, packets: eachFlow * 10, bytes: 1480 * eachFlow * 10, srcPort: 443, dstPort: uint16(30000 + rng.Uint32N(64)), proto: 6, flags: 0x18}
	}, answered(eachFlow*5, 60*eachFlow*5))
	return list
}

// stage makes the datagrams of the scenes, step by step of 100 ms.
type stage struct {
	list        []scene
	threshold   float64
	calm, flood time.Duration
	send        func([]byte) error
	rng         *rand.Rand
	e           exports
	b           []byte // that isn't full yet
	owed        []float64
}

func newStage(list []scene, threshold float64, calm, flood time.Duration, send func([]byte) error) *stage {
	g := &stage{list: list, threshold: threshold, calm: calm, flood: flood, send: send, rng: rand.New(rand.NewPCG(1, 620)), e: exports{version: 5, each: records5}, owed: make([]float64, len(list))}
	g.b = g.e.head()
	return g
}

// step sends what passed in the 100 ms before now, at so long after the beginning.
func (g *stage) step(now time.Time, at time.Duration) error {
	base := binary.BigEndian.Uint32(ownFlows.Addr().AsSlice())
	for range 60 { // the ordinary
		f := flowRecord{src: 0x30000000 + g.rng.Uint32N(1<<24), dst: base + g.rng.Uint32N(1<<17), packets: eachFlow, bytes: 600 * eachFlow, srcPort: 443, dstPort: uint16(20000 + g.rng.Uint32N(40000)), proto: 6, flags: 0x1b}
		if err := g.put(now, f); err != nil {
			return err
		}
	}
	for i, s := range g.list {
		if since := at - g.calm - s.after; since <= 0 || since > g.flood {
			continue
		}
		a := s.addr.As4()
		for g.owed[i] += s.factor * g.threshold * every.Seconds(); g.owed[i] > 0; {
			f := s.flow(g.rng, binary.BigEndian.Uint32(a[:]))
			g.owed[i] -= float64(f.packets)
			if err := g.put(now, f); err != nil {
				return err
			}
			if s.back == nil {
				continue
			}
			if err := g.put(now, s.back(f)); err != nil {
				return err
			}
		}
	}
	return g.full(now)
}

func (g *stage) put(now time.Time, f flowRecord) error {
	f.ms = uint32(every.Milliseconds())
	if g.b = g.e.record(g.b, f); len(g.b) < 24+48*records5 {
		return nil
	}
	return g.full(now)
}

// full sends the datagram in hand.
func (g *stage) full(now time.Time) error {
	n := (len(g.b) - 24) / 48
	if n == 0 {
		return nil
	}
	g.e.stamp(g.b, now, n)
	err := g.send(g.e.close(g.b))
	g.b = g.e.head()
	return err
}

// perform sends the scenes to a detector: ordinary traffic all the time, floods for so long after
// a calm. It says when the first packets of them passed, and the last.
func perform(ctx context.Context, t *flowTaker, list []scene, calm, flood, after time.Duration, done func() bool) (began, ended time.Time, late time.Duration, err error) {
	fd, err := dialFlows(t.ns, t.at)
	if err != nil {
		return began, ended, late, err
	}
	defer shut(fd)
	free, err := pin(0)
	if err != nil {
		return began, ended, late, err
	}
	defer free()
	g := newStage(list, lineOf, calm, flood, func(b []byte) error {
		if _, err := unix.Write(fd, b); err != nil {
			return fmt.Errorf("%s doesn't listen any more: %w: %s", t.name, err, lastLine(t.said.String()))
		}
		return nil
	})
	start := time.Now()
	began, ended = start.Add(calm), start.Add(calm+flood)
	for at := every; at <= calm+flood+time.Second || !done() && at <= calm+flood+after; at += every {
		due := start.Add(at)
		time.Sleep(time.Until(due))
		if ctx.Err() != nil {
			return began, ended, late, ctx.Err()
		}
		// What passed until then, though it may be told a little later.
		if err := g.step(due, at); err != nil {
			return began, ended, late, err
		}
		late = max(late, time.Since(due))
	}
	return began, ended, late, nil
}

// event is what a detector told of an address.
type event struct {
	at   time.Time
	addr netip.Addr
	ban  bool
}

func events(dir string) (list []event) {
	for line := range strings.Lines(text(filepath.Join(dir, eventsFile))) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "ban" && f[2] != "unban" { // FastNetMon tells of details, too
			continue
		}
		sec, frac, _ := strings.Cut(f[0], ".")
		s, err1 := strconv.ParseInt(sec, 10, 64)
		ns, err2 := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
		a, err3 := netip.ParseAddr(f[1])
		if err1 == nil && err2 == nil && err3 == nil {
			list = append(list, event{time.Unix(s, ns), a, f[2] == "ban"})
		}
	}
	return list
}

// verdictOf is when an address was first called attacked, and when that was over.
func verdictOf(list []event, a netip.Addr) (ban, unban time.Time) {
	for _, e := range list {
		if e.addr != a {
			continue
		}
		if e.ban && ban.IsZero() {
			ban = e.at
		}
		if !e.ban && !ban.IsZero() && unban.IsZero() {
			unban = e.at
		}
	}
	return ban, unban
}

// lineOf is the threshold of both: packets a second to or from an address.
const lineOf = 5000

// floods is part H: the same stream of flows to FastNetMon and to us.
func floods(ctx context.Context, o *options, r *report) (section, error) {
	s := section{
		title: "H. 洪水の検知 / Finding floods",
		head:  []string{"what", "× threshold", "FastNetMon: told after, s", "by its formula, s", "over after, s", "sakimori: told after, s", "over after, s"},
	}
	if os.Geteuid() != 0 || processors() < 2 {
		s.row("–", "not measured: it takes root and two processors")
		return s, nil
	}
	calm, flood, after, quiet := 8*time.Second, 30*time.Second, 150*time.Second, 60
	if o.quick {
		calm, flood, after, quiet = 2*time.Second, 8*time.Second, time.Second, 60
	}
	list := scenes(o.quick)
	type outcome struct {
		events       []event
		began, ended time.Time
		late         time.Duration // the sender was behind its time by so much at most
		cpu          float64       // seconds
		rss          int64
		dropped      uint64
	}
	see := func(open func() (*flowTaker, error)) (x outcome, err error) {
		t, err := open()
		if err != nil {
			return x, err
		}
		defer t.end()
		began := t.cpu()
		x.began, x.ended, x.late, err = perform(ctx, t, list, calm, flood, after, func() bool {
			got := events(t.dir)
			return !slices.ContainsFunc(list, func(s scene) bool {
				ban, unban := verdictOf(got, s.addr)
				return !ban.IsZero() && unban.IsZero()
			})
		})
		if err != nil {
			return x, err
		}
		x.cpu, x.rss = (t.cpu() - began).Seconds(), t.rss()
		x.dropped, _ = t.drops()
		x.events = events(t.dir)
		return x, nil
	}
	theirs, err := see(func() (*flowTaker, error) { return fastNetMon(ctx, o, lineOf, quiet) })
	if ctx.Err() != nil {
		return s, ctx.Err()
	}
	if err != nil {
		o.say("floods: FastNetMon: %v", err)
		s.note("FastNetMon: %v", err)
	}
	ours, err := see(func() (*flowTaker, error) { return sakimoriAt(ctx, o, lineOf, quiet) })
	if err != nil {
		return s, err
	}
	d := &r.detecting
	d.known = true
	for _, sc := range list {
		cells := []string{sc.name, fmt.Sprintf("%.1f", sc.factor)}
		for i, x := range []*outcome{&theirs, &ours} {
			ban, unban := verdictOf(x.events, sc.addr)
			told, over := "–", "–"
			switch {
			case !ban.IsZero():
				told = fmt.Sprintf("%.2f", ban.Sub(x.began.Add(sc.after)).Seconds())
				if !unban.IsZero() {
					over = fmt.Sprintf("%.1f", unban.Sub(x.ended.Add(sc.after)).Seconds())
				}
				if !sc.attack {
					told += " (false)"
				}
			case sc.attack:
				told = "missed"
			}
			if i == 1 {
				switch {
				case sc.attack && ban.IsZero():
					d.missed++
				case sc.attack:
					d.slowest = max(d.slowest, ban.Sub(x.began.Add(sc.after)))
				case !ban.IsZero():
					d.false_++
				}
			}
			cells = append(cells, told)
			if i == 0 {
				formula := "–"
				if sc.attack {
					formula = fmt.Sprintf("%.1f", -5*math.Log(1-1/sc.factor))
				}
				cells = append(cells, formula)
			}
			cells = append(cells, over)
		}
		s.row(cells...)
	}
	others := func(x *outcome) (n int) {
		for _, e := range x.events {
			if e.ban && !slices.ContainsFunc(list, func(s scene) bool { return s.addr == e.addr }) {
				n++
			}
		}
		return n
	}
	s.row("CPU-s in all / RSS MiB", "", fmt.Sprintf("%.2f", theirs.cpu), "", mib(theirs.rss), fmt.Sprintf("%.2f", ours.cpu), mib(ours.rss))
	s.row("other addresses accused", "", fmt.Sprint(others(&theirs)), "", "", fmt.Sprint(others(&ours)), "")
	s.note("同じ NetFlow v5 を各検知器に順に流す。しきい値はどちらも 1 アドレスあたり %d packets/s(帯域とフロー数のしきい値は切る)。場面は 1 秒のうちに順に始まり %s 続く。1 レコードは 10 パケット以上、100 ms を伝え、その終わりに送られる。/ The same NetFlow v5 to each in turn, thresholds equal: %d packets/s to or from an address, those of bits and flows off. The scenes begin one after the other within a second, and last %s. A record tells of 10 packets or more and of 100 ms, and is sent at their end; told after: from the first packet to FastNetMon's notify script, or to the Attack, by the machine's clock.", lineOf, flood, lineOf, flood)
	s.note("FastNetMon 1.2.4 は平均時間 5 s(既定)、ban_time %d s、攻撃終了後だけ解除。sakimori は静穏 %d s と、再発を同じ攻撃とみなす 60 s。/ FastNetMon 1.2.4 averages over 5 s, its default; ban_time %d s, unban only when the attack has ended, looked at once a minute. sakimori: %d s of quiet, and 60 s more in which it would be the same attack if it came again. Both were told to watch both directions. Datagrams dropped by the kernel: %d and %d; the sender was behind its time by %.2f and %.2f s at most.", quiet, quiet, quiet, quiet, theirs.dropped, ours.dropped, theirs.late.Seconds(), ours.late.Seconds())
	s.note("偽警報 / false: しきい値を超えても攻撃ではないもの。FastNetMon は形を見ない。/ busy beyond the threshold and no attack: FastNetMon looks at no form, and says so of everything above the line.")
	return s, nil
}

// fastNetMon runs it by hand, in a namespace without a way out, with everything in a folder.
func fastNetMon(ctx context.Context, o *options, packets float64, quiet int) (*flowTaker, error) {
	return newFlowTaker(ctx, o, "fastnetmon", func(dir string) ([]string, error) {
		in := func(name string) string { return filepath.Join(dir, name) }
		conf := fmt.Sprintf(`logging_level = info
disable_usage_report = on
enable_ban = on
enable_ban_ipv6 = on
process_incoming_traffic = on
process_outgoing_traffic = on
ban_details_records_count = 1
ban_time = %d
unban_only_if_attack_finished = on
networks_list_path = %s
white_list_path = %s
check_period = 1
enable_connection_tracking = off
ban_for_pps = on
ban_for_bandwidth = off
ban_for_flows = off
threshold_pps = %.0f
netflow = on
netflow_port = %d
netflow_host = %s
netflow_sampling_ratio = 1
average_calculation_time = 5
speed_calculation_delay = 1
notify_script_path = %s
collect_attack_pcap_dumps = off
monitor_local_ip_addresses = off
pid_path = %s
cli_stats_file_path = %s
cli_stats_ipv6_file_path = %s
enable_api = off
prometheus = off
sort_parameter = packets
max_ips_in_list = 7
`, quiet, in("networks"), in("whitelist"), packets, collectAt.Port(), collectAt.Addr(), in("notify"), in("pid"), in("stats"), in("stats6"))
		script := fmt.Sprintf("#!/bin/sh\necho \"$(date +%%s.%%N) $1 $4\" >> %s\n[ \"$4\" = unban ] || cat > /dev/null\n", in(eventsFile))
		for name, what := range map[string]string{"fastnetmon.conf": conf, "networks": ownFlows.String() + "\n", "whitelist": ""} {
			if err := os.WriteFile(in(name), []byte(what), 0o600); err != nil {
				return nil, err
			}
		}
		return []string{"fastnetmon", "--configuration_file", in("fastnetmon.conf"), "--log_to_console", "--disable_pid_logic"}, os.WriteFile(in("notify"), []byte(script), 0o700)
	})
}
