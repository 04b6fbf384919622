package casework

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sakimori/base/relation"
	"sakimori/detect"
)

// Statute is a deadline that the law sets once something is known, for instance that a
// notice went to the wrong subscriber.
type Statute struct {
	ID       string
	Name     detect.Text
	Source   detect.Text
	Within   time.Duration // of knowing
	Verified bool          // its words were read in the source
}

// DefaultStatutes are those that a case of an infected subscriber can meet.
func DefaultStatutes() []Statute {
	const day = 24 * time.Hour
	appi := detect.Text{JA: "個人情報保護法26条、施行規則8条(要確認)", EN: "Act on the Protection of Personal Information, article 26; its rules, article 8 (to be verified)"}
	return []Statute{
		{
			ID: "secrecy-leak", Within: 30 * day, Verified: true,
			Name:   detect.Text{JA: "通信の秘密の漏えいの詳細報告(様式第50の2)。第一報は速やかに", EN: "full report of a leak of communications (form 50-2); the first word is due without delay"},
			Source: detect.Text{JA: "電気通信事業法28条、施行規則57条", EN: "Telecommunications Business Act, article 28; its rules, article 57"},
		},
		{ID: "personal-data-first", Within: 3 * day, Name: detect.Text{JA: "個人データ漏えいの速報(概ね3~5日以内)", EN: "first report of a leak of personal data (about 3 to 5 days)"}, Source: appi},
		{ID: "personal-data-full", Within: 30 * day, Name: detect.Text{JA: "個人データ漏えいの確報(不正の目的によるときは60日)", EN: "full report of a leak of personal data (60 days where somebody meant it)"}, Source: appi},
	}
}

// Deadline is one that a case has, of the desk's own or of the law's.
type Deadline struct {
	ID       string      `json:"id"` // of the statute; "step" the desk's own
	Name     detect.Text `json:"name"`
	Source   detect.Text `json:"source"`
	Due      time.Time   `json:"due"`
	Done     time.Time   `json:"done,omitzero"`
	Over     bool        `json:"over"`
	Verified bool        `json:"verified"`
}

// Deadlines are those of a case, its next step's first.
func (d *Desk) Deadlines(ctx context.Context, c *Case) (list []Deadline, err error) {
	now := d.clock.Now()
	if !c.Due.IsZero() {
		list = append(list, Deadline{
			ID: "step", Name: c.State.Words(), Due: c.Due, Over: now.After(c.Due), Verified: true,
			Source: detect.Text{JA: "自社の期限", EN: "the desk's own"},
		})
	}
	rows, err := d.db.Query(ctx, `SELECT statute, due, done FROM casework_clock WHERE case_id = $1 ORDER BY due, statute`, c.ID)
	if err != nil {
		return nil, fmt.Errorf("read deadlines: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var due, done int64
		if err := rows.Scan(&id, &due, &done); err != nil {
			return nil, fmt.Errorf("read deadlines: %w", err)
		}
		s, _ := d.rules.statute(id)
		x := Deadline{ID: id, Name: s.Name, Source: s.Source, Verified: s.Verified, Due: time.Unix(0, due).UTC(), Over: done == 0 && now.UnixNano() > due}
		if done != 0 {
			x.Done, x.Over = time.Unix(0, done).UTC(), done > due
		}
		list = append(list, x)
	}
	return list, rows.Err()
}

// ErrStatute is what Know returns for a deadline that there isn't.
var ErrStatute = errors.New("no such deadline of the law")

// Know begins a deadline of the law: since when it is known, who says so and why. The
// same one twice on a case keeps the earlier.
func (d *Desk) Know(ctx context.Context, id, statute string, since time.Time, who, why string) error {
	s, known := d.rules.statute(statute)
	if !known {
		return fmt.Errorf("%w: %q", ErrStatute, statute)
	}
	return d.change(ctx, id, who, why, func(tx *relation.Tx, _ *Case, now time.Time) error {
		if since.IsZero() || since.After(now) {
			return fmt.Errorf("%w: known since %s, which isn't past", ErrStatute, since.Format(time.RFC3339))
		}
		due := since.Add(s.Within)
		if err := d.event(ctx, tx, id, who, "deadline", statute+" by "+due.Format(time.RFC3339)+": "+why, now); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO casework_clock (case_id, statute, began, due, done) VALUES ($1, $2, $3, $4, 0)
			ON CONFLICT (case_id, statute) DO UPDATE SET
			began = CASE WHEN excluded.began < casework_clock.began THEN excluded.began ELSE casework_clock.began END,
			due = CASE WHEN excluded.due < casework_clock.due THEN excluded.due ELSE casework_clock.due END`, id, statute, since.UnixNano(), due.UnixNano())
		return err
	})
}

// Report ends a deadline of the law: what it asked for was done.
func (d *Desk) Report(ctx context.Context, id, statute, who, why string) error {
	return d.change(ctx, id, who, why, func(tx *relation.Tx, _ *Case, now time.Time) error {
		if err := d.event(ctx, tx, id, who, "reported", statute+": "+why, now); err != nil {
			return err
		}
		changed, err := tx.Exec(ctx, `UPDATE casework_clock SET done = $1 WHERE case_id = $2 AND statute = $3 AND done = 0`, now.UnixNano(), id, statute)
		if err == nil && changed == 0 {
			err = fmt.Errorf("%w runs on this case: %q", ErrStatute, statute)
		}
		return err
	})
}

// Why says why a case is in its state: what it means, since when, and what brought it
// there.
func (c *Case) Why(history []Event) detect.Text {
	t := c.State.Words()
	for i := len(history) - 1; i >= 0; i-- {
		e := &history[i]
		if State(e.What) != c.State {
			continue
		}
		at := e.At.UTC().Format("2006-01-02 15:04 UTC")
		t.JA += fmt.Sprintf(" %s から(%s: %s)。", at, e.Who, e.Why)
		t.EN += fmt.Sprintf(". Since %s (%s: %s).", at, e.Who, e.Why)
		break
	}
	if c.Held {
		t.JA += " 保留中のため、自動では進みません。"
		t.EN += " It is held: nothing happens by itself."
	}
	return t
}
