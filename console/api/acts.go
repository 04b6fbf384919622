package api

import (
	"context"
	"net/http"
	"time"

	"sakimori/detect"
)

// Decisions are what people say of acts that were proposed: V is one of them. by and the
// errors are as with Mitigations.
type Decisions[V any] interface {
	Approve(ctx context.Context, id, by, why string) (V, error)
	Reject(ctx context.Context, id, by, why string) (V, error)
	Withdraw(ctx context.Context, id, by, why string) (V, error)
}

// MitigationGrant is the permission that an act stands on.
type MitigationGrant struct {
	ID    string      `json:"id"`
	Rule  string      `json:"rule"`
	Title detect.Text `json:"title"`
	Until *time.Time  `json:"until"`
}

// MitigationApproval is one person's yes.
type MitigationApproval struct {
	Who string    `json:"who"`
	At  time.Time `json:"at"`
	Why string    `json:"why"`
}

// MitigationStep is one change of state.
type MitigationStep struct {
	At    time.Time   `json:"at"`
	State string      `json:"state"`
	Who   string      `json:"who"`
	Why   detect.Text `json:"why"`
}

// ActLife is the life of an act, the same whatever is done; its state stands beside it.
type ActLife struct {
	ID          string               `json:"id"`
	Words       detect.Text          `json:"words"`
	Rehearsal   bool                 `json:"rehearsal" doc:"it would have been announced, and wasn't"`
	Grant       *MitigationGrant     `json:"grant" doc:"null: none yet"`
	ProposedBy  string               `json:"proposed_by"`
	ProposedAt  time.Time            `json:"proposed_at"`
	Approvals   []MitigationApproval `json:"approvals" nullable:"false"`
	Needs       int                  `json:"needs" doc:"people who still have to agree"`
	AnnouncedAt *time.Time           `json:"announced_at"`
	ConfirmedAt *time.Time           `json:"confirmed_at"`
	Ends        *time.Time           `json:"ends" doc:"by itself, unless it is renewed"`
	WithdrawnAt *time.Time           `json:"withdrawn_at"`
	WithdrawnBy string               `json:"withdrawn_by"`
	Reason      *detect.Text         `json:"reason" doc:"why it ended; null: it stands"`
	History     []MitigationStep     `json:"history" nullable:"false" doc:"the oldest first"`
}

func (a ActLife) filled() ActLife {
	a.Approvals, a.History = filled(a.Approvals), filled(a.History)
	return a
}

// mitigationWhyInput is a decision, with its reason.
type mitigationWhyInput struct {
	ID   string `path:"id" maxLength:"128"`
	Body struct {
		Why string `json:"why" minLength:"1" maxLength:"1000"`
	}
}

// addDecisions lists the routes by which people decide on acts: at is where one of them
// is, what its name in the ids of operations, desk who is asked, and told the answer.
func addDecisions[V, B any, D Decisions[V]](s *Server, at, what string, desk func() (D, error), told func(V, error) (*output[B], error)) {
	type decision func(d D, ctx context.Context, id, by, why string) (V, error)
	decide := func(who func(context.Context) (string, error), do decision) func(context.Context, *mitigationWhyInput) (*output[B], error) {
		return func(ctx context.Context, in *mitigationWhyInput) (*output[B], error) {
			d, err := desk()
			if err != nil {
				return nil, err
			}
			by, err := who(ctx)
			if err != nil {
				return nil, err
			}
			return told(do(d, ctx, in.ID, by, in.Body.Why))
		}
	}
	// To withdraw takes no person: whoever may, and a machine too, may always let traffic
	// go as it did.
	anybody := func(ctx context.Context) (string, error) { return s.actor(ctx), nil }
	add(s, http.MethodPost, at+"/approve", "approve"+what, "Agree to it, in one's own name", decide(s.human, D.Approve))
	add(s, http.MethodPost, at+"/reject", "reject"+what, "Say no to it", decide(s.human, D.Reject))
	add(s, http.MethodPost, at+"/withdraw", "withdraw"+what, "Take it back from all routers, now", decide(anybody, D.Withdraw))
}
