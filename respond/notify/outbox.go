package notify

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"sakimori/base/relation"
)

//go:embed migrations
var migrations embed.FS

// migrate prepares the tables.
func migrate(ctx context.Context, db *relation.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	return db.Migrate(ctx, "notify", files)
}

// Query selects notices; zero fields select everything.
type Query struct {
	Case    string
	Subject string
	State   State
	Channel Channel
	Batch   string
	Due     time.Time // those that are due then
	Newest  bool      // first, instead of those that were proposed first
	Limit   int       // 0: all
	Offset  int       // rows that are left out before, with a Limit
}

const columns = `id, casefile, subject, channel, family, device, service, language, seen, reference, state, reason, attempts, due, batch, rule, receipt, proposer, proposed, changed, sent`

// nano is a time as it is stored: 0 for none.
func nano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func moment(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

func scan(row interface{ Scan(dest ...any) error }) (n Notice, err error) {
	var seen, due, proposed, changed, sent int64
	err = row.Scan(&n.ID, &n.Case, &n.Subject, &n.Channel, &n.Template.Family, &n.Template.Device, &n.Template.Service, &n.Language, &seen, &n.Reference,
		&n.State, &n.Reason, &n.Attempts, &due, &n.Batch, &n.Rule, &n.Receipt, &n.Proposer, &proposed, &changed, &sent)
	n.Seen, n.Due, n.Proposed, n.Changed, n.Sent = moment(seen), moment(due), moment(proposed), moment(changed), moment(sent)
	return n, err
}

// list reads notices, those first that were proposed first.
func list(ctx context.Context, a relation.Asker, q Query) (found []Notice, err error) {
	where, args := q.where()
	order := ` ORDER BY proposed, id`
	if q.Newest {
		order = ` ORDER BY proposed DESC, id`
	}
	text := `SELECT ` + columns + ` FROM notice` + where + order
	if q.Limit > 0 {
		text += ` LIMIT ` + strconv.Itoa(q.Limit) + ` OFFSET ` + strconv.Itoa(max(q.Offset, 0))
	}
	rows, err := a.Query(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("read notices: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		n, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("read notices: %w", err)
		}
		found = append(found, n)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read notices: %w", err)
	}
	return found, nil
}

// where is the condition of a query with its arguments.
func (q *Query) where() (text string, args []any) {
	var where []string
	cond := func(text string, arg any) {
		args = append(args, arg)
		where = append(where, fmt.Sprintf(text, len(args)))
	}
	for column, value := range map[string]string{"casefile": q.Case, "subject": q.Subject, "state": string(q.State), "channel": string(q.Channel), "batch": q.Batch} {
		if value != "" {
			cond(column+" = $%d", value)
		}
	}
	if !q.Due.IsZero() {
		cond("due <= $%d", nano(q.Due))
	}
	if len(where) == 0 {
		return "", nil
	}
	return ` WHERE ` + strings.Join(where, " AND "), args
}

func get(ctx context.Context, a relation.Asker, id string) (Notice, error) {
	n, err := scan(a.QueryRow(ctx, `SELECT `+columns+` FROM notice WHERE id = $1`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return n, fmt.Errorf("%w: %q", ErrUnknown, id)
	}
	if err != nil {
		return n, fmt.Errorf("read a notice: %w", err)
	}
	return n, nil
}

// newID is 130 random bits in letters that stand in every mail address.
func newID() string {
	var b [17]byte
	_, _ = rand.Read(b[:]) // never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))[:26]
}

// insert writes a new notice with its first change.
func insert(ctx context.Context, tx *relation.Tx, n *Notice, proof []byte) error {
	_, err := tx.Exec(ctx, `INSERT INTO notice (`+columns+`, proof) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)`,
		n.ID, n.Case, n.Subject, string(n.Channel), n.Template.Family, string(n.Template.Device), n.Template.Service, n.Language, nano(n.Seen), n.Reference,
		string(n.State), n.Reason, n.Attempts, nano(n.Due), n.Batch, n.Rule, n.Receipt, n.Proposer, nano(n.Proposed), nano(n.Changed), nano(n.Sent), proof)
	if err != nil {
		return fmt.Errorf("write a notice: %w", err)
	}
	return note(ctx, tx, n.ID, Change{At: n.Proposed, To: n.State, Who: n.Proposer, Reason: n.Reason})
}

// update writes what a step changed. The caller has read n in the same transaction.
func update(ctx context.Context, tx *relation.Tx, n *Notice, c Change) error {
	changed, err := tx.Exec(ctx, `UPDATE notice SET state = $1, reason = $2, attempts = $3, due = $4, batch = $5, rule = $6, receipt = $7, changed = $8, sent = $9 WHERE id = $10 AND state = $11`,
		string(n.State), n.Reason, n.Attempts, nano(n.Due), n.Batch, n.Rule, n.Receipt, nano(n.Changed), nano(n.Sent), n.ID, string(c.From))
	if err != nil {
		return fmt.Errorf("write a notice: %w", err)
	}
	if changed != 1 {
		return fmt.Errorf("%w: it isn't %s any more", ErrOrder, c.From)
	}
	return note(ctx, tx, n.ID, c)
}

func note(ctx context.Context, tx *relation.Tx, id string, c Change) error {
	_, err := tx.Exec(ctx, `INSERT INTO notice_change (notice, n, made, before, after, who, why, said) VALUES ($1, (SELECT count(*) + 1 FROM notice_change WHERE notice = $1), $2, $3, $4, $5, $6, $7)`,
		id, nano(c.At), string(c.From), string(c.To), c.Who, c.Reason, string(c.Said))
	if err != nil {
		return fmt.Errorf("write a notice's history: %w", err)
	}
	return nil
}

// history reads the changes of a notice in order.
func history(ctx context.Context, a relation.Asker, id string) (found []Change, err error) {
	rows, err := a.Query(ctx, `SELECT made, before, after, who, why, said FROM notice_change WHERE notice = $1 ORDER BY n`, id)
	if err != nil {
		return nil, fmt.Errorf("read a notice's history: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var c Change
		var made int64
		if err := rows.Scan(&made, &c.From, &c.To, &c.Who, &c.Reason, &c.Said); err != nil {
			return nil, fmt.Errorf("read a notice's history: %w", err)
		}
		c.At = moment(made)
		found = append(found, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read a notice's history: %w", err)
	}
	return found, nil
}
