package mitigate

import (
	"strconv"
	"strings"

	"sakimori/base/wire/packet"
	"sakimori/detect"
)

// words say what fits a match.
func (m *Match) words() detect.Text {
	var ja, en []string
	add := func(j, e string) { ja, en = append(ja, j), append(en, e) }
	if len(m.Proto) > 0 {
		var p []string
		for _, x := range m.Proto {
			switch {
			case x.From != x.To:
				p = append(p, "IP "+strconv.Itoa(int(x.From))+"–"+strconv.Itoa(int(x.To)))
			default:
				p = append(p, protoName(x.From))
			}
		}
		add(strings.Join(p, "・"), strings.Join(p, ", "))
	}
	list := func(j, e string, s Set) {
		if len(s) > 0 {
			t := s.write("", "", "–", ", ")
			add(j+" "+t, e+" "+t)
		}
	}
	list("宛先ポート", "to port", m.DstPort)
	list("送信元ポート", "from port", m.SrcPort)
	list("ICMP タイプ", "ICMP type", m.ICMPType)
	list("コード", "code", m.ICMPCode)
	if t := m.Flags.String(); t != "" {
		t = strings.ToUpper(t)
		add("TCP フラグ "+t, "TCP flags "+t)
	}
	list("長さ(バイト)", "length in bytes", m.Length)
	list("DSCP", "DSCP", m.DSCP)
	switch m.Fragment {
	case 0, anyFragment:
	case Later:
		add("2番目以降の断片", "later fragments")
	default:
		t := m.Fragment.String()
		add("断片 "+t, "fragments "+t)
	}
	if len(ja) == 0 {
		add("全通信", "everything")
	}
	if m.Src.IsValid() {
		add(m.Src.String()+" から", "from "+m.Src.String())
	}
	if m.Dst.IsValid() {
		add(m.Dst.String()+" あて", "to "+m.Dst.String())
	}
	return detect.Text{JA: strings.Join(ja, " "), EN: strings.Join(en, " ")}
}

func protoName(p uint16) string {
	switch p {
	case packet.ICMP:
		return "ICMP"
	case packet.TCP:
		return "TCP"
	case packet.UDP:
		return "UDP"
	case packet.ICMPv6:
		return "ICMPv6"
	case 47:
		return "GRE"
	case 50:
		return "ESP"
	}
	return "IP " + strconv.Itoa(int(p))
}
