package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/observe/feed"
	"sakimori/respond/rpz/publish"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/access"
	"sakimori/respond/subscriber/translation/syslog"
	"sakimori/respond/subscriber/vault"
	"sakimori/sim"
)

// paced is the clock of a demo: it is set, and then goes at a multiple of the machine's.
type paced struct {
	mu    sync.Mutex
	at    time.Time
	began time.Time // zero: it stands
	speed float64
}

// Now is the demo's time.
func (p *paced) Now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.began.IsZero() {
		return p.at
	}
	return p.at.Add(time.Duration(float64(time.Since(p.began)) * p.speed))
}

// set stops the clock at a time.
func (p *paced) set(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at, p.began = at.UTC(), time.Time{}
}

// run lets it go on from there.
func (p *paced) run(at time.Time, speed float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at, p.began, p.speed = at.UTC(), time.Now(), speed
}

// sample is the office of a demo: made-up subscribers, whose logs and reports come as they
// would, and an abuse desk that has worked on them for two weeks. Nothing is told to
// anybody.
type sample struct {
	office *office
	clock  *paced
	life   *sim.Life
	rest   []subscriber.Record // whose time hasn't come
	told   time.Time           // until then others have reported
	in     *feed.Intake

	lists     *lists
	callers   *callers
	floods    *sampleFloods
	publisher *publish.Publisher // of what has been
}

// sampleDays are how long the desk has worked before the day that is shown.
const sampleDays = 14

// sampleTown makes up subscribers up to the end of the day that begins at a time. All of
// fixed keep their address.
func sampleTown(seed uint64, day time.Time, fixed netip.Prefix) (*sim.Life, error) {
	t := sim.Town{
		Seed: seed, Start: day.Add(-sampleDays * 24 * time.Hour), Duration: (sampleDays + 1) * 24 * time.Hour, Lines: 200, Infected: 32,
	}
	for a := fixed.Addr().Next(); fixed.Contains(a.Next()); a = a.Next() {
		t.Fixed = append(t.Fixed, a)
	}
	return t.Live()
}

// past brings in what had happened until a time, day by day.
func (s *sample) past(ctx context.Context, cfg *config, until time.Time) error {
	s.told = s.life.Start
	s.clock.set(s.life.Start)
	window, most := 30*24*time.Hour, 1<<20
	s.in = feed.NewIntake(reports{h: s.office}, feed.NewSeen(window, most), s.clock)
	records, err := s.records()
	if err != nil {
		return err
	}
	n, _ := slices.BinarySearchFunc(records, until, func(r subscriber.Record, t time.Time) int { return r.At.Compare(t) })
	s.rest = records[n:]
	for lot := range slices.Chunk(records[:n], atOnce) {
		if err := s.office.Take(ctx, lot); err != nil {
			return err
		}
	}
	if err := s.people(ctx); err != nil {
		return err
	}
	if err := s.terms(ctx); err != nil {
		return err
	}
	if err := s.grants(ctx); err != nil {
		return err
	}
	work := desk{sample: s}
	for day := s.life.Start.Add(24 * time.Hour); !day.Add(9 * time.Hour).After(until); day = day.Add(24 * time.Hour) {
		s.clock.set(day.Add(7 * time.Hour))
		if err := s.callers.tell(ctx, day.Add(7*time.Hour)); err != nil {
			return err
		}
		if err := s.reports(ctx, day); err != nil {
			return err
		}
		s.clock.set(day.Add(9 * time.Hour))
		if err := s.listed(ctx, cfg); err != nil {
			return err
		}
		if err := work.day(ctx); err != nil {
			return err
		}
	}
	if err := s.floods.past(ctx, until); err != nil {
		return fmt.Errorf("flows: %w", err)
	}
	s.clock.set(until)
	if err := s.callers.tell(ctx, until); err != nil {
		return err
	}
	if err := s.reports(ctx, until.Truncate(time.Hour)); err != nil {
		return err
	}
	return work.now(ctx)
}

// listed is a morning's work on the list, and what comes of it.
func (s *sample) listed(ctx context.Context, cfg *config) error {
	if err := s.office.inMemory.keep(ctx); err != nil { // what was counted meanwhile
		return err
	}
	if err := s.lists.morning(ctx, cfg); err != nil {
		return fmt.Errorf("the list of C&C servers: %w", err)
	}
	if err := s.publish(ctx, cfg); err != nil {
		return err
	}
	return s.office.inMemory.read(ctx)
}

// records are all of the town's accounting and its translator's log, through the readers
// of such logs, by time.
func (s *sample) records() (list []subscriber.Record, err error) {
	keep := func(r *subscriber.Record) { list = append(list, *r) }
	var b bytes.Buffer
	w, err := pcap.NewWriter(&b, packet.LinkEthernet)
	if err == nil {
		err = s.life.Radius(w)
	}
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		_, err = access.ReadCapture(&b, access.CaptureOptions{Secret: []byte(sim.Secret)}, func(r *subscriber.Record) error {
			keep(r)
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	b.Reset()
	if err := s.life.Translator(&b); err != nil {
		return nil, err
	}
	p, err := syslog.New(syslog.Config{Source: "cgn1"})
	if err != nil {
		return nil, err
	}
	if err := p.Read(&b, s.clock, keep); err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b subscriber.Record) int { return a.At.Compare(b.At) })
	return list, nil
}

// people enters an invented person for each contract.
func (s *sample) people(ctx context.Context) error {
	family := [...][2]string{{"見本", "Mihon"}, {"例山", "Reiyama"}, {"仮田", "Karita"}, {"試川", "Tamekawa"}, {"模木", "Moki"}, {"架谷", "Kaya"}, {"想島", "Omojima"}}
	given := [...][2]string{{"一", "Hajime"}, {"二葉", "Futaba"}, {"三奈", "Mina"}, {"四季", "Shiki"}, {"五月", "Satsuki"}}
	var list []vault.Holder
	for i, line := range s.life.Truth().Lines {
		f, g := family[i%len(family)], given[i/len(family)%len(given)]
		list = append(list, vault.Holder{Contract: line, Person: vault.Person{
			Name: say(f[0]+g[0], g[1]+" "+f[1]), Mail: line, Phone: fmt.Sprintf("000-0000-%04d", i), Code: "000-0000",
			Lines: []string{fmt.Sprintf(say("見本県例市 %d 番地", "%d, Example City, Sample Prefecture"), i+1)}, Language: say("ja", "en"),
		}})
	}
	return s.office.vault.KeepPeople(ctx, list)
}

// reports takes in what others report of the time until a moment.
func (s *sample) reports(ctx context.Context, until time.Time) error {
	for _, typ := range sim.ReportTypes {
		var b bytes.Buffer
		n, err := s.life.Reports(&b, typ, s.told, until)
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		o := feed.Options{Source: "shadowserver", Format: feed.Shadowserver, Name: until.Format(time.DateOnly) + "-" + typ + ".csv", Public: s.office.own}
		if _, err := s.in.Read(ctx, strings.NewReader(b.String()), o); err != nil {
			return err
		}
	}
	s.told = until
	return nil
}

// run brings what happens from then on, when it does: accounting as it comes, reports by the
// hour.
func (s *sample) run(ctx context.Context, ready func()) error {
	ready()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.present(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

func (s *sample) present(ctx context.Context) error {
	now := s.clock.Now()
	n, _ := slices.BinarySearchFunc(s.rest, now, func(r subscriber.Record, t time.Time) int { return r.At.Compare(t) })
	if n > 0 {
		if err := s.office.Take(ctx, s.rest[:n]); err != nil {
			return err
		}
		s.rest = s.rest[n:]
	}
	if hour := now.Truncate(time.Hour); hour.After(s.told) {
		return s.reports(ctx, hour)
	}
	return nil
}

// sampleNotices has notices go to this program itself, by the way of an operator's own
// system, until ctx ends. Nobody is told of anything.
func sampleNotices(ctx context.Context, cfg *config, dir string) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	to := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = to.Serve(l) }() // ends when it is closed
	context.AfterFunc(ctx, func() { _ = to.Close() })
	secret := filepath.Join(dir, "webhook.key")
	if err := os.WriteFile(secret, []byte("the secret of a system that is nobody's"), 0o600); err != nil {
		return err
	}
	n := &cfg.Notify
	n.Operator.JA = operatorConfig{Name: "見本通信株式会社", Site: "www.example.jp", Desk: "見本相談窓口", Phone: "000-000-0000"}
	n.Operator.EN = operatorConfig{Name: "Sample Telecom", Site: "www.example.jp", Desk: "Sample Desk", Phone: "000-000-0000"}
	n.Ground = groundConfig{
		Harm: say("他社の利用者の 23/tcp への走査", "scans of 23/tcp against other operators' customers"), Necessity: say("通報の時刻の一つのセッションだけ", "one session at the time of the report"),
	}
	n.Webhook = &webhookConfig{URL: "http://" + l.Addr().String() + "/notices", SecretFile: secret}
	return nil
}

// openSample makes the office of a demo in a station that has one, up to a time at which
// its clock stands.
func openSample(ctx context.Context, s *station, life *sim.Life, l *lists, floods *sampleFloods, until time.Time) (*sample, error) {
	x := &sample{office: s.office, clock: floods.clock, life: life, lists: l, floods: floods}
	l.sample = x
	var err error
	if x.callers, err = newCallers(s, x); err != nil {
		return nil, err
	}
	if err := x.past(ctx, &s.cfg, until); err != nil {
		return nil, fmt.Errorf("make up subscribers: %w", err)
	}
	x.callers.clients.believe = believeGrant
	return x, nil
}
