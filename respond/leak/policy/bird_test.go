package policy_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"sakimori/respond/leak"
	"sakimori/respond/leak/policy"
	"sakimori/respond/leak/routertest"
)

// written is a policy with everything that one can have.
const written = `
as: 65010
own: [203.1.0.0/16, "2400:1::/32"]
bogons: true
plan: [192.1.0.0/16, 10.2.0.0/15, "fd00::/31"]
bogon_as: true
transit_free: [701, 3356]
longest: {v4: 24, v6: 48}
neighbors:
  - as: 1000
    name: transit
    relation: provider
    rov: true
    never: [666]
    communities: ["65535:666", "1000:2:3"]
  - as: 2000
    name: a customer
    relation: customer
    otc: true
    rov: true
    max_prefix: {v4: 1000, v6: 1000}
    prefixes: [{prefix: 60.0.0.0/8, ge: 16, le: 22}, {prefix: 61.1.0.0/16}, {prefix: 62.0.0.0/8, le: 20}, {prefix: "2600::/16", le: 40}]
    origins: [2000, 2001, 2002]
  - as: 3000
    name: a peer
    relation: peer
    otc: true
    denied: [[4000, 5000], [6000]]
    longest: {v4: 22, v6: 44}
  - as: 7000
    name: a route server
    relation: route-server
    accept_own: true
    prefixes: [{prefix: 60.0.0.0/8, le: 24}, {prefix: 203.1.0.0/16, le: 24}]
  - as: 8000
    relation: sibling
    transit_free: true
    first_as: false
    accept_own: true
`

// roas are what the routers and the model know.
var roas = []struct {
	prefix netip.Prefix
	most   int
	origin uint32
}{
	{netip.MustParsePrefix("60.1.0.0/16"), 20, 2000},
	{netip.MustParsePrefix("60.2.0.0/16"), 16, 2001},
	{netip.MustParsePrefix("61.1.0.0/16"), 24, 5000},
	{netip.MustParsePrefix("2600:1::/32"), 40, 2000},
	{netip.MustParsePrefix("60.2.0.0/16"), 24, 2002},
}

// rov is RFC 6811, section 2.
func rov(p netip.Prefix, origin uint32) leak.ROV {
	state := leak.ROVNotFound
	for _, r := range roas {
		if r.prefix.Addr().Is4() != p.Addr().Is4() || r.prefix.Bits() > p.Bits() || !r.prefix.Contains(p.Addr()) {
			continue
		}
		if r.origin == origin && p.Bits() <= r.most {
			return leak.ROVValid
		}
		state = leak.ROVInvalid
	}
	return state
}

// draw makes routes whose parts are often those that the policy speaks of.
func draw(rnd *rand.Rand, neighbor uint32, n int) (list []leak.Offered) {
	one := func(of ...uint32) uint32 { return of[rnd.IntN(len(of))] }
	seen := map[netip.Prefix]bool{}
	for len(list) < n {
		r := leak.Offered{Neighbor: neighbor, Path: []uint32{neighbor}}
		if rnd.IntN(12) == 0 {
			r.Path = nil
		}
		for range rnd.IntN(4) {
			r.Path = append(r.Path, one(701, 3356, 666, 4000, 5000, 6000, 9000, 9001, 9002, 4000, 64512, 23456, 9003))
			if rnd.IntN(3) == 0 {
				r.Path = append(r.Path, r.Path[len(r.Path)-1])
			}
		}
		r.Path = append(r.Path, one(2000, 2001, 2002, 5000, 9000, 4000, neighbor))
		if r.Set = rnd.IntN(15) == 0; r.Set {
			r.Path = append(r.Path, 9009)
		}
		if rnd.IntN(4) > 0 {
			a := netip.AddrFrom4([4]byte{byte(one(60, 60, 61, 62, 203, 10, 192, 8)), byte(rnd.IntN(4)), byte(rnd.IntN(256)), byte(rnd.IntN(256))})
			r.Prefix, _ = a.Prefix(14 + rnd.IntN(13))
		} else {
			var b [16]byte
			binary.BigEndian.PutUint16(b[:], uint16(one(0x2600, 0x2400, 0x2600, 0x2001, 0x3fff, 0xfd00)))
			b[3], b[4], b[5] = byte(rnd.IntN(3)), byte(rnd.IntN(256)), byte(rnd.IntN(256))
			r.Prefix, _ = netip.AddrFrom16(b).Prefix(28 + rnd.IntN(24))
		}
		switch rnd.IntN(4) {
		case 0:
			r.Communities = []uint32{one(65535<<16|666, 1000<<16|1), 1000<<16 | 7}
		case 1:
			r.Large = [][3]uint32{{1000, one(2, 4), 3}}
		}
		if r.HasOTC = rnd.IntN(4) == 0; r.HasOTC {
			r.OTC = one(neighbor, 9000)
		}
		r.ROV = rov(r.Prefix, r.Origin())
		if seen[r.Prefix] || r.Prefix.Addr().IsLinkLocalUnicast() {
			continue
		}
		seen[r.Prefix] = true
		list = append(list, r)
	}
	return list
}

// TestBIRD: a real BIRD with the policy as it is written for it takes the very routes that
// the model takes, for each neighbour, and each reason is among them.
func TestBIRD(t *testing.T) {
	t.Parallel()
	routertest.Needs(t, routertest.BIRD)
	p, err := policy.Read([]byte(written))
	if err != nil {
		t.Fatal(err)
	}
	var tables strings.Builder
	tables.WriteString("roa4 table r4;\nroa6 table r6;\n")
	for _, family := range []string{"4", "6"} {
		fmt.Fprintf(&tables, "protocol static { roa%s { table r%s; };\n", family, family)
		for _, r := range roas {
			if r.prefix.Addr().Is4() == (family == "4") {
				fmt.Fprintf(&tables, "route %s max %d as %d;\n", r.prefix, r.most, r.origin)
			}
		}
		tables.WriteString("}\n")
	}
	var sessions []routertest.Session
	var fed [][]leak.Offered
	for i, n := range p.Neighbors() {
		sessions = append(sessions, routertest.Session{
			AS: n.AS, Address: netip.AddrFrom4([4]byte{127, 0, 2, byte(i + 1)}), Import: fmt.Sprintf("if sakimori_in_%d() then accept; reject;", n.AS),
		})
		fed = append(fed, draw(rand.New(rand.NewPCG(1, uint64(i))), n.AS, 400))
	}
	r := routertest.New(t, routertest.BIRD, p.AS(), tables.String()+p.BIRD(), sessions...)
	took := r.Feed(t, fed)
	reasons := map[policy.Reason]int{}
	for n, list := range fed {
		for i := range list {
			why := p.Evaluate(&list[i])
			reasons[why]++
			if took[n][list[i].Prefix] != (why == policy.Accepted) {
				t.Errorf("AS%d: BIRD takes it: %v, the model says %q: %+v", list[i].Neighbor, took[n][list[i].Prefix], why, list[i])
			}
		}
	}
	for _, why := range append(policy.Reasons(), policy.Accepted) {
		switch why {
		case policy.NoPolicy, policy.Loop, policy.ASPA, policy.MaxPrefix:
			// BIRD has no session, drops loops before its filter, knows no ASPA, and counts by session.
		default:
			if reasons[why] < 5 {
				t.Errorf("only %d routes with %q: that proves little", reasons[why], why)
			}
		}
	}
	t.Log(reasons)
}
