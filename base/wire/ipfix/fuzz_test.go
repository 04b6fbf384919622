package ipfix_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/netsampler/goflow2/v2/decoders/netflow"

	"sakimori/base/wire/ipfix"
)

// FuzzMessages: no datagram after another crashes the decoder or makes it reach beyond
// the datagram; every byte of a record lies in it; and what goflow2 finds nothing wrong
// with is read alike.
func FuzzMessages(f *testing.F) {
	f.Add(message(0, set(2, flow)), message(0, set(256, flows(3))))
	f.Add(message(0, set(2, named)), variable)
	f.Add(message9(0, set(0, flow)), message9(1, set(256, flows(3), make([]byte, 3))))
	f.Add(message(0, set(3, words(258, 2, 1, 149, 4, 41, 8))), message(0, set(258, make([]byte, 24)), set(2, words(2, 0)), set(3, words(258, 0))))
	f.Add(message9(0, set(1, words(258, 4, 8, 1, 4, 34, 4, 35, 1))), message9(1, set(258, make([]byte, 10))))
	f.Add(message(0, append(set(2, append(words(256, 1, 0x8001, 4), 0, 0, 0, 9)), set(256, make([]byte, 12))...)), []byte{})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		c, o := ipfix.NewCache[struct{}](4096, nil), netflow.CreateTemplateSystem()
		for _, b := range [][]byte{first, second} {
			b = slices.Clip(b)
			got, whole := mine(c, b)
			if !whole || !ours(b) || !plain(b) {
				return
			}
			want, err := theirs(o, b)
			if d := cmp.Diff(want, got); err == nil && d != "" {
				t.Fatalf("- goflow2, + ours:\n%s", d)
			}
		}
	})
}

// plain tells whether goflow2 and we must agree on a message: it takes neither
// withdrawals nor padding nor records without a byte, and takes variable length for a
// record that may have none.
func plain(b []byte) bool {
	var m ipfix.Message
	if ipfix.Parse(b, &m) != nil || m.Length != len(b) {
		return false
	}
	sets := 0
	for s := (ipfix.Set{}); m.Next(&s); sets++ {
		if s.Kind == ipfix.Reserved {
			return false
		}
		if s.Kind == ipfix.Data {
			continue
		}
		at, head := 0, 4
		if s.Kind == ipfix.OptionsTemplates {
			head = 6
		}
		for at+head <= len(s.Body) {
			w := func(i int) int { return int(s.Body[at+i])<<8 | int(s.Body[at+i+1]) }
			n := w(2)
			if s.Kind == ipfix.OptionsTemplates && m.Version == ipfix.V9 {
				n = n/4 + w(4)/4
			}
			if w(0) < 256 || n == 0 {
				return false
			}
			at += head
			size := 0
			for range n {
				if at+4 > len(s.Body) {
					return false
				}
				if w(2) == ipfix.Variable {
					return false
				}
				size += w(2)
				if m.Version == ipfix.IPFIX && s.Body[at]&0x80 != 0 {
					at += 4
				}
				at += 4
			}
			if size == 0 {
				return false
			}
		}
		if at != len(s.Body) {
			return false
		}
	}
	return m.Err() == nil && (m.Version == ipfix.IPFIX || int(m.Count) >= sets && (len(b)-20) >= 4)
}
