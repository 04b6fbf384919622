package notify

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/detect"
	"sakimori/lawful"
)

// Deps are what a Desk works with.
type Deps struct {
	DB         *relation.DB
	Clock      clock.Clock
	People     People
	Recorder   Recorder
	Writer     Writer
	References *References
	Carriers   map[Channel]Carrier
	Press      Press // of letters; nil none
	Policy     Policy
}

// Desk keeps notices and sends them. It may be used by many goroutines.
type Desk struct{ Deps }

// Open prepares the tables. It sends nothing; call Recover before the first Send.
func Open(ctx context.Context, d Deps) (*Desk, error) {
	if err := d.Policy.Check(); err != nil {
		return nil, err
	}
	if err := migrate(ctx, d.DB); err != nil {
		return nil, err
	}
	return &Desk{d}, nil
}

// Proposal is a notice to be.
type Proposal struct {
	Case     string
	Subject  string // pseudonym
	Channel  Channel
	Template Template
	Language string // "" the person's own
	Seen     time.Time
}

// Propose writes a notice down that somebody may approve.
func (d *Desk) Propose(ctx context.Context, p Proposal, by, why string) (Notice, error) {
	now := d.Clock.Now().UTC()
	n := Notice{
		ID: newID(), Case: p.Case, Subject: p.Subject, Channel: p.Channel, Template: p.Template, Language: p.Language, Seen: p.Seen.UTC(),
		State: Proposed, Reason: why, Proposer: by, Proposed: now, Changed: now,
	}
	if n.Template.Device == "" {
		n.Template.Device = Unknown
	}
	if by == "" {
		return Notice{}, errors.New("a proposal says who made it")
	}
	if err := n.check(); err != nil {
		return Notice{}, err
	}
	const tries = 10 // another notice has the number once in 10¹¹/n tries
	for try := range tries {
		n.Reference = d.References.of(n.ID, try)
		err := d.DB.Tx(ctx, func(tx *relation.Tx) error { return insert(ctx, tx, &n, d.References.proof(n.Reference)) })
		if !relation.Unique(err) {
			return n, err
		}
	}
	return Notice{}, errors.New("no free reference number was found")
}

// Get reads a notice. An unknown id gives ErrUnknown.
func (d *Desk) Get(ctx context.Context, id string) (Notice, error) { return get(ctx, d.DB, id) }

// List reads notices, those first that were proposed first.
func (d *Desk) List(ctx context.Context, q Query) ([]Notice, error) { return list(ctx, d.DB, q) }

// History reads the changes of a notice in order.
func (d *Desk) History(ctx context.Context, id string) ([]Change, error) {
	return history(ctx, d.DB, id)
}

// Approve lets a notice be sent, and one that couldn't be printed be tried again.
func (d *Desk) Approve(ctx context.Context, id, by, why string) (Notice, error) {
	return d.move(ctx, id, by, why, func(n *Notice) (State, error) {
		if err := d.MayApprove(n, by); err != nil {
			return "", err
		}
		n.Due = time.Time{}
		return Approved, nil
	})
}

// MayApprove tells what keeps somebody from approving a notice as it is.
func (d *Desk) MayApprove(n *Notice, by string) error {
	switch {
	case n.State != Proposed && n.State != Unprintable:
		return fmt.Errorf("%w: %s → %s", ErrOrder, n.State, Approved)
	case d.Policy.TwoPeople && n.State == Proposed && lawful.Person(n.Proposer) == lawful.Person(by):
		return ErrSecond
	}
	return nil
}

// Withdraw takes a notice back. One that was sent is taken back, too: whoever checks
// its number then reads that nothing needs to be done.
func (d *Desk) Withdraw(ctx context.Context, id, by, why string) (Notice, error) {
	return d.move(ctx, id, by, why, func(*Notice) (State, error) { return Withdrawn, nil })
}

// Resolve settles a notice that is in doubt, after somebody asked the next hop's log
// (its receipt or Message-ID) or the subscriber: it was sent, or it never went out.
func (d *Desk) Resolve(ctx context.Context, id string, sent bool, by, why string) (Notice, error) {
	return d.move(ctx, id, by, why, func(n *Notice) (State, error) {
		switch {
		case n.State != InDoubt:
			return "", fmt.Errorf("%w: only what is in doubt is resolved, this notice is %s", ErrOrder, n.State)
		case sent:
			return Sent, nil
		}
		n.Sent = time.Time{}
		return Failed, nil
	})
}

// Confirm says what became of a notice that went out: Delivered or Bounced. What is
// known already is fine.
func (d *Desk) Confirm(ctx context.Context, id string, became State, by, why string) (Notice, error) {
	if became != Delivered && became != Bounced {
		return Notice{}, fmt.Errorf("%w: a notice that went out is delivered or bounced, not %s", ErrOrder, became)
	}
	return d.move(ctx, id, by, why, func(n *Notice) (State, error) {
		if n.State == became {
			return "", nil
		}
		return became, nil
	})
}

// move brings a notice into the state that choose names; "" leaves it.
func (d *Desk) move(ctx context.Context, id, by, why string, choose func(*Notice) (State, error)) (n Notice, err error) {
	now := d.Clock.Now().UTC()
	err = d.DB.Tx(ctx, func(tx *relation.Tx) error {
		if n, err = get(ctx, tx, id); err != nil {
			return err
		}
		to, err := choose(&n)
		if err != nil || to == "" {
			return err
		}
		c, err := n.step(to, by, why, now)
		if err != nil {
			return err
		}
		return update(ctx, tx, &n, c)
	})
	return n, err
}

// Preview gives a notice as it would go out now, byte for byte but for the time and
// the signature in it. Without a Grant the person is masked.
func (d *Desk) Preview(ctx context.Context, id string, g lawful.Grant, by string) (Sheet, error) {
	n, err := d.Get(ctx, id)
	if err != nil {
		return Sheet{}, err
	}
	now := d.Clock.Now().UTC()
	p := Masked
	if g.Allows(lawful.Notify, lawful.Of(n.Subject), now) {
		if p, err = d.People.Read(ctx, g, n.Subject, by, "to preview notice "+n.ID+" of case "+n.Case); err != nil {
			return Sheet{}, err
		}
	}
	m, err := d.message(&n, p, now)
	if err != nil {
		return Sheet{}, err
	}
	write, err := d.writes(n.Channel)
	if err != nil {
		return Sheet{}, err
	}
	return write(&m)
}

func (d *Desk) writes(c Channel) (func(*Message) (Sheet, error), error) {
	if c == Letter && d.Press != nil {
		return d.Press.Write, nil
	}
	if carrier := d.Carriers[c]; carrier != nil {
		return carrier.Write, nil
	}
	return nil, fmt.Errorf("%w: %s", ErrChannel, c)
}

// Configured tells whether notices can go out by a channel.
func (d *Desk) Configured(c Channel) bool {
	_, err := d.writes(c)
	return err == nil
}

func (d *Desk) message(n *Notice, p Person, now time.Time) (Message, error) {
	language := n.Language
	if language == "" {
		language = p.Language
	}
	if language != "en" {
		language = "ja"
	}
	w, err := d.Writer.Write(n, language)
	return Message{Notice: n, Person: p, Words: w, At: now}, err
}

// Answer is what the operator's page says of a reference number.
type Answer struct {
	Known     bool
	Withdrawn bool
	On        string // day on which the notice was sent, in the policy's zone: 2026-11-26
	Template  Template
	Text      detect.Text
}

// Check tells whether a notice with this number was sent, and nothing of whose it
// is. A number that can't be one gives ErrMistyped. The caller limits how often
// somebody may ask.
func (d *Desk) Check(ctx context.Context, typed string) (Answer, error) {
	n, known, err := d.numbered(ctx, typed)
	if err != nil {
		return Answer{}, err
	}
	return d.answer(&n, known), nil
}

// LookUp is Check for the subscriber: that they have the number shows that the notice
// came to somebody, and is written down as Seen.
func (d *Desk) LookUp(ctx context.Context, typed string) (Answer, error) {
	n, known, err := d.numbered(ctx, typed)
	if err != nil {
		return Answer{}, err
	}
	if known && n.State != Withdrawn {
		if err := d.Answer(ctx, n.ID, Seen, "the reference number was looked up"); err != nil {
			return Answer{}, err
		}
	}
	return d.answer(&n, known), nil
}

// numbered finds the notice of a number, if one was sent with it.
func (d *Desk) numbered(ctx context.Context, typed string) (n Notice, known bool, err error) {
	reference, err := ReadReference(typed)
	if err != nil {
		return n, false, err
	}
	n, err = scan(d.DB.QueryRow(ctx, `SELECT `+columns+` FROM notice WHERE proof = $1`, d.References.proof(reference)))
	if errors.Is(err, sql.ErrNoRows) {
		return n, false, nil
	}
	if err != nil {
		return n, false, fmt.Errorf("look a reference number up: %w", err)
	}
	return n, !n.Sent.IsZero(), nil // made, and never sent: nobody can have it from us
}

func (d *Desk) answer(n *Notice, known bool) Answer {
	if !known {
		return Answer{Text: detect.Text{
			JA: "この番号のお知らせは、当社からお送りしていません。書かれている連絡先やリンクは使わず、当社の窓口にご連絡ください。",
			EN: "We sent no notice with this number. Don't use the contacts or links in it; please call our desk.",
		}}
	}
	a := Answer{Known: true, Withdrawn: n.State == Withdrawn, On: n.Sent.In(d.Policy.Zone).Format(time.DateOnly), Template: n.Template}
	if a.Withdrawn {
		a.Text = detect.Textf("%s に当社からお送りしたお知らせです。その後の確認により取り消しました。ご対応は不要です。",
			"We sent this notice on %s, and have withdrawn it since. You needn't do anything.", a.On)
		return a
	}
	a.Text = detect.Textf("%s に、回線につながる機器の安全について当社からお送りしたお知らせです。お知らせの手順に沿ってご対応ください。",
		"We sent this notice on %s. It is about the safety of a device on your line: please follow its steps.", a.On)
	return a
}
