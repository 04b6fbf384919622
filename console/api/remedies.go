package api

import (
	"context"
	"time"

	"sakimori/detect"
)

// Remedies are what can be done about a route incident, and what is done. by is a person
// or an own command line, and is written down before anything is done. Methods return
// ErrNotFound for what isn't there, ErrOwnReview for somebody who would be two people, and
// a Refusal for what can't be done.
type Remedies interface {
	Remedies(ctx context.Context, incident string) (RemedyList, error)
	Propose(ctx context.Context, incident string, prefixes []string, by, why string) (RouteAct, error)
	Decisions[RouteAct]
}

// RemedyList is all that can be done about an incident; nothing of it is done by itself.
type RemedyList struct {
	Contacts      []RemedyContact      `json:"contacts" nullable:"false" doc:"whom to call, and what to say"`
	Filters       []RemedyFilter       `json:"filters" nullable:"false" doc:"for one's own edge routers"`
	MaxPrefix     []RemedyMaxPrefix    `json:"max_prefix" nullable:"false"`
	MoreSpecifics []RemedyMoreSpecific `json:"more_specifics" nullable:"false"`
	Acts          []RouteAct           `json:"acts" nullable:"false" doc:"the newest first"`
}

// RemedyContact is somebody to be told.
type RemedyContact struct {
	AS    uint32      `json:"as"`
	Name  string      `json:"name"`
	Role  string      `json:"role" enum:"leaker,upstream,victim"`
	Where string      `json:"where" doc:"as configured; empty: not known"`
	Look  detect.Text `json:"look" doc:"where it can be looked up; nothing is fetched"`
	Text  detect.Text `json:"text" doc:"to be sent by a person"`
	Mail  detect.Text `json:"mail" doc:"the same as a message (RFC 5322)"`
}

// RemedyFilter is a filter as a router takes it.
type RemedyFilter struct {
	Vendor      string      `json:"vendor" enum:"junos,iosxr,bird,frr"`
	Neighbor    uint32      `json:"neighbor"`
	Title       detect.Text `json:"title"`
	Text        string      `json:"text"`
	Checked     detect.Text `json:"checked" doc:"how its form was checked"`
	Rejects     int         `json:"rejects" doc:"routes of the incident"`
	Misses      int         `json:"misses" doc:"routes of the incident that it lets in"`
	AlsoRejects int         `json:"also_rejects" doc:"ordinary routes that it would hit"`
	Known       bool        `json:"known" doc:"false: what is ordinary isn't known, and also_rejects means nothing"`
}

// RemedyMaxPrefix is a limit for a session.
type RemedyMaxPrefix struct {
	Neighbor uint32      `json:"neighbor"`
	Family   string      `json:"family" enum:"ipv4,ipv6"`
	Now      int         `json:"now"`
	Maximum  *int        `json:"maximum30d"`
	Limit    int         `json:"limit"`
	Warn     int         `json:"warn" doc:"per cent of the limit"`
	Known    bool        `json:"known"`
	Why      detect.Text `json:"why"`

	Lines map[string]string `json:"lines" doc:"for the router, by vendor"`
}

// RemedyMoreSpecific is an own prefix that would draw the traffic back.
type RemedyMoreSpecific struct {
	Prefix      string        `json:"prefix"`
	Of          string        `json:"of"`
	Effect      detect.Text   `json:"effect"`
	SideEffects []detect.Text `json:"side_effects" nullable:"false"`
	Possible    bool          `json:"possible"`
	Why         detect.Text   `json:"why"`
}

// RouteAct is an announcement of own more-specifics, and its life.
type RouteAct struct {
	ActLife

	State    string      `json:"state" enum:"proposed,approved,announced,confirmed,withdrawn,refused,failed,expired"`
	Incident string      `json:"incident"`
	Prefixes []string    `json:"prefixes" nullable:"false"`
	Held     []RouteHeld `json:"held" nullable:"false"`
}

// RouteHeld is what one router has of it.
type RouteHeld struct {
	Peer   string    `json:"peer"`
	Routes int       `json:"routes"`
	At     time.Time `json:"at"`
}

func (a RouteAct) filled() RouteAct {
	a.ActLife, a.Prefixes, a.Held = a.ActLife.filled(), filled(a.Prefixes), filled(a.Held)
	return a
}

type (
	remediesBody struct{ RemedyList }
	announceIn   struct {
		ID   string `path:"id" maxLength:"512"`
		Body struct {
			Prefixes []string `json:"prefixes" minItems:"1" maxItems:"64"`
			Why      string   `json:"why" minLength:"1" maxLength:"1000"`
		}
	}
	routeActBody struct {
		Act RouteAct `json:"act"`
	}
)

func (s *Server) remediesPort() (Remedies, error) {
	if s.deps.Remedies == nil {
		return nil, fail("no_routes")
	}
	return s.deps.Remedies, nil
}

func (s *Server) incidentRemedies(ctx context.Context, in *incidentInput) (*output[remediesBody], error) {
	d, err := s.remediesPort()
	if err != nil {
		return nil, err
	}
	l, err := d.Remedies(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	l.Contacts, l.Filters, l.MaxPrefix, l.MoreSpecifics, l.Acts = filled(l.Contacts), filled(l.Filters), filled(l.MaxPrefix), filled(l.MoreSpecifics), filled(l.Acts)
	for i := range l.MaxPrefix {
		if l.MaxPrefix[i].Lines == nil {
			l.MaxPrefix[i].Lines = map[string]string{}
		}
	}
	for i := range l.MoreSpecifics {
		l.MoreSpecifics[i].SideEffects = filled(l.MoreSpecifics[i].SideEffects)
	}
	for i := range l.Acts {
		l.Acts[i] = l.Acts[i].filled()
	}
	return &output[remediesBody]{Body: remediesBody{l}}, nil
}

func routeActed(a RouteAct, err error) (*output[routeActBody], error) {
	if err != nil {
		return nil, err
	}
	return &output[routeActBody]{Body: routeActBody{a.filled()}}, nil
}

func (s *Server) proposeAnnouncement(ctx context.Context, in *announceIn) (*output[routeActBody], error) {
	d, err := s.remediesPort()
	if err != nil {
		return nil, err
	}
	return routeActed(d.Propose(ctx, in.ID, in.Body.Prefixes, s.actor(ctx), in.Body.Why))
}
