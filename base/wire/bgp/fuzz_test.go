package bgp_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/wire/bgp"
)

// FuzzUpdate: no UPDATE crashes the reader, makes it reach beyond the message or say
// more prefixes than its bytes can hold; its key can always be made; and what neither we
// nor GoBGP find anything wrong with is read alike.
func FuzzUpdate(f *testing.F) {
	for _, o := range []byte{0, 1, 3, 31, 32} {
		f.Add(o, body(net16, with(communities, reach(2, 1, hop6, net6...)), net24...))
		f.Add(o, body(nil, with(attr(0x40, bgp.AttrPath, path2(64500, 23456)...), attr(0xc0, bgp.AttrPath4, path(4200000001)...)), net24...))
		f.Add(o, body([]byte{0, 0, 0, 7, 16, 198, 18}, sound, 0, 0, 0, 1, 24, 203, 0, 113))
	}
	f.Fuzz(func(t *testing.T, o byte, b []byte) {
		b = slices.Clip(b)
		options := bgp.Options{AS4: o&1 != 0, AddPath: bgp.Families(o >> 1 & 15), Guess: o&32 != 0}
		var u bgp.Update
		u.Parse(b, options)
		if (u.Fault == bgp.Sound) != (u.Err == nil) {
			t.Fatalf("%s without a reason: %v", u.Fault, u.Err)
		}
		n := 0
		var p bgp.Prefix
		out, in := u.Remains()
		for _, block := range slices.Concat(out, in) {
			for block.Next(&p) {
				if n++; !p.Netip().IsValid() || p.Netip().Masked() != p.Netip() {
					t.Fatalf("no prefix: %+v", p)
				}
			}
		}
		if n > len(b) {
			t.Fatalf("%d prefixes in %d bytes", n, len(b))
		}
		var path bgp.Path
		_ = u.Key(nil, u.NextHop, &path)
		got := split(lines(&u))
		var e bgp.Update
		e.ParseEntry(b, options)
		_ = e.Key(nil, e.NextHop, &path)
		if u.Fault != bgp.Sound || u.Guessed || u.Skipped > 0 {
			return
		}
		if want, err := theirs(b, options); err == nil && comparable(want) && comparable(got) {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("- GoBGP, + ours:\n%s", diff)
			}
		}
	})
}

// comparable tells whether GoBGP's words can be compared: it merges no paths with sets or
// confederations in them as RFC 6793 says, for the comparison is ours.
func comparable(list []string) bool {
	for _, line := range list {
		if strings.HasPrefix(line, "path ") && (strings.Contains(line, "3[") || strings.Contains(line, "4[") || strings.Contains(line, "1[")) {
			return false
		}
	}
	return true
}

// FuzzMessages: no bytes crash the readers of the other messages.
func FuzzMessages(f *testing.F) {
	f.Add(message(bgp.TypeOpen, []byte{4, 0xfb, 0xf4, 0, 90, 192, 0, 2, 1, 8, 2, 6, 65, 4, 0, 1, 0, 0}))
	f.Add(message(bgp.TypeNotification, []byte{6, 2, 2, 'o', 'k'}))
	f.Add(message(bgp.TypeRefresh, []byte{0, 1, 0, 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m bgp.Message
		if n, err := bgp.Cut(b, bgp.MaxExtended, &m); err == nil && (n < bgp.HeaderSize || n > len(b)) {
			t.Fatalf("%d of %d bytes", n, len(b))
		} else if err != nil {
			m.Body = b
		}
		var o bgp.Open
		_ = o.Parse(m.Body)
		_ = bgp.Agreed(&o, &o)
		var n bgp.Notification
		if err := n.Parse(m.Body); err == nil {
			_ = n.Words()
		}
		var r bgp.Refresh
		_ = r.Parse(m.Body)
	})
}
