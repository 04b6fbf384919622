package cnc

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"

	"sakimori/base/relation"
	"sakimori/detect"
	"sakimori/detect/cnc/never"
)

// Ticked is what time brought.
type Ticked struct {
	Looked      int `json:"looked"` // chains of names that were followed
	Shadow      int `json:"shadow"`
	Enforced    int `json:"enforced"`
	Waiting     int `json:"waiting"`
	Revalidated int `json:"revalidated"`
	Expired     int `json:"expired"`
	Archived    int `json:"archived"`
	Withdrawn   int `json:"withdrawn"` // they are protected by now
}

// self is who does what time brings.
const self = "sakimori"

// Tick does what time brings: what was long enough in shadow is enforced, what is at its
// end expires unless somebody still says so or asks for it, scores fade. It goes on until
// nothing is due, a thousand entries at a time, so that others get at the list between.
func (l *List) Tick(ctx context.Context) (t Ticked, err error) {
	for {
		n, err := l.due(ctx, &t)
		if err != nil {
			return t, err
		}
		if n < lotSize {
			break
		}
	}
	return t, l.lookUp(ctx, &t)
}

// outcome is what becomes of an entry.
type outcome struct {
	e, was Entry
	deed   string // "" nothing that anybody decides
	what   []string
}

// because says why the house did something by itself.
var because = map[string]detect.Text{
	string(Enforced):  {JA: "試行期間が終わり、該当件数も上限以内でした。", EN: "its time in shadow is over, and the hits were within the bound"},
	string(Shadow):    {JA: "自動承認される情報源で、スコアが基準を満たしました。", EN: "its source needs no person, and its score is high enough"},
	waits:             {JA: "自動では遮断できません。", EN: "it isn't enforced by itself"},
	revalidated:       {JA: "期限時にも情報源または問い合わせがありました。", EN: "at its end a source still said so, or it was asked for"},
	string(Expired):   {JA: "期限までに再確認されませんでした。", EN: "nobody said so again before its end"},
	string(Archived):  {JA: "終了から一定期間が過ぎました。", EN: "it ended long ago"},
	string(Withdrawn): {JA: "保護対象のリストに載りました。", EN: "a list protects it"},
	"looked":          {JA: "名前の連鎖を確認しました。", EN: "the chain of its name was followed"},
}

// due deals with a lot of what is due.
func (l *List) due(ctx context.Context, t *Ticked) (n int, err error) {
	now := l.clock.Now().UTC()
	var some int
	if err := l.db.QueryRow(ctx, `SELECT count(*) FROM (SELECT 1 FROM cnc_entry WHERE due > 0 AND due <= $1 LIMIT 1) AS t`, now.UnixNano()).Scan(&some); err != nil || some == 0 {
		return 0, err
	}
	var counts map[string]int
	err = l.write(ctx, func(w *work) error {
		counts = map[string]int{}
		list, err := entriesBy(ctx, w.tx, fmt.Sprintf(`WHERE due > 0 AND due <= $1 ORDER BY due LIMIT %d`, lotSize), w.now.UnixNano())
		if err != nil {
			return err
		}
		n = len(list)
		keys := make([]int64, n)
		for i := range list {
			keys[i] = list[i].key
		}
		said, err := saidOf(ctx, w.tx, keys)
		if err != nil {
			return err
		}
		out := make([]outcome, n)
		for i := range list {
			out[i] = w.comes(ctx, list[i], said[keys[i]])
		}
		return w.settle(ctx, out, counts)
	})
	t.Shadow += counts[string(Shadow)]
	t.Enforced += counts[string(Enforced)]
	t.Waiting += counts[waits]
	t.Revalidated += counts[revalidated]
	t.Expired += counts[string(Expired)]
	t.Archived += counts[string(Archived)]
	t.Withdrawn += counts[string(Withdrawn)]
	return n, err
}

// settle writes what becomes of entries: one deed for all of a kind.
func (w *work) settle(ctx context.Context, out []outcome, counts map[string]int) error {
	lots := map[string]int64{}
	for i := range out {
		if out[i].deed != "" {
			counts[out[i].deed]++
		}
	}
	for _, deed := range slices.Sorted(keysOf(counts)) {
		d := Deed{Who: self, What: deed, Counts: &Counts{Entries: counts[deed]}, Why: because[deed]}
		if counts[deed] == 1 {
			i := slices.IndexFunc(out, func(o outcome) bool { return o.deed == deed })
			d.Entry, d.Value = out[i].e.ID, out[i].e.Value
		}
		var err error
		if lots[deed], err = w.decide(ctx, d); err != nil {
			return err
		}
	}
	for i := range out {
		o := &out[i]
		if err := w.save(ctx, &o.e, o.was, lots[o.deed], o.what...); err != nil {
			return err
		}
	}
	return nil
}

func keysOf(m map[string]int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// comes says what time brings to an entry.
func (w *work) comes(ctx context.Context, e Entry, said []Said) outcome {
	o := outcome{e: e, was: e}
	x := &o.e
	to := func(s State) outcome {
		x.move(s, w.now)
		o.deed, o.what = string(s), []string{string(s)}
		reason := because[string(s)]
		x.Reason = &reason
		return o
	}
	if x.State.Over() {
		return to(Archived)
	}
	x.Score, x.Scored = w.weigh(x, said, w.reads, w.now, nil), w.now
	if v := w.cfg.Never.Check(x.Kind, x.Value); v.Class == never.Protected {
		to(Withdrawn)
		reason := detect.Textf("保護対象です: %s(%s)", "protected: %s (%s)", v.Name, v.List)
		x.Reason = &reason
		return o
	}
	if !x.Expires.After(w.now) {
		end, why := w.again(x, said, w.reads, w.now)
		if !end.After(w.now) {
			return to(Expired)
		}
		x.Expires = end
		if x.State == Shadow || x.State == Enforced {
			x.Reason = &why
			o.deed, o.what = revalidated, []string{revalidated}
		}
	}
	switch x.State {
	case Candidate:
		x.Waits = nil // its chain is tried again
	case Shadow:
		if x.Waits == nil && !x.Shadow.Add(w.cfg.Shadow).After(w.now) {
			if x.Waits = w.mayNot(ctx, x); x.Waits != nil {
				o.deed, o.what = waits, append(o.what, waits)
				return o
			}
			return to(Enforced)
		}
		return o
	}
	if through := w.progress(x, said, w.now); len(through) > 0 {
		for _, s := range through {
			o.what = append(o.what, string(s))
		}
		o.deed = string(through[len(through)-1])
	}
	return o
}

// mayNot says why an entry isn't enforced by itself when its time in shadow is over.
func (l *List) mayNot(ctx context.Context, e *Entry) *detect.Text {
	if l.cfg.Would > 0 && e.Would > l.cfg.Would {
		t := detect.Textf("試行中に %d 件の該当がありました(上限 %d 件)。", "%d hits while in shadow, more than %d", e.Would, l.cfg.Would)
		return &t
	}
	if e.Agreed {
		return nil // by as many people as it takes
	}
	if two := l.crowded(ctx, e); two != nil {
		return two
	}
	return l.two(e) // by a rule alone no name that many use is blocked
}

// Of the names whose chain is to be followed, so many are at a time, and in a tick.
const (
	lookLot = 64
	lookAll = 512
)

// lookUp follows the chains of candidates' names, the weightiest first.
func (l *List) lookUp(ctx context.Context, t *Ticked) error {
	for all := 0; l.cfg.Resolver != nil && all < lookAll; all += lookLot {
		list, err := entriesBy(ctx, l.db, fmt.Sprintf(`WHERE state = 'candidate' AND waits = '' ORDER BY score DESC, key DESC LIMIT %d`, lookLot))
		if err != nil || len(list) == 0 {
			return err
		}
		seen, errs := make([]look, len(list)), make([]error, len(list))
		var busy sync.WaitGroup
		turns := make(chan struct{}, 16)
		for i := range list {
			busy.Go(func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				seen[i], errs[i] = l.look(ctx, &list[i])
			})
		}
		busy.Wait()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n, err := l.looked(ctx, list, seen, errs, t)
		if err != nil {
			return err
		}
		t.Looked += n
	}
	return nil
}

// looked keeps what following chains brought.
func (l *List) looked(ctx context.Context, list []Entry, seen []look, errs []error, t *Ticked) (n int, err error) {
	var counts map[string]int
	err = l.write(ctx, func(w *work) error {
		counts, n = map[string]int{}, 0
		keys := make([]int64, len(list))
		for i := range list {
			keys[i] = list[i].key
		}
		entries, said, err := w.both(ctx, keys)
		if err != nil {
			return err
		}
		var out []outcome
		for i, k := range keys {
			e := entries[k]
			if e == nil || e.State != Candidate { // somebody was faster
				continue
			}
			o := outcome{e: *e, was: *e, deed: "looked"}
			x := &o.e
			v, never := protected(errs[i])
			switch {
			case never:
				x.move(Withdrawn, w.now)
				reason := detect.Textf("保護対象の別名です: %s(%s)", "an alias of what is protected: %s (%s)", v.Name, v.List)
				x.Reason = &reason
				o.deed, o.what = string(Withdrawn), []string{string(Withdrawn)}
			case errs[i] != nil:
				why := detect.Text{JA: "名前の連鎖を確認できませんでした。", EN: "the chain of its name couldn't be followed"}
				x.Waits = &why
				o.deed = ""
			default:
				n++
				seen[i].tell(x)
				x.Sinkholed = x.Sinkholed || seen[i].sinkhole
				for _, s := range w.progress(x, said[k], w.now) {
					o.what = append(o.what, string(s))
				}
			}
			out = append(out, o)
		}
		return w.settle(ctx, out, counts)
	})
	t.Withdrawn += counts[string(Withdrawn)]
	return n, err
}

// Recheck goes through the whole list when what is never listed has changed, and takes
// out what is protected now. It tells how many.
func (l *List) Recheck(ctx context.Context) (withdrawn int, err error) {
	digest := int64(l.cfg.Never.Digest() >> 1)
	var have int64
	err = l.db.QueryRow(ctx, `SELECT value FROM cnc_meta WHERE name = 'never'`).Scan(&have)
	if err != nil && !errors.Is(err, sql.ErrNoRows) || err == nil && have == digest {
		return 0, err
	}
	for after := int64(-1); ; {
		list, err := entriesBy(ctx, l.db, fmt.Sprintf(`WHERE key > $1 ORDER BY key LIMIT %d`, 10*lotSize), after)
		if err != nil {
			return withdrawn, err
		}
		if len(list) == 0 {
			break
		}
		after = list[len(list)-1].key
		var bad []int64
		for i := range list {
			e := &list[i]
			two := l.two(e)
			if !e.State.Over() && (l.cfg.Never.Check(e.Kind, e.Value).Class == never.Protected || e.Two == nil && two != nil) {
				bad = append(bad, e.key)
			}
		}
		for part := range slices.Chunk(bad, lotSize) {
			n, err := l.shield(ctx, part)
			if err != nil {
				return withdrawn, err
			}
			withdrawn += n
		}
	}
	return withdrawn, l.db.Tx(ctx, func(tx *relation.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO cnc_meta (name, value) VALUES ('never', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, digest)
		return err
	})
}

// shield takes entries out that are protected, and says of others that two people decide.
func (l *List) shield(ctx context.Context, keys []int64) (n int, err error) {
	var counts map[string]int
	err = l.write(ctx, func(w *work) error {
		counts = map[string]int{}
		entries, err := entriesOf(ctx, w.tx, keys)
		if err != nil {
			return err
		}
		var out []outcome
		for _, k := range keys {
			e := entries[k]
			if e == nil || e.State.Over() {
				continue
			}
			o := outcome{e: *e, was: *e}
			x := &o.e
			if v := w.cfg.Never.Check(x.Kind, x.Value); v.Class == never.Protected {
				x.move(Withdrawn, w.now)
				reason := detect.Textf("保護対象です: %s(%s)", "protected: %s (%s)", v.Name, v.List)
				x.Reason = &reason
				o.deed, o.what = string(Withdrawn), []string{string(Withdrawn)}
			} else if x.Two = w.two(x); x.Two != nil && !x.Agreed && (x.State == Shadow || x.State == Enforced) {
				x.State, x.Waits = Shadow, x.Two // a rule let it through, a person didn't
				x.Shadow = w.now
				o.deed, o.what = waits, []string{string(Shadow), waits}
			}
			out = append(out, o)
		}
		return w.settle(ctx, out, counts)
	})
	return counts[string(Withdrawn)], err
}
