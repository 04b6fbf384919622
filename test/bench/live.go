//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// trial is frames sent over the wire to a receiver.
type trial struct {
	sent, received, dropped uint64
	took                    time.Duration
}

func (t trial) rate() float64 { return float64(t.sent) / t.took.Seconds() }

func (t trial) whole() bool { return t.received >= t.sent && t.dropped == 0 }

func (t trial) loss() string {
	if t.whole() {
		return "0"
	}
	return fmt.Sprintf("%.2f %%", 100*(1-float64(min(t.received, t.sent))/float64(t.sent)))
}

// mostSent bounds one trial, whatever the wire carries.
const mostSent = 20_000_000

// try sends for so long at a rate (0: as fast as it goes).
func try(ctx context.Context, s *sender, r receiver, long time.Duration, rate float64) (t trial, err error) {
	if err := r.begin(ctx); err != nil {
		return t, err
	}
	if t.sent, t.took, err = s.send(ctx, long, mostSent, rate); err != nil {
		return t, err
	}
	t.received, t.dropped, err = r.end(ctx, t.sent)
	return t, err
}

// outcome is what a receiver can take.
type outcome struct {
	full, best trial // flat out; the fastest without loss, zero when there was none
	rss        int64
}

// highest looks for the fastest rate without loss: flat out first, then by
// halving, and at last for three times as long to confirm it.
func highest(ctx context.Context, o *options, s *sender, r receiver) (x outcome, err error) {
	defer func() { x.rss = r.close() }()
	if x.full, err = try(ctx, s, r, o.trial, 0); err != nil {
		return x, err
	}
	rate := 0.0 // flat out
	if !x.full.whole() {
		high := x.full.rate()
		for range 6 {
			t, err := try(ctx, s, r, o.trial, (rate+high)/2)
			if err != nil {
				return x, err
			}
			if t.whole() {
				rate = t.rate()
			} else {
				high = (rate + high) / 2
			}
		}
		if rate == 0 {
			return x, nil
		}
	}
	for range 8 {
		t, err := try(ctx, s, r, 3*o.trial, rate)
		if err != nil {
			return x, err
		}
		if t.whole() {
			x.best = t
			return x, nil
		}
		rate = 0.85 * t.rate()
	}
	return x, nil
}

// live is part B: a wire between two namespaces, and who listens at its end.
func live(ctx context.Context, o *options, _ *report) (section, error) {
	s := section{
		title: "B. 生の取り込み / Live capture",
		head:  []string{"receiver", "highest rate without loss, packets/s", "packets in that trial", "flat out: packets/s", "sent", "received", "kernel drops", "loss", "RSS MiB"},
	}
	s.note("2 つのネットワーク名前空間の間の veth。送信は同じ機械の 2 スレッド(sendmmsg)で、受信側と CPU を分け合う。/ A veth pair between two network namespaces; the sender (up to two threads, sendmmsg, %s different frames of the generator, all to its dark test range) shares this machine's processors with the receiver, so it is the whole of both that is measured.", thousands(uint64(held)))
	w, err := newWire(ctx)
	if err != nil {
		why := err.Error()
		if errors.Is(err, unix.EPERM) {
			why = "not measured: only root may make network namespaces (" + why + ")"
		}
		s.row("–", why)
		o.say("live: %s", why)
		return s, nil
	}
	defer w.close()
	from, err := newSender(w)
	if err != nil {
		return s, err
	}
	defer from.close()
	list := []struct {
		name string
		open func() (receiver, error)
	}{
		{"(nobody: the wire alone)", func() (receiver, error) { return &nobody{w: w}, nil }},
		{"sakimori serve, fanout 1", func() (receiver, error) { return newServing(ctx, o, w, 1) }},
		{"sakimori serve, fanout 2", func() (receiver, error) { return newServing(ctx, o, w, 2) }},
		{"tcpdump -w /dev/null", func() (receiver, error) { return newTcpdumping(w) }},
		{"tcpdump -B 65536 -w /dev/null", func() (receiver, error) { return newTcpdumping(w, "-B", "65536") }},
	}
	for _, l := range list {
		r, err := l.open()
		if err != nil {
			s.row(l.name, err.Error())
			o.say("live: %s: %v", l.name, err)
			continue
		}
		x, err := highest(ctx, o, from, r)
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
		if err != nil {
			s.row(l.name, err.Error())
			o.say("live: %s: %v", l.name, err)
			continue
		}
		best := "none"
		if x.best.sent > 0 {
			best = million(x.best.rate())
		}
		s.row(l.name, best, thousands(x.best.sent), million(x.full.rate()), thousands(x.full.sent), thousands(x.full.received), thousands(x.full.dropped), x.full.loss(), mib(x.rss))
		o.say("live: %-30s without loss %s/s; flat out %s/s, loss %s", l.name, best, million(x.full.rate()), x.full.loss())
	}
	s.note("serve は全工程(保存を含む)を行い、リングは 64 MiB × fanout。tcpdump の既定バッファは 2 MiB なので、64 MiB でも測る。/ `serve` does the whole pipeline with its store, on rings of 64 MiB each; tcpdump only copies. Its default buffer is 2 MiB, hence the second row with 64 MiB.")
	s.note("NICTER の 2025 年の平均は 22,229 packets/s。/ NICTER's mean of 2025 is 22,229 packets/s.")
	s.note("損失なし = 送った数だけ受信し、カーネルの破棄が 0。/ Without loss: as many received as sent, and no kernel drop, confirmed over %s.", 3*o.trial)
	return s, nil
}

func newTcpdumping(w *wire, more ...string) (receiver, error) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		return nil, errors.New("not installed (apt-get install tcpdump)")
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("needs root")
	}
	return &tcpdumping{w: w, more: more}, nil
}
