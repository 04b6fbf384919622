package mitigate

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

// migrate prepares the tables.
func migrate(ctx context.Context, db *relation.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	return db.Migrate(ctx, "mitigate", files)
}

// Query selects mitigations; zero fields select everything.
type Query struct {
	State    State
	Attack   string
	Grant    string
	Live     bool  // not over, or something of it may still stand
	Standing bool  // something of it may be with a router
	Before   After // those proposed before this one, for a next page
	Limit    int   // 0: all
	object   string
}

// After is a place in a list, the newest first; zero the beginning.
type After struct {
	At time.Time `json:"at"`
	ID string    `json:"id"`
}

// newID is 130 random bits.
func newID() string {
	var b [17]byte
	_, _ = rand.Read(b[:]) // never fails
	return "M-" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])[:26]
}

// keyOf names an object.
func keyOf(o *detect.Object) string {
	if o.Prefix.IsValid() {
		return o.Prefix.String()
	}
	return string(o.Kind) + " " + o.Name
}

// kept is a mitigation as it is stored.
type kept struct {
	Mitigation
	version int64
}

// document is what of a mitigation is stored as JSON: what has a table or is asked of
// others isn't.
type document struct {
	Mitigation
	Tries int       `json:"tries"`
	Due   time.Time `json:"due,omitzero"`
}

func (m *Mitigation) document() (string, error) {
	d := document{*m, m.tries, m.due}
	d.Changes, d.Held, d.Proposal.Forms = nil, nil, Forms{}
	b, err := json.Marshal(d)
	return string(b), err
}

func scan(row interface{ Scan(dest ...any) error }) (k kept, err error) {
	var doc string
	if err := row.Scan(&doc, &k.version); err != nil {
		return k, err
	}
	var d document
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		return k, fmt.Errorf("a kept mitigation can't be read: %w", err)
	}
	k.Mitigation, k.tries, k.due = d.Mitigation, d.Tries, d.Due
	return k, nil
}

func list(ctx context.Context, a relation.Asker, q Query) (found []kept, err error) {
	var where []string
	var args []any
	cond := func(text string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			text = strings.Replace(text, "?", "$"+strconv.Itoa(len(args)), 1)
		}
		where = append(where, text)
	}
	for _, c := range []struct{ column, value string }{{"state", string(q.State)}, {"attack", q.Attack}, {"grant_id", q.Grant}, {"object", q.object}} {
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
	text := "SELECT doc, version FROM mitigation"
	if len(where) > 0 {
		text += " WHERE " + strings.Join(where, " AND ")
	}
	text += " ORDER BY proposed DESC, id DESC"
	if q.Limit > 0 {
		text += " LIMIT " + strconv.Itoa(q.Limit)
	}
	rows, err := a.Query(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("read mitigations: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		k, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("read mitigations: %w", err)
		}
		found = append(found, k)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read mitigations: %w", err)
	}
	return found, nil
}

func get(ctx context.Context, a relation.Asker, id string) (kept, error) {
	k, err := scan(a.QueryRow(ctx, `SELECT doc, version FROM mitigation WHERE id = $1`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return k, fmt.Errorf("%w: %.40q", ErrUnknown, id)
	}
	if err != nil {
		return k, fmt.Errorf("read a mitigation: %w", err)
	}
	return k, nil
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (m *Mitigation) grantID() string {
	if m.Grant == nil {
		return ""
	}
	return m.Grant.ID
}

// insert writes a new mitigation with its first change.
func insert(ctx context.Context, tx *relation.Tx, m *Mitigation, why detect.Text) error {
	doc, err := m.document()
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO mitigation (id, attack, object, state, grant_id, rehearse, standing, rules, proposed, changed, version, doc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, 1, $10)`,
		m.ID, m.Attack, keyOf(&m.Object), string(m.State), m.grantID(), bit(m.Rehearsal), bit(m.Standing), len(m.Proposal.Rules), m.ProposedAt.UnixNano(), doc)
	if err != nil {
		return fmt.Errorf("write a mitigation: %w", err)
	}
	return note(ctx, tx, m.ID, Change{At: m.ProposedAt, To: m.State, Who: m.ProposedBy, Why: why})
}

// errRace says that somebody else changed a mitigation meanwhile.
var errRace = errors.New("the mitigation was changed by somebody else at the same time: look again")

// update writes a mitigation that was read in a version, if it still is in that.
func update(ctx context.Context, tx *relation.Tx, k *kept, now time.Time) error {
	doc, err := k.document()
	if err != nil {
		return err
	}
	changed, err := tx.Exec(ctx, `UPDATE mitigation SET state = $1, grant_id = $2, standing = $3, changed = $4, version = version + 1, doc = $5 WHERE id = $6 AND version = $7`,
		string(k.State), k.grantID(), bit(k.Standing), now.UnixNano(), doc, k.ID, k.version)
	if err != nil {
		return fmt.Errorf("write a mitigation: %w", err)
	}
	if changed != 1 {
		return errRace
	}
	return nil
}

func note(ctx context.Context, tx *relation.Tx, id string, c Change) error {
	_, err := tx.Exec(ctx, `INSERT INTO mitigation_change (mitigation, n, made, before, after, who, ja, en) VALUES ($1, (SELECT count(*) + 1 FROM mitigation_change WHERE mitigation = $1), $2, $3, $4, $5, $6, $7)`,
		id, c.At.UnixNano(), string(c.From), string(c.To), c.Who, c.Why.JA, c.Why.EN)
	if err != nil {
		return fmt.Errorf("write a mitigation's history: %w", err)
	}
	return nil
}

func history(ctx context.Context, a relation.Asker, id string) (found []Change, err error) {
	rows, err := a.Query(ctx, `SELECT made, before, after, who, ja, en FROM mitigation_change WHERE mitigation = $1 ORDER BY n`, id)
	if err != nil {
		return nil, fmt.Errorf("read a mitigation's history: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var c Change
		var made int64
		if err := rows.Scan(&made, &c.From, &c.To, &c.Who, &c.Why.JA, &c.Why.EN); err != nil {
			return nil, fmt.Errorf("read a mitigation's history: %w", err)
		}
		c.At = time.Unix(0, made).UTC()
		found = append(found, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read a mitigation's history: %w", err)
	}
	return found, nil
}

// lease is the right to announce: one process has it at a time.
func (d *Desk) lease() relation.Lease {
	return relation.Lease{DB: d.DB, Table: "mitigation_lease", Name: "announce"}
}
