//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/base/geo"
	"sakimori/base/wire/packet"
	house "sakimori/console"
	"sakimori/console/api"
	"sakimori/observe/telescope"
)

// asks is how often each question is asked, besides the first time.
const asks = 24

// patience is how long one question is asked again and again: a slow one is
// asked less often, and its row says so.
const patience = time.Minute

// question is one request as the console makes it; i counts the times.
type question struct {
	name string
	path func(i int) string
}

// spanned is a path with a span of whole days up to the data's last hour, and
// each time up to another hour of the day before it, so that no answer is asked
// for twice in a row.
func spanned(i int, path string, days int, query ...string) string {
	to := yearEnd.Truncate(time.Hour).Add(time.Hour - time.Duration(5*i%24)*time.Hour)
	v := url.Values{"from": {to.AddDate(0, 0, -days).Format(time.RFC3339)}, "to": {to.Format(time.RFC3339)}}
	for _, q := range query {
		k, x, _ := strings.Cut(q, "=")
		v.Set(k, x)
	}
	return "/api/v1" + path + "?" + v.Encode()
}

// port is 23/tcp at first, then others, so that no answer is asked for twice.
func port(i int) string { return fmt.Sprintf("key=%d/tcp", (23+i*997)%65536) }

func questions() (list []question) {
	ask := func(name, path string, days int, query ...string) {
		list = append(list, question{name, func(i int) string { return spanned(i, path, days, query...) }})
	}
	spans := []struct {
		name string
		days int
	}{{"24 h", 1}, {"30 d", 30}, {"year", 365}}
	ask("series total, year by day, with the year before", "/telescope/series", 365, "dim=total", "grain=day", "previous=true")
	list = append(list,
		question{"series of a port, year by day", func(i int) string { return spanned(i, "/telescope/series", 365, "dim=port", "grain=day", port(i)) }},
		question{"series of a port, 30 d by hour", func(i int) string { return spanned(i, "/telescope/series", 30, "dim=port", "grain=hour", port(i)) }})
	ask("series total, 24 h by hour", "/telescope/series", 1, "dim=total")
	for _, s := range spans {
		for _, dim := range []string{"port", "country", "as"} {
			ask("top "+dim+" by packets, "+s.name, "/telescope/top", s.days, "dim="+dim, "limit=12")
		}
	}
	for _, s := range spans {
		ask("top port by sources, "+s.name, "/telescope/top", s.days, "dim=port", "limit=12", "order=sources")
	}
	ask("heat strip, 24 h × 12 ports", "/telescope/heat", 1, "ports=12")
	ask("heat strip, 30 d × 12 ports", "/telescope/heat", 30, "ports=12")
	ask("events, first page of 24 h", "/telescope/events", 1, "limit=50")
	ask("events of 23/tcp, scans of 30 d", "/telescope/events", 30, "limit=50", "port=23/tcp", "scanner=true")
	return append(list,
		question{"page of one address", func(i int) string { return "/api/v1/address/" + netip.AddrFrom4([4]byte{100, 0, 0, byte(i)}).String() }},
		question{"years", func(int) string { return "/api/v1/telescope/years" }},
		question{"situation", func(int) string { return "/api/v1/situation" }},
		question{"status", func(int) string { return "/api/v1/status" }})
}

// darknetPage is what the console's page 観測 asks for at once.
func darknetPage(i int) (paths []string) {
	paths = append(paths, spanned(i, "/telescope/series", 1, "dim=total", "previous=true"))
	for _, dim := range []string{"class", "port", "country", "as"} {
		paths = append(paths, spanned(i, "/telescope/top", 1, "dim="+dim, "limit=12"))
	}
	return append(paths, spanned(i, "/telescope/heat", 1, "ports=12"), spanned(i, "/telescope/events", 1, "limit=50"), "/api/v1/telescope/years", "/api/v1/situation")
}

// atEnd says that the data ends where the year does, and that it goes on.
type atEnd struct{}

func (atEnd) DataTime() (time.Time, bool) { return yearEnd, true }

func (atEnd) Inputs() []api.Input {
	end := yearEnd
	return []api.Input{{Name: "year", Kind: "live", State: "running", LastPacket: &end}}
}

// places answers where an address is, for the API.
type places struct{ table *geo.Table }

func (p places) Place(a netip.Addr) (country string, asn uint32, lat, lon float32, located bool) {
	x := p.table.Lookup(packet.FromNetip(a))
	return strings.Trim(string(x.Country[:]), "\x00"), x.ASN, x.Lat, x.Lon, x.Lat != 0 || x.Lon != 0
}

func (p places) ASName(asn uint32) string { return p.table.ASName(asn) }

// browser asks the API over HTTP, as a console that is logged in.
type browser struct{ address, secret string }

func (b browser) ask(ctx context.Context, path string) (took time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.address+path, http.NoBody)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+b.secret)
	began := time.Now()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	took = time.Since(began)
	if err != nil {
		return took, err
	}
	var panel struct{ State string }
	if err := json.Unmarshal(body, &panel); err != nil || res.StatusCode != http.StatusOK {
		return took, errors.Join(fmt.Errorf("%s: %s: %.300s", path, res.Status, body), err)
	}
	if panel.State != "ok" && !strings.HasSuffix(path, "/status") {
		return took, &wrongError{fmt.Sprintf("%s: state %q where there is data", path, panel.State)}
	}
	return took, nil
}

// serve opens the API over a year on a loopback port until stop.
func (y *year) serve(ctx context.Context) (b browser, stop func() error, err error) {
	table, err := geo.Load(geo.Options{Builtin: true})
	if err == nil {
		err = table.Prepare() // as serve does, before anybody asks
	}
	if err != nil {
		return b, nil, err
	}
	tokens := api.NewTokens(clock.System{})
	if b.secret, _, err = tokens.Issue(ctx, house.Token{Kind: house.APIToken, Roles: house.Viewer, User: "bench"}, time.Hour); err != nil {
		return b, nil, err
	}
	server, err := api.New(api.Deps{
		Archive: y.r, Inputs: atEnd{}, Tokens: tokens, Clock: clock.System{}, Geo: places{table},
		IoT: api.IoT{Dated: telescope.IoTDated.Format(time.DateOnly), Ports: telescope.IoTKeys()},
	})
	if err != nil {
		return b, nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return b, nil, err
	}
	b.address = l.Addr().String()
	srv := &http.Server{Handler: server.Handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(l) }() // ends with Close
	return b, srv.Close, nil
}

// console is part C.
func console(ctx context.Context, o *options, r *report) (s section, err error) {
	s = section{
		title: "C. コンソールの問い合わせ / The console's questions",
		head:  []string{"question (GET, over HTTP)", "first ms", "p50 ms", "p95 ms", "worst ms", "< 100 ms"},
	}
	y, made, err := openYear(ctx, o)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, y.s.Close()) }()
	b, stop, err := y.serve(ctx)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	put := func(name string, first time.Duration, took []time.Duration) {
		slices.Sort(took)
		p95 := took[len(took)*95/100]
		ok := "yes"
		if p95 >= mostP95 {
			ok = "no"
			r.slow = append(r.slow, fmt.Sprintf("%s (%s ms)", name, ms(p95)))
		}
		r.asked++
		s.row(name, ms(first), ms(took[len(took)/2]), ms(p95), ms(took[len(took)-1]), ok)
		o.say("console: %-48s first %7s, p50 %7s, p95 %7s ms", name, ms(first), ms(took[len(took)/2]), ms(p95))
	}
	n := asks
	if o.quick {
		n = 3
	}
	for _, q := range questions() {
		var took []time.Duration
		began := time.Now()
		for i := range n + 1 {
			if i > 5 && time.Since(began) > patience {
				q.name += fmt.Sprintf(" (%d runs)", i-1)
				break
			}
			d, err := b.ask(ctx, q.path(i))
			if bad, ok := errors.AsType[*wrongError](err); ok {
				r.faults = append(r.faults, bad.Error())
			} else if err != nil {
				return s, err
			}
			took = append(took, d)
		}
		put(q.name, took[0], took[1:])
	}
	pages := make([]time.Duration, n+1)
	for i := range pages {
		began := time.Now()
		if err := b.atOnce(ctx, darknetPage(i)); err != nil {
			return s, err
		}
		pages[i] = time.Since(began)
	}
	put(fmt.Sprintf("the page 観測, its %d questions at once", len(darknetPage(0))), pages[0], pages[1:])
	z, err := y.s.Size()
	if err != nil {
		return s, err
	}
	disk := (z.Database + z.Log + z.Blobs) >> 20
	s.note("1 年 %d 日分の日集計(TCP 65,536 ポート、30,000 AS、250 国)、直近 %d 日の時間集計、イベント 100 万件。ディスク %d MiB。/ A year of NICTER's size: %d days of day rows (65,536 TCP ports, 30,000 ASes, 250 countries), %d days of hour rows, a million events; %d MiB on disk; the store's memory is limited to 512 MiB.",
		y.days, y.hourDays, disk, y.days, y.hourDays, disk)
	s.note("スケッチは各次元の上位 256 件に付く(日はすべて、時間は問いが触れる日だけ)。/ As in the telescope, the 256 busiest keys of each dimension have sketches of sources and targets: in every day, and in the hours that the questions touch.")
	s.note("各問い %d 回(初回は別)、期間の終わりを毎回 1 日のうちで動かし、同じプロセス内のサーバーへ HTTP で。/ Each question %d times besides the first, the span's end each time at another hour of a day, over HTTP to the real API in the same process, masking and JSON included.", n, n)
	if made != nil {
		s.note("作成 / made: %s.", strings.Join(made, ", "))
	}
	return s, nil
}

// atOnce asks for all paths at the same time and waits for the last.
func (b browser) atOnce(ctx context.Context, paths []string) error {
	errs := make([]error, len(paths))
	var all sync.WaitGroup
	for i, p := range paths {
		all.Go(func() { _, errs[i] = b.ask(ctx, p) })
	}
	all.Wait()
	return errors.Join(errs...)
}
