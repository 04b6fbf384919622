package relation

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"sakimori/observe"
)

// How sure the relations of a file are. CAIDA's inference was confirmed for 99.6 % of links
// to customers and 98.7 % of those between peers (Luckie et al., IMC 2013); links known
// from an exchange's route server alone (serial-2, "mlp") are seen by nobody in paths.
const (
	scoreCustomer = 0.99
	scorePeer     = 0.98
	scoreServer   = 0.8
)

// The bounds of a file: more than any that there is.
const (
	maxLine  = 1 << 20 // the line of the clique is long
	maxLinks = 1 << 24
)

// ReadFile reads a file as Read does.
func ReadFile(path string) (*Table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("relations: %w", err)
	}
	defer func() { _ = f.Close() }()
	t, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// Read reads links of ASes, plain or compressed with gzip or bzip2: CAIDA's serial-1
// ("a|b|-1": a is a provider of b; "a|b|0": peers), serial-2 (the same with a source behind
// it), and the older form that also has 1 (b is a provider of a) and 3 (siblings). The
// clique and the exchanges' ASes are taken from the comments where they stand there.
func Read(r io.Reader) (*Table, error) {
	t := newTable()
	err := lines(r, func(line string) error {
		if comment, ok := strings.CutPrefix(line, "#"); ok {
			t.comment(strings.TrimSpace(comment))
			return nil
		}
		part := strings.Split(line, "|")
		if len(part) < 3 || len(part) > 4 {
			return errors.New("it isn't AS|AS|RELATION: take a file of CAIDA's serial-1 or serial-2")
		}
		a, err := parseAS(part[0])
		if err != nil {
			return err
		}
		b, err := parseAS(part[1])
		if err != nil {
			return err
		}
		if a == b {
			return fmt.Errorf("AS%d is linked to itself", a)
		}
		if t.used >= maxLinks {
			return fmt.Errorf("there are more than %d links", maxLinks)
		}
		switch part[2] {
		case "-1":
			t.put(a, b, observe.ASProvider, scoreCustomer)
		case "1":
			t.put(a, b, observe.ASCustomer, scoreCustomer)
		case "0":
			score := scorePeer
			if len(part) == 4 && strings.TrimSpace(part[3]) == "mlp" {
				score = scoreServer
			}
			t.put(a, b, observe.ASPeer, score)
		case "3":
			t.put(a, b, observe.ASSibling, scorePeer)
		default:
			return fmt.Errorf("the relation %q isn't -1, 0, 1 or 3", part[2])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if t.used == 0 {
		return nil, errors.New("relations: no link stands in it: take a file of CAIDA's serial-1 or serial-2, one AS|AS|RELATION a line")
	}
	return t.close(), nil
}

// comment takes the clique, the exchanges and the day from the head of a file.
func (t *Table) comment(s string) {
	list := func(s string) (out []uint32) {
		for f := range strings.FieldsSeq(s) {
			if as, err := parseAS(f); err == nil {
				out = append(out, as)
			}
		}
		return out
	}
	// Later files write "inferred clique", and "IXP ASes" stayed.
	if _, after, ok := strings.Cut(s, "clique:"); ok {
		t.clique = append(t.clique, list(after)...)
	}
	if after, ok := strings.CutPrefix(s, "IXP ASes:"); ok {
		t.ixps = append(t.ixps, list(after)...)
	}
	if !strings.HasPrefix(s, "source:") && !strings.HasPrefix(s, "file creation time:") || !t.date.IsZero() {
		return
	}
	for f := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '|' || r == ' ' }) {
		if d, err := time.Parse("20060102", strings.ReplaceAll(f, ".", "")); err == nil {
			t.date = d
			return
		}
	}
}

func parseAS(s string) (uint32, error) {
	s = strings.TrimPrefix(strings.TrimSpace(s), "AS")
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no AS number", s)
	}
	return uint32(n), nil
}

// lines calls f with each line that isn't empty, of text that may be compressed.
func lines(r io.Reader, f func(line string) error) error {
	b := bufio.NewReaderSize(r, 1<<16)
	head, _ := b.Peek(3) // a shorter file is plain
	r = b
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return fmt.Errorf("relations: gzip: %w", err)
		}
		r = z
	case bytes.HasPrefix(head, []byte("BZh")):
		r = bzip2.NewReader(b)
	}
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 1<<16), maxLine)
	n := 0
	for s.Scan() {
		n++
		line := strings.TrimSpace(s.Text())
		if line == "" {
			continue
		}
		if err := f(line); err != nil {
			return fmt.Errorf("relations: line %d: %w", n, err)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("relations: after line %d: %w", n, err)
	}
	return nil
}

// Siblings are ASes of one organisation.
type Siblings struct{ of map[uint32]uint32 }

// ReadSiblings reads lines of ASes that belong together, "a|b" or "a b c", plain or
// compressed. Who is a sibling of a sibling is one.
func ReadSiblings(r io.Reader) (*Siblings, error) {
	s := &Siblings{of: map[uint32]uint32{}}
	err := lines(r, func(line string) error {
		if strings.HasPrefix(line, "#") {
			return nil
		}
		part := strings.FieldsFunc(line, func(r rune) bool { return r == '|' || r == ' ' || r == '\t' || r == ',' })
		if len(part) < 2 {
			return errors.New("siblings are two ASes or more: write 64500|64501")
		}
		var first uint32
		for _, p := range part {
			as, err := parseAS(p)
			if err != nil {
				return err
			}
			if first == 0 {
				first = as
			}
			s.of[s.head(as)] = s.head(first)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// head stands for all ASes of an organisation.
func (s *Siblings) head(as uint32) uint32 {
	for {
		up, ok := s.of[as]
		if !ok || up == as {
			return as
		}
		as = up
	}
}

// Same tells whether two ASes belong to one organisation.
func (s *Siblings) Same(a, b uint32) bool {
	return s != nil && (a == b || s.head(a) == s.head(b))
}
