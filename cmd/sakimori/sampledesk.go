package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"sakimori/lawful"
	"sakimori/lawful/consent"
	"sakimori/respond/casework"
	"sakimori/respond/subscriber"
)

// desk is the made-up abuse desk of a demo. What it does goes through the gate, the vault,
// the cases and the ledger as what people do; so some of it is refused. Which case goes
// which way is decided by its number.
type desk struct {
	*sample

	revoked bool
}

// The people of the desk. None of them exists.
const (
	deskA = "abuse:mihon"
	deskB = "abuse:reiyama"
	legal = "legal:karita"
)

// ordinal is a case's number within its year.
func ordinal(c *casework.Case) int {
	n, _ := strconv.Atoi(c.ID[len(c.ID)-6:]) // made by the house
	return n
}

// day is the work of a morning: what time has brought, then each open case.
func (d *desk) day(ctx context.Context) error {
	if _, err := d.office.desk.Tick(ctx); err != nil {
		return err
	}
	if _, err := d.office.gate.Recheck(ctx); err != nil {
		return err
	}
	list, err := d.office.desk.Cases(ctx, casework.Query{})
	if err != nil {
		return err
	}
	for i := range list {
		c := &list[i]
		if c.Held || !c.State.Open() {
			continue
		}
		if c.Assignee == "" && ordinal(c)%6 != 0 {
			to := [...]string{"mihon", "reiyama"}[ordinal(c)%2]
			if err := d.office.desk.Assign(ctx, c.ID, to, deskA, say("当番", "on duty")); err != nil {
				return err
			}
		}
		if err := d.work(ctx, c); err != nil {
			return fmt.Errorf("case %s: %w", c.ID, err)
		}
	}
	if _, err := d.office.notices.round(ctx, "sakimori"); err != nil {
		return err
	}
	_, _, err = signHead(ctx, d.office.book, d.office.dir)
	return err
}

// work takes a case one step further, if it is its day.
func (d *desk) work(ctx context.Context, c *casework.Case) error {
	n, age := ordinal(c), d.clock.Now().Sub(c.Changed)
	move := func(to casework.State, who, ja, en string) error {
		return d.office.desk.Move(ctx, c.ID, to, who, say(ja, en))
	}
	switch c.State {
	case casework.Attributed, casework.Relapsed:
		switch {
		case n%7 == 5: // nobody has got round to it: it becomes overdue
			return nil
		case n%11 == 6:
			return d.office.desk.Hold(ctx, c.ID, true, legal, say("契約者と係争中のため法務が確認", "in dispute with the subscriber: legal looks at it"))
		}
		return d.name(ctx, c)
	case casework.Lawful:
		return d.tell(ctx, c)
	case casework.Notified:
		switch {
		case n%8 == 2:
			return move(casework.Unreachable, deskB, "見本: 郵便が宛先不明で返送", "sample: the letter came back")
		case n%3 == 0:
			return move(casework.Acknowledged, deskB, "見本: 契約者から電話", "sample: the subscriber called")
		}
	case casework.Acknowledged:
		if age > 20*time.Hour {
			return move(casework.ClaimedFixed, deskB, "見本: 機器を再起動し、パスワードを変えたとのこと", "sample: they restarted the device and changed its password")
		}
	case casework.ClaimedFixed:
		return move(casework.Verifying, deskB, "静穏期間に入る", "the quiet period begins")
	case casework.Unreachable:
		if age > 40*time.Hour {
			return move(casework.Escalated, deskA, "見本: 電話で連絡", "sample: called by telephone")
		}
	case casework.Escalated:
		if age > 60*time.Hour && n%2 == 0 {
			return move(casework.Closed, deskA, "見本: 解約された", "sample: the contract has ended")
		}
	}
	return nil
}

// name asks the gate whether the subscriber may be known, and looks who it is.
func (d *desk) name(ctx context.Context, c *casework.Case) error {
	n := ordinal(c)
	r := lawful.Request{
		Measure: lawful.NameSubscriber, Who: deskA, Purpose: say("感染した機器の駆除を依頼するため", "ask for the clean-up of an infected device"),
		Scope: lawful.Scope{Subjects: []string{c.Subject}},
		Facts: lawful.Facts{"finding": c.ID},
	}
	full := lawful.Facts{
		"finding": c.ID, "harm": say("他社の利用者の 23/tcp への走査", "scans of 23/tcp against other operators' customers"),
		"necessity": say("通報の時刻の一つのセッションだけ", "one session at the time of the report"),
	}
	if n%4 != 1 {
		r.Facts = full
	}
	g, err := d.office.gate.Ask(ctx, r)
	if x, is := errors.AsType[*lawful.Refusal](err); is { // the harm wasn't stated
		if err := d.office.desk.Note(ctx, c.ID, deskA, pick(x.Text())); err != nil {
			return err
		}
		if n%8 == 1 {
			return nil // and it waits for somebody who knows
		}
		r.Facts = full
		if g, err = d.office.gate.Ask(ctx, r); err != nil {
			if x, is := errors.AsType[*lawful.Refusal](err); is { // it isn't going on any more
				return d.office.desk.Note(ctx, c.ID, deskA, pick(x.Text()))
			}
		}
	}
	if err != nil {
		return err
	}
	if _, err := d.office.vault.Contract(ctx, g, c.Subject, deskA, "case "+c.ID); err != nil {
		return err
	}
	if _, err := d.office.vault.Person(ctx, g, lawful.NameSubscriber, c.Subject, deskA, "case "+c.ID); err != nil {
		return err
	}
	if !d.revoked && n%5 == 4 {
		d.revoked = true
		return d.office.gate.Revoke(ctx, g.ID(), legal, say("事実の記載を確認し直すため", "the facts are to be looked at again"))
	}
	return d.office.desk.Move(ctx, c.ID, casework.Lawful, deskA, say("許可 ", "by grant ")+g.ID())
}

// tell proposes a notice, and another person approves it; some wait for that.
func (d *desk) tell(ctx context.Context, c *casework.Case) error {
	why := say("見本: 送り先はこのプログラム自身です", "sample: it goes to this program itself")
	x, err := d.office.notices.Propose(ctx, c.ID, "", say("ja", "en"), deskA, why)
	switch {
	case errors.Is(err, errPending): // it waits
		return nil
	case errors.Is(err, errChannel): // they were told not long ago
		return d.office.desk.Move(ctx, c.ID, casework.Unreachable, deskA, say("見本: 通知しても感染が続くため、電話に切り替える", "sample: told, and still infected: by telephone from now on"))
	case err != nil || ordinal(c)%9 == 7:
		return err
	}
	_, err = d.office.notices.Approve(ctx, x.ID, deskB, why, nil)
	if x, is := errors.AsType[*lawful.Refusal](err); is {
		return d.office.desk.Note(ctx, c.ID, deskB, pick(x.Text()))
	}
	return err
}

// terms enters terms under which all consent to have names of C&C servers blocked, and
// terms of their own to keep that somebody asked for one; and some who decline.
func (s *sample) terms(ctx context.Context) error {
	from := s.life.Start.Add(-time.Hour)
	for i, purpose := range [...]string{purposeBlock, purposeHits} {
		if err := s.agreed(ctx, purpose, [...]string{"2016-04", "2016-04-hits"}[i], from, [...]int{40, 4}[i]); err != nil {
			return err
		}
	}
	return nil
}

// agreed enters terms of a purpose, which one in so many declines.
func (s *sample) agreed(ctx context.Context, purpose, version string, from time.Time, one int) error {
	err := s.office.consents.AddTerms(ctx, consent.Terms{
		Version: version, Ground: lawful.ComprehensiveConsent, From: from, TextSum: consent.Sum([]byte("sample terms of an invented operator")),
		Purposes: []string{purpose}, OptOut: true, OtherwiseUnchanged: true, Limited: true, Who: legal,
	})
	if err != nil {
		return err
	}
	if err := s.office.consents.AddNotice(ctx, version, consent.Notice{At: from.Add(-20 * 24 * time.Hour), Channel: "mail", Reference: "https://www.example.jp/terms", Who: legal}); err != nil {
		return err
	}
	var subjects []string
	for _, line := range s.life.Truth().Lines {
		subjects = append(subjects, subscriber.Subject(s.office.keys.Pseudonym(line)))
	}
	if _, err := s.office.consents.Enrol(ctx, slices.Values(subjects), purpose, version, legal); err != nil {
		return err
	}
	for i := min(7, one-1); i < len(subjects); i += one {
		if _, err := s.office.consents.Withdraw(ctx, subjects[i], purpose, "web", "subscriber"); err != nil {
			return err
		}
	}
	return nil
}

// now is what the desk did just before the demo begins: some grants are in force, and a
// request waits for a second person.
func (d *desk) now(ctx context.Context) error {
	if err := d.day(ctx); err != nil {
		return err
	}
	ask := func(r lawful.Request) error {
		_, err := d.office.gate.Ask(ctx, r)
		_, waits := errors.AsType[*lawful.Pending](err)
		_, refused := errors.AsType[*lawful.Refusal](err)
		if waits || refused {
			return nil
		}
		return err
	}
	// Two eyes are enough for nobody's names.
	err := ask(lawful.Request{
		Measure: lawful.MatchNames, Who: deskB, Purpose: say("C&C サーバへの名前解決の遮断", "block the name resolution of C&C servers"),
		Scope: lawful.Scope{Consenting: "cc_block"}, Facts: lawful.Facts{"consent": true},
	})
	if err != nil {
		return err
	}
	// And what no rule permits.
	return ask(lawful.Request{
		Measure: lawful.AnalyseTraffic, Who: deskB, Purpose: say("契約者の通信内容の確認", "look at a subscriber's traffic"),
		Scope: lawful.Scope{Subjects: []string{subscriber.Subject(d.office.keys.Pseudonym(d.life.Truth().Lines[0]))}},
	})
}
