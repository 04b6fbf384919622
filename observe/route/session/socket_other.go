//go:build !linux

package session

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// prepare isn't known here: neighbours that take packets of 255 hops alone can't call.
func prepare(string, string, syscall.RawConn) error { return nil }

// sign isn't known here.
func sign(*net.TCPListener, netip.Addr, string) error {
	return errors.New("TCP MD5 is known on Linux alone")
}
