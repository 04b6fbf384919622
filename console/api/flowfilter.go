package api

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// FlowQuery is a filter of flows: a parameter may come several times, any of its values
// will do, and all parameters have to fit.
type FlowQuery struct {
	Src       []string `query:"src,explode" doc:"prefixes or addresses of the source"`
	Dst       []string `query:"dst,explode" doc:"of the destination"`
	Addr      []string `query:"addr,explode" doc:"of either"`
	Proto     []string `query:"proto,explode" doc:"udp, or a number"`
	Port      []string `query:"port,explode" doc:"of either side; of ICMP type*256+code as dst_port"`
	SrcPort   []string `query:"src_port,explode"`
	DstPort   []string `query:"dst_port,explode"`
	AS        []string `query:"as,explode" doc:"of either side: AS64500"`
	SrcAS     []string `query:"src_as,explode"`
	DstAS     []string `query:"dst_as,explode"`
	Country   []string `query:"country,explode" doc:"of either side: JP; ZZ unknown"`
	Exporter  []string `query:"exporter,explode" doc:"number, name or address"`
	Interface []string `query:"interface,explode" doc:"its name, or exporter/ifIndex; the way in or out"`
	Customer  []string `query:"customer,explode"`
	Direction string   `query:"direction" enum:"in,out" doc:"in: to one of ours"`
	Flags     string   `query:"flags" maxLength:"64" doc:"TCP flags that are all set: syn+ack"`
	MinBytes  uint64   `query:"min_bytes" doc:"of one row"`
}

// parts are what the filter is made of, for the cursor.
func (q *FlowQuery) parts() []any {
	return []any{q.Src, q.Dst, q.Addr, q.Proto, q.Port, q.SrcPort, q.DstPort, q.AS, q.SrcAS, q.DstAS, q.Country, q.Exporter, q.Interface, q.Customer, q.Direction, q.Flags, q.MinBytes}
}

// flowFilter reads a filter.
func (s *Server) flowFilter(q *FlowQuery) (f observe.FlowFilter, err error) {
	for _, p := range []struct {
		name  string
		words []string
		into  *[]netip.Prefix
	}{{"src", q.Src, &f.Src}, {"dst", q.Dst, &f.Dst}, {"addr", q.Addr, &f.Addr}} {
		if *p.into, err = each(p.words, p.name, "203.0.113.0/24", parsePrefix); err != nil {
			return f, err
		}
	}
	for _, p := range []struct {
		name  string
		words []string
		into  *[]uint16
	}{{"port", q.Port, &f.Ports}, {"src_port", q.SrcPort, &f.SrcPorts}, {"dst_port", q.DstPort, &f.DstPorts}} {
		if *p.into, err = each(p.words, p.name, "443", parsePortNumber); err != nil {
			return f, err
		}
	}
	for _, p := range []struct {
		name  string
		words []string
		into  *[]uint32
	}{{"as", q.AS, &f.AS}, {"src_as", q.SrcAS, &f.SrcAS}, {"dst_as", q.DstAS, &f.DstAS}} {
		if *p.into, err = each(p.words, p.name, "AS64500", parseAS); err != nil {
			return f, err
		}
	}
	if f.Protos, err = each(q.Proto, "proto", "udp", parseProtocol); err != nil {
		return f, err
	}
	if f.Countries, err = each(q.Country, "country", "JP", parseCountry); err != nil {
		return f, err
	}
	if f.Exporters, err = s.exporterNumbers(q.Exporter); err != nil {
		return f, err
	}
	if f.Interfaces, err = s.interfacesOf(q.Interface); err != nil {
		return f, err
	}
	var ok bool
	if f.Flags, ok = parseFlags(q.Flags); !ok {
		return f, fail("filter_invalid", q.Flags, "flags", "syn+ack")
	}
	f.Way = map[string]observe.FlowWay{"in": observe.FlowIn, "out": observe.FlowOut}[q.Direction]
	f.Customers, f.MinBytes = q.Customer, q.MinBytes
	return f, nil
}

func each[T any](words []string, name, example string, parse func(string) (T, bool)) (list []T, err error) {
	for _, w := range words {
		v, ok := parse(w)
		if !ok {
			return nil, fail("filter_invalid", w, name, example)
		}
		list = append(list, v)
	}
	return list, nil
}

func parsePrefix(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err == nil && p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), err == nil
}

func parsePortNumber(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil
}

func parseAS(s string) (uint32, bool) {
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.ToUpper(s), "AS"), 10, 32)
	return uint32(n), err == nil
}

// parseCountry gives "" for the code of what isn't known.
func parseCountry(s string) (string, bool) {
	up := strings.ToUpper(s)
	if up == unknownCountry {
		return "", true
	}
	return up, len(up) == 2 && isUpper(up[0]) && isUpper(up[1])
}

var tcpFlags = [...]struct {
	flag packet.TCPFlags
	name string
}{
	{packet.FIN, "fin"},
	{packet.SYN, "syn"},
	{packet.RST, "rst"},
	{packet.PSH, "psh"},
	{packet.ACK, "ack"},
	{packet.URG, "urg"},
	{packet.ECE, "ece"},
	{packet.CWR, "cwr"},
}

// flagText writes flags as syn+ack; "none" for none.
func flagText(f packet.TCPFlags) string {
	var words []string
	for _, t := range tcpFlags {
		if f&t.flag != 0 {
			words = append(words, t.name)
		}
	}
	if words == nil {
		return "none"
	}
	return strings.Join(words, "+")
}

func parseFlags(s string) (f packet.TCPFlags, ok bool) {
	for w := range strings.FieldsFuncSeq(strings.ToLower(s), func(r rune) bool { return r == '+' || r == ',' || r == ' ' }) {
		i := slices.IndexFunc(tcpFlags[:], func(t struct {
			flag packet.TCPFlags
			name string
		},
		) bool {
			return t.name == w
		})
		if i < 0 {
			return 0, false
		}
		f |= tcpFlags[i].flag
	}
	return f, true
}

// singlesOut tells whether a filter would show of an own subscriber what the mask hides:
// by it, trying the addresses of a prefix in turn would undo the mask.
func (s *Server) singlesOut(f *observe.FlowFilter) bool {
	return slices.ContainsFunc(slices.Concat(f.Src, f.Dst, f.Addr), func(p netip.Prefix) bool {
		if p.Addr().Is6() {
			return p.Bits() > 48 && (s.own.hidden(p.Addr()) || s.own.hidden(lastOf(p)))
		}
		if p.Bits() <= 24 {
			return false
		}
		for a := p.Addr(); p.Contains(a); a = a.Next() {
			if s.own.hidden(a) {
				return true
			}
		}
		return false
	})
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As16()
	for i := p.Bits(); i < 128; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom16(b)
}
