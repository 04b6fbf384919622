package main

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/console/api"
)

// ledgerPort is the ledger, as the API asks it.
type ledgerPort struct {
	book *ledger.Book
	dir  string // where its signed heads are
}

func (p *ledgerPort) Entries(ctx context.Context, q api.LedgerQuery) ([]api.LedgerLine, error) {
	if q.Before == 0 {
		q.Before = 1 << 62
	}
	list, err := p.book.Entries(ctx, ledger.Query{Kinds: q.Kinds, Who: q.Who, From: q.From, To: q.To, Before: q.Before, Limit: q.Limit})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	kept, err := p.book.Kept(ctx, list[len(list)-1].Seq, list[0].Seq)
	out := make([]api.LedgerLine, 0, len(list))
	for i := range list {
		personal := "none"
		switch {
		case kept[list[i].Seq]:
			personal = "kept"
		case list[i].Private != "":
			personal = "erased"
		}
		out = append(out, api.LedgerLine{Entry: list[i], Personal: personal})
	}
	return out, err
}

// newestHeads are shown; all of them are compared.
const newestHeads = 10

func (p *ledgerPort) Summary(ctx context.Context, from, to time.Time) (s api.LedgerSum, err error) {
	if s.Kinds, err = p.book.Count(ctx, ledger.Query{From: from, To: to}); err != nil {
		return s, err
	}
	if s.Last, err = p.book.Last(ctx); err != nil {
		return s, err
	}
	heads, err := ledger.ReadHeads(filepath.Join(p.dir, ledgerHeads))
	if err != nil {
		return s, err
	}
	for _, h := range slices.Backward(heads[max(0, len(heads)-newestHeads):]) {
		s.Heads = append(s.Heads, api.LedgerHead{Seq: h.Seq, At: h.At, Key: h.Key})
	}
	refusals := map[[2]string]uint64{}
	err = p.book.Each(ctx, ledger.Query{Kinds: []account.Kind{account.Refused}, From: from, To: to}, func(e account.Entry) error {
		var what struct{ Rule, Measure string }
		if err := json.Unmarshal(e.What, &what); err != nil {
			return err
		}
		refusals[[2]string{what.Rule, what.Measure}]++
		return nil
	})
	for k, n := range refusals {
		s.Refusals = append(s.Refusals, api.RefusalCount{Rule: k[0], Measure: k[1], Count: n})
	}
	slices.SortFunc(s.Refusals, func(a, b api.RefusalCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Rule, b.Rule), strings.Compare(a.Measure, b.Measure))
	})
	return s, err
}

func (p *ledgerPort) Verify(ctx context.Context) (v api.Verified, err error) {
	heads, err := ledger.ReadHeads(filepath.Join(p.dir, ledgerHeads))
	if err != nil {
		return v, err
	}
	r, err := p.book.Verify(ctx, heads, nil, nil)
	if err != nil {
		return v, err
	}
	v = api.Verified{Entries: r.Entries, Last: r.Last, Until: r.Until, Private: r.Private, Erased: r.Erased, Heads: r.Heads}
	for _, f := range r.Faults {
		v.Faults = append(v.Faults, api.LedgerFault(f))
	}
	return v, nil
}

func (p *ledgerPort) Export(ctx context.Context, w io.Writer, format, who string, q api.LedgerQuery) error {
	_, err := p.book.Export(ctx, w, format, who, ledger.Query{Kinds: q.Kinds, From: q.From, To: q.To})
	return err
}
