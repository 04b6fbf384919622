package sflow_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzDatagram: no datagram crashes the reader or makes it reach beyond the datagram;
// one that is cut gives no more than the whole one; and what goflow2 finds nothing wrong
// with is read alike.
func FuzzDatagram(f *testing.F) {
	f.Add(datagram(agent4, flow))
	f.Add(datagram(agent6, expanded, counted))
	f.Add(datagram(agent4, foreign, counted2, discarded))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = slices.Clip(b)
		got, err := lines(b)
		if len(b) > 0 {
			cut, _ := lines(b[:len(b)-1])
			if len(cut) > len(got) {
				t.Fatalf("cut by a byte it says more:\n%q\n%q", got, cut)
			}
		}
		if err != nil || !plain(b) {
			return
		}
		want, bad := theirs(b)
		if diff := cmp.Diff(want, got); bad == nil && diff != "" {
			t.Fatalf("- goflow2, + ours:\n%s", diff)
		}
	})
}

// plain tells whether goflow2 and we must agree on a datagram: it knows no padding and
// no second part of a path, reads the records of discarded packets that we pass over,
// and at most a thousand of anything.
func plain(b []byte) bool {
	const head4, head6 = 28, 40
	at := head4
	if binary.BigEndian.Uint32(b[4:]) == 2 {
		at = head6
	}
	u := func(i int) uint32 { return binary.BigEndian.Uint32(b[i:]) }
	records := func(from, to int, counters bool) bool {
		for ; from+8 <= to; from += 8 + int(u(from+4)) {
			kind, n := u(from), u(from+4)
			if n%4 != 0 || int(n) > to-from-8 {
				return false
			}
			switch {
			case !counters && (kind == 2 || kind == 1003 || kind >= 1036 && kind <= 1038): // padding, several parts, and what only they read
				return false
			case counters && kind == 2 && n != 52, counters && kind == 1 && n != 88: // longer than it needs to be
				return false
			}
		}
		return true
	}
	for ; at+8 <= len(b); at += 8 + int(u(at+4)) {
		kind, n := u(at), u(at+4)
		if n%4 != 0 || kind == 0 || kind > 5 || int(n) > len(b)-at-8 {
			return false
		}
		head := map[uint32]int{1: 32, 2: 12, 3: 44, 4: 16, 5: 32}[kind]
		if int(n) < head || u(at+8+head-4) > 1000 || !records(at+8+head, at+8+int(n), kind == 2 || kind == 4) {
			return false
		}
	}
	return true
}
