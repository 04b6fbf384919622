//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// collected is how a collector fared at one rate.
type collected struct {
	sent    sentFlows
	dropped uint64        // datagrams, by the kernel
	cpu     time.Duration // of the collector, with the processes that it started
	rss     int64

	all, allDropped uint64 // datagrams, with those that filled its tables before
	told            uint64 // records of them, or packets, that it says it took
	want            uint64 // of what arrived
	counted         uint64 // that it says it dropped itself
	err             error  // why it doesn't say
}

// arrived is the share of the datagrams that the kernel had room for.
func (c *collected) arrived() float64 {
	return 1 - float64(min(c.allDropped, c.all))/float64(max(1, c.all))
}

// took is the share of what arrived that the collector says it took; 1 where it doesn't say.
func (c *collected) took() float64 {
	if c.err != nil || c.want == 0 {
		return 1
	}
	return min(1, float64(c.told)/float64(c.want))
}

// perMillion is the processor time for a million records that were taken.
func (c *collected) perMillion() float64 {
	arrived := 1 - float64(c.dropped)/float64(max(1, c.sent.datagrams))
	return c.cpu.Seconds() / max(1, float64(c.sent.records)*arrived*c.took()) * 1e6
}

// The aims of flow collection: reference/flow-ddos, section 4.
const (
	aimFlows     = 0.25    // CPU seconds for a million records, with all counters and detection on
	aimFlowsRate = 600_000 // records a second without loss, on one processor: 20,000 datagrams of 30
	aimFlood     = 2 * time.Second
)

// flowsTold is what part I leaves for the aims.
type flowsTold struct {
	perMillion float64 // at the middle rate, of the dearer version
	at         float64 // records a second at the highest rate of version 5
	lost       uint64  // of them there
	known      bool
}

func (f *flowsTold) take(version int, rate float64, c *collected) {
	f.known = true
	if rate <= 6000 && rate > 2000 {
		f.perMillion = max(f.perMillion, c.perMillion())
	}
	if version == 5 {
		f.at, f.lost = float64(c.sent.records)/c.sent.took.Seconds(), c.dropped*records5+c.counted
	}
}

// flows is part I: what it costs to take flow records, with the collectors of the field.
func flows(ctx context.Context, o *options, r *report) (section, error) {
	s := section{
		title: "I. フローの収集 / Taking flows",
		head:  []string{"collector", "format", "datagrams/s", "records/s", "CPU-s per M records", "cores", "lost by the kernel", "RSS MiB", "taken of the rest, as it says"},
	}
	if os.Geteuid() != 0 || processors() < 2 {
		s.row("–", "not measured: it takes root and two processors")
		return s, nil
	}
	long, records, rates := 5*time.Second, 1_200_000, []float64{2000, 6000, 20000}
	if o.quick {
		long, records, rates = time.Second, 60_000, []float64{2000}
	}
	takers := []struct {
		name string
		open func(context.Context, *options) (*flowTaker, error)
	}{{"sakimori", sakimoriFlows}, {"sakimori serve", serveFlows}, {"nfcapd", nfcapd}, {"nfacctd", nfacctd}, {"goflow2", goflow2}}
	for _, version := range []int{5, 9} {
		e := newExports(version, records, 1<<17)
		for _, t := range takers {
			for _, rate := range rates {
				c, err := collect(ctx, o, t.open, e, long, rate)
				if ctx.Err() != nil {
					return s, ctx.Err()
				}
				format := fmt.Sprintf("NetFlow v%d, %d", version, e.each)
				if err != nil {
					s.row(t.name, format, err.Error())
					o.say("flows: %s: %v", t.name, err)
					break
				}
				s.row(t.name, format, fmt.Sprintf("%.0f", float64(c.sent.datagrams)/c.sent.took.Seconds()), thousands(uint64(float64(c.sent.records)/c.sent.took.Seconds())),
					fmt.Sprintf("%.3f", c.perMillion()), fmt.Sprintf("%.2f", c.cpu.Seconds()/c.sent.took.Seconds()), c.loss(), mib(c.rss), c.says(r, t.name))
				o.say("flows: %-14s v%d %6.0f datagrams/s: %.3f CPU-s per million, lost %s, took %.4f of the rest", t.name, version, rate, c.perMillion(), c.loss(), c.took())
				if t.name == "sakimori" {
					r.flows.take(version, rate, &c)
				}
			}
		}
	}
	s.note("送信はプロセッサー 0 の 1 スレッド、受信側は残りの最後のプロセッサーに固定。いずれも自分だけのネットワーク名前空間のループバック。/ The sender is one thread on processor 0, the collector is bound to the last one; each has a namespace of its own, over loopback. %s different records to %s own addresses, %s a rate. CPU is for records that were taken, by the scheduler's count of all threads of the collector and of the processes it starts; what the kernel does to deliver a datagram on loopback falls on the sender.", thousands(uint64(records)), thousands(uint64(1<<17)), long)
	s.note("**仕事は同じではない。/ They don't do the same work:** nfcapd は保存、nfacctd は 3 キーで集計、goflow2 は再符号化して捨てる。sakimori は復号、計数、検知を全部行い、serve はさらに保存する。/ nfcapd stores, nfacctd adds up by three keys, goflow2 re-encodes and throws away; sakimori decodes, keeps all counters and judges each second, and serve stores flows besides, as it does where nothing is set.")
	s.note("受信バッファー: nfcapd、nfacctd は 4 MiB、sakimori は許される最大、goflow2 は設定がなくカーネルの既定。goflow2 の損失は比べられない。/ Socket buffers: 4 MiB for nfcapd and nfacctd, as much as the kernel grants for sakimori, the kernel's default for goflow2, which has no setting: its losses aren't comparable, its CPU is.")
	return s, nil
}

// collect sends to a collector for so long.
func collect(ctx context.Context, o *options, open func(context.Context, *options) (*flowTaker, error), e *exports, long time.Duration, rate float64) (c collected, err error) {
	t, err := open(ctx, o)
	if err != nil {
		return c, err
	}
	defer t.end()
	fd, err := dialFlows(t.ns, t.at)
	if err != nil {
		return c, err
	}
	defer shut(fd)
	// First the tables are filled, once.
	warm, err := e.send(ctx, fd, min(long, 2*time.Second), 2000)
	if err == nil {
		err = t.rest()
	}
	if err != nil {
		return c, err
	}
	before, _ := t.drops()
	began := t.cpu()
	if c.sent, err = e.send(ctx, fd, long, rate); err == nil {
		err = t.rest()
	}
	if err != nil {
		return c, err
	}
	after, _ := t.drops()
	c.cpu, c.dropped, c.rss = t.cpu()-began, after-before, t.rss()
	c.told, c.counted, c.err = t.stop(ctx)
	c.all, c.allDropped = warm.datagrams+c.sent.datagrams, after
	c.want = (c.all - min(c.allDropped, c.all)) * uint64(e.each)
	if t.packets {
		c.want = uint64(float64(e.told(c.all)) * c.arrived())
	}
	return c, nil
}

// rest waits until a collector has worked off what waits in its buffers.
func (t *flowTaker) rest() error {
	for last, rest := t.cpu(), 0; rest < 3; {
		time.Sleep(200 * time.Millisecond)
		now := t.cpu()
		if now-last < 20*time.Millisecond {
			rest++
		} else {
			rest = 0
		}
		last = now
		if t.ended() {
			return fmt.Errorf("%s ended: %s", t.name, lastLine(t.said.String()))
		}
	}
	return nil
}

func (c *collected) loss() string {
	if c.dropped == 0 {
		return "0"
	}
	return fmt.Sprintf("%.2f %%", 100*float64(c.dropped)/float64(max(1, c.sent.datagrams)))
}

// says compares what a collector says it took with what reached its socket. What it lost and
// doesn't count would be wrong.
func (c *collected) says(r *report, name string) string {
	switch {
	case errors.Is(c.err, errUntold):
		return "–"
	case c.err != nil:
		return c.err.Error()
	case strings.HasPrefix(name, "sakimori") && c.told+c.counted != c.want:
		r.faults = append(r.faults, fmt.Sprintf("%s took %d records and dropped %d, of %d", name, c.told, c.counted, c.want))
	}
	if c.told == c.want {
		return "all"
	}
	return fmt.Sprintf("%.2f %%", 100*float64(c.told)/float64(max(1, c.want)))
}
