package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/detect"
)

func newFlow() *cobra.Command {
	c := &cobra.Command{Use: "flow", Short: "The flows that were kept / 蓄積したフローを調べる"}
	c.AddCommand(newFlowTop(), newFlowTalkers(), newFlowSearch())
	return c
}

// flowWords are what a filter may be made of: the parameters of the API.
var flowWords = []string{
	"src", "dst", "addr", "proto", "port", "src_port", "dst_port", "as", "src_as", "dst_as", "country", "exporter", "interface", "customer", "direction", "flags", "min_bytes",
}

const flowFilterHelp = `A filter is made of words name=value; a name given twice takes either, and all names have
to fit: src, dst, addr (prefixes), proto, port, src_port, dst_port, as, src_as, dst_as,
country, exporter, interface (its name, or exporter/ifIndex), customer, direction (in or
out), flags (syn+ack), min_bytes. By default the last 24 hours of the data.

絞り込みは「名前=値」の語を並べます。同じ名前はいずれか、異なる名前はすべてに一致するものを
選びます: src、dst、addr(プレフィックス)、proto、port、src_port、dst_port、as、src_as、dst_as、
country、exporter、interface(名前、または exporter/ifIndex)、customer、direction(in または
out)、flags(syn+ack)、min_bytes。既定はデータの最後の24時間です。`

// flowAsk is what the commands have in common.
type flowAsk struct {
	asking

	from, to string
	last     time.Duration
	order    string
	limit    int
}

func (a *flowAsk) options(c *cobra.Command, limit int) {
	a.flags(c)
	f := c.Flags()
	f.StringVar(&a.from, "from", "", "begin, RFC 3339")
	f.StringVar(&a.to, "to", "", "end, RFC 3339")
	f.DurationVar(&a.last, "last", 0, "instead of them: the last so much of the data, as 15m or 6h")
	f.IntVar(&a.limit, "limit", limit, "rows")
}

// question is the query of the API, of the words of the command line.
func (a *flowAsk) question(words []string) (url.Values, error) {
	q := url.Values{}
	for _, w := range words {
		name, value, ok := strings.Cut(w, "=")
		if !ok || value == "" || !slices.Contains(flowWords, name) {
			return nil, usage("%s: a filter is made of words name=value, as dst=203.0.113.0/24 proto=udp port=53; the names are %s", w, strings.Join(flowWords, ", "))
		}
		q.Add(name, value)
	}
	if a.last != 0 && (a.from != "" || a.to != "") {
		return nil, usage("--last stands for --from and --to: give one or the other")
	}
	if a.last < 0 {
		return nil, usage("--last %s: give a length of time, as 15m or 6h", a.last)
	}
	for name, value := range map[string]string{"from": a.from, "to": a.to, "order": a.order} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q, nil
}

// flowSpan is what an answer says of what it is from.
type flowSpan struct {
	State  string       `json:"state"`
	Reason *detect.Text `json:"reason"`
	Grain  string       `json:"grain"`
	From   time.Time    `json:"from"`
	To     time.Time    `json:"to"`
	Data   *struct {
		To time.Time `json:"to"`
	} `json:"data"`
}

// lately sets the span of --last, which ends where the data do.
func (a *flowAsk) lately(c *cobra.Command, ask asker, q url.Values) error {
	if a.last == 0 {
		return nil
	}
	b, err := ask(c.Context(), http.MethodGet, "/api/v1/flows/top?by=proto&limit=1", nil, "application/json")
	if err != nil {
		return err
	}
	var s flowSpan
	if err := json.Unmarshal(b, &s); err != nil || s.Data == nil {
		return err
	}
	q.Set("from", s.Data.To.Add(-a.last).Format(time.RFC3339Nano))
	q.Set("to", s.Data.To.Format(time.RFC3339Nano))
	return nil
}

// run asks one question and prints the answer.
func (a *flowAsk) run(c *cobra.Command, path string, q url.Values, show func(*cobra.Command, []byte) error) error {
	if a.limit < 1 || a.limit > 100 {
		return usage("--limit %d: give 1 to 100", a.limit)
	}
	q.Set("limit", strconv.Itoa(a.limit))
	ask, done, err := a.open(c)
	if err != nil {
		return err
	}
	accept := "application/json"
	if a.format == "csv" {
		accept = "text/csv"
	}
	var b []byte
	if err = a.lately(c, ask, q); err == nil {
		b, err = ask(c.Context(), http.MethodGet, path+"?"+q.Encode(), nil, accept)
	}
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
	return show(c, b)
}

func newFlowTop() *cobra.Command {
	var a flowAsk
	var by string
	c := &cobra.Command{
		Use: "top [NAME=VALUE…]", Short: "Rank what flows have in common / フローの順位を表示する",
		Long: "Ranks addresses, ports, networks, countries, exporters, interfaces or customers by their traffic.\n\nアドレス・ポート・AS・国・装置・インターフェース・顧客を通信量の順に並べます。\n\n" + flowFilterHelp,
		Example: `  sakimori flow top --data sakimori-data --last 1h
  sakimori flow top --by src_as dst=203.0.113.0/24 proto=udp port=53 -o csv`,
		RunE: func(c *cobra.Command, words []string) error {
			q, err := a.question(words)
			if err != nil {
				return err
			}
			q.Set("by", by)
			return a.run(c, "/api/v1/flows/top", q, printFlowTop)
		},
	}
	a.options(c, 20)
	c.Flags().StringVar(&by, "by", "dst", "src, dst, src_port, dst_port, proto, src_as, dst_as, src_country, dst_country, exporter, in, out, customer or flags")
	fixed(c, "by", "src", "dst", "src_port", "dst_port", "proto", "src_as", "dst_as", "src_country", "dst_country", "exporter", "in", "out", "customer", "flags")
	c.Flags().StringVar(&a.order, "order", "bytes", "bytes, packets or flows")
	fixed(c, "order", "bytes", "packets", "flows")
	return c
}

func newFlowTalkers() *cobra.Command {
	var a flowAsk
	c := &cobra.Command{
		Use: "talkers [NAME=VALUE…]", Short: "Who speaks most to whom / 通信の多い組を表示する",
		Long:    "Ranks pairs of source and destination, with protocol and destination port.\n\n送信元と宛先の組を、プロトコルと宛先ポートとともに通信量の順に並べます。\n\n" + flowFilterHelp,
		Example: "  sakimori flow talkers --last 15m --order packets direction=in flags=syn",
		RunE: func(c *cobra.Command, words []string) error {
			q, err := a.question(words)
			if err != nil {
				return err
			}
			return a.run(c, "/api/v1/flows/talkers", q, printFlowTalkers)
		},
	}
	a.options(c, 20)
	c.Flags().StringVar(&a.order, "order", "bytes", "bytes, packets or flows")
	fixed(c, "order", "bytes", "packets", "flows")
	return c
}

type flowMeasure struct {
	Packets detect.Measure `json:"packets"`
	Bytes   detect.Measure `json:"bytes"`
	Flows   uint64         `json:"flows"`
	Samples bool           `json:"samples"`
	Share   float64        `json:"share"`
}

type flowPart struct {
	Packets uint64  `json:"packets"`
	Bytes   uint64  `json:"bytes"`
	Share   float64 `json:"share"`
}

// flowRanking is what rankings have besides their rows.
type flowRanking struct {
	flowSpan

	Total   flowMeasure `json:"total"`
	Other   flowPart    `json:"other"`
	LeftOut flowPart    `json:"left_out"`
	Maybe   flowPart    `json:"maybe"`
}

// head says from what an answer is; more is false where there is nothing to print.
func (s *flowSpan) head(c *cobra.Command) (more bool, err error) {
	w := c.OutOrStdout()
	switch {
	case s.Reason != nil:
		_, err = fmt.Fprintln(w, say(s.Reason.JA, s.Reason.EN))
		return false, err
	case s.State == "zero":
		_, err = fmt.Fprintln(w, say("一致するフローはありません。", "no flows fit."))
		return false, err
	}
	_, err = fmt.Fprintf(w, say("%s ～ %s(粒度 %s)\n", "%s to %s, kept by %s\n"), s.From.Format(time.RFC3339), s.To.Format(time.RFC3339), s.Grain)
	return true, err
}

func (r *flowRanking) head(c *cobra.Command) (more bool, err error) {
	if more, err = r.flowSpan.head(c); err != nil || !more {
		return more, err
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), say("合計: %s パケット、%s バイト、%s フロー\n\n", "total: %s packets, %s bytes, %s flows\n\n"),
		measured(r.Total.Packets), measured(r.Total.Bytes), r.Total.flows())
	return true, err
}

// foot says what isn't in the rows.
func (r *flowRanking) foot(c *cobra.Command) error {
	w := c.OutOrStdout()
	fmt.Fprintf(w, say("\nその他: %.1f %%", "\nothers: %.1f %%"), 100*r.Other.Share)
	if r.LeftOut.Packets > 0 {
		fmt.Fprintf(w, say("(うち %.1f %% は小さなフローで、個別には保存していません)", " (of which %.1f %% are small flows that weren't kept one by one)"), 100*r.LeftOut.Share)
	}
	if r.Maybe.Packets > 0 {
		fmt.Fprintf(w, say("\nほかに、条件に一致するか分からない小さなフローが %s パケットあります", "\nbesides, small flows of %s packets of which it wasn't kept whether they fit"), thousands(r.Maybe.Packets))
	}
	_, err := fmt.Fprintln(w)
	return err
}

func (m *flowMeasure) flows() string {
	switch {
	case m.Samples && m.Flows == 0:
		return say("不明", "unknown")
	case m.Samples:
		return "≥" + thousands(m.Flows)
	}
	return thousands(m.Flows)
}

func (m *flowMeasure) cells() []string {
	return []string{measured(m.Bytes), measured(m.Packets), m.flows(), fmt.Sprintf("%.1f %%", 100*m.Share)}
}

// measured prints a figure with its error, where it has one.
func measured(m detect.Measure) string {
	s := thousands(uint64(m.N))
	if m.Error == 0 || m.N == 0 {
		return s
	}
	return s + plusMinus(m.Error/m.N)
}

func printFlowTop(c *cobra.Command, b []byte) error {
	var t struct {
		flowRanking
		Rows []struct {
			Key  string `json:"key"`
			Name string `json:"name"`
			flowMeasure
		} `json:"rows"`
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return err
	}
	if more, err := t.head(c); err != nil || !more {
		return err
	}
	rows := make([][]string, 0, len(t.Rows))
	for i := range t.Rows {
		r := &t.Rows[i]
		rows = append(rows, append([]string{r.Key, r.Name}, r.cells()...))
	}
	if err := printRows(c.OutOrStdout(), "table", []string{"key", "name", "bytes", "packets", "flows", "share"}, rows); err != nil {
		return err
	}
	return t.foot(c)
}

func printFlowTalkers(c *cobra.Command, b []byte) error {
	var t struct {
		flowRanking
		Rows []struct {
			Src     string `json:"src"`
			Dst     string `json:"dst"`
			Proto   string `json:"proto"`
			DstPort uint16 `json:"dst_port"`
			flowMeasure
		} `json:"rows"`
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return err
	}
	if more, err := t.head(c); err != nil || !more {
		return err
	}
	rows := make([][]string, 0, len(t.Rows))
	for i := range t.Rows {
		r := &t.Rows[i]
		rows = append(rows, append([]string{r.Src, r.Dst, r.Proto, strconv.Itoa(int(r.DstPort))}, r.cells()...))
	}
	if err := printRows(c.OutOrStdout(), "table", []string{"src", "dst", "proto", "dst_port", "bytes", "packets", "flows", "share"}, rows); err != nil {
		return err
	}
	return t.foot(c)
}
