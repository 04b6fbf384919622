package gates_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sakimori/sim"
)

// document is the page that is kept: the table, and how it was measured.
func document(scenes []sim.NamedScene, all, town []*detector, about string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# 検知の適合率と再現率 / Precision and recall of the detectors

測定日 / measured on %s (`+"`go test ./test/gates -update`"+`)

## 測り方 / How it was measured

模擬シナリオ %d 本を実際のバイナリで取り込み(`+"`sakimori import telescope --data`"+`)、その文書と検知結果を正解と突き合わせました。
適合率が %.2f、再現率が %.2f を下回るとテストは失敗します。「告発しないこと」と合計は一つの誤りも許しません。

Each of %d scenes of the simulator went through the real binary, and its document and findings were compared with the
truth. The test fails below precision %.2f or recall %.2f; of the innocent and the totals not one may be wrong.

「定義未満」は、正解にはあるが検知の定義に届かないものです。定義は、探索が未使用アドレス 3 個(または 5 分間に 15 ポート)、
攻撃が RSDoS のしきい値、ツール名が 3 パケット、急増が「比較する前日があり、2 時間続けて 2 倍」からです。
増幅器だけを探す送信元は、詐称された被害者かもしれないと断って一覧に載ります(maybe_victim)。その断りのある行は、どちらであっても正しい主張です。
そのような自社アドレスは、詐称できない範囲(telescope.verified)でだけ感染と呼べるので、それ以外は定義未満です。
遅れは、正解の最初のパケットから検知の最初の版までの、データ上の時間です。

"Below definition" is what the truth has, but what is less than the detectors' own definitions: a scan begins at three dark
addresses (or fifteen ports in five minutes), an attack at the RSDoS thresholds, a tool's name at three packets, a surge at
twice the hosts for two hours running, with a day before to compare with. A source that looks for amplifiers alone is listed with
the words that it may be the victim of who forges it (maybe_victim): such a row is right if it is either. An own address of that
kind can be called infected only where nobody can forge it (telescope.verified); elsewhere it is below the definition. The delay is the time in the data from the truth's
first packet to the first version of the finding.

## 結果 / Result

%s
`, time.Now().UTC().Format(time.DateOnly), len(scenes), leastPrecision, leastRecall, len(scenes), leastPrecision, leastRecall, table(all))
	b.WriteString("| 検知 / detector | 何を数えるか / what counts |\n|---|---|\n")
	for _, d := range all {
		fmt.Fprintf(&b, "| %s | %s / %s |\n", d.name, d.ja, d.en)
	}
	fmt.Fprintf(&b, `
## 加入者の特定と案件 / Attribution and cases

模擬の加入者網(`+"`sakimori sim subscribers`"+`、%d 日間)を実際のバイナリに取り込み、通報と検知が誰の案件になったかを正解と突き合わせました。
遅延・重複・欠落した課金記録、ずれた時計、BNG の再起動、NAT、2 秒以内の使い回しを含みます。誤った名指しは一件も許しません。
案件の経過は、帰属した兆候を順に流し、時計を進めて確かめました。

A made-up access network (%d days) went through the real binary, and whose cases reports and findings became was compared with
the truth. Its accounting comes late, twice or never, one clock is off, one BNG is started anew, some lines are behind a
translator, some addresses change hands within two seconds. Not one may be named wrongly. How the cases go was tried with the
signs as they were attributed, one after the other, on a clock that was moved. "Below definition" are reports that can be told of
nobody, and lines behind the translator, whose port a finding doesn't have.

%s
%s
`, townDays, townDays, table(town), about)
	b.WriteString("| 測るもの / measured | 何を数えるか / what counts |\n|---|---|\n")
	for _, d := range town {
		fmt.Fprintf(&b, "| %s | %s / %s |\n", d.name, d.ja, d.en)
	}
	b.WriteString("\n## 残る誤り / What is wrong all the same\n\n")
	none := true
	for _, d := range slices.Concat(all, town) {
		for _, m := range d.total.misses {
			none = false
			fmt.Fprintf(&b, "- %s: %s\n", d.name, strings.NewReplacer("|", "\\|", "`", "'").Replace(m[:min(len(m), 200)]))
		}
	}
	if none {
		b.WriteString("なし / none\n")
	}
	b.WriteString("\n## シナリオ / Scenes\n\n| シナリオ / scene | 内容 / what is in it |\n|---|---|\n")
	for _, s := range scenes {
		fmt.Fprintf(&b, "| %s | %s / %s |\n", s.Name, s.JA, s.EN)
	}
	return b.String()
}
