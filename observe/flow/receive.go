package flow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"sakimori/base/clock"
	"sakimori/base/udp"
	"sakimori/observe"
)

// Receiving is where exporters send to. Listen must be set; other zero fields take the
// value of DefaultReceiving.
type Receiving struct {
	Listen  []string // "host:port" each
	Workers int      // sockets of each address, and goroutines; an exporter always comes to the same one
	Buffer  int      // bytes that the kernel is asked to hold for each socket
	Batches int      // that may wait to be taken, of Config.Batch flows each
}

// DefaultReceiving is what runs when nothing is set: half of the processors, at most four,
// 64 MiB of buffer, and 256 batches of 53 kB that wait, 13 MiB.
func DefaultReceiving() Receiving {
	return Receiving{Workers: min(max(runtime.GOMAXPROCS(0)/2, 1), 4), Buffer: 64 << 20, Batches: 256}
}

// Socket is how the kernel fares with what exporters send.
type Socket struct {
	Wanted       int    `json:"wanted"`        // bytes of buffer for each socket
	Granted      int    `json:"granted"`       // that the kernel gave; 0 not told
	Sockets      int    `json:"sockets"`       // of all addresses
	Drops        uint64 `json:"drops"`         // datagrams that it had no room for
	QueueDropped uint64 `json:"queue_dropped"` // flows that nobody took in time
	Together     bool   `json:"together"`      // one socket an address, as the kernel can't share it by sender
}

// Small tells whether the kernel granted less than what was asked for: then a burst may be
// lost. Linux: sysctl net.core.rmem_max.
func (s Socket) Small() bool { return s.Granted > 0 && s.Granted < s.Wanted }

// Receiver takes what exporters send. One goroutine reads each socket; what they make of it
// goes to one taker. While that is busy batches wait, and when there is no room for more
// they are dropped and counted: what comes next is more worth than what is old.
type Receiver struct {
	dir   *Directory
	cfg   Receiving
	clock clock.Clock
	log   *slog.Logger

	full, free chan []observe.Flow
	drops      atomic.Uint64
	dropped    atomic.Uint64

	mu        sync.Mutex // of all below
	addresses []netip.AddrPort
	socket    Socket
}

// Receiver checks the configuration; it opens nothing yet.
func (d *Directory) Receiver(cfg Receiving, c clock.Clock, log *slog.Logger) (*Receiver, error) {
	def := DefaultReceiving()
	if cfg.Workers <= 0 {
		cfg.Workers = def.Workers
	}
	if cfg.Buffer <= 0 {
		cfg.Buffer = def.Buffer
	}
	if cfg.Batches <= 0 {
		cfg.Batches = def.Batches
	}
	if len(cfg.Listen) == 0 {
		return nil, errors.New("flow: name where to listen for exporters, such as 0.0.0.0:2055")
	}
	if len(d.cfg.Allow) == 0 {
		return nil, errors.New("flow: name the exporters whose datagrams are believed: whoever else can send any could report attacks that there aren't")
	}
	if !udp.Shares {
		cfg.Workers = 1
	}
	return &Receiver{dir: d, cfg: cfg, clock: c, log: log, full: make(chan []observe.Flow, cfg.Batches), free: make(chan []observe.Flow, cfg.Batches)}, nil
}

// Addresses are where it listens, once it is ready.
func (r *Receiver) Addresses() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]netip.AddrPort(nil), r.addresses...)
}

// Socket is how the kernel fares.
func (r *Receiver) Socket() Socket {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.socket
	s.Drops, s.QueueDropped = r.drops.Load(), r.dropped.Load()
	return s
}

// Run listens until ctx ends, and calls ready when all sockets are open. take is lent one
// batch of flows after another, and tick is called each second with the time; both by one
// goroutine. Flows come within a tenth of a second; what was read by the end is still taken.
func (r *Receiver) Run(ctx context.Context, ready func(), take func([]observe.Flow), tick func(time.Time)) error {
	sockets, err := r.open(ctx)
	closeAll := func() {
		for _, s := range sockets {
			_ = s.Close() // nothing is written to it
		}
	}
	defer closeAll()
	if err != nil {
		return err
	}
	if ready != nil {
		ready()
	}
	stop := context.AfterFunc(ctx, func() {
		for _, s := range sockets {
			_ = s.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
		}
	})
	defer stop()
	var failed atomic.Pointer[error] // the first
	var readers sync.WaitGroup
	for _, s := range sockets {
		readers.Go(func() {
			if err := r.read(ctx, s); err != nil && failed.CompareAndSwap(nil, &err) {
				closeAll() // the others end, too
			}
		})
	}
	go func() {
		readers.Wait()
		close(r.full)
	}()
	seconds := time.NewTicker(time.Second)
	defer seconds.Stop()
	for {
		select {
		case <-seconds.C:
			tick(r.clock.Now())
		case b, more := <-r.full:
			if !more {
				if err := failed.Load(); err != nil {
					return *err
				}
				return nil
			}
			take(b)
			select {
			case r.free <- b[:0]:
			default:
			}
		}
	}
}

// open opens the sockets of all addresses.
func (r *Receiver) open(ctx context.Context) (all []*net.UDPConn, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.socket.Wanted, r.addresses = r.cfg.Buffer, nil
	for _, where := range r.cfg.Listen {
		var group []*net.UDPConn
		for range r.cfg.Workers {
			s, err := udp.Listen(ctx, where, r.cfg.Buffer, r.cfg.Workers > 1)
			if err != nil {
				return append(all, group...), fmt.Errorf("flows: %w", err)
			}
			group = append(group, s)
			where = s.LocalAddr().String() // the kernel may have chosen the port
		}
		if len(group) > 1 {
			if err := udp.BySender(group[0], len(group)); err != nil {
				r.log.WarnContext(ctx, "the kernel can't share an address by sender: one socket takes all", slog.String("address", where), slog.Any("error", err))
				for _, s := range group[1:] {
					_ = s.Close() // nothing came yet
				}
				group, r.socket.Together = group[:1], true
			}
		}
		all = append(all, group...)
		if a, is := group[0].LocalAddr().(*net.UDPAddr); is {
			r.addresses = append(r.addresses, a.AddrPort())
		}
	}
	r.socket.Sockets = len(all)
	if n, err := udp.Buffer(all[0]); err == nil {
		r.socket.Granted = n
	}
	if r.socket.Small() {
		r.log.WarnContext(ctx, "the kernel grants a smaller buffer than asked for, a burst of flows may be lost: raise net.core.rmem_max", slog.Int("wanted", r.socket.Wanted), slog.Int("granted", r.socket.Granted))
	}
	return all, nil
}

// give hands a batch to the taker, and gives an empty one.
func (r *Receiver) give(b []observe.Flow) []observe.Flow {
	select {
	case r.full <- b:
	default:
		r.dropped.Add(uint64(len(b)))
		return b[:0]
	}
	select {
	case b := <-r.free:
		return b
	default:
		return make([]observe.Flow, 0, r.dir.cfg.Batch)
	}
}

// read serves one socket.
func (r *Receiver) read(ctx context.Context, s *net.UDPConn) error {
	const (
		many    = 64 // datagrams with one call
		largest = 1<<16 - 1
		publish = int64(time.Second)
		within  = 100 * time.Millisecond // flows are handed on
	)
	batch, err := udp.NewBatch(s, many, largest)
	if err != nil {
		return fmt.Errorf("flows: %w", err)
	}
	c := r.dir.collector(r.give, make([]observe.Flow, 0, r.dir.cfg.Batch))
	defer func() {
		c.Flush()
		c.Publish(r.clock.Now().UnixNano())
	}()
	dropped, published, handed := uint32(0), int64(0), int64(0)
	for {
		n, err := batch.Read()
		at := r.clock.Now().UnixNano()
		switch timeout, is := errors.AsType[net.Error](err); {
		case ctx.Err() != nil && err != nil, errors.Is(err, net.ErrClosed):
			return nil
		case is && timeout.Timeout():
		case err != nil:
			return fmt.Errorf("flows: read: %w", err)
		}
		for i := range n {
			_ = c.Ingest(batch.Payload(i), batch.From(i), at) // what is wrong is counted
		}
		if d, is := batch.Dropped(); n > 0 && is {
			r.drops.Add(uint64(d - dropped)) // counts modulo 2³²
			dropped = d
		}
		if late(at, handed, int64(within)) || err != nil {
			handed = at
			c.Flush()
			if late(at, published, publish) {
				published = at
				c.Publish(at)
			}
			if err := s.SetReadDeadline(time.Now().Add(within)); err != nil { //nolint:forbidigo // the deadline of a socket is of the machine's clock
				if errors.Is(err, net.ErrClosed) {
					return nil
				}
				return fmt.Errorf("flows: %w", err)
			}
			if ctx.Err() != nil { // it may have ended just before the deadline was set
				return nil
			}
		}
		if n < many/2 {
			// Datagrams gather meanwhile, and one call takes many: waking up for each costs more
			// than reading it.
			time.Sleep(time.Millisecond) //nolint:forbidigo // of the machine's time
		}
	}
}

// late tells whether something is due that was done last then; so it is when the clock was set back.
func late(now, last, every int64) bool { return now-last >= every || now < last }
