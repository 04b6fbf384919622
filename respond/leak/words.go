package leak

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sakimori/detect"
)

func asText(as uint32) string { return "AS" + strconv.FormatUint(uint64(as), 10) }

// pathText is a path as routers print it: "701 15169 4713".
func pathText(path []uint32) string {
	list := make([]string, len(path))
	for i, as := range path {
		list[i] = strconv.FormatUint(uint64(as), 10)
	}
	return strings.Join(list, " ")
}

// japan is nine hours before UTC, all year.
var japan = time.FixedZone("JST", 9*60*60)

// both is a moment in both zones.
func both(t time.Time) string {
	return t.UTC().Format("2006-01-02 15:04:05 UTC") + " / " + t.In(japan).Format("2006-01-02 15:04:05 JST")
}

// kindWords say what happened, as the field and RFC 7908 have it.
func kindWords(i *detect.Incident) detect.Text {
	switch i.Kind {
	case detect.Leak:
		t := detect.Text{JA: "経路リーク(RFC 7908)", EN: "route leak (RFC 7908)"}
		if w, known := rfc7908[i.Form]; known {
			t.JA, t.EN = t.JA+" "+w.JA, t.EN+", "+w.EN
		}
		return t
	case detect.Hijack:
		switch i.Form {
		case "more-specific":
			return detect.Text{JA: "他者のアドレス空間の、より細かい経路の広告(経路ハイジャック)", EN: "more-specific routes of somebody else's space (hijack)"}
		case "squatting":
			return detect.Text{JA: "広告されていない他者のアドレス空間の広告(経路ハイジャック)", EN: "space of somebody else that isn't announced (hijack, squatting)"}
		case "first-hop":
			return detect.Text{JA: "正しい起源ASの前に割り込んだ経路の広告(経路ハイジャック)", EN: "a forged path that ends with the right origin (hijack)"}
		}
		return detect.Text{JA: "起源ASの異なる経路の広告(経路ハイジャック)", EN: "another origin for the same prefixes (hijack)"}
	case detect.Outage:
		return detect.Text{JA: "経路の喪失", EN: "routes that are lost"}
	case detect.Blackhole:
		return detect.Text{JA: "破棄用(ブラックホール)経路の漏えい", EN: "routes to be discarded (BLACKHOLE) outside of their scope"}
	}
	return detect.Text{JA: "広告してはならないアドレスやAS番号の経路", EN: "space or AS numbers that nobody may announce"}
}

// rfc7908 are the types of its section 3.
var rfc7908 = map[string]detect.Text{
	"type 1": {JA: "型1:プロバイダーから受けた経路を別のプロバイダーへ(ヘアピン)", EN: "type 1: a provider's routes passed to another provider (hairpin turn)"},
	"type 2": {JA: "型2:ピアから受けた経路を別のピアへ", EN: "type 2: a peer's routes passed to another peer"},
	"type 3": {JA: "型3:プロバイダーから受けた経路をピアへ", EN: "type 3: a provider's routes passed to a peer"},
	"type 4": {JA: "型4:ピアから受けた経路をプロバイダーへ", EN: "type 4: a peer's routes passed to a provider"},
	"type 5": {JA: "型5:起源を自らに変えての再広告(通信は本来の宛先に届く)", EN: "type 5: announced anew as one's own, with a way to the right origin"},
	"type 6": {JA: "型6:内部経路や細分経路の意図しない広告", EN: "type 6: internal or more-specific routes announced by accident"},
}

// number writes a count with its error: "25,658", "25,658 ± 12".
func number(c detect.Counted) string {
	s := detect.Grouped(c.N)
	if c.Error > 0 {
		s += " ± " + detect.Grouped(uint64(c.Error+0.5))
	}
	return s
}

// some lists prefixes, and says how many are left out.
func some(list []netip.Prefix, most int) (text string, more int) {
	n := min(len(list), most)
	parts := make([]string, n)
	for i := range n {
		parts[i] = list[i].String()
	}
	return strings.Join(parts, ", "), len(list) - n
}

// ordered sorts prefixes: IPv4 first, by address, the short ones first.
func ordered(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}

func percent(f float64) string { return fmt.Sprintf("%.0f %%", 100*f) }
