package rpz

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"sakimori/base/wire/dns"
)

// How long the parts of a kept chunk may be.
const (
	wireMost  = chunkMost + chunkAim
	notesMost = 1 << 23
)

var errSet = errors.New("what is kept of a zone is broken")

// write keeps a set.
func (s *Set) write(w io.Writer) error {
	head := binary.AppendUvarint(nil, uint64(len(s.chunks)))
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, c := range s.chunks {
		head = binary.AppendUvarint(head[:0], uint64(c.rules)) // #nosec G115 -- a count
		head = binary.AppendUvarint(head, uint64(len(c.Wire)))
		head = binary.AppendUvarint(head, uint64(len(c.notes)))
		for _, b := range [][]byte{head, c.Wire, c.notes} {
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// readSet reads what write wrote. Everything is checked: what is read here is walked
// through without a look later.
func readSet(r *bufio.Reader) (*Set, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSet, err)
	}
	var w writer
	var last []byte
	for range n {
		c, err := readChunk(r, last)
		if err != nil {
			return nil, err
		}
		last = c.last()
		w.take(c)
	}
	return &w.set, nil
}

func readChunk(r *bufio.Reader, last []byte) (*Chunk, error) {
	var n [3]uint64
	for i := range n {
		var err error
		if n[i], err = binary.ReadUvarint(r); err != nil {
			return nil, fmt.Errorf("%w: %w", errSet, err)
		}
	}
	if n[0] == 0 || n[0] > n[1] || n[1] > wireMost || n[2] > notesMost {
		return nil, fmt.Errorf("%w: a chunk of %d rules, %d and %d bytes", errSet, n[0], n[1], n[2])
	}
	c := &Chunk{Wire: make([]byte, n[1]), notes: make([]byte, n[2]), rules: int(n[0])} // #nosec G115 -- bounded
	for _, b := range [][]byte{c.Wire, c.notes} {
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, fmt.Errorf("%w: %w", errSet, err)
		}
	}
	return c, c.check(last)
}

// last is the chunk's last rule.
func (c *Chunk) last() (wire []byte) {
	at := cursor{c: c}
	for e, more := at.next(); more; e, more = at.next() {
		wire = e.wire
	}
	return wire
}

// check looks at every length and at the order.
func (c *Chunk) check(last []byte) error {
	at, notes, first := 0, c.notes, true
	for range c.rules {
		n, k := binary.Uvarint(notes)
		if k <= 0 || n > uint64(len(c.Wire)-at) { // #nosec G115 -- at is in it
			return fmt.Errorf("%w: a rule of %d bytes", errSet, n)
		}
		notes = notes[k:]
		l, k := binary.Uvarint(notes)
		if k <= 0 || l > uint64(len(notes)-k)+1 || first && l == 0 { // #nosec G115 -- k is in it
			return fmt.Errorf("%w: a ref of %d bytes", errSet, l)
		}
		if notes = notes[k:]; l > 0 {
			notes = notes[l-1:]
		}
		wire := c.Wire[at : at+int(n)] // #nosec G115 -- bounded
		count, ok := sound(wire)
		if !ok || last != nil && compare(last, wire) >= 0 {
			return fmt.Errorf("%w: rules out of order, or no records", errSet)
		}
		c.Records += count
		last, at, first = wire, at+len(wire), false
	}
	if len(notes) > 0 || at != len(c.Wire) {
		return fmt.Errorf("%w: %d bytes without a rule", errSet, len(notes)+len(c.Wire)-at)
	}
	return nil
}

// sound tells whether bytes are records of one owner, and how many.
func sound(wire []byte) (count int, ok bool) {
	n := 0
	for n < len(wire) && wire[n] != 0 && wire[n] <= dns.MaxLabel {
		n += 1 + int(wire[n])
	}
	if n == 0 || n > dns.MaxName || n+2 > len(wire) || string(wire[n:n+2]) != dns.ToQuestion {
		return 0, false
	}
	for rest := wire; len(rest) > 0; count++ {
		if len(rest) < n+12 || string(rest[:n+2]) != string(wire[:n+2]) {
			return 0, false
		}
		end := n + 12 + int(binary.BigEndian.Uint16(rest[n+10:]))
		if end > len(rest) {
			return 0, false
		}
		rest = rest[end:]
	}
	return count, true
}
