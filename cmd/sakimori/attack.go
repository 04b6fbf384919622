package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/detect/ddos"
)

func newAttack() *cobra.Command {
	c := &cobra.Command{
		Use: "attack", Short: "Floods that flows show, and what is done against them / フローで見つけた攻撃と緩和", Args: noArgs,
		Long: `Lists floods, shows one with its vectors, sources and figures (each with its 95 % error), and
takes what was announced against one back from all routers.

フローから検知した攻撃を一覧し、攻撃手法・送信元・数値(95 % 誤差つき)を示し、
広告した緩和策をすべてのルーターから取り下げます。`,
		Example: "  sakimori attack list --data sakimori-data\n  sakimori attack show attack-20161021T110700Z-k3f9q2 --data sakimori-data\n  sakimori attack withdraw M-20161021-1 --why \"false alarm\" --data sakimori-data",
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newAttackList(), newAttackShow(), newAttackWithdraw())
	return c
}

func newAttackList() *cobra.Command {
	var a asking
	var state, direction, vector, about, from, to string
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "List attacks, under way first / 攻撃の一覧", Args: noArgs,
		Long: `Lists attacks. The exit code is 3 when one is under way, so that a script can tell.

攻撃を一覧します。継続中のものがあれば終了コードは 3 です。`,
		Example: "  sakimori attack list --data sakimori-data --state open\n  sakimori attack list --about 203.0.113.0/24 -o csv",
		RunE: func(c *cobra.Command, _ []string) error {
			path := "/api/v1/attacks" + query("state", state, "direction", direction, "vector", vector, "q", about, "from", from, "to", to, "limit", fmt.Sprint(limit))
			var list struct {
				Attacks []api.AttackRow `json:"attacks"`
				Running int             `json:"running"`
			}
			printed, err := a.answer(c, http.MethodGet, path, nil, &list)
			if err == nil && !printed {
				err = printAttacks(c, list.Attacks)
			}
			if err == nil && list.Running > 0 {
				err = &exitError{exitFindings, nil}
			}
			return err
		},
	}
	a.flags(c)
	f := c.Flags()
	f.StringVar(&state, "state", "", "open or ended")
	f.StringVar(&direction, "direction", "", "incoming or outgoing")
	f.StringVar(&vector, "vector", "", "syn, udp, dns-amplification, …")
	f.StringVar(&about, "about", "", "an address, a prefix, or the name of a customer or link")
	f.StringVar(&from, "from", "", "begin, RFC 3339")
	f.StringVar(&to, "to", "", "end, RFC 3339")
	f.IntVar(&limit, "limit", 100, "rows, at most 500")
	fixed(c, "state", "open", "ended")
	fixed(c, "direction", "incoming", "outgoing")
	fixed(c, "vector", ddos.Vectors()...)
	return c
}

func printAttacks(c *cobra.Command, list []api.AttackRow) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(c.OutOrStdout(), say("攻撃はありません。", "there are no attacks."))
		return err
	}
	rows := make([][]string, 0, len(list))
	for i := range list {
		x := &list[i]
		object := x.Object.Prefix
		if object == "" {
			object = x.Object.Name
		}
		act := "-"
		if x.Mitigation != nil {
			act = say(x.Mitigation.Words.JA, x.Mitigation.Words.EN)
		}
		rows = append(rows, []string{
			x.ID, string(x.State), object, vectorWords(x.Vectors, 2), withError(x.Peak.Packets, "pps"), withError(x.Peak.Bits, "bps"),
			x.Opened.Format(time.RFC3339), x.Changed.Sub(x.Opened).Round(time.Second).String(), fmt.Sprintf("%.2f", x.Confidence), act,
		})
	}
	return printRows(c.OutOrStdout(), "table", []string{"id", "state", "object", "vectors", "peak", "peak", "opened", "for", "confidence", "mitigation"}, rows)
}

// vectorWords are the largest vectors with their shares.
func vectorWords(list []detect.Vector, most int) string {
	var words []string
	for i := range list[:min(most, len(list))] {
		words = append(words, fmt.Sprintf("%s %.0f%%", list[i].Name, 100*list[i].Share))
	}
	if more := len(list) - most; more > 0 {
		words = append(words, fmt.Sprintf("+%d", more))
	}
	return strings.Join(words, ", ")
}

// plusMinus writes a figure with its error as a person reads them: 20 ± 4 kpps.
func withError(m detect.Measure, unit string) string {
	scale, prefix := 1.0, ""
	for _, s := range []struct {
		n    float64
		word string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if m.N >= s.n {
			scale, prefix = s.n, s.word
			break
		}
	}
	if m.Error == 0 {
		return fmt.Sprintf("%.3g %s%s", m.N/scale, prefix, unit)
	}
	return fmt.Sprintf("%.3g ± %.2g %s%s", m.N/scale, m.Error/scale, prefix, unit)
}

func newAttackShow() *cobra.Command {
	var a asking
	c := &cobra.Command{
		Use: "show ID", Short: "Show one attack with all its figures / 攻撃の詳細を見る",
		Example: "  sakimori attack show attack-20161021T110700Z-k3f9q2 --data sakimori-data",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one attack: sakimori attack list shows them")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if a.format == "csv" {
				return usage("-o csv: an attack isn't a table; use table or json")
			}
			var x struct {
				Attack api.AttackWhole `json:"attack"`
			}
			printed, err := a.answer(c, http.MethodGet, "/api/v1/attacks/"+url.PathEscape(args[0]), nil, &x)
			if err != nil || printed {
				return err
			}
			return printAttack(c, &x.Attack)
		},
	}
	a.flags(c)
	return c
}

func printAttack(c *cobra.Command, x *api.AttackWhole) error {
	w := c.OutOrStdout()
	fmt.Fprintf(w, "%s\n%s\n\n", say(x.Title.JA, x.Title.EN), say(x.Why.JA, x.Why.EN))
	rows := [][]string{
		{"id", x.ID},
		{"state", string(x.State)},
		{"object", strings.TrimSpace(x.Object.Prefix + " " + x.Object.Name)},
		{"opened", x.Opened.Format(time.RFC3339)},
		{"detected", fmt.Sprintf("%s (+%s)", x.Detected.Format(time.RFC3339), x.Detected.Sub(x.Opened).Round(10*time.Millisecond))},
		{"peak", withError(x.Peak.Packets, "pps") + ", " + withError(x.Peak.Bits, "bps")},
		{"volume", withError(x.Packets, " packets") + ", " + withError(x.Bytes, "B")},
		{"sources", fmt.Sprintf("%d ± %.0f", x.Sources.Count.N, x.Sources.Count.Error)},
		{"forged", forgedWord(x.Sources.Forged)},
		{"confidence", fmt.Sprintf("%.2f (%s)", x.Confidence, strings.Join(x.Witnesses, ", "))},
	}
	if x.Closed != nil {
		rows = append(rows, []string{"closed", x.Closed.Format(time.RFC3339)})
	}
	for i := range x.Vectors {
		v := &x.Vectors[i]
		rows = append(rows, []string{v.Name, fmt.Sprintf("%.1f %% · %s", 100*v.Share, say(v.Words.JA, v.Words.EN))})
	}
	for i := range x.Mitigations {
		m := &x.Mitigations[i]
		rows = append(rows, []string{m.ID, say(m.Words.JA, m.Words.EN)})
		for _, r := range m.Proposal.Rules {
			rows = append(rows, []string{"", r.Text + " → " + r.Action})
		}
	}
	return printRows(w, "table", []string{"", ""}, rows)
}

func forgedWord(f *bool) string {
	switch {
	case f == nil:
		return say("判定できません", "can't be told")
	case *f:
		return say("詐称とみられます", "yes, by all signs")
	}
	return say("詐称ではないとみられます", "no, by all signs")
}

func newAttackWithdraw() *cobra.Command {
	var a asking
	var why string
	c := &cobra.Command{
		Use: "withdraw MITIGATION --why WHY", Short: "Take a mitigation back from all routers, now / 緩和策を今すぐ取り下げる",
		Long: `Takes a mitigation back from all routers. It works through the running serve, which holds the
sessions with the routers.

すべてのルーターから緩和策を取り下げます。ルーターと接続している serve を通じて行います。`,
		Example: "  sakimori attack withdraw M-20161021-1 --why \"false alarm\" --data sakimori-data",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one mitigation: sakimori attack show lists those of an attack")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if strings.TrimSpace(why) == "" {
				return usage("--why: say why; it goes into the ledger")
			}
			if a.format == "csv" {
				return usage("-o csv: a mitigation isn't a table; use table or json")
			}
			var x struct {
				Mitigation api.Mitigation `json:"mitigation"`
			}
			printed, err := a.answer(c, http.MethodPost, "/api/v1/mitigations/"+url.PathEscape(args[0])+"/withdraw", map[string]string{"why": why}, &x)
			if err != nil || printed {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: %s\n", x.Mitigation.ID, say(x.Mitigation.Words.JA, x.Mitigation.Words.EN))
			return err
		},
	}
	a.flags(c)
	c.Flags().StringVar(&why, "why", "", "for the ledger / 台帳に残る理由")
	return c
}
