//go:build !linux

package udp

import "syscall"

// Shares tells whether several sockets may divide an address between them.
const Shares = false

// Room is how many bytes of control messages a datagram needs.
var Room = 0

func control(bool) func(network, address string, c syscall.RawConn) error {
	return func(string, string, syscall.RawConn) error { return nil }
}

// Dropped isn't told here.
func Dropped([]byte) (uint32, bool) { return 0, false }
