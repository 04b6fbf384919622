package session

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// prepare has our packets go 255 hops, from the first answer to a call on: neighbours that
// take no others (RFC 5082) get them.
func prepare(network, _ string, c syscall.RawConn) error {
	var refused error
	err := c.Control(func(fd uintptr) {
		refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, 255)
		if strings.HasSuffix(network, "6") {
			refused = errors.Join(refused, unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255))
		}
	})
	return errors.Join(err, refused)
}

// sign has the kernel take signed segments alone from an address (RFC 2385), and sign ours.
func sign(l *net.TCPListener, from netip.Addr, word string) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	s := &unix.TCPMD5Sig{Keylen: uint16(len(word))} // #nosec G115 -- 80 at most
	copy(s.Key[:], word)
	if l.Addr().(*net.TCPAddr).AddrPort().Addr().Is4() {
		s.Addr.Family = unix.AF_INET
		a := from.As4()
		copy(s.Addr.Data[2:], a[:]) // behind the port
	} else {
		s.Addr.Family = unix.AF_INET6
		a := from.As16()
		copy(s.Addr.Data[6:], a[:]) // behind port and flow label; of IPv4 the mapped form
	}
	var refused error
	err = raw.Control(func(fd uintptr) {
		refused = unix.SetsockoptTCPMD5Sig(int(fd), unix.IPPROTO_TCP, unix.TCP_MD5SIG, s)
	})
	return errors.Join(err, refused)
}
