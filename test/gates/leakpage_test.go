package gates_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// leakPage is the page that is kept.
func leakPage(results []*leakage, files []leakFile, all, calm *score) string {
	var b strings.Builder
	ended, restored := 0, 0
	for _, l := range results {
		ended, restored = ended+l.ended, restored+l.restored
	}
	median, most := time.Duration(0), time.Duration(0)
	if d := slices.Sorted(slices.Values(all.delays)); len(d) > 0 {
		median, most = d[len(d)/2], d[len(d)-1]
	}
	fmt.Fprintf(&b, `# 経路の事象の適合率・再現率・遅れ / Precision, recall and delay of routing incidents

測定日 / measured on %s (`+"`go test ./test/gates -run TestLeaks -update`"+`)

模擬の経路 %d 場面(`+"`sakimori sim route --list`"+`)を MRT ファイルとして読み、経路表と検知器に通し、正解と突き合わせました。検知器が
知っているのは事業者が知り得ること、つまり自網と顧客の空間、AS 間の関係、ROA と ASPA、ルートサーバー、予告した作業だけです。種類、漏らした AS、
(一つに決まるなら)隣接がそろい、その事象についてただ一つの主張だけを正しいとし、同じ事象を二度言えば誤りとします。適合率 %.2f、再現率 %.2f を
下回るか、最初のピアが伝えてから %.0f 秒を超えるとテストは失敗します。

%d scenes of made-up routes were read as MRT files, went through table and detector, and what was said is compared with the
truth. The detector knows what an operator can know: own and customers' space, relations of ASes, ROAs and ASPAs, route servers,
maintenance that was told. A claim is right if kind, leaker and, where there is a single one, the adjacency are, and if it is the only
one about its event: saying it twice is wrong. The test fails below precision %.2f or recall %.2f, or if one is told later than %.0f s after the
first peer told of it.

| | 主張 / claims | 正しい / right | 適合率 / precision | 正解 / wanted | 発見 / found | 再現率 / recall |
|---|---|---|---|---|---|---|
| 事象 / incidents | %d | %d | %.4f | %d | %d | %.4f |
| 何もない場面 / scenes without any | %d | %d | %.4f | – | – | – |

遅れ(データの時刻で、最初のピアが伝えてから告げるまで): 中央値 %.1f 秒、最長 %.1f 秒。場面のうちに終わった事象 %d 件のうち、経路が元に戻ったと告げたもの %d 件。
Delay, in the time of the data, from when the first peer told of it: median %.1f s, longest %.1f s. Of %d incidents that were over within their
scene, %d were closed with a notice that the routes are back.

| 場面 / scene | 正解 / truth | 隣接 / adjacency | 経路数 / prefixes | 見たピア / peers | 遅れ / delay | 確からしさ / confidence | 兆候 / signals | 違い / what differs |
|---|---|---|---|---|---|---|---|---|
`, time.Now().UTC().Format(time.DateOnly), len(results), leastLeakPrecision, leastLeakRecall, mostLeakDelay.Seconds(), len(results), leastLeakPrecision, leastLeakRecall, mostLeakDelay.Seconds(),
		all.claims, all.right, all.precision(), all.wanted, all.found, all.recall(), calm.claims, calm.right, calm.precision(),
		median.Seconds(), most.Seconds(), ended, restored, median.Seconds(), most.Seconds(), ended, restored)
	for _, l := range results {
		for _, r := range l.rows {
			x := r.truth
			fmt.Fprintf(&b, "| %s | %s %s AS%d | %s | %d | %d | ", l.scene.Name, x.Kind, x.Form, x.Leaker, cmp.Or(x.Adjacency, "–"), x.Prefixes, x.Peers)
			if r.said == nil {
				b.WriteString("**見逃し / missed** | – | – | – |\n")
				continue
			}
			var signs []string
			for _, s := range r.said.Signals {
				signs = append(signs, s.Name)
			}
			extra := slices.Clone(r.extra)
			if r.said.Form != x.Form && x.Form != "" && !slices.Contains(x.Also, r.said.Form) {
				extra = append(extra, "form: "+cmp.Or(r.said.Form, "–"))
			}
			fmt.Fprintf(&b, "%.1f s | %.2f | %s | %s |\n", r.said.Detected.Sub(x.First).Seconds(), r.said.Confidence, strings.Join(signs, ", "), cmp.Or(strings.Join(extra, "; "), "–"))
		}
	}
	if len(files) > 0 {
		b.WriteString("\n## 実際の記録 / Recorded incidents and ordinary files\n\n| ファイル / file | 要素 / elements | 事象 / incidents |\n|---|---|---|\n")
		for _, f := range files {
			fmt.Fprintf(&b, "| %s | %d | %s |\n", f.name, f.elements, cmp.Or(strings.Join(f.said, "; "), "なし / none"))
		}
	}
	b.WriteString("\n## 残る誤り / What is wrong all the same\n\n")
	misses := slices.Concat(all.misses, calm.misses)
	for _, m := range misses {
		fmt.Fprintf(&b, "- %s\n", strings.NewReplacer("|", "\\|", "`", "'").Replace(m))
	}
	if len(misses) == 0 {
		b.WriteString("なし / none\n")
	}
	b.WriteString("\n## 場面 / Scenes\n\n| 場面 / scene | 内容 / what is in it |\n|---|---|\n")
	for _, l := range results {
		fmt.Fprintf(&b, "| %s | %s / %s |\n", l.scene.Name, l.scene.JA, l.scene.EN)
	}
	return b.String()
}
