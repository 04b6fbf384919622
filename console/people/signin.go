package people

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sakimori/account"
	"sakimori/base/relation"
	"sakimori/console"
)

// signIn is what the ledger says of a sign-in, or of a try.
type signIn struct {
	User   string `json:"user,omitempty"` // its id
	By     string `json:"by"`             // password, link, or the issuer's id
	Failed bool   `json:"failed,omitempty"`
	Before int    `json:"before,omitempty"` // failures that weren't written down one by one
}

// unknownName stands for who failed with a name that nobody has: what was typed
// there may be a password.
const unknownName = "unknown"

// SignIn checks a name and a password. It takes as long for a name that nobody has.
// The error is console.ErrPassword for whatever doesn't fit, a locked user included,
// and *console.Wait after too many failures.
func (r *Register) SignIn(ctx context.Context, name, password string, from netip.Addr) (console.User, error) {
	folded, err := foldName(name)
	if err != nil {
		folded = unknownName + " " // no name: it has a space
	}
	var hash string
	u, err := scanUser(r.db.QueryRow(ctx, `SELECT `+userColumns+`, password FROM people_user WHERE name = $1 AND state <> 'removed'`, folded), &hash)
	if err != nil && !errors.Is(err, console.ErrNotFound) {
		return u, err
	}
	stale, err := r.try(ctx, &u, folded, password, hash, from)
	if err != nil {
		return console.User{}, err
	}
	fresh := "" // hashed anew, as the parameters have changed
	if stale {
		prepared, err := preparePassword(password)
		if err != nil {
			return u, err
		}
		if fresh, err = r.hasher.hash(ctx, prepared); err != nil {
			return u, err
		}
	}
	return u, r.enter(ctx, u, "password", from, func(tx *relation.Tx) error {
		if fresh == "" {
			return nil
		}
		_, err := tx.Exec(ctx, `UPDATE people_user SET password = $1 WHERE id = $2 AND password = $3`, fresh, u.ID, hash)
		return err
	})
}

// try compares a password, within what the throttle admits.
func (r *Register) try(ctx context.Context, u *console.User, account, password, hash string, from netip.Addr) (stale bool, err error) {
	where := place(from)
	known, err := r.seen(ctx, u.ID, where)
	if err != nil {
		return false, err
	}
	if wait := r.throttle.admit(account, where, known); wait > 0 {
		return false, &console.Wait{For: wait}
	}
	fits, stale, err := r.hasher.check(ctx, password, hash)
	if err != nil {
		return false, err
	}
	if !fits || u.State != console.Active {
		if err := r.failed(ctx, *u, "password"); err != nil {
			return false, err
		}
		return false, console.ErrPassword
	}
	r.throttle.forgive(account, where, known)
	return stale, nil
}

// failed has a failure written down, with the name only of somebody who is there.
func (r *Register) failed(ctx context.Context, u console.User, by string) error {
	write, before := r.failures.take()
	if !write {
		return nil
	}
	who := u.Name
	if who == "" {
		who = unknownName
	}
	return r.recorder.Record(ctx, account.SignedIn, who, signIn{User: u.ID, By: by, Failed: true, Before: before})
}

// enter has a sign-in written down and notes it, after what else goes with it.
func (r *Register) enter(ctx context.Context, u console.User, by string, from netip.Addr, also func(tx *relation.Tx) error) error {
	if err := r.recorder.Record(ctx, account.SignedIn, u.Name, signIn{User: u.ID, By: by}); err != nil {
		return err
	}
	now := r.clock.Now().UTC()
	return r.db.Tx(ctx, func(tx *relation.Tx) error {
		if err := also(tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE people_user SET signed_in = $1 WHERE id = $2`, now.UnixNano(), u.ID); err != nil {
			return fmt.Errorf("note a sign-in: %w", err)
		}
		_, err := tx.Exec(ctx, `INSERT INTO people_seen (user_id, network, last) VALUES ($1, $2, $3)
			ON CONFLICT (user_id, network) DO UPDATE SET last = excluded.last`, u.ID, place(from), now.UnixNano())
		return err
	})
}

// seenFor is how long a network counts as one from which a user signs in.
const seenFor = 90 * 24 * time.Hour

func (r *Register) seen(ctx context.Context, userID, network string) (bool, error) {
	var last int64
	err := r.db.QueryRow(ctx, `SELECT last FROM people_seen WHERE user_id = $1 AND network = $2`, userID, network).Scan(&last)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil && r.clock.Now().Sub(moment(last)) < seenFor, err
}

// ChangePassword gives a user another password, if the present one is right, and
// ends all their sessions.
func (r *Register) ChangePassword(ctx context.Context, userID, old, password string, from netip.Addr) error {
	var hash string
	u, err := scanUser(r.db.QueryRow(ctx, `SELECT `+userColumns+`, password FROM people_user WHERE id = $1`, userID), &hash)
	if err != nil {
		return err
	}
	if u.Issuer != "" {
		return console.Refuse("外部の認証でログインしているため、パスワードはここにありません。", "You sign in with an issuer: there is no password here.")
	}
	if _, err := r.try(ctx, &u, u.Name, old, hash, from); err != nil {
		return err
	}
	fresh, err := r.fresh(ctx, password, u.Name)
	if err != nil {
		return err
	}
	if err := r.changed(ctx, u.Name, change{Action: "change password", User: u.ID, Name: u.Name}); err != nil {
		return err
	}
	return r.db.Tx(ctx, func(tx *relation.Tx) error { return setPassword(ctx, tx, u.ID, fresh) })
}

// fresh hashes a new password that is good enough.
func (r *Register) fresh(ctx context.Context, password, name string) (string, error) {
	prepared, err := preparePassword(password)
	if err == nil {
		err = checkPassword(prepared, name)
	}
	if err != nil {
		return "", err
	}
	return r.hasher.hash(ctx, prepared)
}

// setPassword also ends every session and every link of before.
func setPassword(ctx context.Context, tx *relation.Tx, userID, hash string) error {
	n, err := tx.Exec(ctx, `UPDATE people_user SET password = $1, state = 'active' WHERE id = $2 AND state IN ('invited', 'active')`, hash, userID)
	if err != nil {
		return fmt.Errorf("keep a password: %w", err)
	}
	if n == 0 {
		return console.ErrToken
	}
	if err := dropLinks(ctx, tx, userID); err != nil {
		return err
	}
	return endSessions(ctx, tx, userID)
}
