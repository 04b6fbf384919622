package gates_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"sakimori/sim"
)

func detectors() []*detector {
	return []*detector{
		{name: "scanners", judge: scanners, ja: "探索元(送信元・ポート・プロトコルごと。垂直走査は送信元ごと)", en: "who scans, by source, port and protocol; vertical scans by source"},
		{name: "tools", judge: tools, ja: "走査ツールの名前と版", en: "the scanning tool's name and versions"},
		{name: "infected", judge: infected, ja: "感染した自社アドレス(文書と検知結果)", en: "infected own addresses, in the document and as findings"},
		{name: "family", judge: family, ja: "マルウェアの系統", en: "what infected them"},
		{name: "ddos", judge: victims, ja: "攻撃の被害者(アドレス・サービス・パケット数の一致)", en: "victims, by address and service, with exactly the true number of packets"},
		{name: "ddos findings", judge: attacks, ja: "攻撃ごとの検知結果", en: "the findings, one for each attack"},
		{name: "surge", judge: surges, ja: "急増(ポート・国・AS)", en: "rises of ports, countries and AS"},
		{name: "innocents", judge: innocents, innocents: true, ja: "設定の誤りや一般利用者(告発しないこと)", en: "the misconfigured and the benign, accused of nothing"},
		{name: "totals", judge: totals, innocents: true, ja: "合計と分類の数(一致した値の割合)", en: "totals, classes and counts by port: figures that are equal"},
	}
}

// TestGates is the gate of the house's detectors.
func TestGates(t *testing.T) {
	scenes := sim.Labelled()
	if !testing.Short() {
		a := sim.Autumn2016(1)
		scenes = append([]sim.NamedScene{{Name: a.Name, Scene: a, JA: "2016年秋の1日", EN: "a day of autumn 2016"}}, scenes...)
	}
	for i := range scenes {
		scenes[i].Scene.Seed += *seed
	}
	bare := withoutGeography(t)
	all := detectors()
	results := map[string][]score{}
	var mu sync.Mutex
	t.Run("scene", func(t *testing.T) {
		for _, s := range scenes {
			t.Run(s.Name, func(t *testing.T) {
				t.Parallel()
				o := play(t, s.Scene)
				if bare {
					o.truth.Surges = slices.DeleteFunc(slices.Clone(o.truth.Surges), func(x sim.Surge) bool { return x.Dim == "country" })
				}
				o.prove(t)
				scores := make([]score, len(all))
				for i, d := range all {
					d.judge(&o, &scores[i])
				}
				mu.Lock()
				defer mu.Unlock()
				results[s.Name] = scores
			})
		}
	})
	var town []*detector
	var about string
	if !testing.Short() {
		t.Run("town", func(t *testing.T) { town, about = judgeTown(t) })
	}
	if t.Failed() {
		return // there is no table of half the scenes
	}
	for _, name := range slices.Sorted(maps.Keys(results)) {
		for i, d := range all {
			r := &results[name][i]
			d.total.add(r)
			for _, m := range r.misses[:min(len(r.misses), 10)] {
				t.Logf("%s, %s: %s", name, d.name, m)
			}
			if n := len(r.misses) - 10; n > 0 {
				t.Logf("%s, %s: … and %d more", name, d.name, n)
			}
		}
	}
	for _, d := range all {
		if why := d.fails(); why != "" {
			t.Errorf("%s: %s", d.name, why)
		}
	}
	t.Logf("over %d scenes:\n%s\nover a town:\n%s\n%s", len(scenes), table(all), table(town), about)
	if *update && *seed == 0 && !t.Failed() && !testing.Short() {
		page := filepath.Join(root, "docs", "gates.md")
		if err := os.WriteFile(page, []byte(document(scenes, all, town, about)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// table is the reckoning as markdown.
func table(all []*detector) string {
	var b strings.Builder
	b.WriteString("| 検知 / detector | 主張 / claims | 正しい / right | 適合率 / precision | 正解 / wanted | 発見 / found | 再現率 / recall | 定義未満 / below definition | 遅れ(中央値・最長)/ delay (median, longest) |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, d := range all {
		s := &d.total
		wanted, found, recall := fmt.Sprint(s.wanted), fmt.Sprint(s.found), fmt.Sprintf("%.5f", s.recall())
		if d.innocents {
			wanted, found, recall = "–", "–", "–"
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %.5f | %s | %s | %s | %d | %s |\n", d.name, s.claims, s.right, s.precision(), wanted, found, recall, s.beyond, s.delay())
	}
	return b.String()
}
