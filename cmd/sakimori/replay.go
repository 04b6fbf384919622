package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"sakimori/console/api"
)

func newReplay() *cobra.Command {
	var a asking
	var from, to, thresholds, progressForm string
	c := &cobra.Command{
		Use: "replay --from T --to T --thresholds FILE", Short: "What would other thresholds have said? / 別のしきい値なら何を検知したか", Args: noArgs,
		Long: `Looks at flows that are kept of a past span twice: with the thresholds in force, and with
those of a file; and says which attacks both see, which only the new thresholds see, and
which are gone with them. Nothing is changed. How fine it can see is what was kept: a
minute's mean hides a flood of ten seconds, and the answer names the grain.

保存済みのフローを、現在のしきい値とファイルのしきい値の両方で見直し、検知の違いを示します。
設定は変わりません。`,
		Example: "  sakimori replay --from 2016-10-21T11:00:00Z --to 2016-10-21T12:00:00Z --thresholds lines.yaml --data sakimori-data",
		RunE: func(c *cobra.Command, _ []string) error {
			var body struct {
				From       time.Time `json:"from"`
				To         time.Time `json:"to"`
				Thresholds string    `json:"thresholds"`
			}
			var err error
			if body.From, err = time.Parse(time.RFC3339, from); err == nil {
				body.To, err = time.Parse(time.RFC3339, to)
			}
			if err != nil {
				return usage("--from and --to: write times as 2016-10-21T11:00:00Z")
			}
			if thresholds == "" {
				return usage("--thresholds: name a file (YAML, see docs/ddos.md)")
			}
			b, err := os.ReadFile(thresholds)
			if err != nil {
				return usage("thresholds: %w", err)
			}
			body.Thresholds = string(b)
			ask, done, err := a.open(c)
			if err != nil {
				return err
			}
			x, err := replayed(c, ask, body, progressForm)
			if cerr := done(); err == nil {
				err = cerr
			}
			if err != nil {
				return err
			}
			return printReplay(c, a.format, x)
		},
	}
	a.flags(c)
	f := c.Flags()
	f.StringVar(&from, "from", "", "begin, RFC 3339")
	f.StringVar(&to, "to", "", "end, RFC 3339")
	f.StringVar(&thresholds, "thresholds", "", "file of thresholds (YAML)")
	f.StringVar(&progressForm, "progress", "auto", "auto, plain, json or none")
	return c
}

// replayed begins a replay, and waits for it.
func replayed(c *cobra.Command, ask asker, body any, form string) (x api.Replay, err error) {
	b, err := ask(c.Context(), http.MethodPost, "/api/v1/replay", body, "application/json")
	if err == nil {
		err = json.Unmarshal(b, &x)
	}
	bar := newProgress(c.ErrOrStderr(), form)
	defer bar.end()
	const look = 200 * time.Millisecond
	for err == nil && x.State == "running" {
		const whole = 1000
		bar.show(progress{File: "flows", Step: "replay", Done: int64(x.Done * whole), Total: whole, Packets: x.Flows})
		select {
		case <-c.Context().Done():
			return x, c.Context().Err()
		case <-time.After(look):
		}
		if b, err = ask(c.Context(), http.MethodGet, "/api/v1/replay/"+x.ID, nil, "application/json"); err == nil {
			err = json.Unmarshal(b, &x)
		}
	}
	if err == nil && x.Error != nil {
		err = fmt.Errorf("%s", say(x.Error.JA, x.Error.EN))
	}
	return x, err
}

func printReplay(c *cobra.Command, format string, x api.Replay) error {
	w := c.OutOrStdout()
	if format == "json" {
		return printJSON(w, x)
	}
	rows := append(append(replayLines(x.New, say("新規", "new")), replayLines(x.Gone, say("消滅", "gone"))...), replayLines(x.Same, say("同じ", "same"))...)
	if err := printRows(w, format, []string{"", "target", "direction", "vectors", "peak", "opened", "confidence"}, rows); err != nil || format == "csv" {
		return err
	}
	_, err := fmt.Fprintf(w, say("フロー %d 件(粒度 %s)を見直しました。\n", "%d flows looked at again, grain %s.\n"), x.Flows, x.Grain)
	return err
}
