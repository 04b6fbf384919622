package gates_test

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// floodPage is the page that is kept.
func floodPage(results []*flood, all, calm *score, notes int) string {
	var b strings.Builder
	var evidence []time.Duration
	for _, f := range results {
		for _, r := range f.rows {
			if r.found && !r.beyond {
				evidence = append(evidence, r.evidence)
			}
		}
	}
	slices.Sort(evidence)
	median, most := time.Duration(0), time.Duration(0)
	if n := len(evidence); n > 0 {
		median, most = evidence[n/2], evidence[n-1]
	}
	fmt.Fprintf(&b, `# 攻撃検知の適合率・再現率・遅れ / Precision, recall and delay of the detection of floods

測定日 / measured on %s (`+"`go test ./test/gates -run TestFloods -update`"+`)

模擬のフロー %d 場面(`+"`sakimori sim flow --list`"+`)を収集器と検知器に通し、正解と突き合わせました。標的・向き・主な手口が
そろって正しい主張だけを正しいとし、同じ攻撃を二度言えば誤りとします。適合率 %.2f、再現率 %.2f を下回るとテストは失敗し、無実の
通信は一つも告発してはなりません。しきい値は既定値で、これを下回る攻撃は「定義未満」です。サンプリングは場面ごとに 1:1 から 1:200,000 です。

%d scenes of made-up flows went through the collector and the detector, and what was said is compared with the truth. A claim is
right if target, direction and main vector are; saying an attack twice is wrong. The test fails below precision %.2f or recall
%.2f, and if a single innocent one is accused. Thresholds are the default; attacks below them are "below definition". Routers
sample 1:1 to 1:200,000, as the scene says.

| | 主張 / claims | 正しい / right | 適合率 / precision | 正解 / wanted | 発見 / found | 再現率 / recall | 定義未満 / below definition |
|---|---|---|---|---|---|---|---|
| 攻撃 / attacks | %d | %d | %.4f | %d | %d | %.4f | %d |
| 無実 / innocents | %d | %d | %.4f | – | – | – | – |

形に攻撃らしさのない増加は注記にとどめ、主張に数えません(%d 件)。
What rises without the form of an attack is a note and no claim (%d).

## 遅れ / Delay

「開始から」は攻撃が始まって(徐々に増える攻撃では最大の 3 分の 1 を超えて)から検知が告げられるまで、「最初の報告から」は
ルーターがその攻撃を初めて伝えてからです。差はルーターの timeout によるもので、検知では縮められません。検知は 1 秒ごとに判断します。最初の報告からの中央値 %.1f 秒、最長 %.1f 秒。

"From onset" counts from the attack's beginning (if it rises, from a third of its peak) to when it is told; "from the first
record" from when a router first told of the attack. What lies between is the router's time-outs, which no detector can shorten.
Decisions are made once a second. From the first record the median is %.1f s, the longest %.1f s.

| 場面 / scene | 標的 / target | 主な手口 / main vector | 開始から / from onset | 最初の報告から / from the first record |
|---|---|---|---|---|
`, time.Now().UTC().Format(time.DateOnly), len(results), leastFloodPrecision, leastFloodRecall, len(results), leastFloodPrecision, leastFloodRecall,
		all.claims, all.right, all.precision(), all.wanted, all.found, all.recall(), all.beyond, calm.claims, calm.right, calm.precision(), notes, notes,
		median.Seconds(), most.Seconds(), median.Seconds(), most.Seconds())
	for _, f := range results {
		for _, r := range f.rows {
			from, record := fmt.Sprintf("%.1f s", r.delay.Seconds()), fmt.Sprintf("%.1f s", r.evidence.Seconds())
			switch {
			case r.beyond && !r.found:
				from, record = "定義未満 / below definition", "–"
			case !r.found:
				from, record = "**見逃し / missed**", "–"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", f.scene.Name, r.target, r.vector, from, record)
		}
	}
	b.WriteString("\n## 残る誤り / What is wrong all the same\n\n")
	for _, m := range slices.Concat(all.misses, calm.misses) {
		fmt.Fprintf(&b, "- %s\n", strings.NewReplacer("|", "\\|", "`", "'").Replace(m))
	}
	if len(all.misses)+len(calm.misses) == 0 {
		b.WriteString("なし / none\n")
	}
	b.WriteString("\n## 場面 / Scenes\n\n| 場面 / scene | 内容 / what is in it |\n|---|---|\n")
	for _, f := range results {
		fmt.Fprintf(&b, "| %s | %s / %s |\n", f.scene.Name, f.scene.JA, f.scene.EN)
	}
	return b.String()
}
