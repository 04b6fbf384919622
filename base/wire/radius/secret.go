package radius

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // RADIUS is built on it
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"hash"
)

// What Check refuses. Such a packet is silently discarded (RFC 2866 §3).
var (
	ErrAuthenticator        = errors.New("its Request Authenticator is wrong: the shared secrets differ")
	ErrMessageAuthenticator = errors.New("its Message-Authenticator is wrong: the shared secrets differ")
	ErrUnsigned             = errors.New("nothing in it proves its sender")
)

// Secret is a shared secret with the room that its sums need, so that none of them
// allocates. It belongs to one goroutine.
type Secret struct {
	secret []byte
	sum    hash.Hash // MD5
	mac    hash.Hash // HMAC-MD5 with the secret
	out    [md5.Size]byte
}

// NewSecret takes a shared secret; empty ones prove nothing and are the caller's to
// refuse.
func NewSecret(secret []byte) *Secret {
	return &Secret{
		secret: append([]byte(nil), secret...),
		sum:    md5.New(), //nolint:gosec // RFC 2866 §3
		mac:    hmac.New(md5.New, secret),
	}
}

var zeros [md5.Size]byte

// Check proves the sender of a request: by its Request Authenticator (RFC 2866 §3,
// RFC 5176 §2.3: a sum over the packet with zeros in its place, and the secret), and
// by its Message-Authenticator where it has one. A Status-Server must have one (RFC
// 5997 §3). Access-Requests can't be proven by the secret alone unless they have one.
func (s *Secret) Check(p Packet) error {
	switch p.Code() {
	case AccountingRequest, DisconnectRequest, CoARequest:
		if !s.signed(p, zeros[:], p.Authenticator()) {
			return ErrAuthenticator
		}
		return s.message(p, zeros[:], false)
	case AccessRequest, StatusServer:
		return s.message(p, p.Authenticator(), true)
	}
	return ErrUnsigned
}

// signed compares the sum over a packet, with in the place of its authenticator.
func (s *Secret) signed(p Packet, with, authenticator []byte) bool {
	return subtle.ConstantTimeCompare(s.sign(p, with), authenticator) == 1
}

func (s *Secret) sign(p Packet, with []byte) []byte {
	s.sum.Reset()
	s.sum.Write(p[:4])
	s.sum.Write(with)
	s.sum.Write(p[header:])
	s.sum.Write(s.secret)
	return s.sum.Sum(s.out[:0])
}

// message compares the Message-Authenticator, which is computed with zeros in its own
// place (RFC 3579 §3.2; for requests that are signed as a whole RFC 5176 §2.3 and
// common practice want zeros for the authenticator, too).
func (s *Secret) message(p Packet, with []byte, must bool) error {
	at := 0
	for rest := p.Attributes(); ; {
		here := len(p) - len(rest)
		t, value, ok := rest.Next()
		if !ok {
			break
		}
		if t != MessageAuthenticator {
			continue
		}
		if at != 0 || len(value) != md5.Size {
			return ErrMessageAuthenticator
		}
		at = here + 2
	}
	switch {
	case at == 0 && must:
		return ErrUnsigned
	case at == 0:
		return nil
	case subtle.ConstantTimeCompare(s.authenticate(p, with, at), p[at:at+md5.Size]) != 1:
		return ErrMessageAuthenticator
	}
	return nil
}

func (s *Secret) authenticate(p Packet, with []byte, at int) []byte {
	s.mac.Reset()
	s.mac.Write(p[:4])
	s.mac.Write(with)
	s.mac.Write(p[header:at])
	s.mac.Write(zeros[:])
	s.mac.Write(p[at+md5.Size:])
	return s.mac.Sum(s.out[:0])
}

// AppendResponse appends the answer to a request: its Proxy-State attributes in
// their order (RFC 2866 §4.2) and, for a Status-Server, a Message-Authenticator in
// front. Answers to Accounting-Requests have none: the RFCs ask for none, and peers
// differ in how they compute it there.
func (s *Secret) AppendResponse(dst []byte, code Code, request Packet) []byte {
	begin := len(dst)
	dst = append(dst, byte(code), request.ID(), 0, 0)
	dst = append(dst, request.Authenticator()...)
	status := request.Code() == StatusServer
	if status {
		dst = append(dst, byte(MessageAuthenticator), 2+md5.Size)
		dst = append(dst, zeros[:]...)
	}
	for rest := request.Attributes(); ; {
		t, value, ok := rest.Next()
		if !ok {
			break
		}
		if t == ProxyState {
			dst = append(dst, byte(t), byte(2+len(value))) //nolint:gosec // as long as in the request
			dst = append(dst, value...)
		}
	}
	p := Packet(dst[begin:])
	binary.BigEndian.PutUint16(p[2:], uint16(len(p))) //nolint:gosec // no longer than a request that was checked
	if status {
		copy(p[header+2:], s.authenticate(p, request.Authenticator(), header+2))
	}
	copy(p[4:header], s.sign(p, request.Authenticator()))
	return dst
}
