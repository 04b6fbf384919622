package access

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// shares tells whether several sockets may divide an address between them.
const shares = true

// oobSize is the room for the count of datagrams that the kernel dropped.
var oobSize = unix.CmsgSpace(4)

// control prepares a socket before it is bound: several share an address, and with
// each datagram comes how many were dropped before it.
func control(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		if failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); failed == nil {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
		}
	})
	if err != nil {
		return err
	}
	return failed
}

// overflow is how many datagrams the kernel has dropped on this socket so far, modulo
// 2³²; it says nothing until there are any.
func overflow(oob []byte) (uint32, bool) {
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
