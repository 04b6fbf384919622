package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sakimori/detect"
	"sakimori/detect/register"
	"sakimori/observe"
	"sakimori/observe/feed"
	"sakimori/respond/casework"
	"sakimori/respond/notify"
	"sakimori/respond/subscriber"
)

// defaultSkew is how far clocks of those who report are off without saying so.
const defaultSkew = 2 * time.Second

// attributed says whose a sign is, of an address that was seen at a time; slack is how
// far after it that may have been, as it was written.
func (h *office) attributed(s casework.Sign, addr netip.Addr, port uint16, proto uint8, slack time.Duration) casework.Sign {
	return h.held(s, addr, port, proto, s.At, s.At.Add(slack))
}

// held says whose a sign is that speaks of an address from one moment to another.
func (h *office) held(s casework.Sign, addr netip.Addr, port uint16, proto uint8, from, to time.Time) casework.Sign {
	half := to.Sub(from) / 2
	a := h.who(addr, port, proto, from.Add(half), half+defaultSkew)
	s.Verdict, s.Subject = string(a.Verdict), a.Pseudonym
	if !a.Verdict.Certain() {
		t := doubts[a.Verdict]
		s.Doubt = t.EN
	}
	return s
}

// doubts says why nobody is named.
var doubts = map[subscriber.Verdict]detect.Text{
	subscriber.Ambiguous: {JA: "時刻のずれの範囲に複数の利用者がいます", EN: "several had the address within the doubt about the time"},
	subscriber.Expired:   {JA: "その時刻の記録がありません", EN: "the log has nothing of that time"},
	subscriber.Foreign:   {JA: "自社のアドレスではありません", EN: "it isn't an address of ours"},
	subscriber.NoPort:    {JA: "共有アドレスで、ポートが分かりません", EN: "the address is shared, and the port isn't told"},
}

// Why what was reported accuses nobody.
var (
	mediated = detect.Text{JA: "リゾルバー越しの観測で、問い合わせた利用者が分かりません", EN: "seen through a resolver: who asked it isn't known"}
	untold   = detect.Text{JA: "加入者に知らせるような内容ではありません", EN: "it says nothing that a subscriber would be told"}
)

// finding takes a finding about one of our own addresses: a sign of when it was seen
// last, one an hour. A finding knows its address and not who has it: so it is somebody's
// only if nobody else had the address since its first packet.
func (h *office) finding(ctx context.Context, f *detect.Finding) error {
	if f.Detector != "infected" {
		return nil
	}
	addr, err := netip.ParseAddr(f.Subject)
	if err != nil {
		return nil //nolint:nilerr // of a port or a network: nobody's
	}
	if f.Confidence == 0 { // it was taken back, whenever it said so before
		signs, err := h.desk.SignsOf(ctx, signsOf(f))
		for _, sign := range signs {
			err = errors.Join(err, h.withdraw(ctx, sign, "the finding was taken back"))
		}
		return err
	}
	s := casework.Sign{ID: signOf(f), Source: sourceOf(f), Claim: string(observe.ClaimInfected)}
	first, last := seen(f)
	s.At = last
	for _, e := range f.Evidence {
		if e.Key == "family" && e.Value != "unknown" {
			s.Family = e.Value
		}
	}
	_, err = h.desk.Take(ctx, h.held(s, addr, 0, 0, first, last.Add(time.Second)))
	return err
}

// signsOf is what the names of all signs of a finding begin with. Its id names the
// address, and a sign's is written into the ledger.
func signsOf(f *detect.Finding) string {
	sum := sha256.Sum256([]byte(f.ID))
	return sourceOf(f) + ":" + hex.EncodeToString(sum[:16]) + "@"
}

// sourceOf is what saw it: the telescope, unless the finding says something else.
func sourceOf(f *detect.Finding) string {
	for _, e := range f.Evidence {
		if e.Key == "source" {
			return e.Value
		}
	}
	return "telescope"
}

// seen is when a finding's address was seen first and last, to the second.
func seen(f *detect.Finding) (first, last time.Time) {
	first, last = f.Opened, f.Changed
	for _, e := range f.Evidence {
		switch t, err := time.Parse(time.RFC3339, e.Value); {
		case e.Key == "first" && err == nil:
			first = t
		case e.Key == "last" && err == nil:
			last = t
		}
	}
	return first, last
}

// signOf names the sign that a finding gives: that it was seen last in this hour.
func signOf(f *detect.Finding) string {
	_, last := seen(f)
	return signsOf(f) + last.UTC().Format("2006010215")
}

// catchUp gives to their cases the findings that came while there was no office, or that
// a crash kept from it; and asks again about those that were nobody's.
func (h *office) catchUp(ctx context.Context, kept *register.Register) error {
	for after := ""; ; {
		const page = 500
		list, next, err := kept.List(ctx, register.Query{Detector: "infected", Limit: page, After: after})
		if err != nil {
			return err
		}
		names := make([]string, len(list))
		for i := range list {
			names[i] = signOf(&list[i])
		}
		theirs, err := h.desk.Theirs(ctx, names)
		if err != nil {
			return err
		}
		for i := range list {
			if theirs[names[i]] {
				continue
			}
			if err := h.finding(ctx, &list[i]); err != nil {
				return err
			}
		}
		if after = next; next == "" {
			return nil
		}
	}
}

func (h *office) withdraw(ctx context.Context, sign, why string) error {
	err := h.desk.Withdraw(ctx, sign, "sakimori", why)
	if isUnknown(err) {
		return nil
	}
	return err
}

// reports takes what others say. told, if not nil, hears of each, and whose case it
// was given to, "" nobody's.
type reports struct {
	h    *office
	told func(b *observe.Report, id string)
}

// deviceOf is the kind of device that a report speaks of, or else what it calls it, "" not
// told. Feeds have columns for the kind of their own: Shadowserver's is device_type.
func deviceOf(b *observe.Report) string {
	told := b.Device
	for _, f := range b.Fields {
		if f.Name == "device_type" {
			told = f.Value + " " + told
		}
	}
	if k := kindOfDevice(told); k != notify.Unknown {
		return string(k)
	}
	return strings.TrimSpace(told)
}

// Take gives each report to the subscriber's case, or to nobody's.
func (r reports) Take(ctx context.Context, batch []observe.Report) error {
	for i := range batch {
		b := &batch[i]
		id := feed.ID(b)
		s := casework.Sign{
			ID: b.Source + ":" + hex.EncodeToString(id[:]), Source: b.Source, Claim: string(b.Claim), Family: b.Family, Device: deviceOf(b), At: b.At, Mediated: b.Mediated,
		}
		switch {
		case b.Mediated:
			s.Verdict, s.Doubt = "mediated", mediated.EN
		case b.Claim == observe.ClaimOther:
			s.Verdict, s.Doubt = "other", untold.EN
		default:
			s = r.h.attributed(s, b.Address, b.Port, b.Proto, b.Slack)
		}
		to, err := r.h.desk.Take(ctx, s)
		if err != nil {
			return fmt.Errorf("keep a report: %w", err)
		}
		if r.told != nil {
			r.told(b, to)
		}
	}
	return nil
}
