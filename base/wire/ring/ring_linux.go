package ring

import (
	"context"
	"encoding/binary"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"sakimori/base/wire/packet"
)

// Where the kernel's fields lie (linux/if_packet.h), all in host byte order.
const (
	blockStatus = 8  // struct tpacket_block_desc: version 4, offset_to_priv 4, then tpacket_hdr_v1
	blockCount  = 12 // frames in the block
	blockFirst  = 16 // offset of the first

	frameNext   = 0 // struct tpacket3_hdr
	frameSec    = 4
	frameNsec   = 8
	frameLen    = 12 // captured
	frameOrig   = 16
	frameStatus = 20
	frameMac    = 24 // offset of the link header
	frameNet    = 26 // offset of the network header
	frameTag    = 32 // VLAN tag control information
	frameTPID   = 36
	frameAddr   = 48 // struct sockaddr_ll follows: family 2, protocol 2, index 4, ARPHRD 2, packet type 1

	maxFrame = 1 << 18 // with segmentation offload frames exceed 64 KiB
)

// Ring is one ring. ReadBlock belongs to one goroutine, which also closes it;
// Stats may be asked by any.
type Ring struct {
	fd      int
	mem     []byte
	size    int // of a block
	blocks  int
	next    int // the block to read
	link    packet.LinkType
	index   int
	inbound bool

	mu                         sync.Mutex
	closed                     bool
	received, dropped, freezes uint64
}

// ReadBlock waits for the kernel to hand over a block, copies its frames into b,
// whose memory it reuses, and hands the block back. It returns ctx's error when
// that is done (it looks every 100 ms), an *Error when the interface goes away.
// VLAN tags that the kernel took off are put back. Frame.Iface is 0.
func (r *Ring) ReadBlock(ctx context.Context, b *packet.Block) error {
	if r.mem == nil {
		return &Error{"the ring was closed", "リングは閉じられています", os.ErrClosed}
	}
	for {
		b.Buf, b.Frames = b.Buf[:0], b.Frames[:0]
		if err := ctx.Err(); err != nil {
			return err //nolint:wrapcheck // ctx's own, as promised
		}
		block := r.mem[r.next*r.size : (r.next+1)*r.size]
		status := (*uint32)(unsafe.Pointer(&block[blockStatus])) //nolint:gosec // aligned: the mapping and its blocks are
		if atomic.LoadUint32(status)&unix.TP_STATUS_USER == 0 {
			if err := r.wait(); err != nil {
				return err
			}
			continue
		}
		r.copy(block, b)
		atomic.StoreUint32(status, unix.TP_STATUS_KERNEL)
		r.next = (r.next + 1) % r.blocks
		if len(b.Frames) > 0 {
			return nil
		}
	}
}

// wait waits until there may be a block.
func (r *Ring) wait() error {
	fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN | unix.POLLERR}} //nolint:gosec // a file descriptor
	n, err := unix.Poll(fds, 100)
	if err != nil && err != unix.EINTR {
		return explain(os.NewSyscallError("poll", err))
	}
	if n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLNVAL|unix.POLLHUP) != 0 {
		code, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			return explain(os.NewSyscallError("SO_ERROR", err))
		}
		if code != 0 {
			return explain(unix.Errno(code))
		}
	}
	return nil
}

// copy copies the frames of a block that the kernel has handed over.
func (r *Ring) copy(block []byte, b *packet.Block) {
	host := binary.NativeEndian
	if cap(b.Buf) < r.size {
		b.Buf = make([]byte, 0, r.size)
	}
	at := int(host.Uint32(block[blockFirst:]))
	for range host.Uint32(block[blockCount:]) {
		h := block[at : at+frameAddr+12]
		if !r.inbound || h[frameAddr+10] != unix.PACKET_OUTGOING {
			r.frame(block[at:], h, b)
		}
		at += int(host.Uint32(h[frameNext:]))
	}
}

// frame copies one frame; slot begins with its header h.
func (r *Ring) frame(slot, h []byte, b *packet.Block) {
	host := binary.NativeEndian
	size, orig := host.Uint32(h[frameLen:]), host.Uint32(h[frameOrig:])
	start := int(host.Uint16(h[frameMac:]))
	if r.link != packet.LinkEthernet {
		switch swapped(host.Uint16(h[frameAddr+2:])) {
		case unix.ETH_P_IP, unix.ETH_P_IPV6:
		default: // nothing tells its protocol without a link header
			return
		}
		start = int(host.Uint16(h[frameNet:]))
	}
	data := slot[start : start+int(min(size, maxFrame))]
	off := len(b.Buf)
	status := host.Uint32(h[frameStatus:])
	if status&unix.TP_STATUS_VLAN_VALID != 0 && r.link == packet.LinkEthernet && len(data) >= 12 {
		tpid := uint16(unix.ETH_P_8021Q)
		if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			tpid = host.Uint16(h[frameTPID:])
		}
		b.Buf = append(b.Buf, data[:12]...)
		b.Buf = binary.BigEndian.AppendUint16(b.Buf, tpid)
		b.Buf = binary.BigEndian.AppendUint16(b.Buf, uint16(host.Uint32(h[frameTag:]))) //nolint:gosec // 16 bits are used
		data, orig = data[12:], orig+4
	}
	b.Buf = append(b.Buf, data...)
	b.Frames = append(b.Frames, packet.Frame{
		Time: int64(host.Uint32(h[frameSec:]))*1e9 + int64(host.Uint32(h[frameNsec:])),
		Off:  uint32(off), Len: uint32(len(b.Buf) - off), Orig: orig, Link: r.link, //nolint:gosec // within a block
	})
}

// Stats are the frames that came through since Open, those that the kernel
// dropped because the ring was full, and how often it found it so.
func (r *Ring) Stats() (received, dropped, freezes uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		// The kernel counts from one question to the next, and counts the dropped
		// ones as packets too.
		if s, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			r.received += uint64(s.Packets - s.Drops)
			r.dropped += uint64(s.Drops)
			r.freezes += uint64(s.Freeze_q_cnt)
		}
	}
	return r.received, r.dropped, r.freezes
}

// Close ends the capture and frees the ring. Stats keeps the last counts.
func (r *Ring) Close() error {
	r.Stats()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	if r.mem != nil {
		if err := unix.Munmap(r.mem); err != nil {
			return explain(os.NewSyscallError("munmap", err))
		}
		r.mem = nil
	}
	if err := unix.Close(r.fd); err != nil {
		return explain(os.NewSyscallError("close", err))
	}
	return nil
}

// swapped turns a 16-bit number between host and network byte order.
func swapped(v uint16) uint16 {
	return binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v))
}
