// Package casework follows each infected subscriber from the first sign until nothing
// is seen of it any more.
//
// There is one case for a subscriber, whatever and whoever saw it; its number stays
// when it comes back. Every change says who made it, when and why, and is written
// into the ledger with it.
package casework

import (
	"slices"
	"time"

	"sakimori/detect"
)

// State is where a case is in its life.
type State string

// The states of a case.
const (
	New          State = "new"           // signs came together
	Attributed   State = "attributed"    // the subscriber is known, by pseudonym
	Lawful       State = "lawful"        // there is a ground to tell them
	Notified     State = "notified"      // they were told; once or again
	Acknowledged State = "acknowledged"  // they answered, or looked their reference up
	ClaimedFixed State = "claimed_fixed" // they say that it is clean
	Verifying    State = "verifying"     // nobody has seen a sign since; the quiet period runs
	Clean        State = "clean"         // it ran out without a sign from any source
	Relapsed     State = "relapsed"      // a sign after that
	Unreachable  State = "unreachable"   // what was sent came back
	Escalated    State = "escalated"     // by letter, telephone or portal
	Closed       State = "closed"        // with a reason
)

// next are the states that may follow. A relapse may follow wherever somebody was to be
// clean, and each case may be closed with a reason.
var next = map[State][]State{
	New:          {Attributed},
	Attributed:   {Lawful},
	Lawful:       {Notified, Unreachable},
	Notified:     {Notified, Acknowledged, ClaimedFixed, Verifying, Unreachable, Escalated},
	Acknowledged: {ClaimedFixed, Verifying, Notified, Escalated},
	ClaimedFixed: {Verifying, Relapsed},
	Verifying:    {Clean, Relapsed},
	Clean:        {Relapsed},
	Relapsed:     {Lawful},
	Unreachable:  {Escalated, Lawful},
	Escalated:    {Notified, Acknowledged, ClaimedFixed, Verifying, Unreachable},
	Closed:       {Relapsed},
}

// States are all of them, in the order of a case's life.
var States = []State{New, Attributed, Lawful, Notified, Acknowledged, ClaimedFixed, Verifying, Clean, Relapsed, Unreachable, Escalated, Closed}

// May tells whether a state may follow.
func (s State) May(to State) bool {
	return to == Closed && s != Closed || slices.Contains(next[s], to)
}

// Open tells whether there is something left to do.
func (s State) Open() bool { return s != Clean && s != Closed }

// told tells whether the subscriber has been told, so that a later sign isn't news.
func (s State) told() bool {
	return s == Notified || s == Acknowledged || s == ClaimedFixed || s == Verifying || s == Escalated
}

// words says what a state means, and what is expected.
var words = map[State]detect.Text{
	New:          {JA: "兆候を受け取りました。加入者の特定を待っています。", EN: "signs came; the subscriber isn't known yet"},
	Attributed:   {JA: "加入者(仮名)を特定しました。注意喚起の根拠の確認を待っています。", EN: "the subscriber is known by pseudonym; a ground to tell them is to be checked"},
	Lawful:       {JA: "注意喚起の根拠があります。通知を待っています。", EN: "there is a ground to tell them; a notice is to be sent"},
	Notified:     {JA: "通知しました。応答または対処を待っています。", EN: "they were told; an answer, or the end of the signs, is awaited"},
	Acknowledged: {JA: "加入者が確認しました。対処を待っています。", EN: "they know; the clean-up is awaited"},
	ClaimedFixed: {JA: "対処済みとの連絡がありました。静穏期間に入るのを待っています。", EN: "they say that it is clean; the quiet period is to begin"},
	Verifying:    {JA: "新しい兆候がないか、静穏期間中です。", EN: "the quiet period runs: nothing may be seen"},
	Clean:        {JA: "どの情報源にも兆候がなく、静穏期間が過ぎました。", EN: "no source saw a sign through the quiet period"},
	Relapsed:     {JA: "再び兆候がありました。根拠の再確認を待っています。", EN: "signs came again; the ground is to be checked again"},
	Unreachable:  {JA: "通知が届きませんでした。別の手段を待っています。", EN: "what was sent came back; another channel is to be tried"},
	Escalated:    {JA: "書面・電話などに切り替えました。応答を待っています。", EN: "a letter, a call or the portal; an answer is awaited"},
	Closed:       {JA: "終了しました。", EN: "closed"},
}

// Words is what a state means for a person.
func (s State) Words() detect.Text { return words[s] }

// Rules are the operator's times.
type Rules struct {
	// Quiet is how long no source may see a sign before a case is clean: longer than the
	// malware takes to come back. By family, "" for the others.
	Quiet map[string]time.Duration
	// Due is by when the step out of a state is to be done. A state without one has none.
	Due map[State]time.Duration
	// Again is how long after its end a case is opened again rather than a new one begun.
	Again time.Duration
	// Wait is how long an order about many cases can be stopped before it is done.
	Wait time.Duration
	// Statutes are the deadlines of the law that a case can meet.
	Statutes []Statute
}

// DefaultRules are the house's: a Mirai lives in memory, and a device that stands open
// is infected again within hours.
func DefaultRules() Rules {
	const day = 24 * time.Hour
	return Rules{
		Quiet: map[string]time.Duration{"": 14 * day, "mirai": 7 * day},
		Due:   map[State]time.Duration{New: day, Attributed: 2 * day, Lawful: 2 * day, Relapsed: 2 * day, Unreachable: 3 * day, Notified: 14 * day, Acknowledged: 14 * day, Escalated: 14 * day, ClaimedFixed: day},
		Again: 90 * day, Wait: 5 * time.Minute, Statutes: DefaultStatutes(),
	}
}

func (r *Rules) quiet(family string) time.Duration {
	if d, known := r.Quiet[family]; known {
		return d
	}
	return r.Quiet[""]
}

func (r *Rules) due(s State, at time.Time) int64 {
	if d := r.Due[s]; d > 0 {
		return at.Add(d).UnixNano()
	}
	return 0
}

func (r *Rules) statute(id string) (Statute, bool) {
	i := slices.IndexFunc(r.Statutes, func(s Statute) bool { return s.ID == id })
	if i < 0 {
		return Statute{ID: id}, false
	}
	return r.Statutes[i], true
}

// Lasts tells whether what a case is about goes on: it is open, and something was seen of
// it within its quiet period.
func (d *Desk) Lasts(c *Case) bool {
	return c.State.Open() && d.clock.Now().Sub(c.Seen) < d.rules.quiet(c.Family)
}
