// Package live takes what translators log over the network, a datagram at a time, and
// hands the records of it on in lots.
//
// Neither syslog nor IPFIX over UDP is answered, so what is lost on the way is lost: it
// is counted where that can be known. A datagram says by itself who sent it, so only
// senders that are named are believed.
package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sakimori/base/clock"
	"sakimori/base/udp"
	"sakimori/respond/subscriber"
)

// Reader makes records of datagrams. It is called by one goroutine.
type Reader interface {
	// Read hands each record to each, which copies what it keeps. An error says what is
	// wrong with the datagram; it is in Stats already.
	Read(from netip.AddrPort, datagram []byte, arrival time.Time, each func(*subscriber.Record)) error
	Stats() subscriber.Stats
}

// Sink keeps records, and returns nil only when they are on disk. The slice is lent.
type Sink interface {
	Take(ctx context.Context, records []subscriber.Record) error
}

// Config is what may be set. Listen and Senders must be; other zero fields take the
// value of DefaultConfig.
type Config struct {
	Name    string         // for people: syslog, ipfix
	Listen  []string       // "host:port" each
	Senders []netip.Prefix // whose datagrams are read
	Lot     int            // records that are handed on at once
	Within  time.Duration  // and no later than this after the first of them
	Buffer  int            // bytes that the kernel is asked to hold for each socket
	Grace   time.Duration  // how long the sink may still work when it stops
}

// DefaultConfig is what runs when nothing is set.
func DefaultConfig() Config {
	return Config{Lot: 4096, Within: 200 * time.Millisecond, Buffer: 32 << 20, Grace: 10 * time.Second}
}

// Stats is what came.
type Stats struct {
	Datagrams uint64 // of senders that are named
	Strangers uint64 // of others: not read
	Lost      uint64 // dropped by the kernel, as it had no room
	subscriber.Stats
}

// Listener takes datagrams. One goroutine reads each socket, with a Reader of its own.
type Listener struct {
	cfg   Config
	sink  Sink
	clock clock.Clock
	log   *slog.Logger
	open  func() (Reader, error)

	datagrams, strangers, lost atomic.Uint64
	failing                    atomic.Bool

	mu        sync.Mutex // of all below
	stats     []subscriber.Stats
	addresses []netip.AddrPort
}

// New checks the configuration; it opens nothing. open makes a Reader for a socket.
func New(cfg Config, open func() (Reader, error), sink Sink, c clock.Clock, log *slog.Logger) (*Listener, error) {
	d := DefaultConfig()
	if cfg.Lot <= 0 {
		cfg.Lot = d.Lot
	}
	if cfg.Within <= 0 {
		cfg.Within = d.Within
	}
	if cfg.Buffer <= 0 {
		cfg.Buffer = d.Buffer
	}
	if cfg.Grace <= 0 {
		cfg.Grace = d.Grace
	}
	if len(cfg.Listen) == 0 || len(cfg.Senders) == 0 {
		return nil, fmt.Errorf("%s: name where to listen, and whose datagrams are believed (senders)", cfg.Name)
	}
	if _, err := open(); err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.Name, err)
	}
	return &Listener{cfg: cfg, open: open, sink: sink, clock: c, log: log}, nil
}

// Addresses are where it listens, once it is ready.
func (l *Listener) Addresses() []netip.AddrPort {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.addresses)
}

// Stats is what came so far; what the readers count is as of the last lot.
func (l *Listener) Stats() Stats {
	s := Stats{Datagrams: l.datagrams.Load(), Strangers: l.strangers.Load(), Lost: l.lost.Load()}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.stats {
		s.Stats.Add(&l.stats[i])
	}
	return s
}

// Run listens until ctx ends, and calls ready when all sockets are open. What was read
// by then is still handed on.
func (l *Listener) Run(ctx context.Context, ready func()) error {
	var sockets []*net.UDPConn
	closeAll := func() {
		for _, s := range sockets {
			_ = s.Close() // nothing is written to it
		}
	}
	for _, where := range l.cfg.Listen {
		s, err := udp.Listen(ctx, where, l.cfg.Buffer, false)
		if err != nil {
			closeAll()
			return fmt.Errorf("%s: %w", l.cfg.Name, err)
		}
		sockets = append(sockets, s)
		l.mu.Lock()
		if at, is := s.LocalAddr().(*net.UDPAddr); is {
			l.addresses = append(l.addresses, at.AddrPort())
		}
		l.stats = append(l.stats, subscriber.Stats{})
		l.mu.Unlock()
	}
	defer closeAll()
	readers := make([]Reader, len(sockets))
	for i := range readers {
		var err error
		if readers[i], err = l.open(); err != nil {
			return fmt.Errorf("%s: %w", l.cfg.Name, err)
		}
	}
	if ready != nil {
		ready()
	}
	keep, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the sink outlives ctx by the grace
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(l.cfg.Grace, cancel)
		for _, s := range sockets {
			_ = s.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
		}
	})
	defer stop()
	failed := make(chan error, len(sockets))
	for i := range sockets {
		go func() { failed <- l.read(ctx, keep, sockets[i], readers[i], i) }()
	}
	var err error
	for range sockets {
		if e := <-failed; e != nil && err == nil {
			err = e
			closeAll() // the others end, too
		}
	}
	return err
}

// read serves one socket.
func (l *Listener) read(ctx, keep context.Context, socket *net.UDPConn, r Reader, n int) error {
	const largest = 1 << 16
	buffer, oob := make([]byte, largest), make([]byte, udp.Room)
	lot := make([]subscriber.Record, 0, l.cfg.Lot)
	dropped := uint32(0)
	var due time.Time // of the lot
	flush := func() {
		l.keep(keep, lot)
		lot = lot[:0]
		s := r.Stats()
		l.mu.Lock()
		l.stats[n] = s
		l.mu.Unlock()
	}
	defer flush()
	for {
		deadline := due
		if len(lot) == 0 {
			deadline = time.Time{}
		}
		if ctx.Err() == nil {
			if err := socket.SetReadDeadline(deadline); err != nil {
				return fmt.Errorf("%s: %w", l.cfg.Name, err)
			}
		}
		if ctx.Err() != nil { // it may have ended just before the deadline was set
			return nil
		}
		size, told, _, from, err := socket.ReadMsgUDPAddrPort(buffer, oob)
		now := l.clock.Now()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			if timeout, is := errors.AsType[net.Error](err); !is || !timeout.Timeout() {
				return fmt.Errorf("%s: read: %w", l.cfg.Name, err)
			}
			flush()
			continue
		}
		if d, is := udp.Dropped(oob[:told]); is {
			l.lost.Add(uint64(d - dropped)) // counts modulo 2³²
			dropped = d
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if !slices.ContainsFunc(l.cfg.Senders, func(p netip.Prefix) bool { return p.Contains(from.Addr()) }) {
			l.strangers.Add(1)
			continue
		}
		l.datagrams.Add(1)
		empty := len(lot) == 0
		_ = r.Read(from, buffer[:size], now, func(rec *subscriber.Record) { lot = append(lot, *rec) }) // what is wrong is counted
		if empty {
			due = time.Now().Add(l.cfg.Within) //nolint:forbidigo // the deadline of a socket is of the machine's clock
		}
		if len(lot) >= l.cfg.Lot {
			flush()
		}
	}
}

// keep hands a lot on until it is kept; meanwhile the kernel holds what comes, as far as
// it has room.
func (l *Listener) keep(ctx context.Context, lot []subscriber.Record) {
	if len(lot) == 0 {
		return
	}
	const longest = 5 * time.Second
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, longest) {
		err := l.sink.Take(ctx, lot)
		if err == nil {
			if l.failing.Swap(false) {
				l.log.InfoContext(ctx, "records are kept again", slog.String("by", l.cfg.Name))
			}
			return
		}
		if !l.failing.Swap(true) {
			l.log.ErrorContext(ctx, "records can't be kept, will be tried again", slog.String("by", l.cfg.Name), slog.Any("error", err))
		}
		again := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			again.Stop()
			l.lost.Add(uint64(len(lot)))
			l.log.ErrorContext(ctx, "records were lost: the program ended before they could be kept", slog.String("by", l.cfg.Name), slog.Int("records", len(lot)))
			return
		case <-again.C:
		}
	}
}
