package sim

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
)

// What the operator knows of the world, as the files of the field.

type routeRelation struct {
	a, b     uint32
	provider bool // a is b's provider; peers otherwise
}

type routeROA struct {
	prefix  netip.Prefix
	longest int
	as      uint32
}

type routeASPA struct {
	as        uint32
	providers []uint32
}

// relations are all links that somebody would know.
func (n *routeNet) relations() (list []routeRelation) {
	for _, l := range n.links {
		a, b := n.nodes[l.a].as, n.nodes[l.b].as
		switch {
		case l.unknown || l.rel == siblingOf:
		case l.rel == customerOf:
			list = append(list, routeRelation{a, b, true})
		case l.rel == providerOf:
			list = append(list, routeRelation{b, a, true})
		default:
			list = append(list, routeRelation{min(a, b), max(a, b), false})
		}
	}
	slices.SortFunc(list, func(x, y routeRelation) int { return cmp.Or(cmp.Compare(x.a, y.a), cmp.Compare(x.b, y.b)) })
	return list
}

// aspas are the providers that some ASes have registered, those of links that are down
// included. Tier 1s register that they have none (AS 0).
func (n *routeNet) aspas() (list []routeASPA) {
	w := n.scene.World.ASPAs
	if w <= 0 {
		return nil
	}
	for i, a := range n.nodes {
		if float64(mix(n.scene.Seed, uint64(i)+0xa59a)%1000) >= 1000*w {
			continue
		}
		var p []uint32
		for _, l := range n.links {
			switch {
			case l.a == int32(i) && (l.rel == providerOf || l.rel == siblingOf):
				p = append(p, n.nodes[l.b].as)
			case l.b == int32(i) && (l.rel == customerOf || l.rel == siblingOf):
				p = append(p, n.nodes[l.a].as)
			}
		}
		if len(p) == 0 {
			p = []uint32{0}
		}
		slices.Sort(p)
		list = append(list, routeASPA{a.as, slices.Compact(p)})
	}
	return list
}

// WriteRelations writes the relations of ASes in CAIDA's form serial-1: a|b|-1 where a is
// a provider of b, a|b|0 where they are peers. What the scene leaves unknown isn't there.
func (t *RouteTruth) WriteRelations(to io.Writer) error {
	w := bufio.NewWriter(to)
	fmt.Fprintf(w, "# %s\n# input clique:%s\n# IXP ASes:%s\n", RouteNote, spaced(t.Knows.clique), spaced(t.Knows.RouteServers))
	for _, r := range t.Knows.relations {
		kind := 0
		if r.provider {
			kind = -1
		}
		fmt.Fprintf(w, "%d|%d|%d\n", r.a, r.b, kind)
	}
	return w.Flush()
}

func spaced(list []uint32) (text string) {
	for _, as := range list {
		text += fmt.Sprint(" ", as)
	}
	return text
}

// WriteSiblings writes a|b for each two ASes of one organisation.
func (t *RouteTruth) WriteSiblings(to io.Writer) error {
	w := bufio.NewWriter(to)
	for _, s := range t.Knows.Siblings {
		fmt.Fprintf(w, "%d|%d\n", s[0], s[1])
	}
	return w.Flush()
}

// WriteROAs writes route origin authorizations as validators' CSV has them.
func (t *RouteTruth) WriteROAs(to io.Writer) error {
	w := bufio.NewWriter(to)
	fmt.Fprintln(w, "ASN,IP Prefix,Max Length,Trust Anchor")
	for _, r := range t.Knows.roas {
		fmt.Fprintf(w, "AS%d,%s,%d,sim\n", r.as, r.prefix, r.longest)
	}
	return w.Flush()
}

// WriteRPKI writes ROAs and ASPAs as rpki-client's JSON has them.
func (t *RouteTruth) WriteRPKI(to io.Writer) error {
	type roa struct {
		ASN       uint32 `json:"asn"`
		Prefix    string `json:"prefix"`
		MaxLength int    `json:"maxLength"`
		TA        string `json:"ta"`
		Expires   int64  `json:"expires"`
	}
	type aspa struct {
		Customer  uint32   `json:"customer_asid"`
		Expires   int64    `json:"expires"`
		Providers []uint32 `json:"providers"`
	}
	later := t.End.AddDate(1, 0, 0).Unix()
	all := struct {
		Metadata map[string]any `json:"metadata"`
		ROAs     []roa          `json:"roas"`
		ASPAs    []aspa         `json:"aspas"`
	}{map[string]any{"buildtime": t.Start.Format("2006-01-02T15:04:05Z"), "vrps": len(t.Knows.roas), "aspas": len(t.Knows.aspas)}, []roa{}, []aspa{}}
	for _, r := range t.Knows.roas {
		all.ROAs = append(all.ROAs, roa{r.as, r.prefix.String(), r.longest, "sim", later})
	}
	for _, a := range t.Knows.aspas {
		all.ASPAs = append(all.ASPAs, aspa{a.as, later, a.providers})
	}
	return json.NewEncoder(to).Encode(all)
}

// WriteOwn writes own and customers' prefixes, a line each: PREFIX=AS or PREFIX=AS,AS.
func (t *RouteTruth) WriteOwn(to io.Writer) error {
	w := bufio.NewWriter(to)
	for _, o := range t.Knows.Own {
		var as []string
		for _, a := range o.Origins {
			as = append(as, fmt.Sprint(a))
		}
		fmt.Fprintf(w, "%s=%s\n", o.Prefix, strings.Join(as, ","))
	}
	return w.Flush()
}
