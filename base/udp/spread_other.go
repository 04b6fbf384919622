//go:build !linux

package udp

import (
	"errors"
	"net"
)

// Buffer isn't told here.
func Buffer(*net.UDPConn) (int, error) { return 0, errors.ErrUnsupported }

func force(*net.UDPConn, int) {}

// BySender isn't to be had here.
func BySender(*net.UDPConn, int) error { return errors.ErrUnsupported }
