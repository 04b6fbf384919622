package ipfix

import (
	"encoding/binary"
	"net/netip"
)

// Records walks the records of a data set. It may be used again and again; the zero
// value is ready for Start.
type Records struct {
	template *Template
	rest     []byte
	record   []byte
	spans    []span
	scratch  []span // of a template that isn't fixed
	damaged  bool
}

// Start begins with the body of a set whose template is t.
func (r *Records) Start(t *Template, body []byte) {
	r.template, r.rest, r.record, r.damaged = t, body, nil, false
	if t.Fixed {
		r.spans = t.spans
		return
	}
	if cap(r.scratch) < len(t.Fields) {
		r.scratch = make([]span, len(t.Fields))
	}
	r.scratch = r.scratch[:len(t.Fields)]
	r.spans = r.scratch
}

// Next goes on to the next record and tells whether there is one. What is left of a set
// and too short for a record is padding (RFC 7011 §3.3.1).
func (r *Records) Next() bool {
	if len(r.rest) < r.template.Size {
		return false
	}
	n := r.template.Size
	if !r.template.Fixed {
		if n = r.measure(); n < 0 {
			r.rest = nil
			return false
		}
	}
	r.record, r.rest = r.rest[:n:n], r.rest[n:]
	return true
}

// Damaged tells whether the walk ended because a field of variable length reached
// beyond its set.
func (r *Records) Damaged() bool { return r.damaged }

// Fits tells whether the body of a set can be records of a template: nothing is left of it
// but padding. Of a template that may have changed meanwhile, the others would be misread.
func (r *Records) Fits(t *Template, body []byte) bool {
	left := body[len(body)-len(body)%t.Size:]
	if !t.Fixed {
		r.Start(t, body)
		for r.Next() {
			left = r.rest
		}
		if r.damaged {
			return false
		}
	}
	return len(body) >= t.Size && len(left) < 8 && zeros(left) // RFC 7011 §3.3.1; exporters round up to four or eight bytes
}

// measure finds where the fields of the next record lie and how long it is; -1 if it
// isn't whole. RFC 7011 §7: a length below 255 is one byte, else 255 and two more.
func (r *Records) measure() int {
	b, at := r.rest, 0
	for i := range r.template.Fields {
		n := int(r.template.Fields[i].Length)
		if n == Variable {
			if at >= len(b) {
				return r.short()
			}
			n = int(b[at])
			at++
			if n == 255 {
				if at+2 > len(b) {
					return r.short()
				}
				n = int(binary.BigEndian.Uint16(b[at:]))
				at += 2
			}
		}
		if at+n > len(b) {
			return r.short()
		}
		r.scratch[i] = span{uint32(at), uint32(n)} //nolint:gosec // within a message of at most 65,535 bytes
		at += n
	}
	return at
}

// short ends the walk. A few zero bytes at the end are padding that could have been
// the beginning of a record.
func (r *Records) short() int {
	r.damaged = len(r.rest) >= 8 || !zeros(r.rest)
	return -1
}

// Template is the records' template.
func (r *Records) Template() *Template { return r.template }

// Bytes is field i of the record in hand, in place.
func (r *Records) Bytes(i int) []byte {
	s := r.spans[i]
	return r.record[s.at : s.at+s.n : s.at+s.n]
}

// Uint is field i as a number of one to eight bytes (RFC 7011 §6.2: exporters may send
// fewer bytes than the element has). Any other length gives 0.
func (r *Records) Uint(i int) uint64 {
	b := r.Bytes(i)
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	case 8:
		return binary.BigEndian.Uint64(b)
	case 3, 5, 6, 7:
		var v uint64
		for _, c := range b {
			v = v<<8 | uint64(c)
		}
		return v
	}
	return 0
}

// Addr is field i as an address of four or sixteen bytes; any other length gives the
// zero Addr.
func (r *Records) Addr(i int) netip.Addr {
	switch b := r.Bytes(i); len(b) {
	case 4:
		return netip.AddrFrom4([4]byte(b))
	case 16:
		return netip.AddrFrom16([16]byte(b))
	}
	return netip.Addr{}
}
