// Package readiness tells what would protect one's own paths and one's customers', and who
// has to register what: origin validation by ROAs, path validation by ASPA, and the Only
// to Customer attribute of roles (RFC 9234).
//
// It counts what vantage points see of own space. It proves nothing about networks that
// nobody there sees, and nothing about who drops what is invalid.
package readiness

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"strconv"

	"sakimori/detect"
	"sakimori/respond/leak"
)

// RPKI is what is registered.
type RPKI interface {
	// Known tells whether there are data at all.
	Known() (roas, aspas bool)
	ROV(p netip.Prefix, origin uint32) leak.ROV
	// Longest is the longest maximum length of the ROAs that cover a prefix for an origin,
	// 0 none.
	Longest(p netip.Prefix, origin uint32) int
	// ASPA tells whether an AS has registered its providers.
	ASPA(as uint32) bool
}

// Report is what is protected.
type Report struct {
	Paths     int        `json:"paths"` // routes to own and customers' space, of all peers
	ROV       ByROV      `json:"rov"`
	ASPA      ByASPA     `json:"aspa"`
	OTC       ByOTC      `json:"otc"`
	Own       []Own      `json:"own"`
	Customers []Customer `json:"customers"`
}

// ByROV counts paths by the state of their origin.
type ByROV struct {
	Valid    int `json:"valid"`
	Invalid  int `json:"invalid"`
	NotFound int `json:"not_found"`
	Unknown  int `json:"unknown"`
}

// ByASPA counts paths by their state.
type ByASPA struct {
	Valid   int `json:"valid"`
	Invalid int `json:"invalid"`
	Unknown int `json:"unknown"` // some AS of it registered nothing
	None    int `json:"none"`    // no data
}

// ByOTC counts paths by whether they are marked.
type ByOTC struct {
	Marked   int `json:"marked"`
	Unmarked int `json:"unmarked"`
}

// Own is one prefix of our own as it is announced.
type Own struct {
	Prefix    netip.Prefix `json:"prefix"`
	Origin    uint32       `json:"origin"`
	ROV       leak.ROV     `json:"rov"`
	Missing   bool         `json:"roa_missing"` // no ROA names the origin for it
	MaxLength int          `json:"max_length"`  // of its ROAs, 0 none
	Words     detect.Text  `json:"words"`
}

// Customer is one customer's AS and what it must register.
type Customer struct {
	AS       uint32        `json:"as"`
	Name     string        `json:"name"`
	Prefixes int           `json:"prefixes"` // that are announced
	ROA      int           `json:"roa"`      // of them, with a ROA that makes them valid
	ASPA     bool          `json:"aspa"`
	Must     []detect.Text `json:"must"`
}

// most is how many prefixes a sentence names.
const most = 8

// Of makes the report of the routes that vantage points have, each with its peer as
// Neighbor; those that lie in nobody's configured space are passed over. The route may be
// reused.
func Of(h *leak.House, routes iter.Seq[*leak.Offered], reg RPKI) Report {
	c := counter{house: h, reg: reg, announced: map[announced]bool{}}
	c.roas, c.aspas = reg.Known()
	for r := range routes {
		if !r.Withdrawn {
			c.count(r)
		}
	}
	c.report.Own, c.report.Customers = []Own{}, []Customer{}
	list := make([]announced, 0, len(c.announced))
	for a := range c.announced {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b announced) int { return cmp.Or(a.prefix.Compare(b.prefix), cmp.Compare(a.origin, b.origin)) })
	c.ours(list)
	c.customers(list)
	return c.report
}

// announced is a prefix of a configured space with an origin that may.
type announced struct {
	prefix netip.Prefix
	origin uint32
	name   string // of the customer, "" our own
}

type counter struct {
	house       *leak.House
	reg         RPKI
	roas, aspas bool
	announced   map[announced]bool
	report      Report
}

// space is the narrowest configured space around a prefix.
func (c *counter) space(p netip.Prefix) *leak.Own {
	var best *leak.Own
	for i := range c.house.Own {
		o := &c.house.Own[i]
		in := o.Prefix.Addr().Is4() == p.Addr().Is4() && o.Prefix.Bits() <= p.Bits() && o.Prefix.Contains(p.Addr())
		if in && (best == nil || o.Prefix.Bits() > best.Prefix.Bits()) {
			best = o
		}
	}
	return best
}

func (c *counter) count(r *leak.Offered) {
	own := c.space(r.Prefix)
	if own == nil {
		return
	}
	c.report.Paths++
	switch {
	case !c.roas || r.ROV == leak.ROVUnknown || r.ROV == "":
		c.report.ROV.Unknown++
	case r.ROV == leak.ROVValid:
		c.report.ROV.Valid++
	case r.ROV.Bad():
		c.report.ROV.Invalid++
	default:
		c.report.ROV.NotFound++
	}
	switch {
	case !c.aspas || r.ASPA == leak.ASPANone || r.ASPA == "":
		c.report.ASPA.None++
	case r.ASPA == leak.ASPAValid:
		c.report.ASPA.Valid++
	case r.ASPA == leak.ASPAInvalid:
		c.report.ASPA.Invalid++
	default:
		c.report.ASPA.Unknown++
	}
	if r.HasOTC {
		c.report.OTC.Marked++
	} else {
		c.report.OTC.Unmarked++
	}
	// Who must register is who may announce: somebody else's origin is an incident, and
	// nothing to be registered.
	if origin := r.Origin(); slices.Contains(own.Origins, origin) || len(own.Origins) == 0 && own.Name == "" && origin == c.house.AS {
		c.announced[announced{r.Prefix, origin, own.Name}] = true
	}
}

// ours are our own prefixes.
func (c *counter) ours(list []announced) {
	for _, a := range list {
		if a.name != "" {
			continue
		}
		o := Own{Prefix: a.prefix, Origin: a.origin, ROV: leak.ROVUnknown}
		if c.roas {
			o.ROV, o.MaxLength = c.reg.ROV(a.prefix, a.origin), c.reg.Longest(a.prefix, a.origin)
		}
		o.Missing = o.ROV == leak.ROVNotFound || o.ROV.Bad()
		o.Words = say(&o, a.prefix)
		c.report.Own = append(c.report.Own, o)
	}
}

func say(o *Own, p netip.Prefix) detect.Text {
	switch o.ROV {
	case leak.ROVValid:
		if o.MaxLength > p.Bits() {
			return detect.Textf("有効。最大長 /%[1]d までの、起源を偽った細分経路も有効になります(広告しない長さは許可しない:RFC 9319)", "valid. More-specifics up to /%[1]d with a forged origin would be valid, too: don't permit lengths that you don't announce (RFC 9319)", o.MaxLength)
		}
		return detect.Text{JA: "有効。より細かい経路はROVで無効になります", EN: "valid. Anything more specific is ROV invalid"}
	case leak.ROVNotFound:
		return detect.Textf("ROAがありません。起源 AS%[1]d、%[2]s、最大長 /%[3]d で登録してください", "no ROA: register origin AS%[1]d, %[2]s, maximum length /%[3]d", o.Origin, p, p.Bits())
	case leak.ROVInvalid:
		return detect.Textf("ROAは別のASを起源としており、いまの広告は無効です。AS%d のROAを加えてください", "a ROA names another origin: what you announce is invalid. Add a ROA for AS%d", o.Origin)
	case leak.ROVInvalidLength:
		return detect.Textf("ROAの最大長を超えており、いまの広告は無効です。最大長を /%d にするか、広告を短くしてください", "longer than the ROA permits: what you announce is invalid. Let it permit /%d, or announce less specific", p.Bits())
	}
	return detect.Text{JA: "ROAのデータがないため分かりません", EN: "not known: there are no data of ROAs"}
}

// customers are those whose space is configured, by AS.
func (c *counter) customers(list []announced) {
	type missing struct {
		Customer
		not, bad []netip.Prefix
	}
	var by []*missing
	for _, a := range list {
		if a.name == "" {
			continue
		}
		i := slices.IndexFunc(by, func(m *missing) bool { return m.AS == a.origin })
		if i < 0 {
			i, by = len(by), append(by, &missing{Customer: Customer{AS: a.origin, Name: a.name, Must: []detect.Text{}}})
		}
		m := by[i]
		m.Prefixes++
		if !c.roas {
			continue
		}
		switch s := c.reg.ROV(a.prefix, a.origin); {
		case s == leak.ROVValid:
			m.ROA++
		case s.Bad():
			m.bad = append(m.bad, a.prefix)
		default:
			m.not = append(m.not, a.prefix)
		}
	}
	slices.SortFunc(by, func(a, b *missing) int { return cmp.Compare(a.AS, b.AS) })
	for _, m := range by {
		m.ASPA = c.aspas && c.reg.ASPA(m.AS)
		must := func(ja, en string, args ...any) { m.Must = append(m.Must, detect.Textf(ja, en, args...)) }
		if len(m.bad) > 0 {
			must("ROAを直す: %[2]s(いまの広告は無効です)。起源 AS%[1]d", "change the ROAs of %[2]s, which are invalid as announced: origin AS%[1]d", m.AS, some(m.bad))
		}
		if len(m.not) > 0 {
			must("ROAを登録する: %[2]s、起源 AS%[1]d", "register ROAs of %[2]s: origin AS%[1]d", m.AS, some(m.not))
		}
		if c.aspas && !m.ASPA {
			must("ASPAを登録する: AS%[1]d のプロバイダーとして AS%[2]d ほか、すべての上流", "register an ASPA of AS%[1]d: AS%[2]d and all of its other providers", m.AS, c.house.AS)
		}
		if !c.roas {
			must("ROAのデータがないため、登録の要否は分かりません", "whether ROAs are missing isn't known: there are no data")
		}
		if !c.aspas {
			must("ASPAのデータがないため、登録の要否は分かりません", "whether an ASPA is missing isn't known: there are no data")
		}
		c.report.Customers = append(c.report.Customers, m.Customer)
	}
}

// some names a few prefixes, and how many more there are.
func some(list []netip.Prefix) string {
	text := ""
	for i, p := range list {
		if i == most {
			return text + " (+" + strconv.Itoa(len(list)-most) + ")"
		}
		if i > 0 {
			text += ", "
		}
		text += p.String()
	}
	return text
}
