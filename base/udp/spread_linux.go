package udp

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Buffer is how many bytes the kernel granted a socket for what waits.
func Buffer(c *net.UDPConn) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("buffer of a socket: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { n, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF) })
	if err == nil {
		err = failed
	}
	if err != nil {
		return 0, fmt.Errorf("buffer of a socket: %w", err)
	}
	return n / 2, nil // the kernel counts its own bookkeeping in, and says twice of what was asked
}

// force asks for a buffer beyond the system's limit, which only a privileged process gets.
func force(c *net.UDPConn, bytes int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) })
}

// BySender has the kernel choose between n sockets that share an address by the sender's
// address alone: its datagrams all come to the same one, whatever port they come from. c is
// any of them; they count in the order in which they were opened.
func BySender(c *net.UDPConn, n int) error {
	const (
		network = 0xfff00000 // SKF_NET_OFF: from the IP header on
		load1   = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
		load4   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		xor     = unix.BPF_ALU | unix.BPF_XOR | unix.BPF_X
	)
	alu := func(op uint16, k uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_ALU | op | unix.BPF_K, K: k}
	}
	load := func(at uint32) unix.SockFilter { return unix.SockFilter{Code: load4, K: network + at} }
	keep, mix := unix.SockFilter{Code: unix.BPF_MISC | unix.BPF_TAX}, unix.SockFilter{Code: xor}
	program := []unix.SockFilter{
		{Code: load1, K: network},
		alu(unix.BPF_RSH, 4),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 6, Jt: 2},
		load(12),
		{Code: unix.BPF_JMP | unix.BPF_JA, K: 10}, // the source of IPv4
		load(8), keep, load(12), mix, keep, load(16), mix, keep, load(20), mix, // and of IPv6
		alu(unix.BPF_MUL, 0x9e3779b1), alu(unix.BPF_RSH, 16),
		alu(unix.BPF_MOD, uint32(n)), //nolint:gosec // a few
		{Code: unix.BPF_RET | unix.BPF_A},
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("share by sender: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}) //nolint:gosec // a few
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("share by sender: %w", err)
	}
	return nil
}
