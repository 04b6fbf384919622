package dns

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"sakimori/base/clock"
	"sakimori/base/relation"
)

//go:embed migrations
var migrations embed.FS

// Record keeps the counts. It holds no address of anybody.
type Record struct {
	db    *relation.DB
	clock clock.Clock
}

// Open prepares the tables.
func Open(ctx context.Context, db *relation.DB, c clock.Clock) (*Record, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, "dns", files); err != nil {
		return nil, err
	}
	return &Record{db, c}, nil
}

// File is a content that is counted once.
type File struct {
	Digest string // SHA-256, hexadecimal
	Name   string
}

// ErrTaken says that a file's content was counted before.
var ErrTaken = errors.New("the same content was taken in before: it isn't counted again")

// Keep puts what an observer has counted on disk, in one transaction: all of it, or
// nothing, and then the observer has it still. file, if not nil, is what it came from.
func (r *Record) Keep(ctx context.Context, o *Observer, file *File) error {
	rows, reaches := o.taken(), o.watched()
	if len(rows) == 0 && len(reaches) == 0 && file == nil {
		return nil
	}
	err := r.db.Tx(ctx, func(tx *relation.Tx) error {
		if err := tx.Lock(ctx, "dns_counts"); err != nil {
			return err
		}
		if file != nil {
			const q = `INSERT INTO dns_files (digest, name, taken) VALUES ($1, $2, $3)`
			if _, err := tx.Exec(ctx, q, file.Digest, file.Name, r.clock.Now().UnixNano()); err != nil {
				return err
			}
		}
		for i := range rows {
			if err := add(ctx, tx, &rows[i]); err != nil {
				return err
			}
		}
		return keepReach(ctx, tx, reaches)
	})
	if err == nil {
		return nil
	}
	o.giveBack(rows)
	if relation.Unique(err) {
		return ErrTaken
	}
	return fmt.Errorf("keep what was counted of resolvers: %w", err)
}

// Taken tells whether a content was counted before.
func (r *Record) Taken(ctx context.Context, digest string) (bool, error) {
	var n int
	err := r.db.QueryRow(ctx, `SELECT count(*) FROM dns_files WHERE digest = $1`, digest).Scan(&n)
	return n > 0, err
}

// adding adds to a row, or makes it.
var adding = func() string {
	var names, places, sums []string
	for i, c := range columns {
		names, places = append(names, c), append(places, fmt.Sprintf("$%d", 5+i))
		sums = append(sums, fmt.Sprintf("%s = dns_counts.%s + excluded.%s", c, c, c))
	}
	return `INSERT INTO dns_counts (hour, resolver, zone, family, ` + strings.Join(names, ", ") + `) VALUES ($1, $2, $3, $4, ` +
		strings.Join(places, ", ") + `) ON CONFLICT (hour, resolver, zone, family) DO UPDATE SET ` + strings.Join(sums, ", ")
}()

func add(ctx context.Context, tx *relation.Tx, row *Row) error {
	args := []any{row.Hour, row.Resolver, row.Zone, row.Family}
	for _, n := range row.fields() {
		args = append(args, int64(*n)) //nolint:gosec // counts
	}
	_, err := tx.Exec(ctx, adding, args...)
	return err
}

// few stands in the store for a number of clients below the floor.
const few = -1

// keepReach keeps the highest number of a day: after a start clients can't be told from
// those before, as the key of their hashes is gone.
func keepReach(ctx context.Context, tx *relation.Tx, list []Reach) error {
	for i := range list {
		n := int64(list[i].Clients) //nolint:gosec // counts
		if list[i].Few {
			n = few
		}
		const q = `INSERT INTO dns_reach (day, name, clients) VALUES ($1, $2, $3)
			ON CONFLICT (day, name) DO UPDATE SET clients = CASE WHEN dns_reach.clients > excluded.clients THEN dns_reach.clients ELSE excluded.clients END`
		if _, err := tx.Exec(ctx, q, list[i].Day.Unix(), list[i].Name, n); err != nil {
			return err
		}
	}
	return nil
}

// By is what counts are divided by.
type By string

// The ways to divide. Totals belong to no zone and no family.
const (
	ByHour     By = "hour"
	ByDay      By = "day" // of UTC
	ByZone     By = "zone"
	ByFamily   By = "family"
	ByResolver By = "resolver"
	Total      By = "total"
)

// Count is a line of them.
type Count struct {
	At  time.Time `json:"at,omitzero"` // of ByHour and ByDay
	Key string    `json:"key"`         // of the others
	Tally
}

// Counts gives what was counted from a time to just before another, whole hours of it,
// in order.
func (r *Record) Counts(ctx context.Context, from, to time.Time, by By) ([]Count, error) {
	var group, totals string
	switch by {
	case ByHour:
		group = "hour"
	case ByDay:
		group = "hour - hour % 86400"
	case ByZone, ByFamily:
		group, totals = string(by), " AND (zone <> '' OR family <> '')"
	case ByResolver:
		group = "resolver"
	case Total:
		group = "'total'"
	default:
		return nil, fmt.Errorf("counts by %.20q: say hour, day, zone, family, resolver or total", by)
	}
	var sums []string
	for _, c := range columns {
		sums = append(sums, "CAST(sum("+c+") AS BIGINT)")
	}
	rows, err := r.db.Query(ctx, `SELECT `+group+`, `+strings.Join(sums, ", ")+` FROM dns_counts WHERE hour >= $1 AND hour < $2`+totals+` GROUP BY 1 ORDER BY 1`, from.Unix(), to.Unix())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []Count{}
	for rows.Next() {
		c, err := scan(rows, by == ByHour || by == ByDay)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

func scan(rows *sql.Rows, timed bool) (c Count, err error) {
	var at int64
	into := []any{&c.Key}
	if timed {
		into[0] = &at
	}
	var n [len(columns)]int64
	for i := range n {
		into = append(into, &n[i])
	}
	if err := rows.Scan(into...); err != nil {
		return c, err
	}
	if timed {
		c.At = time.Unix(at, 0).UTC()
	}
	for i, f := range c.fields() {
		*f = uint64(n[i]) //nolint:gosec // counts
	}
	return c, nil
}

// Reached is what is kept of a name's clients, by day from a time on, the newest first.
func (r *Record) Reached(ctx context.Context, name string, from time.Time, floor uint64) ([]Reach, error) {
	rows, err := r.db.Query(ctx, `SELECT day, clients FROM dns_reach WHERE name = $1 AND day >= $2 ORDER BY day DESC`, name, from.Unix())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []Reach{}
	for rows.Next() {
		var day, n int64
		if err := rows.Scan(&day, &n); err != nil {
			return nil, err
		}
		x := Reach{Name: name, Day: time.Unix(day, 0).UTC(), Floor: floor, Few: n == few}
		if n != few {
			x.Clients = uint64(n) //nolint:gosec // a count
		}
		list = append(list, x)
	}
	return list, rows.Err()
}
