package ddos_test

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/detect/ddos"
	"sakimori/observe"
)

// syn is a flood of requests with forged sources.
func (r *rig) syn(pps int) {
	r.hits(pps, observe.Flow{Proto: packet.TCP, DstPort: 443, TCPFlags: packet.SYN}, 60, 0)
}

// Above the line by little or much: two seconds.
func TestDelay(t *testing.T) {
	t.Parallel()
	// Of the first second a flood has a part.
	for _, part := range []float64{1, 0.7, 0.3} {
		for _, k := range []float64{1.1, 1.5, 2, 5} {
			r := newRig(t, ddos.Config{})
			r.run(onset+5, func(s int) {
				r.town()
				switch {
				case s == onset:
					r.hits(int(2000*k*part), observe.Flow{Proto: packet.UDP, DstPort: 9}, 500, 3000)
				case s > onset:
					r.hits(int(2000*k), observe.Flow{Proto: packet.UDP, DstPort: 9}, 500, 3000)
				}
			})
			if a := r.said.one(t); delay(&a) > 2*time.Second {
				t.Errorf("%v times the line, %v of the first second: %v", k, part, delay(&a))
			}
		}
	}
}

// A sampled rate carries its error, waits as long as that needs and no longer, and never
// rises when it is below the line.
func TestSampling(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		rate  uint32
		times float64
		most  time.Duration // 0: no attack
	}{
		{10, 1.5, 3 * time.Second},
		{100, 1.1, 85 * time.Second},
		{100, 2, 5 * time.Second},
		{1000, 1.5, 85 * time.Second},
		{1000, 2, 45 * time.Second},
		{1000, 5, 11 * time.Second},
		{100, 0.9, 0},
		{1000, 0.8, 0},
	} {
		t.Run(fmt.Sprintf("1 in %d, %g", x.rate, x.times), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, ddos.Config{})
			r.rate = x.rate
			pps := 2000 * x.times
			r.run(onset+100, func(s int) {
				if s >= onset {
					// As sampling is by chance, what is told can be made directly.
					r.debt += pps / float64(x.rate)
					for r.debt > 0 {
						gap := -math.Log(1 - float64(r.u64()>>11)/(1<<53))
						r.debt -= gap
						at := r.now*1e9 + int64(r.u64()%1e9)
						r.batch = append(r.batch, observe.Flow{
							Src: outside(1000 + r.below(3000)), Dst: victim, Proto: packet.UDP, SrcPort: 40000, DstPort: 9, First: at, Last: at,
							Packets: uint64(x.rate), Bytes: uint64(x.rate) * 500, Seen: 1, Rate: x.rate, Exporter: 1, Marks: observe.FlowSample,
						})
					}
				}
			})
			if x.most == 0 {
				r.said.none(t)
				return
			}
			a := r.said.one(t)
			t.Logf("%v after the onset; peak %v", delay(&a), a.Peak.Packets)
			if delay(&a) > x.most {
				t.Errorf("it took %v", delay(&a))
			}
			sent := pps * float64(a.Changed.Unix()-start-onset)
			if e := a.Packets.Error; e <= 0 || math.Abs(a.Packets.N-sent) > 2*e {
				t.Errorf("%v packets, %v were sent", a.Packets, sent)
			}
		})
	}
}

// Pulses of 40 s with 60 s between them are one attack, and it is closed when they end.
func TestPulses(t *testing.T) {
	t.Parallel()
	r := newRig(t, ddos.Config{})
	r.run(onset+500, func(s int) {
		if s%5 == 0 {
			r.town()
		}
		if k := s - onset; k >= 0 && k < 300 && k%100 < 40 {
			r.hits(2500, observe.Flow{Proto: packet.UDP, SrcPort: 1900}, 320, 2000)
		}
	})
	a := r.said.one(t)
	if a.Pulses != 3 {
		t.Errorf("%d pulses", a.Pulses)
	}
	if a.State != detect.Opened && a.State != detect.Changed {
		t.Errorf("it is %s: its hold-down has doubled twice", a.State)
	}
	r.run(200, func(int) { r.town() })
	if a = r.said.one(t); a.State != detect.Closed || a.Closed.IsZero() {
		t.Errorf("it is %s", a.State)
	}
	for i, v := range r.said.versions {
		if (i == 0) != (v.State == detect.Opened) || (i == len(r.said.versions)-1) != (v.State == detect.Closed) {
			t.Fatalf("version %d is %s", i, v.State)
		}
	}
	if c := len(r.said.course[a.ID]); c < 300 {
		t.Errorf("the course has %d seconds", c)
	}
	if f := r.said.findings; len(f) < 3 || f[0].Subject != "203.0.113.80" || f[0].Detector != "ddos" || f[len(f)-1].State != detect.Closed {
		t.Errorf("%d findings", len(f))
	}
	if n := len(r.d.Results()); n != 1 {
		t.Errorf("%d results", n)
	}
}

// A flow of a minute that is told at its end isn't a spike; a flood that is told so is
// found when it is told, with the second in which it began.
func TestLongFlows(t *testing.T) {
	t.Parallel()
	r := newRig(t, ddos.Config{})
	r.run(200, func(s int) {
		r.town()
		if s >= 60 && s%5 == 0 { // 60 flows of 1,000 packets each minute: 1,000 a second
			for k := range 5 {
				r.flow(observe.Flow{
					Src: outside(1000 + k), Dst: victim, Proto: packet.UDP, SrcPort: 5000, DstPort: 9,
					First: (r.now - 60) * 1e9, Last: r.now * 1e9, Packets: 1000, Bytes: 500000,
				})
			}
		}
	})
	r.said.none(t)

	r = newRig(t, ddos.Config{})
	r.run(200, func(s int) {
		r.town()
		// From second 70 on 300 sources with 20 packets a second each; each tells after a
		// minute, all of them within some seconds.
		if s >= 130 && (s-130)%60 < 5 {
			for k := range 60 {
				r.flow(observe.Flow{
					Src: outside(1000 + 60*((s-130)%60) + k), Dst: victim, Proto: packet.UDP, SrcPort: 5000, DstPort: 9,
					First: (r.now - 60) * 1e9, Last: r.now * 1e9, Packets: 1200, Bytes: 600000,
				})
			}
		}
	})
	a := r.said.one(t)
	if late := a.Opened.Sub(time.Unix(start+70, 0)); late < 0 || late > 3*time.Second {
		t.Errorf("it began %v after its first packet", late)
	}
	if told := a.Detected.Sub(time.Unix(start+130, 0)); told > 4*time.Second {
		t.Errorf("it was found %v after it was told first", told)
	}
	if a.Pulses != 1 {
		t.Errorf("%d pulses", a.Pulses)
	}
}

// Odd clocks: what is later than now counts as of now, what is older than any second in
// hand is counted as late, and neither accuses anybody.
func TestClocks(t *testing.T) {
	t.Parallel()
	r := newRig(t, ddos.Config{})
	r.run(40, func(s int) {
		r.town()
		for k := range 100 {
			f := observe.Flow{Src: outside(k), Dst: victim, Proto: packet.UDP, SrcPort: 5000, DstPort: 9, Packets: 30, Bytes: 3000}
			switch s % 3 {
			case 0:
				f.First, f.Last = 1e9, 2e9
			case 1:
				f.First = (r.now + 1e6) * 1e9
			default:
				f.First, f.Last = math.MaxInt64-5, math.MaxInt64
			}
			r.flow(f)
		}
	})
	f := r.d.Figures()
	if f.Late != 1400 || f.Future != 2600 {
		t.Errorf("%+v", f)
	}
	for _, a := range r.said.last() { // 3,000 packets a second really came
		if a.Vectors[0].Name != "udp" {
			t.Error(describe(&a))
		}
	}
}

// Where batches are cut doesn't matter.
func TestBatches(t *testing.T) {
	t.Parallel()
	play := func(cut int) *rig {
		r := newRig(t, ddos.Config{})
		for s := range onset + 4 {
			r.town()
			if s >= onset {
				r.syn(2500)
				r.hits(1500, observe.Flow{Proto: packet.UDP, SrcPort: 123}, 468, 900)
			}
			for b := r.batch; len(b) > 0; {
				n := min(cut, len(b))
				r.d.Take(b[:n])
				b = b[n:]
			}
			r.batch = r.batch[:0]
			r.now++
			r.d.Tick(time.Unix(r.now, 0))
		}
		return r
	}
	want := play(1 << 20)
	for _, cut := range []int{1, 63, 64, 65, 1000} {
		got := play(cut)
		if a, b := written(t, got), written(t, want); a != b {
			t.Errorf("batches of %d: another result", cut)
		}
	}
	want.said.one(t)
}

func written(t *testing.T, r *rig) string {
	t.Helper()
	b, err := json.Marshal([]any{r.said.versions, r.said.findings, r.said.course, r.d.Results()})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A restart in mid-attack goes on with the same attack.
func TestRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, ddos.Config{})
	play := func(s int) {
		r.town()
		if s >= onset && s < onset+30 {
			r.hits(2500, observe.Flow{Proto: packet.UDP, SrcPort: 53}, 1200, 2000)
		}
	}
	r.run(onset+10, play)
	before := r.said.one(t)
	state, err := r.d.State()
	if err != nil {
		t.Fatal(err)
	}
	again, _ := r.d.State()
	if string(again) != string(state) {
		t.Error("the same state has other bytes")
	}
	said, now := r.said, r.now
	r = newRig(t, ddos.Config{})
	r.said, r.now = said, now
	if err := r.d.Restore(state); err != nil {
		t.Fatal(err)
	}
	r.run(300, play)
	a := r.said.one(t)
	if a.ID != before.ID || a.State != detect.Closed || a.Pulses != 1 || !a.Opened.Equal(before.Opened) {
		t.Errorf("%s %s: %d pulses", a.ID, a.State, a.Pulses)
	}
	if a.Packets.N < 2500*29 || a.Packets.N > 2500*31 || a.Sources.Count.N < 1900 {
		t.Errorf("%v packets, %v sources", a.Packets, a.Sources.Count)
	}
	opened := 0
	for _, v := range r.said.versions {
		if v.State == detect.Opened {
			opened++
		}
	}
	if opened != 1 {
		t.Errorf("it was opened %d times", opened)
	}
}

// What a restart hands over may be damaged.
func FuzzRestore(f *testing.F) {
	r := newRig(f, ddos.Config{})
	r.run(onset+3, func(s int) {
		r.town()
		if s >= onset {
			r.syn(2500)
		}
	})
	state, err := r.d.State()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(state)
	f.Add(state[:len(state)/2])
	f.Add([]byte("sakimori ddos 1\n\x00\x00\x00\x00{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newRig(t, ddos.Config{})
		if r.d.Restore(b) == nil {
			r.d.Take([]observe.Flow{{Src: outside(1), Dst: victim, Packets: 1, Bytes: 60, First: start * 1e9, Last: start * 1e9}})
			r.d.Tick(time.Unix(start+1, 0))
			if _, err := r.d.State(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
