package console

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Roles is a set of roles: what somebody holds, or who may do something. Who
// holds one of those that may, may.
type Roles uint16

// The roles. A wall sees less than a viewer, a viewer reads what the four desks
// work with, and admin may do all of that; personal data take a Grant whatever
// the role. Public and Known aren't given to anybody: every request has the one,
// and every request of somebody who has signed in the other.
const (
	Public   Roles = 1 << iota // nobody in particular
	Known                      // a token or a session, perhaps without a role yet
	Person                     // the session of a user who has signed in, and no token
	Wall                       // a screen that anybody may walk past: figures, no address at all
	Viewer                     // reads
	Operator                   // the watch: acknowledges, imports
	Abuse                      // the abuse desk: infected subscribers, notices
	Network                    // network engineers: routes, mitigation
	Legal                      // bases, reports, the ledger
	Admin                      // users, tokens, settings, and everything above
)

// The sets of which the tables of who may are made.
const (
	Staff    = Operator | Abuse | Network | Legal | Admin
	Readers  = Viewer | Staff
	Everyone = Wall | Readers
)

var roleNames = [...]string{"public", "known", "person", "wall", "viewer", "operator", "abuse", "network", "legal", "admin"}

// Given are the names of the roles that can be given to somebody.
var Given = roleNames[3:]

// Any tells whether the two sets have a role in common.
func (r Roles) Any(of Roles) bool { return r&of != 0 }

// Words are the names in the set, in the order of the roles; never nil.
func (r Roles) Words() []string {
	words := []string{}
	for i, n := range roleNames {
		if r&(1<<i) != 0 {
			words = append(words, n)
		}
	}
	return words
}

// String is the words with commas between.
func (r Roles) String() string { return strings.Join(r.Words(), ",") }

// MarshalJSON writes the list of words.
func (r Roles) MarshalJSON() ([]byte, error) { return json.Marshal(r.Words()) }

// ParseRoles reads names of roles that can be given.
func ParseRoles(words ...string) (r Roles, err error) {
	for _, w := range words {
		i := slices.Index(Given, strings.ToLower(strings.TrimSpace(w)))
		if i < 0 {
			return 0, fmt.Errorf("%q is no role: use some of %s", w, strings.Join(Given, ", "))
		}
		r |= Wall << i
	}
	return r, nil
}
