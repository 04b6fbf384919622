package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/respond/casework"
)

func isUnknown(err error) bool { return errors.Is(err, casework.ErrUnknown) }

func newCase() *cobra.Command {
	c := &cobra.Command{Use: "case", Short: "Infected subscribers, from the first sign to clean / 感染対応"}
	c.AddCommand(newCaseList(), newCaseShow(), newCaseMove(), newCaseAssign(), newCaseNote(), newCaseHold(), newCaseMerge(), newCaseTick(),
		newCaseBulk(), newCaseOrders(), newCaseStop(), newCaseDeadline())
	return c
}

func newCaseList() *cobra.Command {
	var f withBook
	var state, assignee, family string
	var nobody bool
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "List cases / 一覧", Args: noArgs,
		Long: `Lists cases. Subscribers stand there by pseudonym. --nobody lists the signs that
couldn't be given to anybody, and why.

案件を一覧します。加入者は仮名です。--nobody は誰のものか特定できなかった兆候とその理由を示します。`,
		Example: "  sakimori case list --data sakimori-data --state notified\n  sakimori case list --data sakimori-data --nobody -o csv",
		RunE: func(c *cobra.Command, _ []string) error {
			return f.desk(c, func(ctx context.Context, h *office, w io.Writer) error {
				if nobody {
					return printSigns(ctx, h, w, f.format)
				}
				q := casework.Query{Assignee: assignee, Family: family, Limit: limit}
				if state != "" {
					q.States = []casework.State{casework.State(state)}
				}
				list, err := h.desk.Cases(ctx, q)
				if err != nil {
					return err
				}
				if f.format == "json" {
					return printJSON(w, append([]casework.Case{}, list...))
				}
				var rows [][]string
				for _, x := range list {
					due := ""
					if !x.Due.IsZero() {
						due = x.Due.Format(time.RFC3339)
					}
					rows = append(rows, []string{x.ID, string(x.State), x.Subject, x.Family, x.Seen.Format(time.RFC3339), due, fmt.Sprint(x.Notices), x.Assignee})
				}
				return printRows(w, f.format, []string{"case", "state", "subscriber", "family", "seen", "due", "notices", "assignee"}, rows)
			})
		},
	}
	f.flags(c)
	fl := c.Flags()
	fl.StringVar(&state, "state", "", "new, attributed, lawful, notified, acknowledged, claimed_fixed, verifying, clean, relapsed, unreachable, escalated or closed")
	fl.StringVar(&assignee, "assignee", "", "whose they are")
	fl.StringVar(&family, "family", "", "of the malware")
	fl.BoolVar(&nobody, "nobody", false, "signs that are nobody's")
	fl.IntVar(&limit, "limit", 0, "rows; 0 all")
	return c
}

func printSigns(ctx context.Context, h *office, w io.Writer, format string) error {
	list, err := h.desk.Signs(ctx, "")
	if err != nil {
		return err
	}
	if format == "json" {
		return printJSON(w, append([]casework.Sign{}, list...))
	}
	var rows [][]string
	for _, s := range list {
		rows = append(rows, []string{s.At.Format(time.RFC3339), s.Source, s.Claim, s.Family, s.Verdict, s.Doubt})
	}
	return printRows(w, format, []string{"at", "source", "claim", "family", "verdict", "why"}, rows)
}

func newCaseShow() *cobra.Command {
	var f withBook
	c := &cobra.Command{
		Use: "show CASE", Short: "Show a case: why it is as it is / 案件の経緯を見る", Example: "  sakimori case show C-2026-000001 --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one case, like C-2026-000001")
			}
			return f.desk(c, func(ctx context.Context, h *office, w io.Writer) error {
				x, history, signs, err := h.desk.Get(ctx, args[0])
				if err != nil {
					return err
				}
				deadlines, err := h.desk.Deadlines(ctx, &x)
				if err != nil {
					return err
				}
				why := x.Why(history)
				if f.format == "json" {
					return printJSON(w, struct {
						casework.Case

						Why       detect.Text         `json:"why"`
						Deadlines []casework.Deadline `json:"deadlines"`
						History   []casework.Event    `json:"history"`
						Signs     []casework.Sign     `json:"signs"`
					}{x, why, append([]casework.Deadline{}, deadlines...), history, signs})
				}
				var rows [][]string
				for _, e := range history {
					rows = append(rows, []string{e.At.Format(time.RFC3339), e.What, e.Who, e.Why})
				}
				if f.format == "table" {
					fmt.Fprintf(w, "%s  %s  %s  %s\n%s\n", x.ID, x.State, x.Subject, x.Family, say(why.JA, why.EN))
					for _, l := range deadlines {
						fmt.Fprintf(w, "%s  %s (%s)\n", l.Due.Format(time.RFC3339), say(l.Name.JA, l.Name.EN), say(l.Source.JA, l.Source.EN))
					}
					fmt.Fprintln(w)
				}
				return printRows(w, f.format, []string{"at", "what", "who", "why"}, rows)
			})
		},
	}
	f.flags(c)
	return c
}

// changing makes a command that does something to a case.
func changing(use, short, example string, args int, do func(ctx context.Context, d *casework.Desk, args []string, why string) error) *cobra.Command {
	var f withBook
	var why string
	c := &cobra.Command{
		Use: use, Short: short, Example: example,
		RunE: func(c *cobra.Command, got []string) error {
			if len(got) != args || why == "" {
				return usage("%s takes %d arguments, and --why (see: %s --help)", c.CommandPath(), args, c.CommandPath())
			}
			return f.desk(c, func(ctx context.Context, h *office, _ io.Writer) error { return do(ctx, h.desk, got, why) })
		},
	}
	f.flags(c)
	c.Flags().StringVar(&why, "why", "", "the reason, which is written down")
	return c
}

func newCaseMove() *cobra.Command {
	return changing("move CASE STATE", "Bring a case into another state / 状態を変える", "  sakimori case move C-2026-000001 acknowledged --why 'they called' --data sakimori-data", 2,
		func(ctx context.Context, d *casework.Desk, a []string, why string) error {
			return d.Move(ctx, a[0], casework.State(a[1]), whoAmI(), why)
		})
}

func newCaseAssign() *cobra.Command {
	return changing("assign CASE PERSON", "Give a case to somebody / 担当を決める", "  sakimori case assign C-2026-000001 hanako --why 'on duty' --data sakimori-data", 2,
		func(ctx context.Context, d *casework.Desk, a []string, why string) error {
			return d.Assign(ctx, a[0], a[1], whoAmI(), why)
		})
}

func newCaseNote() *cobra.Command {
	return changing("note CASE", "Add a remark / メモを残す", "  sakimori case note C-2026-000001 --why 'called at 10:00' --data sakimori-data", 1,
		func(ctx context.Context, d *casework.Desk, a []string, why string) error {
			return d.Note(ctx, a[0], whoAmI(), why)
		})
}

func newCaseHold() *cobra.Command {
	var release bool
	c := changing("hold CASE", "Keep a case as it is, or release it / 保留する", "  sakimori case hold C-2026-000001 --why 'a lawyer asked' --data sakimori-data", 1,
		func(ctx context.Context, d *casework.Desk, a []string, why string) error {
			return d.Hold(ctx, a[0], !release, whoAmI(), why)
		})
	c.Flags().BoolVar(&release, "release", false, "let it go on")
	return c
}

func newCaseMerge() *cobra.Command {
	return changing("merge CASE INTO", "Put a case into another one / まとめる", "  sakimori case merge C-2026-000002 C-2026-000001 --why 'one contract' --data sakimori-data", 2,
		func(ctx context.Context, d *casework.Desk, a []string, why string) error {
			return d.Merge(ctx, a[0], a[1], whoAmI(), why)
		})
}

func newCaseTick() *cobra.Command {
	var f withBook
	c := &cobra.Command{
		Use: "tick", Short: "Do what time brings: quiet periods that ran out, orders that waited / 静穏期間の満了と一括処理を反映する", Args: noArgs,
		Example: "  sakimori case tick --data sakimori-data",
		RunE: func(c *cobra.Command, _ []string) error {
			return f.desk(c, func(ctx context.Context, h *office, w io.Writer) error {
				if _, err := h.desk.RunBulks(ctx); err != nil {
					return err
				}
				moved, err := h.desk.Tick(ctx)
				if err != nil {
					return err
				}
				if f.format == "json" {
					return printJSON(w, append([]string{}, moved...))
				}
				_, err = fmt.Fprintf(w, say("%d 件の状態が変わりました。\n", "%d cases were moved\n"), len(moved))
				return err
			})
		},
	}
	f.flags(c)
	return c
}

func newImportReports() *cobra.Command {
	var f withBook
	var o api.ReportFile
	var mapping string
	c := &cobra.Command{
		Use:   "reports --source NAME --format FORMAT FILE…",
		Short: "Import what others report of our addresses / 外部からの通報を取り込む",
		Long: `Reads abuse reports, finds the subscriber of each at its time, and opens or continues
their case. A report that several may be meant by, or that came through a resolver,
accuses nobody: see "sakimori case list --nobody".

通報を読み、時刻から加入者(仮名)を特定して案件にします。特定できない通報や、リゾルバー越しの
通報では誰も疑いません。`,
		Example: `  sakimori import reports --source shadowserver --format shadowserver --data sakimori-data 2026-11-26-event4_sinkhole.csv
  sakimori import reports --source partner --format csv --mapping partner.yaml --data sakimori-data hits.csv`,
		RunE: func(c *cobra.Command, files []string) error {
			if len(files) == 0 || o.Source == "" || o.Format == "" {
				return usage("name files, --source and --format (see: %s --help)", c.CommandPath())
			}
			if mapping != "" {
				text, err := os.ReadFile(mapping)
				if err != nil {
					return err
				}
				o.Mapping = string(text)
			}
			cl, err := f.through(c)
			if err != nil {
				return err
			}
			if cl != nil {
				return takeReports(c.OutOrStdout(), f.format, files, func(file *os.File) (st api.ReportStats, err error) {
					err = cl.send(c.Context(), "/api/v1/reports"+query("name", filepath.Base(file.Name()), "source", o.Source, "format", o.Format, "type", o.Type, "zone", o.Zone, "mapping", o.Mapping), nil, file, &st)
					return st, err
				})
			}
			return f.office(c, func(ctx context.Context, h *office, w io.Writer) error {
				in := newIntake(h)
				return takeReports(w, f.format, files, func(file *os.File) (api.ReportStats, error) {
					one := o
					one.Name = filepath.Base(file.Name())
					return in.Reports(ctx, file, one, whoAmI())
				})
			})
		},
	}
	f.flags(c)
	fl := c.Flags()
	fl.StringVar(&o.Source, "source", "", "who reports")
	fl.StringVar(&o.Format, "format", "", "shadowserver, xarf, mail, intelmq, csv or ndjson")
	fl.StringVar(&mapping, "mapping", "", "of csv and ndjson: a file that says which column is what (see: sakimori docs reports)")
	fl.StringVar(&o.Type, "type", "", "Shadowserver's type, where the file's name doesn't tell it")
	fl.StringVar(&o.Zone, "zone", "", "of times that don't name one")
	return c
}

// takeReports takes in files one by one, and says what each came to.
func takeReports(w io.Writer, format string, files []string, take func(file *os.File) (api.ReportStats, error)) error {
	type one struct {
		File string `json:"file"`
		api.ReportStats
	}
	all := make([]one, 0, len(files))
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		st, err := take(file)
		if err = errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, one{name, st})
	}
	if format == "json" {
		return printJSON(w, all)
	}
	var rows [][]string
	for i := range all {
		s := &all[i]
		rows = append(rows, []string{s.File, fmt.Sprint(s.Rows), fmt.Sprint(s.Reports), fmt.Sprint(s.Malformed), fmt.Sprint(s.Mediated), fmt.Sprint(s.Other)})
	}
	if err := printRows(w, format, []string{"file", "rows", "reports", "malformed", "mediated", "other"}, rows); err != nil || format != "table" {
		return err
	}
	for i := range all {
		for _, e := range all[i].Errors {
			fmt.Fprintf(w, "%s:%d: %s\n", all[i].File, e.Line, say(e.Reason.JA, e.Reason.EN))
		}
	}
	return nil
}
