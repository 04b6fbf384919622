// Package guideline holds the cases of the guideline on cyber attacks and the secrecy
// of communications as dated rows, with their sources. An operator may narrow them by
// a file of its own, and never widen them.
//
// The cases ①, ② and ③ are those of the last reference page of the paper of October
// 2017. The limits (hours, addresses, per cent) are the house's own: the guideline
// speaks of what is needed and fitting.
package guideline

import (
	"embed"
	"fmt"
	"strings"
	"time"

	"sakimori/base/yaml"
	"sakimori/lawful"
)

//go:embed *.yaml
var files embed.FS

// order is in which order the files' rules are tried.
var order = []string{"facts.yaml", "consent.yaml", "facilities.yaml", "joint.yaml", "routes.yaml"}

// file is a file of rules, or of facts, or of both.
type file struct {
	Facts []fact `yaml:"facts"`
	Rules []row  `yaml:"rules"`
}

type fact struct {
	Name string      `yaml:"name"`
	Kind lawful.Kind `yaml:"kind"`
	JA   string      `yaml:"ja"`
	EN   string      `yaml:"en"`
}

type words struct {
	JA string `yaml:"ja"`
	EN string `yaml:"en"`
}

type verified struct {
	By string `yaml:"by"`
	On string `yaml:"on"`
}

type limits struct {
	Longest    time.Duration `yaml:"longest"`
	Prefixes   int           `yaml:"prefixes"`
	Bits4      int           `yaml:"bits4"`
	Bits6      int           `yaml:"bits6"`
	Subjects   int           `yaml:"subjects"`
	Consenting bool          `yaml:"consenting"`
	Window     time.Duration `yaml:"window"`
	Ports      int           `yaml:"ports"`
	Features   int           `yaml:"features"`
	To         int           `yaml:"to"`
}

type condition struct {
	Name    string           `yaml:"name"`
	Check   string           `yaml:"check"`
	Fact    string           `yaml:"fact"`
	Param   string           `yaml:"param"`
	For     []lawful.Measure `yaml:"for"`
	Missing words            `yaml:"missing"`
	Satisfy words            `yaml:"satisfy"`
}

type row struct {
	ID         string           `yaml:"id"`
	Case       string           `yaml:"case"`
	Title      words            `yaml:"title"`
	Grounds    []lawful.Ground  `yaml:"grounds"`
	Edition    string           `yaml:"edition"`
	Source     string           `yaml:"source"`
	Verified   verified         `yaml:"verified"`
	Note       words            `yaml:"note"`
	From       string           `yaml:"from"`
	Until      string           `yaml:"until"`
	Measures   []lawful.Measure `yaml:"measures"`
	Widest     words            `yaml:"widest"`
	Limits     limits           `yaml:"limits"`
	FourEyes   []lawful.Measure `yaml:"four_eyes"`
	Conditions []condition      `yaml:"conditions"`
}

// Builtin gives the rules that come with the house.
func Builtin() (g lawful.Guideline, err error) {
	for _, name := range order {
		b, err := files.ReadFile(name)
		if err != nil {
			return g, err
		}
		var f file
		if err := yaml.Decode(b, &f); err != nil {
			return g, fmt.Errorf("%s: %w", name, err)
		}
		for _, x := range f.Facts {
			g.Facts = append(g.Facts, x.fact())
		}
		for i := range f.Rules {
			r, err := f.Rules[i].rule()
			if err != nil {
				return g, fmt.Errorf("%s: rule %s: %w", name, f.Rules[i].ID, err)
			}
			g.Rules = append(g.Rules, r)
		}
	}
	return g, g.Validate()
}

func (f fact) fact() lawful.Fact {
	return lawful.Fact{Name: f.Name, Kind: f.Kind, Text: lawful.Text{JA: f.JA, EN: f.EN}}
}

func (w words) text() lawful.Text { return lawful.Text(w) }

func (r *row) rule() (lawful.Rule, error) {
	out := lawful.Rule{
		ID: r.ID, Case: r.Case, Title: r.Title.text(), Grounds: r.Grounds, Edition: r.Edition, Source: r.Source, Note: r.Note.text(),
		Measures: r.Measures, Widest: r.Widest.text(), Limits: lawful.Limits(r.Limits), FourEyes: r.FourEyes,
	}
	var err error
	if out.From, err = day(r.From); err != nil {
		return out, err
	}
	if out.Until, err = day(r.Until); err != nil {
		return out, err
	}
	if out.Verified, err = r.Verified.verified(); err != nil {
		return out, err
	}
	for _, c := range r.Conditions {
		out.Conditions = append(out.Conditions, c.condition())
	}
	return out, nil
}

func (c condition) condition() lawful.Condition {
	return lawful.Condition{
		Name: c.Name, Check: c.Check, Fact: c.Fact, Param: strings.TrimSpace(c.Param), For: c.For,
		Missing: c.Missing.text(), Satisfy: c.Satisfy.text(),
	}
}

func (v verified) verified() (lawful.Verified, error) {
	on, err := day(v.On)
	return lawful.Verified{By: v.By, On: on}, err
}

// japan is where the days of the law begin: nine hours before UTC, all year.
var japan = time.FixedZone("JST", 9*60*60)

// day reads a date as the first moment of that day in Japan; "" is the zero time.
func day(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.ParseInLocation(time.DateOnly, s, japan)
	if err != nil {
		return t, fmt.Errorf("the date %.40q: write it as 2015-11-30", s)
	}
	return t, nil
}
