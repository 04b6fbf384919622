package docs_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sakimori/lawful"
	"sakimori/lawful/guideline"
)

var update = flag.Bool("update", false, "write the table of rules into docs/law.md and docs/law.ja.md")

// The pages about the law show the rules as the gate has them.
func TestRulesInPages(t *testing.T) {
	g, err := guideline.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for page, pick := range map[string]func(ja, en string) string{
		"docs/law.md":    func(_, en string) string { return en },
		"docs/law.ja.md": func(ja, _ string) string { return ja },
	} {
		text := read(t, page)
		before, rest, ok := strings.Cut(text, "<!-- rules -->\n")
		_, after, ended := strings.Cut(rest, "<!-- end -->\n")
		if !ok || !ended {
			t.Fatalf("%s has no place for the rules", page)
		}
		want := before + "<!-- rules -->\n" + ruleTable(&g, pick) + "<!-- end -->\n" + after
		if *update {
			if err := os.WriteFile(filepath.Join(root, filepath.FromSlash(page)), []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if text != want {
			t.Errorf("%s shows other rules than the gate has: go test ./test/docs -update", page)
		}
	}
}

func ruleTable(g *lawful.Guideline, pick func(ja, en string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |\n|---|---|---|---|---|---|---|\n", pick("規則 | 措置 | 根拠 | 許される最大限 | 上限の時間 | 期間 | 出典の確認", "Rule | Measures | Ground | At most | Longest | In force | Source"))
	names := lawful.Grounds()
	for i := range g.Rules {
		r := &g.Rules[i]
		var measures, grounds []string
		for _, m := range r.Measures {
			measures = append(measures, "`"+string(m)+"`")
		}
		for _, n := range r.Grounds {
			grounds = append(grounds, pick(names[n].JA, names[n].EN))
		}
		verified := pick("要確認", "to be verified")
		if r.Verified != (lawful.Verified{}) {
			verified = r.Verified.By
		}
		until := ""
		if !r.Until.IsZero() {
			until = r.Until.Format(time.DateOnly)
		}
		fmt.Fprintf(&b, "| %s`%s` | %s | %s | %s | %g h | %s–%s | %s |\n", r.Case, r.ID, strings.Join(measures, ", "), strings.Join(grounds, pick("、", ", ")),
			pick(r.Widest.JA, r.Widest.EN), r.Limits.Longest.Hours(), r.From.Format(time.DateOnly), until, verified)
	}
	return b.String()
}
