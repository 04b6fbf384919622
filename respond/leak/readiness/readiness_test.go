package readiness_test

import (
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"testing"

	"sakimori/respond/leak"
	"sakimori/respond/leak/readiness"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// registry has what the tests say.
type registry struct {
	roas, aspas bool
	rov         map[string]leak.ROV // prefix and origin
	longest     map[string]int
	has         map[uint32]bool
}

func (r *registry) Known() (roas, aspas bool) { return r.roas, r.aspas }

func (r *registry) ROV(p netip.Prefix, origin uint32) leak.ROV {
	if s, known := r.rov[fmt.Sprint(p, " ", origin)]; known {
		return s
	}
	return leak.ROVNotFound
}

func (r *registry) Longest(p netip.Prefix, _ uint32) int { return r.longest[p.String()] }

func (r *registry) ASPA(as uint32) bool { return r.has[as] }

func each(routes []leak.Offered) iter.Seq[*leak.Offered] {
	return func(yield func(*leak.Offered) bool) {
		var r leak.Offered
		for i := range routes {
			if r = routes[i]; !yield(&r) { // the one that is reused
				return
			}
		}
	}
}

var house = leak.House{AS: 64500, Own: []leak.Own{
	{Prefix: prefix("203.0.0.0/16"), Origins: []uint32{64500}},
	{Prefix: prefix("203.0.128.0/20"), Name: "shop", Origins: []uint32{64510}},
	{Prefix: prefix("2001:db8::/32"), Name: "school", Origins: []uint32{64511}},
}}

func routes() []leak.Offered {
	r := func(p string, rov leak.ROV, aspa leak.ASPA, otc bool, path ...uint32) leak.Offered {
		return leak.Offered{Prefix: prefix(p), ROV: rov, ASPA: aspa, HasOTC: otc, Path: path}
	}
	gone := r("203.0.0.0/16", leak.ROVValid, leak.ASPAValid, false, 1, 64500)
	gone.Withdrawn = true
	return []leak.Offered{
		r("203.0.0.0/16", leak.ROVValid, leak.ASPAValid, true, 1, 64500),
		r("203.0.0.0/16", leak.ROVValid, leak.ASPAUnknown, false, 2, 3, 64500),
		r("203.0.64.0/18", leak.ROVNotFound, leak.ASPAUnknown, false, 1, 64500),
		r("203.0.64.0/18", leak.ROVInvalid, leak.ASPAInvalid, false, 1, 666), // somebody else: nothing to be registered
		r("203.0.4.0/22", leak.ROVInvalidLength, leak.ASPAUnknown, false, 1, 64500),
		r("203.0.128.0/20", leak.ROVValid, leak.ASPAValid, false, 1, 64500, 64510),
		r("203.0.136.0/24", leak.ROVNotFound, leak.ASPAValid, false, 1, 64500, 64510),
		r("203.0.137.0/24", leak.ROVInvalidLength, leak.ASPAValid, false, 1, 64500, 64510),
		r("2001:db8::/32", leak.ROVNotFound, leak.ASPANone, false, 1, 64500, 64511),
		r("198.51.100.0/24", leak.ROVValid, leak.ASPAValid, true, 1, 9), // nobody's here
		gone,
	}
}

func TestOf(t *testing.T) {
	t.Parallel()
	reg := &registry{
		roas: true, aspas: true, has: map[uint32]bool{64510: true}, longest: map[string]int{"203.0.0.0/16": 24},
		rov: map[string]leak.ROV{
			"203.0.0.0/16 64500": leak.ROVValid, "203.0.4.0/22 64500": leak.ROVInvalidLength, "203.0.128.0/20 64510": leak.ROVValid, "203.0.137.0/24 64510": leak.ROVInvalidLength,
		},
	}
	r := readiness.Of(&house, each(routes()), reg)
	if r.Paths != 9 || r.ROV != (readiness.ByROV{Valid: 3, Invalid: 3, NotFound: 3}) || r.ASPA != (readiness.ByASPA{Valid: 4, Invalid: 1, Unknown: 3, None: 1}) || r.OTC != (readiness.ByOTC{Marked: 1, Unmarked: 8}) {
		t.Errorf("%+v", r)
	}
	if len(r.Own) != 3 || len(r.Customers) != 2 {
		t.Fatalf("%+v", r)
	}
	whole, long, missing := r.Own[0], r.Own[1], r.Own[2]
	if whole.ROV != leak.ROVValid || whole.Missing || whole.MaxLength != 24 || !strings.Contains(whole.Words.EN, "RFC 9319") {
		t.Errorf("%+v", whole)
	}
	if long.Prefix != prefix("203.0.4.0/22") || !long.Missing || !strings.Contains(long.Words.EN, "permit /22") {
		t.Errorf("%+v", long)
	}
	if missing.Prefix != prefix("203.0.64.0/18") || !missing.Missing || missing.Origin != 64500 || !strings.Contains(missing.Words.EN, "AS64500, 203.0.64.0/18, maximum length /18") {
		t.Errorf("%+v", missing)
	}
	shop, school := r.Customers[0], r.Customers[1]
	if shop.AS != 64510 || shop.Name != "shop" || shop.Prefixes != 3 || shop.ROA != 1 || !shop.ASPA || len(shop.Must) != 2 ||
		!strings.Contains(shop.Must[0].EN, "203.0.137.0/24") || !strings.Contains(shop.Must[1].EN, "203.0.136.0/24") {
		t.Errorf("%+v", shop)
	}
	if school.Prefixes != 1 || school.ROA != 0 || school.ASPA || len(school.Must) != 2 || !strings.Contains(school.Must[1].EN, "ASPA of AS64511: AS64500") {
		t.Errorf("%+v", school)
	}
}

// TestUnknown: without data nothing is called missing.
func TestUnknown(t *testing.T) {
	t.Parallel()
	r := readiness.Of(&house, each(routes()), &registry{})
	if r.ROV != (readiness.ByROV{Unknown: 9}) || r.ASPA != (readiness.ByASPA{None: 9}) {
		t.Errorf("%+v", r)
	}
	for _, o := range r.Own {
		if o.Missing || o.ROV != leak.ROVUnknown || !strings.Contains(o.Words.EN, "not known") {
			t.Errorf("%+v", o)
		}
	}
	for _, c := range r.Customers {
		if len(c.Must) != 2 || !strings.Contains(c.Must[0].EN, "isn't known") {
			t.Errorf("%+v", c)
		}
	}
}

// TestMany: a sentence names a few prefixes.
func TestMany(t *testing.T) {
	t.Parallel()
	var list []leak.Offered
	for i := range 20 {
		list = append(list, leak.Offered{Prefix: prefix(fmt.Sprintf("203.0.%d.0/24", 128+i%16)), Path: []uint32{1, 64510}})
	}
	r := readiness.Of(&house, each(list), &registry{roas: true, aspas: true})
	if len(r.Customers) != 1 || r.Customers[0].Prefixes != 16 || !strings.Contains(r.Customers[0].Must[0].EN, "(+8)") {
		t.Errorf("%+v", r.Customers)
	}
}
