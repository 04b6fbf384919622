package respond

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"sakimori/base/relation"
	"sakimori/detect"
)

//go:embed migrations
var migrations embed.FS

// migrate prepares the tables, which all missions share.
func migrate(ctx context.Context, db *relation.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	return db.Migrate(ctx, "act", files)
}

// Query selects acts of one mission; zero fields select everything.
type Query struct {
	State    State
	About    string // the id of an attack or incident
	Object   string
	Grant    string
	Live     bool  // not over, or something of it may still stand
	Standing bool  // something of it may be with a router
	Before   After // those proposed before this one, for a next page
	Limit    int   // 0: all
}

// After is a place in a list, the newest first; zero the beginning.
type After struct {
	At time.Time `json:"at"`
	ID string    `json:"id"`
}

// newID is 130 random bits.
func newID(prefix string) string {
	var b [17]byte
	_, _ = rand.Read(b[:]) // never fails
	return prefix + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])[:26]
}

// kept is an act as it is stored: its life, and the whole that the life lies in.
type kept[A any] struct {
	*Act
	whole   *A
	version int64
}

// document is what of an act is stored as JSON: what has a table or is asked of others
// isn't.
func (d *Desk[A, R]) document(whole *A) (string, error) {
	a := *whole
	l := d.mission.Life(&a)
	l.Changes, l.Held = nil, nil
	b, err := json.Marshal(a)
	return string(b), err
}

func (d *Desk[A, R]) scan(row interface{ Scan(dest ...any) error }) (kept[A], error) {
	k := kept[A]{whole: new(A)}
	var doc string
	if err := row.Scan(&doc, &k.version); err != nil {
		return k, err
	}
	if err := json.Unmarshal([]byte(doc), k.whole); err != nil {
		return k, fmt.Errorf("a kept act can't be read: %w", err)
	}
	k.Act = d.mission.Life(k.whole)
	return k, nil
}

func (d *Desk[A, R]) list(ctx context.Context, q Query) (found []kept[A], err error) {
	where, args := []string{"kind = $1"}, []any{d.kind.Name}
	cond := func(text string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			text = strings.Replace(text, "?", "$"+strconv.Itoa(len(args)), 1)
		}
		where = append(where, text)
	}
	for _, c := range []struct{ column, value string }{{"state", string(q.State)}, {"about", q.About}, {"object", q.Object}, {"grant_id", q.Grant}} {
		if c.value != "" {
			cond(c.column+" = ?", c.value)
		}
	}
	if q.Live {
		cond("(standing = 1 OR state IN (?, ?, ?, ?))", string(Proposed), string(Approved), string(Announced), string(Confirmed))
	}
	if q.Standing {
		cond("standing = 1")
	}
	if q.Before.ID != "" {
		cond("(proposed < ? OR proposed = ? AND id < ?)", q.Before.At.UnixNano(), q.Before.At.UnixNano(), q.Before.ID)
	}
	text := "SELECT doc, version FROM act WHERE " + strings.Join(where, " AND ") + " ORDER BY proposed DESC, id DESC"
	if q.Limit > 0 {
		text += " LIMIT " + strconv.Itoa(q.Limit)
	}
	err = each(ctx, d.DB, text, args, func(rows *sql.Rows) error {
		k, err := d.scan(rows)
		found = append(found, k)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read acts: %w", err)
	}
	return found, nil
}

// each calls f for every row of an answer.
func each(ctx context.Context, db *relation.DB, text string, args []any, f func(rows *sql.Rows) error) error {
	rows, err := db.Query(ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (d *Desk[A, R]) get(ctx context.Context, id string) (kept[A], error) {
	k, err := d.scan(d.DB.QueryRow(ctx, `SELECT doc, version FROM act WHERE kind = $1 AND id = $2`, d.kind.Name, id))
	if errors.Is(err, sql.ErrNoRows) {
		return k, fmt.Errorf("%w: %.40q", ErrUnknown, id)
	}
	if err != nil {
		return k, fmt.Errorf("read an act: %w", err)
	}
	return k, nil
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (a *Act) grantID() string {
	if a.Grant == nil {
		return ""
	}
	return a.Grant.ID
}

// insert writes a new act with its first change.
func (d *Desk[A, R]) insert(ctx context.Context, tx *relation.Tx, whole *A, about, object string, why detect.Text) error {
	doc, err := d.document(whole)
	if err != nil {
		return err
	}
	a := d.mission.Life(whole)
	_, err = tx.Exec(ctx, `INSERT INTO act (id, kind, about, object, state, grant_id, standing, rules, proposed, version, doc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $10)`,
		a.ID, d.kind.Name, about, object, string(a.State), a.grantID(), bit(a.Standing), len(d.mission.Rules(whole)), a.ProposedAt.UnixNano(), doc)
	if err != nil {
		return fmt.Errorf("write an act: %w", err)
	}
	return note(ctx, tx, a.ID, Change{At: a.ProposedAt, To: a.State, Who: a.ProposedBy, Why: why})
}

// errRace says that somebody else changed an act meanwhile.
var errRace = errors.New("the act was changed by somebody else at the same time: look again")

// write keeps an act that was read in a version, if it still is in that, and the step that
// it took; nil: it took none.
func (d *Desk[A, R]) write(ctx context.Context, k *kept[A], c *Change) error {
	doc, err := d.document(k.whole)
	if err != nil {
		return err
	}
	err = d.DB.Tx(ctx, func(tx *relation.Tx) error {
		changed, err := tx.Exec(ctx, `UPDATE act SET state = $1, grant_id = $2, standing = $3, version = version + 1, doc = $4 WHERE id = $5 AND version = $6`,
			string(k.State), k.grantID(), bit(k.Standing), doc, k.ID, k.version)
		if err != nil {
			return fmt.Errorf("write an act: %w", err)
		}
		if changed != 1 {
			return errRace
		}
		if c == nil {
			return nil
		}
		return note(ctx, tx, k.ID, *c)
	})
	if err == nil {
		k.version++
	}
	return err
}

// save keeps what isn't a step.
func (d *Desk[A, R]) save(ctx context.Context, k *kept[A]) error { return d.write(ctx, k, nil) }

func note(ctx context.Context, tx *relation.Tx, id string, c Change) error {
	_, err := tx.Exec(ctx, `INSERT INTO act_change (act, n, made, before, after, who, ja, en) VALUES ($1, (SELECT count(*) + 1 FROM act_change WHERE act = $1), $2, $3, $4, $5, $6, $7)`,
		id, c.At.UnixNano(), string(c.From), string(c.To), c.Who, c.Why.JA, c.Why.EN)
	if err != nil {
		return fmt.Errorf("write an act's history: %w", err)
	}
	return nil
}

func (d *Desk[A, R]) history(ctx context.Context, id string) (found []Change, err error) {
	err = each(ctx, d.DB, `SELECT made, before, after, who, ja, en FROM act_change WHERE act = $1 ORDER BY n`, []any{id}, func(rows *sql.Rows) error {
		var c Change
		var made int64
		err := rows.Scan(&made, &c.From, &c.To, &c.Who, &c.Why.JA, &c.Why.EN)
		c.At = time.Unix(0, made).UTC()
		found = append(found, c)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read an act's history: %w", err)
	}
	return found, nil
}

// lease is the right to announce acts of this kind: one process has it at a time.
func (d *Desk[A, R]) lease() relation.Lease {
	return relation.Lease{DB: d.DB, Table: "act_lease", Name: d.kind.Name}
}
