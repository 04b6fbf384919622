package desk

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/detect"
	"sakimori/lawful"
	"sakimori/respond"
	"sakimori/respond/leak"
)

// Incidents knows the newest version of an incident.
type Incidents interface {
	Incident(ctx context.Context, id string) (detect.Incident, error)
}

// Policy is what an operator sets. The zero one is a rehearsal with every number at its
// default.
type Policy struct {
	respond.Policy // of 2 people, and 32 prefixes

	Share float64 // of the vantage points that must see a prefix before it counts as confirmed, 0.5
}

// Check tells which setting can't be.
func (p *Policy) Check() error {
	if p.Share < 0 || p.Share > 1 {
		return fmt.Errorf("the share of vantage points lies between 0 and 1, not at %g", p.Share)
	}
	return p.Policy.Check()
}

// Deps are what a Desk works with.
type Deps struct {
	DB         *relation.DB
	Clock      clock.Clock
	House      *leak.House
	ROAs       leak.ROAs // nil: nobody knows
	Incidents  Incidents
	Finding    func(i *detect.Incident) string // its id, that the gate can look up; nil: "incident-" and the incident's
	DataTime   func() time.Time                // of the newest routes: an open incident was seen until then; nil: until its last update
	Gate       respond.Gate
	Guideline  lawful.Guideline // for the titles of rules
	Recorder   Recorder
	Announcers []Announcer // none in rehearsal is fine
	Sight      Sight       // nil: nothing is ever confirmed
	Policy     Policy
}

// Desk keeps announcements through their lives. It may be used by many goroutines, and by
// several processes on one store: one of them announces.
type Desk struct {
	*respond.Desk[Announcement, netip.Prefix]

	House     *leak.House
	ROAs      leak.ROAs
	Incidents Incidents
	Finding   func(i *detect.Incident) string
	DataTime  func() time.Time
	Recorder  Recorder
	Sight     Sight
	Policy    Policy
	proposing sync.Mutex
}

// house is who does what no person does.
const house = "house:leak"

// Open prepares the tables. It announces nothing; call Tick every second, the first time
// before anything else is done.
func Open(ctx context.Context, x Deps) (*Desk, error) {
	if err := x.Policy.Check(); err != nil {
		return nil, err
	}
	x.Policy.Fill(2, 32)
	if x.Policy.Share == 0 {
		x.Policy.Share = 0.5
	}
	if x.Policy.Live && len(x.Announcers) == 0 {
		return nil, errors.New("own more-specifics are live, and nothing is configured that announces them: a BGP peer that takes own prefixes; or leave it a rehearsal")
	}
	if x.Finding == nil {
		x.Finding = func(i *detect.Incident) string { return "incident-" + i.ID }
	}
	d := &Desk{House: x.House, ROAs: x.ROAs, Incidents: x.Incidents, Finding: x.Finding, DataTime: x.DataTime, Recorder: x.Recorder, Sight: x.Sight, Policy: x.Policy}
	var err error
	d.Desk, err = respond.Open(ctx,
		respond.Deps[netip.Prefix]{DB: x.DB, Clock: x.Clock, Gate: x.Gate, Guideline: x.Guideline, Announcers: x.Announcers, Policy: &d.Policy.Policy},
		respond.Kind{Name: "announcement", Prefix: "R-", House: house, Rules: detect.Text{JA: "自網プレフィックス", EN: "own prefixes"}}, mission{d})
	if err != nil {
		return nil, err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return d, x.DB.Migrate(ctx, "route_act", files) // they were kept apart once
}

//go:embed migrations
var migrations embed.FS

// Propose writes down that prefixes be announced against an incident, for people to
// approve. Each must be one of its leak.MoreSpecifics, and possible.
func (d *Desk) Propose(ctx context.Context, i *detect.Incident, prefixes []netip.Prefix, by, why string) (Announcement, error) {
	if lawful.Person(by) == "" || by == house {
		return Announcement{}, errors.New("a person proposes to announce own prefixes, by name")
	}
	if i.State == detect.Closed {
		return Announcement{}, ErrOver
	}
	prefixes = slices.Clone(prefixes)
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	prefixes = slices.Compact(prefixes)
	if err := d.possible(i, prefixes); err != nil {
		return Announcement{}, err
	}
	d.proposing.Lock()
	defer d.proposing.Unlock()
	live, err := d.List(ctx, respond.Query{Live: true})
	if err != nil {
		return Announcement{}, err
	}
	for k := range live {
		if p := slices.IndexFunc(prefixes, func(p netip.Prefix) bool { return slices.Contains(live[k].Prefixes, p) }); p >= 0 && !live[k].State.Over() {
			return Announcement{}, fmt.Errorf("%w: %s is in %s", ErrTwice, prefixes[p], live[k].ID)
		}
	}
	return d.File(ctx, &Announcement{Incident: i.ID, Prefixes: prefixes}, i.ID, "", by, detect.Text{JA: why, EN: why})
}

// possible tells what keeps prefixes from being announced against an incident.
func (d *Desk) possible(i *detect.Incident, prefixes []netip.Prefix) error {
	const most = 16 // of the guideline's rule
	if len(prefixes) == 0 || len(prefixes) > most {
		return fmt.Errorf("%w: name 1 to %d prefixes", ErrScope, most)
	}
	can := leak.MoreSpecifics(d.House, i, d.ROAs)
	for _, p := range prefixes {
		k := slices.IndexFunc(can, func(m leak.MoreSpecific) bool { return m.Prefix == p })
		switch {
		case k < 0:
			return fmt.Errorf("%w: %s", ErrScope, p)
		case !can[k].Possible:
			return fmt.Errorf("%w: %s: %s", ErrScope, p, can[k].Why.EN)
		}
	}
	return nil
}

// Incident hears of a new version of an incident: of one that is over everything ends.
// Call Tick afterwards.
func (d *Desk) Incident(ctx context.Context, i *detect.Incident) error {
	if i.State != detect.Closed {
		return nil
	}
	return d.EndAll(ctx, respond.Query{About: i.ID, Live: true}, over(i))
}

func over(i *detect.Incident) detect.Text {
	if i.Restored {
		return detect.Text{JA: "経路が復旧しました", EN: "the routes are restored"}
	}
	return detect.Text{JA: "障害が終わりました", EN: "the incident is over"}
}

// mission is what the desk of all acts asks of announcements.
type mission struct{ *Desk }

func (mission) Life(a *Announcement) *respond.Act { return &a.Act }

func (mission) Rules(a *Announcement) []netip.Prefix { return a.Prefixes }

func (mission) Allowed(a *Announcement, g lawful.Grant, now time.Time) bool { return a.allowed(g, now) }

// Ground is the incident.
func (d mission) Ground(ctx context.Context, a *Announcement) (g respond.Ground, err error) {
	i, err := d.Incidents.Incident(ctx, a.Incident)
	if err != nil {
		return g, fmt.Errorf("incident %s can't be looked at: %w", a.Incident, err)
	}
	if i.State == detect.Closed {
		return respond.Ground{Over: ErrOver, Ends: over(&i)}, nil
	}
	g.Seen = d.seen(&i, d.Clock.Now())
	g.Request = func(string) (lawful.Request, error) {
		if err := d.possible(&i, a.Prefixes); err != nil {
			return lawful.Request{}, fmt.Errorf("it isn't any more what was proposed: %w", err)
		}
		return d.request(a, &i, d.Clock.Now()), nil
	}
	return g, nil
}

// Possible is an announcement while its prefixes are, as the ROAs are now.
func (d mission) Possible(ctx context.Context, a *Announcement) (why detect.Text, err error) {
	i, err := d.Incidents.Incident(ctx, a.Incident)
	if err != nil {
		return why, fmt.Errorf("incident %s can't be looked at: %w", a.Incident, err)
	}
	if err := d.possible(&i, a.Prefixes); err != nil {
		return detect.Textf("承認後に広告できなくなりました: %v", "since it was approved it has become impossible: %v", err), err
	}
	return why, nil
}

func (d mission) Announced(context.Context, *Announcement) detect.Text {
	if d.Sight == nil {
		return detect.Text{JA: "広告しました。観測点がないため、効果は確認できません", EN: "announced; there is no vantage point, so its effect can't be confirmed"}
	}
	return detect.Text{JA: "広告しました。効果はまだ確認していません", EN: "announced; its effect isn't confirmed yet"}
}

// Proof is that the vantage points see what was announced: each prefix by as many as are
// set.
func (d mission) Proof(ctx context.Context, a *Announcement) (why detect.Text, err error) {
	if d.Sight == nil {
		return why, nil
	}
	least, of := -1, 0
	for _, p := range a.Prefixes {
		peers, whole, err := d.Sight.Seen(ctx, p)
		if err != nil {
			return why, fmt.Errorf("who sees %s can't be looked at: %w", p, err)
		}
		if least < 0 || peers < least {
			least = peers
		}
		of = max(of, whole)
	}
	if least < 1 || float64(least) < d.Policy.Share*float64(of) {
		return why, nil
	}
	return detect.Textf(
		"観測点 %[2]d のうち少なくとも %[1]d が、どの経路も自網からの広告として見ています(広告から %.0[3]f 秒以内)",
		"each route is seen as ours by %[1]d or more of %[2]d vantage points, within %.0[3]f s of announcing", least, of, d.Clock.Now().Sub(*a.AnnouncedAt).Seconds()), nil
}

func (d mission) Record(ctx context.Context, a *Announcement, x respond.Deed) error {
	deed := Deed{Act: a.ID, Incident: a.Incident, Deed: x}
	for _, p := range a.Prefixes {
		deed.Prefixes = append(deed.Prefixes, p.String())
	}
	return d.Recorder.Record(ctx, deed)
}
