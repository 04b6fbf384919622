package bgp_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/wire/bgp"
)

var sound = [][]byte{origin, asPath, nextHop}

// with is sound attributes with the first of the same code replaced, or more.
func with(more ...[]byte) [][]byte {
	list := slices.Clone(sound)
	for _, a := range more {
		if i := slices.IndexFunc(list, func(b []byte) bool { return b[1] == a[1] }); i >= 0 {
			list[i] = a
		} else {
			list = append(list, a)
		}
	}
	return list
}

// reach is MP_REACH_NLRI.
func reach(afi, safi byte, hop []byte, nlri ...byte) []byte {
	return attr(0x80, bgp.AttrReach, slices.Concat([]byte{0, afi, safi, byte(len(hop))}, hop, []byte{0}, nlri)...)
}

var (
	hop6   = []byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
	local6 = []byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
	net6   = []byte{32, 0x20, 1, 0xd, 0xb8}
)

// TestFaults: each kind of damage is sorted as RFC 7606 does, and the prefixes that
// survive it are the right ones.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body      []byte
		fault     bgp.Fault
		err       error
		out, in   int // prefixes withdrawn and announced
		discarded int
	}{
		"sound":                      {body(net16, sound, net24...), bgp.Sound, nil, 1, 1, 0},
		"unknown optional":           {body(nil, with(attr(0xc0, 99, 1, 2)), net24...), bgp.Sound, nil, 0, 1, 0},
		"unknown code above 63":      {body(nil, with(attr(0xe0, 128, 1, 2)), net24...), bgp.Sound, nil, 0, 1, 0},
		"unknown well-known":         {body(nil, with(attr(0x40, 99, 1)), net24...), bgp.Reset, bgp.ErrForeign, 0, 0, 0},
		"shorter than its lengths":   {[]byte{0, 0, 0}, bgp.Reset, bgp.ErrFrame, 0, 0, 0},
		"withdrawn beyond the end":   {[]byte{0, 9, 24, 1, 2, 3}, bgp.Reset, bgp.ErrFrame, 0, 0, 0},
		"attributes beyond the end":  {[]byte{0, 0, 0, 9, 1}, bgp.Reset, bgp.ErrFrame, 0, 0, 0},
		"33 bits":                    {body(nil, sound, 33, 1, 2, 3, 4, 5), bgp.Reset, bgp.ErrPrefixes, 0, 0, 0},
		"half a prefix":              {body(nil, sound, append(net16[:3:3], 24, 1)...), bgp.Reset, bgp.ErrPrefixes, 0, 0, 0},
		"half a withdrawn prefix":    {body([]byte{24, 1}, sound), bgp.Reset, bgp.ErrPrefixes, 0, 0, 0},
		"129 bits of IPv6":           {body(nil, with(reach(2, 1, hop6, slices.Concat([]byte{129}, make([]byte, 17))...))), bgp.Reset, bgp.ErrPrefixes, 0, 0, 0},
		"no origin":                  {body(net16, sound[1:], net24...), bgp.Withdraw, bgp.ErrMissing, 1, 1, 0},
		"no path":                    {body(nil, [][]byte{origin, nextHop}, net24...), bgp.Withdraw, bgp.ErrMissing, 0, 1, 0},
		"no next hop":                {body(nil, [][]byte{origin, asPath}, net24...), bgp.Withdraw, bgp.ErrMissing, 0, 1, 0},
		"no next hop, and none due":  {body(nil, [][]byte{origin, asPath, reach(2, 1, hop6, net6...)}), bgp.Sound, nil, 0, 1, 0},
		"nothing announced":          {body(net16, nil), bgp.Sound, nil, 1, 0, 0},
		"origin of 2 bytes":          {body(nil, with(attr(0x40, bgp.AttrOrigin, 0, 0)), net24...), bgp.Withdraw, bgp.ErrSize, 0, 1, 0},
		"origin 3":                   {body(nil, with(attr(0x40, bgp.AttrOrigin, 3)), net24...), bgp.Withdraw, bgp.ErrOrigin, 0, 1, 0},
		"optional origin":            {body(nil, with(attr(0xc0, bgp.AttrOrigin, 0)), net24...), bgp.Withdraw, bgp.ErrFlags, 0, 1, 0},
		"path with segment kind 5":   {body(nil, with(attr(0x40, bgp.AttrPath, 5, 1, 0, 0, 0, 1)), net24...), bgp.Withdraw, bgp.ErrPath, 0, 1, 0},
		"path with an empty segment": {body(nil, with(attr(0x40, bgp.AttrPath, 2, 0)), net24...), bgp.Withdraw, bgp.ErrPath, 0, 1, 0},
		"path overruns":              {body(nil, with(attr(0x40, bgp.AttrPath, 2, 2, 0, 0, 0, 1)), net24...), bgp.Withdraw, bgp.ErrPath, 0, 1, 0},
		"path underruns":             {body(nil, with(attr(0x40, bgp.AttrPath, append(path(1), 2)...)), net24...), bgp.Withdraw, bgp.ErrPath, 0, 1, 0},
		"empty path":                 {body(nil, with(attr(0x40, bgp.AttrPath)), net24...), bgp.Sound, nil, 0, 1, 0},
		"next hop of 5 bytes":        {body(nil, with(attr(0x40, bgp.AttrNextHop, 1, 2, 3, 4, 5)), net24...), bgp.Withdraw, bgp.ErrSize, 0, 1, 0},
		"MED of 3 bytes":             {body(nil, with(attr(0x80, bgp.AttrMED, 1, 2, 3)), net24...), bgp.Withdraw, bgp.ErrSize, 0, 1, 0},
		"LOCAL_PREF of 3 bytes":      {body(nil, with(attr(0x40, bgp.AttrLocalPref, 1, 2, 3)), net24...), bgp.Withdraw, bgp.ErrSize, 0, 1, 0},
		"ATOMIC with a value":        {body(nil, with(attr(0x40, bgp.AttrAtomic, 1)), net24...), bgp.Discard, bgp.ErrSize, 0, 1, 1},
		"AGGREGATOR of 6 bytes":      {body(nil, with(attr(0xc0, bgp.AttrAggregator, 1, 2, 3, 4, 5, 6)), net24...), bgp.Discard, bgp.ErrSize, 0, 1, 1},
		"AS4_PATH damaged":           {body(nil, with(attr(0xc0, bgp.AttrPath4, 9)), net24...), bgp.Discard, bgp.ErrPath, 0, 1, 1},
		"AS4_AGGREGATOR of 7 bytes":  {body(nil, with(attr(0xc0, bgp.AttrAggregator4, 1, 2, 3, 4, 5, 6, 7)), net24...), bgp.Discard, bgp.ErrSize, 0, 1, 1},
		"communities of 5 bytes":     {body(nil, with(attr(0xc0, bgp.AttrCommunities, 1, 2, 3, 4, 5)), net24...), bgp.Withdraw, bgp.ErrSize, 0, 1, 0},
		"no community":               {body(nil, with(attr(0xc0, bgp.AttrCommunities)), net24...), bgp.Withdraw, bgp.ErrSize, 0, 1, 0},
		"large of 4 bytes":           {body(nil, with(attr(0xc0, bgp.AttrLarge, 1, 2, 3, 4)), net24...), bgp.Withdraw, bgp.ErrSize, 0, 1, 0},
		"extended of 4 bytes":        {body(nil, with(attr(0xc0, bgp.AttrExtended, 1, 2, 3, 4)), net24...), bgp.Withdraw, bgp.ErrSize, 0, 1, 0},
		"cluster list of 3 bytes":    {body(nil, with(attr(0x80, bgp.AttrClusters, 1, 2, 3)), net24...), bgp.Withdraw, bgp.ErrSize, 0, 1, 0},
		"OTC of 2 bytes":             {body(nil, with(attr(0xc0, bgp.AttrOnlyToCustomers, 1, 2)), net24...), bgp.Withdraw, bgp.ErrSize, 0, 1, 0},
		"partial OTC":                {body(nil, with(attr(0xe0, bgp.AttrOnlyToCustomers, 0, 0, 0xfb, 0xf4)), net24...), bgp.Sound, nil, 0, 1, 0},
		"the same twice":             {body(nil, append(with(), attr(0x40, bgp.AttrOrigin, 2)), net24...), bgp.Sound, nil, 0, 1, 1},
		"reach twice":                {body(nil, append(with(reach(2, 1, hop6, net6...)), reach(2, 1, hop6, net6...)), net24...), bgp.Reset, bgp.ErrTwice, 0, 0, 1},
		"reach with a hop of 5":      {body(nil, with(reach(2, 1, hop6[:5], net6...))), bgp.Reset, bgp.ErrReach, 0, 0, 0},
		"IPv6 by a hop of IPv4":      {body(nil, with(reach(2, 1, hop6[:4], net6...))), bgp.Reset, bgp.ErrReach, 0, 0, 0},
		"IPv4 by a hop of IPv6":      {body(nil, with(reach(1, 1, hop6, net24...))), bgp.Sound, nil, 0, 1, 0},
		"reach cut":                  {body(nil, with(attr(0x80, bgp.AttrReach, 0, 2, 1))), bgp.Reset, bgp.ErrReach, 0, 0, 0},
		"unreach cut":                {body(nil, [][]byte{attr(0x80, bgp.AttrUnreach, 0, 2)}), bgp.Reset, bgp.ErrReach, 0, 0, 0},
		"both families":              {body(net16, with(reach(2, 1, slices.Concat(hop6, local6), net6...), attr(0x80, bgp.AttrUnreach, append([]byte{0, 2, 1}, net6...)...)), net24...), bgp.Sound, nil, 2, 2, 0},
		"VPN":                        {body(nil, with(reach(1, 128, make([]byte, 12), 1, 2, 3))), bgp.Sound, nil, 0, 0, 0},
		"last attribute cut":         {body(net16, with([]byte{0x40, byte(bgp.AttrLocalPref), 4, 0}), net24...), bgp.Withdraw, bgp.ErrAttribute, 1, 1, 0},
		"two bytes left over":        {body(net16, with([]byte{0x40, 5}), net24...), bgp.Withdraw, bgp.ErrAttribute, 1, 1, 0},
		"extended length cut":        {body(net16, with([]byte{0x50, 5, 0}), net24...), bgp.Withdraw, bgp.ErrAttribute, 1, 1, 0},
		"the worst counts":           {body(nil, with(attr(0x40, bgp.AttrAtomic, 1), attr(0x80, bgp.AttrMED, 1)), net24...), bgp.Withdraw, bgp.ErrSize, 0, 1, 1},
	} {
		var u bgp.Update
		u.Parse(c.body, bgp.Options{AS4: true})
		out, in := 0, 0
		var p bgp.Prefix
		for _, b := range u.Withdrawn() {
			for b.Next(&p) {
				out++
			}
		}
		for _, b := range u.Announced() {
			for b.Next(&p) {
				in++
			}
		}
		if u.Fault != c.fault || !errors.Is(u.Err, c.err) || out != c.out || in != c.in || u.Discarded != c.discarded {
			t.Errorf("%s: %s (%v), %d withdrawn, %d announced, %d discarded", name, u.Fault, u.Err, out, in, u.Discarded)
		}
	}
}

// TestUpdate: everything that an UPDATE can say is read.
func TestUpdate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body []byte
		o    bgp.Options
		want []string
	}{
		"all of it": {
			body(net16, with(attr(0x80, bgp.AttrMED, 0, 0, 1, 0), attr(0x40, bgp.AttrLocalPref, 0, 0, 0, 100), attr(0x40, bgp.AttrAtomic),
				attr(0xc0, bgp.AttrAggregator, 0, 1, 0, 0, 192, 0, 2, 9), communities, attr(0xc0, bgp.AttrLarge, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3)), 24, 203, 0, 113, 0, 32, 1, 2, 3, 4),
			bgp.Options{AS4: true},
			[]string{
				"withdraw ipv4-unicast 198.18.0.0/16 0", "announce ipv4-unicast 203.0.113.0/24 0 via 192.0.2.1 invalid IP",
				"announce ipv4-unicast 0.0.0.0/0 0 via 192.0.2.1 invalid IP", "announce ipv4-unicast 1.2.3.4/32 0 via 192.0.2.1 invalid IP",
				"origin 0", "path 2[64500 64501 4200000001]", "med 256", "pref 100", "atomic", "aggregator 65536 192.0.2.9", "communities [4227072001 4294902426]", "large [1 2 3]",
			},
		},
		"IPv6": {
			body(nil, [][]byte{attr(0x80, bgp.AttrUnreach, 0, 2, 2, 64, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 1), origin, asPath, reach(2, 1, slices.Concat(hop6, local6), append(net6[:5:5], 0, 127, 0x20, 1, 0xd, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0xff)...)}),
			bgp.Options{AS4: true},
			[]string{
				"withdraw ipv6-multicast 2001:db8:0:1::/64 0", "announce ipv6-unicast 2001:db8::/32 0 via 2001:db8::1 fe80::1",
				"announce ipv6-unicast ::/0 0 via 2001:db8::1 fe80::1", "announce ipv6-unicast 2001:db8:102:304:506:708:90a:bfe/127 0 via 2001:db8::1 fe80::1",
				"origin 0", "path 2[64500 64501 4200000001]",
			},
		},
		"IPv4 by IPv6": {
			body(nil, [][]byte{origin, asPath, reach(1, 1, hop6, net24...)}),
			bgp.Options{AS4: true},
			[]string{"announce ipv4-unicast 203.0.113.0/24 0 via 2001:db8::1 invalid IP", "origin 0", "path 2[64500 64501 4200000001]"},
		},
		"bits behind the mask": {
			body(nil, sound, 13, 11, 13),
			bgp.Options{AS4: true},
			[]string{"announce ipv4-unicast 11.8.0.0/13 0 via 192.0.2.1 invalid IP", "origin 0", "path 2[64500 64501 4200000001]"},
		},
		"ADD-PATH": {
			body([]byte{0, 0, 0, 7, 16, 198, 18}, sound, 255, 255, 255, 255, 24, 203, 0, 113),
			bgp.Options{AS4: true, AddPath: bgp.Families(0).With(bgp.IPv4Unicast)},
			[]string{"withdraw ipv4-unicast 198.18.0.0/16 7", "announce ipv4-unicast 203.0.113.0/24 4294967295 via 192.0.2.1 invalid IP", "origin 0", "path 2[64500 64501 4200000001]"},
		},
		"ADD-PATH that nobody told": {
			body(nil, sound, 0, 0, 0, 7, 24, 203, 0, 113, 0, 0, 0, 9, 17, 64, 17, 128),
			bgp.Options{AS4: true, Guess: true},
			[]string{"announce ipv4-unicast 203.0.113.0/24 7 via 192.0.2.1 invalid IP", "announce ipv4-unicast 64.17.128.0/17 9 via 192.0.2.1 invalid IP", "origin 0", "path 2[64500 64501 4200000001]"},
		},
		"ADD-PATH that isn't there": {
			body([]byte{16, 198, 18}, sound, net24...),
			bgp.Options{AS4: true, Guess: true, AddPath: bgp.Families(0).With(bgp.IPv4Unicast)},
			[]string{"withdraw ipv4-unicast 198.18.0.0/16 0", "announce ipv4-unicast 203.0.113.0/24 0 via 192.0.2.1 invalid IP", "origin 0", "path 2[64500 64501 4200000001]"},
		},
		"ADD-PATH that isn't there, IPv6": {
			body(nil, [][]byte{origin, asPath, reach(2, 1, hop6, 48, 0x20, 1, 0xd, 0xb8, 0, 7)}),
			bgp.Options{AS4: true, Guess: true, AddPath: bgp.Families(0).With(bgp.IPv6Unicast)},
			[]string{"announce ipv6-unicast 2001:db8:7::/48 0 via 2001:db8::1 invalid IP", "origin 0", "path 2[64500 64501 4200000001]"},
		},
		"ADD-PATH with large identifiers": {
			body(nil, sound, 200, 0, 0, 7, 24, 203, 0, 113),
			bgp.Options{AS4: true, Guess: true, AddPath: bgp.Families(0).With(bgp.IPv4Unicast)},
			[]string{"announce ipv4-unicast 203.0.113.0/24 3355443207 via 192.0.2.1 invalid IP", "origin 0", "path 2[64500 64501 4200000001]"},
		},
		"no ADD-PATH, and 0.0.0.0/0 first": {
			body(nil, sound, 0, 24, 203, 0, 113, 8, 10),
			bgp.Options{AS4: true, Guess: true},
			[]string{
				"announce ipv4-unicast 0.0.0.0/0 0 via 192.0.2.1 invalid IP", "announce ipv4-unicast 203.0.113.0/24 0 via 192.0.2.1 invalid IP",
				"announce ipv4-unicast 10.0.0.0/8 0 via 192.0.2.1 invalid IP", "origin 0", "path 2[64500 64501 4200000001]",
			},
		},
		"two bytes": {
			body(nil, with(attr(0x40, bgp.AttrPath, path2(64500, 23456, 23456)...), attr(0xc0, bgp.AttrPath4, path(4200000001, 4200000002)...),
				attr(0xc0, bgp.AttrAggregator, 0x5b, 0xa0, 192, 0, 2, 1), attr(0xc0, bgp.AttrAggregator4, 0, 1, 0, 0, 192, 0, 2, 9)), net24...),
			bgp.Options{},
			[]string{"announce ipv4-unicast 203.0.113.0/24 0 via 192.0.2.1 invalid IP", "origin 0", "path 2[64500] 2[4200000001 4200000002]", "aggregator 65536 192.0.2.9"},
		},
		"two bytes, aggregated since": {
			body(nil, with(attr(0x40, bgp.AttrPath, path2(64500, 23456)...), attr(0xc0, bgp.AttrPath4, path(4200000001)...),
				attr(0xc0, bgp.AttrAggregator, 0xfb, 0xf4, 192, 0, 2, 1), attr(0xc0, bgp.AttrAggregator4, 0, 1, 0, 0, 192, 0, 2, 9)), net24...),
			bgp.Options{},
			[]string{"announce ipv4-unicast 203.0.113.0/24 0 via 192.0.2.1 invalid IP", "origin 0", "path 2[64500 23456]", "aggregator 64500 192.0.2.1"},
		},
		"two bytes, with a confederation before and in the middle": {
			body(nil, with(attr(0x40, bgp.AttrPath, slices.Concat([]byte{3, 1, 0, 9}, path2(64500), []byte{1, 2, 0, 7, 0, 8, 3, 1, 0, 6}, path2(23456), []byte{3, 1, 0, 5})...),
				attr(0xc0, bgp.AttrPath4, append([]byte{3, 1, 0, 0, 0, 4}, path(4200000001)...)...)), net24...),
			bgp.Options{},
			[]string{"announce ipv4-unicast 203.0.113.0/24 0 via 192.0.2.1 invalid IP", "origin 0", "path 3[9] 2[64500] 1[7 8] 3[6] 2[4200000001]"},
		},
		"two bytes, the longer one too long": {
			body(nil, with(attr(0x40, bgp.AttrPath, path2(23456)...), attr(0xc0, bgp.AttrPath4, path(4200000001, 4200000002)...)), net24...),
			bgp.Options{},
			[]string{"announce ipv4-unicast 203.0.113.0/24 0 via 192.0.2.1 invalid IP", "origin 0", "path 2[23456]"},
		},
	} {
		var u bgp.Update
		u.Parse(c.body, c.o)
		if diff := cmp.Diff(c.want, lines(&u)); diff != "" || u.Fault != bgp.Sound {
			t.Errorf("%s: %v\n%s", name, u.Err, diff)
		}
		if u.Guessed != (strings.Contains(name, "nobody told") || strings.Contains(name, "isn't there")) {
			t.Errorf("%s: guessed: %v", name, u.Guessed)
		}
	}
}

// TestPath: what a path tells beside its numbers.
func TestPath(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path        []byte
		ases        []uint32
		origin      uint32
		set, confed bool
		segments    int
	}{
		"a sequence":             {path(1, 2, 2, 3), []uint32{1, 2, 2, 3}, 3, false, false, 1},
		"two":                    {append(path(1), path(2)...), []uint32{1, 2}, 2, false, false, 2},
		"a set at the end":       {append(path(1, 2), 1, 2, 0, 0, 0, 7, 0, 0, 0, 8), []uint32{1, 2}, 0, true, false, 2},
		"a set within":           {append([]byte{1, 1, 0, 0, 0, 7}, path(1, 2)...), []uint32{1, 2}, 2, true, false, 2},
		"of a confederation":     {append([]byte{3, 1, 0, 0, 0, 7}, path(1, 2)...), []uint32{1, 2}, 2, false, true, 2},
		"a set of a confederate": {append([]byte{4, 1, 0, 0, 0, 7}, path(1, 2)...), []uint32{1, 2}, 2, true, true, 2},
		"a confederation alone":  {[]byte{3, 1, 0, 0, 0, 7}, nil, 0, false, true, 1},
		"nothing":                {nil, nil, 0, false, false, 0},
	} {
		var u bgp.Update
		var p bgp.Path
		u.Parse(body(nil, with(attr(0x40, bgp.AttrPath, path(9, 9, 9, 9, 9)...)), net24...), bgp.Options{AS4: true})
		u.Path(&p) // what was in it before doesn't count
		u.Parse(body(nil, with(attr(0x40, bgp.AttrPath, c.path...)), net24...), bgp.Options{AS4: true})
		u.Path(&p)
		if !slices.Equal(p.ASes, c.ases) || p.Origin != c.origin || p.Set != c.set || p.Confed != c.confed || len(p.Segments) != c.segments {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// TestPathWithoutConfederation: what an AS4_PATH mustn't have isn't in the path.
func TestPathWithoutConfederation(t *testing.T) {
	t.Parallel()
	var u bgp.Update
	var p bgp.Path
	u.Parse(body(nil, with(attr(0x40, bgp.AttrPath, path2(64500, 23456)...), attr(0xc0, bgp.AttrPath4, append([]byte{3, 1, 0, 0, 0, 4}, path(4200000001)...)...)), net24...), bgp.Options{})
	u.Path(&p)
	if !slices.Equal(p.ASes, []uint32{64500, 4200000001}) || p.Origin != 4200000001 || p.Confed || len(p.Segments) != 2 {
		t.Errorf("%+v", p)
	}
}

// TestKey: routes that say the same have one key, however it was written, and others
// have another.
func TestKey(t *testing.T) {
	t.Parallel()
	key := func(b []byte, o bgp.Options) []byte {
		var u bgp.Update
		var p bgp.Path
		u.Parse(b, o)
		if len(u.Announced()) == 0 || u.Fault != bgp.Sound {
			t.Fatal(u.Err)
		}
		return u.Key(nil, u.Announced()[0].NextHop, &p)
	}
	as4 := bgp.Options{AS4: true}
	short := attr(0x40, bgp.AttrPath, path(64500, 64501)...)
	first := key(body(nil, with(short), net24...), as4)
	for name, same := range map[string][]byte{
		"other prefixes":       key(body(net24, with(short), net16...), as4),
		"other order":          key(body(nil, [][]byte{nextHop, short, origin}, net24...), as4),
		"long lengths":         key(body(nil, with(attr(0x50, bgp.AttrPath, path(64500, 64501)...)), net24...), as4),
		"in two bytes":         key(body(nil, with(attr(0x40, bgp.AttrPath, path2(64500, 64501)...)), net24...), bgp.Options{}),
		"what isn't read":      key(body(nil, with(short, attr(0xc0, 99, 1), attr(0xc0, bgp.AttrExtended, 1, 2, 3, 4, 5, 6, 7, 8)), net24...), as4),
		"by the other family":  key(body(nil, [][]byte{origin, short, reach(1, 1, []byte{192, 0, 2, 1}, net24...)}), as4),
		"a second, same thing": key(body(nil, append(with(short), attr(0x40, bgp.AttrOrigin, 1)), net24...), as4),
	} {
		if !bytes.Equal(first, same) {
			t.Errorf("%s: another key", name)
		}
	}
	seen := map[string]string{string(first): "the first"}
	for name, more := range map[string][]byte{
		"origin": attr(0x40, bgp.AttrOrigin, 1), "path": asPath, "set": attr(0x40, bgp.AttrPath, append(path(64500), 1, 1, 0, 0, 0xfb, 0xf5)...),
		"next hop": attr(0x40, bgp.AttrNextHop, 192, 0, 2, 2), "MED 0": attr(0x80, bgp.AttrMED, 0, 0, 0, 0), "MED": attr(0x80, bgp.AttrMED, 0, 0, 0, 1),
		"pref": attr(0x40, bgp.AttrLocalPref, 0, 0, 0, 1), "atomic": attr(0x40, bgp.AttrAtomic), "aggregator": attr(0xc0, bgp.AttrAggregator, 0, 0, 0, 1, 1, 2, 3, 4),
		"communities": communities, "large": attr(0xc0, bgp.AttrLarge, make([]byte, 12)...), "OTC": attr(0xc0, bgp.AttrOnlyToCustomers, 0, 0, 0, 1),
	} {
		list := with(short, more)
		if more[1] == byte(bgp.AttrPath) {
			list = with(more)
		}
		k := string(key(body(nil, list, net24...), as4))
		if other, twice := seen[k]; twice {
			t.Errorf("%s has the key of %s", name, other)
		}
		seen[k] = name
	}
}

// TestEndOfRIB: the message that says that a table is complete, and messages that don't.
func TestEndOfRIB(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body []byte
		want bgp.Family
		is   bool
	}{
		"IPv4":              {body(nil, nil), bgp.IPv4Unicast, true},
		"IPv6":              {body(nil, [][]byte{attr(0x80, bgp.AttrUnreach, 0, 2, 1)}), bgp.IPv6Unicast, true},
		"IPv4 by attribute": {body(nil, [][]byte{attr(0x80, bgp.AttrUnreach, 0, 1, 2)}), bgp.IPv4Multicast, true},
		"VPN":               {body(nil, [][]byte{attr(0x80, bgp.AttrUnreach, 0, 1, 128)}), bgp.Other, false},
		"a withdrawal":      {body(net16, nil), 0, false},
		"one of IPv6":       {body(nil, [][]byte{attr(0x80, bgp.AttrUnreach, append([]byte{0, 2, 1}, net6...)...)}), 0, false},
		"an announcement":   {body(nil, sound, net24...), 0, false},
		"attributes alone":  {body(nil, sound), 0, false},
		"damage":            {[]byte{0}, 0, false},
	} {
		var u bgp.Update
		u.Parse(c.body, bgp.Options{AS4: true})
		if f, is := u.EndOfRIB(); is != c.is || is && f != c.want {
			t.Errorf("%s: %s %v", name, f, is)
		}
	}
}

// TestEntry: the attributes of a dump, whose MP_REACH_NLRI may hold the next hop alone.
func TestEntry(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		attributes [][]byte
		hop        string
		fault      bgp.Fault
	}{
		"IPv4":                  {sound, "192.0.2.1", bgp.Sound},
		"IPv6, the hop alone":   {[][]byte{origin, asPath, attr(0x80, bgp.AttrReach, append([]byte{16}, hop6...)...)}, "2001:db8::1", bgp.Sound},
		"and a link-local one":  {[][]byte{origin, asPath, attr(0x80, bgp.AttrReach, slices.Concat([]byte{32}, hop6, local6)...)}, "2001:db8::1", bgp.Sound},
		"IPv6, as a message":    {[][]byte{origin, asPath, reach(2, 1, hop6)}, "2001:db8::1", bgp.Sound},
		"with NEXT_HOP besides": {[][]byte{origin, asPath, nextHop, attr(0x80, bgp.AttrReach, append([]byte{16}, hop6...)...)}, "2001:db8::1", bgp.Sound},
		"no hop":                {[][]byte{origin, asPath}, "invalid IP", bgp.Sound},
		"a hop of 7":            {[][]byte{origin, asPath, attr(0x80, bgp.AttrReach, 7, 1, 2, 3, 4, 5, 6, 7)}, "invalid IP", bgp.Reset},
	} {
		var u bgp.Update
		u.ParseEntry(slices.Concat(c.attributes...), bgp.Options{AS4: true})
		if u.NextHop.String() != c.hop || u.Fault != c.fault || len(u.Announced())+len(u.Withdrawn()) != 0 {
			t.Errorf("%s: %s, %v", name, u.NextHop, u.Err)
		}
	}
}
