package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/console/api"
	"sakimori/detect"
)

func newIncident() *cobra.Command {
	c := &cobra.Command{
		Use: "incident", Short: "Route leaks, hijacks and outages / 経路漏えい・乗っ取り・到達不能", Args: noArgs,
		Long: `Lists incidents of routing, and shows one with the ways as they should be beside the ways as
they are. One leak is one incident, whatever the number of its prefixes.

経路の障害を一覧し、1 件について本来の経路と障害時の経路を並べて示します。1 件の漏えいは、
プレフィックスの数によらず 1 件の障害です。`,
		Example: "  sakimori incident list --data sakimori-data\n  sakimori incident show incident-20170825T032254Z-k3f9q2 --data sakimori-data",
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newIncidentList(), newIncidentShow())
	return c
}

func newIncidentList() *cobra.Command {
	var a asking
	var state, kind, about, from, to string
	var own bool
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "List incidents, open ones first / 障害の一覧", Args: noArgs,
		Long: `Lists incidents. The exit code is 3 when one lasts, so that a script can tell.

障害を一覧します。継続中のものがあれば終了コードは 3 です。`,
		Example: "  sakimori incident list --data sakimori-data --state open\n  sakimori incident list --about AS701 -o csv",
		RunE: func(c *cobra.Command, _ []string) error {
			only := ""
			if own {
				only = "true"
			}
			path := "/api/v1/routes/incidents" + query("state", state, "kind", kind, "q", about, "own", only, "from", from, "to", to, "limit", fmt.Sprint(limit))
			var list struct {
				Incidents []api.IncidentRow `json:"incidents"`
				Running   int               `json:"running"`
			}
			printed, err := a.answer(c, http.MethodGet, path, nil, &list)
			if err == nil && !printed {
				err = printIncidents(c, list.Incidents)
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
	f.StringVar(&kind, "kind", "", "leak, hijack, outage, blackhole or bogon")
	f.StringVar(&about, "about", "", "an AS (AS701), an address, a prefix, or a part of a customer's name")
	f.BoolVar(&own, "own", false, "only those that hit own or customers' space")
	f.StringVar(&from, "from", "", "begin, RFC 3339")
	f.StringVar(&to, "to", "", "end, RFC 3339")
	f.IntVar(&limit, "limit", 100, "rows, at most 500")
	fixed(c, "state", "open", "ended")
	fixed(c, "kind", string(detect.Leak), string(detect.Hijack), string(detect.Outage), string(detect.Blackhole), string(detect.Bogon))
	return c
}

func printIncidents(c *cobra.Command, list []api.IncidentRow) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(c.OutOrStdout(), say("経路の障害はありません。", "there are no incidents of routing."))
		return err
	}
	rows := make([][]string, 0, len(list))
	for i := range list {
		x := &list[i]
		where := x.Adjacency
		if where == "" && x.Leaker != 0 {
			where = "AS" + strconv.FormatUint(uint64(x.Leaker), 10)
		}
		own := 0
		for j := range x.Own {
			own += x.Own[j].Prefixes
		}
		until := x.Last
		if x.Closed != nil {
			until = *x.Closed
		}
		rows = append(rows, []string{
			x.ID, string(x.State), strings.TrimSpace(string(x.Kind) + " " + x.Form), where, fmt.Sprintf("%d (%d)", x.Prefixes.N, x.Now), fmt.Sprint(own),
			x.Opened.Format(time.RFC3339), until.Sub(x.Opened).Round(time.Second).String(), fmt.Sprintf("%d/%d", x.Seen, x.Whole), fmt.Sprintf("%.2f", x.Confidence),
		})
	}
	return printRows(c.OutOrStdout(), "table", []string{"id", "state", "kind", "where", "prefixes (now)", "own", "opened", "for", "seen by", "confidence"}, rows)
}

func newIncidentShow() *cobra.Command {
	var a asking
	c := &cobra.Command{
		Use: "show ID", Short: "Show one incident with both ways / 障害の詳細(本来の経路と障害時の経路)",
		Example: "  sakimori incident show incident-20170825T032254Z-k3f9q2 --data sakimori-data",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one incident: sakimori incident list shows them")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if a.format == "csv" {
				return usage("-o csv: an incident isn't a table; use table or json")
			}
			var x struct {
				Incident api.IncidentWhole `json:"incident"`
			}
			printed, err := a.answer(c, http.MethodGet, "/api/v1/routes/incidents/"+url.PathEscape(args[0]), nil, &x)
			if err != nil || printed {
				return err
			}
			return printIncident(c, &x.Incident)
		},
	}
	a.flags(c)
	return c
}

func printIncident(c *cobra.Command, x *api.IncidentWhole) error {
	w := c.OutOrStdout()
	fmt.Fprintf(w, "%s\n%s\n\n", say(x.Title.JA, x.Title.EN), say(x.Why.JA, x.Why.EN))
	rows := [][]string{
		{"id", x.ID},
		{"state", string(x.State)},
		{"kind", strings.TrimSpace(string(x.Kind) + " " + x.Form)},
		{"leaker", asName(x.Leaker, x.LeakerName)},
		{"adjacency", x.Adjacency},
		{"opened", x.Opened.Format(time.RFC3339)},
		{"detected", fmt.Sprintf("%s (+%s)", x.Detected.Format(time.RFC3339), x.Detected.Sub(x.Opened).Round(10*time.Millisecond))},
		{"prefixes", fmt.Sprintf("%d (%s)", x.Prefixes.N, say(fmt.Sprintf("現在 %d・最大 %d・新しい細分経路 %d", x.Now, x.Peak, x.MoreSpecific), fmt.Sprintf("now %d, peak %d, new more-specifics %d", x.Now, x.Peak, x.MoreSpecific)))},
		{"addresses", fmt.Sprintf("%.0f", x.Addresses)},
		{"seen by", fmt.Sprintf("%d/%d", x.Seen, x.Whole)},
		{"confidence", fmt.Sprintf("%.2f", x.Confidence)},
	}
	if x.Closed != nil {
		rows = append(rows, []string{"closed", x.Closed.Format(time.RFC3339)})
	}
	for i := range x.Own {
		o := &x.Own[i]
		rows = append(rows, []string{"own", strings.TrimSpace(fmt.Sprintf("%s %s (%d)", o.Prefix, o.Name, o.Prefixes))})
	}
	for i := range x.Signals {
		s := &x.Signals[i]
		rows = append(rows, []string{s.Name, fmt.Sprintf("%.2f · %s", s.Score, say(s.Words.JA, s.Words.EN))})
	}
	for i := range x.Lanes[:min(len(x.Lanes), 8)] {
		l := &x.Lanes[i]
		rows = append(rows,
			[]string{say("本来の経路", "as it should be"), say(wayWords(l.Usual, "不明"), wayWords(l.Usual, "not known"))},
			[]string{say("障害時の経路", "as it was"), say(wayWords(l.Is, "経路なし"), wayWords(l.Is, "no way")) + fmt.Sprintf("  (%s, %d)", l.Prefix, l.Routes)})
	}
	return printRows(w, "table", []string{"", ""}, rows)
}

func asName(as uint32, name string) string {
	if as == 0 {
		return say("特定できません", "can't be told")
	}
	return strings.TrimSpace(fmt.Sprintf("AS%d %s", as, name))
}

// wayWords is an AS path as it is read: the vantage point first.
func wayWords(path []uint32, none string) string {
	if len(path) == 0 {
		return none
	}
	words := make([]string, len(path))
	for i, as := range path {
		words[i] = strconv.FormatUint(uint64(as), 10)
	}
	return strings.Join(words, " → ")
}
