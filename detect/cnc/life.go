package cnc

import (
	"slices"
	"time"

	"sakimori/detect"
	"sakimori/detect/cnc/never"
	"sakimori/observe"
)

// State is where an entry is in its life.
type State string

// The states. That an enforced entry was validated again is an event: it has a new end.
const (
	Candidate State = "candidate" // a source says so
	Enriched  State = "enriched"  // the chain of its name was followed
	Scored    State = "scored"    // it waits for a person, or for more to speak for it
	Reviewed  State = "reviewed"  // agreed to
	Shadow    State = "shadow"    // what it would have blocked is counted
	Enforced  State = "enforced"
	Expired   State = "expired"
	Withdrawn State = "withdrawn" // with a reason
	Archived  State = "archived"
)

// States are all of them, in the order of an entry's life.
func States() []State {
	return []State{Candidate, Enriched, Scored, Reviewed, Shadow, Enforced, Expired, Withdrawn, Archived}
}

// What else happens to an entry.
const (
	came        = "came"
	left        = "left"
	agreed      = "agreed"
	revalidated = "revalidated"
	renewed     = "renewed"
	sinkholed   = "sinkholed"
	released    = "not_sinkholed"
	waits       = "waits"
)

// next are the states that may follow. Each may be withdrawn, and what ended may begin
// anew.
var next = map[State][]State{
	Candidate: {Enriched, Expired},
	Enriched:  {Scored, Expired},
	Scored:    {Reviewed, Expired},
	Reviewed:  {Shadow, Enforced, Expired},
	Shadow:    {Enforced, Expired},
	Enforced:  {Expired},
	Expired:   {Candidate, Archived},
	Withdrawn: {Candidate, Archived},
	Archived:  {Candidate},
}

// May tells whether a state may follow.
func (s State) May(to State) bool {
	return to == Withdrawn && s != Withdrawn && s != Archived || slices.Contains(next[s], to)
}

// Over tells whether an entry's life has ended, until something begins it anew.
func (s State) Over() bool { return s == Expired || s == Withdrawn || s == Archived }

var words = map[string]detect.Text{
	string(Candidate): {JA: "情報源が挙げています。名前の連鎖の確認を待っています。", EN: "a source says so; the chain of its name is to be followed"},
	string(Enriched):  {JA: "名前の連鎖を確認しました。", EN: "the chain of its name was followed"},
	string(Scored):    {JA: "評価済みです。人の審査を待っています。", EN: "scored; it waits for a review"},
	string(Reviewed):  {JA: "審査で承認されました。", EN: "agreed to"},
	string(Shadow):    {JA: "試行中です。遮断せず、該当件数だけを数えています。", EN: "in shadow: nothing is blocked, what would be is counted"},
	string(Enforced):  {JA: "遮断対象です。", EN: "in force"},
	string(Expired):   {JA: "期限が切れました。", EN: "its time has run out"},
	string(Withdrawn): {JA: "取り下げられました。", EN: "taken out"},
	string(Archived):  {JA: "保管済みです。", EN: "put away"},
	came:              {JA: "情報源から届きました。", EN: "a source said so"},
	left:              {JA: "情報源から消えました。", EN: "a source doesn't say so any more"},
	agreed:            {JA: "承認が一つ付きました。", EN: "one person agreed"},
	revalidated:       {JA: "再確認され、期限が延びました。", EN: "seen again: its end moved"},
	renewed:           {JA: "担当者が期限を延ばしました。", EN: "a person moved its end"},
	sinkholed:         {JA: "シンクホール済みです。検知のみで、遮断しません。", EN: "defenders have it: detected, not blocked"},
	released:          {JA: "シンクホールの印が外れました。", EN: "not a sinkhole any more"},
	waits:             {JA: "人の判断を待っています。", EN: "it waits for a person"},
}

// Words is what a state means for a person.
func (s State) Words() detect.Text { return words[string(s)] }

// Words is what happened, for a person.
func (e *Event) Words() detect.Text { return words[e.What] }

// begin begins the life of an entry, or begins it anew.
func (e *Entry) begin(now time.Time) {
	e.State, e.Opened, e.Changed, e.Shadow = Candidate, now, now, time.Time{}
	e.Barred, e.Looked, e.Agreed, e.Emergency = false, false, false, false
	e.Waits, e.Reason = nil, nil
}

// move brings an entry into another state.
func (e *Entry) move(to State, now time.Time) {
	e.State, e.Changed, e.Waits, e.Reason = to, now, nil, nil
	switch to {
	case Shadow:
		e.Shadow = now
	case Withdrawn:
		e.Barred = true
	}
}

// rescored is how long a score stands before it is worked out again.
const rescored = 24 * time.Hour

// plan says when time brings something next.
func (l *List) plan(e *Entry) {
	switch e.State {
	case Archived:
		e.due = time.Time{}
		return
	case Expired, Withdrawn:
		e.due = e.Changed.Add(l.cfg.Archive)
		return
	}
	e.due = e.Expires
	if at := e.Scored.Add(rescored); at.Before(e.due) {
		e.due = at
	}
	if at := e.Shadow.Add(l.cfg.Shadow); e.State == Shadow && e.Waits == nil && at.Before(e.due) {
		e.due = at
	}
}

// ends is until when what sources say lets an entry be listed. A source's own end and
// the house's rule both hold: the earlier counts. The latest source counts.
func (l *List) ends(said []Said, reads map[string]time.Time) (end time.Time) {
	for i := range said {
		s := &said[i]
		from := s.Since
		if s.Gone.IsZero() {
			from = later(from, reads[s.Source])
		} else {
			from = s.Gone
		}
		at := from.Add(min(l.SourceOf(s.Source).TTL, l.cfg.Most))
		if !s.Until.IsZero() && s.Until.Before(at) {
			at = s.Until
		}
		end = later(end, at)
	}
	return end
}

// again is until when an entry may stay whose end has come: because a source still says
// so, or because it was hit. Hits don't outlive the end that every source gives.
func (l *List) again(e *Entry, said []Said, reads map[string]time.Time, now time.Time) (end time.Time, why detect.Text) {
	end = l.ends(live(said), reads)
	why = detect.Text{JA: "情報源が引き続き挙げています。", EN: "a source still says so"}
	const quiet = 14 * 24 * time.Hour
	open := slices.ContainsFunc(said, func(s Said) bool { return s.Until.IsZero() || s.Until.After(now) })
	if hit := e.Hit.Add(quiet); !end.After(now) && !e.Hit.IsZero() && open && hit.After(now) {
		return hit, detect.Text{JA: "いまも問い合わせがあります。", EN: "it is still asked for"}
	}
	return end, why
}

// two says why two people decide about an entry, going by the lists.
func (l *List) two(e *Entry) *detect.Text {
	v := l.cfg.Never.Check(e.Kind, e.Value)
	return twoBecause(v.Class == never.Popular, v.Class == never.Shared, v.Name, v.List)
}

func twoBecause(isPopular, isShared bool, name, list string) *detect.Text {
	switch {
	case isPopular:
		t := detect.Textf("利用者の多い名前です: %s(%s)", "many use it: %s (%s)", name, list)
		return &t
	case isShared:
		t := detect.Textf("多くの利用者が同居しています: %s(%s)", "many live there: %s (%s)", name, list)
		return &t
	}
	return nil
}

// progress takes an entry that nobody has decided about as far as it goes by itself, and
// tells the states that it came through.
func (l *List) progress(e *Entry, said []Said, now time.Time) (through []State) {
	step := func(to State) {
		e.move(to, now)
		through = append(through, to)
	}
	if e.State == Candidate && (!l.follows(e) || e.Looked) {
		step(Enriched)
	}
	if e.State == Enriched {
		step(Scored)
	}
	if e.State == Scored && e.Role == observe.RoleC2 && e.Two == nil && !e.Emergency && e.Score >= l.cfg.Auto && e.Waits == nil &&
		slices.ContainsFunc(said, func(s Said) bool { return s.Gone.IsZero() && l.SourceOf(s.Source).Auto }) {
		step(Reviewed)
		step(Shadow)
	}
	return through
}

// follows tells whether the chain of an entry's name is to be followed.
func (l *List) follows(e *Entry) bool { return l.cfg.Resolver != nil && e.named() }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
