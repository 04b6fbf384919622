package api

import "fmt"

// Role is what somebody may do. Each role may do what those below it may.
type Role uint8

// The roles. Wall is a screen that anybody may walk past: it reads, and every
// address is masked for it.
const (
	Public   Role = iota // nobody in particular
	Wall                 // reads figures, no address at all
	Viewer               // reads
	Operator             // acknowledges, imports
	Admin                // everything
)

var roleNames = [...]string{"public", "wall", "viewer", "operator", "admin"}

// String is the role in the words of the API.
func (r Role) String() string {
	if int(r) >= len(roleNames) {
		return fmt.Sprintf("role(%d)", uint8(r))
	}
	return roleNames[r]
}

// ParseRole reads what String writes, except public, which is no role to give.
func ParseRole(s string) (Role, error) {
	for i, n := range roleNames {
		if n == s && i > 0 {
			return Role(i), nil
		}
	}
	return Public, fmt.Errorf("%q is no role: use one of %v", s, roleNames[1:])
}

// permissions lists every route with the least role that may use it. A route
// that isn't here is refused to everybody, and fails the tests.
var permissions = map[string]Role{
	"GET /livez":      Public,
	"GET /readyz":     Public,
	"GET /version":    Public,
	"POST /session":   Public,
	"GET /session":    Wall,
	"DELETE /session": Wall,
	"/":               Public, // the pages, and the exchange of a one-time token
	"/api/":           Public, // only says that there is nothing

	"GET /api/v1/openapi.yaml":       Wall,
	"GET /api/v1/status":             Wall,
	"GET /api/v1/situation":          Wall,
	"GET /api/v1/stream":             Wall,
	"GET /api/v1/telescope/series":   Wall,
	"GET /api/v1/telescope/top":      Wall,
	"GET /api/v1/telescope/rising":   Wall,
	"GET /api/v1/telescope/heat":     Wall,
	"GET /api/v1/telescope/years":    Wall,
	"GET /api/v1/telescope/events":   Viewer,
	"GET /api/v1/address/{ip}":       Viewer,
	"GET /api/v1/findings":           Viewer,
	"GET /api/v1/findings/{id}":      Viewer,
	"POST /api/v1/findings/{id}/ack": Operator,
	"GET /api/v1/jobs":               Viewer,
	"POST /api/v1/imports":           Operator,
	"POST /api/v1/imports/path":      Admin, // and from this machine only
	"POST /api/v1/jobs/{id}/stop":    Operator,
	"POST /api/v1/jobs/{id}/resume":  Operator,
}
