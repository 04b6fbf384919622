package mitigate

import (
	"context"
	"errors"
	"slices"
	"time"

	"sakimori/detect"
	"sakimori/respond"
)

// Attack hears of a new version of an attack. Of one that is over everything ends; of
// one that nothing was proposed against yet, something is. Call Tick afterwards.
func (d *Desk) Attack(ctx context.Context, a *detect.Attack) error {
	if a.State == detect.Closed {
		return d.EndAll(ctx, respond.Query{About: a.ID, Live: true}, over)
	}
	d.saw(a.ID)
	const pause = 10 * time.Second // between tries, while the attack doesn't show enough yet
	if !d.due(a.ID, pause) {
		return nil
	}
	any, err := d.List(ctx, respond.Query{About: a.ID, Limit: 1})
	if err != nil || len(any) > 0 {
		return err
	}
	_, err = d.Propose(ctx, a, Order{}, house, "")
	if _, none := errors.AsType[*NoProposal](err); none {
		return nil // a person sees why on the attack's page
	}
	return err
}

// saw notes that an attack was told of.
func (d *Desk) saw(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	remember(d.seen, id, d.Clock.Now())
}

// due tells whether it is time to try something again.
func (d *Desk) due(what string, pause time.Duration) bool {
	now := d.Clock.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if t, is := d.tried[what]; is && now.Sub(t) < pause {
		return false
	}
	remember(d.tried, what, now)
	return true
}

// remember keeps a time. A full table is emptied: what is forgotten costs a look at the
// store, or a renewal that comes with the next news.
func remember(table map[string]time.Time, what string, at time.Time) {
	const most = 100_000
	if len(table) >= most {
		clear(table)
	}
	table[what] = at
}

// How a mitigation is judged by the course of its attack.
const (
	late   = 2   // seconds at the end that exporters may still add to
	run    = 3   // seconds in a row that show it
	long   = 10  // seconds of which a mean is taken before something is rolled back
	enough = 0.8 // of what was to be stopped, for an effect
	none   = 0.2 // of what was to be stopped, below which there is no effect
	stays  = 0.5 // of what is usual, and not to be hit, that must still come
)

// Watch compares what stands against an attack with its course: did the attack fall, and
// did the rest stay? course holds the last minutes, second by second, without what
// routers say they dropped. It confirms, or rolls back; where neither can be told yet
// nothing changes. If the attack goes on by another way, it proposes what would stop
// that, too.
func (d *Desk) Watch(ctx context.Context, a *detect.Attack, course []detect.CoursePoint) error {
	d.saw(a.ID)
	if a.State == detect.Closed {
		return d.Attack(ctx, a)
	}
	live, err := d.Judge(ctx, respond.Query{About: a.ID, Live: true}, func(m *Mitigation) (respond.State, detect.Text) { return d.judge(m, course) })
	return errors.Join(err, d.extend(ctx, a, live, course))
}

// seen is what a course shows of a mitigation.
type seen struct {
	before, usual float64
	after         []detect.CoursePoint // from the announcement on, but for the last ones
}

func seenIn(m *Mitigation, course []detect.CoursePoint) (s seen) {
	const look = 15 // seconds before
	at := m.AnnouncedAt.Unix()
	n := 0
	last := int64(0)
	for _, p := range course {
		last = max(last, p.At)
	}
	for _, p := range course {
		switch {
		case p.At < at && p.At >= at-look:
			s.before += p.Packets
			n++
		case p.At > at && p.At <= last-late:
			s.after = append(s.after, p)
		}
		if p.Usual > 0 {
			s.usual = p.Usual
		}
	}
	if n > 0 {
		s.before /= float64(n)
	} else if m.Before != nil {
		s.before = m.Before.Packets.N
	}
	slices.SortFunc(s.after, func(x, y detect.CoursePoint) int { return int(x.At - y.At) })
	return s
}

// fell is the share of the attack that is gone, by packets.
func (s *seen) fell(packets float64) float64 {
	attack := s.before - s.usual
	if attack <= 0 {
		return 0
	}
	return max(0, (s.before-packets)/attack)
}

func mean(points []detect.CoursePoint) (packets, bits, off float64) {
	for _, p := range points {
		packets, bits, off = packets+p.Packets, bits+p.Bits, off+p.Error
	}
	n := float64(len(points))
	return packets / n, bits / n, off / n
}

// judge tells whether a mitigation is confirmed or rolled back, by the course of its
// attack.
func (d *Desk) judge(m *Mitigation, course []detect.CoursePoint) (to respond.State, why detect.Text) {
	s := seenIn(m, course)
	want := m.Proposal.Stops.N
	if m.State == respond.Announced && s.before > 0 {
		for i := 0; i+run <= len(s.after); i++ {
			shows := !slices.ContainsFunc(s.after[i:i+run], func(p detect.CoursePoint) bool { return s.fell(p.Packets) < enough*want })
			if shows {
				return respond.Confirmed, m.shown(&s, i)
			}
		}
	}
	if len(s.after) < long {
		return "", why
	}
	last := s.after[len(s.after)-long:]
	packets, bits, off := mean(last)
	after := detect.Rate{Packets: detect.Measure{N: packets, Error: off}, Bits: detect.Measure{N: bits}}
	upper := m.Proposal.Collateral.Upper()
	if s.usual > 0 && m.Proposal.Collateral.Known && packets+off < stays*s.usual*(1-upper) {
		m.After = &after
		return respond.RolledBack, detect.Textf(
			"通常の通信まで減りました: 平常 毎秒 %s パケットのところ、%[3]d 秒平均で %[2]s。規則を取り消します",
			"what is ordinary fell, too: %s packets a second are usual, and %[2]s came, by the mean of %[3]d s. The rules are taken back", grouped(s.usual), grouped(packets), long)
	}
	waited := time.Duration(last[long-1].At-m.AnnouncedAt.Unix()) * time.Second
	if m.State == respond.Announced && !d.Policy.Unseen && s.before > 0 && waited >= d.Policy.Within && s.fell(packets-off) < none*want {
		m.After = &after
		return respond.RolledBack, detect.Textf(
			"%[1]s たっても攻撃が減りません(毎秒 %[2]s → %[3]s パケット)。効果のない規則を取り消します",
			"after %s the attack hasn't fallen (%s → %s packets a second). Rules that do nothing are taken back", waited, grouped(s.before), grouped(packets))
	}
	return "", why
}

// shown writes down that the attack fell, and how long it took.
func (m *Mitigation) shown(s *seen, from int) detect.Text {
	packets, bits, off := mean(s.after[from:])
	end := time.Unix(s.after[from].At+1, 0)
	took := max(0, end.Sub(*m.AnnouncedAt).Milliseconds())
	m.EffectMS = &took
	m.After = &detect.Rate{Packets: detect.Measure{N: packets, Error: off}, Bits: detect.Measure{N: bits}}
	dropped := 0.0
	for _, p := range s.after[from:] {
		dropped = max(dropped, p.Dropped)
	}
	said := detect.Textf("攻撃が %[1]s 減りました(毎秒 %[2]s → %[3]s ± %[4]s パケット、広告から %.1[5]f 秒、1秒刻み)",
		"the attack fell by %[1]s (%[2]s → %[3]s ± %[4]s packets a second), %.1[5]f s after announcing, by seconds", percent(min(1, s.fell(packets))), grouped(s.before), grouped(packets), grouped(off), float64(took)/1000)
	if dropped > 0 {
		said.JA += "。ルーターが毎秒 " + grouped(dropped) + " パケットの廃棄を報告しています"
		said.EN += "; routers tell of " + grouped(dropped) + " packets a second that they dropped"
	} else {
		said.JA += "。ルーターは廃棄数を報告していないため、自然に減ったのかは区別できません"
		said.EN += "; routers don't tell what they dropped, so whether it fell by itself can't be told"
	}
	return said
}

// extend proposes what stops the rest of an attack that goes on in spite of what stands
// against it: a vector that came later.
func (d *Desk) extend(ctx context.Context, a *detect.Attack, live []Mitigation, course []detect.CoursePoint) error {
	over := func(now, limit detect.Measure) bool { return limit.N > 0 && now.N-now.Error > limit.N }
	passes := a.Now
	if n := len(course) - late; n >= run { // what routers drop is no rest
		packets, bits, off := mean(course[n-run : n])
		passes.Packets, passes.Bits.N = detect.Measure{N: packets, Error: off}, bits
	}
	if !over(passes.Packets, a.Limit.Packets) && !over(passes.Bits, a.Limit.Bits) {
		return nil
	}
	now := d.Clock.Now()
	var standing []Rule
	for i := range live {
		k := &live[i]
		if k.State == respond.Proposed || k.State == respond.Approved || k.AnnouncedAt != nil && now.Sub(*k.AnnouncedAt) < d.Policy.Within/2 {
			return nil // it is being seen to
		}
		if k.State.Stands() {
			standing = append(standing, k.Proposal.Rules...)
		}
	}
	if len(standing) == 0 || !d.due("extend "+a.ID, 10*time.Second) {
		return nil
	}
	rest := *a
	rest.Sample = slices.DeleteFunc(slices.Clone(a.Sample), func(s detect.Sample) bool {
		return slices.ContainsFunc(standing, func(r Rule) bool { return r.Action != Pass && r.Match.Fits(&s) })
	})
	plans, err := d.Plan(ctx, &rest, Order{})
	if err != nil {
		return err
	}
	i := slices.IndexFunc(plans, func(p Proposal) bool { return !p.Refused })
	if i < 0 {
		return nil // a person sees why on the attack's page
	}
	m := d.about(a, &Order{})
	m.Proposal = plans[i]
	m.Proposal.Why = detect.Text{JA: "攻撃が別の形でも続いているため、残りに対して追加します。" + plans[i].Why.JA, EN: "the attack goes on by another way, too: this adds to what stands, against the rest. " + plans[i].Why.EN}
	_, err = d.file(ctx, &m, house, m.Proposal.Why)
	return err
}
