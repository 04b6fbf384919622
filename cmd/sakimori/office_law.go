package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/base/clock"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/lawful"
	"sakimori/lawful/consent"
	"sakimori/respond/subscriber/vault"
)

// identities tell who had an address, and with a Grant who somebody is.
type identities struct{ h *office }

func (i identities) Who(ctx context.Context, q api.AddressQuery, by string) (api.Attribution, error) {
	if err := i.h.asked(ctx, q, by); err != nil {
		return api.Attribution{}, err
	}
	a := i.h.who(q.Address, q.Port, q.Protocol, q.At, q.Skew)
	out := api.Attribution{Verdict: string(a.Verdict), Words: verdicts[string(a.Verdict)], Pseudonym: a.Pseudonym, Margin: a.Margin, Evidence: []api.Claim{}}
	for _, e := range a.Evidence {
		out.Evidence = append(out.Evidence, api.Claim{
			Pseudonym: e.Pseudonym, Source: e.Source, From: e.From, To: e.To, Open: e.Open, Inferred: e.Inferred, Rule: e.Rule, Text: e.text(),
		})
	}
	return out, nil
}

// asked writes down who asks who had an address, before they are told. The address
// and the time are a subscriber's: they stay apart.
func (h *office) asked(ctx context.Context, q api.AddressQuery, by string) error {
	private := fmt.Appendf(nil, `{"address":%q,"port":%d,"protocol":%d,"at":%q,"skew":%q}`, q.Address, q.Port, q.Protocol, q.At.UTC().Format(time.RFC3339Nano), q.Skew)
	_, err := h.book.Append(ctx, ledger.Line{Kind: account.Looked, Who: by, What: map[string]any{"of": "address"}, Private: private})
	return err
}

// text says a claim in a sentence.
func (p *piece) text() detect.Text {
	if p.Rule != "" {
		return detect.Textf("変換規則 %s により、内側のアドレスは %s です。", "By rule %s of translation the address inside is %s.", p.Rule, p.Pseudonym)
	}
	at := func(t *time.Time, none string) string {
		if t == nil {
			return none
		}
		return t.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	t := detect.Text{
		JA: fmt.Sprintf("%s の記録では、%s から %s まで使っていました。", p.Source, at(p.From, "不明な時刻"), at(p.To, "不明な時刻")),
		EN: fmt.Sprintf("%s says that it was theirs from %s to %s.", p.Source, at(p.From, "a time unknown"), at(p.To, "a time unknown")),
	}
	switch {
	case p.Open:
		t.JA += "終了の記録はありません。"
		t.EN += " No end was told."
	case p.Inferred:
		t.JA += "終了は推定です。"
		t.EN += " The end was concluded."
	}
	return t
}

func (i identities) Contract(ctx context.Context, g lawful.Grant, subject, by, why string) (string, error) {
	c, err := i.h.vault.Contract(ctx, g, subject, by, why)
	if errors.Is(err, vault.ErrUnknown) {
		return "", nil
	}
	return c, err
}

func (i identities) Person(ctx context.Context, g lawful.Grant, subject, by, why string) (*api.Person, error) {
	p, err := i.h.vault.Person(ctx, g, lawful.NameSubscriber, subject, by, why)
	if errors.Is(err, vault.ErrUnknown) {
		return nil, nil //nolint:nilnil // nothing is kept
	}
	if err != nil {
		return nil, err
	}
	return &api.Person{Name: p.Name, Mail: p.Mail, Phone: p.Phone, Postal: api.Postal{Code: p.Code, Lines: append([]string{}, p.Lines...)}}, nil
}

// consentsPort is the register of consents, as the API asks it.
type consentsPort struct {
	register *consent.Register
	clock    clock.Clock
}

func (c consentsPort) Consents(ctx context.Context) (terms []api.Terms, counts []api.ConsentCount, err error) {
	versions, err := c.register.Versions(ctx)
	if err != nil {
		return nil, nil, err
	}
	seen := map[string]bool{}
	for i := range versions {
		v := &versions[i]
		t := api.Terms{
			Version: v.Version, Ground: string(v.Ground), From: v.From, Purposes: append([]string{}, v.Purposes...), OptOut: v.OptOut,
			OtherwiseUnchanged: v.OtherwiseUnchanged, Limited: v.Limited, Notices: []api.TermsNotice{},
		}
		for _, n := range v.Notices {
			t.Notices = append(t.Notices, api.TermsNotice{At: n.At, Channel: n.Channel, Reference: n.Reference})
		}
		terms = append(terms, t)
		for _, p := range v.Purposes {
			if seen[p] {
				continue
			}
			seen[p] = true
			n, err := c.register.Count(ctx, p, c.clock.Now())
			if err != nil {
				return nil, nil, err
			}
			counts = append(counts, api.ConsentCount{Purpose: p, Consenting: n.Consenting, Outdated: n.Outdated, Declined: n.Declined})
		}
	}
	return terms, counts, nil
}
