package register

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sakimori/base/store"
	"sakimori/detect"
	"sakimori/observe"
)

// kept is how things with a life are kept, attacks and incidents: one row of each as it
// stands, in table, and of the versions before only what changed, in table_version.
type kept[T any] struct {
	table, what, many string
	version           func(*T) version
	opened            func(*T) time.Time
	slim              func(T) T // what a version keeps of it
	row               func(row store.Row, v *T, doc string) error
}

// write adds versions in the order in which they were made. Writing the same again
// changes nothing.
func (k *kept[T]) write(ctx context.Context, tx *store.Tx, list []T) error {
	newest := map[string]*T{}
	var ids []string
	for i := range list {
		v := k.version(&list[i])
		if _, ok := stages[v.state]; !ok || v.id == "" {
			return fmt.Errorf("%s needs an id and a state, not %q and %q", k.what, v.id, v.state)
		}
		n := newest[v.id]
		if n == nil {
			ids = append(ids, v.id)
		}
		if n == nil || k.version(n).changed <= v.changed {
			newest[v.id] = &list[i]
		}
	}
	if len(ids) == 0 {
		return nil
	}
	known, before, err := versions(ctx, tx, k.table+"_version", ids)
	if err != nil {
		return err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return before[id].changed > k.version(newest[id]).changed })
	if err := tx.Exec(ctx, `DELETE FROM `+k.table+` WHERE id IN (SELECT unnest(?::VARCHAR[]))`, ids); err != nil {
		return err
	}
	if err := tx.Append(k.table, func(row store.Row) error {
		for _, id := range ids {
			doc, err := json.Marshal(newest[id])
			if err == nil {
				err = k.row(row, newest[id], string(doc))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return tx.Append(k.table+"_version", func(row store.Row) error {
		for i := range list {
			v := k.version(&list[i])
			if known[v] {
				continue
			}
			known[v] = true
			doc, err := json.Marshal(k.slim(list[i]))
			if err == nil {
				err = row(v.id, v.changed, string(v.state), string(doc))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// versionsMost is how many versions of a thing are given: a long attack has one for each
// ten seconds.
const versionsMost = 100

// docs reads what a query selects of it.
func (k *kept[T]) docs(ctx context.Context, s *store.Store, query string, args ...any) ([]T, error) {
	return documents[T](ctx, s, k.many, query, args...)
}

// now is a thing as it stands; none is the error where there is no such.
func (k *kept[T]) now(ctx context.Context, s *store.Store, id string, none error) (v T, err error) {
	now, err := k.docs(ctx, s, `SELECT doc FROM `+k.table+` WHERE id = ?`, id)
	if err != nil {
		return v, err
	}
	if len(now) == 0 {
		return v, fmt.Errorf("%s: %w", id, none)
	}
	return now[0], nil
}

// versions are those of a thing, slim and the oldest first: the first one, and of the
// others the last hundred.
func (k *kept[T]) versions(ctx context.Context, s *store.Store, id string) ([]T, error) {
	const stage = `CASE state WHEN 'opened' THEN 0 WHEN 'changed' THEN 1 ELSE 2 END`
	return k.docs(ctx, s, `SELECT doc FROM `+k.table+`_version WHERE id = ?
		QUALIFY row_number() OVER (ORDER BY changed, `+stage+`) = 1 OR row_number() OVER (ORDER BY changed DESC, `+stage+` DESC) <= ?
		ORDER BY changed, `+stage, id, versionsMost)
}

// running counts those that last.
func (k *kept[T]) running(ctx context.Context, s *store.Store) (n int, err error) {
	if err := s.QueryRow(ctx, `SELECT count(*) FROM `+k.table+` WHERE open`).Scan(&n); err != nil {
		return 0, fmt.Errorf("register of %s: %w", k.many, err)
	}
	return n, nil
}

// filter is what a query asks of the store.
type filter struct {
	where []string
	args  []any
}

func (f *filter) add(where string, args ...any) {
	f.where, f.args = append(f.where, where), append(f.args, args...)
}

// pageQuery is what every list of things with a life can be asked.
type pageQuery struct {
	open  *bool
	span  observe.Range // that were open in it
	limit int           // 1..500
	after string        // next of the page before
}

// page is a page: open ones first, then by when they were opened, the latest first. more
// adds what else is asked of the store, and fits what only the whole thing tells.
func (k *kept[T]) page(ctx context.Context, s *store.Store, q pageQuery, more func(*filter), fits func(*T) bool) (out []T, next string, err error) {
	stored := func(after string) ([]T, bool, error) {
		f := filter{where: []string{"true"}}
		if q.open != nil {
			f.add("open = ?", *q.open)
		}
		if !q.span.From.IsZero() {
			f.add("(open OR closed >= ?)", q.span.From.UnixNano())
		}
		if !q.span.To.IsZero() {
			f.add("opened < ?", q.span.To.UnixNano())
		}
		more(&f)
		if after != "" {
			if err := afterMark(after, f.add); err != nil {
				return nil, false, err
			}
		}
		list, err := k.docs(ctx, s, `SELECT doc FROM `+k.table+` WHERE `+strings.Join(f.where, " AND ")+` ORDER BY open DESC, opened DESC, id LIMIT `+strconv.Itoa(q.limit+1), f.args...)
		return list, len(list) > q.limit, err
	}
	mark := func(v *T) string { return lifeMark(k.version(v).state, k.opened(v), k.version(v).id) }
	return pageOf(q.limit, q.after, stored, fits, mark)
}

// pageOf collects a page of those that fit out of pages of the store; next is the mark of
// its last one, "" on the last page.
func pageOf[T any](limit int, after string, stored func(after string) (list []T, more bool, err error), fits func(*T) bool, mark func(*T) string) (out []T, next string, err error) {
	if limit < 1 || limit > 500 {
		return nil, "", fmt.Errorf("register: the limit of a page is 1 to 500, not %d", limit)
	}
	for len(out) <= limit {
		list, more, err := stored(after)
		if err != nil {
			return nil, "", err
		}
		for i := range list {
			if fits(&list[i]) {
				out = append(out, list[i])
			}
		}
		if !more {
			break
		}
		after = mark(&list[len(list)-1])
	}
	if len(out) > limit {
		out = out[:limit]
		next = mark(&out[limit-1])
	}
	return out, next, nil
}

// lifeMark marks where a page of things ended that lists what is open first, then what
// was opened last.
func lifeMark(state detect.State, opened time.Time, id string) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%t %d %s", state != detect.Closed, opened.UnixNano(), id))
}

// afterMark selects what comes after the mark.
func afterMark(mark string, add func(where string, args ...any)) error {
	var open bool
	var opened int64
	var id string
	b, err := base64.RawURLEncoding.DecodeString(mark)
	if err == nil {
		_, err = fmt.Sscanf(string(b), "%t %d %s", &open, &opened, &id)
	}
	if err != nil {
		return errors.New("register: this page mark is none of ours: begin again without it")
	}
	add("(open < ? OR open = ? AND (opened < ? OR opened = ? AND id > ?))", open, open, opened, opened, id)
	return nil
}
