//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"sakimori/sim"
)

// sender puts generated frames, all to addresses of the simulator's dark range,
// on the wire: again and again the same ones, from memory.
type sender struct {
	frames []byte
	parts  []unix.Iovec
	lanes  []lane
}

// lane is a thread that sends, with its own socket and its share of the frames.
type lane struct {
	fd    int
	heads []message
	next  int
}

// message is struct mmsghdr.
type message struct {
	head unix.Msghdr
	sent uint32
	_    uint32
}

// held is how many different frames there are: enough to fill the tables of the
// receiver as a large telescope does.
const held = 1 << 19

// WriteFrame takes a frame from the simulator.
func (s *sender) WriteFrame(_ int64, data []byte) error {
	if len(s.frames)+len(data) > cap(s.frames) { // it must not move
		return fmt.Errorf("room for %d bytes of frames is too little", cap(s.frames))
	}
	at := len(s.frames)
	s.frames = append(s.frames, data...)
	part := unix.Iovec{Base: &s.frames[at]}
	part.SetLen(len(data))
	s.parts = append(s.parts, part)
	return nil
}

// newSender makes the frames and opens the near end of the wire.
func newSender(w *wire) (*sender, error) {
	s := &sender{frames: make([]byte, 0, held*128), parts: make([]unix.Iovec, 0, held)}
	if _, err := bulk(held).Write(s); err != nil {
		return nil, err
	}
	heads := make([]message, len(s.parts))
	for i := range heads {
		heads[i].head.Iov = &s.parts[i]
		heads[i].head.SetIovlen(1)
	}
	n := min(2, runtime.NumCPU())
	for share := range slices.Chunk(heads, (len(heads)+n-1)/n) {
		fd, err := w.enter()
		if err != nil {
			s.close()
			return nil, fmt.Errorf("send on the wire: %w", err)
		}
		s.lanes = append(s.lanes, lane{fd: fd, heads: share})
	}
	return s, nil
}

// enter opens the near end of the wire.
func (w *wire) enter() (fd int, err error) {
	w.from.do(func() {
		var face *net.Interface
		if face, err = net.InterfaceByName("tx"); err != nil {
			return
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		// Straight to the wire, past the queue that a card would need.
		_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1) // slower without
		if err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: face.Index}); err != nil {
			_ = unix.Close(fd) // the first error says more
		}
	})
	return fd, err
}

func (s *sender) close() {
	for _, l := range s.lanes {
		_ = unix.Close(l.fd) // nothing is pending
	}
}

// batch is how many frames one system call takes.
const batch = 64

// send sends for so long, at most n frames, at a rate in packets/s or, with 0,
// as fast as it can.
func (s *sender) send(ctx context.Context, long time.Duration, n uint64, rate float64) (sent uint64, took time.Duration, err error) {
	share := uint64(len(s.lanes))
	counts, errs := make([]uint64, share), make([]error, share)
	began := time.Now()
	var all sync.WaitGroup
	for i := range s.lanes {
		all.Go(func() { counts[i], errs[i] = s.lanes[i].send(ctx, began.Add(long), n/share, rate/float64(share)) })
	}
	all.Wait()
	took = time.Since(began)
	runtime.KeepAlive(s)
	for _, c := range counts {
		sent += c
	}
	return sent, took, errors.Join(errs...)
}

func (l *lane) send(ctx context.Context, end time.Time, n uint64, rate float64) (sent uint64, err error) {
	began := time.Now()
	for now := began; sent < n && now.Before(end); now = time.Now() {
		if ctx.Err() != nil {
			return sent, ctx.Err()
		}
		most := min(batch, n-sent, uint64(len(l.heads)-l.next))
		if rate > 0 {
			due := uint64(rate * now.Sub(began).Seconds())
			if due <= sent {
				time.Sleep(50 * time.Microsecond)
				continue
			}
			most = min(most, due-sent)
		}
		k, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(l.fd), uintptr(unsafe.Pointer(&l.heads[l.next])), uintptr(most), 0, 0, 0)
		switch errno {
		case 0:
			sent += uint64(k)
			l.next = (l.next + int(k)) % len(l.heads)
		case unix.EINTR, unix.ENOBUFS, unix.EAGAIN:
		default:
			return sent, fmt.Errorf("sendmmsg: %w", errno)
		}
	}
	return sent, nil
}

var _ sim.FrameWriter = (*sender)(nil)
