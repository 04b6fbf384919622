package api

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"sakimori/account"
	"sakimori/detect"
)

// LedgerQuery selects entries; zero fields select everything.
type LedgerQuery struct {
	Kinds    []account.Kind
	Who      string
	From, To time.Time
	Before   uint64 // entries below it; 0: from the newest
	Limit    int
}

// LedgerLine is an entry, and what became of the personal data that went with it.
type LedgerLine struct {
	account.Entry

	Personal string // none, kept or erased
}

// LedgerSum is what a ledger holds of a span.
type LedgerSum struct {
	Kinds    map[account.Kind]uint64
	Last     account.Entry // of all; Seq 0: none
	Heads    []LedgerHead  // the newest first
	Refusals []RefusalCount
}

// LedgerHead is an entry that was signed.
type LedgerHead struct {
	Seq uint64    `json:"seq"`
	At  time.Time `json:"at"`
	Key string    `json:"key" doc:"Ed25519 public key, base64"`
}

// RefusalCount is how often the gate said no.
type RefusalCount struct {
	Rule    string `json:"rule" doc:"the nearest one; empty: none speaks of the measure"`
	Measure string `json:"measure"`
	Count   uint64 `json:"count"`
}

// Verified is what a look through the whole ledger found.
type Verified struct {
	Entries uint64        `json:"entries"`
	Last    uint64        `json:"last"`
	Until   time.Time     `json:"until" doc:"of the last entry"`
	Private uint64        `json:"private" doc:"entries whose personal data are there"`
	Erased  uint64        `json:"erased" doc:"and aren't any more"`
	Heads   int           `json:"heads" doc:"that were compared"`
	Faults  []LedgerFault `json:"faults" nullable:"false"`
	Took    int64         `json:"took_ms"`
}

// LedgerFault is something in the ledger that doesn't hold.
type LedgerFault struct {
	Seq uint64 `json:"seq"`
	JA  string `json:"ja"`
	EN  string `json:"en"`
}

// Ledger is the book of what was done. Personal data never come out of it here.
type Ledger interface {
	// Entries are those that match, the newest first.
	Entries(ctx context.Context, q LedgerQuery) ([]LedgerLine, error)
	Summary(ctx context.Context, from, to time.Time) (LedgerSum, error)
	Verify(ctx context.Context) (Verified, error)
	// Export writes an entry that says so, and then the entries in their order.
	Export(ctx context.Context, w io.Writer, format, who string, q LedgerQuery) error
}

type (
	ledgerInput struct {
		CSVQuery
		Paging

		Kind string `query:"kind" maxLength:"256" doc:"by commas"`
		Who  string `query:"who" maxLength:"256"`
	}
	entryBody struct {
		Seq      uint64          `json:"seq"`
		At       time.Time       `json:"at"`
		Kind     string          `json:"kind"`
		Words    detect.Text     `json:"words"`
		Who      string          `json:"who"`
		What     json.RawMessage `json:"what" doc:"the decision or act, without personal data"`
		Personal string          `json:"personal" enum:"none,kept,erased"`
		Hash     string          `json:"hash"`
	}
	ledgerBody struct {
		Entries []entryBody `json:"entries" nullable:"false"`
		Next    string      `json:"next" doc:"cursor of the next page; empty on the last"`
	}
	kindCount struct {
		Kind  string      `json:"kind"`
		Words detect.Text `json:"words"`
		Count uint64      `json:"count"`
	}
	lastBody struct {
		Seq  uint64    `json:"seq"`
		At   time.Time `json:"at"`
		Hash string    `json:"hash"`
	}
	ledgerSumBody struct {
		From     time.Time      `json:"from"`
		To       time.Time      `json:"to"`
		Kinds    []kindCount    `json:"kinds" nullable:"false"`
		Last     *lastBody      `json:"last" doc:"null: there is none"`
		Heads    []LedgerHead   `json:"heads" nullable:"false" doc:"the newest ones that were signed"`
		Refusals []RefusalCount `json:"refusals" nullable:"false"`
	}
	exportInput struct {
		SpanQuery

		Format string `query:"format" enum:"ndjson,csv" default:"ndjson"`
		Kind   string `query:"kind" maxLength:"256" doc:"by commas"`
	}
)

func (b *ledgerBody) table() [][]string {
	rows := [][]string{{"seq", "at", "kind", "who", "what", "personal", "hash"}}
	for _, e := range b.Entries {
		rows = append(rows, []string{count(e.Seq), instant(e.At), e.Kind, cell(e.Who), cell(string(e.What)), e.Personal, e.Hash})
	}
	return rows
}

// kindsIn reads kinds of entries.
func kindsIn(words string) (list []account.Kind, err error) {
	for word := range strings.SplitSeq(words, ",") {
		k := account.Kind(strings.TrimSpace(word))
		switch {
		case k == "":
		case !slices.Contains(account.Kinds, k):
			return nil, fail("filter_invalid", word, "kind", strings.Join(strs(account.Kinds), ","))
		default:
			list = append(list, k)
		}
	}
	return list, nil
}

// between reads a span of the office's, whose time is the machine's: what isn't given
// is open, or with a default that long until now.
func (s *Server) between(q SpanQuery, otherwise time.Duration) (from, to time.Time, err error) {
	if from, err = parseTime(q.From, "from"); err != nil {
		return from, to, err
	}
	if to, err = parseTime(q.To, "to"); err != nil {
		return from, to, err
	}
	if otherwise > 0 && to.IsZero() {
		to = s.deps.Office.Clock.Now().UTC()
	}
	if otherwise > 0 && from.IsZero() {
		from = to.Add(-otherwise)
	}
	switch {
	case !to.IsZero() && !from.Before(to):
		err = fail("range_invalid")
	case otherwise > 0 && to.Sub(from) > longestSpan:
		err = fail("range_too_long", int(longestSpan/day))
	}
	return from, to, err
}

func (s *Server) ledger(ctx context.Context, in *ledgerInput) (*output[*ledgerBody], error) {
	if s.deps.Office.Ledger == nil {
		return nil, noOffice()
	}
	q := LedgerQuery{Who: in.Who, Limit: in.Limit + 1}
	var err error
	if q.Kinds, err = kindsIn(in.Kind); err != nil {
		return nil, err
	}
	if q.From, q.To, err = s.between(in.SpanQuery, 0); err != nil {
		return nil, err
	}
	id := queryDigest("ledger", in.Kind, in.Who, in.From, in.To)
	if in.Cursor != "" {
		at, err := s.seal.openCursor(in.Cursor, id)
		if err != nil {
			return nil, err
		}
		if q.Before, err = strconv.ParseUint(at.After, 10, 63); err != nil {
			return nil, fail("cursor_invalid")
		}
	}
	list, err := s.deps.Office.Ledger.Entries(ctx, q)
	if err != nil {
		return nil, err
	}
	b := &ledgerBody{Entries: []entryBody{}}
	if len(list) > in.Limit {
		list = list[:in.Limit]
		b.Next = s.next(cursor{Query: id, Open: true, After: count(list[in.Limit-1].Seq)})
	}
	for i := range list {
		e := &list[i]
		b.Entries = append(b.Entries, entryBody{e.Seq, e.At, string(e.Kind), e.Kind.Words(), e.Who, e.What, e.Personal, hex.EncodeToString(e.Hash[:])})
	}
	return &output[*ledgerBody]{Link: link(ctx, orNull(b.Next)), Body: b}, nil
}

// next is a cursor in words, "" where there is none.
func (s *Server) next(c cursor) string {
	if text := s.seal.cursor(c); text != nil {
		return *text
	}
	return ""
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (s *Server) ledgerSummary(ctx context.Context, in *SpanQuery) (*output[ledgerSumBody], error) {
	if s.deps.Office.Ledger == nil {
		return nil, noOffice()
	}
	from, to, err := s.between(*in, 30*day)
	if err != nil {
		return nil, err
	}
	sum, err := s.deps.Office.Ledger.Summary(ctx, from, to)
	if err != nil {
		return nil, err
	}
	b := ledgerSumBody{From: from, To: to, Heads: filled(sum.Heads), Refusals: filled(sum.Refusals)}
	for _, k := range account.Kinds {
		b.Kinds = append(b.Kinds, kindCount{string(k), k.Words(), sum.Kinds[k]})
	}
	if sum.Last.Seq > 0 {
		b.Last = &lastBody{sum.Last.Seq, sum.Last.At, hex.EncodeToString(sum.Last.Hash[:])}
	}
	return &output[ledgerSumBody]{Body: b}, nil
}

func (s *Server) verifyLedger(ctx context.Context, _ *empty) (*output[Verified], error) {
	if s.deps.Office.Ledger == nil {
		return nil, noOffice()
	}
	began := s.deps.Clock.Now()
	v, err := s.deps.Office.Ledger.Verify(ctx)
	if err != nil {
		return nil, err
	}
	v.Faults, v.Took = filled(v.Faults), s.deps.Clock.Now().Sub(began).Milliseconds()
	return &output[Verified]{Body: v}, nil
}

func (s *Server) exportLedger(ctx context.Context, in *exportInput) (*huma.StreamResponse, error) {
	if s.deps.Office.Ledger == nil {
		return nil, noOffice()
	}
	var q LedgerQuery
	var err error
	if q.Kinds, err = kindsIn(in.Kind); err != nil {
		return nil, err
	}
	if q.From, q.To, err = s.between(in.SpanQuery, 0); err != nil {
		return nil, err
	}
	types := map[string]string{"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8; header=present"}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		out := &file{w: w, head: map[string]string{
			"Content-Type": types[in.Format], "Content-Disposition": fmt.Sprintf(`attachment; filename="sakimori-ledger.%s"`, in.Format),
		}}
		err := s.deps.Office.Ledger.Export(ctx, out, in.Format, s.actor(ctx), q)
		switch {
		case err == nil:
			out.begin() // there may be nothing to write
		case !out.begun:
			p := explain(err)
			s.report(ctx, p)
			writeProblem(w, r, p)
		default:
			if ctx.Err() == nil {
				s.deps.Log.ErrorContext(ctx, "an export broke off", slog.String("request_id", callOf(ctx).requestID), slog.Any("error", err))
			}
			panic(http.ErrAbortHandler) // half a file must not look whole
		}
	}}, nil
}

// file is an answer whose head goes with its first bytes, so that a failure before
// them is a problem still.
type file struct {
	w     http.ResponseWriter
	head  map[string]string
	begun bool
}

func (f *file) begin() {
	if f.begun {
		return
	}
	f.begun = true
	for k, v := range f.head {
		f.w.Header().Set(k, v)
	}
	f.w.WriteHeader(http.StatusOK)
}

func (f *file) Write(p []byte) (int, error) {
	f.begin()
	return f.w.Write(p)
}
