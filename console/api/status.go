package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"sakimori/console"
	"sakimori/detect"
	"sakimori/observe"
)

type (
	healthInput struct {
		Name string  `json:"name"`
		Age  float64 `json:"age_seconds" doc:"since the last packet was read, by the wall clock"`
		OK   bool    `json:"ok"`
	}
	healthBody struct {
		Inputs []healthInput `json:"inputs" nullable:"false"`
	}
	healthOutput struct {
		Status int
		Body   healthBody
	}
	// Status is how the console and its inputs do.
	Status struct {
		Now         time.Time   `json:"now" doc:"by the wall clock"`
		DataTime    *time.Time  `json:"data_time" doc:"of the newest packet"`
		Demo        bool        `json:"demo"`
		Speed       float64     `json:"speed" doc:"1 live, 60 a replay at sixty times"`
		Roles       []string    `json:"roles" nullable:"false" doc:"of who asks"`
		Inputs      []Input     `json:"inputs" nullable:"false"`
		Dark        Dark        `json:"dark"`
		Store       storeStatus `json:"store"`
		Floor       floorStatus `json:"floor"`
		Attribution []string    `json:"attribution" nullable:"false"`
	}
	storeStatus struct {
		Bytes     int64 `json:"bytes"`
		PathShown bool  `json:"path_shown" doc:"whether the answer names the folder: never, in this version"`
	}
	floorStatus struct {
		RSDoSPPS float64     `json:"rsdos_pps" doc:"the weakest flood that is seen, packets/s at the victim; 0 without IPv4 dark space"`
		Note     detect.Text `json:"note"`
	}
)

func (s *Server) facts() Facts {
	if s.deps.Facts == nil {
		return Facts{}
	}
	return s.deps.Facts()
}

func (s *Server) livez(context.Context, *empty) (*healthOutput, error) {
	return &healthOutput{Status: http.StatusOK, Body: healthBody{Inputs: []healthInput{}}}, nil
}

func (s *Server) readyz(context.Context, *empty) (*healthOutput, error) {
	out := &healthOutput{Status: http.StatusOK, Body: healthBody{Inputs: []healthInput{}}}
	for _, in := range s.deps.Inputs.Inputs() {
		if in.Kind == "file" {
			continue // a file that was read doesn't grow old
		}
		ok := in.State != "stale" && in.State != "failed"
		if !ok {
			out.Status = http.StatusServiceUnavailable
		}
		out.Body.Inputs = append(out.Body.Inputs, healthInput{in.Name, in.Age.Seconds(), ok})
	}
	return out, nil
}

func (s *Server) version(context.Context, *empty) (*output[Version], error) {
	return &output[Version]{Body: s.deps.Version}, nil
}

func (s *Server) status(ctx context.Context, _ *empty) (*output[Status], error) {
	return &output[Status]{Body: s.statusFor(callOf(ctx).who.token.Roles)}, nil
}

func (s *Server) statusFor(r console.Roles) Status {
	facts := s.facts()
	b := Status{
		Now: s.deps.Clock.Now().UTC(), Demo: s.deps.Demo, Speed: s.deps.Speed, Roles: r.Words(),
		Inputs: filled(s.deps.Inputs.Inputs()), Dark: facts.Dark, Store: storeStatus{Bytes: facts.StoreBytes},
		Floor: floor(facts.Dark.V4Addresses), Attribution: filled(facts.Attribution),
	}
	if t, ok := s.deps.Inputs.DataTime(); ok {
		t = t.UTC()
		b.DataTime = &t
	}
	return b
}

// floor is the weakest randomly spoofed flood that the telescope can tell: the
// RSDoS threshold of 30 packets in 60 s, scaled by the share of the address
// space that is watched.
func floor(dark uint64) floorStatus {
	if dark == 0 {
		return floorStatus{Note: detect.Text{
			JA: "IPv4 の未使用アドレスを監視していないため、攻撃の強さは推定できません。",
			EN: "No unused IPv4 addresses are watched, so no flood's rate can be estimated.",
		}}
	}
	const threshold = 30.0 / 60
	pps := threshold * (1 << 32) / float64(dark)
	return floorStatus{pps, detect.Textf(
		"送信元を一様に詐称し、1 パケットごとに応答がある攻撃は、毎秒約 %.0f パケット以上で見えます。反射型などは見えません。",
		"A flood with evenly forged sources and an answer to each packet is seen from about %.0f packets/s; reflected ones aren't.", pps)}
}

type (
	daySum struct {
		Sum

		From time.Time `json:"from"`
		To   time.Time `json:"to"`
	}
	workItem struct {
		Finding  *Found      `json:"finding"`
		Input    *Input      `json:"input"`
		Severity int         `json:"severity" minimum:"1" maximum:"3"`
		Next     detect.Text `json:"next" doc:"what to do"`

		since time.Time
	}
	situationBody struct {
		Panel

		Today    *daySum    `json:"today" doc:"the last 24 hours of the data"`
		LastWeek *daySum    `json:"last_week" doc:"the same 24 hours a week earlier; null when nobody looked then"`
		Work     []workItem `json:"work" nullable:"false" doc:"by severity, then age, oldest first"`
		Inputs   []Input    `json:"inputs" nullable:"false"`
	}
)

func (s *Server) situation(ctx context.Context, _ *empty) (*output[*situationBody], error) {
	b := &situationBody{Work: []workItem{}, Inputs: filled(s.deps.Inputs.Inputs())}
	r, ok, err := s.span(SpanQuery{})
	if err != nil {
		return nil, err
	}
	b.Panel = nothingYet()
	if ok {
		if b.Panel, err = s.panel(ctx, r); err != nil {
			return nil, err
		}
		if b.Today, err = s.sum(ctx, r); err != nil {
			return nil, err
		}
		week := observe.Range{From: r.From.Add(-7 * day), To: r.To.Add(-7 * day)}
		if b.LastWeek, err = s.sum(ctx, week); err != nil {
			return nil, err
		}
	}
	if b.Work, err = s.work(ctx, b.Inputs); err != nil {
		return nil, err
	}
	b.zeroIf(b.Today != nil && b.Today.Packets == 0)
	return &output[*situationBody]{Body: b}, nil
}

// sum is nil when nobody looked in r.
func (s *Server) sum(ctx context.Context, r observe.Range) (*daySum, error) {
	_, _, looked, err := s.deps.Archive.Covered(ctx, r)
	if err != nil || !looked {
		return nil, err
	}
	p, err := s.deps.Archive.Total(ctx, r)
	if err != nil {
		return nil, err
	}
	return &daySum{Sum{p.Packets, p.Sources, p.Targets}, r.From, r.To}, nil
}

// work is the list of what a person should look at: inputs that fail, and
// findings that last and that nobody has acknowledged.
func (s *Server) work(ctx context.Context, inputs []Input) ([]workItem, error) {
	list := []workItem{}
	for i := range inputs {
		in := &inputs[i]
		item := workItem{Input: in, since: s.deps.Clock.Now().Add(-in.Age)}
		switch in.State {
		case "failed":
			item.Severity = int(detect.Urgent)
			item.Next = detect.Text{JA: "入力の原因を確かめ、再開する。", EN: "Find out why the input failed, and start it again."}
		case "stale":
			item.Severity = int(detect.Soon)
			item.Next = detect.Text{JA: "センサーとの接続を確かめる。", EN: "Check the connection to the sensor."}
		default:
			continue
		}
		list = append(list, item)
	}
	if s.deps.Findings != nil {
		for _, state := range []detect.State{detect.Opened, detect.Changed} {
			found, _, err := s.deps.Findings.List(ctx, FindingQuery{State: state, Limit: workListMost})
			if err != nil {
				return nil, err
			}
			for _, f := range found {
				if f.Ack == nil && f.State != detect.Closed {
					f = s.shown(f)
					list = append(list, workItem{Finding: &f, Severity: int(f.Severity), Next: nextStep(f.Detector), since: f.Opened})
				}
			}
		}
	}
	slices.SortStableFunc(list, func(a, b workItem) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), a.since.Compare(b.since))
	})
	return list[:min(len(list), workListMost)], nil
}

func nextStep(detector string) detect.Text {
	switch detector {
	case "infected":
		return detect.Text{JA: "証拠を確かめ、注意喚起の要否を判断する（契約者の特定には法的な根拠が要る）。", EN: "Weigh the evidence and decide whether to tell the subscriber (naming them takes a lawful basis)."}
	case "ddos":
		return detect.Text{JA: "被害先が自網か取引先かを確かめ、流量を見る。", EN: "See whether the victim is yours or a partner's, and look at its traffic."}
	case "surge":
		return detect.Text{JA: "送信元と使われたツールを観測ページで確かめる。", EN: "Look at the sources and tools behind the rise."}
	default:
		return detect.Text{JA: "証拠を確かめる。", EN: "Look at the evidence."}
	}
}
