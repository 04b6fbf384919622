package udp

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// Shares tells whether several sockets may divide an address between them.
const Shares = true

// Room is how many bytes of control messages a datagram needs: see Dropped.
var Room = unix.CmsgSpace(4)

// control prepares a socket before it is bound.
func control(shared bool) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			if shared {
				failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}
			if failed == nil {
				failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
			}
		})
		if err != nil {
			return err
		}
		return failed
	}
}

// Dropped is how many datagrams the kernel has dropped on a socket so far, modulo 2³²;
// its control messages say nothing until there are any.
func Dropped(oob []byte) (uint32, bool) {
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, false
	}
	for _, m := range list {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_RXQ_OVFL && len(m.Data) >= 4 {
			return binary.NativeEndian.Uint32(m.Data), true
		}
	}
	return 0, false
}
