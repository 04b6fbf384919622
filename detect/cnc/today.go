package cnc

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Asked is how often an entry was asked for on a day.
type Asked struct {
	Blocked   int64 `json:"blocked"`
	Would     int64 `json:"would"` // would have been, were it enforced
	Sinkholed int64 `json:"sinkholed"`
}

// SinkholeZone is the zone of Hits that were let through to defenders.
const SinkholeZone = "sinkhole"

// Today is how often entries were asked for since the day of UTC began, by id. One that
// nobody asked for isn't in it.
func (l *List) Today(ctx context.Context, ids []string) (map[string]Asked, error) {
	out := map[string]Asked{}
	if len(ids) == 0 {
		return out, nil
	}
	byKey := make(map[int64]string, len(ids))
	args := []any{l.clock.Now().UTC().Truncate(24 * time.Hour).UnixNano()}
	var in strings.Builder
	for _, id := range ids {
		key, err := parseID(id)
		if err != nil {
			return nil, err
		}
		byKey[key] = id
		args = append(args, key)
		fmt.Fprintf(&in, ",$%d", len(args))
	}
	rows, err := l.db.Query(ctx, `SELECT key, zone, n FROM cnc_hit WHERE day >= $1 AND key IN (`+in.String()[1:]+`)`, args...)
	if err != nil {
		return nil, fmt.Errorf("read the hits: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var key, n int64
		var zone string
		if err := rows.Scan(&key, &zone, &n); err != nil {
			return nil, fmt.Errorf("read the hits: %w", err)
		}
		a := out[byKey[key]]
		switch zone {
		case "":
			a.Would += n
		case SinkholeZone:
			a.Sinkholed += n
		default:
			a.Blocked += n
		}
		out[byKey[key]] = a
	}
	return out, rows.Err()
}
