package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"sakimori/base/yaml"
	"sakimori/observe"
	"sakimori/observe/feed/indicator"
	"sakimori/observe/feed/remote"
)

// feedList is the house's own list, to which readings of others' lists are given.
type feedList interface {
	Begin(ctx context.Context, r remote.Reading) (feedIntake, error)
	Close() error
}

// feedIntake takes one reading; nothing of it counts before Finish.
type feedIntake interface {
	Put(ctx context.Context, batch []observe.Indicator) error
	Finish(ctx context.Context, st indicator.Stats) (feedResult, error)
	Drop()
}

// feedResult is what the list made of a reading.
type feedResult struct {
	New, Known, Gone int
	Protected        []protectedName
	Held             string // why it waits for a person; "" it doesn't
}

type protectedName struct {
	Name string `json:"name"`
	List string `json:"list"`
}

// openFeedList opens the list in a data folder; of "" one that is thrown away.
type openFeedList func(ctx context.Context, cfg *config) (feedList, error)

// feedReport is what importing lists came to. What only the list knows is null where it
// wasn't asked.
type feedReport struct {
	Source    string          `json:"source"`
	Files     []feedFile      `json:"files"`
	Read      uint64          `json:"read"`
	Accepted  uint64          `json:"accepted"`
	Rejected  []rejectedLine  `json:"rejected"` // the first thousand
	Rejects   uint64          `json:"rejected_total"`
	Protected []protectedName `json:"protected"`
	New       *int            `json:"new"`
	Known     *int            `json:"known"`
	Gone      *int            `json:"gone"`
	Held      string          `json:"held,omitempty"`
}

type feedFile struct {
	File     string `json:"file"`
	Format   string `json:"format"`
	Read     uint64 `json:"read"`
	Accepted uint64 `json:"accepted"`
}

type rejectedLine struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Reason string `json:"reason"`
	Why    string `json:"why"`
}

type feedFlags struct {
	config, data, output, source, format, mapping, role, family, zone string
	whole, dry                                                        bool
	public                                                            []string
}

// newImportFeed is the command; open is nil where there is no list to give to.
func newImportFeed(open openFeedList) *cobra.Command {
	var f feedFlags
	c := &cobra.Command{
		Use:   "feed [--format FORMAT] [--source NAME] FILE…",
		Short: "Import lists of C&C servers / C&C サーバーの一覧を取り込む",
		Long: `Reads lists of what belongs to malware and gives them to the C&C list. The format is told
from the first bytes where it can be. What can't be used is counted, by line and reason.

マルウェアの通信先の一覧を読み、C&C リストに渡します。形式は内容から判別します。
使えない行は行番号と理由を添えて数えます。--dry-run なら何も保存しません。`,
		Example: `  sakimori import feed --data sakimori-data --source feodo ipblocklist.csv
  sakimori import feed --dry-run -o json *.txt`,
		RunE: func(c *cobra.Command, files []string) error {
			if len(files) == 0 {
				return usage("name at least one file (see: %s --help)", c.CommandPath())
			}
			return f.run(c, files, open)
		},
	}
	outputFlag(c, &f.output)
	fl := c.Flags()
	fl.StringVar(&f.config, "config", "", "configuration file")
	fl.StringVar(&f.data, "data", "", "folder in which the list is kept")
	fl.StringVar(&f.source, "source", "", "whose list it is (the name of the first file)")
	fl.StringVar(&f.format, "format", "", "plain, hosts, csv, urlhaus, feodo, threatfox, maltrail, bambenek, drop, misp or stix")
	fl.StringVar(&f.mapping, "mapping", "", "of csv: a file that says which column is what (see: sakimori docs feeds)")
	fl.StringVar(&f.role, "role", "c2", "what entries serve where the list doesn't say: c2, distribution, phishing, scanner or other")
	fl.StringVar(&f.family, "family", "", "of the malware, where the list doesn't say")
	fl.StringVar(&f.zone, "zone", "", "of times in a csv that don't name one")
	fl.StringSliceVar(&f.public, "public", nil, "prefixes that count as public although they are reserved, for trials")
	fl.BoolVar(&f.whole, "whole", false, "the files are all that the source says: what isn't in them is gone")
	fl.BoolVar(&f.dry, "dry-run", false, "read and tell, keep nothing")
	return c
}

// options are how the files are read.
func (f *feedFlags) options(files []string) (o indicator.Options, err error) {
	o = indicator.Options{Source: f.source, Format: indicator.Format(f.format), Role: observe.Role(f.role), Family: f.family}
	if o.Source == "" {
		o.Source, _, _ = strings.Cut(filepath.Base(files[0]), ".")
	}
	if f.zone != "" {
		if o.Zone, err = time.LoadLocation(f.zone); err != nil {
			return o, fmt.Errorf("--zone %s: %w: name one like Asia/Tokyo", f.zone, err)
		}
	}
	for _, p := range f.public {
		pre, err := parsePrefix(p, "public")
		if err != nil {
			return o, err
		}
		o.Public = append(o.Public, pre)
	}
	if f.mapping != "" {
		if o.Mapping, err = indicatorMapping(f.mapping); err != nil {
			return o, err
		}
		o.Format = cmp.Or(o.Format, indicator.CSV)
	}
	return o, o.Check()
}

// indicatorMapping reads which column of a table is what.
func indicatorMapping(path string) (*indicator.Mapping, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("mapping: %w", err)
	}
	var m indicator.Mapping
	if err := yaml.Decode(text, &m); err != nil {
		return nil, fmt.Errorf("mapping %s: %w", path, err)
	}
	return &m, nil
}

func (f *feedFlags) run(c *cobra.Command, files []string, open openFeedList) (err error) {
	o, err := f.options(files)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	cfg, err := readConfig(f.config, os.Environ())
	if err != nil {
		return &exitError{exitUsage, err}
	}
	cfg.Data = f.data
	o.Came = cfg.now().Now()
	ctx := c.Context()
	in := feedIntake(nothingKept{})
	switch {
	case f.dry:
	case open != nil:
		list, wrong := open(ctx, &cfg)
		if wrong != nil {
			return wrong
		}
		defer func() { err = errors.Join(err, list.Close()) }()
		if in, err = list.Begin(ctx, remote.Reading{Source: o.Source, At: o.Came, Whole: f.whole}); err != nil {
			return err
		}
	case f.data != "":
		return errors.New(say("このビルドには C&C リストがありません。--dry-run を付けてください", "this build has no C&C list to give to: use --dry-run"))
	}
	rep := feedReport{Source: o.Source, Rejected: []rejectedLine{}, Protected: []protectedName{}}
	all, err := f.read(ctx, c.ErrOrStderr(), files, o, in, &rep)
	if err != nil {
		in.Drop()
		return err
	}
	res, err := in.Finish(ctx, all)
	if err != nil {
		return err
	}
	if _, none := in.(nothingKept); !none {
		rep.New, rep.Known, rep.Gone, rep.Held = &res.New, &res.Known, &res.Gone, res.Held
		rep.Protected = append(rep.Protected, res.Protected...)
	}
	return rep.print(c.OutOrStdout(), f.output)
}

// nothingKept is the list of a trial.
type nothingKept struct{}

func (nothingKept) Put(context.Context, []observe.Indicator) error { return nil }

func (nothingKept) Finish(context.Context, indicator.Stats) (feedResult, error) {
	return feedResult{}, nil
}

func (nothingKept) Drop() {}

// read reads the files as one reading: a file that can't be read to its end spoils it.
func (f *feedFlags) read(ctx context.Context, progress io.Writer, files []string, o indicator.Options, in feedIntake, rep *feedReport) (all indicator.Stats, err error) {
	list := make([]observe.Indicator, 0, 1000)
	flush := func() error {
		err := in.Put(ctx, list)
		list = list[:0]
		return err
	}
	for _, name := range files {
		o.Name = filepath.Base(name)
		st, err := readFeed(name, o, progress, func(i *observe.Indicator) error {
			if list = append(list, *i); len(list) < cap(list) {
				return nil
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			return flush()
		})
		all.Add(&st)
		if bad, is := errors.AsType[*indicator.Unreadable](err); is {
			return all, fmt.Errorf("%s: %s", name, say(bad.JA, bad.EN))
		}
		if err != nil {
			return all, fmt.Errorf("%s: %w", name, err)
		}
		rep.Files = append(rep.Files, feedFile{name, string(st.Format), st.Read, st.Accepted})
	}
	rep.Read, rep.Accepted, rep.Rejects = all.Read, all.Accepted, all.Rejected
	for _, r := range all.Named {
		rep.Rejected = append(rep.Rejected, rejectedLine{r.File, r.Line, r.Why.String(), say(r.Why.JA(), r.Why.EN())})
	}
	return all, flush()
}

// readFeed reads one file; on a terminal a bar shows how far it is.
func readFeed(name string, o indicator.Options, progress io.Writer, emit func(*observe.Indicator) error) (st indicator.Stats, err error) {
	file, err := os.Open(name)
	if err != nil {
		return st, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return st, err
	}
	src := &shown{SectionReader: io.NewSectionReader(file, 0, info.Size())}
	if isTerminal(progress) {
		src.bar = progressbar.NewOptions64(info.Size(), progressbar.OptionSetWriter(progress), progressbar.OptionShowBytes(true),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetDescription(cut(filepath.Base(name), 40)))
		defer src.bar.Finish() //nolint:errcheck // a picture: nothing depends on it
	}
	return indicator.Read(src, o, emit)
}

// shown is a file whose reading is seen.
type shown struct {
	*io.SectionReader
	bar *progressbar.ProgressBar
}

// Read tells the bar.
func (s *shown) Read(b []byte) (int, error) {
	n, err := s.SectionReader.Read(b)
	if s.bar != nil {
		_ = s.bar.Add(n) // a picture: nothing depends on it
	}
	return n, err
}

// count is a number, or that it isn't known.
func count(n *int) string {
	if n == nil {
		return "-"
	}
	return thousands(uint64(max(*n, 0)))
}

func (r *feedReport) print(w io.Writer, format string) error {
	switch format {
	case "json":
		return printJSON(w, r)
	case "csv":
		var rows [][]string
		for _, l := range r.Rejected {
			rows = append(rows, []string{l.File, fmt.Sprint(l.Line), l.Reason})
		}
		return printRows(w, "csv", []string{"file", "line", "reason"}, rows)
	}
	var rows [][]string
	for _, f := range r.Files {
		rows = append(rows, []string{f.File, f.Format, thousands(f.Read), thousands(f.Accepted), thousands(f.Read - f.Accepted)})
	}
	if err := printRows(w, "table", []string{"file", "format", "read", "accepted", "rejected"}, rows); err != nil {
		return err
	}
	fmt.Fprintf(w, say("\n新規 %s、既知 %s、なくなったもの %s、保護された名前 %d\n", "\n%s new, %s known, %s gone, %d protected\n"), count(r.New), count(r.Known), count(r.Gone), len(r.Protected))
	if r.Held != "" {
		fmt.Fprintf(w, say("人の確認を待っています: %s\n", "this waits for a person: %s\n"), r.Held)
	}
	const most = 20
	for i, l := range r.Rejected {
		if i == most {
			_, err := fmt.Fprintf(w, say("…ほか %d 件(-o json)\n", "… and %d more (-o json)\n"), r.Rejects-most)
			return err
		}
		if _, err := fmt.Fprintf(w, "%s:%d: %s\n", l.File, l.Line, l.Why); err != nil {
			return err
		}
	}
	return nil
}
