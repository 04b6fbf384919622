package ring

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"sakimori/base/wire/packet"
)

// The frame slot size of TPACKET_V3 is only a divisor that the kernel checks:
// frames lie in a block one behind the other.
const slot = 1 << 11

// Open opens Options.Fanout rings on one interface, all of which see their share
// of the flows from the same moment on. Errors are an *Error.
func Open(o Options) ([]*Ring, error) {
	o.defaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	face, err := net.InterfaceByName(o.Interface)
	if err != nil {
		return nil, &Error{
			fmt.Sprintf("there is no interface %q; see `ip link`", o.Interface),
			fmt.Sprintf("インターフェース %q がありません。ip link で確かめてください", o.Interface), err,
		}
	}
	rings := make([]*Ring, 0, o.Fanout)
	fail := func(err error) ([]*Ring, error) {
		for _, r := range rings {
			_ = r.Close()
		}
		return nil, explain(err)
	}
	for range o.Fanout {
		r, err := member(&o, face.Index)
		if err != nil {
			return fail(err)
		}
		rings = append(rings, r)
	}
	if o.Fanout > 1 || o.Group != 0 {
		if err := join(rings, o.Group); err != nil {
			return fail(err)
		}
	}
	// Until here every ring was deaf: a member that isn't in the group yet would
	// have seen the flows of all.
	for _, r := range rings {
		if err := r.listen(o.Snaplen); err != nil {
			return fail(err)
		}
	}
	return rings, nil
}

func (o *Options) check() error {
	page := os.Getpagesize()
	var said string
	switch {
	case o.Fanout < 1 || o.Fanout > 256:
		said = fmt.Sprintf("fanout %d isn't between 1 and 256", o.Fanout)
	case o.BlockSize < 1<<17 || o.BlockSize > 1<<27 || o.BlockSize%page != 0 || o.BlockSize%slot != 0:
		// 128 KiB: the largest frame, with the kernel's header, must fit a block.
		said = fmt.Sprintf("block size %d isn't a multiple of %d between 128 KiB and 128 MiB", o.BlockSize, max(page, slot))
	case o.Blocks < 2 || o.Blocks > 1<<16 || int64(o.Blocks)*int64(o.BlockSize) > 1<<30:
		said = fmt.Sprintf("%d blocks aren't between 2 and 65536, with at most 1 GiB together", o.Blocks)
	case o.Snaplen < 0 || o.Snaplen > 1<<18:
		said = fmt.Sprintf("snapshot length %d isn't between 0 and 262144", o.Snaplen)
	case o.Retire < 0 || o.Retire.Milliseconds() > 10000:
		said = fmt.Sprintf("a retire time of %v isn't between 1 ms and 10 s", o.Retire)
	default:
		return nil
	}
	return &Error{Reason: said, ReasonJA: "設定値が範囲外です: " + said}
}

// explain puts what the kernel said into words.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return &Error{
			"not permitted; run as root or give the program CAP_NET_RAW (setcap cap_net_raw=ep FILE)",
			"権限がありません。root で動かすか、CAP_NET_RAW を与えてください（setcap cap_net_raw=ep ファイル）", err,
		}
	case errors.Is(err, unix.ENOMEM):
		return &Error{"not enough memory for the ring; ask for fewer or smaller blocks", "リングのメモリが足りません。ブロックを減らしてください", err}
	case errors.Is(err, unix.ENETDOWN):
		return &Error{"the interface is down; bring it up (`ip link set NAME up`)", "インターフェースが停止しています（ip link set 名前 up）", err}
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return &Error{"the interface is gone", "インターフェースがなくなりました", err}
	}
	return &Error{"the kernel refused", "カーネルが拒みました", err}
}

// member makes one ring that is bound to the interface but hears nothing yet.
func member(o *Options, index int) (_ *Ring, err error) {
	link, kind, err := linkOf(o.Interface)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	r := &Ring{fd: fd, link: link, index: index, size: o.BlockSize, blocks: o.Blocks, inbound: o.InboundOnly}
	defer func() {
		if err != nil {
			_ = r.Close()
		}
	}()
	if err := filter(fd, 0); err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return nil, os.NewSyscallError("PACKET_VERSION", err)
	}
	if o.InboundOnly {
		// Kernels before 4.20 don't know it: then ReadBlock leaves them out.
		_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	}
	request := unix.TpacketReq3{
		Block_size: uint32(o.BlockSize), Block_nr: uint32(o.Blocks), //nolint:gosec // checked above
		Frame_size: slot, Frame_nr: uint32(o.BlockSize / slot * o.Blocks), //nolint:gosec // checked above
		Retire_blk_tov: uint32(max(o.Retire.Milliseconds(), 1)), //nolint:gosec // checked above
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return nil, os.NewSyscallError("PACKET_RX_RING", err)
	}
	if r.mem, err = unix.Mmap(fd, 0, o.BlockSize*o.Blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swapped(unix.ETH_P_ALL), Ifindex: index}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	if o.Promisc {
		request := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC} //nolint:gosec // an interface index
		if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &request); err != nil {
			return nil, os.NewSyscallError("PACKET_ADD_MEMBERSHIP", err)
		}
	}
	return r, nil
}

// linkOf tells how to read the interface: Ethernet with its header, every other
// kind from the IP header on.
func linkOf(name string) (packet.LinkType, int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, 0, fmt.Errorf("interface name: %w", err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, request); err != nil {
		return 0, 0, os.NewSyscallError("SIOCGIFHWADDR", err)
	}
	switch request.Uint16() {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		return packet.LinkEthernet, unix.SOCK_RAW, nil
	}
	return packet.LinkRaw, unix.SOCK_DGRAM, nil
}

// join puts the rings into one fanout group by the hash of the flow.
func join(rings []*Ring, group uint16) error {
	how := unix.PACKET_FANOUT_HASH
	if group == 0 {
		how |= unix.PACKET_FANOUT_FLAG_UNIQUEID // the kernel picks a free one
	}
	for _, r := range rings {
		if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, int(group)|how<<16); err != nil {
			return os.NewSyscallError("PACKET_FANOUT", err)
		}
		if how&unix.PACKET_FANOUT_FLAG_UNIQUEID == 0 {
			continue
		}
		picked, err := unix.GetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
		if err != nil {
			return os.NewSyscallError("PACKET_FANOUT", err)
		}
		group, how = uint16(picked&0xffff), unix.PACKET_FANOUT_HASH
	}
	return nil
}

// listen lets frames in, cut to snaplen bytes if that isn't 0.
func (r *Ring) listen(snaplen int) error {
	if snaplen > 0 {
		return filter(r.fd, uint32(snaplen)) //nolint:gosec // checked by Open
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
		return os.NewSyscallError("SO_DETACH_FILTER", err)
	}
	return nil
}

// filter has the kernel keep n bytes of each frame; 0 refuses it.
func filter(fd int, n uint32) error {
	program := unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: n}}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
		return os.NewSyscallError("SO_ATTACH_FILTER", err)
	}
	return nil
}
