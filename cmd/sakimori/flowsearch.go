package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

func newFlowSearch() *cobra.Command {
	var a flowAsk
	c := &cobra.Command{
		Use: "search [NAME=VALUE…]", Short: "List kept flows, the latest first / フローを新しい順に検索する",
		Long: `Lists each flow as it came, where all of them were kept, and else what was alike in a
minute, five minutes or an hour: the first line says which.

すべてのフローを保存している期間はそのまま、そうでない期間は1分・5分・1時間ごとにまとめた
ものを、新しい順に一覧します。どちらであるかは1行目に示します。

` + flowFilterHelp,
		Example: `  sakimori flow search --last 10m addr=203.0.113.0/24 min_bytes=1000000
  sakimori flow search --from 2026-11-20T03:00:00Z --to 2026-11-20T03:05:00Z proto=udp src_port=53 --limit 10000 -o csv`,
		RunE: func(c *cobra.Command, words []string) error {
			if a.limit < 1 {
				return usage("--limit %d: give 1 or more", a.limit)
			}
			q, err := a.question(words)
			if err != nil {
				return err
			}
			return a.search(c, q)
		},
	}
	a.options(c, 50)
	return c
}

// found is a page of rows.
type found struct {
	flowSpan

	Rows []json.RawMessage `json:"rows"`
	Next *string           `json:"next"`
}

// foundRow is what people are shown of one.
type foundRow struct {
	At       time.Time `json:"at"`
	Until    time.Time `json:"until"`
	Exporter uint32    `json:"exporter"`
	Name     string    `json:"exporter_name"`
	In       uint32    `json:"in"`
	Out      uint32    `json:"out"`
	Src      string    `json:"src"`
	Dst      string    `json:"dst"`
	Proto    string    `json:"proto"`
	SrcPort  *uint16   `json:"src_port"`
	DstPort  *uint16   `json:"dst_port"`
	Flags    string    `json:"flags"`
	Packets  uint64    `json:"packets"`
	Bytes    uint64    `json:"bytes"`
	Flows    uint64    `json:"flows"`
	Rate     uint32    `json:"rate"`
	SrcAS    uint32    `json:"src_as"`
	DstAS    uint32    `json:"dst_as"`
	Customer string    `json:"customer"`
}

var foundColumns = []string{"at", "until", "exporter", "in", "out", "src", "src_port", "dst", "dst_port", "proto", "flags", "packets", "bytes", "flows", "rate", "src_as", "dst_as", "customer"}

func (r *foundRow) cells() []string {
	port := func(p *uint16) string {
		if p == nil {
			return ""
		}
		return strconv.Itoa(int(*p))
	}
	exporter := r.Name
	if exporter == "" {
		exporter = fmt.Sprint(r.Exporter)
	}
	return []string{
		r.At.Format(time.RFC3339Nano), r.Until.Format(time.RFC3339Nano), exporter, fmt.Sprint(r.In), fmt.Sprint(r.Out), r.Src, port(r.SrcPort), r.Dst, port(r.DstPort), r.Proto, r.Flags,
		fmt.Sprint(r.Packets), fmt.Sprint(r.Bytes), fmt.Sprint(r.Flows), fmt.Sprint(r.Rate), fmt.Sprint(r.SrcAS), fmt.Sprint(r.DstAS), r.Customer,
	}
}

// search asks for page after page, as many as it takes.
func (a *flowAsk) search(c *cobra.Command, q url.Values) error {
	const page = 500
	ask, done, err := a.open(c)
	if err != nil {
		return err
	}
	var all found
	err = a.lately(c, ask, q)
	for err == nil && len(all.Rows) < a.limit {
		q.Set("limit", strconv.Itoa(min(page, a.limit-len(all.Rows))))
		var b []byte
		var p found
		if b, err = ask(c.Context(), http.MethodGet, "/api/v1/flows/search?"+q.Encode(), nil, "application/json"); err != nil {
			break
		}
		if err = json.Unmarshal(b, &p); err != nil {
			break
		}
		p.Rows = append(all.Rows, p.Rows...)
		if all = p; p.Next == nil {
			break
		}
		q.Set("cursor", *p.Next)
	}
	if cerr := done(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return a.printFound(c, &all)
}

func (a *flowAsk) printFound(c *cobra.Command, all *found) error {
	w := c.OutOrStdout()
	if a.format == "json" {
		all.Rows = append([]json.RawMessage{}, all.Rows...) // [] and not null
		return printJSON(w, map[string]any{"state": all.State, "reason": all.Reason, "grain": all.Grain, "from": all.From, "to": all.To, "rows": all.Rows, "more": all.Next != nil})
	}
	if a.format == "table" {
		if more, err := all.head(c); err != nil || !more {
			return err
		}
	}
	rows := make([][]string, len(all.Rows))
	for i := range all.Rows {
		var r foundRow
		if err := json.Unmarshal(all.Rows[i], &r); err != nil {
			return err
		}
		rows[i] = r.cells()
	}
	if err := printRows(w, a.format, foundColumns, rows); err != nil || a.format != "table" || all.Next == nil {
		return err
	}
	_, err := fmt.Fprintln(w, say("\nほかにもあります(--limit で増やせます)", "\nthere are more: raise --limit"))
	return err
}
