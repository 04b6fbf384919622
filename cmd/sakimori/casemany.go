package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/respond/casework"
)

func newCaseBulk() *cobra.Command {
	var f withBook
	var why, to string
	c := &cobra.Command{
		Use: "bulk ACTION CASE…", Short: "Do something to many cases, after a while to stop it / 多数の案件をまとめて扱う",
		Long: `Moves, assigns, holds or releases many cases. The order waits for five minutes, in
which "case stop" takes it back. A case that has changed by then is left alone, and
"case orders" says so.

多数の案件を一度に移動(move)、担当変更(assign)、保留(hold)、保留解除(release)します。
実行は5分後です。それまでは case stop で取り消せます。その間に変わった案件には触れません。`,
		Example: "  sakimori case bulk move --to closed --why 'the feed was wrong' --data sakimori-data C-2026-000001 C-2026-000002\n  sakimori case bulk assign --to hanako --why 'on duty' --data sakimori-data C-2026-000001",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) < 2 || why == "" {
				return usage("name an action (move, assign, hold, release), cases, and --why")
			}
			return f.desk(c, func(ctx context.Context, h *office, w io.Writer) error {
				b, err := h.desk.Bulk(ctx, casework.Order{Action: casework.Action(args[0]), To: to, Cases: args[1:], Who: whoAmI(), Why: why})
				if err != nil {
					return err
				}
				if f.format == "json" {
					return printJSON(w, b)
				}
				_, err = fmt.Fprintf(w, say("%s: %d 件を %s に実行します。取り消しは sakimori case stop %s\n", "%s: to be done to %d cases at %s; to take it back: sakimori case stop %s\n"),
					b.ID, len(b.Cases), b.At.Format(time.RFC3339), b.ID)
				return err
			})
		},
	}
	f.flags(c)
	c.Flags().StringVar(&why, "why", "", "the reason, which is written down")
	c.Flags().StringVar(&to, "to", "", "the state, or whose they become")
	return c
}

func newCaseOrders() *cobra.Command {
	var f withBook
	c := &cobra.Command{
		Use: "orders", Short: "List orders about many cases, and what became of them / 一括処理の一覧", Args: noArgs,
		Example: "  sakimori case orders --data sakimori-data",
		RunE: func(c *cobra.Command, _ []string) error {
			return f.desk(c, func(ctx context.Context, h *office, w io.Writer) error {
				const newest = 100
				list, err := h.desk.Bulks(ctx, newest)
				if err != nil {
					return err
				}
				if f.format == "json" {
					return printJSON(w, append([]casework.Bulk{}, list...))
				}
				var rows [][]string
				for _, b := range list {
					done, refused := 0, []string(nil)
					for _, x := range b.Cases {
						switch x.Result {
						case casework.BulkDone:
							done++
						case casework.BulkRefused:
							refused = append(refused, x.ID+": "+x.Reason)
						}
					}
					rows = append(rows, []string{b.ID, b.State, string(b.Action), b.To, b.At.Format(time.RFC3339), fmt.Sprint(len(b.Cases)), fmt.Sprint(done), b.Who, b.Why, strings.Join(refused, "; ")})
				}
				return printRows(w, f.format, []string{"order", "state", "action", "to", "at", "cases", "done", "who", "why", "refused"}, rows)
			})
		},
	}
	f.flags(c)
	return c
}

func newCaseStop() *cobra.Command {
	return changing("stop ORDER", "Take back an order about many cases / 一括処理を取り消す", "  sakimori case stop B-… --why 'the wrong ones' --data sakimori-data", 1,
		func(ctx context.Context, d *casework.Desk, a []string, why string) error {
			_, err := d.StopBulk(ctx, a[0], whoAmI(), why)
			return err
		})
}

func newCaseDeadline() *cobra.Command {
	var since string
	var done bool
	c := changing("deadline CASE STATUTE", "Begin a deadline of the law, or say that it was met / 法定期限を記録する",
		"  sakimori case deadline C-2026-000001 secrecy-leak --why 'the letter went to the wrong house' --data sakimori-data\n  sakimori case deadline C-2026-000001 secrecy-leak --done --why 'form 50-2 sent' --data sakimori-data", 2,
		func(ctx context.Context, d *casework.Desk, a []string, why string) error {
			if done {
				return d.Report(ctx, a[0], a[1], whoAmI(), why)
			}
			at := time.Now()
			if since != "" {
				var err error
				if at, err = time.Parse(time.RFC3339, since); err != nil {
					return usage("--since %s: write a time as 2026-11-26T09:00:00+09:00", since)
				}
			}
			return d.Know(ctx, a[0], a[1], at, whoAmI(), why)
		})
	var list []string
	for _, s := range casework.DefaultStatutes() {
		list = append(list, fmt.Sprintf("  %-20s %s\n  %-20s %s", s.ID, s.Name.EN, "", s.Name.JA))
	}
	c.Long = "Deadlines / 期限:\n" + strings.Join(list, "\n")
	c.Flags().StringVar(&since, "since", "", "when it became known; now when not told")
	c.Flags().BoolVar(&done, "done", false, "what it asks for was done")
	return c
}
