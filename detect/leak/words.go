package leak

import (
	"fmt"
	"strings"

	"sakimori/detect"
)

// as names an AS with its name where it is known.
func (d *Detector) as(n uint32) string {
	if d.ports.Name != nil {
		if name := d.ports.Name(n); name != "" {
			return fmt.Sprintf("AS%d (%s)", n, name)
		}
	}
	return fmt.Sprintf("AS%d", n)
}

// words are an incident's title and the decision in a sentence or two. Below the line of
// certainty nobody is accused.
func (d *Detector) words(c *hunt, i *detect.Incident) (title, why detect.Text) {
	maybeJA, maybeEN := "", ""
	if c.confid < d.cfg.Sure {
		maybeJA, maybeEN = "の疑い", "Possible: "
	}
	n := detect.Grouped(i.Prefixes.N)
	by := d.as(c.by)
	switch c.kind {
	case leaks, drifts, inners:
		toJA, toEN := "複数の AS", "several ASes"
		if i.To != 0 {
			toJA, toEN = d.as(i.To), d.as(i.To)
		}
		title = detect.Text{JA: fmt.Sprintf("経路リーク%s: %s が %s へ %s 経路", maybeJA, by, toJA, n), EN: fmt.Sprintf("%sroute leak by %s to %s, %s prefixes", maybeEN, by, toEN, n)}
		fromJA, fromEN := "複数の AS", "several ASes"
		if i.From != 0 {
			fromJA, fromEN = d.as(i.From), d.as(i.From)
		}
		why = detect.Text{JA: fmt.Sprintf("%s が、%s から受けた経路を %s へ渡している。", by, fromJA, toJA), EN: fmt.Sprintf("%s passes routes that it had of %s on to %s.", by, fromEN, toEN)}
		if c.kind == inners {
			why = detect.Text{JA: fmt.Sprintf("%s が、自網の内部の細かい経路を %s へ出している。", by, toJA), EN: fmt.Sprintf("%s lets internal more-specifics of its own out to %s.", by, toEN)}
		}
		if i.MoreSpecific > 0 {
			why.JA += fmt.Sprintf("うち %s は既知の経路の内側の新しい細かい経路。", detect.Grouped(uint64(i.MoreSpecific)))
			why.EN += fmt.Sprintf(" %s of them are new more-specifics of known routes.", detect.Grouped(uint64(i.MoreSpecific)))
		}
	case hijacks:
		whose := make([]string, 0, 3)
		for _, as := range i.Expected[:min(3, len(i.Expected))] {
			whose = append(whose, d.as(as))
		}
		ownersJA, ownersEN := strings.Join(whose, "、"), strings.Join(whose, ", ")
		if len(i.Expected) > 3 {
			ownersJA, ownersEN = ownersJA+" ほか", ownersEN+" and others"
		}
		if ownersJA == "" {
			ownersJA, ownersEN = "不明", "an owner that isn't known"
		}
		title = detect.Text{JA: fmt.Sprintf("経路ハイジャック%s: %s が %s 経路", maybeJA, by, n), EN: fmt.Sprintf("%shijack by %s, %s prefixes", maybeEN, by, n)}
		why = detect.Text{JA: fmt.Sprintf("%s が、%s の空間を広告している。", by, ownersJA), EN: fmt.Sprintf("%s announces space of %s.", by, ownersEN)}
		if i.Form == "first-hop" {
			why = detect.Text{JA: fmt.Sprintf("%s が、%s の隣に立つと装っている。", by, ownersJA), EN: fmt.Sprintf("%s stands in the path as if it were a neighbour of %s.", by, ownersEN)}
		}
	case outages:
		title = detect.Text{JA: fmt.Sprintf("自網の経路が見えない: %s 経路", n), EN: fmt.Sprintf("own space isn't seen: %s prefixes", n)}
		why = detect.Text{JA: fmt.Sprintf("見えていたピアの %.0f %% 未満でしか見えない。", d.cfg.Lost*100), EN: fmt.Sprintf("Less than %.0f %% of the peers that saw it still do.", d.cfg.Lost*100)}
	case blackholes:
		title = detect.Text{JA: fmt.Sprintf("廃棄経路の漏れ%s: %s が %s 経路", maybeJA, by, n), EN: fmt.Sprintf("%sblackhole routes let out by %s, %s prefixes", maybeEN, by, n)}
		why = detect.Text{JA: fmt.Sprintf("%s が、廃棄を求める経路(RFC 7999)を外へ渡している。", by), EN: fmt.Sprintf("%s passes on routes that ask to discard traffic (RFC 7999).", by)}
	case bogons:
		title = detect.Text{JA: fmt.Sprintf("広告してはならない経路%s: %s が %s 経路", maybeJA, by, n), EN: fmt.Sprintf("%sbogon routes by %s, %s prefixes", maybeEN, by, n)}
		why = detect.Text{JA: fmt.Sprintf("%s が、誰にも割り当てられない空間または番号の経路を出している。", by), EN: fmt.Sprintf("%s lets out routes of space or numbers that nobody may use.", by)}
	}
	if len(i.Own) > 0 && c.kind != outages {
		own := 0
		for _, o := range i.Own {
			own += o.Prefixes
		}
		why.JA += fmt.Sprintf("自網・顧客の %s 経路が含まれる。", detect.Grouped(uint64(own)))
		why.EN += fmt.Sprintf(" %s of them are own or customers' space.", detect.Grouped(uint64(own)))
	}
	invalids := 0
	for j := range c.hits {
		if invalid(c.hits[j].rov) {
			invalids++
		}
	}
	if invalids > 0 {
		why.JA += fmt.Sprintf("ROA では %s 経路が Invalid。", detect.Grouped(uint64(invalids)))
		why.EN += fmt.Sprintf(" By the ROAs %s are invalid.", detect.Grouped(uint64(invalids)))
	}
	why.JA += fmt.Sprintf("見たピアは %d(全表を持つピア %d)、確からしさ %.2f。", i.Seen, i.Whole, i.Confidence)
	why.EN += fmt.Sprintf(" %d peers saw it, of %d with a whole table; confidence %.2f.", i.Seen, i.Whole, i.Confidence)
	return title, why
}
