// Package udp opens sockets for datagrams that nobody sends twice: with each one comes
// how many the kernel had no room for.
package udp

import (
	"context"
	"fmt"
	"net"
)

// Listen opens a socket at "host:port" and asks the kernel to hold that many bytes; it
// grants what the system's limit allows, see Buffer, and a privileged process all of it. Shared sockets divide an address between them,
// where the system can: see Shares.
func Listen(ctx context.Context, where string, buffer int, shared bool) (*net.UDPConn, error) {
	config := net.ListenConfig{Control: control(shared && Shares)}
	c, err := config.ListenPacket(ctx, "udp", where)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", where, err)
	}
	conn, is := c.(*net.UDPConn)
	if !is {
		_ = c.Close() // nothing was read
		return nil, fmt.Errorf("listen on %s: that is no UDP socket", where)
	}
	_ = conn.SetReadBuffer(buffer) // as much as the system grants
	if n, err := Buffer(conn); err == nil && n < buffer {
		force(conn, buffer)
	}
	return conn, nil
}
