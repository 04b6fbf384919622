// Package register keeps findings and all their versions, who acknowledged
// them, and the state that detectors carry over a restart, on base/store.
//
// A version of a finding is what a detector said at one time; it is never
// changed. The finding as it stands is its last version.
package register

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"sakimori/base/store"
	"sakimori/detect"
	"sakimori/observe"
)

// DuckDB quirk behind the tables: there is no PRIMARY KEY, as a row that is
// deleted and inserted in one transaction would violate it. last marks the
// newest version, so that a list needs no window over the whole history.
var migrations = []store.Migration{{Version: 1, Name: "findings", SQL: `
	CREATE TABLE detect_finding (
		id VARCHAR NOT NULL,
		detector VARCHAR NOT NULL,
		subject VARCHAR NOT NULL,
		state VARCHAR NOT NULL,
		severity INTEGER NOT NULL,
		opened BIGINT NOT NULL,  -- Unix nanoseconds, as all times here
		changed BIGINT NOT NULL,
		closed BIGINT NOT NULL,  -- 0 while it lasts
		last BOOLEAN NOT NULL,   -- the newest version of its id
		version VARCHAR NOT NULL -- the whole finding as JSON
	);
	CREATE TABLE detect_acknowledged (id VARCHAR NOT NULL, who VARCHAR NOT NULL, note VARCHAR NOT NULL, noted BIGINT NOT NULL)`}, attackTables, incidentTables}

// Register is the findings' part of a store.
type Register struct{ store *store.Store }

// New prepares the tables.
func New(ctx context.Context, s *store.Store) (*Register, error) {
	if err := s.Migrate(ctx, "detect", migrations); err != nil {
		return nil, err
	}
	return &Register{s}, nil
}

// version is what tells two versions apart.
type version struct {
	id      string
	changed int64
	state   detect.State
}

// stages orders states along a finding's life.
var stages = map[detect.State]int{detect.Opened: 0, detect.Changed: 1, detect.Closed: 2}

func (v version) before(w version) bool {
	return v.changed < w.changed || v.changed == w.changed && stages[v.state] < stages[w.state]
}

// Write adds versions of findings. A version is known by id, changed and state;
// writing it again does nothing, so a detector may be run again over the same
// input. Versions may come in any order: the newest is the one that changed
// last, and of two at the same time the one further on in its life.
func (r *Register) Write(tx *store.Tx, findings []detect.Finding) error {
	if len(findings) == 0 {
		return nil
	}
	var ids []string
	for i := range findings {
		f := &findings[i]
		if _, ok := stages[f.State]; !ok || f.ID == "" {
			return fmt.Errorf("register of findings: a finding needs an id and a state, not %q and %q", f.ID, f.State)
		}
		ids = append(ids, f.ID)
	}
	if err := write(context.Background(), tx, findings, ids); err != nil { // a transaction is not stopped half way
		return fmt.Errorf("register of findings: write: %w", err)
	}
	return nil
}

func write(ctx context.Context, tx *store.Tx, findings []detect.Finding, ids []string) error {
	known, newest, err := versions(ctx, tx, "detect_finding", ids)
	if err != nil {
		return err
	}
	var fresh []*detect.Finding
	var superseded []string
	was := maps.Clone(newest)
	for i := range findings {
		f := &findings[i]
		v := version{f.ID, f.Changed.UnixNano(), f.State}
		if known[v] {
			continue
		}
		known[v] = true
		fresh = append(fresh, f)
		if n, ok := newest[f.ID]; !ok || n.before(v) {
			newest[f.ID] = v
		}
	}
	for id, v := range was {
		if newest[id] != v {
			superseded = append(superseded, id)
		}
	}
	if len(superseded) > 0 {
		if err := tx.Exec(ctx, `UPDATE detect_finding SET last = false WHERE last AND id IN (SELECT unnest(?::VARCHAR[]))`, superseded); err != nil {
			return err
		}
	}
	return tx.Append("detect_finding", func(row store.Row) error {
		for _, f := range fresh {
			doc, err := json.Marshal(f)
			if err != nil {
				return err
			}
			var closed int64
			if !f.Closed.IsZero() {
				closed = f.Closed.UnixNano()
			}
			v := version{f.ID, f.Changed.UnixNano(), f.State}
			if err := row(f.ID, f.Detector, f.Subject, string(f.State), int32(f.Severity), f.Opened.UnixNano(), v.changed, closed, newest[f.ID] == v, string(doc)); err != nil { //nolint:gosec // a severity is small
				return err
			}
		}
		return nil
	})
}

// versions are those that some findings or attacks have in a table, and the newest of each.
func versions(ctx context.Context, tx *store.Tx, table string, ids []string) (known map[version]bool, newest map[string]version, err error) {
	known, newest = map[version]bool{}, map[string]version{}
	rows, err := tx.Query(ctx, `SELECT id, changed, state FROM `+table+` WHERE id IN (SELECT unnest(?::VARCHAR[]))`, ids)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v version
		if err := rows.Scan(&v.id, &v.changed, &v.state); err != nil {
			return nil, nil, err
		}
		known[v] = true
		if n, ok := newest[v.id]; !ok || n.before(v) {
			newest[v.id] = v
		}
	}
	return known, newest, rows.Err()
}

// Query selects findings as they stand; zero fields select everything.
type Query struct {
	Detector string
	State    detect.State
	Severity detect.Severity
	Range    observe.Range // findings that were open in it
	Limit    int           // 1..500
	After    string        // next of the page before
}

// List is a page of findings, latest change first. next is "" on the last page.
func (r *Register) List(ctx context.Context, q Query) (out []detect.Finding, next string, err error) {
	if q.Limit < 1 || q.Limit > 500 {
		return nil, "", fmt.Errorf("register of findings: the limit of a page is 1 to 500, not %d", q.Limit)
	}
	where := []string{"last"}
	var args []any
	add := func(s string, a ...any) { where, args = append(where, s), append(args, a...) }
	if q.Detector != "" {
		add("detector = ?", q.Detector)
	}
	switch q.State {
	case "":
	case detect.Opened, detect.Changed, detect.Closed:
		add("state = ?", string(q.State))
	default:
		return nil, "", fmt.Errorf("register of findings: %q is no state: use opened, changed or closed", q.State)
	}
	if q.Severity != 0 {
		add("severity = ?", int(q.Severity))
	}
	if !q.Range.From.IsZero() {
		add("(closed = 0 OR closed >= ?)", q.Range.From.UnixNano())
	}
	if !q.Range.To.IsZero() {
		add("opened < ?", q.Range.To.UnixNano())
	}
	if q.After != "" {
		changed, id, err := parseMark(q.After)
		if err != nil {
			return nil, "", err
		}
		add("changed <= ? AND (changed < ? OR id > ?)", changed, changed, id)
	}
	out, err = r.findings(ctx, `WHERE `+strings.Join(where, " AND ")+` ORDER BY changed DESC, id LIMIT `+strconv.Itoa(q.Limit+1), args...)
	if err != nil {
		return nil, "", err
	}
	if len(out) > q.Limit {
		out = out[:q.Limit]
		next = mark(out[q.Limit-1])
	}
	return out, next, nil
}

func (r *Register) findings(ctx context.Context, where string, args ...any) ([]detect.Finding, error) {
	return documents[detect.Finding](ctx, r.store, "findings", `SELECT version FROM detect_finding `+where, args...)
}

// documents are what a question finds, each kept as JSON in its only column.
func documents[T any](ctx context.Context, s *store.Store, of, query string, args ...any) ([]T, error) {
	rows, err := s.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("register of %s: %w", of, err)
	}
	defer rows.Close()
	out := []T{}
	for rows.Next() {
		var doc string
		var x T
		if err := rows.Scan(&doc); err != nil {
			return nil, fmt.Errorf("register of %s: %w", of, err)
		}
		if err := json.Unmarshal([]byte(doc), &x); err != nil {
			return nil, fmt.Errorf("register of %s: a stored one can't be read: %w", of, err)
		}
		out = append(out, x)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("register of %s: %w", of, err)
	}
	return out, nil
}

// ErrUnknown says that no finding has the id.
var ErrUnknown = errors.New("no finding has this id: see sakimori finding list")

// Get is a finding as it stands, and all its versions, oldest first.
func (r *Register) Get(ctx context.Context, id string) (detect.Finding, []detect.Finding, error) {
	all, err := r.findings(ctx, `WHERE id = ? ORDER BY changed, CASE state WHEN 'opened' THEN 0 WHEN 'changed' THEN 1 ELSE 2 END`, id)
	if err != nil {
		return detect.Finding{}, nil, err
	}
	if len(all) == 0 {
		return detect.Finding{}, nil, fmt.Errorf("finding %s: %w", id, ErrUnknown)
	}
	return all[len(all)-1], all, nil
}

// Acknowledgement is who has taken note of a finding.
type Acknowledgement struct {
	By   string    `json:"by"`
	Note string    `json:"note"`
	At   time.Time `json:"at"`
}

// Ack writes down who took note of a finding, when and with what words. It is
// added to those before, and never changed.
func (r *Register) Ack(ctx context.Context, id, by, note string, at time.Time) error {
	if by == "" {
		return errors.New("register of findings: an acknowledgement needs the name of who gives it")
	}
	return r.store.Tx(ctx, func(tx *store.Tx) error {
		var known bool
		if err := tx.QueryRow(ctx, `SELECT count(*) > 0 FROM detect_finding WHERE id = ?`, id).Scan(&known); err != nil {
			return fmt.Errorf("register of findings: %w", err)
		}
		if !known {
			return fmt.Errorf("finding %s: %w", id, ErrUnknown)
		}
		return tx.Exec(ctx, `INSERT INTO detect_acknowledged VALUES (?, ?, ?, ?)`, id, by, note, at.UnixNano())
	})
}

// Acknowledged are the acknowledgements of some findings, oldest first.
func (r *Register) Acknowledged(ctx context.Context, ids ...string) (map[string][]Acknowledgement, error) {
	rows, err := r.store.Query(ctx, `SELECT id, who, note, noted FROM detect_acknowledged WHERE id IN (SELECT unnest(?::VARCHAR[])) ORDER BY noted`, ids)
	if err != nil {
		return nil, fmt.Errorf("register of findings: %w", err)
	}
	defer rows.Close()
	out := map[string][]Acknowledgement{}
	for rows.Next() {
		var id string
		var a Acknowledgement
		var noted int64
		if err := rows.Scan(&id, &a.By, &a.Note, &noted); err != nil {
			return nil, fmt.Errorf("register of findings: %w", err)
		}
		a.At = time.Unix(0, noted).UTC()
		out[id] = append(out[id], a)
	}
	return out, rows.Err()
}

// SaveState keeps a detector's state for a part (an engine run); an empty one
// forgets it.
func (r *Register) SaveState(tx *store.Tx, name string, part uint64, state []byte) error {
	ctx := context.Background()
	var err error
	if len(state) == 0 {
		err = tx.DropBlob(ctx, stateName(name, part))
	} else {
		err = tx.PutBlob(ctx, stateName(name, part), state)
	}
	if err != nil {
		return fmt.Errorf("state of detector %s: %w", name, err)
	}
	return nil
}

// State is what SaveState kept last, nil for nothing.
func (r *Register) State(ctx context.Context, name string, part uint64) ([]byte, error) {
	b, err := r.store.Blob(ctx, stateName(name, part))
	if err != nil {
		return nil, fmt.Errorf("state of detector %s: %w", name, err)
	}
	return b, nil
}

func stateName(name string, part uint64) string { return fmt.Sprintf("detect/state/%s/%d", name, part) }

func mark(f detect.Finding) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(f.Changed.UnixNano(), 10) + " " + f.ID))
}

func parseMark(s string) (changed int64, id string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	n, id, ok := strings.Cut(string(b), " ")
	if err == nil && ok {
		changed, err = strconv.ParseInt(n, 10, 64)
	}
	if err != nil || !ok {
		return 0, "", errors.New("register of findings: this page mark is none of ours: begin again without it")
	}
	return changed, id, nil
}
