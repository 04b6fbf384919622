package dns

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"
)

// Fudge is by how much the clocks of both sides may differ (RFC 8945 §10).
const Fudge = 300 * time.Second

// Codes of a signature that doesn't hold (RFC 8945 §3).
const (
	BadSig   = 16
	BadKey   = 17
	BadTime  = 18
	BadTrunc = 22
)

// Why a signature doesn't hold.
var (
	ErrSig      = errors.New("the signature doesn't hold: the secrets of both sides differ, or the message was altered")
	ErrKey      = errors.New("the key isn't known here, or is for another algorithm")
	ErrTime     = errors.New("the clocks of both sides differ by too much")
	ErrTrunc    = errors.New("the signature is cut off: only whole ones are believed")
	ErrUnsigned = errors.New("the message isn't signed, but must be")
)

// Algorithm is how a key signs.
type Algorithm string

// The algorithms; older ones aren't spoken.
const (
	SHA256 Algorithm = "hmac-sha256"
	SHA512 Algorithm = "hmac-sha512"
)

// Key is a secret that both sides share (TSIG, RFC 8945).
type Key struct {
	Name      Name
	Algorithm Algorithm
	Secret    []byte
}

// Check says what is wrong with a key.
func (k *Key) Check() error {
	switch {
	case len(k.Name) < 2:
		return errors.New("a key needs a name, the same on both sides")
	case k.Algorithm != SHA256 && k.Algorithm != SHA512:
		return fmt.Errorf("key %s: algorithm %q isn't spoken: use %s or %s", k.Name, k.Algorithm, SHA256, SHA512)
	case len(k.Secret) < 16:
		return fmt.Errorf("key %s: its secret has %d bytes: make one of at least 16, better 32", k.Name, len(k.Secret))
	}
	return nil
}

func (k *Key) hash() hash.Hash {
	if k.Algorithm == SHA512 {
		return hmac.New(sha512.New, k.Secret)
	}
	return hmac.New(sha256.New, k.Secret)
}

// wire is the algorithm as a name.
func (a Algorithm) wire() Name {
	return append(append(Name{byte(len(a))}, a...), 0) // #nosec G115 -- two of them, and short
}

// Signature is a TSIG record as it was read.
type Signature struct {
	Key, Algorithm Name
	Time           time.Time
	Fudge          time.Duration
	MAC            []byte
	ID             uint16 // of the message as its sender made it
	Error          uint16
	Other          []byte
	At             int // offset of the record: the signed message ends before it
}

// Signature finds the signature of a message. It is the last record and the only one of
// its kind; anything else isn't a message (RFC 8945 §5.1).
func (m *Message) Signature() (s Signature, signed bool, err error) {
	r := m.Records()
	var rr RR
	before := r.End()
	for r.Next(&rr) {
		if signed {
			return s, false, fmt.Errorf("%w: a record behind the signature", ErrShort)
		}
		if rr.Type == TSIG {
			if rr.Section != Additional || rr.Class != ClassANY || rr.TTL != 0 {
				return s, false, fmt.Errorf("%w: the signature stands where none may", ErrShort)
			}
			signed = true
			if err = s.read(m, &rr); err != nil {
				return s, false, err
			}
			s.At = before
		}
		before = r.End()
	}
	if r.Err() != nil {
		return s, false, r.Err()
	}
	if signed && r.End() != len(m.Raw) {
		return s, false, fmt.Errorf("%w: bytes behind the signature", ErrShort)
	}
	return s, signed, nil
}

func (s *Signature) read(m *Message, rr *RR) (err error) {
	if s.Key, _, err = AppendName(nil, m.Raw, rr.Owner); err != nil {
		return err
	}
	var at int
	if s.Algorithm, at, err = AppendName(nil, m.Raw, rr.DataAt); err != nil {
		return err
	}
	end := rr.DataAt + len(rr.Data)
	if at+10 > end {
		return ErrShort
	}
	b := m.Raw[at:end]
	s.Time = time.Unix(int64(binary.BigEndian.Uint16(b))<<32|int64(binary.BigEndian.Uint32(b[2:])), 0)
	s.Fudge = time.Duration(binary.BigEndian.Uint16(b[6:])) * time.Second
	n := int(binary.BigEndian.Uint16(b[8:]))
	if b = b[10:]; n+6 > len(b) {
		return ErrShort
	}
	s.MAC, b = b[:n], b[n:]
	s.ID, s.Error = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if int(binary.BigEndian.Uint16(b[4:])) != len(b)-6 {
		return ErrShort
	}
	s.Other = b[6:]
	return nil
}

// Stream signs or verifies the messages of one exchange, in order: a request alone, or
// the messages of its answer, each bound to the one before.
type Stream struct {
	key      *Key
	hash     hash.Hash
	prior    []byte // signature that the next is bound to
	later    bool   // than the first message
	unsigned int    // messages since the last signed one
}

// Begin begins an answer to a request that was signed with MAC; nil: a request.
func (k *Key) Begin(request []byte) *Stream {
	s := &Stream{key: k, hash: k.hash(), prior: slices.Clone(request)}
	s.bind()
	return s
}

func (s *Stream) bind() {
	s.hash.Reset()
	if len(s.prior) > 0 {
		var n [2]byte
		binary.BigEndian.PutUint16(n[:], uint16(len(s.prior))) // #nosec G115 -- a hash
		s.hash.Write(n[:])
		s.hash.Write(s.prior)
	}
}

// Sign gives the TSIG record of the next message, whose parts are handed in without it.
// The sender appends it, and counts it in the header: that is one more additional record.
func (s *Stream) Sign(now time.Time, parts ...[]byte) []byte {
	return s.sign(now, 0, nil, parts)
}

// Late is the record of an answer to a request whose time is off: signed with the time of
// the request, and telling ours (RFC 8945 §5.2.3).
func (s *Stream) Late(request *Signature, now time.Time, parts ...[]byte) []byte {
	return s.sign(request.Time, BadTime, time48(nil, now), parts)
}

func (s *Stream) sign(at time.Time, code uint16, other []byte, parts [][]byte) []byte {
	for _, p := range parts {
		s.hash.Write(p)
	}
	x := Signature{Key: s.key.Name, Algorithm: s.key.Algorithm.wire(), Time: at, Fudge: Fudge, ID: binary.BigEndian.Uint16(parts[0]), Error: code, Other: other}
	s.close(&x)
	x.MAC = s.prior
	return x.append(nil)
}

// close ends the hash of a message: prior is then its signature, and the next one's.
func (s *Stream) close(x *Signature) {
	s.hash.Write(x.variables(s.later))
	s.prior = s.hash.Sum(s.prior[:0])
	s.later, s.unsigned = true, 0
	s.bind()
}

// variables are what is signed besides the message (RFC 8945 §4.3.3); of later messages
// of an answer the times alone (§5.3.1).
func (s *Signature) variables(later bool) []byte {
	var b []byte
	if later {
		b = time48(b, s.Time)
		return binary.BigEndian.AppendUint16(b, uint16(s.Fudge/time.Second)) // #nosec G115 -- it came as that
	}
	b = append(b, s.Key...)
	b = binary.BigEndian.AppendUint16(b, ClassANY)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = append(b, s.Algorithm...)
	b = time48(b, s.Time)
	b = binary.BigEndian.AppendUint16(b, uint16(s.Fudge/time.Second)) // #nosec G115 -- it came as that
	b = binary.BigEndian.AppendUint16(b, s.Error)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.Other))) // #nosec G115 -- it came as that
	return append(b, s.Other...)
}

func time48(b []byte, t time.Time) []byte {
	u := uint64(t.Unix())                               // #nosec G115 -- 48 bits of it
	b = binary.BigEndian.AppendUint16(b, uint16(u>>32)) // #nosec G115 -- its upper 16 bits
	return binary.BigEndian.AppendUint32(b, uint32(u))  // #nosec G115 -- its lower half
}

// append writes the record.
func (s *Signature) append(dst []byte) []byte {
	d := append([]byte{}, s.Algorithm...)
	d = time48(d, s.Time)
	d = binary.BigEndian.AppendUint16(d, uint16(s.Fudge/time.Second)) // #nosec G115 -- it came as that
	d = binary.BigEndian.AppendUint16(d, uint16(len(s.MAC)))          // #nosec G115 -- a hash
	d = append(d, s.MAC...)
	d = binary.BigEndian.AppendUint16(d, s.ID)
	d = binary.BigEndian.AppendUint16(d, s.Error)
	d = binary.BigEndian.AppendUint16(d, uint16(len(s.Other))) // #nosec G115 -- it came as that
	d = append(d, s.Other...)
	return AppendRR(dst, s.Key, TSIG, ClassANY, 0, d)
}

// Unsigned is the record of an answer to a request whose signature doesn't hold, with its
// code: there is nothing to sign it with (RFC 8945 §5.3.2).
func (s *Signature) Unsigned(code uint16) []byte {
	u := Signature{Key: s.Key, Algorithm: s.Algorithm, Time: s.Time, Fudge: s.Fudge, ID: s.ID, Error: code}
	return u.append(nil)
}

// mostUnsigned is how many messages of an answer may go unsigned between signed ones
// (RFC 8945 §5.3.1).
const mostUnsigned = 99

// Verify checks the next message, in the bytes that came. The first is signed, then at
// least each hundredth; whoever knows which is the last asks Settled after it.
func (s *Stream) Verify(m *Message, now time.Time) error {
	x, signed, err := m.Signature()
	if err != nil {
		return err
	}
	if !signed {
		if !s.later || s.unsigned >= mostUnsigned {
			return ErrUnsigned
		}
		s.unsigned++
		s.hash.Write(m.Raw)
		return nil
	}
	return s.VerifySigned(m, &x, now)
}

// VerifySigned is Verify of a message whose signature was found. The time is looked at
// last, so that an ErrTime tells that the rest holds.
func (s *Stream) VerifySigned(m *Message, x *Signature, now time.Time) error {
	if string(x.Key) != string(s.key.Name) || string(x.Algorithm) != string(s.key.Algorithm.wire()) {
		return ErrKey
	}
	if n := s.hash.Size(); len(x.MAC) != n {
		if len(x.MAC) < max(10, n/2) || len(x.MAC) > n {
			return ErrSig
		}
		return ErrTrunc
	}
	head := [HeaderSize]byte(m.Raw) // as it was before it was signed
	binary.BigEndian.PutUint16(head[:], x.ID)
	binary.BigEndian.PutUint16(head[10:], m.Counts[3]-1)
	s.hash.Write(head[:])
	s.hash.Write(m.Raw[HeaderSize:x.At])
	s.close(x)
	if !hmac.Equal(s.prior, x.MAC) {
		return ErrSig
	}
	if d := now.Sub(x.Time); d > x.Fudge || d < -x.Fudge {
		return ErrTime
	}
	return nil
}

// Settled tells whether the last message that was verified was signed.
func (s *Stream) Settled() bool { return s.later && s.unsigned == 0 }
