package api

import (
	"context"
	"errors"
	"io"
	"time"

	"sakimori/detect"
)

// CNC is the house's list of C&C servers, through its whole life. Methods return
// ErrNotFound for what isn't there, a Refusal for what can't be done, ErrOwnReview where
// somebody would be both of two people, and a *Protected for what is never listed.
type CNC interface {
	// Page is a part of the entries that match; next is what the page after it takes as
	// After, "" on the last.
	Page(ctx context.Context, q CNCQuery) (list []CNCEntry, total Count, next string, err error)
	// Queue is what waits for a person's verdict, the most urgent first.
	Queue(ctx context.Context, limit int, after string) (list []CNCWaiting, total Count, next string, err error)
	Summary(ctx context.Context) (CNCSummary, error)
	File(ctx context.Context, id string) (CNCFile, error)
	// Why tells how a name stood at a time, on what, and for how long.
	Why(ctx context.Context, name string, at time.Time) (CNCAccount, error)

	Add(ctx context.Context, o CNCOrder) (CNCEntry, error)
	Review(ctx context.Context, id, verdict, who, why string) (CNCEntry, error)
	Withdraw(ctx context.Context, id, who, why string) (CNCEntry, error)
	Renew(ctx context.Context, id string, until time.Time, who, why string) (CNCEntry, error)
	Sinkhole(ctx context.Context, id string, sinkholed bool, who, why string) (CNCEntry, error)
	// Release lets a change of a feed through that the circuit breaker holds; Refuse drops it.
	Release(ctx context.Context, id, who, why string) (CNCHeld, error)
	Refuse(ctx context.Context, id, who, why string) (CNCHeld, error)

	Import(ctx context.Context, r io.Reader, o CNCSheet, who string) (CNCImport, error)
	// Export makes a file, or with a version gives one that was made, after an entry of
	// the ledger that says so.
	Export(ctx context.Context, format string, version uint64, who string) (CNCExported, error)
	Exports(ctx context.Context) ([]CNCExport, error)
}

// ErrOwnReview is what a port returns for a verdict of who gave one before, or who asked
// for the entry.
var ErrOwnReview = errors.New("the same person would be both of two")

// Protected is the error of a port for what is never listed.
type Protected struct {
	Name string `json:"name" doc:"that is protected: what was asked for, or a name above or below it"`
	List string `json:"list" doc:"that protects it"`
}

// Error says both.
func (p *Protected) Error() string { return p.Name + " is protected by " + p.List }

// Count is how many there are. Where it isn't exact there are at least so many.
type Count struct {
	Count int  `json:"count"`
	Exact bool `json:"exact" doc:"false: at least so many"`
}

// CNCQuery selects entries; zero fields select everything.
type CNCQuery struct {
	States []string
	Kind   string
	Family string
	Source string
	Text   string // that the value begins with
	Order  string // score, age, hits, name
	Limit  int
	After  string
}

var cncStates = []string{"candidate", "enriched", "scored", "reviewed", "shadow", "enforced", "expired", "withdrawn", "archived", "held"}

// CNCSource is what one source says of an entry.
type CNCSource struct {
	Source     string     `json:"source"`
	Evidence   string     `json:"evidence" doc:"where the source explains it; empty: it doesn't"`
	Confidence float64    `json:"confidence" doc:"0 to 1, as it counts now"`
	First      *time.Time `json:"first" doc:"seen by the source; null: not told"`
	Last       *time.Time `json:"last"`
	Until      *time.Time `json:"until" doc:"the source's own end"`
	Gone       bool       `json:"gone" doc:"the source lists it no more"`
}

// CNCVerdict is one person's on an entry.
type CNCVerdict struct {
	Who     string    `json:"who"`
	At      time.Time `json:"at"`
	Verdict string    `json:"verdict" enum:"yes,no"`
	Why     string    `json:"why"`
}

// CNCEntry is one C&C server of the list.
type CNCEntry struct {
	ID         string       `json:"id"`
	Kind       string       `json:"kind" enum:"name,host,address,endpoint,prefix,url"`
	Value      string       `json:"value" doc:"in its normal form"`
	Port       uint16       `json:"port" doc:"of an endpoint; 0 none"`
	Role       string       `json:"role" enum:"c2,distribution,phishing,scanner,other"`
	Family     string       `json:"family" doc:"of the malware; empty: not known"`
	State      string       `json:"state" enum:"candidate,enriched,scored,reviewed,shadow,enforced,expired,withdrawn,archived,held"`
	Words      detect.Text  `json:"words" doc:"what the state means, and what is awaited"`
	Score      float64      `json:"score" doc:"0 to 1, now"`
	FirstSeen  *time.Time   `json:"first_seen"`
	LastSeen   *time.Time   `json:"last_seen"`
	Opened     time.Time    `json:"opened"`
	Changed    time.Time    `json:"changed"`
	Expires    *time.Time   `json:"expires" doc:"null: it isn't in force and never was"`
	Sinkholed  bool         `json:"sinkholed" doc:"defenders have it: it is detected and no longer blocked"`
	Emergency  bool         `json:"emergency" doc:"by the quick lane"`
	Sources    []CNCSource  `json:"sources" nullable:"false"`
	NeedsTwo   *detect.Text `json:"needs_two" doc:"why two people decide; null: one is enough"`
	Reviews    []CNCVerdict `json:"reviews" nullable:"false"`
	HitsDay    uint64       `json:"hits_day" doc:"requests for it today (UTC), blocked or not"`
	HitsTotal  uint64       `json:"hits_total"`
	WouldDay   uint64       `json:"would_day" doc:"that would have been blocked, had it been in force"`
	WouldTotal uint64       `json:"would_total"`
	BlocksDay  uint64       `json:"blocks_day"`
	Reason     *detect.Text `json:"reason" doc:"why it was withdrawn, is held or waits"`
}

// CNCEvent is a step of an entry's life.
type CNCEvent struct {
	At    time.Time   `json:"at"`
	Who   string      `json:"who"`
	What  string      `json:"what"`
	Words detect.Text `json:"words"`
	Why   string      `json:"why"`
}

// CNCTerm is one summand of a score.
type CNCTerm struct {
	Term  string      `json:"term"`
	Words detect.Text `json:"words"`
	Value float64     `json:"value"`
}

// CNCBlast is what blocking an entry would touch, from counts in which nobody is.
type CNCBlast struct {
	ClientsDay uint64   `json:"clients_day" doc:"consenting clients a day that would lose it, rounded by a sketch; 0 when below the floor"`
	Floor      uint64   `json:"floor" doc:"fewer than so many aren't told"`
	BelowFloor bool     `json:"below_floor"`
	Error      float64  `json:"error" doc:"relative standard error"`
	Beside     []string `json:"beside" nullable:"false" doc:"what else lives there"`
}

// CNCPublished is an entry's way through the policy zones.
type CNCPublished struct {
	Zone   string    `json:"zone"`
	Serial uint32    `json:"serial"`
	At     time.Time `json:"at"`
	In     bool      `json:"in" doc:"it came in; false: it went out"`
}

// CNCHas is whether a resolver has something.
type CNCHas struct {
	Name   string `json:"name"`
	Serial uint32 `json:"serial" doc:"0 not known"`
	Has    *bool  `json:"has" doc:"null: not known"`
}

// CNCFile is an entry with all that belongs to it.
type CNCFile struct {
	Entry     CNCEntry       `json:"entry"`
	History   []CNCEvent     `json:"history" nullable:"false"`
	Explain   []CNCTerm      `json:"explain" nullable:"false" doc:"of what the score is made"`
	Blast     *CNCBlast      `json:"blast" doc:"null: nothing is counted of it"`
	Published []CNCPublished `json:"published" nullable:"false"`
	Resolvers []CNCHas       `json:"resolvers" nullable:"false"`
}

// CNCWaiting is an entry that waits for a verdict.
type CNCWaiting struct {
	CNCEntry

	Blast *CNCBlast `json:"blast" doc:"null: nothing is counted of it"`
}

// CNCFamily is what the list has of one family.
type CNCFamily struct {
	Name      string `json:"name" doc:"empty: not known"`
	Count     int    `json:"count"`
	Enforced  int    `json:"enforced"`
	BlocksDay uint64 `json:"blocks_day"`
}

// CNCFeed is a source of the list, and how it does.
type CNCFeed struct {
	Source       string       `json:"source"`
	Kind         string       `json:"kind" doc:"how it is read"`
	Words        detect.Text  `json:"words"`
	LastTry      *time.Time   `json:"last_try"`
	LastSuccess  *time.Time   `json:"last_success"`
	LastChange   *time.Time   `json:"last_change"`
	Stale        bool         `json:"stale" doc:"no success for longer than it should be"`
	Error        *detect.Text `json:"error"`
	Read         uint64       `json:"read" doc:"the last time"`
	Accepted     uint64       `json:"accepted"`
	Rejected     uint64       `json:"rejected"`
	Listed       int          `json:"listed" doc:"entries that rest on it"`
	Enforced     int          `json:"enforced"`
	Trust        float64      `json:"trust" doc:"0 to 1"`
	HalfLifeDays float64      `json:"half_life_days" doc:"in which its word counts half; 0 it doesn't fade"`
}

// CNCHeld is a change of a feed that waits for a person.
type CNCHeld struct {
	ID      string      `json:"id"`
	Source  string      `json:"source"`
	At      time.Time   `json:"at"`
	Why     detect.Text `json:"why"`
	State   string      `json:"state" enum:"waiting,released,refused,superseded" doc:"superseded: a later reading of the source took its place"`
	Size    int         `json:"size"`
	Before  int         `json:"before"`
	Added   int         `json:"added"`
	Removed int         `json:"removed"`
}

// CNCSummary is how the list does.
type CNCSummary struct {
	States       []StateCount `json:"states" nullable:"false" doc:"all of them, in the order of an entry's life"`
	Families     []CNCFamily  `json:"families" nullable:"false"`
	Sources      []CNCFeed    `json:"sources" nullable:"false"`
	Held         []CNCHeld    `json:"held" nullable:"false" doc:"that wait"`
	Review       int          `json:"review" doc:"entries that wait for a verdict"`
	Shadow       int          `json:"shadow"`
	Enforced     int          `json:"enforced"`
	ExpiringWeek int          `json:"expiring_7d" doc:"in force, and ending within a week"`
	Protected    CNCGuarded   `json:"protected"`
}

// CNCGuarded is what is never listed.
type CNCGuarded struct {
	Lists int `json:"lists"`
	Names int `json:"names"`
}

// CNCBasis is the ground that a publication or a file stands on.
type CNCBasis struct {
	Grant  string      `json:"grant"`
	Rule   string      `json:"rule"`
	Title  detect.Text `json:"title"`
	Source string      `json:"source" doc:"of the rule"`
	Until  *time.Time  `json:"until"`
}

// CNCProbe is the proof of one moment.
type CNCProbe struct {
	At time.Time `json:"at"`
	OK bool      `json:"ok"`
}

// CNCThen is how a resolver stood.
type CNCThen struct {
	Name   string    `json:"name"`
	Serial uint32    `json:"serial" doc:"0 not known"`
	Had    *bool     `json:"had" doc:"null: not known"`
	Canary *CNCProbe `json:"canary" doc:"the nearest one before; null: none"`
}

// CNCAccount is how a name stood at a time.
type CNCAccount struct {
	Name      string      `json:"name"`
	At        time.Time   `json:"at"`
	InForce   bool        `json:"in_force"`
	Entry     *CNCEntry   `json:"entry" doc:"null: no entry speaks of it"`
	Matched   string      `json:"matched" doc:"the value of the entry under which it falls"`
	Zone      string      `json:"zone"`
	Serial    uint32      `json:"serial"`
	Rule      string      `json:"rule" doc:"of the zone, as a resolver has it"`
	Action    string      `json:"action"`
	Basis     *CNCBasis   `json:"basis" doc:"null: it wasn't published"`
	Who       string      `json:"who"`
	Why       string      `json:"why"`
	Evidence  []CNCSource `json:"evidence" nullable:"false" doc:"as the sources stood then"`
	Said      detect.Text `json:"said" doc:"to be read aloud"`
	Resolvers []CNCThen   `json:"resolvers" nullable:"false"`
	History   []CNCEvent  `json:"history" nullable:"false"`
}

// CNCOrder is an entry that a person adds.
type CNCOrder struct {
	Kind, Value, Family, Evidence, Why, Who string
	Expires                                 time.Time
	Emergency                               bool
}
