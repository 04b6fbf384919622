package api

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/console"
	"sakimori/detect"
	"sakimori/observe"
)

// memoryFlows are rows of one minute, asked by hand.
type memoryFlows struct {
	rows  []observe.FlowRow
	asked observe.FlowQuery
	by    observe.FlowBy
}

var flowMinute = time.Date(2026, 11, 20, 3, 0, 0, 0, time.UTC)

func newMemoryFlows() *memoryFlows {
	m := &memoryFlows{}
	for i := range 60 {
		f := observe.Flow{
			Src: packet.FromNetip(foreign), Dst: packet.FromNetip(ownSource), Proto: packet.UDP, SrcPort: 53, DstPort: uint16(4000 + i%3), Packets: uint64(10 * (i + 1)), Bytes: uint64(1000 * (i + 1)),
			Seen: 1, Rate: 10, Exporter: 7, In: 17, First: flowMinute.UnixNano(), Last: flowMinute.Add(time.Minute).UnixNano() - 1, SrcAS: 4713,
		}
		w := observe.FlowRow{At: flowMinute, Flows: 1, SrcPlace: observe.FlowPlace{Country: "JP", AS: 4713}, Customer: "=bank"}
		switch i % 4 {
		case 1:
			f.Src, f.Dst = packet.FromNetip(ownV6), packet.FromNetip(foreign)
		case 2:
			f.Src, f.SrcPort, w.Folded = packet.Addr{}, 0, observe.FoldedSrc|observe.FoldedSrcPort
		case 3:
			f.Proto, f.TCPFlags = packet.TCP, packet.SYN|packet.ACK
		}
		w.Flow = f
		m.rows = append(m.rows, w)
	}
	return m
}

func (m *memoryFlows) span() observe.FlowSpan {
	r := observe.Range{From: flowMinute, To: flowMinute.Add(time.Minute)}
	return observe.FlowSpan{Grain: observe.FlowMinute, Range: m.asked.Range, Data: r}
}

func (m *memoryFlows) Data(context.Context) (observe.Range, error) { return m.span().Data, nil }

func flowCount(f *observe.Flow) observe.FlowCount {
	return observe.FlowCount{Packets: f.Packets, Bytes: f.Bytes, Flows: 1, PacketsError: 1.5}
}

func (m *memoryFlows) Top(_ context.Context, by observe.FlowBy, q observe.FlowQuery) (t observe.FlowTop, err error) {
	m.asked, m.by = q, by
	t.FlowSpan = m.span()
	sums := map[observe.FlowKey]observe.FlowCount{}
	for i := range m.rows {
		f := &m.rows[i].Flow
		k := observe.FlowKey{Number: uint64(f.Proto)<<16 | uint64(f.DstPort)}
		switch by {
		case observe.FlowByDst:
			k = observe.FlowKey{Addr: f.Dst.Netip()}
		case observe.FlowBySrc:
			k = observe.FlowKey{Addr: f.Src.Netip()}
		case observe.FlowByExporter:
			k.Number = uint64(f.Exporter)
		case observe.FlowByIn:
			k.Number = uint64(f.Exporter)<<32 | uint64(f.In)
		case observe.FlowBySrcAS:
			k.Number = uint64(f.SrcAS)
		case observe.FlowBySrcCountry:
			k = observe.FlowKey{Text: m.rows[i].SrcPlace.Country}
		case observe.FlowByFlags:
			k.Number = uint64(f.TCPFlags)
		case observe.FlowByCustomer:
			k = observe.FlowKey{Text: m.rows[i].Customer}
		}
		sums[k] = plus(sums[k], flowCount(f))
		t.Total = plus(t.Total, flowCount(f))
	}
	for k, c := range sums {
		t.Rows = append(t.Rows, observe.FlowTopRow{Key: k, FlowCount: c})
	}
	slices.SortFunc(t.Rows, func(a, b observe.FlowTopRow) int { return cmp.Compare(b.Bytes, a.Bytes) })
	t.Rows = t.Rows[:min(len(t.Rows), q.Limit)]
	return t, nil
}

func (m *memoryFlows) Series(ctx context.Context, by observe.FlowBy, q observe.FlowQuery, step time.Duration) (s observe.FlowSeries, err error) {
	t, _ := m.Top(ctx, by, q)
	s.FlowSpan, s.Step, s.Times = t.FlowSpan, max(step, time.Minute), []time.Time{flowMinute}
	for _, r := range t.Rows {
		s.Rows = append(s.Rows, observe.FlowLine{Key: r.Key, Packets: []uint64{r.Packets}, Bytes: []uint64{r.Bytes}})
	}
	s.Other = observe.FlowLine{Packets: []uint64{1}, Bytes: []uint64{2}}
	return s, nil
}

func (m *memoryFlows) Talkers(_ context.Context, q observe.FlowQuery) (t observe.FlowTalkers, err error) {
	m.asked = q
	t.FlowSpan = m.span()
	for i := range m.rows[:min(q.Limit, len(m.rows))] {
		f := &m.rows[i].Flow
		t.Rows = append(t.Rows, observe.FlowTalk{Src: f.Src.Netip(), Dst: f.Dst.Netip(), Proto: f.Proto, DstPort: f.DstPort, FlowCount: flowCount(f)})
		t.Total = plus(t.Total, flowCount(f))
	}
	return t, nil
}

func (m *memoryFlows) Search(_ context.Context, q observe.FlowQuery, after string) (p observe.FlowPage, err error) {
	m.asked = q
	p.FlowSpan = m.span()
	at, _ := strconv.Atoi(strings.TrimPrefix(after, "after 203.0.113.7 at ")) // a mark that would leak
	end := min(at+q.Limit, len(m.rows))
	if end < len(m.rows) {
		p.Next = "after 203.0.113.7 at " + strconv.Itoa(end)
	}
	p.Rows = m.rows[at:end]
	return p, nil
}

// Exporters are one that fares well, whose address stands in an own prefix as a router's
// may, and somebody who is refused.
func (m *memoryFlows) Exporters() ExporterList {
	return ExporterList{
		Exporters: []Exporter{{
			Number: 7, Name: "edge1", Address: "203.0.113.250", Version: "netflow9", State: "ok", Words: detect.Text{JA: "正常", EN: "fine"},
			Interfaces: []ExporterInterface{{Index: 17, Name: "xe-0/0/1"}},
		}},
		Refused: []RefusedExporter{{Address: ownSource.String(), Datagrams: 3}},
	}
}

func TestFlowTop(t *testing.T) {
	w := newWorld(t)
	for by, want := range map[string]string{
		"dst": "203.0.113.x", "src": "198.51.100.9", "dst_port": "4001/udp", "exporter": "7 edge1", "in": "7/17 edge1 xe-0/0/1",
		"src_as": "AS4713 =OCN", "src_country": "JP", "flags": "none", "customer": "=bank",
	} {
		b := read[flowTopBody](w, Viewer, "/api/v1/flows/top?by="+by)
		if got := strings.TrimSpace(b.Rows[0].Key + " " + b.Rows[0].Name); got != want && by != "dst_port" || b.State != "ok" || b.Grain != "1m" || b.Data == nil {
			t.Errorf("by %s: %q, not %q; %+v", by, got, want, b.FlowSpan)
		}
		share := b.Other.Share
		for _, r := range b.Rows {
			share += r.Share
		}
		if share < 0.999 || share > 1.001 || b.Total.Bytes.N != 1000*60*61/2 {
			t.Errorf("by %s: shares of %g, %+v", by, share, b.Total)
		}
	}
	// Without a span: the last 24 hours, to the end of the last hour of data.
	if r := w.flows.asked.Range; !r.To.Equal(flowMinute.Add(time.Hour)) || r.To.Sub(r.From) != day {
		t.Errorf("%+v", r)
	}
	if b := read[flowTopBody](w, Viewer, "/api/v1/flows/top?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z"); b.State != "none" || !strings.Contains(b.Reason.EN, "2026-11-20T03:00:00Z") {
		t.Errorf("%+v", b.Panel)
	}
}

func TestFlowFilter(t *testing.T) {
	w := newWorld(t)
	query := "src=198.51.100.9&src=2001:db8::/32&dst=192.0.2.0/24&proto=udp&proto=47&port=53&as=AS64500&dst_as=64501&country=jp&country=ZZ&exporter=edge1&exporter=203.0.113.250&exporter=9" +
		"&interface=xe-0/0/1&interface=7/18&interface=edge1/19&customer=a&customer=b,c&direction=in&flags=SYN%2Back&min_bytes=1500"
	read[flowTopBody](w, Viewer, "/api/v1/flows/top?"+query)
	prefix := netip.MustParsePrefix
	want := observe.FlowFilter{
		Src: []netip.Prefix{prefix("198.51.100.9/32"), prefix("2001:db8::/32")}, Dst: []netip.Prefix{prefix("192.0.2.0/24")},
		Protos: []uint8{17, 47}, Ports: []uint16{53}, AS: []uint32{64500}, DstAS: []uint32{64501}, Countries: []string{"JP", ""}, Exporters: []uint32{7, 7, 9},
		Interfaces: []observe.FlowInterface{{Exporter: 7, Index: 17}, {Exporter: 7, Index: 18}, {Exporter: 7, Index: 19}},
		Customers:  []string{"a", "b,c"}, Way: observe.FlowIn, Flags: packet.SYN | packet.ACK, MinBytes: 1500,
	}
	if got := fmt.Sprintf("%+v", w.flows.asked.FlowFilter); got != fmt.Sprintf("%+v", want) {
		t.Errorf("%s, not %+v", got, want)
	}
	for _, bad := range []string{"src=203.0.113.0/33", "src=a", "proto=256", "port=65536", "as=x", "country=JPN", "exporter=nobody", "interface=xe-9", "interface=nobody/3", "flags=sin", "direction=up", "min_bytes=-1", "by=all", "order=x", "limit=101"} {
		if got := w.ask(Viewer, "GET", "/api/v1/flows/top?"+bad, "", nil); got.Code != 422 {
			t.Errorf("%s: %d", bad, got.Code)
		}
	}
	if got := w.ask(Viewer, "GET", "/api/v1/flows/series?step=10", "", nil); got.Code != 422 {
		t.Errorf("a step of ten seconds: %d", got.Code)
	}
	if got := w.ask(Viewer, "GET", "/api/v1/flows/series?step=60&from=2026-01-01T00:00:00Z&to=2026-11-01T00:00:00Z", "", nil); got.Code != 422 || problemOf(t, got.Body.Bytes()).Code != "too_many_points" {
		t.Errorf("minutes of most of a year: %d", got.Code)
	}
}

// Nobody finds a subscriber out by asking for address after address.
func TestFlowsSingleNobodyOut(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"top", "series", "talkers", "search"} {
		for filter, open := range map[string]bool{
			"dst=203.0.113.7": false, "addr=203.0.113.0/25": false, "src=2001:db8:1:2::/64": false, "src=::ffff:203.0.113.7": false,
			"dst=203.0.113.0/24": true, "dst=198.51.100.9": true, "src=2001:db8:1::/48": true,
		} {
			w.flows.asked = observe.FlowQuery{}
			b := read[Panel](w, Viewer, "/api/v1/flows/"+path+"?"+filter)
			if got := b.State != "none"; got != open || (len(w.flows.asked.Src)+len(w.flows.asked.Dst)+len(w.flows.asked.Addr) > 0) != open {
				t.Errorf("%s?%s: %+v", path, filter, b)
			}
		}
	}
}

func TestFlowSearchPages(t *testing.T) {
	w := newWorld(t)
	path, n := "/api/v1/flows/search?limit=25&proto=udp&proto=tcp", 0
	for next := ""; ; {
		b := read[flowSearchBody](w, Viewer, path+next)
		n += len(b.Rows)
		if next == "" {
			one := b.Rows[2]
			if one.Src != "" || one.SrcPort != nil || one.Dst != "203.0.113.x" || one.Flags != "" || b.Rows[3].Flags != "syn+ack" || b.Rows[1].Src != "2001:db8:1::x" || one.InName != "edge1 xe-0/0/1" {
				t.Errorf("%+v", b.Rows[:4])
			}
		}
		if b.Next == nil {
			break
		}
		next = "&cursor=" + url.QueryEscape(*b.Next)
		if got := w.ask(Viewer, "GET", "/api/v1/flows/search?limit=25&proto=udp"+next, "", nil); problemOf(t, got.Body.Bytes()).Code != "cursor_other_query" {
			t.Errorf("a cursor of another filter: %s", got.Body)
		}
	}
	if n != 60 {
		t.Errorf("%d rows", n)
	}
}

func TestFlowsCSV(t *testing.T) {
	w := newWorld(t)
	for path, want := range map[string]struct {
		header string
		rows   int
	}{
		"flows/top?by=customer":  {"key,name,packets,packets_error,bytes,bytes_error,flows,samples,share", 1},
		"flows/series?by=src_as": {"time,key,name,packets,bytes", 2},
		"flows/talkers":          {"src,dst,proto,dst_port,name,packets,packets_error,bytes,bytes_error,flows,samples,share", 20},
		"flows/search":           {"at,until,exporter,exporter_name,in,in_name,out,out_name,src,dst,proto,src_port,dst_port,flags,packets,bytes,flows,seen,rate,marks,src_as,dst_as,src_country,dst_country,customer", 50},
		"exporters": {"number,name,address,domain,version,state,first,last,datagrams,records,packets,bytes,samples,rates,rate_unknown,gaps,gaps_error,kernel_drops,unknown_template,waiting,waited_lost," +
			"malformed,skew_ms,clock_ignored,limited,late,records_s", 1},
	} {
		got := w.ask(Viewer, "GET", "/api/v1/"+path, "", header{"Accept": "text/csv"})
		rows, err := csv.NewReader(got.Body).ReadAll()
		if err != nil || strings.Join(rows[0], ",") != want.header || len(rows)-1 != want.rows {
			t.Errorf("%s: %v, %d rows of %v", path, err, len(rows)-1, rows[:1])
		}
	}
	if got := w.ask(Viewer, "GET", "/api/v1/flows/top?by=customer&format=csv", "", nil); !strings.Contains(got.Body.String(), "\n'=bank,") {
		t.Errorf("a name that a spreadsheet takes for a formula: %s", got.Body)
	}
}

func TestExporters(t *testing.T) {
	w := newWorld(t)
	l := read[ExporterList](w, Viewer, "/api/v1/exporters")
	if l.Exporters[0].Address != "203.0.113.250" || l.Refused[0].Address != "203.0.113.x" {
		t.Errorf("%+v", l)
	}
	none := newWorld(t, func(d *Deps) { d.Flows, d.Exporters = nil, nil })
	for _, path := range []string{"exporters", "flows/top", "flows/series", "flows/talkers", "flows/search"} {
		got := none.ask(Viewer, "GET", "/api/v1/"+path, "", nil)
		if got.Code != 404 || problemOf(t, got.Body.Bytes()).Code != "no_flows" {
			t.Errorf("%s without flows: %d %s", path, got.Code, got.Body)
		}
	}
	if got := w.ask(console.Wall, "GET", "/api/v1/flows/top?by=src", "", nil); got.Code != 200 || strings.Contains(got.Body.String(), foreign.String()) {
		t.Errorf("a wall: %d %s", got.Code, got.Body)
	}
}
