package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"sakimori/console/api"
	"sakimori/observe"
)

func newStats() *cobra.Command {
	var a asking
	var by, from, to, order string
	var limit int
	c := &cobra.Command{
		Use: "stats", Short: "Packets, hosts and targets of a span / 期間の集計を表示する", Args: noArgs,
		Long: `Prints the totals of a span and a ranking: packets, with the distinct sources and
targets always beside them. By default the last 24 hours of the data.

期間の合計と順位を、パケット数・送信元数・宛先数の組で表示します。既定はデータの最後の24時間です。`,
		Example: `  sakimori stats --data sakimori-data
  sakimori stats --data sakimori-data --by country --from 2016-10-01T00:00:00Z --to 2016-10-02T00:00:00Z -o csv`,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := observe.ParseDim(by); err != nil || by == "total" {
				return usage("--by %s: use port, country, as, protocol or class", by)
			}
			if limit < 1 || limit > 500 {
				return usage("--limit %d: give 1 to 500", limit)
			}
			ask, done, err := a.open(c)
			if err != nil {
				return err
			}
			path := "/api/v1/telescope/top" + query("dim", by, "from", from, "to", to, "order", order, "limit", fmt.Sprint(limit))
			accept := "application/json"
			if a.format == "csv" {
				accept = "text/csv"
			}
			b, err := ask(c.Context(), http.MethodGet, path, nil, accept)
			if cerr := done(); err == nil {
				err = cerr
			}
			if err != nil {
				return err
			}
			if a.format != "table" {
				_, err := c.OutOrStdout().Write(append(b, '\n'))
				return err
			}
			return printTop(c, b)
		},
	}
	a.flags(c)
	f := c.Flags()
	f.StringVar(&by, "by", "port", "port, country, as, protocol or class")
	f.StringVar(&from, "from", "", "begin, RFC 3339")
	f.StringVar(&to, "to", "", "end, RFC 3339")
	f.StringVar(&order, "order", "packets", "packets or sources")
	f.IntVar(&limit, "limit", 20, "rows")
	return c
}

func printTop(c *cobra.Command, b []byte) error {
	var t struct {
		api.Panel

		From  time.Time `json:"from"`
		To    time.Time `json:"to"`
		Total api.Sum   `json:"total"`
		Rows  []api.Row `json:"rows"`
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return err
	}
	w := c.OutOrStdout()
	if t.State == "none" {
		if t.Reason != nil {
			_, err := fmt.Fprintln(w, say(t.Reason.JA, t.Reason.EN))
			return err
		}
		_, err := fmt.Fprintln(w, say("この期間は観測していません", "nobody looked in this span"))
		return err
	}
	fmt.Fprintf(w, say("合計: %s パケット、送信元 %s、宛先 %s\n\n", "total: %s packets, %s sources, %s targets\n\n"),
		thousands(t.Total.Packets), unique(t.Total.Sources), unique(t.Total.Targets))
	rows := make([][]string, 0, len(t.Rows))
	for _, r := range t.Rows {
		name := r.Name
		if name == r.Key {
			name = ""
		}
		rows = append(rows, []string{r.Key, name, thousands(r.Packets), fmt.Sprintf("%.1f %%", 100*r.Share), unique(r.Sources), unique(r.Targets)})
	}
	return printRows(w, "table", []string{"key", "name", "packets", "share", "sources", "targets"}, rows)
}

// unique prints a number of distinct things, and how far it may be off.
func unique(u observe.Unique) string {
	s := thousands(u.N)
	if u.AtMost {
		s = "≤" + s
	}
	return s + plusMinus(u.Err)
}
