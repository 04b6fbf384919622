package main

import (
	"time"

	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/observe/flow"
)

// exporterPort are the exporters, as the API asks for them.
type exporterPort struct{ l *flowing }

var _ api.Exporters = exporterPort{}

var exporterWords = map[flow.State]detect.Text{
	flow.OK:     {JA: "正常です。", EN: "all is well"},
	flow.Stale:  {JA: "しばらく何も届いていません。装置とその設定、経路を確認してください。", EN: "nothing has come for a while: look at the device, its settings and the path"},
	flow.Faulty: {JA: "届いていますが、欠けや誤りがあります。", EN: "it sends, but something is missing or wrong"},
}

func (p exporterPort) Exporters() (out api.ExporterList) {
	now := p.l.s.cfg.now().Now() // of the data, in a demo
	for _, h := range p.l.dir.Exporters() {
		out.Exporters = append(out.Exporters, apiExporter(&h, now))
	}
	list, _, _ := p.l.dir.Refused()
	for _, r := range list {
		out.Refused = append(out.Refused, api.RefusedExporter{Address: r.Address.String(), Datagrams: r.Datagrams, Last: momentOrNull(r.Last)})
	}
	if p.l.recv != nil {
		s := p.l.recv.Socket()
		out.Socket = api.ExporterSocket{Granted: s.Granted, Wanted: s.Wanted, Drops: s.Drops}
		out.QueueDropped = s.QueueDropped
	}
	return out
}

func apiExporter(h *flow.Health, now time.Time) api.Exporter {
	state := h.State(now)
	x := api.Exporter{
		Number: h.Number, Name: h.Name, Address: h.Address, Domain: h.Domain, Version: h.Protocol, State: string(state), Words: exporterWords[state],
		First: momentOrNull(h.First), Last: momentOrNull(h.Last), Datagrams: h.Datagrams, Records: h.Records, Packets: h.Packets, Bytes: h.Bytes, Samples: h.Samples,
		RateUnknown: h.RateUnknown, Gaps: detect.Measure{N: float64(h.Gaps)}, UnknownTemplate: h.UnknownTemplate, Waiting: uint64(max(h.Waiting, 0)),
		WaitedLost: h.WaitedLost, ClockIgnored: h.ClockIgnored > 0, Limited: h.Limited, Late: h.Late, RecordsS: h.RecordsPerSecond,
	}
	for _, a := range h.Advice() {
		x.Advice = append(x.Advice, detect.Text(a))
	}
	for _, r := range h.Rates {
		x.Rates = append(x.Rates, r.Rate)
	}
	for _, m := range h.Malformed {
		x.Malformed = append(x.Malformed, api.MalformedCount{Reason: m.Reason, Count: m.Count})
	}
	if h.Skew != nil {
		ms := float64(*h.Skew)
		x.SkewMS = &ms
	}
	for _, f := range h.Interfaces {
		x.Interfaces = append(x.Interfaces, api.ExporterInterface{Index: f.Index, Name: f.Name, InBPS: f.InBPS, OutBPS: f.OutBPS, Capacity: f.Capacity})
	}
	return x
}

// lateExporters are those of the live input, once there is one.
type lateExporters struct{ s *station }

func (x lateExporters) Exporters() api.ExporterList {
	x.s.mu.Lock()
	l := x.s.flowing
	x.s.mu.Unlock()
	if l == nil {
		return api.ExporterList{}
	}
	return exporterPort{l}.Exporters()
}
