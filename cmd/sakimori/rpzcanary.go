package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/base/clock"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/canary"
)

func newRPZCanary() *cobra.Command {
	var path, format, only string
	var once bool
	c := &cobra.Command{
		Use: "canary", Short: "Prove on each resolver what is blocked and for whom / 誰に何が遮断されるかを各リゾルバーで確かめる", Args: noArgs,
		Long: `Synthetic clients, one of which opted out, ask every resolver for the canary names.
Exit code 3 says that something isn't as it must be. With --once they ask once and
nothing is kept: take it before a resolver gets users.

模擬クライアント(一方はオプトアウト済み)が、各リゾルバーにカナリアの名前を尋ねます。期待と
違えば終了コード 3 です。--once は一度だけ尋ね、記録しません(利用者を向ける前の確認に)。`,
		Example: "  sakimori rpz canary --once --config sakimori.yaml\n  sakimori rpz canary --once --resolver dns1 -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := readConfig(path, os.Environ())
			if err != nil {
				return &exitError{exitUsage, err}
			}
			watched, err := cfg.Resolvers.watched()
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if only != "" {
				var some []canary.Resolver
				for _, r := range watched.Resolvers {
					if r.Name == only {
						some = append(some, r)
					}
				}
				watched.Resolvers = some
			}
			if len(watched.Resolvers) == 0 {
				return usage("no resolver to ask: name them under resolvers.list of the configuration")
			}
			w, err := canary.New(watched, nil, nil, nil, nil, clock.System{}, slog.New(slog.DiscardHandler))
			if err != nil {
				return &exitError{exitUsage, err}
			}
			for {
				rounds := w.Round(c.Context())
				if err := printRounds(c.OutOrStdout(), format, rounds, w.States()); err != nil {
					return err
				}
				proven := true
				for i := range rounds {
					proven = proven && rounds[i].Proven()
				}
				if once || c.Context().Err() != nil {
					if !proven {
						return &exitError{exitFindings, nil}
					}
					return nil
				}
				wait := watched.Every
				if wait == 0 {
					wait = time.Minute
				}
				select {
				case <-c.Context().Done():
				case <-time.After(wait):
				}
			}
		},
	}
	c.Flags().StringVar(&path, "config", "", "configuration file / 設定ファイル")
	c.Flags().BoolVar(&once, "once", false, "ask once / 一度だけ尋ねる")
	c.Flags().StringVar(&only, "resolver", "", "ask this one alone / このリゾルバーだけ")
	outputFlag(c, &format)
	return c
}

// verdictWord is a verdict for people.
func verdictWord(v canary.Verdict) string {
	switch v {
	case canary.Blocked:
		return say("遮断", "blocked")
	case canary.Truth:
		return say("真の答え", "truth")
	case canary.Serial:
		return say("シリアル", "serial")
	case canary.Silence:
		return say("応答なし", "no answer")
	}
	return say("不明", "other")
}

// printRounds writes the matrix: a row for each question.
func printRounds(w io.Writer, format string, rounds []canary.Round, states []canary.State) error {
	if format == "json" {
		return printJSON(w, states)
	}
	var rows [][]string
	for _, r := range rounds {
		for i := range r.Probes {
			p := &r.Probes[i]
			got := verdictWord(p.Got)
			if p.Got == canary.Serial {
				got = fmt.Sprint(p.Serial)
			}
			well := say("良", "ok")
			if !p.OK() {
				well = say("**否**", "**NO**") + " " + p.Detail
			}
			who := say("同意", "takes part")
			if p.Client == canary.Declined {
				who = say("オプトアウト", "opted out")
			}
			rows = append(rows, []string{r.Resolver, strings.TrimSuffix(string(p.Zone), "."), who, p.Name, verdictWord(p.Want), got, fmt.Sprintf("%.1f ms", float64(p.Micros)/1000), well})
		}
	}
	if err := printRows(w, format, []string{say("リゾルバー", "RESOLVER"), say("ゾーン", "ZONE"), say("クライアント", "CLIENT"), say("名前", "NAME"), say("期待", "MUST"), say("結果", "GOT"), say("時間", "TIME"), say("判定", "RESULT")}, rows); err != nil || format == "csv" {
		return err
	}
	for _, s := range states {
		for _, d := range s.Deviations {
			fmt.Fprintf(w, "%s %s: %s\n", s.Resolver, d.Zone, pick(d.Kind.Text()))
		}
		fmt.Fprint(w, s.Resolver, ":")
		for _, z := range rpz.Zones() {
			if n, ok := s.Serials[z]; ok {
				fmt.Fprintf(w, " %s %d", z, n)
			} else {
				fmt.Fprintf(w, " %s %s", z, say("不明", "unknown"))
			}
		}
		fmt.Fprintln(w)
	}
	return nil
}
