package main

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/detect/leak"
	"sakimori/observe/route"
)

// routeSources are what files of routes are judged by.
type routeSources struct {
	config, relations, siblings string

	own, roa, aspa []string
	plan           []string
}

func (s *routeSources) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.config, "config", "", "configuration file")
	f.StringArrayVar(&s.own, "own", nil, "PREFIX=AS[,AS…]: own or a customer's space and who may announce it; @FILE reads lines of it")
	f.StringVar(&s.relations, "relations", "", "relations of ASes, in CAIDA's serial-1 or serial-2 form (bz2, gz or plain)")
	f.StringVar(&s.siblings, "siblings", "", "ASes of one organisation, a|b on each line")
	f.StringArrayVar(&s.roa, "roa", nil, "file of validated ROAs: JSON of rpki-client or Routinator, or CSV")
	f.StringArrayVar(&s.aspa, "aspa", nil, "file of validated ASPAs: JSON of rpki-client or Routinator")
	f.StringArrayVar(&s.plan, "plan", nil, "prefix that is no bogon here although IANA says so (a laboratory's)")
}

type routeImportFlags struct {
	routeSources

	data, format, form, progress string
}

func newImportRoute() *cobra.Command {
	var f routeImportFlags
	c := &cobra.Command{
		Use:   "route FILE…",
		Short: "Find leaks and hijacks in files of BGP routes / BGP 経路のファイルから漏えい・乗っ取りを見つける",
		Long: `Reads routes in the order in which the files are named: MRT (tables and updates; plain, gz, bz2,
zstd), captures of BMP or BGP (pcap, pcapng), lines of RIS Live. A table that stands before
updates is what is usual. It prints the totals and the incidents. With --data they are kept,
for sakimori route show and sakimori incident; a file that was kept before isn't kept twice.
--format bgpdump prints each element as bgpdump -m does, and nothing else.

経路を指定順に読みます: MRT(経路表と更新)、BMP・BGP のキャプチャ、RIS Live の行。更新より前に
読んだ経路表を「本来」とします。集計と障害を表示します。--data を付けると保存し、route show と
incident で参照できます。--format bgpdump は bgpdump -m と同じ行だけを出力します。`,
		Example: `  sakimori import route -o json --own 203.0.113.0/24=64500 rib.mrt.gz updates.mrt.gz
  sakimori import route --relations 20161101.as-rel.txt.bz2 --roa rpki.json updates.bz2
  sakimori import route --format bgpdump updates.gz | head`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("name at least one file (see: %s --help)", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args) },
	}
	outputFlag(c, &f.format)
	f.flags(c)
	c.Flags().StringVar(&f.data, "data", "", "data folder in which routes and incidents are kept; none: nothing is kept")
	c.Flags().StringVar(&f.form, "format", "", "bgpdump: print the elements as bgpdump -m does")
	c.Flags().StringVar(&f.progress, "progress", "auto", "auto, plain, json or none")
	fixed(c, "format", "bgpdump")
	return c
}

// routeDocument is what an import of routes came to.
type routeDocument struct {
	Messages      uint64        `json:"messages"`
	Elements      uint64        `json:"elements"` // announcements, withdrawals and entries of tables
	Announcements uint64        `json:"announcements"`
	Withdrawals   uint64        `json:"withdrawals"`
	Prefixes      int           `json:"prefixes"` // distinct
	Peers         []routePeer   `json:"peers"`
	Malformed     uint64        `json:"malformed"`
	First         *time.Time    `json:"first"`
	Last          *time.Time    `json:"last"`
	Incidents     []leak.Result `json:"incidents"`
	Kept          bool          `json:"kept"`
	Errors        []string      `json:"errors"`
}

type routePeer struct {
	Address  string `json:"address"`
	AS       uint32 `json:"as"`
	Elements uint64 `json:"elements"`
}

func (f *routeImportFlags) run(c *cobra.Command, files []string) error {
	switch f.form {
	case "":
	case "bgpdump":
		return dumpRoutes(c, files)
	default:
		return usage("--format %q: only bgpdump is known", f.form)
	}
	cfg, err := readConfig(f.config, os.Environ())
	if err != nil {
		return &exitError{exitUsage, err}
	}
	set, err := f.routeSources.settings(&cfg)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	var keep *routeKeep
	var known map[string]bool // that were kept before
	var part uint64
	if f.data != "" {
		if keep, err = openRouteKeep(c.Context(), f.data); err != nil {
			return err
		}
		defer keep.close()
		if known, part, err = keep.hashFiles(c.Context(), files); err != nil {
			return err
		}
	}
	outs, err := keep.outs(c.Context(), part)
	if err != nil {
		return err
	}
	doc := routeDocument{Peers: []routePeer{}, Incidents: []leak.Result{}, Errors: []string{}}
	run, err := newRouteRun(set, outs...)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if err := doc.read(c, run, f.progress, files, known); err != nil {
		return err
	}
	run.leaks.Finish()
	doc.Prefixes = run.table.Counts().Prefixes
	if list := run.leaks.Results(); len(list) > 0 {
		doc.Incidents = list
	}
	if keep != nil {
		if err := keep.save(c.Context(), run.news()); err != nil {
			return err
		}
		doc.Kept = true
	}
	if err := doc.print(c.OutOrStdout(), f.format); err != nil {
		return err
	}
	if len(doc.Errors) > 0 {
		for _, e := range doc.Errors {
			fmt.Fprintln(c.ErrOrStderr(), "sakimori:", e)
		}
		return &exitError{exitFailed, nil}
	}
	return nil
}

// read reads the files one after the other. What stands before an error counts, and the
// next file is read.
func (d *routeDocument) read(c *cobra.Command, run *routeRun, progressForm string, files []string, known map[string]bool) error {
	peers := map[routePeer]int{}
	var first, last int64
	err := eachFile(c, progressForm, files, &d.Errors, func(name string, r io.Reader) error {
		if known[name] {
			fmt.Fprintln(c.ErrOrStderr(), "sakimori: "+name+say(": 取り込み済みです", ": was imported before"))
			return nil
		}
		got, err := route.ReadFrom(c.Context(), run.table, r, 0, route.ReadOptions{Feed: "files", Each: run.tick})
		d.Messages += got.Messages
		d.Elements += got.Elements
		d.Announcements += got.Announcements
		d.Withdrawals += got.Withdrawals
		d.Malformed += got.Malformed
		if got.First != 0 && (first == 0 || got.First < first) {
			first = got.First
		}
		last = max(last, got.Last)
		for _, p := range got.Peers {
			k := routePeer{Address: p.Address.String(), AS: p.AS}
			i, is := peers[k]
			if !is {
				i = len(d.Peers)
				peers[k] = i
				d.Peers = append(d.Peers, k)
			}
			d.Peers[i].Elements += p.Elements
		}
		return err
	})
	if last != 0 {
		a, b := time.Unix(0, first).UTC(), time.Unix(0, last).UTC()
		d.First, d.Last = &a, &b
	}
	return err
}

func (d *routeDocument) print(w io.Writer, format string) error {
	switch format {
	case "json":
		return printJSON(w, d)
	case "csv":
		rows := make([][]string, 0, len(d.Incidents))
		for i := range d.Incidents {
			r := &d.Incidents[i]
			rows = append(rows, []string{
				r.Kind, r.Form, asCell(r.Leaker), r.Adjacency, fmt.Sprint(r.Prefixes), asCell(r.Origin), asCell(r.Expected),
				r.First.Format(time.RFC3339Nano), r.Last.Format(time.RFC3339Nano), fmt.Sprintf("%.2f", r.Confidence), strings.Join(r.Signals, " "),
			})
		}
		return printRows(w, format, []string{"kind", "form", "leaker", "adjacency", "prefixes", "origin", "expected_origin", "first", "last", "confidence", "signals"}, rows)
	}
	rows := [][]string{
		{say("メッセージ", "messages"), fmt.Sprint(d.Messages)},
		{say("要素", "elements"), fmt.Sprint(d.Elements)},
		{say("広告", "announcements"), fmt.Sprint(d.Announcements)},
		{say("取り消し", "withdrawals"), fmt.Sprint(d.Withdrawals)},
		{say("プレフィックス", "prefixes"), fmt.Sprint(d.Prefixes)},
		{say("ピア", "peers"), fmt.Sprint(len(d.Peers))},
		{say("壊れた記録", "malformed"), fmt.Sprint(d.Malformed)},
	}
	if err := printRows(w, "table", []string{"", ""}, rows); err != nil {
		return err
	}
	for i := range d.Incidents {
		r := &d.Incidents[i]
		fmt.Fprintf(w, say("\n障害: %s %s  %s  プレフィックス %d  起源 %s(本来 %s)  %s–%s  確度 %.2f  %s\n", "\nincident: %s %s  %s  %d prefixes  origin %s (should be %s)  %s–%s  confidence %.2f  %s\n"),
			r.Kind, r.Form, incidentPlace(r), r.Prefixes, asCell(r.Origin), asCell(r.Expected), r.First.Format(time.RFC3339), r.Last.Format(time.TimeOnly), r.Confidence, strings.Join(r.Signals, " "))
	}
	if len(d.Incidents) == 0 {
		fmt.Fprintln(w, say("\n経路の障害は見つかりませんでした。", "\nno incident was found."))
	}
	return nil
}

func incidentPlace(r *leak.Result) string {
	if r.Adjacency != "" {
		return r.Adjacency
	}
	return asName(r.Leaker, "")
}

func asCell(as uint32) string {
	if as == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(as), 10)
}

// ownSpace reads PREFIX=AS[,AS…], or a file of such lines (@FILE).
func ownSpace(words []string) (out []leak.Own, err error) {
	for _, w := range words {
		if name, is := strings.CutPrefix(w, "@"); is {
			b, err := os.ReadFile(name)
			if err != nil {
				return nil, fmt.Errorf("--own: %w", err)
			}
			var lines []string
			for line := range strings.Lines(string(b)) {
				if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
					lines = append(lines, line)
				}
			}
			more, err := ownSpace(lines)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
			continue
		}
		prefix, ases, is := strings.Cut(w, "=")
		p, err := netip.ParsePrefix(strings.TrimSpace(prefix))
		if err != nil || !is {
			return nil, fmt.Errorf("--own %q: write PREFIX=AS, for example 203.0.113.0/24=64500", w)
		}
		o := leak.Own{Prefix: p.Masked()}
		for a := range strings.SplitSeq(ases, ",") {
			n, err := strconv.ParseUint(strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(a)), "AS"), 10, 32)
			if err != nil || n == 0 {
				return nil, fmt.Errorf("--own %q: %q is no AS number", w, a)
			}
			o.Origins = append(o.Origins, uint32(n))
		}
		out = append(out, o)
	}
	return out, nil
}
