// Package mmdbtest writes small MMDB files (MaxMind DB format 2.0) for tests, so
// that no test needs a data set.
package mmdbtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
)

// Entry is one network and its record. A record holds string, float32, float64, uint16,
// uint32, uint64, []any and map[string]any.
type Entry struct {
	Net    netip.Prefix
	Record map[string]any
}

// Options of a file; the zero value of each has a sensible meaning.
type Options struct {
	Type    string // database_type; "Test" when empty
	Epoch   uint64 // build_epoch, seconds since 1970
	Version uint16 // ip_version: 4, or 6 (when 0), in which IPv4 lies at ::/96
}

const empty = -1 // a branch that leads nowhere

// node's branches: another node (>= 0), empty, or -2-i for the i-th record.
type node [2]int

// Write gives the bytes of a file with 24-bit records. Where networks lie inside
// each other, the later entry wins.
func Write(o Options, entries ...Entry) ([]byte, error) {
	if o.Version == 0 {
		o.Version = 6
	}
	if o.Type == "" {
		o.Type = "Test"
	}
	tree := []node{{empty, empty}}
	var data []byte
	var offset []int
	for i, e := range entries {
		path, err := bitsOf(e.Net, o.Version)
		if err != nil {
			return nil, err
		}
		offset = append(offset, len(data))
		if data, err = appendValue(data, e.Record); err != nil {
			return nil, fmt.Errorf("%v: %w", e.Net, err)
		}
		at := 0
		for _, bit := range path[:len(path)-1] {
			if next := tree[at][bit]; next < 0 { // a leaf is split into two that say the same
				tree = append(tree, node{next, next})
				tree[at][bit] = len(tree) - 1
			}
			at = tree[at][bit]
		}
		tree[at][path[len(path)-1]] = -2 - i
	}

	var out bytes.Buffer
	for _, n := range tree {
		for _, branch := range n {
			v := branch
			switch {
			case branch == empty:
				v = len(tree)
			case branch < empty:
				v = len(tree) + 16 + offset[-2-branch]
			}
			if v >= 1<<24 {
				return nil, fmt.Errorf("%d nodes are too many for a small file", len(tree))
			}
			out.Write([]byte{byte(v >> 16), byte(v >> 8), byte(v)})
		}
	}
	out.Write(make([]byte, 16))
	out.Write(data)
	out.WriteString("\xab\xcd\xefMaxMind.com")
	meta, err := appendValue(nil, map[string]any{
		"binary_format_major_version": uint16(2),
		"binary_format_minor_version": uint16(0),
		"build_epoch":                 o.Epoch,
		"database_type":               o.Type,
		"description":                 map[string]any{"en": "written by a test"},
		"ip_version":                  o.Version,
		"languages":                   []any{},
		"node_count":                  uint32(len(tree)),
		"record_size":                 uint16(24),
	})
	out.Write(meta)
	return out.Bytes(), err
}

// bitsOf is the way through the tree to a network.
func bitsOf(p netip.Prefix, version uint16) ([]byte, error) {
	addr, n := p.Masked().Addr(), p.Bits()
	b := addr.AsSlice()
	switch {
	case addr.Is6() && version == 4:
		return nil, fmt.Errorf("%v in a file of IPv4", p)
	case addr.Is4() && version == 6:
		b, n = append(make([]byte, 12), b...), n+96
	}
	if n == 0 {
		return nil, fmt.Errorf("%v is the whole tree; give its halves", p)
	}
	path := make([]byte, n)
	for i := range path {
		path[i] = b[i/8] >> (7 - i%8) & 1
	}
	return path, nil
}

func appendValue(w []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return append(header(w, 2, len(v)), v...), nil
	case float64:
		return binary.BigEndian.AppendUint64(header(w, 3, 8), math.Float64bits(v)), nil
	case uint16:
		return binary.BigEndian.AppendUint16(header(w, 5, 2), v), nil
	case uint32:
		return binary.BigEndian.AppendUint32(header(w, 6, 4), v), nil
	case uint64:
		return binary.BigEndian.AppendUint64(header(w, 9, 8), v), nil
	case float32:
		return binary.BigEndian.AppendUint32(header(w, 15, 4), math.Float32bits(v)), nil
	case []any:
		w = header(w, 11, len(v))
		for _, e := range v {
			var err error
			if w, err = appendValue(w, e); err != nil {
				return nil, err
			}
		}
		return w, nil
	case map[string]any:
		w = header(w, 7, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			w = append(header(w, 2, len(k)), k...)
			var err error
			if w, err = appendValue(w, v[k]); err != nil {
				return nil, err
			}
		}
		return w, nil
	}
	return nil, fmt.Errorf("no form for a %T", v)
}

// header is the control byte: the type in its upper three bits, in a byte of its
// own beyond 7, and the size in the lower five, with one more byte from 29 on.
func header(w []byte, kind, size int) []byte {
	lower := min(size, 29)
	if kind <= 7 {
		w = append(w, byte(kind<<5|lower))
	} else {
		w = append(w, byte(lower), byte(kind-7))
	}
	if lower == 29 {
		w = append(w, byte(size-29)) // up to 284, which tests don't reach
	}
	return w
}
