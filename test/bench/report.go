//go:build linux

package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// section is one part's table with the words around it.
type section struct {
	title string // 日本語 / English
	head  []string
	rows  [][]string
	notes []string
}

// report is everything that was measured.
type report struct {
	machine  *machine
	sections []section
	whole    []*figure // the imports with a store, if they ran
	slow     []string  // questions of the console beyond the aim
	asked    int
	latency  []step
	taken    float64 // accounting records/s, live
	memory   float64 // the same without sockets
	kept     keeping
	keptCost cost
	names    *named

	detecting detecting
	flows     flowsTold
	routes    routesFigures
	faults    []string // results that aren't true
}

// The aims of the project.
const (
	aimRate   = 8.1e6 // packets/s: 701 billion, NICTER's 2025, in a day
	leastRate = 3e6
	mostRSS   = 2 << 30
	mostP95   = 100 * time.Millisecond
)

func (s *section) row(cells ...string) { s.rows = append(s.rows, cells) }

func (s *section) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// text is the section in Markdown, its table aligned for reading as it is.
func (s *section) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %s\n\n", s.title)
	if len(s.rows) > 0 {
		width := make([]int, len(s.head))
		for _, r := range append([][]string{s.head}, s.rows...) {
			for i, c := range r {
				width[i] = max(width[i], utf8.RuneCountInString(c))
			}
		}
		line := func(r []string) {
			for i := range s.head {
				c := ""
				if i < len(r) {
					c = r[i]
				}
				fill := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
				if i > 0 { // figures to the right
					b.WriteString("| " + fill + c + " ")
				} else {
					b.WriteString("| " + c + fill + " ")
				}
			}
			b.WriteString("|\n")
		}
		line(s.head)
		for i := range s.head {
			if i > 0 {
				b.WriteString("|" + strings.Repeat("-", width[i]+1) + ":")
			} else {
				b.WriteString("|" + strings.Repeat("-", width[i]+2))
			}
		}
		b.WriteString("|\n")
		for _, r := range s.rows {
			line(r)
		}
		if len(s.notes) > 0 {
			b.WriteString("\n")
		}
	}
	for _, n := range s.notes {
		b.WriteString("- " + n + "\n")
	}
	return b.String()
}

// verdict holds the figures against the aims.
func (r *report) verdict() section {
	v := section{title: "目標と結果 / Aims and outcome", head: []string{"目標 / aim", "結果 / outcome", ""}}
	met := func(ok bool) string {
		if ok {
			return "達成 / met"
		}
		return "未達 / not met"
	}
	for _, f := range r.whole {
		of := fmt.Sprintf("(%s packets)", million(float64(f.packets)))
		if f.err != nil {
			v.row("import "+of, f.err.Error(), met(false))
			continue
		}
		rate := f.rate(f.median().wall)
		said := fmt.Sprintf("%s packets/s", million(rate))
		v.row("全体で 8.1 M packets/s / the whole pipeline "+of, said, met(rate >= aimRate))
		v.row("最低 3 M packets/s / at least "+of, said, met(rate >= leastRate))
		v.row("メモリ 2 GiB 未満 / memory below "+of, mib(f.rss())+" MiB", met(f.rss() < mostRSS))
	}
	if r.asked > 0 {
		said := fmt.Sprintf("%d / %d", r.asked-len(r.slow), r.asked)
		v.row("コンソールの p95 < 100 ms / console", said, met(len(r.slow) == 0))
		if len(r.slow) > 0 {
			v.note("100 ms を超えた問い / questions beyond 100 ms: %s", strings.Join(r.slow, "; "))
		}
	}
	r.subscribers(&v, met)
	r.listed(&v, met)
	r.flooded(&v, met)
	r.routed(&v, met)
	for _, f := range r.faults {
		v.note("**誤り / wrong: %s**", f)
	}
	return v
}

// when tells of a run what its figures depend on.
func (m *machine) when() string {
	said := fmt.Sprintf("%s、コミット %s、%s × %d。測定中、ほかのプログラムが CPU の %.0f %%、仮想化基盤が %.0f %% を使った(負荷 %s → %s)。/ Measured with commit %s; meanwhile other programs took %.0f %% of the processors, the hypervisor %.0f %%; load average %s at the start, %s at the end.",
		m.began.UTC().Format("2006-01-02 15:04 UTC"), m.commit, m.model, m.processors, 100*m.others, 100*m.steal, m.load0, m.load1, m.commit, 100*m.others, 100*m.steal, m.load0, m.load1)
	if m.others > 0.1 || m.steal > 0.1 {
		said += " **機械は静かではなかった。比だけが意味を持つ。/ The machine wasn't quiet: only the ratios mean something.**"
	}
	return said
}

// subscribers are the aims of attribution.
func (r *report) subscribers(v *section, met func(bool) string) {
	if r.taken > 0 {
		v.row("課金記録 10 万件/秒、送信側と同じ 2 コア / accounting taken live, beside its sender", thousands(uint64(r.taken))+" records/s", met(r.taken >= aimTaken))
	}
	if r.memory > 0 {
		v.row("課金記録 10 万件/秒、ソケットなし / the same without sockets", thousands(uint64(r.memory))+" records/s", met(r.memory >= aimTaken))
	}
	if k := r.kept; k.Records > 0 {
		v.row("通報 100 万行の特定 60 秒未満 / a million report rows attributed", seconds(k.Million)+" s", met(k.Million < aimMillion))
		v.row("照会の p99 < 5 ms / one look-up", fmt.Sprintf("%.3f ms (%s records)", milli(k.P99), million(float64(k.Records))), met(k.P99 < aimLookUp))
	}
}

// listed are the aims of the C&C list.
func (r *report) listed(v *section, met func(bool) string) {
	n := r.names
	if n == nil {
		return
	}
	v.row("AXFR 100 万規則 < 0.6 s / a million rules", fmt.Sprintf("%.3f s", n.transfer.Seconds()), met(n.transfer < aimTransfer))
	v.row("その間のメモリ < 150 MB / memory meanwhile", fmt.Sprintf("%.0f MB", float64(n.served)/1e6), met(n.served < aimServed))
	for _, who := range slices.Sorted(maps.Keys(n.visible)) {
		v.row("変更が 2 秒以内に / a change within 2 s: "+who, fmt.Sprintf("%.3f s", n.visible[who].Seconds()), met(n.visible[who] < aimVisible))
	}
	v.row("100 万行の一覧 < 30 s / a feed of a million rows", seconds(n.feed)+" s", met(n.feed < aimFeed))
	v.row("dnstap 500,000 frames/s、1 コア、損失なし / on one core, none lost", fmt.Sprintf("%s frames/s of CPU, %s lost", thousands(uint64(n.tap)), thousands(n.tapLost)), met(n.tap >= aimTap && n.tapLost == 0))
}

// flooded are the aims of taking flows and finding floods in them.
func (r *report) flooded(v *section, met func(bool) string) {
	if d := r.detecting; d.known {
		v.row("洪水を 2 秒以内に検知 / floods told within 2 s", fmt.Sprintf("%.2f s at most, %d missed, %d false", d.slowest.Seconds(), d.missed, d.false_), met(d.slowest <= aimFlood && d.missed+d.false_ == 0))
	}
	if f := r.flows; f.known && f.perMillion > 0 { // a quick run has one rate only
		v.row("フロー 100 万件あたり 0.25 CPU-s 以下 / CPU for a million flow records", fmt.Sprintf("%.3f s", f.perMillion), met(f.perMillion <= aimFlows))
		v.row("60 万フロー/秒、1 コア、損失なし / 600,000 records/s on one core, none lost", fmt.Sprintf("%s records/s, %s lost", thousands(uint64(f.at)), thousands(f.lost)), met(f.lost == 0 && f.at >= aimFlowsRate*0.98))
	}
}

// wrong is an error if a measured program gave a wrong answer: speed is
// nothing then.
func (r *report) wrong() error {
	if len(r.faults) == 0 {
		return nil
	}
	return errors.New("wrong results: " + strings.Join(r.faults, "; "))
}

// page is docs/bench.md: what was measured now, and of the page as it was the parts
// that weren't. Each part says when and on how quiet a machine it was measured.
func (r *report) page(before string) string {
	parts := map[string]string{} // by the letter of their title
	var aims [][]string
	for _, text := range strings.Split(before, "\n## ")[1:] {
		if letter := text[:1]; strings.Contains(allParts, letter) && strings.HasPrefix(text[1:], ". ") {
			parts[letter] = "\n## " + text
		} else {
			aims = tableOf(text)
		}
	}
	for _, s := range r.sections {
		s.note("%s", r.machine.when())
		parts[s.title[:1]] = s.text()
	}
	v := r.verdict()
	v.rows = renewed(aims, v.rows)
	var b strings.Builder
	b.WriteString(`# 性能 / Speed

` + "`make bench`" + ` が測り、` + "`go run ./test/bench -write`" + ` がこのページを書き換えます。手で直さないでください。
` + "`make bench`" + ` measures, and ` + "`go run ./test/bench -write`" + ` writes this page: don't edit it by hand.

`)
	b.WriteString(r.machine.text())
	b.WriteString(v.text())
	for _, letter := range allParts {
		b.WriteString(parts[string(letter)])
	}
	return b.String()
}

// tableOf reads the rows of a table as section.text writes it.
func tableOf(text string) (rows [][]string) {
	for line := range strings.Lines(text) {
		if cells := strings.Split(strings.TrimSpace(line), "|"); len(cells) > 2 {
			row := cells[1 : len(cells)-1]
			for i := range row {
				row[i] = strings.TrimSpace(row[i])
			}
			rows = append(rows, row)
		}
	}
	return rows[min(2, len(rows)):] // without the head and the line below it
}

// renewed are old rows, those of the same aim replaced by new ones, and the other new
// ones after them.
func renewed(old, fresh [][]string) [][]string {
	rows := slices.Clone(old)
	for _, f := range fresh {
		if i := slices.IndexFunc(rows, func(r []string) bool { return r[0] == f[0] }); i >= 0 {
			rows[i] = f
		} else {
			rows = append(rows, f)
		}
	}
	return rows
}

// Figures as people read them.

func million(rate float64) string { return fmt.Sprintf("%.2f M", rate/1e6) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()) }

func mib(n int64) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("%d", (n+1<<19)>>20)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }

// thousands writes a count with its groups set apart.
func thousands[T ~int | ~int64 | ~uint64](n T) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
