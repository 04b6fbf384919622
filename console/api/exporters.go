package api

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sakimori/detect"
	"sakimori/observe"
)

// Exporters tells how those who export flows do.
type Exporters interface {
	Exporters() ExporterList
}

// ExporterList is all that there is to say of exporters at a moment.
type ExporterList struct {
	Exporters    []Exporter        `json:"exporters" nullable:"false"`
	Refused      []RefusedExporter `json:"refused" nullable:"false" doc:"who isn't configured: nothing of theirs is taken"`
	Socket       ExporterSocket    `json:"socket"`
	QueueDropped uint64            `json:"queue_dropped" doc:"datagrams that came faster than they were read"`
}

// Exporter is one that was heard, or is configured.
type Exporter struct {
	Number          uint32              `json:"number"`
	Name            string              `json:"name"`
	Address         string              `json:"address"`
	Domain          uint32              `json:"domain" doc:"observation domain, source ID or sub-agent"`
	Version         string              `json:"version" enum:"netflow5,netflow9,ipfix,sflow5,mirror"`
	State           string              `json:"state" enum:"ok,stale,faulty,refused"`
	Words           detect.Text         `json:"words"`
	Advice          []detect.Text       `json:"advice" nullable:"false" doc:"what to do about it"`
	First           *time.Time          `json:"first"`
	Last            *time.Time          `json:"last"`
	Datagrams       uint64              `json:"datagrams"`
	Records         uint64              `json:"records"`
	Packets         uint64              `json:"packets" doc:"scaled by sampling"`
	Bytes           uint64              `json:"bytes"`
	Samples         uint64              `json:"samples"`
	Rates           []uint32            `json:"rates" nullable:"false" doc:"sampling: one packet of so many"`
	RateUnknown     uint64              `json:"rate_unknown" doc:"records whose sampling nobody told"`
	Gaps            detect.Measure      `json:"gaps" doc:"datagrams or records that were lost on the way"`
	KernelDrops     uint64              `json:"kernel_drops"`
	UnknownTemplate uint64              `json:"unknown_template" doc:"sets whose template didn't come"`
	Waiting         uint64              `json:"waiting" doc:"sets that wait for theirs"`
	WaitedLost      uint64              `json:"waited_lost" doc:"that waited in vain"`
	Malformed       []MalformedCount    `json:"malformed" nullable:"false"`
	SkewMS          *float64            `json:"skew_ms" doc:"of its clock against ours; null: not known"`
	ClockIgnored    bool                `json:"clock_ignored" doc:"its clock is so far off that the time of arrival counts"`
	Limited         uint64              `json:"limited" doc:"records beyond its rate limit: not counted"`
	Late            uint64              `json:"late" doc:"records of minutes that were over"`
	RecordsS        float64             `json:"records_s" doc:"records a second"`
	Interfaces      []ExporterInterface `json:"interfaces" nullable:"false"`
}

// MalformedCount is how often something couldn't be read, by reason.
type MalformedCount struct {
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

// ExporterInterface is an interface of an exporter.
type ExporterInterface struct {
	Index    uint32  `json:"index" doc:"ifIndex"`
	Name     string  `json:"name"`
	InBPS    float64 `json:"in_bps"`
	OutBPS   float64 `json:"out_bps"`
	Capacity uint64  `json:"capacity" doc:"bits a second, 0 not known"`
}

// RefusedExporter is who sends and isn't configured.
type RefusedExporter struct {
	Address   string     `json:"address" doc:"may be forged; masked when own"`
	Datagrams uint64     `json:"datagrams"`
	Last      *time.Time `json:"last"`
}

// ExporterSocket is what the kernel gave.
type ExporterSocket struct {
	Granted int    `json:"granted" doc:"bytes of buffer"`
	Wanted  int    `json:"wanted"`
	Drops   uint64 `json:"drops" doc:"datagrams that the kernel dropped"`
}

func (l *ExporterList) table() [][]string {
	rows := [][]string{join("number", "name", "address", "domain", "version", "state", "first", "last", "datagrams", "records", "packets", "bytes", "samples", "rates", "rate_unknown",
		"gaps", "gaps_error", "kernel_drops", "unknown_template", "waiting", "waited_lost", "malformed", "skew_ms", "clock_ignored", "limited", "late", "records_s")}
	for i := range l.Exporters {
		e := &l.Exporters[i]
		var malformed uint64
		for _, m := range e.Malformed {
			malformed += m.Count
		}
		rows = append(rows, join(count(uint64(e.Number)), cell(e.Name), e.Address, count(uint64(e.Domain)), e.Version, e.State, moment(e.First), moment(e.Last), count(e.Datagrams), count(e.Records),
			count(e.Packets), count(e.Bytes), count(e.Samples), strings.Trim(fmt.Sprint(e.Rates), "[]"), count(e.RateUnknown), figure(e.Gaps.N), figure(e.Gaps.Error), count(e.KernelDrops),
			count(e.UnknownTemplate), count(e.Waiting), count(e.WaitedLost), count(malformed), figureOrEmpty(e.SkewMS), yes(e.ClockIgnored), count(e.Limited), count(e.Late), figure(e.RecordsS)))
	}
	return rows
}

func moment(t *time.Time) string {
	if t == nil {
		return ""
	}
	return instant(*t)
}

type exportersInput struct {
	Format string `query:"format" enum:"json,csv" doc:"as the Accept header application/json or text/csv"`
}

// exporters isn't masked as a whole, as an operator's routers are nobody's line; who was
// refused may be anybody.
func (s *Server) exporters(_ context.Context, _ *exportersInput) (*output[*ExporterList], error) {
	if s.deps.Exporters == nil {
		return nil, fail("no_flows")
	}
	l := s.deps.Exporters.Exporters()
	l.Exporters, l.Refused = slices.Clone(filled(l.Exporters)), slices.Clone(filled(l.Refused))
	for i := range l.Refused {
		l.Refused[i].Address = s.own.String(l.Refused[i].Address)
	}
	for i := range l.Exporters {
		e := &l.Exporters[i]
		e.Advice, e.Rates, e.Malformed, e.Interfaces = filled(e.Advice), filled(e.Rates), filled(e.Malformed), filled(e.Interfaces)
	}
	return &output[*ExporterList]{Body: &l}, nil
}

// devices knows exporters and interfaces by name, as of one moment.
type devices []Exporter

func (s *Server) devices() devices {
	if s.deps.Exporters == nil {
		return nil
	}
	return s.deps.Exporters.Exporters().Exporters
}

func (d devices) name(number uint32) string {
	for i := range d {
		if d[i].Number == number {
			return d[i].Name
		}
	}
	return ""
}

// interfaceName is "edge1 xe-0/0/1", or what of it is known.
func (d devices) interfaceName(in observe.FlowInterface) string {
	for i := range d {
		if d[i].Number != in.Exporter {
			continue
		}
		for _, f := range d[i].Interfaces {
			if f.Index == in.Index && f.Name != "" {
				return d[i].Name + " " + f.Name
			}
		}
		return d[i].Name + " " + strconv.FormatUint(uint64(in.Index), 10)
	}
	return ""
}

func interfaceKey(in observe.FlowInterface) string {
	return fmt.Sprintf("%d/%d", in.Exporter, in.Index)
}

// called are the numbers of the exporters with a number, name or address.
func (d devices) called(w string) (list []uint32) {
	if n, err := strconv.ParseUint(w, 10, 32); err == nil {
		return []uint32{uint32(n)}
	}
	a, err := netip.ParseAddr(w)
	for i := range d {
		at, perr := netip.ParseAddr(d[i].Address)
		if d[i].Name == w || err == nil && perr == nil && at.Unmap() == a.Unmap() {
			list = append(list, d[i].Number)
		}
	}
	return list
}

func (s *Server) exporterNumbers(words []string) (list []uint32, err error) {
	d := s.devices()
	for _, w := range words {
		numbers := d.called(w)
		if numbers == nil {
			return nil, fail("filter_invalid", w, "exporter", "1, edge1")
		}
		list = append(list, numbers...)
	}
	return list, nil
}

func (s *Server) interfacesOf(words []string) (list []observe.FlowInterface, err error) {
	d := s.devices()
	for _, w := range words {
		n := len(list)
		for i := range d { // by name, which may hold slashes
			for _, f := range d[i].Interfaces {
				if f.Name == w || d[i].Name+" "+f.Name == w || d[i].Name+"/"+f.Name == w {
					list = append(list, observe.FlowInterface{Exporter: d[i].Number, Index: f.Index})
				}
			}
		}
		if at := strings.LastIndexByte(w, '/'); len(list) == n && at > 0 {
			if index, err := strconv.ParseUint(w[at+1:], 10, 32); err == nil {
				for _, number := range d.called(w[:at]) {
					list = append(list, observe.FlowInterface{Exporter: number, Index: uint32(index)})
				}
			}
		}
		if len(list) == n {
			return nil, fail("filter_invalid", w, "interface", "xe-0/0/1, 1/17")
		}
	}
	return list, nil
}

// registerFlows lists the routes of flows and of who exports them.
func (s *Server) registerFlows(v1 string) {
	get := http.MethodGet
	add(s, get, v1+"/flows/top", "flowTop", "Ranking of what flows have in common", s.flowTop)
	add(s, get, v1+"/flows/series", "flowSeries", "Course of flows, in all or by the busiest keys", s.flowSeries)
	add(s, get, v1+"/flows/talkers", "flowTalkers", "Who speaks most to whom", s.flowTalkers)
	add(s, get, v1+"/flows/search", "flowSearch", "Kept flows, the latest first", s.flowSearch)
	add(s, get, v1+"/exporters", "exporters", "Who exports flows, and how they fare", s.exporters)
}
