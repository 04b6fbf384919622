package main

import (
	"context"
	"errors"
	"fmt"

	"sakimori/respond/casework"
	"sakimori/respond/notify"
)

// The case follows its notices: what happened to one is news until the case has followed
// it, and each meaning of it counts once. So a crash between the two loses nothing, and
// does nothing twice.

// follow brings the cases to where the news of notices lead, and takes notices back whose
// case has ended. A case that is held follows when it is released.
func (n *notices) follow(ctx context.Context) error {
	n.following.Lock()
	defer n.following.Unlock()
	news, err := n.News(ctx)
	if err != nil {
		return err
	}
	for i := range news {
		held, err := n.followed(ctx, &news[i])
		if err != nil {
			return err
		}
		if !held {
			if err := n.Heard(ctx, &news[i]); err != nil {
				return err
			}
		}
	}
	return n.retract(ctx)
}

func (n *notices) followed(ctx context.Context, w *notify.News) (held bool, err error) {
	list, err := n.leads(ctx, w)
	if err != nil {
		return false, err
	}
	for _, h := range list {
		err := n.h.desk.Follow(ctx, h)
		switch {
		case errors.Is(err, casework.ErrHeld):
			return true, nil
		case isUnknown(err): // a notice of an office before this one
		case err != nil:
			return false, err
		}
	}
	return false, nil
}

// leads says where a change of a notice brings its case.
func (n *notices) leads(ctx context.Context, w *notify.News) (list []casework.Happening, err error) {
	x := &w.Notice
	to := func(what string, s casework.State, who, why string) {
		list = append(list, casework.Happening{Key: "notice " + x.ID + " " + what, Case: x.Case, To: s, Who: who, Why: why})
	}
	out := func() {
		to("out", casework.Notified, "sakimori", fmt.Sprintf("notice %s went out by %s, by rule %s", x.ID, x.Channel, x.Rule))
	}
	switch {
	case w.From == notify.Proposed && w.To == notify.Approved:
		to("approved", casework.Lawful, w.Who, "the gate grants it; notice "+x.ID+" is approved: "+w.Reason)
	case w.To == notify.Sent && w.From != notify.Sent:
		out()
	case w.To == notify.Delivered && w.From != notify.Delivered:
		out()
	case w.To == notify.Bounced:
		out()
		return list, n.back(ctx, w, "came back", to)
	case w.To == notify.Failed:
		return list, n.back(ctx, w, "failed", to)
	}
	switch w.Said {
	case notify.Seen:
		out() // also where its own answer is still on the way
		to("seen", casework.Acknowledged, w.Who, w.Reason)
	case notify.Fixed:
		out()
		to("fixed", casework.ClaimedFixed, w.Who, w.Reason)
	}
	return list, nil
}

// back is for a notice that reached nobody: unless another one did, or may yet, the
// subscriber is unreachable, and the policy's next channel is due.
func (n *notices) back(ctx context.Context, w *notify.News, how string, to func(what string, s casework.State, who, why string)) error {
	x := &w.Notice
	all, err := n.List(ctx, notify.Query{Case: x.Case})
	if err != nil {
		return err
	}
	s := casework.Unreachable
	for i := range all {
		switch all[i].State {
		case notify.Sent, notify.Delivered, notify.InDoubt, notify.Sending, notify.Approved:
			s = "" // it is told, and no more
		}
	}
	next, err := n.Next(ctx, x.Case, x.Subject)
	if err != nil {
		return err
	}
	due := "every channel was used"
	if next != "" {
		due = string(next) + " is due"
	}
	to("back", s, "sakimori", fmt.Sprintf("notice %s by %s %s (%s); %s", x.ID, x.Channel, how, w.Reason, due))
	return nil
}

// retract withdraws what hasn't gone out of cases that have ended: their signs were
// withdrawn, nothing is seen any more, or somebody closed them.
func (n *notices) retract(ctx context.Context) error {
	ended := map[string]string{}
	for _, s := range []notify.State{notify.Proposed, notify.Approved, notify.Unprintable} {
		list, err := n.List(ctx, notify.Query{State: s})
		if err != nil {
			return err
		}
		for i := range list {
			x := &list[i]
			why, known := ended[x.Case]
			if !known {
				c, err := n.h.desk.Case(ctx, x.Case)
				switch {
				case isUnknown(err):
					why = "there is no such case"
				case err != nil:
					return err
				case !c.State.Open():
					why = fmt.Sprintf("case %s is %s %s", c.ID, c.State, c.Reason)
				}
				ended[x.Case] = why
			}
			if why == "" {
				continue
			}
			if err := n.written(ctx, "sakimori", "withdrawn", why, x); err != nil {
				return err
			}
			// Whoever sends it at this moment was faster.
			if _, err := n.Desk.Withdraw(ctx, x.ID, "sakimori", why); err != nil && !errors.Is(err, notify.ErrOrder) {
				return err
			}
		}
	}
	return nil
}
