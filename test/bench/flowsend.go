//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// exports are datagrams of flow records as a router sends them, made beforehand and sent again
// and again with a new time and number.
type exports struct {
	version int // 5 or 9
	list    [][]byte
	each    int    // records of a datagram
	packets uint64 // that all records together tell of
	heads   []message
	parts   []unix.Iovec
	number  uint32 // of the next datagram's first record (5), or of the next datagram (9)
	next    int
}

// A record of version 9 has these fields: 17, as a router's usual template does.
var fields9 = [][2]uint16{ // element, bytes
	{8, 4}, {12, 4}, {15, 4}, {10, 4}, {14, 4}, {2, 4}, {1, 4}, {22, 4}, {21, 4}, {7, 2}, {11, 2}, {6, 1}, {4, 1}, {5, 1}, {16, 4}, {17, 4}, {61, 1},
}

const (
	template9 = 256
	uptime    = 3_600_000 // ms that the router was up in 1970
	records5  = 30
	records9  = 24
)

// Everything that is exported goes to own addresses, which are these.
var ownFlows = netip.MustParsePrefix("198.18.0.0/15")

// newExports makes so many records: ordinary ones from everywhere to so many own addresses.
func newExports(version, records, addresses int) *exports {
	e := &exports{version: version, each: records5}
	if version == 9 {
		e.each = records9
	}
	rng := rand.New(rand.NewPCG(5, uint64(version)))
	base := binary.BigEndian.Uint32(ownFlows.Addr().AsSlice())
	for made := 0; made < records; made += e.each {
		b := e.head()
		for range e.each {
			f := flowRecord{
				src: rng.Uint32N(0xdf000000-0x01000000) + 0x01000000, dst: base + rng.Uint32N(uint32(addresses)),
				packets: 1 + rng.Uint32N(20), proto: 6, flags: 0x1b, srcPort: uint16(1024 + rng.IntN(64000)), dstPort: []uint16{443, 443, 443, 80, 53, 22}[rng.IntN(6)], ms: rng.Uint32N(1000),
			}
			if f.dstPort == 53 {
				f.proto, f.flags = 17, 0
			}
			f.bytes = f.packets * (40 + rng.Uint32N(1400))
			e.packets += uint64(f.packets)
			b = e.record(b, f)
		}
		e.add(e.close(b))
	}
	e.seal()
	return e
}

// flowRecord is one record; it began ms ago and ends now.
type flowRecord struct {
	src, dst, packets, bytes, ms uint32
	srcPort, dstPort             uint16
	proto, flags                 uint8
}

func (e *exports) head() []byte {
	be := binary.BigEndian
	if e.version == 5 {
		b := be.AppendUint16(make([]byte, 0, 1500), 5)
		b = be.AppendUint16(b, 0) // records
		b = be.AppendUint32(b, uptime)
		return append(b, make([]byte, 16)...) // seconds, nanoseconds, number, engine, sampling: 1 of 1
	}
	b := be.AppendUint16(make([]byte, 0, 1500), 9)
	b = be.AppendUint16(b, 0)
	b = be.AppendUint32(b, uptime)
	b = append(b, make([]byte, 8)...) // seconds, number
	b = be.AppendUint32(b, 1)         // source
	return append(be.AppendUint16(b, template9), 0, 0)
}

func (e *exports) record(b []byte, f flowRecord) []byte {
	be := binary.BigEndian
	if e.version == 5 {
		b = be.AppendUint32(be.AppendUint32(b, f.src), f.dst)
		b = append(b, 0, 0, 0, 0, 0, 1, 0, 2) // next hop, in, out
		b = be.AppendUint32(be.AppendUint32(b, f.packets), f.bytes)
		b = be.AppendUint32(be.AppendUint32(b, uptime-f.ms), uptime)
		b = be.AppendUint16(be.AppendUint16(b, f.srcPort), f.dstPort)
		b = append(b, 0, f.flags, f.proto, 0)
		return append(b, 0, 0, 0, 0, 0, 0, 0, 0) // ASes, masks, padding
	}
	b = be.AppendUint32(be.AppendUint32(b, f.src), f.dst)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2)
	b = be.AppendUint32(be.AppendUint32(b, f.packets), f.bytes)
	b = be.AppendUint32(be.AppendUint32(b, uptime-f.ms), uptime)
	b = be.AppendUint16(be.AppendUint16(b, f.srcPort), f.dstPort)
	b = append(b, f.flags, f.proto, 0)
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}

// close writes what is known at a datagram's end.
func (e *exports) close(b []byte) []byte {
	be := binary.BigEndian
	if e.version == 5 {
		be.PutUint16(b[2:], uint16((len(b)-24)/48))
		return b
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	be.PutUint16(b[2:], uint16((len(b)-24)/size9()))
	be.PutUint16(b[22:], uint16(len(b)-20))
	return b
}

func size9() (n int) {
	for _, f := range fields9 {
		n += int(f[1])
	}
	return n
}

// template is the datagram that says what the records of version 9 have; nil for 5.
func (e *exports) template() []byte {
	if e.version == 5 {
		return nil
	}
	be := binary.BigEndian
	b := e.head()[:20]
	be.PutUint16(b[2:], 1)
	b = be.AppendUint16(b, 0)
	b = be.AppendUint16(b, uint16(8+4*len(fields9)))
	b = be.AppendUint16(be.AppendUint16(b, template9), uint16(len(fields9)))
	for _, f := range fields9 {
		b = be.AppendUint16(be.AppendUint16(b, f[0]), f[1])
	}
	return b
}

func (e *exports) add(b []byte) { e.list = append(e.list, b) }

// seal readies them to be sent.
func (e *exports) seal() {
	e.parts, e.heads = make([]unix.Iovec, len(e.list)), make([]message, len(e.list))
	for i, b := range e.list {
		e.parts[i].Base = &b[0]
		e.parts[i].SetLen(len(b))
		e.heads[i].head.Iov = &e.parts[i]
		e.heads[i].head.SetIovlen(1)
	}
}

// stamp gives a datagram its time and number, and its records the times that they tell by the
// router's uptime.
func (e *exports) stamp(b []byte, now time.Time, records int) {
	be := binary.BigEndian
	up := uint32(uptime + now.UnixMilli()) // it wraps as a router's does
	be.PutUint32(b[4:], up)
	be.PutUint32(b[8:], uint32(now.Unix()))
	at, size := 24+24, 48 // of the first record's first packet
	if e.version == 5 {
		be.PutUint32(b[12:], uint32(now.Nanosecond()))
		be.PutUint32(b[16:], e.number)
		e.number += uint32(records)
	} else {
		be.PutUint32(b[12:], e.number)
		e.number++
		at, size = 24+28, size9()
	}
	for range records {
		took := be.Uint32(b[at+4:]) - be.Uint32(b[at:])
		be.PutUint32(b[at:], up-took)
		be.PutUint32(b[at+4:], up)
		at += size
	}
}

// dialFlows opens a socket to a collector on loopback, in a namespace.
func dialFlows(ns *netns, to netip.AddrPort) (fd int, err error) {
	ns.do(func() {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		if err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
			_ = unix.Close(fd) // the first error says more
		}
	})
	return fd, err
}

// sentFlows is what went out.
type sentFlows struct {
	datagrams, records uint64
	took               time.Duration
}

// send sends at so many datagrams a second, for so long, on one thread bound to processor 0.
// The template goes first, and once a second.
func (e *exports) send(ctx context.Context, fd int, long time.Duration, rate float64) (s sentFlows, err error) {
	free, err := pin(0)
	if err != nil {
		return s, err
	}
	defer free()
	began := time.Now()
	template, told := e.template(), time.Time{}
	for now := began; now.Sub(began) < long; now = time.Now() {
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
		if template != nil && now.Sub(told) >= time.Second {
			told = now
			e.stamp(template, now, 0)
			if _, err := unix.Write(fd, template); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
				return s, err
			}
		}
		due := uint64(rate * now.Sub(began).Seconds())
		if due <= s.datagrams {
			time.Sleep(50 * time.Microsecond)
			continue
		}
		most := min(32, due-s.datagrams, uint64(len(e.heads)-e.next))
		for i := range most {
			e.stamp(e.list[e.next+int(i)], now, e.each)
		}
		k, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&e.heads[e.next])), uintptr(most), 0, 0, 0)
		switch errno {
		case 0:
			s.datagrams += uint64(k)
			e.next = (e.next + int(k)) % len(e.heads)
		case unix.EINTR, unix.ENOBUFS, unix.EAGAIN:
		default:
			return s, fmt.Errorf("sendmmsg: %w", errno)
		}
	}
	runtime.KeepAlive(e)
	s.records, s.took = s.datagrams*uint64(e.each), time.Since(began)
	return s, nil
}

// pin keeps this goroutine on a thread, and that on a processor, until free.
func pin(processor int) (free func(), err error) {
	runtime.LockOSThread()
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, err
	}
	only.Set(processor)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return nil, fmt.Errorf("processor %d: %w", processor, err)
	}
	return func() {
		_ = unix.SchedSetaffinity(0, &before) // as it was
		runtime.UnlockOSThread()
	}, nil
}

// told is how many packets the records of the last so many datagrams tell of.
func (e *exports) told(datagrams uint64) (n uint64) {
	whole := datagrams / uint64(len(e.list))
	n = whole * e.packets
	for i := range int(datagrams % uint64(len(e.list))) {
		n += e.sum(e.list[(e.next-1-i+2*len(e.list))%len(e.list)])
	}
	return n
}

// sum is how many packets the records of a datagram tell of.
func (e *exports) sum(b []byte) (n uint64) {
	at, size := 24+16, 48
	if e.version == 9 {
		at, size = 24+20, size9()
	}
	for i := range e.each {
		n += uint64(binary.BigEndian.Uint32(b[at+i*size:]))
	}
	return n
}

func shut(fd int) { _ = unix.Close(fd) } // nothing is pending
