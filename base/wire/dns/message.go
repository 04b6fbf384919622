package dns

import "encoding/binary"

// Types of records (IANA, DNS parameters).
const (
	A     = 1
	NS    = 2
	CNAME = 5
	SOA   = 6
	PTR   = 12
	MX    = 15
	TXT   = 16
	AAAA  = 28
	SRV   = 33
	DNAME = 39
	OPT   = 41
	HTTPS = 65
	TSIG  = 250
	IXFR  = 251
	AXFR  = 252
	Any   = 255
)

// Classes.
const (
	IN       = 1
	ClassANY = 255
)

// Operations.
const (
	Query  = 0
	Notify = 4 // RFC 1996
)

// Codes of answers.
const (
	NoError  = 0
	FormErr  = 1
	ServFail = 2
	NXDomain = 3
	NotImp   = 4
	Refused  = 5
	NotAuth  = 9
)

// HeaderSize is how many bytes a message begins with.
const HeaderSize = 12

// Message is one message in the bytes that it came in: nothing is copied. Read fills it.
type Message struct {
	Raw       []byte
	ID        uint16
	Response  bool
	Opcode    uint8
	Authority bool // AA
	Truncated bool // TC
	Desired   bool // RD
	Available bool // RA
	Checked   bool // AD
	Rcode     uint8
	Counts    [4]uint16 // questions, answers, authority, additional
}

// Read reads the header. What follows it is read by Question and Records.
func (m *Message) Read(raw []byte) error {
	if len(raw) < HeaderSize {
		return ErrShort
	}
	f := binary.BigEndian.Uint16(raw[2:])
	*m = Message{
		Raw: raw, ID: binary.BigEndian.Uint16(raw), Response: f&0x8000 != 0, Opcode: uint8(f>>11) & 15,
		Authority: f&0x400 != 0, Truncated: f&0x200 != 0, Desired: f&0x100 != 0, Available: f&0x80 != 0, Checked: f&0x20 != 0, Rcode: uint8(f & 15),
	}
	for i := range m.Counts {
		m.Counts[i] = binary.BigEndian.Uint16(raw[4+2*i:])
	}
	return nil
}

// Question is what was asked.
type Question struct {
	Name  Name
	Type  uint16
	Class uint16
}

// Question reads the first question; its name is written into buf, which may be nil. A
// message without one is an ErrShort.
func (m *Message) Question(buf Name) (q Question, err error) {
	if m.Counts[0] == 0 {
		return q, ErrShort
	}
	n, at, err := AppendName(buf[:0], m.Raw, HeaderSize)
	if err != nil {
		return q, err
	}
	if at+4 > len(m.Raw) {
		return q, ErrShort
	}
	return Question{n, binary.BigEndian.Uint16(m.Raw[at:]), binary.BigEndian.Uint16(m.Raw[at+2:])}, nil
}

// Section is a part of a message.
type Section uint8

// The sections that hold records.
const (
	Answer Section = iota + 1
	Authority
	Additional
)

// RR is one record where it stands: Owner is the offset of its name, Data its RDATA,
// DataAt the offset of that, for names in it that are compressed.
type RR struct {
	Section Section
	Owner   int
	Type    uint16
	Class   uint16
	TTL     uint32
	Data    []byte
	DataAt  int
}

// Records goes through the records of a message in order.
type Records struct {
	m    *Message
	at   int
	sec  Section
	left uint16
	err  error
}

// Records begins behind the questions.
func (m *Message) Records() Records {
	r := Records{m: m, at: HeaderSize, sec: Answer, left: m.Counts[1]}
	for range m.Counts[0] {
		at, err := skipName(m.Raw, r.at)
		if err == nil && at+4 > len(m.Raw) {
			err = ErrShort
		}
		if err != nil {
			r.err = err
			return r
		}
		r.at = at + 4
	}
	return r
}

// Next gives the next record, and false at the end or at what can't be read: see Err.
func (r *Records) Next(rr *RR) bool {
	for r.err == nil && r.left == 0 {
		if r.sec == Additional {
			return false
		}
		r.sec++
		r.left = r.m.Counts[r.sec]
	}
	if r.err != nil {
		return false
	}
	raw := r.m.Raw
	at, err := skipName(raw, r.at)
	if err == nil && at+10 > len(raw) {
		err = ErrShort
	}
	if err != nil {
		r.err = err
		return false
	}
	n := int(binary.BigEndian.Uint16(raw[at+8:]))
	if at+10+n > len(raw) {
		r.err = ErrShort
		return false
	}
	*rr = RR{r.sec, r.at, binary.BigEndian.Uint16(raw[at:]), binary.BigEndian.Uint16(raw[at+2:]), binary.BigEndian.Uint32(raw[at+4:]), raw[at+10 : at+10+n], at + 10}
	r.at = at + 10 + n
	r.left--
	return true
}

// End is the offset behind the last record that Next gave.
func (r *Records) End() int { return r.at }

// Err says what couldn't be read.
func (r *Records) Err() error { return r.err }
