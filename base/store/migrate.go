package store

import (
	"context"
	"fmt"
)

// Migration is one step of a room's tables. Versions count from 1 without a
// hole, and a step that was released is never changed.
type Migration struct {
	Version int
	Name    string
	SQL     string                                  // may hold several statements
	Do      func(ctx context.Context, tx *Tx) error // after SQL, what SQL can't; may be nil
}

func (m *Migration) run(ctx context.Context, tx *Tx) error {
	if m.SQL != "" {
		if err := tx.Exec(ctx, m.SQL); err != nil {
			return err
		}
	}
	if m.Do == nil {
		return nil
	}
	return m.Do(ctx, tx)
}

// Migrate brings the tables of a room to the last of the steps, all in one
// transaction. Tables newer than the steps know are refused and left alone.
func (s *Store) Migrate(ctx context.Context, room string, steps []Migration) error {
	for i, m := range steps {
		if m.Version != i+1 {
			return fmt.Errorf("migrations of %s: step %d has version %d", room, i+1, m.Version)
		}
	}
	if s.readOnly {
		have, err := version(ctx, s, room)
		if err != nil {
			return err
		}
		if have < len(steps) {
			return fmt.Errorf("the data of %s are of version %d and this program needs %d: open the data folder once for writing with this program", room, have, len(steps))
		}
		return check(room, have, steps)
	}
	return s.Tx(ctx, func(tx *Tx) error {
		// "at" is a reserved word of DuckDB.
		if err := tx.Exec(ctx, `CREATE TABLE IF NOT EXISTS store_migration (room VARCHAR NOT NULL, version INTEGER NOT NULL, name VARCHAR NOT NULL, since BIGINT NOT NULL)`); err != nil {
			return err
		}
		have, err := version(ctx, tx, room)
		if err != nil {
			return err
		}
		if err := check(room, have, steps); err != nil {
			return err
		}
		for _, m := range steps[min(have, len(steps)):] {
			if err := m.run(ctx, tx); err != nil {
				return fmt.Errorf("migrate %s to %d (%s): %w", room, m.Version, m.Name, err)
			}
			if err := tx.Exec(ctx, `INSERT INTO store_migration VALUES (?, ?, ?, ?)`, room, m.Version, m.Name, s.clock.Now().Unix()); err != nil {
				return err
			}
		}
		return nil
	})
}

func version(ctx context.Context, a Asker, room string) (int, error) {
	var n int
	if err := a.QueryRow(ctx, `SELECT coalesce(max(version), 0) FROM store_migration WHERE room = ?`, room).Scan(&n); err != nil {
		return 0, fmt.Errorf("version of the tables of %s: %w", room, err)
	}
	return n, nil
}

func check(room string, have int, steps []Migration) error {
	if have > len(steps) {
		return fmt.Errorf("the data of %s were written by a newer sakimori (version %d of its tables; this program knows up to %d): install that version or a later one, or use another data folder", room, have, len(steps))
	}
	return nil
}

// Tables lists what Migrate has made, for doctor: room, and version.
func (s *Store) Tables(ctx context.Context) (map[string]int, error) {
	rows, err := s.Query(ctx, `SELECT room, max(version) FROM store_migration GROUP BY room`)
	if err != nil {
		return nil, fmt.Errorf("versions of the tables: %w", err)
	}
	defer rows.Close()
	out := map[string]int{}
	for rows.Next() {
		var room string
		var n int
		if err := rows.Scan(&room, &n); err != nil {
			return nil, fmt.Errorf("versions of the tables: %w", err)
		}
		out[room] = n
	}
	return out, rows.Err()
}
