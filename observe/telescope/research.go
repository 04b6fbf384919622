package telescope

import (
	"net/netip"
	"time"

	"sakimori/base/wire/packet"
)

// Researcher is somebody who scans the Internet, says so openly, and names the
// addresses it scans from. Its scans are counted like all others, but it is no
// bot, and no surge.
type Researcher struct {
	Name     string
	URL      string // where it says so, or how to be left out
	Prefixes []netip.Prefix
}

// ResearchDated is the state of Researchers. Addresses change hands: an operator
// adds its own list (Config.Research), and a prefix that is wrong here is an
// issue.
var ResearchDated = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// Researchers are those whose prefixes are stable, small and published. Scanners
// on rented addresses that change daily are left out on purpose: calling their
// next tenant harmless would be the worse mistake.
var Researchers = []Researcher{
	{"Censys", "https://docs.censys.com/docs/opt-out-of-data-collection", prefixes(
		"162.142.125.0/24", "167.94.138.0/24", "167.94.145.0/24", "167.94.146.0/24", "167.248.133.0/24",
		"199.45.154.0/24", "199.45.155.0/24", "206.168.34.0/24", "2602:80d:1000::/44", "2620:96:e000::/48")},
	{"Shadowserver", "https://www.shadowserver.org/faq/", prefixes(
		"64.62.197.0/24", "65.49.20.64/26", "74.82.47.0/26", "184.105.139.64/26", "184.105.247.192/26", "216.218.206.64/26")},
	{"University of Michigan", "https://cse.engin.umich.edu/about/resources/connection-attempts/", prefixes(
		"141.212.121.0/24", "141.212.122.0/24", "141.212.123.0/24")},
	{"Rapid7 Project Sonar", "https://opendata.rapid7.com/about/", prefixes(
		"5.63.151.96/27", "71.6.233.0/24", "88.202.190.128/27", "109.123.117.224/27", "146.185.25.160/27")},
}

func prefixes(s ...string) []netip.Prefix {
	p := make([]netip.Prefix, len(s))
	for i := range s {
		p[i] = netip.MustParsePrefix(s[i])
	}
	return p
}

// ResearchList answers who an address belongs to.
type ResearchList struct {
	who []Researcher
	all *space
}

// NewResearchList is the list above with more added.
func NewResearchList(more ...Researcher) (*ResearchList, error) {
	l := &ResearchList{who: append(append([]Researcher(nil), Researchers...), more...)}
	var all []netip.Prefix
	for _, r := range l.who {
		all = append(all, r.Prefixes...)
	}
	var err error
	l.all, err = newSpace(all, nil)
	return l, err
}

// Has tells whether a researcher scans from a.
func (l *ResearchList) Has(a packet.Addr) bool { return l.all.contains(a) }

// Who is the researcher that scans from a.
func (l *ResearchList) Who(a netip.Addr) (name, url string, ok bool) {
	for _, r := range l.who {
		for _, p := range r.Prefixes {
			if p.Contains(a.Unmap()) {
				return r.Name, r.URL, true
			}
		}
	}
	return "", "", false
}
