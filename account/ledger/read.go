package ledger

import (
	"context"
	"database/sql"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"sakimori/account"
	"sakimori/base/relation"
)

// Query selects entries; zero fields select everything.
type Query struct {
	Kinds    []account.Kind
	Who      string
	From, To time.Time // From inclusive, To exclusive
	After    uint64    // entries above it
	Before   uint64    // entries below it, the newest first
	Limit    int       // 0: all
}

// Entries reads entries in order; with Before the newest first.
func (b *Book) Entries(ctx context.Context, q Query) (list []account.Entry, err error) {
	err = b.Each(ctx, q, func(e account.Entry) error {
		list = append(list, e)
		return nil
	})
	return list, err
}

// Each hands entries on as Entries gives them, one by one.
func (b *Book) Each(ctx context.Context, q Query, do func(account.Entry) error) error {
	text, args := q.where(`SELECT ` + columns + ` FROM ledger_entry`)
	text += " ORDER BY seq"
	if q.Before > 0 {
		text += " DESC"
	}
	if q.Limit > 0 {
		text += " LIMIT " + strconv.Itoa(q.Limit)
	}
	rows, err := b.db.Query(ctx, text, args...)
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		e, err := scan(rows)
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		if err := do(e); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	return nil
}

// Count counts the entries that match, by kind.
func (b *Book) Count(ctx context.Context, q Query) (map[account.Kind]uint64, error) {
	text, args := q.where(`SELECT kind, count(*) FROM ledger_entry`)
	rows, err := b.db.Query(ctx, text+` GROUP BY kind`, args...)
	if err != nil {
		return nil, fmt.Errorf("count the ledger: %w", err)
	}
	defer rows.Close()
	counts := map[account.Kind]uint64{}
	for rows.Next() {
		var k string
		var n int64
		if err := rows.Scan(&k, &n); err != nil {
			return nil, fmt.Errorf("count the ledger: %w", err)
		}
		counts[account.Kind(k)] = uint64(n) //nolint:gosec // a count
	}
	return counts, rows.Err()
}

// Kept tells of which entries, from one to another, the personal data are still there.
func (b *Book) Kept(ctx context.Context, from, to uint64) (map[uint64]bool, error) {
	rows, err := b.db.Query(ctx, `SELECT seq FROM ledger_private WHERE seq >= $1 AND seq <= $2`, int64(from), int64(to)) //nolint:gosec // counts entries
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	defer rows.Close()
	kept := map[uint64]bool{}
	for rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return nil, fmt.Errorf("read the ledger: %w", err)
		}
		kept[uint64(seq)] = true //nolint:gosec // counts entries
	}
	return kept, rows.Err()
}

// Last is the newest entry, the zero one of an empty book.
func (b *Book) Last(ctx context.Context) (account.Entry, error) { return last(ctx, b.db) }

// where adds the condition of a query to a text, with its arguments.
func (q *Query) where(text string) (string, []any) {
	var where []string
	var args []any
	cond := func(text string, arg any) {
		args = append(args, arg)
		where = append(where, fmt.Sprintf(text, len(args)))
	}
	if len(q.Kinds) > 0 {
		var in []string
		for _, k := range q.Kinds {
			args = append(args, string(k))
			in = append(in, "$"+strconv.Itoa(len(args)))
		}
		where = append(where, "kind IN ("+strings.Join(in, ", ")+")")
	}
	if q.Who != "" {
		cond("who = $%d", q.Who)
	}
	if !q.From.IsZero() {
		cond("made >= $%d", q.From.UnixNano())
	}
	if !q.To.IsZero() {
		cond("made < $%d", q.To.UnixNano())
	}
	if q.After > 0 {
		cond("seq > $%d", int64(q.After)) //nolint:gosec // counts entries
	}
	if q.Before > 0 {
		cond("seq < $%d", int64(min(q.Before, 1<<62)))
	}
	if len(where) > 0 {
		text += ` WHERE ` + strings.Join(where, " AND ")
	}
	return text, args
}

// ErrErased is what Private returns when the personal data of an entry aren't there
// any more.
var ErrErased = errors.New("the personal data of this entry were erased")

// Private reads the personal data of an entry, nil when it has none. To read them
// is a look-up, which the caller writes down first.
func (b *Book) Private(ctx context.Context, seq uint64) ([]byte, error) {
	var sum string
	var salt, data []byte
	err := b.db.QueryRow(ctx, `SELECT e.private, p.salt, p.data FROM ledger_entry e LEFT JOIN ledger_private p ON p.seq = e.seq WHERE e.seq = $1`, int64(seq)).Scan(&sum, &salt, &data) //nolint:gosec // counts entries
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, fmt.Errorf("the ledger has no entry %d", seq)
	case err != nil:
		return nil, fmt.Errorf("read the ledger: %w", err)
	case sum == "":
		return nil, nil
	case salt == nil:
		return nil, ErrErased
	case account.Sum(salt, data) != sum:
		return nil, fmt.Errorf("%w: the personal data of entry %d were altered", account.ErrBroken, seq)
	}
	return data, nil
}

// Erase removes the personal data of entries, and writes down who wanted it and why.
func (b *Book) Erase(ctx context.Context, who, why string, seqs ...uint64) error {
	return b.db.Tx(ctx, func(tx *relation.Tx) error {
		if _, err := b.AppendIn(ctx, tx, Line{Kind: account.Erased, Who: who, What: map[string]any{"why": why, "entries": seqs}}); err != nil {
			return err
		}
		for _, s := range seqs {
			if _, err := tx.Exec(ctx, `DELETE FROM ledger_private WHERE seq = $1`, int64(s)); err != nil { //nolint:gosec // counts entries
				return fmt.Errorf("erase personal data: %w", err)
			}
		}
		return nil
	})
}

// Prune removes entries made before t, except the newest of all, and says how many.
// The chain begins after the last one removed, whose hash is kept and written down.
func (b *Book) Prune(ctx context.Context, who string, t time.Time) (removed int64, err error) {
	err = b.db.Tx(ctx, func(tx *relation.Tx) error {
		removed = 0
		if err := tx.Lock(ctx, "ledger_entry"); err != nil {
			return fmt.Errorf("prune the ledger: %w", err)
		}
		// In the order of the chain: what is newer than an older one stays with it.
		var seq sql.NullInt64
		if err := tx.QueryRow(ctx, `SELECT max(seq) FROM ledger_entry WHERE made < $1 AND seq < (SELECT max(seq) FROM ledger_entry)`, t.UnixNano()).Scan(&seq); err != nil || !seq.Valid {
			return err
		}
		end, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM ledger_entry WHERE seq = $1`, seq.Int64))
		if err != nil {
			return fmt.Errorf("prune the ledger: %w", err)
		}
		if _, err := b.AppendIn(ctx, tx, Line{Kind: account.Pruned, Who: who, What: map[string]any{
			"before": t.UTC().Format(time.RFC3339), "through": end.Seq, "hash": hex.EncodeToString(end.Hash[:]),
		}}); err != nil {
			return err
		}
		for _, s := range []string{
			`DELETE FROM ledger_private WHERE seq <= $1`,
			`DELETE FROM ledger_anchor WHERE seq <= $1`,
		} {
			if _, err := tx.Exec(ctx, s, seq.Int64); err != nil {
				return fmt.Errorf("prune the ledger: %w", err)
			}
		}
		if removed, err = tx.Exec(ctx, `DELETE FROM ledger_entry WHERE seq <= $1`, seq.Int64); err != nil {
			return fmt.Errorf("prune the ledger: %w", err)
		}
		_, err = tx.Exec(ctx, `INSERT INTO ledger_anchor (seq, hash) VALUES ($1, $2)`, seq.Int64, end.Hash[:])
		return err
	})
	return removed, err
}

// exported is an entry as it leaves the house. Its hash can be computed again from
// the other fields: see docs/ledger.md.
type exported struct {
	Seq     uint64          `json:"seq"`
	At      time.Time       `json:"at"`
	Kind    account.Kind    `json:"kind"`
	Who     string          `json:"who"`
	What    json.RawMessage `json:"what"`
	Private string          `json:"private,omitempty"`
	Prev    string          `json:"prev"`
	Hash    string          `json:"hash"`
}

// Export writes entries, without personal data, as "ndjson" or "csv", after an entry
// that says so.
func (b *Book) Export(ctx context.Context, w io.Writer, format, who string, q Query) (n uint64, err error) {
	if format != "ndjson" && format != "csv" {
		return 0, fmt.Errorf("no format %q: use ndjson or csv", format)
	}
	if _, err := b.Append(ctx, Line{Kind: account.Exported, Who: who, What: map[string]any{"of": "ledger", "format": format, "kinds": q.Kinds, "from": q.From, "to": q.To}}); err != nil {
		return 0, err
	}
	table, lines := csv.NewWriter(w), json.NewEncoder(w)
	if format == "csv" {
		if err := table.Write([]string{"seq", "at", "kind", "who", "what", "private", "prev", "hash"}); err != nil {
			return 0, err
		}
	}
	err = b.Each(ctx, q, func(e account.Entry) error {
		n++
		prev, hash := hex.EncodeToString(e.Prev[:]), hex.EncodeToString(e.Hash[:])
		if format == "csv" {
			return table.Write([]string{strconv.FormatUint(e.Seq, 10), e.At.Format(time.RFC3339Nano), string(e.Kind), e.Who, string(e.What), e.Private, prev, hash})
		}
		return lines.Encode(exported{e.Seq, e.At, e.Kind, e.Who, e.What, e.Private, prev, hash})
	})
	table.Flush()
	return n, errors.Join(err, table.Error())
}
