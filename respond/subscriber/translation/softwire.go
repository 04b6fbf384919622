package translation

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Softwires is one version of a lightweight AFTR's binding table (RFC 7596 §5): each
// subscriber's B4 has an IPv4 address, or the ports of a PSID of one.
type Softwires struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
	Span    `yaml:",inline"`

	Bindings []Binding `yaml:"bindings"`
}

// Binding is one subscriber of the table.
type Binding struct {
	IPv6       netip.Prefix `yaml:"ipv6"` // the B4's address (/128), or the prefix it is in
	IPv4       netip.Addr   `yaml:"ipv4"`
	PSID       int          `yaml:"psid"`
	PSIDLength int          `yaml:"psid_length"` // 0: the whole address
	Offset     int          `yaml:"psid_offset"` // 0 is usual here (RFC 7596 §5.1)
}

// softwires is the arithmetic of it.
type softwires struct {
	byAddress map[netip.Addr][]bound
	byPrefix  map[netip.Prefix]held
	lengths   []int // of the IPv6 prefixes
}

type bound struct {
	inside netip.Prefix
	set    portset
	psid   uint16
	number int // in the table, from 1
}

type held struct {
	address netip.Addr
	set     portset
	psid    uint16
}

func (d Softwires) compile() (mapping, error) {
	if len(d.Bindings) == 0 {
		return nil, errors.New("it has no bindings")
	}
	m := &softwires{byAddress: map[netip.Addr][]bound{}, byPrefix: map[netip.Prefix]held{}}
	for i, b := range d.Bindings {
		set, err := b.check()
		if err != nil {
			return nil, fmt.Errorf("binding %d: %w", i+1, err)
		}
		if _, twice := m.byPrefix[b.IPv6]; twice {
			return nil, fmt.Errorf("binding %d: its B4 has a binding already", i+1)
		}
		m.byAddress[b.IPv4] = append(m.byAddress[b.IPv4], bound{b.IPv6, set, uint16(b.PSID), i + 1}) //nolint:gosec // checked
		m.byPrefix[b.IPv6] = held{b.IPv4, set, uint16(b.PSID)}                                       //nolint:gosec // checked
		if !slices.Contains(m.lengths, b.IPv6.Bits()) {
			m.lengths = append(m.lengths, b.IPv6.Bits())
		}
	}
	worst := len(d.Bindings) + 1
	for _, list := range m.byAddress {
		if n := overlap(list); n > 0 {
			worst = min(worst, n)
		}
	}
	if worst <= len(d.Bindings) {
		return nil, fmt.Errorf("binding %d has a port that another of the same address has: look at their PSIDs", worst)
	}
	return m, nil
}

// check reads one binding's own fields.
func (b Binding) check() (portset, error) {
	switch {
	case !b.IPv6.IsValid() || !b.IPv6.Addr().Is6() || b.IPv6 != b.IPv6.Masked():
		return portset{}, errors.New("ipv6 must be the B4's address or prefix, like 2001:db8::1/128")
	case !b.IPv4.Is4():
		return portset{}, errors.New("ipv4 must be an IPv4 address")
	}
	set, err := newPortset(b.Offset, b.PSIDLength)
	if err == nil && (b.PSID < 0 || b.PSID >= 1<<b.PSIDLength) {
		err = fmt.Errorf("psid is %d: it must be below 2^psid_length", b.PSID)
	}
	return set, err
}

// overlap is the number of the first binding of an address that has a port which one
// before it has; 0 none.
func overlap(list []bound) int {
	seen := make(map[uint16]bool, len(list))
	for i, b := range list {
		if b.set != list[0].set {
			break
		}
		if seen[b.psid] {
			return b.number
		}
		if seen[b.psid] = true; i == len(list)-1 {
			return 0 // all of one form, each with its own PSID
		}
	}
	var all bitmap
	for _, b := range list {
		if all.mark(b.set.ports(b.psid)) {
			return b.number
		}
	}
	return 0
}

func (m *softwires) toInside(address netip.Addr, port uint16) (netip.Prefix, Reason) {
	reason := ReservedPort
	for _, b := range m.byAddress[address] {
		if b.set.length == 0 {
			return b.inside, Found
		}
		if port == 0 {
			return netip.Prefix{}, NoPort
		}
		psid, ok := b.set.psid(port)
		if ok && psid == b.psid {
			return b.inside, Found
		}
		if ok {
			reason = Unassigned
		}
	}
	return netip.Prefix{}, reason
}

func (m *softwires) toOutside(in netip.Addr) (Share, bool) {
	for _, bits := range m.lengths {
		p, err := in.Prefix(bits)
		if err != nil {
			continue
		}
		if h, ok := m.byPrefix[p]; ok {
			return Share{Address: netip.PrefixFrom(h.address, 32), Ports: h.set.ports(h.psid)}, true
		}
	}
	return Share{}, false
}

func (m *softwires) outsides() (all []netip.Prefix) {
	for a := range m.byAddress {
		all = append(all, netip.PrefixFrom(a, 32))
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return all
}

func (m *softwires) insides() (all []netip.Prefix) {
	for p := range m.byPrefix {
		all = append(all, p)
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return all
}

func (m *softwires) apart(mapping) bool { return false }

// ReadBindings reads a binding table from CSV: a line with the names ipv6, ipv4 and, if
// they are needed, psid, psid_length and psid_offset in any order, then a line for each
// binding. ipv6 may be an address. An error names line and column, never the content.
func ReadBindings(r io.Reader) (list []Binding, err error) {
	c := csv.NewReader(r)
	c.ReuseRecord = true
	head, err := c.Read()
	if err != nil {
		return nil, errors.New("binding table: it has no line with the names of the columns: begin with ipv6,ipv4,psid,psid_length")
	}
	names := slices.Clone(head)
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
		if !slices.Contains([]string{"ipv6", "ipv4", "psid", "psid_length", "psid_offset"}, names[i]) || slices.Contains(names[:i], names[i]) {
			return nil, fmt.Errorf("binding table: column %d of line 1 is none of ipv6, ipv4, psid, psid_length and psid_offset, or is there twice", i+1)
		}
	}
	for {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("binding table: what follows binding %d isn't CSV with as many columns as the first line", len(list))
		}
		line, _ := c.FieldPos(0)
		var b Binding
		for i, name := range names {
			if err := b.set(name, strings.TrimSpace(row[i])); err != nil {
				return nil, fmt.Errorf("binding table: line %d, column %s: %w", line, name, err)
			}
		}
		list = append(list, b)
	}
}

// set reads one column. Errors don't say what stood there: it is a subscriber's address.
func (b *Binding) set(name, v string) (err error) {
	switch name {
	case "ipv6":
		if a, err := netip.ParseAddr(v); err == nil {
			b.IPv6 = netip.PrefixFrom(a, a.BitLen())
		} else if b.IPv6, err = netip.ParsePrefix(v); err != nil {
			return errors.New("neither an address nor a prefix")
		}
	case "ipv4":
		if b.IPv4, err = netip.ParseAddr(v); err != nil {
			return errors.New("not an address")
		}
	default:
		to := map[string]*int{"psid": &b.PSID, "psid_length": &b.PSIDLength, "psid_offset": &b.Offset}[name]
		if *to, err = strconv.Atoi(v); err != nil {
			return errors.New("not a number")
		}
	}
	return nil
}
