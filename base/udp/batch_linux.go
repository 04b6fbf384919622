package udp

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Batch is room for datagrams and for an answer to each. One system call takes many, and
// one sends many: for who answers at once that call is most of the work. It belongs to
// one goroutine.
type Batch struct {
	raw     syscall.RawConn
	in, out []message
	from    []unix.RawSockaddrInet6 // as long as any of both families
	iov     []unix.Iovec
	rooms   [][]byte
	answers [][]byte
	control []byte
	n, outs int
}

// message is the kernel's mmsghdr.
type message struct {
	head unix.Msghdr
	size uint32
}

// NewBatch makes room for n datagrams of so many bytes.
func NewBatch(c *net.UDPConn, n, size int) (*Batch, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	b := &Batch{
		raw: raw, in: make([]message, n), out: make([]message, n), from: make([]unix.RawSockaddrInet6, n), iov: make([]unix.Iovec, 2*n),
		rooms: make([][]byte, n), answers: make([][]byte, n), control: make([]byte, n*Room),
	}
	for i := range n {
		b.rooms[i], b.answers[i] = make([]byte, size), make([]byte, 0, size)
		b.iov[i].Base = &b.rooms[i][0]
		b.iov[i].SetLen(size)
		h := &b.in[i].head
		h.Name, h.Iov = (*byte)(unsafe.Pointer(&b.from[i])), &b.iov[i] //nolint:gosec // the kernel writes no more than Namelen
		h.SetIovlen(1)
		h.Control = &b.control[i*Room]
	}
	return b, nil
}

// Read waits for datagrams, and gives how many came. What was read before is gone.
func (b *Batch) Read() (int, error) {
	if b.n == 0 {
		b.n = len(b.in) // for the first time
	}
	for i := range b.n { // what the kernel didn't touch is as it was
		h := &b.in[i].head
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(Room)
	}
	n, err := b.call(unix.SYS_RECVMMSG, b.raw.Read, b.in)
	b.n, b.outs = n, 0
	return n, err
}

// call calls for messages until it is done or fails; waiting is the runtime's.
func (b *Batch) call(number uintptr, wait func(func(uintptr) bool) error, list []message) (n int, err error) {
	failed := wait(func(fd uintptr) bool {
		for {
			r, _, e := unix.Syscall6(number, fd, uintptr(unsafe.Pointer(&list[0])), uintptr(len(list)), unix.MSG_DONTWAIT, 0, 0) //nolint:gosec // the list stays where it is
			switch e {
			case 0:
				n, err = int(r), nil
				return true
			case unix.EINTR:
			case unix.EAGAIN:
				return false
			default:
				err = e
				return true
			}
		}
	})
	if failed != nil {
		return 0, failed
	}
	return n, err
}

// Payload is what came in the datagram; until the next Read.
func (b *Batch) Payload(i int) []byte { return b.rooms[i][:b.in[i].size] }

// From is who sent it.
func (b *Batch) From(i int) netip.AddrPort {
	a := &b.from[i]
	if a.Family == unix.AF_INET {
		a4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(a)) //nolint:gosec // shorter, and of that family
		return netip.AddrPortFrom(netip.AddrFrom4(a4.Addr), swapped(a4.Port))
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), swapped(a.Port))
}

// swapped reads a number in the order of the network.
func swapped(n uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], n)
	return binary.BigEndian.Uint16(b[:])
}

// Dropped is how many datagrams the kernel had no room for so far, modulo 2³², if it says so.
func (b *Batch) Dropped() (uint32, bool) {
	if b.n == 0 {
		return 0, false
	}
	i := b.n - 1
	n := int(b.in[i].head.Controllen) // #nosec G115 -- of Room
	return Dropped(b.control[i*Room : i*Room+n])
}

// Room is where an answer to the datagram may be written, empty: see Answer.
func (b *Batch) Room(i int) []byte { return b.answers[i][:0] }

// Answer puts an answer beside its datagram; Flush sends it.
func (b *Batch) Answer(i int, payload []byte) {
	if len(payload) == 0 {
		return
	}
	b.answers[i] = payload[:0]
	k := len(b.in) + b.outs
	b.iov[k].Base = &payload[0]
	b.iov[k].SetLen(len(payload))
	h := &b.out[b.outs].head
	h.Name, h.Namelen, h.Iov = b.in[i].head.Name, b.in[i].head.Namelen, &b.iov[k]
	h.SetIovlen(1)
	b.outs++
}

// Flush sends the answers. What can't be sent is passed over, and counted.
func (b *Batch) Flush() (failed int, err error) {
	for list := b.out[:b.outs]; len(list) > 0; {
		n, err := b.call(unix.SYS_SENDMMSG, b.raw.Write, list)
		if _, is := err.(unix.Errno); err != nil && !is { //nolint:errorlint // what the call itself gave
			return failed, fmt.Errorf("send answers: %w", err)
		}
		if n == 0 {
			failed, n = failed+1, 1
		}
		list = list[n:]
	}
	b.outs = 0
	return failed, nil
}
