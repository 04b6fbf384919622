package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"sakimori/console"
	"sakimori/console/api"
	"sakimori/respond"
)

// actDesk is a desk of acts, of whatever they are.
type actDesk[A any] interface {
	Get(ctx context.Context, id string) (A, error)
	Approve(ctx context.Context, id, by, why string) (A, error)
	Reject(ctx context.Context, id, by, why string) (A, error)
	Withdraw(ctx context.Context, id, by, why string) (A, error)
	actKeeper
}

// actKeeper does what is due of acts.
type actKeeper interface {
	Tick(ctx context.Context) (respond.Tally, error)
	Close(ctx context.Context) error
}

// actDecisions are a desk of acts as the API asks it: A is one there, V as it is shown.
type actDecisions[A, V any] struct {
	acts actDesk[A]
	show func(*A) V
	no   func(error) error // says in both languages what the desk says no to
	log  *slog.Logger
}

// told is an act for the API.
func (d *actDecisions[A, V]) told(x A, err error) (out V, _ error) {
	if err != nil {
		return out, d.no(err)
	}
	return d.show(&x), nil
}

func (d *actDecisions[A, V]) Approve(ctx context.Context, id, by, why string) (V, error) {
	return d.now(ctx, id)(d.acts.Approve(ctx, id, by, why))
}

func (d *actDecisions[A, V]) Reject(ctx context.Context, id, by, why string) (V, error) {
	return d.told(d.acts.Reject(ctx, id, by, why))
}

func (d *actDecisions[A, V]) Withdraw(ctx context.Context, id, by, why string) (V, error) {
	return d.now(ctx, id)(d.acts.Withdraw(ctx, id, by, why))
}

// now does at once what a decision made due, and gives the act as it then is.
func (d *actDecisions[A, V]) now(ctx context.Context, id string) func(A, error) (V, error) {
	return func(x A, err error) (V, error) {
		if err != nil {
			return d.told(x, err)
		}
		_, due := d.acts.Tick(ctx) // what fails is tried again each second, and the decision stands
		if x, err = d.acts.Get(ctx, id); err == nil && due != nil {
			d.log.WarnContext(ctx, "what was decided couldn't be done at once; it is tried again", slog.String("act", id), slog.Any("error", due))
		}
		return d.told(x, err)
	}
}

// actError says in both languages what a desk of acts says no to. gone is the error of
// what acts are about when that isn't there, own the words for what only this desk says.
func actError(err, gone error, own map[error]string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, respond.ErrUnknown), errors.Is(err, gone):
		return errors.Join(console.ErrNotFound, err)
	case errors.Is(err, respond.ErrOwn):
		return errors.Join(api.ErrOwnReview, err)
	}
	for _, words := range []map[error]string{own, {
		respond.ErrOrder: "この状態からは進められません", respond.ErrBudget: "ルーターに置ける上限を超えます", respond.ErrGrant: "現在これを許す許可がありません",
		respond.ErrStandby: "広告は別のプロセスが担当しています",
	}} {
		for of, ja := range words {
			if errors.Is(err, of) {
				return refusalOf(err, of, ja)
			}
		}
	}
	return err
}

// furthest orders states by how much is done.
var furthest = map[respond.State]int{
	respond.Confirmed: 8, respond.Announced: 7, respond.Approved: 6, respond.Proposed: 5, respond.RolledBack: 4, respond.Failed: 3, respond.Withdrawn: 2, respond.Expired: 1,
}

// actBrief is the act that has come furthest; of several the first.
func actBrief[A any](list []A, life func(*A) *respond.Act) *api.MitigationBrief {
	var best *respond.Act
	for i := range list {
		if a := life(&list[i]); best == nil || furthest[a.State] > furthest[best.State] {
			best = a
		}
	}
	if best == nil {
		return nil
	}
	return &api.MitigationBrief{ID: best.ID, State: string(best.State), Words: best.Words}
}

// apiAct is the life of an act for the API.
func apiAct(a *respond.Act) api.ActLife {
	out := api.ActLife{
		ID: a.ID, Words: a.Words, Rehearsal: a.Rehearsal, ProposedBy: a.ProposedBy, ProposedAt: a.ProposedAt, Needs: a.Needs,
		AnnouncedAt: a.AnnouncedAt, ConfirmedAt: a.ConfirmedAt, Ends: a.Ends, WithdrawnAt: a.WithdrawnAt, WithdrawnBy: a.WithdrawnBy, Reason: a.Reason,
	}
	if a.Grant != nil {
		out.Grant = &api.MitigationGrant{ID: a.Grant.ID, Rule: a.Grant.Rule, Title: a.Grant.Title, Until: momentOrNull(a.Grant.Until)}
	}
	for _, x := range a.Approvals {
		out.Approvals = append(out.Approvals, api.MitigationApproval(x))
	}
	for _, c := range a.Changes {
		out.History = append(out.History, api.MitigationStep{At: c.At, State: string(c.To), Who: c.Who, Why: c.Why})
	}
	return out
}

// keepActs looks at acts each second; what names them in the log. When it ends, what
// routers hold goes: nobody would take it back.
func keepActs(ctx context.Context, ready func(), what string, desk actKeeper, log *slog.Logger, look func(context.Context) error) error {
	if _, err := desk.Tick(ctx); err != nil {
		log.ErrorContext(ctx, "acts of before couldn't be put right; it is tried again", slog.String("acts", what), slog.Any("error", err))
	}
	ready()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-ctx.Done():
			return desk.Close(context.WithoutCancel(ctx))
		case <-second.C:
			if err := look(ctx); err != nil && ctx.Err() == nil {
				log.ErrorContext(ctx, "what is due of acts couldn't be done; it is tried again", slog.String("acts", what), slog.Any("error", err))
			}
		}
	}
}
