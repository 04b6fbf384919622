package main

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/detect/leak"
	"sakimori/detect/register"
	"sakimori/observe"
	"sakimori/observe/route"
	"sakimori/observe/route/relation"
	"sakimori/observe/route/rpki"
)

// routeRun is a table of routes with the detector behind it: from messages to incidents,
// without a store. What it makes waits until a keeper takes it. One goroutine at a time
// gives it messages and the time.
type routeRun struct {
	table   *route.Table
	leaks   *leak.Detector
	set     *routeSettings
	tell    func(detect.Finding)   // hears of each finding at once; nil: nobody
	changed func(*detect.Incident) // and of each incident; nil: nobody

	mu      sync.Mutex
	pending routeNews
	open    map[string]detect.Incident
	closed  []detect.Incident // the last ones
}

// closedMost is how many incidents that ended are at hand.
const closedMost = 100

// routeNews is what was made since the last time somebody took it.
type routeNews struct {
	incidents []detect.Incident
	courses   []register.Course[detect.RoutePoint]
	findings  []detect.Finding
}

// routeSettings are what routes are judged by.
type routeSettings struct {
	table     route.Config
	leak      leak.Config
	relations *relation.Table    // nil: none are known
	siblings  *relation.Siblings // nil: none are known
	either    *relation.Either   // of a file and of what is learnt; nil: the file's alone
	rpki      roaTable           // nil: none is known
	names     asNames
	silent    func(netip.Prefix) bool // a dark prefix; nil: no telescope looks
}

// roaTable is who may announce what, and whom ASes have as providers.
type roaTable interface {
	Origin(p netip.Prefix, as uint32) observe.ROV
	Path(ases []uint32, set bool, from observe.ASRelation) observe.ASPA
	Hop(customer, provider uint32) rpki.Hop
	ROAs(p netip.Prefix) []rpki.ROA
	Providers(as uint32) ([]uint32, bool)
}

// settings are those of the configuration, and what the flags say besides.
func (s *routeSources) settings(cfg *config) (*routeSettings, error) {
	set, err := cfg.routes()
	if err != nil {
		return nil, err
	}
	if len(s.own) > 0 {
		if set.leak.Own, err = ownSpace(s.own); err != nil {
			return nil, err
		}
	}
	for _, w := range s.plan {
		p, err := netip.ParsePrefix(w)
		if err != nil {
			return nil, fmt.Errorf("--plan %q: write a prefix, for example 240.0.0.0/4", w)
		}
		set.leak.Plan = append(set.leak.Plan, p.Masked())
	}
	if s.relations != "" {
		if set.relations, err = relation.ReadFile(s.relations); err != nil {
			return nil, fmt.Errorf("--relations: %w", err)
		}
	}
	if s.siblings != "" {
		if set.siblings, err = readSiblings(s.siblings); err != nil {
			return nil, fmt.Errorf("--siblings: %w", err)
		}
	}
	files := append(append([]string(nil), s.roa...), s.aspa...)
	if len(files) == 0 {
		files = cfg.Route.RPKI.Files
	}
	if len(files) > 0 {
		var data []*rpki.Data
		for _, name := range files {
			d, err := rpki.ReadFile(name)
			if err != nil {
				return nil, err
			}
			data = append(data, d)
		}
		set.rpki = rpki.NewTable(time.Now(), data...)
	}
	return set, nil
}

func readSiblings(path string) (*relation.Siblings, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return relation.ReadSiblings(f)
}

// newRouteRun makes a table and its detector; more hear of the routes too.
func newRouteRun(set *routeSettings, more ...observe.Routes) (r *routeRun, err error) {
	r = &routeRun{set: set, open: map[string]detect.Incident{}}
	if r.leaks, err = leak.New(set.leak, set.ports(), leak.Sinks{Incidents: r, Findings: r}); err != nil {
		return nil, err
	}
	r.table, err = route.New(set.table, append([]observe.Routes{r.leaks}, more...)...)
	return r, err
}

// ports are what the detector asks; what isn't known stays nil.
func (s *routeSettings) ports() (p leak.Ports) {
	if s.rpki != nil {
		p.Origin = s.rpki.Origin
		p.Hop = func(customer, provider uint32) observe.ASPA {
			switch s.rpki.Hop(customer, provider) {
			case rpki.Provider:
				return observe.ASPAValid
			case rpki.NotProvider:
				return observe.ASPAInvalid
			}
			return observe.ASPAUnknown
		}
	}
	if s.relations != nil {
		p.Relation, p.RouteServer, p.RelationsAt = s.relations.Relation, s.relations.Exchange, s.relations.Date()
		if len(s.relations.Clique()) > 0 { // else the shipped list holds
			p.Tier1 = s.relations.Tier1
		}
	}
	if s.either != nil {
		p.Relation, p.RouteServer = s.either.Relation, s.either.Exchange
	}
	if s.siblings != nil {
		p.Sibling = s.siblings.Same
	}
	p.Name = s.names.ASName
	if s.names.table != nil {
		p.Holder = func(a netip.Addr) uint32 {
			_, as := s.names.table.Owner(packet.FromNetip(a))
			return as
		}
	}
	p.Silent = s.silent
	return p
}

// tick says that a second of the data has begun.
func (r *routeRun) tick(second int64) {
	r.table.Tick(second * int64(time.Second))
	r.leaks.Tick(time.Unix(second, 0).UTC())
}

// Incident hears of each version of an incident.
func (r *routeRun) Incident(i detect.Incident) {
	r.mu.Lock()
	r.pending.incidents = append(r.pending.incidents, i)
	if r.open[i.ID] = i; i.State == detect.Closed {
		delete(r.open, i.ID)
		r.closed = append(r.closed[max(0, len(r.closed)+1-closedMost):], i)
	}
	r.mu.Unlock()
	if r.changed != nil {
		r.changed(&i)
	}
}

// IncidentCourse hears of what an incident did second by second.
func (r *routeRun) IncidentCourse(id string, points []detect.RoutePoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending.courses = append(r.pending.courses, register.Course[detect.RoutePoint]{ID: id, Points: append([]detect.RoutePoint(nil), points...)})
}

// Find hears of each finding.
func (r *routeRun) Find(f detect.Finding) {
	r.mu.Lock()
	r.pending.findings = append(r.pending.findings, f)
	r.mu.Unlock()
	if r.tell != nil {
		r.tell(f)
	}
}

// news is what was made since the last time.
func (r *routeRun) news() routeNews {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.pending
	r.pending = routeNews{}
	return n
}

// busy tells whether an incident lasts.
func (r *routeRun) busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.open) > 0
}

// adopt has an incident of before a restart go on.
func (r *routeRun) adopt(i detect.Incident) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[i.ID] = i
}

// giveBack puts back what couldn't be kept.
func (r *routeRun) giveBack(n routeNews) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending.incidents = append(n.incidents, r.pending.incidents...)
	r.pending.courses = append(n.courses, r.pending.courses...)
	r.pending.findings = append(n.findings, r.pending.findings...)
}

// all are the incidents at hand, open ones first, each as it stands.
func (r *routeRun) all() (out []detect.Incident) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(r.open)) {
		out = append(out, r.open[id])
	}
	return append(out, r.closed...)
}

var (
	_ detect.Incidents = (*routeRun)(nil)
	_ detect.Findings  = (*routeRun)(nil)
)
