package people

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sakimori/base/relation"
	"sakimori/console"
)

// newLink makes the secret of a one-time link.
func (r *Register) newLink(userID string, lasts time.Duration) (l *console.Token, secret, sum string, err error) {
	if secret, sum, err = newSecret(); err != nil {
		return nil, "", "", err
	}
	l = &console.Token{UserID: userID, Created: r.clock.Now().UTC()}
	l.Expires = l.Created.Add(lasts)
	l.ID, err = newID()
	return l, secret, sum, err
}

func dropLinks(ctx context.Context, tx *relation.Tx, userID string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM people_secret WHERE user_id = $1 AND kind IN ('first', 'invite', 'reset')`, userID); err != nil {
		return fmt.Errorf("end older links: %w", err)
	}
	return nil
}

// FirstLink gives the link by which the first admin comes in, good for an hour, and
// ends earlier ones; "" when there is one.
func (r *Register) FirstLink(ctx context.Context) (secret string, err error) {
	l, secret, sum, err := r.newLink("", firstLasts)
	if err != nil {
		return "", err
	}
	there := false
	err = r.db.Tx(ctx, func(tx *relation.Tx) error {
		if there, err = ruled(ctx, tx); err != nil || there {
			return err
		}
		if err := dropLinks(ctx, tx, ""); err != nil {
			return err
		}
		return insert(ctx, tx, l, string(console.FirstAdmin), sum)
	})
	if err != nil || there {
		return "", err
	}
	return secret, nil
}

// opened is a link with its id and user.
type opened struct {
	console.Link

	id, userID string
	user       console.User
}

func (r *Register) open(ctx context.Context, secret string) (l opened, err error) {
	var kind string
	var expires int64
	err = r.db.QueryRow(ctx, `SELECT id, kind, user_id, expires FROM people_secret WHERE sum = $1 AND kind IN ('first', 'invite', 'reset')`, sumOf(secret)).
		Scan(&l.id, &kind, &l.userID, &expires)
	if errors.Is(err, sql.ErrNoRows) {
		return l, console.ErrToken
	}
	if err != nil {
		return l, fmt.Errorf("read a link: %w", err)
	}
	if l.Purpose, l.Expires = console.Purpose(kind), moment(expires); !r.clock.Now().Before(l.Expires) {
		return l, console.ErrToken
	}
	if l.userID == "" {
		return l, nil
	}
	if l.user, err = r.User(ctx, l.userID); err != nil {
		return l, err
	}
	l.Name = l.user.Name
	if s := l.user.State; s != console.Invited && s != console.Active {
		return l, console.ErrToken
	}
	return l, nil
}

// Open tells what a link is for. It doesn't spend it. The error is console.ErrToken
// for a link that isn't good, for whatever reason.
func (r *Register) Open(ctx context.Context, secret string) (console.Link, error) {
	l, err := r.open(ctx, secret)
	return l.Link, err
}

// Accept spends a link: the user chooses a password and is signed in. The first
// admin also chooses a name; other links have one.
func (r *Register) Accept(ctx context.Context, secret, name, password string, from netip.Addr) (u console.User, err error) {
	l, err := r.open(ctx, secret)
	if err != nil {
		return u, err
	}
	u = l.user
	if l.Purpose == console.FirstAdmin {
		u = console.User{Roles: console.Admin, State: console.Active, Created: r.clock.Now().UTC()}
		if u.Name, err = foldName(name); err != nil {
			return u, err
		}
		if u.ID, err = newID(); err != nil {
			return u, err
		}
	}
	hash, err := r.fresh(ctx, password, u.Name)
	if err != nil {
		return u, err
	}
	c := change{Action: "choose password", User: u.ID, Name: u.Name}
	if l.Purpose == console.FirstAdmin {
		c.Action, c.Roles = "make first admin", u.Roles
	}
	if err := r.changed(ctx, u.Name, c); err != nil {
		return u, err
	}
	u.State = console.Active
	return u, r.enter(ctx, u, "link", from, func(tx *relation.Tx) error {
		if err := spend(ctx, tx, l.id); err != nil {
			return err
		}
		if l.Purpose != console.FirstAdmin {
			return setPassword(ctx, tx, u.ID, hash)
		}
		if there, err := ruled(ctx, tx); err != nil || there {
			return errors.Join(err, console.ErrToken)
		}
		return create(ctx, tx, &u, hash)
	})
}
