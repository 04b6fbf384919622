package gates_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/detect"
	"sakimori/respond/casework"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/vault"
	"sakimori/sim"
)

// townDays are enough for somebody to be told, cleaned, quiet for a week, infected again
// and cleaned again.
const townDays = 34

// subscribers are what is measured on a town: here not one may be accused wrongly.
func subscribers() []*detector {
	return []*detector{
		{name: "reports", strict: true, judge2: judgeReports, ja: "通報の加入者(仮名)への帰属。名指しできない通報は誰にも帰属させない", en: "reports given to the subscriber whom they are about, and those that can't be told to nobody"},
		{name: "telescope", strict: true, judge2: judgeTelescope, ja: "自社の検知の加入者への帰属(共有アドレスは定義外)", en: "the telescope's findings given to their subscriber; shared addresses are beyond it"},
		{name: "cases", strict: true, judge2: judgeCases, ja: "案件になった加入者", en: "subscribers with a case: those who were infected"},
		{name: "course", strict: true, judge2: judgeCourse, ja: "案件の経過(駆除後の終了、再発)", en: "how cases go: clean after a clean-up, relapsed after a relapse, and never clean meanwhile"},
	}
}

// townOutcome is a town with what the binary made of it.
type townOutcome struct {
	truth   sim.TownTruth
	lines   map[string]string // of each pseudonym
	cases   []shownCase
	nobody  []casework.Sign
	reports map[string]sim.Told   // by source and time
	address map[string]netip.Addr // of a finding, by the beginning of its signs' names
}

type shownCase struct {
	casework.Case

	Signs []casework.Sign `json:"signs"`
}

// liveTown has a town written by the binary, imported by it, and asks for the cases.
func liveTown(t *testing.T) townOutcome {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	files, data := filepath.Join(dir, "town"), filepath.Join(dir, "data")
	at := func(name string) string { return filepath.Join(files, name) }
	run := func(args ...string) {
		if _, err := program.Run(ctx, args...); err != nil {
			t.Fatalf("sakimori %s: %v", strings.Join(args, " "), err)
		}
	}
	run("sim", "subscribers", "--out", files, "--lines", "1000", "--infected", "100", "--days", fmt.Sprint(townDays), "--seed", fmt.Sprint(*seed+1), "--start", "2026-08-03", "--progress", "none")
	with := []string{"--data", data, "--config", at("sakimori.yaml")}
	// The same accounting twice, in two forms: it changes nothing.
	run(append([]string{"import", "subscriber", "--secret", sim.Secret, at("radius.pcap"), at("cgn.log"), at("detail")}, with...)...)
	run(append([]string{"import", "telescope", "--progress", "none", at("telescope.pcap")}, with...)...)
	all, err := filepath.Glob(at("reports/*.csv"))
	if err != nil || len(all) != len(sim.ReportTypes) {
		t.Fatal(err, all)
	}
	for i, typ := range sim.ReportTypes {
		file := all[slices.IndexFunc(all, func(s string) bool { return strings.HasSuffix(s, "-"+typ+".csv") })]
		run(append([]string{"import", "reports", "--source", sim.ReportTypes[i], "--format", "shadowserver", file}, with...)...)
	}
	o := townOutcome{lines: map[string]string{}, reports: map[string]sim.Told{}, address: map[string]netip.Addr{}}
	raw, err := os.ReadFile(at("truth.json"))
	if err == nil {
		err = json.Unmarshal(raw, &o.truth)
	}
	if err != nil {
		t.Fatal(err)
	}
	o.ask(ctx, t, data, with)
	return o
}

func (o *townOutcome) ask(ctx context.Context, t *testing.T, data string, with []string) {
	t.Helper()
	keys, err := vault.LoadKeys(filepath.Join(data, "subscriber.keys"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range o.truth.Lines {
		o.lines[subscriber.Subject(keys.Pseudonym(line))] = line
	}
	for _, x := range o.truth.Reports {
		o.reports[x.Type+x.At.UTC().Format(time.RFC3339)] = x
	}
	var list []casework.Case
	ask(ctx, t, &list, append([]string{"case", "list", "-o", "json"}, with...)...)
	for _, c := range list {
		var x shownCase
		ask(ctx, t, &x, append([]string{"case", "show", c.ID, "-o", "json"}, with...)...)
		o.cases = append(o.cases, x)
	}
	ask(ctx, t, &o.nobody, append([]string{"case", "list", "--nobody", "-o", "json"}, with...)...)
	o.findings(ctx, t, data)
}

// findings asks of which address each finding is: the names of its signs don't tell. A
// data folder that nobody serves tells its owner addresses in full.
func (o *townOutcome) findings(ctx context.Context, t *testing.T, data string) {
	t.Helper()
	const span = 4 * 24 * time.Hour
	for from := o.truth.Start; from.Before(o.truth.End.Add(span)); from = from.Add(span) {
		var list struct {
			Rows []detect.Finding `json:"rows"`
			Next string           `json:"next"`
		}
		ask(ctx, t, &list, "finding", "list", "--data", data, "--detector", "infected", "--limit", "500", "-o", "json",
			"--from", from.Format(time.RFC3339), "--to", from.Add(span).Format(time.RFC3339))
		if list.Next != "" {
			t.Errorf("there are more than 500 findings from %s", from)
		}
		for _, f := range list.Rows {
			sum := sha256.Sum256([]byte(f.ID))
			addr, err := netip.ParseAddr(f.Subject)
			if err != nil {
				t.Fatal(err)
			}
			o.address["telescope:"+hex.EncodeToString(sum[:16])] = addr
		}
	}
}

func (o *townOutcome) report(s *casework.Sign) (sim.Told, bool) {
	x, is := o.reports[s.Source+s.At.UTC().Format(time.RFC3339)]
	return x, is
}

// judgeReports: a report is given to the line that it is about, or to nobody.
func judgeReports(_ *testing.T, o *townOutcome, s *score) {
	given := map[string]bool{}
	for i := range o.cases {
		c := &o.cases[i]
		for k := range c.Signs {
			x := &c.Signs[k]
			if x.Source == "telescope" {
				continue
			}
			told, is := o.report(x)
			s.claim(is && told.Line != "" && told.Line == o.lines[c.Subject], "%s: a report of %s (%s, really of %q: %s)", o.lines[c.Subject], told.Address, x.Verdict, told.Line, told.Why)
			given[told.Type+told.At.UTC().Format(time.RFC3339)] = true
		}
	}
	for key, x := range o.reports {
		if x.Why != "infected" {
			s.beyond++ // nobody is to be named, or it is as good
			continue
		}
		s.want(given[key], "report of %s at %s, by %s", x.Address, x.At, x.Type)
	}
}

// had tells whether an infected line had the address at a time, to the second.
func (o *townOutcome) had(line string, addr netip.Addr, at time.Time) bool {
	return slices.ContainsFunc(o.truth.Uses, func(u sim.Tenure) bool {
		return u.Line == line && u.Address == addr && at.Add(time.Second).After(u.From) && at.Before(u.To)
	}) && slices.ContainsFunc(o.truth.Infected, func(x sim.Spell) bool {
		return x.Line == line && at.Add(time.Second).After(x.From) && (x.To.IsZero() || at.Before(x.To))
	})
}

// judgeTelescope: a sign of our own detector is of a line that was infected then and had
// the address.
func judgeTelescope(_ *testing.T, o *townOutcome, s *score) {
	seen := map[string][]time.Time{}
	for i := range o.cases {
		c := &o.cases[i]
		line := o.lines[c.Subject]
		for k := range c.Signs {
			x := &c.Signs[k]
			if x.Source != "telescope" {
				continue
			}
			name, _, _ := strings.Cut(x.ID, "@")
			addr := o.address[name]
			s.claim(addr.IsValid() && o.had(line, addr, x.At), "%s (%s) at %s: %s", x.ID, addr, x.At, line)
			seen[line] = append(seen[line], x.At)
		}
	}
	for i := range o.truth.Infected {
		x := &o.truth.Infected[i]
		if x.Shared {
			s.beyond++
			continue
		}
		s.want(slices.ContainsFunc(seen[x.Line], func(at time.Time) bool {
			return at.Add(time.Second).After(x.From) && (x.To.IsZero() || at.Before(x.To))
		}), "%s from %s to %s", x.Line, x.From, x.To)
	}
}

func judgeCases(_ *testing.T, o *townOutcome, s *score) {
	infected, opened := map[string]bool{}, map[string]bool{}
	for i := range o.truth.Infected {
		infected[o.truth.Infected[i].Line] = true
	}
	for i := range o.cases {
		line := o.lines[o.cases[i].Subject]
		s.claim(infected[line], "a case of %s, who wasn't infected", line)
		opened[line] = true
	}
	for line := range infected {
		s.want(opened[line], "no case of %s", line)
	}
}

// doubts counts the signs that were given to nobody, by the reason.
func (o *townOutcome) doubts() string {
	why, n := map[string]int{}, 0
	for i := range o.nobody {
		x := &o.nobody[i]
		source := "通報 / report"
		if x.Source == "telescope" {
			source = "検知 / finding"
		}
		why[fmt.Sprintf("| %s | %s |", source, x.Verdict)]++
		n++
	}
	rows := make([]string, 0, len(why))
	for k, c := range why {
		rows = append(rows, fmt.Sprintf("%s %d |", k, c))
	}
	slices.Sort(rows)
	var b strings.Builder
	w := bufio.NewWriter(&b)
	moved := 0
	for _, x := range o.reports {
		if x.Moved {
			moved++
		}
	}
	fmt.Fprintf(w, "回線 %d、感染 %d、通報 %d(うち誰も名指しできないもの %d)。通報を読む時点でアドレスが別の加入者に渡っていたもの %d。\n", len(o.truth.Lines), len(o.truth.Infected), len(o.reports), o.untellable(), moved)
	fmt.Fprintf(w, "%d lines, %d infections, %d reports, of which %d can be told of nobody. The address of %d had passed to another subscriber when they were read.\n\n", len(o.truth.Lines), len(o.truth.Infected), len(o.reports), o.untellable(), moved)
	fmt.Fprintf(w, "誰にも帰属させなかった兆候 / signs given to nobody: %d\n\n| 兆候 / sign | 理由 / why | 件数 / number |\n|---|---|---|\n%s\n", n, strings.Join(rows, "\n"))
	_ = w.Flush() // into a builder
	return b.String()
}

func (o *townOutcome) untellable() (n int) {
	for _, x := range o.reports {
		if x.Line == "" {
			n++
		}
	}
	return n
}

// judgeTown is the gate of attribution and cases.
func judgeTown(t *testing.T) (all []*detector, about string) {
	t.Helper()
	o := liveTown(t)
	all = subscribers()
	for _, d := range all {
		d.judge2(t, &o, &d.total)
		for _, m := range d.total.misses[:min(len(d.total.misses), 10)] {
			t.Logf("%s: %s", d.name, m)
		}
		if why := d.fails(); why != "" {
			t.Errorf("%s: %s", d.name, why)
		}
	}
	return all, o.doubts()
}
