package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/console/api"
)

func newRoute() *cobra.Command {
	c := &cobra.Command{
		Use: "route", Short: "Routes: who saw which way when, feeds, neighbours, drill / 経路の参照・監視・訓練", Args: noArgs,
		Long: `Shows who sees which way to a prefix, now or at a time; follows incidents; tells how feeds and
neighbours do; replays an incident against one's own import policy; says which share of one's
ways ROV, ASPA and OTC would protect.

あるプレフィックスへの経路(現在・過去)、障害の監視、入力と隣接の状態、自社の受信ポリシーに対する
障害の再現、ROV・ASPA・OTC による保護の割合を示します。`,
		Example: "  sakimori route show 203.0.113.0/24 --at 2017-08-25T03:25:00Z --data sakimori-data\n  sakimori route drill --policy policy.yaml\n  sakimori route watch --data sakimori-data",
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newRouteShow(), newRouteWatch(), newRouteWatched(), newRouteNeighbors(), newRouteFeeds(), newRouteReadiness(), newRouteDrill())
	return c
}

func newRouteShow() *cobra.Command {
	var a asking
	var at string
	c := &cobra.Command{
		Use: "show PREFIX", Short: "Who sees which way to a prefix, now or at a time / 経路を見る(時刻指定)",
		Long: `Shows every way that was seen at the time: to the prefix itself, to the closest one around it, and
to those inside it. Without --at: now, of the running serve, or as it was last kept.

その時刻に見えていたすべての経路(そのもの・それを含む最も細かいもの・その内側)を示します。`,
		Example: "  sakimori route show 203.0.113.0/24 --at 2017-08-25T03:25:00Z --data sakimori-data\n  sakimori route show 203.0.113.7 -o csv",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one prefix or address, for example 203.0.113.0/24")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			var x api.RouteShown
			printed, err := a.answer(c, http.MethodGet, "/api/v1/routes/show"+query("prefix", args[0], "at", at), nil, &x)
			if err != nil || printed {
				return err
			}
			return printShown(c, &x)
		},
	}
	a.flags(c)
	c.Flags().StringVar(&at, "at", "", "RFC 3339; none: now")
	return c
}

func printShown(c *cobra.Command, x *api.RouteShown) error {
	w := c.OutOrStdout()
	fmt.Fprintf(w, "%s  %s\n", x.Prefix, x.At.Format(time.RFC3339))
	if x.Kept == nil && !x.Now {
		_, err := fmt.Fprintln(w, say("この時刻の経路は保存されていません。", "no routes are kept of this time."))
		return err
	}
	if len(x.Routes) == 0 {
		fmt.Fprintln(w, say("経路を見ていたピアはありません。", "no peer saw a way to it."))
	}
	rows := make([][]string, 0, len(x.Routes))
	for i := range x.Routes {
		r := &x.Routes[i]
		since := ""
		if r.Since != nil {
			since = r.Since.Format(time.RFC3339)
		}
		rows = append(rows, []string{r.Prefix, r.Match, fmt.Sprintf("AS%d %s", r.PeerAS, r.Peer), wayWords(r.Path, "-"), r.ROV, since})
	}
	if len(rows) > 0 {
		if err := printRows(w, "table", []string{"prefix", "match", "peer", "way", "rov", "since"}, rows); err != nil {
			return err
		}
	}
	if len(x.Incidents) > 0 {
		fmt.Fprintln(w, say("障害: ", "incidents: ")+strings.Join(x.Incidents, " "))
	}
	return nil
}

// newRouteTable makes a command that shows a list of the API as a table, json or csv.
func newRouteTable(use, short, example, path string) *cobra.Command {
	var a asking
	c := &cobra.Command{
		Use: use, Short: short, Args: noArgs, Example: "  sakimori route " + example,
		RunE: func(c *cobra.Command, _ []string) error {
			if a.format != "table" {
				_, err := a.answer(c, http.MethodGet, path, nil, &json.RawMessage{})
				return err
			}
			ask, done, err := a.open(c)
			if err != nil {
				return err
			}
			b, err := ask(c.Context(), http.MethodGet, path, nil, "text/csv")
			if err = errors.Join(err, done()); err != nil {
				return err
			}
			rows, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
			if err != nil || len(rows) == 0 {
				return err
			}
			return printRows(c.OutOrStdout(), "table", rows[0], rows[1:])
		},
	}
	a.flags(c)
	return c
}

func newRouteWatched() *cobra.Command {
	return newRouteTable("watched", "Own prefixes and how the world sees them / 監視対象のプレフィックス", "watched --data sakimori-data", "/api/v1/routes/watched")
}

func newRouteNeighbors() *cobra.Command {
	return newRouteTable("neighbors", "Neighbours and what they announce / 隣接とその経路数", "neighbors --data sakimori-data -o csv", "/api/v1/routes/neighbors")
}

func newRouteFeeds() *cobra.Command {
	var a asking
	c := &cobra.Command{
		Use: "feeds", Short: "How the sources of routes do / 経路の入力の状態", Args: noArgs, Example: "  sakimori route feeds --data sakimori-data",
		Long: `Tells how each feed does, and what to do about one that doesn't. The exit code is 3 when one is
silent or at fault.

各入力の状態と対処を示します。途絶・異常があれば終了コードは 3 です。`,
		RunE: func(c *cobra.Command, _ []string) error {
			if a.format == "csv" {
				return usage("-o csv: feeds are no plain table; use table or json")
			}
			var x api.RouteFeeds
			printed, err := a.answer(c, http.MethodGet, "/api/v1/routes/feeds", nil, &x)
			if err != nil {
				return err
			}
			bad := false
			rows := make([][]string, 0, len(x.Feeds))
			for i := range x.Feeds {
				f := &x.Feeds[i]
				bad = bad || f.State != "ok"
				last := "-"
				if f.Last != nil {
					last = f.Last.Format(time.RFC3339)
				}
				rows = append(rows, []string{f.Name, f.Kind, f.State, fmt.Sprint(f.Peers), fmt.Sprint(f.Routes), last, say(f.Words.JA, f.Words.EN)})
				for _, adv := range f.Advice {
					rows = append(rows, []string{"", "", "", "", "", "", "→ " + say(adv.JA, adv.EN)})
				}
			}
			for i := range x.RPKI.Sources {
				r := &x.RPKI.Sources[i]
				bad = bad || r.State != "ok"
				rows = append(rows, []string{r.Name, "rpki/" + r.Kind, r.State, "", fmt.Sprintf("%d+%d", r.VRPs, r.ASPAs), "", say(r.Words.JA, r.Words.EN)})
			}
			if !printed {
				if err := printRows(c.OutOrStdout(), "table", []string{"feed", "kind", "state", "peers", "routes", "last", ""}, rows); err != nil {
					return err
				}
			}
			if bad {
				return &exitError{exitFindings, nil}
			}
			return nil
		},
	}
	a.flags(c)
	return c
}

func newRouteReadiness() *cobra.Command {
	var a asking
	c := &cobra.Command{
		Use: "readiness", Short: "Which share of the ways ROV, ASPA and OTC would protect / ROV・ASPA・OTC の備え", Args: noArgs, Example: "  sakimori route readiness --data sakimori-data",
		RunE: func(c *cobra.Command, _ []string) error {
			if a.format == "csv" {
				return usage("-o csv: use table or json")
			}
			var x api.RouteReadiness
			printed, err := a.answer(c, http.MethodGet, "/api/v1/routes/readiness", nil, &x)
			if err != nil || printed {
				return err
			}
			return printReadiness(c, &x)
		},
	}
	a.flags(c)
	return c
}

func printReadiness(c *cobra.Command, x *api.RouteReadiness) error {
	w := c.OutOrStdout()
	if x.Computed == nil {
		_, err := fmt.Fprintln(w, say("経路表がありません(serve の起動中に尋ねてください)。", "there is no table of routes: ask while serve runs."))
		return err
	}
	share := func(n int) string { return fmt.Sprintf("%d (%.1f %%)", n, 100*float64(n)/float64(max(x.Paths, 1))) }
	rows := [][]string{{say("経路", "ways"), fmt.Sprint(x.Paths)}}
	for _, s := range []string{"valid", "invalid", "not-found", "unknown"} {
		rows = append(rows, []string{"ROV " + s, share(x.ROV[s])})
	}
	for _, s := range []string{"valid", "invalid", "unknown", "none"} {
		rows = append(rows, []string{"ASPA " + s, share(x.ASPA[s])})
	}
	rows = append(rows, []string{"OTC", share(x.OTC.Marked)})
	for i := range x.Own {
		rows = append(rows, []string{x.Own[i].Prefix, say(x.Own[i].Words.JA, x.Own[i].Words.EN)})
	}
	for i := range x.Customers {
		k := &x.Customers[i]
		for _, m := range k.Must {
			rows = append(rows, []string{asName(k.AS, k.Name), say(m.JA, m.EN)})
		}
	}
	return printRows(w, "table", []string{"", ""}, rows)
}

func newRouteWatch() *cobra.Command {
	var a asking
	var once bool
	c := &cobra.Command{
		Use: "watch", Short: "Follow incidents as they come / 障害を見張る", Args: noArgs,
		Long: `Prints each incident when it opens, grows and closes, until it is stopped. With --once it looks once
and ends: the exit code is 3 when an incident lasts.

障害の発生・拡大・終了を順に表示します。--once は一度だけ確認して終わります(継続中なら終了コード 3)。`,
		Example: "  sakimori route watch --data sakimori-data\n  sakimori route watch --once -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			if a.format == "csv" {
				return usage("-o csv: use table or json")
			}
			ask, done, err := a.open(c)
			if err != nil {
				return err
			}
			defer done() //nolint:errcheck // it was only read
			return watchIncidents(c, ask, a.format, once)
		},
	}
	a.flags(c)
	c.Flags().BoolVar(&once, "once", false, "look once")
	return c
}

// watchIncidents tells what is new of incidents each two seconds.
func watchIncidents(c *cobra.Command, ask asker, format string, once bool) error {
	told := map[string]string{}
	second := time.NewTicker(2 * time.Second)
	defer second.Stop()
	for {
		b, err := ask(c.Context(), http.MethodGet, "/api/v1/routes/incidents?limit=100", nil, "application/json")
		if err != nil {
			return err
		}
		var list struct {
			Incidents []api.IncidentRow `json:"incidents"`
			Running   int               `json:"running"`
		}
		if err := json.Unmarshal(b, &list); err != nil {
			return err
		}
		for i := len(list.Incidents) - 1; i >= 0; i-- {
			x := &list.Incidents[i]
			now := fmt.Sprintf("%s %d", x.State, x.Prefixes.N)
			if told[x.ID] == now || told[x.ID] == "" && x.Closed != nil {
				continue
			}
			told[x.ID] = now
			if format == "json" {
				if err := json.NewEncoder(c.OutOrStdout()).Encode(x); err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(c.OutOrStdout(), "%s  %s  %s  %s\n", x.Changed.Format(time.RFC3339), x.State, x.ID, say(x.Title.JA, x.Title.EN))
		}
		if once {
			if list.Running > 0 {
				return &exitError{exitFindings, nil}
			}
			return nil
		}
		select {
		case <-c.Context().Done():
			return nil // it was stopped
		case <-second.C:
		}
	}
}
