package people

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sakimori/base/relation"
	"sakimori/console"
)

// Users lists all users but the removed, by name.
func (r *Register) Users(ctx context.Context) ([]console.User, error) {
	rows, err := r.db.Query(ctx, `SELECT `+userColumns+` FROM people_user WHERE state <> 'removed' ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("list the users: %w", err)
	}
	defer rows.Close()
	list := []console.User{}
	for rows.Next() {
		u, err := scanUser(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, u)
	}
	return list, rows.Err()
}

// User gives one user, or console.ErrNotFound.
func (r *Register) User(ctx context.Context, id string) (console.User, error) {
	return user(ctx, r.db, id)
}

func user(ctx context.Context, a relation.Asker, id string) (console.User, error) {
	return scanUser(a.QueryRow(ctx, `SELECT `+userColumns+` FROM people_user WHERE id = $1`, id))
}

// Anybody tells whether there is any user who could sign in.
func (r *Register) Anybody(ctx context.Context) (bool, error) {
	return some(ctx, r.db, `state <> 'removed'`)
}

// ruled tells whether there is an admin, or somebody invited to be one.
func ruled(ctx context.Context, a relation.Asker) (bool, error) {
	return some(ctx, a, `state <> 'removed' AND roles LIKE '%admin%'`)
}

func some(ctx context.Context, a relation.Asker, where string) (bool, error) {
	var n int64
	if err := a.QueryRow(ctx, `SELECT COUNT(*) FROM people_user WHERE `+where).Scan(&n); err != nil {
		return false, fmt.Errorf("count the users: %w", err)
	}
	return n > 0, nil
}

func create(ctx context.Context, tx *relation.Tx, u *console.User, password string) error {
	_, err := tx.Exec(ctx, `INSERT INTO people_user (id, name, roles, state, password, issuer, created, signed_in) VALUES ($1, $2, $3, $4, $5, $6, $7, 0)`,
		u.ID, u.Name, u.Roles.String(), string(u.State), password, u.Issuer, u.Created.UnixNano())
	if relation.Unique(err) {
		return console.Refuse("%s という利用者はすでにいます。", "There is a user called %s already.", u.Name)
	}
	if err != nil {
		return fmt.Errorf("keep a user: %w", err)
	}
	return nil
}

// invitationLasts and resetLasts are how long a link for a user is good.
const (
	invitationLasts = 72 * time.Hour
	resetLasts      = 24 * time.Hour
	firstLasts      = time.Hour
)

// Add invites a user. The secret of the link is given once.
func (r *Register) Add(ctx context.Context, by, name string, roles console.Roles) (u console.User, secret string, err error) {
	if u.Name, err = foldName(name); err != nil {
		return u, "", err
	}
	if u.ID, err = newID(); err != nil {
		return u, "", err
	}
	u.Roles, u.State, u.Created = roles, console.Invited, r.clock.Now().UTC()
	l, secret, sum, err := r.newLink(u.ID, invitationLasts)
	if err != nil {
		return u, "", err
	}
	if err := r.changed(ctx, by, change{Action: "add user", User: u.ID, Name: u.Name, Roles: roles}); err != nil {
		return u, "", err
	}
	err = r.db.Tx(ctx, func(tx *relation.Tx) error {
		if err := create(ctx, tx, &u, ""); err != nil {
			return err
		}
		return insert(ctx, tx, l, string(console.Invitation), sum)
	})
	return u, secret, err
}

// SetRoles gives a user other roles, and ends their sessions.
func (r *Register) SetRoles(ctx context.Context, by, id string, roles console.Roles) (console.User, error) {
	u, err := r.present(ctx, id)
	if err != nil {
		return u, err
	}
	if i := r.issuerOf(u.Issuer); i != nil && i.Groups != "" {
		return u, console.Refuse("この利用者の権限は、ログインのたびに %s のグループから決まります。そちらで変更してください。",
			"This user's roles come from the groups of %s at each sign-in: change them there.", i.Name)
	}
	return r.alter(ctx, by, change{Action: "set roles", User: u.ID, Name: u.Name, Roles: roles}, u, func(u *console.User) { u.Roles = roles })
}

// Lock keeps a user out, and ends their sessions; their API tokens don't work until
// Unlock.
func (r *Register) Lock(ctx context.Context, by, id string) (console.User, error) {
	u, err := r.present(ctx, id)
	if err != nil || u.State == console.Locked {
		return u, err
	}
	return r.alter(ctx, by, change{Action: "lock user", User: u.ID, Name: u.Name}, u, func(u *console.User) { u.State = console.Locked })
}

// Unlock lets a locked user in again. Who had no password yet is invited as before.
func (r *Register) Unlock(ctx context.Context, by, id string) (console.User, error) {
	u, err := r.present(ctx, id)
	if err != nil || u.State != console.Locked {
		return u, err
	}
	var password string
	if err := r.db.QueryRow(ctx, `SELECT password FROM people_user WHERE id = $1`, id).Scan(&password); err != nil {
		return u, fmt.Errorf("read a user: %w", err)
	}
	return r.alter(ctx, by, change{Action: "unlock user", User: u.ID, Name: u.Name}, u, func(u *console.User) {
		if u.State = console.Active; password == "" && u.Issuer == "" {
			u.State = console.Invited
		}
	})
}

// Remove ends a user for good, with all their sessions and tokens. The name is free
// again; who came by an issuer doesn't come back by it.
func (r *Register) Remove(ctx context.Context, by, id string) error {
	u, err := r.present(ctx, id)
	if err != nil {
		return err
	}
	_, err = r.alter(ctx, by, change{Action: "remove user", User: u.ID, Name: u.Name}, u, func(u *console.User) {
		u.State, u.Roles, u.Name = console.Removed, 0, u.Name+" ("+u.ID+")"
	})
	return err
}

// Reset gives a link by which a user chooses a new password. The old one is good
// until then.
func (r *Register) Reset(ctx context.Context, by, id string) (u console.User, secret string, err error) {
	if u, err = r.present(ctx, id); err != nil {
		return u, "", err
	}
	if u.State == console.Locked {
		return u, "", console.Refuse("%s はロックされています。先にロックを解除してください。", "%s is locked: unlock them first.", u.Name)
	}
	if u.Issuer != "" {
		return u, "", console.Refuse("%s は外部の認証でログインします。パスワードはありません。", "%s signs in with an issuer: there is no password here.", u.Name)
	}
	purpose, lasts := console.Reset, resetLasts
	if u.State == console.Invited {
		purpose, lasts = console.Invitation, invitationLasts
	}
	l, secret, sum, err := r.newLink(u.ID, lasts)
	if err != nil {
		return u, "", err
	}
	if err := r.changed(ctx, by, change{Action: "make link", User: u.ID, Name: u.Name}); err != nil {
		return u, "", err
	}
	return u, secret, r.db.Tx(ctx, func(tx *relation.Tx) error {
		if err := dropLinks(ctx, tx, u.ID); err != nil {
			return err
		}
		return insert(ctx, tx, l, string(purpose), sum)
	})
}

// present gives a user who wasn't removed.
func (r *Register) present(ctx context.Context, id string) (console.User, error) {
	u, err := r.User(ctx, id)
	if err == nil && u.State == console.Removed {
		err = console.ErrNotFound
	}
	return u, err
}

// errOvertaken is when a user isn't any more what was written down of them.
var errOvertaken = errors.New("somebody else changed this user at the same time: try again")

// alter has a change written down and makes it. The user's sessions end, and as
// long as there are users one is an admin who can sign in.
func (r *Register) alter(ctx context.Context, by string, c change, was console.User, do func(u *console.User)) (u console.User, err error) {
	next := was
	do(&next)
	if err := lastAdmin(ctx, r.db, &was, &next); err != nil {
		return was, err
	}
	if err := r.changed(ctx, by, c); err != nil {
		return was, err
	}
	return next, r.db.Tx(ctx, func(tx *relation.Tx) error {
		if err := tx.Lock(ctx, "people_user"); err != nil {
			return err
		}
		now, err := user(ctx, tx, was.ID)
		if err != nil {
			return err
		}
		if now.State != was.State || now.Roles != was.Roles {
			return errOvertaken
		}
		if err := lastAdmin(ctx, tx, &was, &next); err != nil {
			return err
		}
		return write(ctx, tx, &next)
	})
}

// write puts a changed user down and ends the sessions; of a removed one all else.
func write(ctx context.Context, tx *relation.Tx, u *console.User) error {
	if _, err := tx.Exec(ctx, `UPDATE people_user SET name = $1, roles = $2, state = $3 WHERE id = $4`, u.Name, u.Roles.String(), string(u.State), u.ID); err != nil {
		return fmt.Errorf("change a user: %w", err)
	}
	if u.State != console.Removed {
		return endSessions(ctx, tx, u.ID)
	}
	for _, q := range []string{
		`DELETE FROM people_secret WHERE user_id = $1`, `DELETE FROM people_seen WHERE user_id = $1`, `UPDATE people_user SET password = '' WHERE id = $1`,
	} {
		if _, err := tx.Exec(ctx, q, u.ID); err != nil {
			return fmt.Errorf("remove a user: %w", err)
		}
	}
	return nil
}

func endSessions(ctx context.Context, tx *relation.Tx, userID string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM people_secret WHERE user_id = $1 AND kind = 'session'`, userID); err != nil {
		return fmt.Errorf("end the sessions: %w", err)
	}
	return nil
}

// lastAdmin refuses a change after which nobody could change anything here.
func lastAdmin(ctx context.Context, a relation.Asker, was, next *console.User) error {
	admin := func(u *console.User) bool { return u.State == console.Active && u.Roles.Any(console.Admin) }
	if !admin(was) || admin(next) {
		return nil
	}
	rows, err := a.Query(ctx, `SELECT `+userColumns+` FROM people_user WHERE state = 'active' AND id <> $1`, was.ID)
	if err != nil {
		return fmt.Errorf("look for another admin: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if u, err := scanUser(rows); err != nil || admin(&u) {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return console.Refuse("%s は最後の管理者です。先に別の利用者を管理者にしてください。", "%s is the last admin: make somebody else one first.", was.Name)
}
