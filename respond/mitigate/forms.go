package mitigate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"sakimori/detect"
)

// formsOf writes the rules of a proposal in every form.
func formsOf(a *detect.Attack, p *Proposal) Forms {
	var f Forms
	for i := range p.Rules {
		if r := &p.Rules[i]; r.Action == RTBH {
			f.RTBH += r.String() + "\n"
		} else {
			f.FlowSpec += r.String() + "\n"
		}
	}
	f.NFTables = orWhy(nftables(p.Rules))
	f.IPTables = orWhy(iptables(p.Rules))
	f.Request = request(a, p)
	return f
}

// orWhy is a form, or a comment that says why there is none.
func orWhy(text string, err error) string {
	if err != nil {
		return "# " + err.Error() + "\n"
	}
	return text
}

// As gives one form: flowspec, rtbh, nftables, iptables, or request in both languages.
func (f *Forms) As(form string) (string, error) {
	switch form {
	case "flowspec":
		return f.FlowSpec, nil
	case "rtbh":
		return f.RTBH, nil
	case "nftables":
		return f.NFTables, nil
	case "iptables":
		return f.IPTables, nil
	case "request":
		return f.Request.JA + "\n" + strings.Repeat("-", 60) + "\n\n" + f.Request.EN, nil
	}
	return "", fmt.Errorf("no form %.20q: flowspec, rtbh, nftables, iptables or request", form)
}

// nameOf is a name for a table or chain that holds these rules and no others.
func nameOf(rules []Rule) string {
	h := sha256.New()
	for i := range rules {
		h.Write([]byte(rules[i].String() + "\n"))
	}
	return "sakimori_" + hex.EncodeToString(h.Sum(nil))[:12]
}

// request is the text by which an upstream is asked to do it.
func request(a *detect.Attack, p *Proposal) detect.Text {
	var ja, en, rules strings.Builder
	what := a.Object.Name
	if a.Object.Prefix.IsValid() {
		what = a.Object.Prefix.String()
	}
	fmt.Fprintf(&ja, "件名: DDoS 攻撃の遮断のお願い(%s、当社番号 %s)\n\n", what, a.ID)
	fmt.Fprintf(&en, "Subject: request to filter a DDoS attack (%s, our number %s)\n\n", what, a.ID)
	fmt.Fprintf(&ja, "当社の %s に対する攻撃が %s から続いています。最大 %s、現在 %s です。\n", what, a.Opened.UTC().Format("2006-01-02 15:04:05 UTC"), rateJA(&a.Peak), rateJA(&a.Now))
	fmt.Fprintf(&en, "%s of ours has been under attack since %s. At its worst it was %s; now it is %s.\n", what, a.Opened.UTC().Format("2006-01-02 15:04:05 UTC"), rateEN(&a.Peak), rateEN(&a.Now))
	for i := range a.Vectors {
		v := &a.Vectors[i]
		fmt.Fprintf(&ja, "  ・%s: パケットの %s\n", v.Words.JA, percent(v.Share))
		fmt.Fprintf(&en, "  - %s: %s of the packets\n", v.Words.EN, percent(v.Share))
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		w := r.Words()
		fmt.Fprintf(&rules, "  %s\n", r.String())
		fmt.Fprintf(&ja, "%s  %d. %s\n", head(i, "\n貴網において、次の規則の適用をお願いします。\n"), i+1, w.JA)
		fmt.Fprintf(&en, "%s  %d. %s\n", head(i, "\nPlease apply these rules in your network:\n"), i+1, w.EN)
	}
	fmt.Fprintf(&ja, "\nRFC 8955 / RFC 7999 の書き方では次のとおりです。\n%s", rules.String())
	fmt.Fprintf(&en, "\nIn the words of RFC 8955 / RFC 7999:\n%s", rules.String())
	share, known := percent(p.Collateral.Upper()), p.Collateral.Known
	if !known {
		share = "?"
	}
	fmt.Fprintf(&ja, "\n攻撃の約 %s が止まり、当社の通常の通信の巻き込みは最大 %s と見積もっています。\n攻撃が終わりしだい解除をご連絡します。その前でも、24時間を過ぎたら解除してください。\n", percent(p.Stops.N), share)
	fmt.Fprintf(&en, "\nWe estimate that they stop about %s of the attack, and hit at most %s of our ordinary traffic.\nWe will tell you as soon as it is over. Please remove them after 24 hours in any case.\n", percent(p.Stops.N), share)
	return detect.Text{JA: ja.String(), EN: en.String()}
}

// head is a heading before the first of a list.
func head(i int, text string) string {
	if i == 0 {
		return text
	}
	return ""
}

func rateJA(r *detect.Rate) string {
	return fmt.Sprintf("毎秒 %s パケット(±%s)、%s", grouped(r.Packets.N), grouped(r.Packets.Error), bits(r.Bits.N))
}

func rateEN(r *detect.Rate) string {
	return fmt.Sprintf("%s ± %s packets a second, %s", grouped(r.Packets.N), grouped(r.Packets.Error), bits(r.Bits.N))
}

// bits writes bits a second as people say them.
func bits(n float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e12, "Tbit/s"}, {1e9, "Gbit/s"}, {1e6, "Mbit/s"}, {1e3, "kbit/s"}} {
		if n >= u.size {
			return fmt.Sprintf("%.3g %s", n/u.size, u.name)
		}
	}
	return fmt.Sprintf("%.0f bit/s", n)
}
