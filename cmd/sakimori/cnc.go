package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/detect"
	"sakimori/detect/cnc"
	"sakimori/observe"
)

func newCNC() *cobra.Command {
	c := &cobra.Command{Use: "cnc", Short: "The list of C&C servers, from a source's word to its end / C&C リスト"}
	c.AddCommand(newCNCList(), newCNCShow(), newCNCAdd(), newCNCReview(), newCNCWithdraw(), newCNCWhy(), newCNCHeld(), newCNCSettle(true), newCNCSettle(false), newCNCTick(), newCNCImport(), newCNCExport(), newCNCVerify())
	return c
}

// list opens the list for a command, beside a running serve, too.
func (f *withBook) list(c *cobra.Command, do func(ctx context.Context, h *office, w io.Writer) error) error {
	cfg, err := f.settings()
	if err != nil {
		return err
	}
	return f.desk(c, func(ctx context.Context, h *office, w io.Writer) error {
		if err := h.openList(ctx, &cfg); err != nil {
			return err
		}
		return do(ctx, h, w)
	})
}

// indicatorOf tells what a person has written: a URL, network, endpoint, address or name.
func indicatorOf(s string) (observe.IndicatorKind, string) {
	if strings.Contains(s, "://") {
		return observe.IndicatorURL, s
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return observe.IndicatorPrefix, p.Masked().String()
	}
	if a, err := netip.ParseAddrPort(s); err == nil {
		return observe.IndicatorEndpoint, a.String()
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return observe.IndicatorAddress, a.Unmap().String()
	}
	return observe.IndicatorName, strings.ToLower(strings.TrimSuffix(s, "."))
}

// entryID takes an id, or what is listed itself.
func entryID(s string) string {
	if strings.HasPrefix(s, "i-") {
		return s
	}
	return cnc.ID(indicatorOf(s))
}

func printEntries(w io.Writer, format string, list []cnc.Entry) error {
	if format == "json" {
		return printJSON(w, append([]cnc.Entry{}, list...))
	}
	rows := make([][]string, 0, len(list))
	for i := range list {
		e := &list[i]
		two := ""
		if t := cmp.Or(e.Waits, e.Two); t != nil {
			two = say(t.JA, t.EN)
		}
		rows = append(rows, []string{e.ID, string(e.Kind), e.Value, string(e.State), fmt.Sprintf("%.2f", e.Score), e.Family, e.Expires.Format(time.RFC3339), fmt.Sprint(e.Hits), two})
	}
	return printRows(w, format, []string{"id", "kind", "value", "state", "score", "family", "expires", "hits", "note"}, rows)
}

func newCNCList() *cobra.Command {
	var f withBook
	var q cnc.Query
	var states []string
	var kind, order string
	var queue bool
	c := &cobra.Command{
		Use: "list", Short: "List entries / 一覧", Args: noArgs,
		Example: "  sakimori cnc list --state enforced --data sakimori-data\n  sakimori cnc list --queue -o json --data sakimori-data",
		RunE: func(c *cobra.Command, _ []string) error {
			for _, s := range states {
				if cnc.State(s).Words().EN == "" {
					return usage("--state %s: use candidate, enriched, scored, reviewed, shadow, enforced, expired, withdrawn or archived", s)
				}
				q.States = append(q.States, cnc.State(s))
			}
			q.Kind, q.Order = observe.IndicatorKind(kind), cnc.Order(order)
			return f.list(c, func(ctx context.Context, h *office, w io.Writer) error {
				page := h.list.Page
				if queue {
					page = func(ctx context.Context, q cnc.Query) ([]cnc.Entry, string, error) {
						return h.list.Queue(ctx, q.After, q.Limit)
					}
				}
				list, next, err := page(ctx, q)
				if err != nil {
					return err
				}
				if next != "" {
					fmt.Fprintf(c.ErrOrStderr(), say("続きは --after %s\n", "more: --after %s\n"), next)
				}
				return printEntries(w, f.format, list)
			})
		},
	}
	f.flags(c)
	fl := c.Flags()
	fl.StringSliceVar(&states, "state", nil, "candidate, enriched, scored, reviewed, shadow, enforced, expired, withdrawn, archived")
	fl.StringVar(&kind, "kind", "", "name, host, address, endpoint, prefix or url")
	fl.StringVar(&q.Family, "family", "", "of the malware; - not known")
	fl.StringVar(&q.Source, "source", "", "that says so now")
	fl.StringVar(&q.Text, "begins", "", "what the value begins with")
	fl.StringVar(&order, "order", "score", "score, age, hits or name")
	fl.StringVar(&q.After, "after", "", "where the page before ended")
	fl.IntVar(&q.Limit, "limit", 100, "rows")
	fl.BoolVar(&queue, "queue", false, "what waits for a person")
	return c
}

func newCNCShow() *cobra.Command {
	var f withBook
	c := &cobra.Command{
		Use: "show ENTRY", Short: "Show an entry: its sources, score and history / 項目の経緯を見る", Example: "  sakimori cnc show c2.example.net --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one entry: c2.example.net, 192.0.2.1, or its id")
			}
			return f.list(c, func(ctx context.Context, h *office, w io.Writer) error {
				e, history, err := h.list.Get(ctx, entryID(args[0]))
				if err != nil {
					return err
				}
				score, terms, err := h.list.Explain(ctx, &e)
				if err != nil {
					return err
				}
				if f.format == "json" {
					return printJSON(w, struct {
						cnc.Entry

						Now     float64     `json:"score_now"`
						Explain []cnc.Term  `json:"explain"`
						History []cnc.Event `json:"history"`
					}{e, score, append([]cnc.Term{}, terms...), history})
				}
				if f.format == "table" {
					words := e.State.Words()
					fmt.Fprintf(w, "%s  %s  %s  %s\n%s\n", e.ID, e.Value, e.State, e.Family, say(words.JA, words.EN))
					for _, t := range []*detect.Text{e.Two, e.Waits, e.Reason} {
						if t != nil {
							fmt.Fprintln(w, say(t.JA, t.EN))
						}
					}
					fmt.Fprintf(w, say("スコア %.2f\n", "score %.2f\n"), score)
					for _, t := range terms {
						fmt.Fprintf(w, "  %.2f %s: %s\n", t.Value, t.Term, say(t.Words.JA, t.Words.EN))
					}
				}
				return printHistory(w, f.format, history)
			})
		},
	}
	f.flags(c)
	return c
}

func printHistory(w io.Writer, format string, history []cnc.Event) error {
	rows := make([][]string, 0, len(history))
	for i := range history {
		e := &history[i]
		rows = append(rows, []string{e.At.Format(time.RFC3339), e.What, e.Who, say(e.Why.JA, e.Why.EN)})
	}
	return printRows(w, format, []string{"at", "what", "who", "why"}, rows)
}

func newCNCAdd() *cobra.Command {
	var f withBook
	var a cnc.Addition
	var days int
	c := &cobra.Command{
		Use: "add VALUE", Short: "Put something on the list / 追加する",
		Long: `Puts a name (with all below it), address, address:port, network or URL on the list. It
goes to shadow, and is enforced a day later. Where two people are needed, and with
--emergency, somebody else reviews it first.

名前(その下も含む)・アドレス・アドレス:ポート・ネットワーク・URL をリストに加えます。まず試行に入り、
1 日後に有効になります。二人の承認が必要なもの、および --emergency では、別の人の審査が先です。`,
		Example: "  sakimori cnc add c2.example.net --family mirai --days 30 --why 'seen in a sandbox' --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 || a.Why == "" {
				return usage("name one thing, and --why (see: %s --help)", c.CommandPath())
			}
			return f.list(c, func(ctx context.Context, h *office, w io.Writer) error {
				a.Kind, a.Value = indicatorOf(args[0])
				a.Who, a.Expires = whoAmI(), h.clock.Now().AddDate(0, 0, days)
				e, err := h.list.Add(ctx, a)
				if err != nil {
					return err
				}
				return printEntries(w, f.format, []cnc.Entry{e})
			})
		},
	}
	f.flags(c)
	fl := c.Flags()
	fl.StringVar(&a.Family, "family", "", "of the malware")
	fl.StringVar(&a.Evidence, "evidence", "", "where it is explained")
	fl.StringVar(&a.Why, "why", "", "the reason, which is written down")
	fl.IntVar(&days, "days", 30, "until its end")
	fl.BoolVar(&a.Emergency, "emergency", false, "enforced as soon as a second person agrees")
	return c
}

// listing makes a command by which a person decides about an entry.
func listing(use, short, example string, args int, do func(ctx context.Context, l *cnc.List, args []string, why string) (cnc.Entry, error)) *cobra.Command {
	var f withBook
	var why string
	c := &cobra.Command{
		Use: use, Short: short, Example: example,
		RunE: func(c *cobra.Command, got []string) error {
			if len(got) != args || why == "" {
				return usage("%s takes %d arguments, and --why (see: %s --help)", c.CommandPath(), args, c.CommandPath())
			}
			return f.list(c, func(ctx context.Context, h *office, w io.Writer) error {
				e, err := do(ctx, h.list, got, why)
				if err != nil {
					return err
				}
				return printEntries(w, f.format, []cnc.Entry{e})
			})
		},
	}
	f.flags(c)
	c.Flags().StringVar(&why, "why", "", "the reason, which is written down")
	return c
}

func newCNCReview() *cobra.Command {
	return listing("review ENTRY yes|no", "Agree to an entry, or take it out / 審査する", "  sakimori cnc review c2.example.net yes --why 'sandbox report 12' --data sakimori-data", 2,
		func(ctx context.Context, l *cnc.List, a []string, why string) (cnc.Entry, error) {
			if a[1] != "yes" && a[1] != "no" {
				return cnc.Entry{}, usage("the verdict is yes or no, not %q", a[1])
			}
			return l.Review(ctx, entryID(a[0]), whoAmI(), a[1] == "yes", why)
		})
}

func newCNCWithdraw() *cobra.Command {
	return listing("withdraw ENTRY", "Take an entry out, at once and for good / 取り下げる", "  sakimori cnc withdraw c2.example.net --why 'a customer' --data sakimori-data", 1,
		func(ctx context.Context, l *cnc.List, a []string, why string) (cnc.Entry, error) {
			return l.Withdraw(ctx, entryID(a[0]), whoAmI(), why)
		})
}

func newCNCWhy() *cobra.Command {
	var f withBook
	var at string
	c := &cobra.Command{
		Use: "why VALUE", Short: "Tell what was in force at a time, and why / ある時点で遮断対象だったか、なぜか", Example: "  sakimori cnc why www.example.net --at 2026-11-20T14:02:00+09:00 --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one name, address or URL")
			}
			return f.list(c, func(ctx context.Context, h *office, w io.Writer) error {
				moment := h.clock.Now()
				if at != "" {
					var err error
					if moment, err = time.Parse(time.RFC3339, at); err != nil {
						return usage("--at %q: write it like 2026-11-20T14:02:00+09:00", at)
					}
				}
				a, err := h.list.Why(ctx, args[0], moment)
				if err != nil {
					return err
				}
				then, err := h.blockedThen(ctx, a.Value, a.At)
				if err != nil {
					return err
				}
				if f.format == "json" {
					return printJSON(w, struct {
						cnc.Account
						Published *blockedThen `json:"published"`
					}{a, then})
				}
				if f.format == "table" {
					fmt.Fprintln(w, say(a.Said.JA, a.Said.EN))
					then.print(w)
					for _, s := range a.Sources {
						fmt.Fprintf(w, "  %s: %s\n", s.Source, s.Evidence)
					}
				}
				return printHistory(w, f.format, a.History)
			})
		},
	}
	f.flags(c)
	c.Flags().StringVar(&at, "at", "", "the time, RFC 3339; none is now")
	return c
}

func newCNCHeld() *cobra.Command {
	var f withBook
	c := &cobra.Command{
		Use: "held", Short: "List readings that wait for a person / 保留中の読み込み", Args: noArgs, Example: "  sakimori cnc held --data sakimori-data",
		RunE: func(c *cobra.Command, _ []string) error {
			return f.list(c, func(ctx context.Context, h *office, w io.Writer) error {
				list, err := h.list.Held(ctx)
				if err != nil {
					return err
				}
				if f.format == "json" {
					return printJSON(w, append([]cnc.Held{}, list...))
				}
				var rows [][]string
				for i := range list {
					x := &list[i]
					rows = append(rows, []string{x.ID, x.Source, x.At.Format(time.RFC3339), fmt.Sprint(x.Before), fmt.Sprint(x.Size), say(x.Why.JA, x.Why.EN)})
				}
				return printRows(w, f.format, []string{"reading", "source", "at", "before", "after", "why"}, rows)
			})
		},
	}
	f.flags(c)
	return c
}

func newCNCSettle(release bool) *cobra.Command {
	use, short := "refuse READING", "Throw a held reading away / 保留中の読み込みを破棄する"
	if release {
		use, short = "release READING", "Let a held reading count / 保留中の読み込みを反映する"
	}
	var f withBook
	var why string
	c := &cobra.Command{
		Use: use, Short: short, Example: "  sakimori cnc " + strings.Fields(use)[0] + " r-12 --why 'their new list' --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 || why == "" {
				return usage("name one reading, like r-12, and --why")
			}
			return f.list(c, func(ctx context.Context, h *office, w io.Writer) error {
				do := h.list.Refuse
				if release {
					do = h.list.Release
				}
				x, err := do(ctx, args[0], whoAmI(), why)
				if err != nil {
					return err
				}
				return printJSON(w, x)
			})
		},
	}
	f.flags(c)
	c.Flags().StringVar(&why, "why", "", "the reason, which is written down")
	return c
}

func newCNCTick() *cobra.Command {
	var f withBook
	c := &cobra.Command{
		Use: "tick", Short: "Do what time brings: what was in shadow, what is at its end / 試行満了と期限切れを反映する", Args: noArgs, Example: "  sakimori cnc tick --data sakimori-data",
		RunE: func(c *cobra.Command, _ []string) error {
			return f.list(c, func(ctx context.Context, h *office, w io.Writer) error {
				t, err := h.list.Tick(ctx)
				if err != nil {
					return err
				}
				return printJSON(w, t)
			})
		},
	}
	f.flags(c)
	return c
}
