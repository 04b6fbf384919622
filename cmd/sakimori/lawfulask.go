package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/base/yaml"
	"sakimori/lawful"
)

// question is a file for `lawful ask`.
type question struct {
	Measure lawful.Measure `yaml:"measure"`
	Purpose string         `yaml:"purpose"`
	Who     string         `yaml:"who"`
	Rule    string         `yaml:"rule"`
	At      time.Time      `yaml:"at"`
	Until   time.Time      `yaml:"until"`
	Scope   struct {
		Prefixes   []string `yaml:"prefixes"`
		Subjects   []string `yaml:"subjects"`
		Consenting string   `yaml:"consenting"`
		Window     struct {
			From  time.Time `yaml:"from"`
			Until time.Time `yaml:"until"`
		} `yaml:"window"`
		Ports    []uint16 `yaml:"ports"`
		Features []string `yaml:"features"`
		To       []string `yaml:"to"`
	} `yaml:"scope"`
	Facts lawful.Facts `yaml:"facts"`
}

// request reads a question.
func (q *question) request() (lawful.Request, error) {
	r := lawful.Request{Measure: q.Measure, Purpose: q.Purpose, Who: q.Who, Rule: q.Rule, Until: q.Until, Facts: q.Facts, Scope: lawful.Scope{
		Subjects: q.Scope.Subjects, Consenting: q.Scope.Consenting, Window: lawful.Window(q.Scope.Window),
		Ports: q.Scope.Ports, Features: q.Scope.Features, To: q.Scope.To,
	}}
	if r.Who == "" {
		r.Who = "ask"
	}
	for _, s := range q.Scope.Prefixes {
		p, err := parsePrefix(s, "scope")
		if err != nil {
			return r, err
		}
		r.Scope.Prefixes = append(r.Scope.Prefixes, p)
	}
	return r, nil
}

func newLawfulAsk(rules *string) *cobra.Command {
	var format, path string
	c := &cobra.Command{
		Use: "ask -f FACTS", Short: "Try whether something would be granted, and if not, why / 認められるかを試算する", Args: noArgs,
		Long: `Answers as the gate would, on the facts as they are stated: 0 granted, 1 refused, 2 wrong
use. What the gate itself would verify (findings, consents, terms) is believed here, and
marked. Nothing is granted and nothing is written down. JSON is read, too; - reads
standard input.

記入された事実に基づき、判定と同じ答えを示します(終了コード 0: 認められる、1: 認められない、
2: 使い方の誤り)。実際の判定で照会するもの(検知、同意、約款)は、ここでは記入のとおりとみなし、
その旨を示します。許可は与えられず、何も記録されません。`,
		Example: `  sakimori lawful ask -f facts.yaml

  facts.yaml:
    measure: filter
    purpose: keep the resolver alive
    scope: {prefixes: [203.0.113.7], features: ["udp src port 123"]}
    facts:
      finding: ddos-17
      harm: resolver at 97 % of its capacity
      harm_at: "2026-11-26T12:00:00+09:00"
      alternatives: ["rate limit at the edge: the line itself is full"]
      collateral: 0.02`,
		RunE: func(c *cobra.Command, _ []string) error {
			g, err := readGuideline(*rules)
			if err != nil {
				return err
			}
			d, err := ask(c, &g, path)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if format == "json" {
				err = printJSON(c.OutOrStdout(), d)
			} else {
				printDecision(c.OutOrStdout(), &g, &d)
			}
			if err == nil && d.Outcome == lawful.Refused {
				return &exitError{code: exitFailed}
			}
			return err
		},
	}
	c.Flags().StringVarP(&path, "facts", "f", "", "file with the measure, its scope and the facts")
	outputTwo(c, &format)
	return c
}

// readQuestion reads a file for ask, or standard input.
func readQuestion(c *cobra.Command, path string) (q question, err error) {
	var b []byte
	switch path {
	case "":
		return q, errors.New("name a file with -f: `sakimori lawful ask --help` shows one")
	case "-":
		b, err = io.ReadAll(io.LimitReader(c.InOrStdin(), 1<<21))
	default:
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return q, fmt.Errorf("facts: %w", err)
	}
	if err := yaml.Decode(b, &q); err != nil {
		return q, fmt.Errorf("facts %s: %w", path, err)
	}
	return q, nil
}

func ask(c *cobra.Command, g *lawful.Guideline, path string) (d lawful.Decision, err error) {
	q, err := readQuestion(c, path)
	if err != nil {
		return d, err
	}
	r, err := q.request()
	if err != nil {
		return d, err
	}
	at := q.At
	if at.IsZero() {
		at = time.Now()
	}
	return g.Try(c.Context(), r, at)
}

func printDecision(w io.Writer, g *lawful.Guideline, d *lawful.Decision) {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	rule, known := g.Rule(d.Rule)
	if d.Outcome == lawful.Refused {
		r := lawful.Refusal{Measure: d.Measure, Missing: d.Missing}
		if known {
			r.Rule, r.Title = rule.ID, rule.Title
		}
		p("%s", pick(r.Text()))
		return
	}
	p(say("認められます(%s)。規則 %s「%s」", "Granted (%s), by rule %s, %q"), d.Measure, rule.ID, pick(rule.Title))
	if d.Outcome == lawful.Waiting {
		p("%s", say("ただし、二人目の承認が必要です。承認時に全要件を再確認します。", "But a second person must agree; all conditions are verified again then."))
	} else {
		p("%s %s", say("期限:", "until"), d.Until.Format(time.RFC3339))
	}
	for _, proof := range d.Proofs {
		how := say("範囲から確認", "seen from the scope")
		if !proof.Verified {
			how = say("記入のとおり。ここでは確認していません", "as stated; not verified here") + asked(rule, proof.Condition)
		}
		p("- %s: %s", proof.Condition, how)
	}
}

// asked says whom a gate would ask.
func asked(r *lawful.Rule, condition string) string {
	i := slices.IndexFunc(r.Conditions, func(c lawful.Condition) bool { return c.Name == condition })
	switch check := r.Conditions[i].Check; {
	case strings.HasPrefix(check, "finding"):
		return say("(実際には検知を照会します)", " (the gate looks at the finding)")
	case check == "consent" || check == "terms":
		return say("(実際には同意台帳に照会します)", " (the gate asks the register of consents)")
	}
	return ""
}
