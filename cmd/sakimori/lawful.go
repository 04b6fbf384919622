package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/lawful"
	"sakimori/lawful/guideline"
)

func newLawful() *cobra.Command {
	var rules string
	c := &cobra.Command{
		Use: "lawful", Short: "See what is lawful, by which rule, under which conditions / 何がどの規則で許されるかを見る", Args: noArgs,
		Long: `The cases of the guideline on cyber attacks and the secrecy of communications, as the
gate decides by them. Nothing here looks at anybody, and nothing is written down.

「電気通信事業者におけるサイバー攻撃等への対処と通信の秘密に関するガイドライン」の各事例を、
判定に用いるとおりに示します。誰の通信も見ず、何も記録しません。`,
		Example: "  sakimori lawful list\n  sakimori lawful explain block\n  sakimori lawful ask -f facts.yaml",
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.PersistentFlags().StringVar(&rules, "rules", "", "the operator's own file, which narrows the rules")
	c.AddCommand(newLawfulList(&rules), newLawfulExplain(&rules), newLawfulAsk(&rules), newLawfulGrant(&rules), newLawfulGrants(&rules), newLawfulApprove(&rules), newLawfulRevoke(&rules))
	return c
}

// readGuideline is the guideline that comes with the house, narrowed by the
// operator's file if there is one.
func readGuideline(path string) (lawful.Guideline, error) {
	g, err := guideline.Builtin()
	if err != nil || path == "" {
		return g, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return g, &exitError{exitUsage, fmt.Errorf("rules: %w", err)}
	}
	if g, err = guideline.Narrow(g, b); err != nil {
		return g, &exitError{exitUsage, fmt.Errorf("rules %s: %w", path, err)}
	}
	return g, nil
}

func newLawfulList(rules *string) *cobra.Command {
	var format string
	var facts bool
	c := &cobra.Command{
		Use: "list", Short: "List the rules, or the facts that they look at / 規則または事実の一覧", Args: noArgs,
		Example: "  sakimori lawful list\n  sakimori lawful list --facts\n  sakimori lawful list --rules ours.yaml -o csv",
		RunE: func(c *cobra.Command, _ []string) error {
			g, err := readGuideline(*rules)
			if err != nil {
				return err
			}
			if facts {
				return listFacts(c.OutOrStdout(), format, &g)
			}
			return listRules(c.OutOrStdout(), format, &g)
		},
	}
	c.Flags().BoolVar(&facts, "facts", false, "list the vocabulary of facts instead")
	outputFlag(c, &format)
	return c
}

func listRules(w io.Writer, format string, g *lawful.Guideline) error {
	if format == "json" {
		return printJSON(w, g.Rules)
	}
	var rows [][]string
	for i := range g.Rules {
		r := &g.Rules[i]
		rows = append(rows, []string{r.ID, r.Case, join(r.Measures), grounds(r), days(r), verification(r), pick(r.Title)})
	}
	return printRows(w, format, []string{
		say("規則", "RULE"), say("事例", "CASE"), say("措置", "MEASURES"), say("違法性阻却の根拠", "GROUNDS"), say("期間", "IN FORCE"), say("出典の確認", "SOURCE"), say("題", "TITLE"),
	}, rows)
}

func listFacts(w io.Writer, format string, g *lawful.Guideline) error {
	if format == "json" {
		return printJSON(w, g.Facts)
	}
	var rows [][]string
	for _, f := range g.Facts {
		rows = append(rows, []string{f.Name, string(f.Kind), pick(f.Text)})
	}
	return printRows(w, format, []string{say("事実", "FACT"), say("型", "KIND"), say("意味", "MEANING")}, rows)
}

// pick picks the language.
func pick(t lawful.Text) string { return say(t.JA, t.EN) }

func join[T ~string](list []T) string {
	s := make([]string, len(list))
	for i, x := range list {
		s[i] = string(x)
	}
	return strings.Join(s, ", ")
}

func grounds(r *lawful.Rule) string {
	names, list := lawful.Grounds(), []string{}
	for _, n := range r.Grounds {
		list = append(list, pick(names[n]))
	}
	return strings.Join(list, say("、", ", "))
}

// days are the days of a rule in Japan, where they begin and end.
func days(r *lawful.Rule) string {
	s := r.From.Format(time.DateOnly) + "–"
	if !r.Until.IsZero() {
		s += r.Until.Add(-1).Format(time.DateOnly)
	}
	return s
}

func verification(r *lawful.Rule) string {
	if r.Verified == (lawful.Verified{}) {
		return say("要確認", "to be verified")
	}
	return r.Verified.By + " " + r.Verified.On.Format(time.DateOnly)
}

func newLawfulExplain(rules *string) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "explain MEASURE", Short: "Print the rules that speak of a measure / ある措置についての規則を表示",
		Example: "  sakimori lawful explain block\n  sakimori lawful explain sender-by-log -o json",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one measure or one rule (see: %s --help)", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			g, err := readGuideline(*rules)
			if err != nil {
				return err
			}
			list := []lawful.Rule{}
			for _, r := range g.Rules {
				if r.ID == args[0] || r.Speaks(lawful.Measure(args[0])) {
					list = append(list, r)
				}
			}
			switch {
			case len(list) == 0 && !slices.Contains(lawful.Measures(), lawful.Measure(args[0])):
				return usage("no measure or rule %.40q: the measures are %s", args[0], join(lawful.Measures()))
			case format == "json":
				return printJSON(c.OutOrStdout(), list)
			case len(list) == 0:
				fmt.Fprintln(c.OutOrStdout(), say("この措置を認める規則はありません。", "No rule speaks of this measure: it is never granted."))
			}
			for i := range list {
				explainRule(c.OutOrStdout(), &list[i])
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return strings.Split(join(lawful.Measures()), ", "), cobra.ShellCompDirectiveNoFileComp
		},
	}
	outputTwo(c, &format)
	return c
}

// outputTwo adds -o table|json.
func outputTwo(c *cobra.Command, format *string) {
	c.Flags().StringVarP(format, "output", "o", "table", "table or json")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp)) // fails only for an unknown flag
	c.PreRunE = func(*cobra.Command, []string) error {
		if *format != "table" && *format != "json" {
			return usage("-o %s: use table or json", *format)
		}
		return nil
	}
}

func explainRule(w io.Writer, r *lawful.Rule) {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p("%s %s %s", r.ID, r.Case, pick(r.Title))
	p("  %s %s", say("根拠:", "ground:"), grounds(r))
	p("  %s %s  %s %s", say("版:", "edition:"), r.Edition, say("期間:", "in force:"), days(r))
	p("  %s %s", say("出典:", "source:"), r.Source)
	p("  %s %s", say("出典の確認:", "verified:"), verification(r))
	if r.Note != (lawful.Text{}) {
		p("  %s %s", say("注:", "note:"), pick(r.Note))
	}
	p("  %s %s", say("措置:", "measures:"), join(r.Measures))
	p("  %s %s", say("許される最大限:", "at most:"), pick(r.Widest))
	p("  %s %s", say("本システムの上限:", "limits of the house:"), limits(&r.Limits))
	if len(r.FourEyes) > 0 {
		p("  %s %s", say("二人目の承認が必要:", "a second person must agree to:"), join(r.FourEyes))
	}
	p("  %s", say("要件:", "conditions:"))
	for _, c := range r.Conditions {
		p("    %s  (%s%s%s%s)", c.Name, c.Check, before(" ", c.Fact), before(" ", c.Param), before("; ", join(c.For)))
		p("      %s %s", say("欠けるとき:", "when missing:"), pick(c.Missing))
		p("      → %s", pick(c.Satisfy))
	}
	p("  %s %s", say("規則の指紋:", "sum:"), r.Sum())
	p("")
}

func before(mark, s string) string {
	if s == "" {
		return ""
	}
	return mark + s
}

func limits(l *lawful.Limits) string {
	list := []string{say("最長 ", "longest ") + l.Longest.String()}
	n := func(ja, en string, n int) {
		if n > 0 {
			list = append(list, fmt.Sprintf("%s %d", say(ja, en), n))
		}
	}
	n("プレフィックス", "prefixes", l.Prefixes)
	if l.Prefixes > 0 {
		list = append(list, fmt.Sprintf(say("IPv4 /%d・IPv6 /%d より広くない", "none wider than IPv4 /%d, IPv6 /%d"), l.Bits4, l.Bits6))
	}
	n("契約者", "subjects", l.Subjects)
	if l.Consenting {
		list = append(list, say("または同意者全員", "or all who consent"))
	}
	if l.Window > 0 {
		list = append(list, say("ログの時間範囲 ", "window of logs ")+l.Window.String())
	}
	n("ポート", "ports", l.Ports)
	n("特性", "features", l.Features)
	n("提供先", "receivers", l.To)
	return strings.Join(list, say("、", ", "))
}
