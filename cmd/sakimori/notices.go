package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/lawful"
	"sakimori/respond/casework"
	"sakimori/respond/notify"
	"sakimori/respond/notify/portal"
	"sakimori/respond/rpz/choice"
	"sakimori/respond/subscriber/vault"
)

// notices are how an office tells subscribers: the desk of notices, joined to the cases,
// the gate, the vault and the ledger.
type notices struct {
	*notify.Desk

	h      *office
	cfg    *notifyConfig
	ways   channels
	portal *portal.Portal // nil none
	choice *choice.Page   // beside it; nil none

	following sync.Mutex // one at a time
	printing  sync.Mutex // as well
	mu        sync.Mutex
	refused   map[string]time.Time // when the gate refused a subject
}

// noticeKey is the secret of the reference numbers, in the data folder.
const noticeKey = "notice.key"

// openNotices opens the desk. It sends nothing.
func (h *office) openNotices(ctx context.Context, cfg *config) error {
	n := &notices{h: h, cfg: &cfg.Notify, refused: map[string]time.Time{}}
	var err error
	if n.ways, err = cfg.Notify.channels(cfg.Data); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	secret, err := secretFile(filepath.Join(h.dir, noticeKey))
	if err != nil {
		return err
	}
	d := notify.Deps{
		DB: h.db, Clock: cfg.now(), People: contacts{h.vault}, Recorder: deeds{h.book}, Writer: wordless{}, Carriers: map[notify.Channel]notify.Carrier{}, Policy: n.ways.policy,
	}
	if d.References, err = notify.NewReferences(secret); err != nil {
		return err
	}
	if n.ways.writer != nil {
		d.Writer = n.ways.writer
	}
	if n.ways.mail != nil {
		d.Carriers[notify.Mail] = n.ways.mail
	}
	if n.ways.webhook != nil {
		d.Carriers[notify.Webhook] = n.ways.webhook
	}
	if n.ways.press != nil {
		d.Press = n.ways.press
	}
	if n.Desk, err = notify.Open(ctx, d); err != nil {
		return err
	}
	if n.ways.portal != nil {
		n.portal, err = portal.Open(ctx, *n.ways.portal, portal.Deps{DB: h.db, Clock: cfg.now(), Walled: walled{n}, Desk: n.Desk, Writer: d.Writer, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		d.Carriers[notify.Portal] = n.portal
		if n.choice, err = choice.New(n.cfg.choice(n.ways.portal.Proxies, n.ways.portal.Zone), choice.Deps{
			Lines: chosen{choosing{h}}, Choices: chosen{choosing{h}}, Clock: cfg.now(), Log: slog.New(slog.DiscardHandler),
		}); err != nil {
			return fmt.Errorf("notify.portal: %w", err)
		}
	}
	h.notices = n
	return nil
}

// wordless writes nothing, where no operator is named.
type wordless struct{}

func (wordless) Write(*notify.Notice, string) (notify.Words, error) {
	return notify.Words{}, errors.New("notify.operator isn't configured: say who writes")
}

// contacts are the people in the vault, which asks for the Grant and writes the look
// down before it.
type contacts struct{ vault *vault.Vault }

func (c contacts) Read(ctx context.Context, g lawful.Grant, subject, who, why string) (notify.Person, error) {
	p, err := c.vault.Person(ctx, g, lawful.Notify, subject, who, why)
	if errors.Is(err, vault.ErrUnknown) {
		return notify.Person{}, &notify.Unwritable{State: notify.Failed, Reason: "no contact is kept of this subscriber: import people, then propose it again"}
	}
	return notify.Person{
		Name: p.Name, Mail: p.Mail, Phone: p.Phone, Language: p.Language, Postal: notify.Postal{Code: p.Code, Lines: p.Lines}, Line: notify.Line(p.Sensitive),
	}, err
}

// deeds writes a notice down before it goes out. The sum of what goes out is made of
// personal data, and kept apart.
type deeds struct{ book *ledger.Book }

func (d deeds) Record(ctx context.Context, x notify.Deed) error {
	sum, err := json.Marshal(map[string]string{"sha256": hex.EncodeToString(x.Sum[:])})
	if err != nil {
		return err
	}
	_, err = d.book.Append(ctx, ledger.Line{Kind: account.Noticed, Who: x.By, What: x, Private: sum})
	return err
}

// walled knows who is behind the wall: whose line has the address now, and has a notice
// by the portal that stands.
type walled struct{ n *notices }

func (w walled) Lookup(ctx context.Context, a netip.Addr) (notify.Notice, error) {
	who := w.n.h.who(a, 0, 0, w.n.Clock.Now(), defaultSkew)
	if !who.Verdict.Certain() {
		return notify.Notice{}, portal.ErrFree
	}
	list, err := w.n.List(ctx, notify.Query{Subject: who.Pseudonym, Channel: notify.Portal, Newest: true})
	if err != nil {
		return notify.Notice{}, err
	}
	for i := range list {
		x := &list[i]
		if x.Sent.IsZero() || x.State == notify.Withdrawn {
			continue
		}
		c, err := w.n.h.desk.Case(ctx, x.Case)
		if err != nil {
			return notify.Notice{}, err
		}
		if c.State.Open() && c.State != casework.Verifying {
			return *x, nil
		}
	}
	return notify.Notice{}, portal.ErrFree
}

// Release has nobody to tell: the operator's gateway asks the API of RFC 8908 for each
// line that it walls.
func (walled) Release(context.Context, netip.Addr, notify.Notice, time.Time) error { return nil }

// person's acts: each is written down before it is done.
func (n *notices) written(ctx context.Context, who, act, why string, x *notify.Notice) error {
	if strings.TrimSpace(why) == "" || who == "" {
		return errWhy
	}
	_, err := n.h.book.Append(ctx, ledger.Line{Kind: account.Approved, Who: who, What: map[string]any{"notice": x.ID, "case": x.Case, "act": act, "why": why}})
	return err
}

// What keeps a notice from being proposed or approved.
var (
	errWhy     = errors.New("say why: it is written down")
	errCase    = errors.New("the case is closed, clean or held: nobody is told of it")
	errChannel = errors.New("every configured channel was used for this case within the policy's window, or none is configured")
	errPending = errors.New("a notice of this case by this channel is on its way already")
)

// Propose makes a notice of a case, by a channel or by the one that is due.
func (n *notices) Propose(ctx context.Context, id string, c notify.Channel, lang, who, why string) (notify.Notice, error) {
	if strings.TrimSpace(why) == "" {
		return notify.Notice{}, errWhy
	}
	x, err := n.open(ctx, id)
	if err != nil {
		return notify.Notice{}, err
	}
	if c == "" {
		if c, err = n.Next(ctx, x.ID, x.Subject); err != nil {
			return notify.Notice{}, err
		}
		if c == "" {
			return notify.Notice{}, errChannel
		}
	}
	if slices.Contains(notify.Channels, c) && !n.Configured(c) {
		return notify.Notice{}, fmt.Errorf("%w: %s", notify.ErrChannel, c)
	}
	begun, err := n.List(ctx, notify.Query{Case: x.ID, Channel: c})
	if err != nil {
		return notify.Notice{}, err
	}
	if slices.ContainsFunc(begun, func(b notify.Notice) bool { return slices.Contains(waits, b.State) }) {
		return notify.Notice{}, errPending
	}
	t, err := n.template(ctx, &x)
	if err != nil {
		return notify.Notice{}, err
	}
	made, err := n.Desk.Propose(ctx, notify.Proposal{Case: x.ID, Subject: x.Subject, Channel: c, Template: t, Language: lang, Seen: x.Seen}, who, why)
	return made, errors.Join(err, n.follow(ctx))
}

// waits are the states in which a notice may still go out.
var waits = []notify.State{notify.Proposed, notify.Approved, notify.Unprintable, notify.Sending}

// open is a case that somebody may be told of.
func (n *notices) open(ctx context.Context, id string) (casework.Case, error) {
	x, err := n.h.desk.Case(ctx, id)
	if err == nil && (!x.State.Open() || x.Held) {
		err = errCase
	}
	return x, err
}

// template chooses the words by what was seen.
func (n *notices) template(ctx context.Context, c *casework.Case) (t notify.Template, err error) {
	t = notify.Template{Family: c.Family, Device: kindOfDevice(c.Device)}
	if t.Family != "" {
		return t, nil
	}
	signs, err := n.h.desk.Signs(ctx, c.ID)
	if err != nil {
		return t, err
	}
	open := func(s casework.Sign) bool { return s.Claim == "exposed" || s.Withdrawn }
	if len(signs) > 0 && !slices.ContainsFunc(signs, func(s casework.Sign) bool { return !open(s) }) {
		t.Family = "exposed"
	}
	return t, nil
}

// kindOfDevice reads what a report calls a device.
func kindOfDevice(told string) notify.Device {
	told = strings.ToLower(told)
	for _, k := range []struct {
		kind  notify.Device
		words []string
	}{
		{notify.Camera, []string{"camera", "ip-cam", "ipcam", "webcam"}},
		{notify.DVR, []string{"dvr", "nvr", "recorder"}},
		{notify.NAS, []string{"nas", "qnap", "synology"}},
		{notify.Router, []string{"router", "gateway", "modem", "cpe"}},
		{notify.PC, []string{"windows", "computer", "desktop", "laptop"}},
	} {
		if slices.ContainsFunc(k.words, func(w string) bool { return strings.Contains(told, w) }) {
			return k.kind
		}
	}
	return notify.Unknown
}

// Approve lets a notice go out: the gate is asked first, with what the person states
// besides what the house knows. A refusal is a *lawful.Refusal, a request that waits for
// a second person a *lawful.Pending, and the notice stays as it is.
func (n *notices) Approve(ctx context.Context, id, who, why string, facts lawful.Facts) (notify.Notice, error) {
	x, err := n.Get(ctx, id)
	if err != nil {
		return x, err
	}
	if err := n.MayApprove(&x, who); err != nil {
		return x, err
	}
	c, err := n.open(ctx, x.Case)
	if err != nil {
		return x, err
	}
	if g, err := n.standing(ctx, x.Subject); err != nil {
		return x, err
	} else if g.ID() == "" {
		if _, err := n.ask(ctx, &c, who, facts); err != nil {
			return x, err
		}
	}
	if err := n.written(ctx, who, "approved", why, &x); err != nil {
		return x, err
	}
	if x, err = n.Desk.Approve(ctx, id, who, why); err != nil {
		return x, err
	}
	return x, n.follow(ctx)
}

// standing is a grant in force to notify a subject, the zero Grant without one.
func (n *notices) standing(ctx context.Context, subject string) (lawful.Grant, error) {
	now := n.Clock.Now()
	for _, d := range n.h.gate.InForce() {
		if d.Measure != lawful.Notify || d.Scope.Consenting == "" && !slices.Contains(d.Scope.Subjects, subject) {
			continue
		}
		g, err := n.h.gate.Find(ctx, d.ID)
		if err != nil {
			return lawful.Grant{}, err
		}
		if g.Allows(lawful.Notify, lawful.Of(subject), now) {
			return g, nil
		}
	}
	return lawful.Grant{}, nil
}

// ask asks the gate to notify the subscriber of a case: the house knows which case it is,
// the operator's configuration and the person state the rest.
func (n *notices) ask(ctx context.Context, c *casework.Case, who string, more lawful.Facts) (lawful.Grant, error) {
	ground := &n.cfg.Ground
	facts := lawful.Facts{}
	for name, text := range map[string]string{"harm": ground.Harm, "necessity": ground.Necessity} {
		if text != "" {
			facts[name] = text
		}
	}
	maps.Copy(facts, more)
	facts["finding"] = c.ID
	return n.h.gate.Ask(ctx, lawful.Request{
		Measure: lawful.Notify, Purpose: cmp.Or(ground.Purpose, "tell the subscriber of case "+c.ID+" of an infected device, and ask for its clean-up"),
		Who: who, Rule: ground.Rule, Scope: lawful.Scope{Subjects: []string{c.Subject}}, Facts: facts,
	})
}

// askAgain is how long a refusal stands: each is an entry of the ledger.
const askAgain = time.Hour

// For gives the Grant under which a subscriber may be notified now. Where the one of the
// approval has ended the gate is asked again, for the person who approved, with what the
// operator states of every notice.
func (n *notices) For(ctx context.Context, subject string) (lawful.Grant, error) {
	list, err := n.h.desk.Cases(ctx, casework.Query{Subject: subject})
	if err != nil {
		return lawful.Grant{}, err
	}
	i := slices.IndexFunc(list, func(c casework.Case) bool { return c.Merged == "" && c.State.Open() && !c.Held })
	if i < 0 {
		return lawful.Grant{}, nil
	}
	if g, err := n.standing(ctx, subject); err != nil || g.ID() != "" {
		return g, err
	}
	waiting := slices.ContainsFunc(n.h.gate.Waiting(), func(d lawful.Decision) bool {
		return d.Measure == lawful.Notify && slices.Contains(d.Scope.Subjects, subject)
	})
	now := n.Clock.Now()
	n.mu.Lock()
	at, asked := n.refused[subject]
	n.mu.Unlock()
	who, err := n.approver(ctx, subject)
	if err != nil || who == "" || waiting || asked && now.Sub(at) < askAgain {
		return lawful.Grant{}, err
	}
	g, err := n.ask(ctx, &list[i], who, nil)
	_, no := errors.AsType[*lawful.Refusal](err)
	_, later := errors.AsType[*lawful.Pending](err)
	if !no && !later {
		return g, err
	}
	const most = 10_000
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.refused, func(_ string, at time.Time) bool { return now.Sub(at) >= askAgain || len(n.refused) >= most })
	n.refused[subject] = now
	return lawful.Grant{}, nil
}

// approver is who approved the notice that a subject waits for, "" nobody.
func (n *notices) approver(ctx context.Context, subject string) (string, error) {
	for _, s := range []notify.State{notify.Approved, notify.Sending} {
		list, err := n.List(ctx, notify.Query{Subject: subject, State: s})
		if err != nil {
			return "", err
		}
		for i := range list {
			history, err := n.History(ctx, list[i].ID)
			if err != nil {
				return "", err
			}
			for _, c := range slices.Backward(history) {
				if c.To == notify.Approved && (c.From == notify.Proposed || c.From == notify.Unprintable) {
					return c.Who, nil
				}
			}
		}
	}
	return "", nil
}

// Withdraw takes a notice back.
func (n *notices) Withdraw(ctx context.Context, id, who, why string) (notify.Notice, error) {
	return n.act(ctx, id, who, "withdrawn", why, func() (notify.Notice, error) { return n.Desk.Withdraw(ctx, id, who, why) })
}

// Resolve settles a notice that is in doubt.
func (n *notices) Resolve(ctx context.Context, id string, sent bool, who, why string) (notify.Notice, error) {
	act := map[bool]string{true: "resolved: it was sent", false: "resolved: it never went out"}[sent]
	return n.act(ctx, id, who, act, why, func() (notify.Notice, error) { return n.Desk.Resolve(ctx, id, sent, who, why) })
}

// Confirm says what became of a notice that went out.
func (n *notices) Confirm(ctx context.Context, id string, became notify.State, who, why string) (notify.Notice, error) {
	return n.act(ctx, id, who, "confirmed: "+string(became), why, func() (notify.Notice, error) { return n.Desk.Confirm(ctx, id, became, who, why) })
}

// act does what a person decides, after it was written down, and brings the case on.
func (n *notices) act(ctx context.Context, id, who, what, why string, do func() (notify.Notice, error)) (notify.Notice, error) {
	x, err := n.Get(ctx, id)
	if err != nil {
		return x, err
	}
	if err := n.written(ctx, who, what, why, &x); err != nil {
		return x, err
	}
	if x, err = do(); err != nil {
		return x, err
	}
	return x, n.follow(ctx)
}
