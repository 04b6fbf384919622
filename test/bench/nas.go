//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// nasSecret is what the made-up NASes share with whoever takes their accounting.
const nasSecret = "bench"

// nases send Accounting-Requests, each with a number of them on the way, and count what is
// answered. They know nothing of who answers.
type nases struct {
	to       string
	sockets  int
	lines    int // contracts; each request is of the next one
	next     atomic.Uint64
	answered atomic.Uint64
	lost     atomic.Uint64 // that nobody answered within two seconds
}

// sending is what a run of nases came to.
type sending struct {
	answered, lost uint64
	took           time.Duration
	cpu            time.Duration // of this process
}

func (s sending) rate() float64 { return float64(s.answered) / s.took.Seconds() }

// send sends for so long.
func (n *nases) send(ctx context.Context, long time.Duration) (s sending, err error) {
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	began, spent := time.Now(), ownCPU()
	var all sync.WaitGroup
	errs := make(chan error, n.sockets)
	for range n.sockets {
		all.Go(func() {
			if err := n.socket(ctx); err != nil {
				errs <- err
			}
		})
	}
	all.Wait()
	close(errs)
	return sending{answered: n.answered.Swap(0), lost: n.lost.Swap(0), took: time.Since(began), cpu: ownCPU() - spent}, <-errs
}

// ownCPU is what this process has used of the processors.
func ownCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// onTheWay is how many requests a socket has: an Identifier has one byte.
const onTheWay = 192

func (n *nases) socket(ctx context.Context) error {
	where, err := net.ResolveUDPAddr("udp4", n.to)
	if err != nil {
		return err
	}
	conn, err := net.DialUDP("udp4", nil, where)
	if err != nil {
		return err
	}
	defer conn.Close()
	batch := ipv4.NewPacketConn(conn)
	free := make([]byte, 0, 256)
	for i := range 256 {
		free = append(free, byte(i))
	}
	var waiting [256]bool
	in, out := make([]ipv4.Message, 64), make([]ipv4.Message, 64)
	for i := range in {
		in[i].Buffers, out[i].Buffers = [][]byte{make([]byte, 64)}, [][]byte{make([]byte, 0, 512)}
	}
	for ctx.Err() == nil {
		for 256-len(free) < onTheWay {
			few := min(len(out), onTheWay-(256-len(free)), len(free))
			for i := range few {
				id := free[0] // the one that was used longest ago
				free = free[1:]
				waiting[id] = true
				out[i].Buffers[0] = accounting(out[i].Buffers[0][:0], id, n.next.Add(1), n.lines)
			}
			for sent := 0; sent < few; {
				k, err := batch.WriteBatch(out[sent:few], 0)
				if err != nil {
					return fmt.Errorf("send accounting to %s: %w", n.to, err)
				}
				sent += k
			}
		}
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		k, err := batch.ReadBatch(in, 0)
		if err != nil { // lost on the way: a NAS would send them again
			for id, w := range waiting {
				if w {
					waiting[id] = false
					free = append(free, byte(id))
					n.lost.Add(1)
				}
			}
			continue
		}
		for i := range k {
			if id := in[i].Buffers[0][1]; in[i].N >= 20 && in[i].Buffers[0][0] == 5 && waiting[id] {
				waiting[id] = false
				free = append(free, id)
				n.answered.Add(1)
			}
		}
	}
	return nil
}

// accounting is request number i of so many lines: a Start, an Interim-Update or a Stop,
// some 190 bytes as a BNG sends them.
func accounting(b []byte, id byte, i uint64, lines int) []byte {
	line := i % uint64(lines)
	round := i / uint64(lines)
	status := [...]uint32{1, 3, 2}[round%3]
	b = append(b, 4, id, 0, 0)
	b = append(b, make([]byte, 16)...)
	text := func(t byte, v string) { b = append(append(b, t, byte(2+len(v))), v...) }
	number := func(t byte, v uint32) { b = binary.BigEndian.AppendUint32(append(b, t, 6), v) }
	text(1, fmt.Sprintf("user%07d@example.net", line))
	number(40, status)
	text(44, fmt.Sprintf("%08x%06x", line, round/3))
	number(46, uint32(600*(round%3)))
	number(55, uint32(time.Now().Unix()))
	number(41, 0)
	text(32, "bng1.example")
	number(4, 10<<24|1)
	number(8, 100<<24|64<<16+uint32(line))
	number(42, uint32(i))
	number(43, uint32(i))
	number(47, 1)
	number(48, 1)
	text(87, "ge-3/1/0.demux0.3221225522:100-200")
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	sum := md5.Sum(append(bytes.Clone(b), nasSecret...))
	copy(b[4:20], sum[:])
	return b
}

// echo answers everything without looking at it: what is left is what the NASes, and the
// way, cost by themselves.
func echo(ctx context.Context) (where string, err error) {
	conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	go func() {
		batch := ipv4.NewPacketConn(conn)
		in := make([]ipv4.Message, 256)
		for i := range in {
			in[i].Buffers = [][]byte{make([]byte, 512)}
		}
		for {
			k, err := batch.ReadBatch(in, 0)
			if err != nil {
				return
			}
			for i := range k {
				b := in[i].Buffers[0][:20]
				b[0] = 5
				_, _ = conn.WriteTo(b, in[i].Addr) // one that is lost is counted as lost
			}
		}
	}()
	return conn.LocalAddr().String(), nil
}
