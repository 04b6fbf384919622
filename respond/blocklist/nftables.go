package blocklist

import (
	"bufio"
	"fmt"
	"net/netip"
	"time"

	"github.com/gaissmai/bart"
)

// foldPrefixes leaves out what lies inside a prefix: a set of intervals takes nothing that
// overlaps. Where the smaller one would outlast the larger, a later file has it.
func foldPrefixes(list []item) []item {
	var wide bart.Lite
	for i := range list {
		if list[i].Kind == Prefix {
			wide.Insert(list[i].prefix)
		}
	}
	kept := list[:0]
	for i := range list {
		x := &list[i]
		covered := false
		for p := range wide.Supernets(x.prefix) {
			if p != x.prefix || x.Kind != Prefix {
				covered = true
			}
		}
		if !covered {
			kept = append(kept, *x)
		}
	}
	return kept
}

// nftSets are the sets of the table, in their order. A prefix is an interval, an endpoint
// a pair; each has the version of IP in its name.
var nftSets = []struct {
	name, typ, flags string
	has              func(x *item) bool
}{
	{"address4", "ipv4_addr", "timeout", func(x *item) bool { return x.Kind == Address && x.prefix.Addr().Is4() }},
	{"address6", "ipv6_addr", "timeout", func(x *item) bool { return x.Kind == Address && x.prefix.Addr().Is6() }},
	{"endpoint4", "ipv4_addr . inet_service", "timeout", func(x *item) bool { return x.Kind == Endpoint && x.prefix.Addr().Is4() }},
	{"endpoint6", "ipv6_addr . inet_service", "timeout", func(x *item) bool { return x.Kind == Endpoint && x.prefix.Addr().Is6() }},
	{"prefix4", "ipv4_addr", "interval, timeout", func(x *item) bool { return x.Kind == Prefix && x.prefix.Addr().Is4() }},
	{"prefix6", "ipv6_addr", "interval, timeout", func(x *item) bool { return x.Kind == Prefix && x.prefix.Addr().Is6() }},
}

const nftChunk = 1000 // elements of one command

// writeNFT writes sets in a table of their own. nft takes a file as one transaction: what
// was in the sets goes and what is in the file comes at once, or nothing changes. Chains
// that somebody put into the table stay.
func writeNFT(w *bufio.Writer, x *Export, list []item) error {
	_, _ = w.WriteString("#!/usr/sbin/nft -f\n")
	comment(w, x)
	_, _ = w.WriteString("table inet sakimori_cnc {\n")
	for _, s := range nftSets {
		fmt.Fprintf(w, "\tset %s {\n\t\ttype %s\n\t\tflags %s\n\t}\n", s.name, s.typ, s.flags)
	}
	_, _ = w.WriteString("}\n")
	for _, s := range nftSets {
		fmt.Fprintf(w, "flush set inet sakimori_cnc %s\n", s.name)
	}
	for _, s := range nftSets {
		n := 0
		for i := range list {
			it := &list[i]
			left := it.Until.Sub(x.Made) / time.Second
			if !s.has(it) || left <= 0 {
				continue
			}
			switch {
			case n%nftChunk > 0:
				_, _ = w.WriteString(",\n")
			case n > 0:
				_, _ = w.WriteString(" }\n")
				fallthrough
			default:
				fmt.Fprintf(w, "add element inet sakimori_cnc %s {\n", s.name)
			}
			n++
			fmt.Fprintf(w, "\t%s timeout %ds", element(it), left)
		}
		if n > 0 {
			_, _ = w.WriteString(" }\n")
		}
	}
	return nil
}

func element(x *item) string {
	switch x.Kind {
	case Endpoint:
		return fmt.Sprintf("%s . %d", x.prefix.Addr(), x.port)
	case Prefix:
		return prefixOf(x.prefix)
	}
	return x.prefix.Addr().String()
}

// prefixOf writes a prefix; of a single address without its length.
func prefixOf(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
