package api

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"sakimori/detect"
	"sakimori/lawful"
)

// Subscribers tell who had an address, and with a Grant who a subscriber is. Contract
// and Person write the look down before it happens, and give nothing where nothing is
// kept.
type Subscribers interface {
	// Who answers by pseudonym alone; by is who asks, which is written down first.
	Who(ctx context.Context, q AddressQuery, by string) (Attribution, error)
	Contract(ctx context.Context, g lawful.Grant, subject, by, why string) (string, error)
	Person(ctx context.Context, g lawful.Grant, subject, by, why string) (*Person, error)
}

// AddressQuery asks who had an address, and a port of it, at a time.
type AddressQuery struct {
	Address  netip.Addr
	Port     uint16 // 0 not told
	Protocol uint8  // IANA number; 0 not told
	At       time.Time
	Skew     time.Duration // how far the time may be off
}

// Attribution is who had an address, or why it can't be told.
type Attribution struct {
	Verdict   string      `json:"verdict" enum:"unique,unique_with_skew,ambiguous,expired,foreign,no_port"`
	Words     detect.Text `json:"words"`
	Pseudonym string      `json:"pseudonym" doc:"of a certain verdict; empty: nobody is accused"`
	Margin    string      `json:"margin" doc:"how much larger the doubt about the time could be; empty: without limit, or nobody is named"`
	Evidence  []Claim     `json:"evidence" nullable:"false"`
	Contract  string      `json:"contract" doc:"with a grant alone"`
}

// Claim is a claim to the address that touches the time.
type Claim struct {
	Pseudonym string      `json:"pseudonym" doc:"or the address before a translator"`
	Source    string      `json:"source" doc:"who says it, or the rule of a translation"`
	From      *time.Time  `json:"from" doc:"null: not known"`
	To        *time.Time  `json:"to"`
	Open      bool        `json:"open" doc:"no end was told"`
	Inferred  bool        `json:"inferred_end" doc:"the end was concluded"`
	Rule      string      `json:"rule" doc:"of a computed translation; empty: from a log"`
	Text      detect.Text `json:"text"`
}

// Person is whom a contract belongs to.
type Person struct {
	Name   string `json:"name"`
	Mail   string `json:"mail"`
	Phone  string `json:"phone"`
	Postal Postal `json:"postal"`
}

// Postal is where letters go.
type Postal struct {
	Code  string   `json:"code"`
	Lines []string `json:"lines" nullable:"false"`
}

type (
	whoInput struct {
		Body struct {
			Address  string    `json:"address" maxLength:"64"`
			Port     uint16    `json:"port,omitempty" doc:"of a shared address; 0 not told"`
			Protocol uint8     `json:"protocol,omitempty" doc:"IANA number; 0 not told"`
			At       time.Time `json:"at"`
			Skew     float64   `json:"skew_seconds,omitempty" minimum:"0" maximum:"86400" doc:"how far the time may be off"`
			Grant    string    `json:"grant,omitempty" maxLength:"64" doc:"to name the subscriber"`
		}
	}
	identityInput struct {
		ID   string `path:"id" maxLength:"64"`
		Body struct {
			Grant string `json:"grant" minLength:"1" maxLength:"64" doc:"that allows to name the subscriber"`
		}
	}
	identityBody struct {
		Contract string    `json:"contract" doc:"empty: not kept"`
		Person   *Person   `json:"person" doc:"null: not kept"`
		Grant    string    `json:"grant"`
		Rule     string    `json:"rule"`
		Until    time.Time `json:"until" doc:"the end of the grant: what is shown goes with it"`
	}
)

func (s *Server) who(ctx context.Context, in *whoInput) (*output[Attribution], error) {
	p := s.deps.Office.Subscribers
	if p == nil {
		return nil, noOffice()
	}
	roles := callOf(ctx).who.roles
	if in.Body.Grant != "" && !roles.Any(askers) {
		return nil, fail("forbidden", askers, callOf(ctx).who.token.Roles)
	}
	addr, err := netip.ParseAddr(in.Body.Address)
	if err != nil {
		return nil, fail("address_invalid", in.Body.Address)
	}
	a, err := p.Who(ctx, AddressQuery{
		Address: addr.Unmap().WithZone(""), Port: in.Body.Port, Protocol: in.Body.Protocol, At: in.Body.At,
		Skew: time.Duration(in.Body.Skew * float64(time.Second)),
	}, s.actor(ctx))
	if err != nil {
		return nil, err
	}
	a.Evidence = filled(a.Evidence)
	if in.Body.Grant != "" && a.Pseudonym != "" {
		g, err := s.naming(ctx, in.Body.Grant, a.Pseudonym)
		if err != nil {
			return nil, err
		}
		if a.Contract, err = p.Contract(ctx, g, a.Pseudonym, s.actor(ctx), "grant "+g.ID()); err != nil {
			return nil, gateProblem(err)
		}
	}
	return &output[Attribution]{Body: a}, nil
}

// naming is the grant of that number, if it allows to name a subscriber now.
func (s *Server) naming(ctx context.Context, id, subject string) (lawful.Grant, error) {
	if s.deps.Office.Gate == nil {
		return lawful.Grant{}, noOffice()
	}
	g, err := s.deps.Office.Gate.Find(ctx, id)
	if errors.Is(err, lawful.ErrUnknown) {
		return g, fail("no_grant")
	}
	if err == nil && !g.Allows(lawful.NameSubscriber, lawful.Of(subject), s.deps.Office.Clock.Now()) {
		err = fail("no_grant")
	}
	return g, err
}

func (s *Server) identity(ctx context.Context, in *identityInput) (*output[identityBody], error) {
	p := s.deps.Office.Subscribers
	if p == nil {
		return nil, noOffice()
	}
	c, err := s.subjectOf(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	g, err := s.naming(ctx, in.Body.Grant, c.Subject)
	if err != nil {
		return nil, err
	}
	b := identityBody{Grant: g.ID(), Rule: g.Rule(), Until: g.Until()}
	why := "case " + c.ID + ", grant " + g.ID()
	if b.Contract, err = p.Contract(ctx, g, c.Subject, s.actor(ctx), why); err != nil {
		return nil, gateProblem(err)
	}
	if b.Person, err = p.Person(ctx, g, c.Subject, s.actor(ctx), why); err != nil {
		return nil, gateProblem(err)
	}
	return &output[identityBody]{Body: b}, nil
}
