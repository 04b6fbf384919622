package ipfix

import (
	"bytes"
	"encoding/binary"
)

// Variable is the length of a field whose length stands before it in each record (RFC
// 7011 §7).
const Variable = 65535

// Field is one field of a template.
type Field struct {
	ID         uint16 // information element, without the enterprise bit
	Length     uint16 // bytes in a record, or Variable
	Enterprise uint32 // private enterprise number whose element it is; 0: IANA's registry
}

// Template says what a record of a data set is made of.
type Template struct {
	ID      uint16
	Version uint16  // V9 or IPFIX
	Options bool    // its records are about the exporter itself
	Scope   int     // of an options template: so many fields at the beginning say what the record is about
	Fields  []Field // of version 9, the scope's have numbers of their own (RFC 3954 §6.1)
	Size    int     // bytes of a record; with a field of variable length, the least
	Fixed   bool    // every record is as long as Size

	spans []span // where each field lies in a record; of a fixed template alone
	raw   []byte // as it was sent, so that the same one is known when it is sent again
}

// span is where a field lies in a record, in bytes.
type span struct{ at, n uint32 }

// Find is the place of the first field with this element, -1 if there is none. The
// scope of an options template isn't looked at.
func (t *Template) Find(enterprise uint32, id uint16) int {
	for i := t.Scope; i < len(t.Fields); i++ {
		if t.Fields[i].ID == id && t.Fields[i].Enterprise == enterprise {
			return i
		}
	}
	return -1
}

// Span is where field i lies in a record, in bytes. The length is Variable where each
// record says it, and of a template that isn't Fixed the place is without meaning.
func (t *Template) Span(i int) (at, n int) {
	if !t.Fixed {
		return 0, int(t.Fields[i].Length)
	}
	return int(t.spans[i].at), int(t.spans[i].n)
}

// compile reads a template that cut found to be whole. It refuses what can't be records:
// a record without a byte would come without end.
func compile(version uint16, k Kind, raw []byte) (*Template, error) {
	id, n, scope, at := heading(version, k, raw)
	t := &Template{ID: id, Version: version, Options: k == OptionsTemplates, Scope: scope, Fields: make([]Field, n), spans: make([]span, n), Fixed: true, raw: bytes.Clone(raw)}
	for i := range t.Fields {
		f := Field{ID: binary.BigEndian.Uint16(raw[at:]), Length: binary.BigEndian.Uint16(raw[at+2:])}
		at += 4
		if version == IPFIX && f.ID&0x8000 != 0 {
			f.ID, f.Enterprise = f.ID&0x7fff, binary.BigEndian.Uint32(raw[at:])
			at += 4
		}
		t.Fields[i] = f
		if version == IPFIX && f.Length == Variable {
			t.Fixed = false
			t.Size++ // at least the byte that says the length
			continue
		}
		t.spans[i] = span{uint32(t.Size), uint32(f.Length)} //nolint:gosec // at most 16,383 fields of 65,535 bytes
		t.Size += int(f.Length)
	}
	if !t.Fixed {
		t.spans = nil
	}
	if t.Size == 0 {
		return nil, ErrTemplate
	}
	return t, nil
}

// heading reads what stands before the fields: RFC 7011 §3.4.1 and §3.4.2.2, RFC 3954
// §5.2 and §6.1. raw is long enough.
func heading(version uint16, k Kind, raw []byte) (id uint16, fields, scope, size int) {
	id = binary.BigEndian.Uint16(raw)
	fields = int(binary.BigEndian.Uint16(raw[2:]))
	switch {
	case k == Templates:
		return id, fields, 0, 4
	case version == V9: // both lengths are in bytes
		scope = fields / 4
		return id, scope + int(binary.BigEndian.Uint16(raw[4:]))/4, scope, 6
	}
	return id, fields, int(binary.BigEndian.Uint16(raw[4:])), 6
}

// cut takes the first template off the body of a set. withdrawn: it takes back the
// template of its number, or all (RFC 7011 §8.1). Padding gives no template and no error.
func cut(version uint16, k Kind, body []byte) (raw, rest []byte, withdrawn bool, err error) {
	if len(body) < 4 {
		return nil, nil, false, nil
	}
	id := binary.BigEndian.Uint16(body)
	if version == IPFIX && binary.BigEndian.Uint16(body[2:]) == 0 && id > 0 {
		return body[:4], body[4:], true, nil
	}
	if id < 256 {
		// Padding to four or eight bytes is all zero; anything else has no number that a
		// data set could have.
		if !zeros(body) {
			err = ErrTemplate
		}
		return nil, nil, false, err
	}
	if k == OptionsTemplates && len(body) < 6 {
		return nil, nil, false, ErrTemplate
	}
	_, n, scope, at := heading(version, k, body)
	// RFC 7011 §3.4.2.2: an options template has a scope. Version 9 may do without.
	if scope > n || k == OptionsTemplates && version == IPFIX && scope == 0 {
		return nil, nil, false, ErrTemplate
	}
	for range n {
		if len(body) < at+4 {
			return nil, nil, false, ErrTemplate
		}
		if version == IPFIX && body[at]&0x80 != 0 {
			at += 4
		}
		at += 4
	}
	if len(body) < at {
		return nil, nil, false, ErrTemplate
	}
	return body[:at], body[at:], false, nil
}

// same tells whether the template was sent with these bytes.
func (t *Template) same(raw []byte) bool { return bytes.Equal(t.raw, raw) }
