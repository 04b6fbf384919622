package leak

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sakimori/detect"
)

// Reject is what a filter throws away: a route that fits every part that is there. It is
// the same in all of its forms, and Fits is what a form is compared with.
type Reject struct {
	Via      []uint32       // ASes that follow one another in the path, the nearest first; repeats count once
	First    bool           // the path begins with them
	Through  bool           // the path goes on behind them: the last isn't the origin
	Spare    []uint32       // ASes directly behind the last one that pass all the same, sorted
	Origin   uint32         // the last AS of the path; 0 any
	Prefixes []netip.Prefix // just these, sorted
	Longer4  int            // prefixes longer than this, of IPv4; 0 any length
	Longer6  int            // of IPv6
	Invalid  bool           // ROV says invalid
}

// Fits tells whether it is thrown away.
func (x *Reject) Fits(r *Offered) bool {
	if len(x.Via) > 0 {
		at, ok := follow(r.Path, x.Via, x.First)
		if !ok {
			return false
		}
		next := behind(r.Path, at)
		if x.Through && next == 0 {
			return false
		}
		if _, spared := slices.BinarySearch(x.Spare, next); spared {
			return false
		}
	}
	switch {
	case x.Origin != 0 && r.Origin() != x.Origin,
		x.Invalid && !r.ROV.Bad(),
		x.Longer4 > 0 && r.Prefix.Addr().Is4() && r.Prefix.Bits() <= x.Longer4,
		x.Longer6 > 0 && !r.Prefix.Addr().Is4() && r.Prefix.Bits() <= x.Longer6:
		return false
	}
	if len(x.Prefixes) > 0 {
		_, is := slices.BinarySearchFunc(x.Prefixes, r.Prefix, netip.Prefix.Compare)
		return is
	}
	return true
}

// families are those of the prefixes that it can meet.
func (x *Reject) families() (four, six bool) {
	if len(x.Prefixes) == 0 {
		return true, true
	}
	for _, p := range x.Prefixes {
		if p.Addr().Is4() {
			four = true
		} else {
			six = true
		}
	}
	return four, six
}

// prefixes are those of one family.
func (x *Reject) prefixes(four bool) (list []netip.Prefix) {
	for _, p := range x.Prefixes {
		if p.Addr().Is4() == four {
			list = append(list, p)
		}
	}
	return list
}

// Words say what is thrown away.
func (x *Reject) Words() detect.Text {
	var ja, en []string
	add := func(j, e string) { ja, en = append(ja, j), append(en, e) }
	if len(x.Via) > 0 {
		p := pathText(x.Via)
		switch {
		case x.First:
			add("ASパスが「"+p+"」で始まる", "paths that begin with "+p)
		default:
			add("ASパスに「"+p+"」が続いて現れる", "paths through "+p)
		}
		if x.Through {
			add(fmt.Sprintf("AS%d を起源とする経路は除く", x.Via[len(x.Via)-1]), fmt.Sprintf("but those that AS%d originates", x.Via[len(x.Via)-1]))
		}
		if len(x.Spare) > 0 {
			add(fmt.Sprintf("その先が平常どおりの %d AS の経路は除く", len(x.Spare)), fmt.Sprintf("but the usual ones to %d ASes behind it", len(x.Spare)))
		}
	}
	if x.Origin != 0 {
		add(fmt.Sprintf("起源が AS%d", x.Origin), fmt.Sprintf("origin AS%d", x.Origin))
	}
	if len(x.Prefixes) > 0 {
		add(fmt.Sprintf("列挙した %d プレフィックス", len(x.Prefixes)), fmt.Sprintf("%d listed prefixes", len(x.Prefixes)))
	}
	if x.Longer4 > 0 || x.Longer6 > 0 {
		add("長さが "+lengths(x.Longer4, x.Longer6)+" より長い", "longer than "+lengths(x.Longer4, x.Longer6))
	}
	if x.Invalid {
		add("ROVで無効", "ROV invalid")
	}
	return detect.Text{JA: strings.Join(ja, "、") + "経路を拒否", EN: "reject " + strings.Join(en, ", ")}
}

func lengths(four, six int) string {
	var list []string
	if four > 0 {
		list = append(list, fmt.Sprintf("/%d (IPv4)", four))
	}
	if six > 0 {
		list = append(list, fmt.Sprintf("/%d (IPv6)", six))
	}
	return strings.Join(list, ", ")
}
