package main

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"sakimori/console/api"
	"sakimori/detect"
)

func newFinding() *cobra.Command {
	c := &cobra.Command{Use: "finding", Short: "What was found / 検知結果を見る"}
	c.AddCommand(newFindingList(), newFindingShow())
	return c
}

func newFindingList() *cobra.Command {
	var a asking
	var detector, state, from, to string
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "List findings, last changed first / 検知の一覧", Args: noArgs,
		Long: `Lists findings. The exit code is 3 when there are any that last, so that a script can tell.

検知を一覧します。継続中のものがあれば終了コードは 3 です。`,
		Example: "  sakimori finding list --data sakimori-data --detector infected -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			path := "/api/v1/findings" + query("detector", detector, "state", state, "from", from, "to", to, "limit", fmt.Sprint(limit))
			var list struct {
				Rows []api.Found `json:"rows"`
			}
			printed, err := a.answer(c, http.MethodGet, path, nil, &list)
			if err == nil && !printed {
				err = printFindings(c, list.Rows)
			}
			if err != nil {
				return err
			}
			for _, f := range list.Rows {
				if f.State != detect.Closed {
					return &exitError{exitFindings, nil}
				}
			}
			return nil
		},
	}
	a.flags(c)
	f := c.Flags()
	f.StringVar(&detector, "detector", "", "infected, ddos or surge")
	f.StringVar(&state, "state", "", "opened, changed or closed")
	f.StringVar(&from, "from", "", "begin, RFC 3339")
	f.StringVar(&to, "to", "", "end, RFC 3339")
	f.IntVar(&limit, "limit", 100, "rows, at most 500")
	return c
}

func printFindings(c *cobra.Command, list []api.Found) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(c.OutOrStdout(), say("検知はありません。", "nothing was found."))
		return err
	}
	rows := make([][]string, 0, len(list))
	for _, f := range list {
		rows = append(rows, []string{f.ID, string(f.State), fmt.Sprint(int(f.Severity)), fmt.Sprintf("%.2f", f.Confidence), f.Opened.Format(time.RFC3339), say(f.Title.JA, f.Title.EN)})
	}
	return printRows(c.OutOrStdout(), "table", []string{"id", "state", "severity", "confidence", "opened", "title"}, rows)
}

func newFindingShow() *cobra.Command {
	var a asking
	c := &cobra.Command{
		Use: "show ID", Short: "Show one finding with its evidence / 検知の根拠を見る",
		Example: "  sakimori finding show infected-203.0.113.7-20161001T0300Z --data sakimori-data",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one finding: sakimori finding list shows them")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if a.format == "csv" {
				return usage("-o csv: a finding isn't a table; use table or json")
			}
			var x struct {
				Finding api.Found        `json:"finding"`
				History []detect.Finding `json:"history"`
			}
			printed, err := a.answer(c, http.MethodGet, "/api/v1/findings/"+url.PathEscape(args[0]), nil, &x)
			if err != nil || printed {
				return err
			}
			return printFinding(c, x.Finding, x.History)
		},
	}
	a.flags(c)
	return c
}

func printFinding(c *cobra.Command, f api.Found, history []detect.Finding) error {
	w := c.OutOrStdout()
	fmt.Fprintf(w, "%s\n%s\n\n", say(f.Title.JA, f.Title.EN), say(f.Why.JA, f.Why.EN))
	rows := [][]string{
		{"id", f.ID},
		{"detector", f.Detector},
		{"state", string(f.State)},
		{"severity", fmt.Sprint(int(f.Severity))},
		{"confidence", fmt.Sprintf("%.3f", f.Confidence)},
		{"opened", f.Opened.Format(time.RFC3339)},
		{"changed", f.Changed.Format(time.RFC3339)},
	}
	if !f.Closed.IsZero() {
		rows = append(rows, []string{"closed", f.Closed.Format(time.RFC3339)})
	}
	for _, e := range f.Evidence {
		v := e.Value
		if e.Unit != "" {
			v += " " + e.Unit
		}
		if e.Error != "" {
			v += " (" + e.Error + ")"
		}
		rows = append(rows, []string{e.Key, v})
	}
	if err := printRows(w, "table", []string{"", ""}, rows); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, h := range history {
		fmt.Fprintf(w, "%s  %-7s  %s\n", h.Changed.Format(time.RFC3339), h.State, say(h.Title.JA, h.Title.EN))
	}
	return nil
}
