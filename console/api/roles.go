package api

import "sakimori/console"

// Who may, as sets: who holds one of the roles in a set may.
const (
	anybody   = console.Public   // signed in or not
	signedIn  = console.Known    // whoever it is, even without a role yet
	person    = console.Person   // who acts on their own account
	everyone  = console.Everyone // a wall, too
	readers   = console.Readers  // not a wall
	operators = console.Operator | console.Admin
	admins    = console.Admin

	deskReaders = console.Operator | console.Abuse | console.Legal | console.Admin
	desks       = console.Abuse | console.Admin                 // who deal with subscribers
	lawyers     = console.Legal | console.Admin                 // who decide on grants, and read the whole ledger
	askers      = console.Abuse | console.Legal | console.Admin // who may ask the gate
	importers   = console.Operator | console.Abuse | console.Admin

	listReaders = deskReaders | console.Network                      // the list, the zones and their proof: of nobody
	engineers   = console.Operator | console.Network | console.Admin // who publish to the resolvers
	brakes      = engineers | console.Legal                          // who may stop it, and let it go on
	defenders   = brakes                                             // who see which own address is attacked
)

// permissions lists every route with who may use it. A route that isn't here is
// refused to everybody, and fails the tests. What a route shows of a person takes
// a Grant besides, whoever asks.
var permissions = map[string]console.Roles{
	"GET /livez":      anybody,
	"GET /readyz":     anybody,
	"GET /version":    anybody,
	"POST /session":   anybody,
	"GET /session":    signedIn,
	"DELETE /session": signedIn,
	"/":               anybody, // the pages, and the exchange of a one-time token
	"/api/":           anybody, // only says that there is nothing

	"GET /signin":                 anybody,
	"POST /signin/link":           anybody,
	"POST /signin/link/accept":    anybody,
	"GET /signin/{issuer}/start":  anybody,
	"GET /signin/{issuer}/return": anybody,

	"GET /api/v1/account":                  person,
	"POST /api/v1/account/password":        person,
	"GET /api/v1/account/sessions":         person,
	"DELETE /api/v1/account/sessions/{id}": person,
	"GET /api/v1/account/tokens":           person,
	"POST /api/v1/account/tokens":          person,
	"DELETE /api/v1/account/tokens/{id}":   person,

	"GET /api/v1/users":              admins,
	"POST /api/v1/users":             admins,
	"DELETE /api/v1/users/{id}":      admins,
	"POST /api/v1/users/{id}/roles":  admins,
	"POST /api/v1/users/{id}/lock":   admins,
	"POST /api/v1/users/{id}/unlock": admins,
	"POST /api/v1/users/{id}/reset":  admins,
	"GET /api/v1/tokens":             admins,
	"POST /api/v1/tokens":            admins,
	"DELETE /api/v1/tokens/{id}":     admins,

	"GET /api/v1/notices":                deskReaders,
	"GET /api/v1/notices/channels":       deskReaders,
	"GET /api/v1/notices/{id}":           deskReaders,
	"GET /api/v1/notices/{id}/preview":   deskReaders,
	"POST /api/v1/notices/{id}/preview":  desks, // with a grant
	"POST /api/v1/notices/{id}/approve":  desks,
	"POST /api/v1/notices/{id}/withdraw": desks,
	"POST /api/v1/notices/{id}/resolve":  desks,
	"POST /api/v1/notices/{id}/confirm":  desks,
	"POST /api/v1/notices/letters":       desks,
	"POST /api/v1/cases/{id}/notices":    desks,

	"GET /api/v1/cases":                 deskReaders,
	"GET /api/v1/cases/summary":         deskReaders,
	"GET /api/v1/cases/{id}":            deskReaders,
	"GET /api/v1/signs/nobody":          deskReaders,
	"GET /api/v1/cases/bulk":            deskReaders,
	"POST /api/v1/cases/bulk":           desks,
	"POST /api/v1/cases/bulk/{id}/stop": desks,
	"POST /api/v1/cases/{id}/move":      desks,
	"POST /api/v1/cases/{id}/assign":    desks,
	"POST /api/v1/cases/{id}/note":      desks,
	"POST /api/v1/cases/{id}/hold":      desks,
	"POST /api/v1/cases/{id}/merge":     desks,
	"POST /api/v1/reports":              importers,
	"POST /api/v1/subscriber/records":   desks,

	"GET /api/v1/cnc":                        listReaders,
	"GET /api/v1/cnc/summary":                listReaders,
	"GET /api/v1/cnc/review":                 listReaders,
	"GET /api/v1/cnc/why":                    listReaders,
	"GET /api/v1/cnc/{id}":                   listReaders,
	"POST /api/v1/cnc":                       desks,
	"POST /api/v1/cnc/{id}/review":           desks, // and a person, not the one before
	"POST /api/v1/cnc/{id}/withdraw":         desks,
	"POST /api/v1/cnc/{id}/renew":            desks,
	"POST /api/v1/cnc/{id}/sinkhole":         desks,
	"POST /api/v1/cnc/held/{id}/release":     desks,
	"POST /api/v1/cnc/held/{id}/refuse":      desks,
	"POST /api/v1/cnc/import":                importers,
	"GET /api/v1/cnc/exports":                deskReaders,
	"GET /api/v1/cnc/export":                 deskReaders, // an entry of the ledger is written first
	"GET /api/v1/rpz":                        listReaders,
	"GET /api/v1/rpz/resolvers":              listReaders,
	"GET /api/v1/rpz/proofs":                 listReaders,
	"GET /api/v1/rpz/zones/{zone}/serials":   listReaders,
	"GET /api/v1/rpz/zones/{zone}/diff":      listReaders,
	"POST /api/v1/rpz/zones/{zone}/publish":  engineers,
	"POST /api/v1/rpz/zones/{zone}/rollback": engineers,
	"POST /api/v1/rpz/zones/{zone}/pause":    brakes,
	"POST /api/v1/rpz/zones/{zone}/resume":   brakes, // and a person
	"GET /api/v1/rpz/config/{vendor}":        engineers,
	"POST /api/v1/rpz/canary":                engineers,
	"GET /api/v1/dns/blocks":                 listReaders,
	"GET /api/v1/choice":                     desks,
	"POST /api/v1/choice/look":               desks,
	"POST /api/v1/choice/{subject}":          desks,

	"POST /api/v1/who":                        deskReaders, // with a grant: askers
	"POST /api/v1/cases/{id}/identity":        askers,
	"POST /api/v1/cases/{id}/ask":             askers,
	"GET /api/v1/lawful/rules":                deskReaders,
	"POST /api/v1/lawful/ask":                 askers,
	"GET /api/v1/lawful/grants":               deskReaders,
	"POST /api/v1/lawful/grants/{id}/approve": lawyers, // and a person, not the one who asked
	"POST /api/v1/lawful/grants/{id}/decline": lawyers,
	"POST /api/v1/lawful/grants/{id}/revoke":  lawyers,
	"GET /api/v1/lawful/consents":             deskReaders,
	"GET /api/v1/ledger":                      deskReaders,
	"GET /api/v1/ledger/summary":              lawyers,
	"POST /api/v1/ledger/verify":              lawyers,
	"GET /api/v1/ledger/export":               lawyers,

	"GET /api/v1/routes/incidents":                everyone,
	"GET /api/v1/routes/incidents/{id}":           readers,
	"GET /api/v1/routes/incidents/{id}/prefixes":  readers,
	"GET /api/v1/routes/incidents/{id}/course":    readers,
	"GET /api/v1/routes/incidents/{id}/lanes":     readers,
	"GET /api/v1/routes/incidents/{id}/impact":    readers,
	"GET /api/v1/routes/incidents/{id}/remedies":  readers,
	"POST /api/v1/routes/incidents/{id}/announce": engineers,
	"POST /api/v1/routes/acts/{id}/approve":       engineers,
	"POST /api/v1/routes/acts/{id}/reject":        engineers,
	"POST /api/v1/routes/acts/{id}/withdraw":      brakes,
	"GET /api/v1/routes/watched":                  readers,
	"GET /api/v1/routes/neighbors":                readers,
	"GET /api/v1/routes/feeds":                    readers,
	"GET /api/v1/routes/show":                     readers,
	"GET /api/v1/routes/readiness":                readers,
	"POST /api/v1/routes/drill":                   engineers,
	"GET /api/v1/routes/drill/{id}":               readers,

	"GET /api/v1/attacks":                    everyone, // a wall sees no address at all
	"GET /api/v1/attacks/{id}":               readers,  // written down; addresses to defenders alone
	"GET /api/v1/attacks/{id}/course":        readers,
	"GET /api/v1/attacks/{id}/sources":       readers,
	"POST /api/v1/attacks/{id}/plan":         engineers,
	"POST /api/v1/attacks/{id}/propose":      engineers,
	"GET /api/v1/mitigations":                readers,
	"GET /api/v1/mitigations/{id}":           readers,
	"POST /api/v1/mitigations/{id}/approve":  engineers, // and a person, not the one before
	"POST /api/v1/mitigations/{id}/reject":   engineers, // and a person
	"POST /api/v1/mitigations/{id}/withdraw": brakes,
	"POST /api/v1/replay":                    engineers,
	"GET /api/v1/replay/{id}":                engineers,

	"GET /api/v1/openapi.yaml":       everyone,
	"GET /api/v1/status":             everyone,
	"GET /api/v1/situation":          everyone,
	"GET /api/v1/stream":             everyone,
	"GET /api/v1/telescope/series":   everyone,
	"GET /api/v1/telescope/top":      everyone,
	"GET /api/v1/telescope/rising":   everyone,
	"GET /api/v1/telescope/heat":     everyone,
	"GET /api/v1/telescope/years":    everyone,
	"GET /api/v1/telescope/events":   readers,
	"GET /api/v1/flows/top":          everyone,
	"GET /api/v1/flows/series":       everyone,
	"GET /api/v1/flows/talkers":      readers,
	"GET /api/v1/flows/search":       readers,
	"GET /api/v1/exporters":          readers,
	"GET /api/v1/address/{ip}":       readers,
	"GET /api/v1/findings":           readers,
	"GET /api/v1/findings/{id}":      readers,
	"POST /api/v1/findings/{id}/ack": operators,
	"GET /api/v1/jobs":               readers,
	"POST /api/v1/imports":           operators,
	"POST /api/v1/imports/path":      admins, // and from this machine only
	"POST /api/v1/jobs/{id}/stop":    operators,
	"POST /api/v1/jobs/{id}/resume":  operators,
}
