package api

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"sakimori/detect"
)

// Choices are what subscribers say to blocking and to the keeping of hits: two purposes,
// each with a consent of its own. Look and Say write down first who asks or acts.
type Choices interface {
	// Look gives a Choice without a subject where it can't be told whose it would be.
	Look(ctx context.Context, q ChoiceQuery, who string) (Choice, error)
	// Say enters what a subscriber said, and returns when it is entered; whether the
	// zone has it already stands in the Effect.
	Say(ctx context.Context, o ChoiceOrder) (Choice, error)
}

// ChoiceQuery names a subscriber by one of: a case, a pseudonym, the contract that they
// name themselves by, or an address at a time.
type ChoiceQuery struct {
	Case     string
	Subject  string
	Contract string
	Address  netip.Addr
	Port     uint16
	Protocol uint8
	At       time.Time
}

// ChoiceOrder is what a subscriber said, and how it came to us.
type ChoiceOrder struct {
	Subject, Purpose string
	Consents         bool
	Channel          string
	Who, Why         string
}

// ChoicePurpose is how a subscriber stands towards one purpose.
type ChoicePurpose struct {
	Purpose string      `json:"purpose" enum:"cc_block,cc_hits"`
	Words   detect.Text `json:"words"`
	State   string      `json:"state" enum:"consents,declined,outdated,unknown"`
	Version string      `json:"version" doc:"of the terms that they spoke of; empty: none"`
	Since   *time.Time  `json:"since" doc:"null: they said nothing"`
}

// ChoiceOptOut is whether resolvers leave the subscriber alone.
type ChoiceOptOut struct {
	InZone    bool       `json:"in_zone" doc:"every address that is known to be theirs is in the zone"`
	Serial    uint32     `json:"serial" doc:"since which; 0: not in it"`
	Since     *time.Time `json:"since"`
	Resolvers []CNCHas   `json:"resolvers" nullable:"false"`
}

// ChoiceEffect is what came of a choice that was just made.
type ChoiceEffect struct {
	State  string      `json:"state" enum:"done,pending,unchanged"`
	Serial uint32      `json:"serial" doc:"by which it took effect; 0: pending, or nothing changed"`
	At     *time.Time  `json:"at"`
	Words  detect.Text `json:"words"`
}

// Choice is how one subscriber stands.
type Choice struct {
	Subject  string          `json:"subject" doc:"pseudonym; empty: it can't be told whose it would be"`
	Verdict  string          `json:"verdict" enum:",unique,unique_with_skew,ambiguous,expired,foreign,no_port" doc:"of an address; empty: it wasn't asked by one"`
	Words    detect.Text     `json:"words"`
	Purposes []ChoicePurpose `json:"purposes" nullable:"false"`
	OptOut   *ChoiceOptOut   `json:"optout" doc:"null: not known"`
	Effect   *ChoiceEffect   `json:"effect" doc:"of the change that was just made; null: none was"`
}

type (
	choiceInput struct {
		Address  string `query:"address" required:"true" maxLength:"64"`
		Port     uint16 `query:"port" doc:"of a shared address; 0 not told"`
		Protocol uint8  `query:"protocol" doc:"IANA number; 0 not told"`
		At       string `query:"at" format:"date-time" doc:"by default now"`
	}
	choiceLookInput struct {
		Body struct {
			Case     string `json:"case,omitempty" maxLength:"64"`
			Subject  string `json:"subject,omitempty" maxLength:"64" doc:"pseudonym"`
			Contract string `json:"contract,omitempty" maxLength:"128" doc:"as the subscriber names it themself: on the phone, in the member portal"`
		}
	}
	choiceSayInput struct {
		Subject string `path:"subject" maxLength:"64" doc:"pseudonym"`
		Body    struct {
			Purpose  string `json:"purpose" enum:"cc_block,cc_hits"`
			Consents bool   `json:"consents"`
			Channel  string `json:"channel" enum:"phone,web,counter,portal"`
			Why      string `json:"why" minLength:"1" maxLength:"1000"`
		}
	}
)

// registerChoice lists the routes of subscribers' choices.
func (s *Server) registerChoice(v1 string) {
	add(s, http.MethodGet, v1+"/choice", "choice", "How the subscriber with an address stands to blocking", s.choice)
	add(s, http.MethodPost, v1+"/choice/look", "lookChoice", "How a subscriber stands, by case, pseudonym or contract", s.lookChoice)
	add(s, http.MethodPost, v1+"/choice/{subject}", "choose", "Enter what a subscriber said", s.choose)
}

// choices is the port, or why there is none.
func (s *Server) choices() (Choices, error) {
	if s.deps.Office.Choices == nil {
		return nil, fail("no_choice")
	}
	return s.deps.Office.Choices, nil
}

func chosen(c Choice, err error) (*output[Choice], error) {
	if err != nil {
		return nil, err
	}
	c.Purposes = filled(c.Purposes)
	if c.OptOut != nil {
		o := *c.OptOut
		o.Resolvers = filled(o.Resolvers)
		c.OptOut = &o
	}
	return &output[Choice]{Body: c}, nil
}

func (s *Server) choice(ctx context.Context, in *choiceInput) (*output[Choice], error) {
	d, err := s.choices()
	if err != nil {
		return nil, err
	}
	a, err := netip.ParseAddr(in.Address)
	if err != nil {
		return nil, fail("address_invalid", in.Address)
	}
	at, err := parseTime(in.At, "at")
	if err != nil {
		return nil, err
	}
	if at.IsZero() {
		at = s.deps.Office.Clock.Now().UTC()
	}
	return chosen(d.Look(ctx, ChoiceQuery{Address: a.Unmap().WithZone(""), Port: in.Port, Protocol: in.Protocol, At: at}, s.actor(ctx)))
}

func (s *Server) lookChoice(ctx context.Context, in *choiceLookInput) (*output[Choice], error) {
	d, err := s.choices()
	if err != nil {
		return nil, err
	}
	b, named := &in.Body, 0
	for _, w := range []string{b.Case, b.Subject, b.Contract} {
		if w != "" {
			named++
		}
	}
	if named != 1 {
		return nil, fail("choice_whose")
	}
	return chosen(d.Look(ctx, ChoiceQuery{Case: b.Case, Subject: b.Subject, Contract: b.Contract}, s.actor(ctx)))
}

func (s *Server) choose(ctx context.Context, in *choiceSayInput) (*output[Choice], error) {
	d, err := s.choices()
	if err != nil {
		return nil, err
	}
	b := &in.Body
	return chosen(d.Say(ctx, ChoiceOrder{Subject: in.Subject, Purpose: b.Purpose, Consents: b.Consents, Channel: b.Channel, Who: s.actor(ctx), Why: b.Why}))
}
