package leak

import (
	"fmt"
	"math"

	"sakimori/detect"
)

// Count is how many prefixes of one family a neighbour announces.
type Count struct {
	Neighbor uint32
	Family   string // ipv4, ipv6
	Now      int
	Maximum  *int // the most of the last 30 days; nil not known
}

// MaxPrefix is a proposal of how many prefixes a neighbour may announce at most.
type MaxPrefix struct {
	Neighbor uint32            `json:"neighbor"`
	Family   string            `json:"family"`
	Now      int               `json:"now"`
	Maximum  *int              `json:"maximum30d"`
	Limit    int               `json:"limit"`
	Warn     int               `json:"warn"` // percent of the limit
	Known    bool              `json:"known"`
	Why      detect.Text       `json:"why"`
	Lines    map[string]string `json:"lines"` // by vendor
}

// The practice: a quarter above the most of 30 days, a warning at 80 %. No limit is below
// what a small customer adds in a year.
const (
	head  = 1.25
	warn  = 80 // percent
	least = 10
)

// MaxPrefixes proposes a limit for each count. Without a maximum of 30 days it is made of
// what is announced now, and says so: now may be the incident itself.
func MaxPrefixes(h *House, counts []Count) []MaxPrefix {
	list := make([]MaxPrefix, 0, len(counts))
	for _, c := range counts {
		m := MaxPrefix{Neighbor: c.Neighbor, Family: c.Family, Now: c.Now, Maximum: c.Maximum, Warn: warn, Known: c.Maximum != nil}
		base := c.Now
		if c.Maximum != nil {
			base = *c.Maximum
		}
		m.Limit = limit(base)
		of := detect.Grouped(uint64(max(0, base)))
		to := detect.Grouped(uint64(max(0, m.Limit)))
		switch {
		case c.Maximum == nil:
			m.Why = detect.Textf("30日間の最大がまだ分からないため、現在の %[1]s の 1.25 倍を丸めた値です(仮の値)。現在の数に障害の経路が含まれていないことを確かめてください", "the maximum of 30 days isn't known yet: 1.25 times the %[1]s announced now, rounded. See that none of them is the incident's", of)
		case c.Now > m.Limit:
			m.Why = detect.Textf("30日間の最大 %[1]s の 1.25 倍を丸めた値です。いま設定すると、現在 %[3]s のためセッションが切れます(上限 %[2]s)", "1.25 times the maximum of 30 days, %[1]s, rounded. Set now it ends the session: %[3]s are announced (limit %[2]s)", of, to, detect.Grouped(uint64(max(0, c.Now))))
		default:
			m.Why = detect.Textf("30日間の最大 %[1]s の 1.25 倍を丸めた値です。%[3]d %% で警告します", "1.25 times the maximum of 30 days, %[1]s, rounded; a warning at %[3]d %%", of, to, warn)
		}
		m.Lines = h.maxLines(&m)
		list = append(list, m)
	}
	return list
}

// limit rounds up to two significant figures.
func limit(most int) int {
	x := max(least, int(math.Ceil(head*float64(most))))
	step := 1
	for x/step >= 100 {
		step *= 10
	}
	return (x + step - 1) / step * step
}

// maxLines are the lines for routers.
func (h *House) maxLines(m *MaxPrefix) map[string]string {
	f := form{neighbor: &Neighbor{AS: m.Neighbor}}
	for i := range h.Neighbors {
		n := &h.Neighbors[i]
		if n.AS == m.Neighbor && (!n.Address.IsValid() || n.Address.Is4() == (m.Family == "ipv4")) {
			f.neighbor = n
			break
		}
	}
	family, short := m.Family, "inet"
	if family == "ipv6" {
		short = "inet6"
	}
	a := f.address()
	return map[string]string{
		"junos": fmt.Sprintf("set protocols bgp group <group> neighbor %s family %s unicast prefix-limit maximum %d teardown %d idle-timeout 30\n", a, short, m.Limit, m.Warn),
		"iosxr": fmt.Sprintf("router bgp %d\n neighbor %s\n  address-family %s unicast\n   maximum-prefix %d %d restart 30\n  !\n !\n!\n", h.AS, a, family, m.Limit, m.Warn),
		"bird":  fmt.Sprintf("# in the channel %s of the session with AS%d, %s; BIRD has no warning before the limit\nreceive limit %d action restart;\n", family, m.Neighbor, a, m.Limit),
		"frr":   fmt.Sprintf("router bgp %d\n address-family %s unicast\n  neighbor %s maximum-prefix %d %d restart 30\n exit-address-family\nexit\n", h.AS, family, a, m.Limit, m.Warn),
	}
}
