// Package dns reads and writes DNS messages (RFC 1035) over bytes.
package dns

import (
	"errors"
	"fmt"
)

// Bounds of names (RFC 1035 §2.3.4), in bytes as they are on the wire.
const (
	MaxName  = 255
	MaxLabel = 63
)

// Name is a name as it is on the wire: labels with their lengths, in lower case,
// not compressed, with the root's zero at the end. Two names are the same when
// their bytes are. The nil Name isn't one.
type Name []byte

// Root is the name of the root.
func Root() Name { return Name{0} }

// Why bytes or words aren't a name.
var (
	ErrName  = errors.New("not a name of the DNS")
	ErrShort = errors.New("the message ends too early")
)

// ParseName reads a name as people write it, with or without the dot at its end;
// \. and \DDD are understood. Letters become lower case. Words in other scripts
// must have been made ASCII before (RFC 5891).
func ParseName(s string) (Name, error) {
	if s == "." {
		return Root(), nil
	}
	n := make(Name, 1, len(s)+2)
	at := 0 // of the length of the label in hand
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '.':
			if len(n) == at+1 {
				return nil, fmt.Errorf("%w: %.80q has an empty label", ErrName, s)
			}
			if i == len(s)-1 {
				continue
			}
			at = len(n)
			n = append(n, 0)
			continue
		case c == '\\':
			var ok bool
			if c, i, ok = escaped(s, i); !ok {
				return nil, fmt.Errorf("%w: %.80q has a broken escape", ErrName, s)
			}
		case c <= ' ' || c >= 0x7f:
			return nil, fmt.Errorf("%w: %.80q holds a byte that must be escaped", ErrName, s)
		}
		n = append(n, lower(c))
		if n[at]++; n[at] > MaxLabel {
			return nil, fmt.Errorf("%w: %.80q has a label of more than %d bytes", ErrName, s, MaxLabel)
		}
	}
	if len(n) == 1 {
		return nil, fmt.Errorf("%w: it is empty", ErrName)
	}
	if n = append(n, 0); len(n) > MaxName {
		return nil, fmt.Errorf("%w: %.80q… has more than %d bytes", ErrName, s, MaxName)
	}
	return n, nil
}

// escaped reads what follows a backslash at i, and gives the place of its last byte.
func escaped(s string, i int) (c byte, end int, ok bool) {
	if i+1 >= len(s) {
		return 0, i, false
	}
	if d := s[i+1]; d < '0' || d > '9' {
		return d, i + 1, true
	}
	if i+3 >= len(s) {
		return 0, i, false
	}
	v := 0
	for _, d := range []byte(s[i+1 : i+4]) {
		if d < '0' || d > '9' {
			return 0, i, false
		}
		v = v*10 + int(d-'0')
	}
	return byte(v), i + 3, v < 256
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// String writes the name as people do, without the dot at its end; the root is ".".
func (n Name) String() string { return string(n.Append(make([]byte, 0, len(n)+1))) }

// Append appends what String gives.
func (n Name) Append(b []byte) []byte {
	if len(n) <= 1 {
		return append(b, '.')
	}
	for i := 0; i < len(n) && n[i] != 0; {
		if i > 0 {
			b = append(b, '.')
		}
		end := min(i+1+int(n[i]), len(n))
		for _, c := range n[i+1 : end] {
			switch {
			case c == '.' || c == '\\' || c == '"' || c == ';' || c == '@' || c == '$' || c == '(' || c == ')':
				b = append(b, '\\', c)
			case c <= ' ' || c >= 0x7f:
				b = append(b, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
			default:
				b = append(b, c)
			}
		}
		i = end
	}
	return b
}

// Labels is how many labels it has; the root has none.
func (n Name) Labels() (count int) {
	for i := 0; i < len(n) && n[i] != 0; i += 1 + int(n[i]) {
		count++
	}
	return count
}

// Parent is the name without its first label: the same bytes. The root is its own.
func (n Name) Parent() Name {
	if len(n) <= 1 {
		return n
	}
	return n[1+int(n[0]):]
}

// Below tells whether n is above or stands below it.
func (n Name) Below(above Name) bool {
	for {
		if len(n) == len(above) {
			return string(n) == string(above)
		}
		if len(n) < len(above) || len(n) <= 1 {
			return false
		}
		n = n.Parent()
	}
}

// AppendName reads the name at an offset of a message, follows its pointers, and
// appends it to dst in lower case. next is where the message goes on. A pointer must
// point backwards, so reading ends.
func AppendName(dst Name, msg []byte, at int) (n Name, next int, err error) {
	start, next, floor := len(dst), -1, at
	for {
		if at >= len(msg) {
			return dst[:start], 0, ErrShort
		}
		l := int(msg[at])
		switch {
		case l == 0:
			if next < 0 {
				next = at + 1
			}
			return append(dst, 0), next, nil
		case l <= MaxLabel:
			if at+1+l > len(msg) {
				return dst[:start], 0, ErrShort
			}
			if len(dst)-start+1+l+1 > MaxName {
				return dst[:start], 0, fmt.Errorf("%w: more than %d bytes", ErrName, MaxName)
			}
			dst = append(dst, msg[at])
			for _, c := range msg[at+1 : at+1+l] {
				dst = append(dst, lower(c))
			}
			at += 1 + l
		case l >= 0xc0:
			if at+2 > len(msg) {
				return dst[:start], 0, ErrShort
			}
			if next < 0 {
				next = at + 2
			}
			to := (l&0x3f)<<8 | int(msg[at+1])
			if to >= floor {
				return dst[:start], 0, fmt.Errorf("%w: a pointer that doesn't point backwards", ErrName)
			}
			at, floor = to, to
		default:
			return dst[:start], 0, fmt.Errorf("%w: a label of an unknown kind", ErrName)
		}
	}
}

// skipName is where the message goes on after the name at an offset.
func skipName(msg []byte, at int) (int, error) {
	for at < len(msg) {
		switch l := int(msg[at]); {
		case l == 0:
			return at + 1, nil
		case l <= MaxLabel:
			at += 1 + l
		case l >= 0xc0:
			if at+2 > len(msg) {
				return 0, ErrShort
			}
			return at + 2, nil
		default:
			return 0, fmt.Errorf("%w: a label of an unknown kind", ErrName)
		}
	}
	return 0, ErrShort
}
