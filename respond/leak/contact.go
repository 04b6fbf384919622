package leak

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sakimori/detect"
)

// Contact is somebody to call, and with which words.
type Contact struct {
	AS    uint32      `json:"as"`
	Name  string      `json:"name"`
	Role  Role        `json:"role"`
	Where string      `json:"where"` // mail and telephone as configured, "" not known
	Look  detect.Text `json:"look"`  // where it can be looked up, as words: nothing is fetched
	Text  detect.Text `json:"text"`  // to be copied
	Mail  detect.Text `json:"mail"`  // the same as a message (RFC 5322)
}

// Role is what somebody is in an incident.
type Role string

// The roles.
const (
	Leaker   Role = "leaker"
	Upstream Role = "upstream" // who took the routes from the leaker and passed them on
	Victim   Role = "victim"   // our customers whose space is hit
)

// Lines writes a message as "bgpdump -m" does, one line for each element.
type Lines interface {
	Lines(m detect.RouteMessage) []string
}

// Bounds of what a letter shows: whoever reads it has a telephone in the other hand.
const (
	letterLanes    = 6
	letterPrefixes = 20
	letterLines    = 20
)

// Contacts are the letters of an incident: to who leaks, to who let it through, and to
// our own customers that are hit. What isn't known is said as not known, and no letter
// names a person. now dates the messages.
func Contacts(h *House, i *detect.Incident, l Lines, now time.Time) []Contact {
	list := []Contact{}
	if i.Leaker != 0 && i.Leaker != h.AS {
		list = append(list, h.letter(i, Leaker, i.Leaker, l, now, victim{}))
	}
	if i.To != 0 && i.To != h.AS {
		list = append(list, h.letter(i, Upstream, i.To, l, now, victim{}))
	}
	for _, v := range h.victims(i) {
		list = append(list, h.letter(i, Victim, v.as, l, now, v))
	}
	return list
}

// victim is a customer with its space that is hit. One without an AS of its own stands
// under ours, by its name.
type victim struct {
	as   uint32
	name string
	own  []detect.OwnSpace
}

// victims are customers, each once, in the order of the incident.
func (h *House) victims(i *detect.Incident) (list []victim) {
	for _, o := range i.Own {
		own, known := h.within(o.Prefix)
		if o.Name == "" || !known || len(own.Origins) == 0 {
			continue // our own, or nobody says whose AS it is
		}
		as := own.Origins[0]
		at := slices.IndexFunc(list, func(v victim) bool { return v.as == as && v.name == o.Name })
		if at < 0 {
			list, at = append(list, victim{as: as, name: o.Name}), len(list)
		}
		list[at].own = append(list[at].own, o)
	}
	return list
}

func (h *House) letter(i *detect.Incident, r Role, as uint32, l Lines, now time.Time, v victim) Contact {
	c := Contact{AS: as, Name: h.called(as), Role: r}
	to, reader := "", h.name(as)
	at := slices.IndexFunc(h.Book, func(e Entry) bool { return e.AS == as })
	switch {
	case r == Victim && as == h.AS: // whom only the contract knows
		c.Name, reader = v.name, v.name
		c.Look = detect.Text{JA: "連絡先の調べ方: 契約者の台帳(この顧客は独自のAS番号を持ちません)", EN: "where to look: your records of customers (this one has no AS of its own)"}
	case at >= 0:
		to = h.Book[at].Mail
		c.Where = strings.Join(slices.DeleteFunc([]string{h.Book[at].Mail, h.Book[at].Phone}, func(s string) bool { return s == "" }), ", ")
		fallthrough
	default:
		c.Look = lookUp(as)
	}
	if r == Victim && c.Name == "" {
		c.Name, reader = v.name, asText(as)+" ("+v.name+")"
	}
	b := &body{}
	h.write(b, i, r, reader, l, v.own)
	c.Text = detect.Text{JA: b.ja.String(), EN: b.en.String()}
	subject := h.subject(i, r)
	id := fmt.Sprintf("%s.%s.%d", i.ID, r, as)
	if len(v.own) > 0 {
		id += "." + v.own[0].Prefix.String()
	}
	c.Mail = detect.Text{
		JA: message{from: h.ReplyTo, to: to, subject: subject.JA, date: now, id: id + ".ja", lang: "ja", body: c.Text.JA}.String(),
		EN: message{from: h.ReplyTo, to: to, subject: subject.EN, date: now, id: id + ".en", lang: "en", body: c.Text.EN}.String(),
	}
	return c
}

// lookUp says where the contacts of an AS are public. Nothing is fetched.
func lookUp(as uint32) detect.Text {
	return detect.Textf(
		"連絡先の調べ方: RDAP https://rdap.org/autnum/%[1]d、PeeringDB https://www.peeringdb.com/asn/%[1]d(NOCの役割を探す)",
		"where to look: RDAP https://rdap.org/autnum/%[1]d, PeeringDB https://www.peeringdb.com/asn/%[1]d (the role NOC)", as)
}

func (h *House) subject(i *detect.Incident, r Role) detect.Text {
	k := kindWords(i)
	t := i.Opened.UTC().Format("2006-01-02 15:04 UTC")
	who := "?"
	if i.Leaker != 0 {
		who = asText(i.Leaker)
	}
	if i.To != 0 {
		who += " → " + asText(i.To)
	}
	switch r {
	case Victim:
		return detect.Text{JA: "【お知らせ】貴社のアドレス空間に関わる経路障害: " + who + "、" + t, EN: "Your address space is hit by a routing incident: " + who + ", since " + t}
	default:
		return detect.Text{JA: "【至急】" + k.JA + ": " + who + "、" + t, EN: "URGENT: " + k.EN + ": " + who + ", since " + t}
	}
}

// body is a text in both languages, written side by side.
type body struct{ ja, en strings.Builder }

func (b *body) line(ja, en string) {
	b.ja.WriteString(ja + "\n")
	b.en.WriteString(en + "\n")
}

func (b *body) linef(ja, en string, args ...any) {
	b.line(fmt.Sprintf(ja, args...), fmt.Sprintf(en, args...))
}

// write is the letter: who writes, what, since when, how much, how it should be and how
// it is, what is asked, evidence, whom to answer.
func (h *House) write(b *body, i *detect.Incident, r Role, reader string, l Lines, own []detect.OwnSpace) {
	b.linef("%s ネットワーク運用ご担当 様", "To the network operations of %s", reader)
	b.line("", "")
	b.linef("%s のネットワーク運用部門です。", "this is the network operations of %s.", h.name(h.AS))
	h.opening(b, i, r)
	b.line("", "")
	k := kindWords(i)
	b.line("■ 事象: "+k.JA, "* What: "+k.EN)
	if i.Leaker != 0 {
		b.linef("  広告元: %s", "  by: %s", h.name(i.Leaker))
	}
	if i.From != 0 {
		b.linef("  経路の入手元: %s", "  had from: %s", h.name(i.From))
	}
	if i.To != 0 {
		b.linef("  渡した先: %s", "  passed to: %s", h.name(i.To))
	}
	b.linef("■ 発生: %s", "* Since: %s", both(i.Opened))
	switch {
	case i.State != detect.Closed:
		b.linef("  継続中(最後の更新: %s)", "  still under way (last update: %s)", both(i.Last))
	case i.Restored:
		b.linef("  復旧: %s", "  restored: %s", both(i.Closed))
	default:
		b.linef("  %s 以後は観測がありません(復旧を確かめたものではありません)", "  nothing was seen of it after %s (which doesn't prove that it is restored)", both(i.Closed))
	}
	b.linef("■ 規模: %s 経路(現在 %s、最大 %s)", "* Size: %s prefixes (now %s, at most %s)", number(i.Prefixes), detect.Grouped(uint64(max(0, i.Now))), detect.Grouped(uint64(max(0, i.Peak))))
	if i.MoreSpecific > 0 {
		b.linef("  うち %s は、既存の経路より細かい経路", "  of them %s more specific than the routes known before", detect.Grouped(uint64(i.MoreSpecific)))
	}
	b.linef("  観測点: %[1]d(全経路を持つ %[2]d のうち)", "  seen by %[1]d vantage points, of %[2]d with a whole table", i.Seen, i.Whole)
	h.prefixes(b, i, own)
	lanes(b, i, own)
	h.asks(b, i, r)
	evidence(b, i, l, own)
	b.line("", "")
	b.linef("■ ご返信先: %s", "* Please answer to: %s", h.reply())
	b.linef("  整理番号: %s", "  our number: %s", i.ID)
}

func (h *House) reply() string {
	list := slices.DeleteFunc([]string{h.ReplyTo, h.Phone}, func(s string) bool { return s == "" })
	if len(list) == 0 {
		return h.name(h.AS)
	}
	return strings.Join(list, ", ")
}

func (h *House) opening(b *body, i *detect.Incident, r Role) {
	hit := ""
	if len(i.Own) > 0 {
		hit = "own"
	}
	switch {
	case r == Victim:
		b.line("貴社のアドレス空間への経路が、本来と異なる経路を通っていることを観測しました。", "we see routes to your address space that take another way than they should.")
	case r == Upstream && hit != "":
		b.linef("貴社が %s から受け取って広告している経路が、当社および当社顧客のアドレス空間への通信に影響しています。", "routes that you take from %s and announce affect traffic to our and our customers' address space.", h.name(i.Leaker))
	case r == Upstream:
		b.linef("貴社が %s から受け取って広告している経路に、異常を観測しました。", "we see routes that you take from %s and announce, and that shouldn't be there.", h.name(i.Leaker))
	case hit != "":
		b.line("貴社が広告している経路が、当社および当社顧客のアドレス空間への通信に影響しています。", "routes that you announce affect traffic to our and our customers' address space.")
	default:
		b.line("貴社が広告している経路に、異常を観測しました。", "we see routes that you announce and that shouldn't be there.")
	}
}

// concerns tells whether a prefix is the reader's: of everybody's where none are named.
func concerns(own []detect.OwnSpace, p netip.Prefix) bool {
	return len(own) == 0 || slices.ContainsFunc(own, func(o detect.OwnSpace) bool { return covers(o.Prefix, p) })
}

// prefixes of ours first; to a customer its own alone.
func (h *House) prefixes(b *body, i *detect.Incident, own []detect.OwnSpace) {
	for _, o := range own {
		b.linef("■ 貴社の空間: %s のうち %d 経路", "* Your space: %[2]d prefixes within %[1]s", o.Prefix, o.Prefixes)
	}
	var list []netip.Prefix
	for _, p := range i.Sample {
		if concerns(own, p.Prefix) {
			list = append(list, p.Prefix)
		}
	}
	text, more := some(list, letterPrefixes)
	if text == "" {
		return
	}
	if len(own) == 0 {
		more = max(more, int(i.Prefixes.N)-min(len(list), letterPrefixes)) //#nosec G115 -- a number of prefixes
	}
	b.line("■ 経路の例", "* Some of the prefixes")
	b.line("  "+text, "  "+text)
	if more > 0 {
		b.linef("  ほか %s 経路", "  and %s more", detect.Grouped(uint64(more)))
	}
}

// lanes are the ways as they should be beside those as they are.
func lanes(b *body, i *detect.Incident, own []detect.OwnSpace) {
	var list []detect.Lane
	for _, l := range i.Lanes {
		if concerns(own, l.Prefix) {
			list = append(list, l)
		}
	}
	if len(list) == 0 {
		return
	}
	b.line("■ 本来の経路と、観測された経路(左が観測点、右が起源)", "* Paths as they should be, and as they are (the vantage point first, the origin last)")
	for n, lane := range list {
		if n == letterLanes {
			b.linef("  ほか %d 通り", "  and %d more", len(list)-n)
			break
		}
		b.line("  "+lane.Prefix.String(), "  "+lane.Prefix.String())
		usual, now := pathText(lane.Usual), pathText(lane.Is)
		ja, en := usual, usual
		if usual == "" {
			ja, en = "不明", "not known"
		} else if lane.Cover.IsValid() {
			ja, en = usual+"("+lane.Cover.String()+" として)", usual+" (as "+lane.Cover.String()+")"
		}
		b.line("    本来: "+ja, "    usual: "+en)
		if ja, en = now, now; now == "" {
			ja, en = "経路なし", "no way any more"
		}
		b.line("    観測: "+ja, "    now:   "+en)
	}
}

// asks says what we ask for.
func (h *House) asks(b *body, i *detect.Incident, r Role) {
	b.line("■ お願い", "* What we ask for")
	switch {
	case r == Victim:
		b.line("  1. 監視と、影響の有無のご確認をお願いします。", "  1. Please watch your services, and tell us what you see of it.")
		b.line("  2. ROA(起源ASと最大長)が最新であることをご確認ください。より細かい経路の広告は、当社とご相談のうえでお願いします。", "  2. Please see that your ROAs (origin and maximum length) are up to date, and talk to us before you announce more-specific routes.")
		if i.Leaker != 0 {
			b.linef("  当社は %s に停止を求めます。", "  We ask %s to stop it.", h.name(i.Leaker))
		}
	case i.State == detect.Closed:
		b.line("  1. 原因と、再発を防ぐ措置をお知らせください。", "  1. Please tell us the cause, and what keeps it from happening again.")
		h.again(b, r)
	case r == Upstream:
		b.linef("  1. %s からの当該経路の受け入れを、直ちに止めてください(経路フィルター、最大経路数)。", "  1. Please stop taking these routes from %s at once (a filter, a maximum of prefixes).", h.name(i.Leaker))
		b.linef("  2. %s に連絡し、広告を止めさせてください。", "  2. Please call %s and have them stop announcing.", h.name(i.Leaker))
		h.again(b, r)
	default:
		b.line("  1. 当該経路の広告を、直ちに止めてください。", "  1. Please stop announcing these routes at once.")
		b.line("  2. 止めた時刻と原因をお知らせください。", "  2. Please tell us when you stopped, and the cause.")
		h.again(b, r)
	}
}

// again is what keeps it from coming back: RFC 9234, RFC 8481 and the practice.
func (h *House) again(b *body, r Role) {
	if r == Upstream {
		b.line("  再発防止として、顧客・ピアごとの経路フィルター、最大経路数、ROVによる破棄、BGPロール(RFC 9234)をご検討ください。", "  Against a next time: filters and a maximum of prefixes for each customer and peer, dropping what is ROV invalid, BGP roles (RFC 9234).")
		return
	}
	b.line("  再発防止として、輸出方針の既定を拒否にすること(RFC 8212)、BGPロール(RFC 9234)、ASPAの登録をご検討ください。", "  Against a next time: announce nothing by default (RFC 8212), BGP roles (RFC 9234), an ASPA.")
}

// evidence are the messages as they came.
func evidence(b *body, i *detect.Incident, l Lines, own []detect.OwnSpace) {
	if l == nil || len(i.Evidence) == 0 {
		return
	}
	var list []string
	for _, m := range i.Evidence {
		for _, s := range l.Lines(m) {
			const at = 5 // of the prefix, in "BGP4MP|time|A|peer|AS|prefix|…"
			f := strings.Split(s, "|")
			if len(own) > 0 {
				if len(f) <= at {
					continue
				}
				if p, err := netip.ParsePrefix(f[at]); err != nil || !concerns(own, p) {
					continue
				}
			}
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		return
	}
	b.line("■ 証拠(受信したBGPメッセージ、bgpdump -m 形式。時刻はUTCの秒)", "* Evidence (BGP messages as received, as bgpdump -m writes them; times are seconds of UTC)")
	for n, s := range list {
		if n == letterLines {
			b.linef("  ほか %d 行", "  and %d more lines", len(list)-n)
			break
		}
		b.line("  "+s, "  "+s)
	}
}
