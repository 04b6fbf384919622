package api

import (
	"context"
	"strconv"
	"strings"
	"time"

	"sakimori/detect"
)

// Routes are what is seen of routes now, and was seen.
type Routes interface {
	// Newest is the time of the newest route, nil when none came, and how many feeds there are.
	Newest() (at *time.Time, feeds int)
	Watched(ctx context.Context) ([]WatchedPrefix, error)
	Neighbors(ctx context.Context) ([]RouteNeighbor, error)
	Feeds(ctx context.Context) (RouteFeeds, error)
	// Show tells who sees which way to a prefix; zero at: now.
	Show(ctx context.Context, prefix string, at time.Time) (RouteShown, error)
	Readiness(ctx context.Context) (RouteReadiness, error)
	// Drill begins the replay of an incident against a policy (YAML; "": the configured one).
	Drill(ctx context.Context, scene, policy, by string) (RouteDrill, error)
	Drilled(ctx context.Context, id string) (RouteDrill, error)
}

// WatchedPrefix is own space and how the world sees it.
type WatchedPrefix struct {
	Prefix        string          `json:"prefix"`
	Name          string          `json:"name"`
	Origins       []uint32        `json:"origins" nullable:"false"`
	State         string          `json:"state" enum:"ok,changed,invisible,unknown"`
	Words         detect.Text     `json:"words"`
	Seen          int             `json:"seen"`
	Whole         int             `json:"whole" doc:"peers with a whole table"`
	Upstreams     []RouteUpstream `json:"upstreams" nullable:"false" doc:"by share of the peers"`
	ROV           string          `json:"rov" enum:"unknown,not-found,valid,invalid,invalid-length"`
	ASPA          string          `json:"aspa" enum:"none,unknown,valid,invalid"`
	Longest       int             `json:"longest" doc:"of the prefixes seen inside it; 0: none"`
	MoreSpecifics int             `json:"more_specifics"`
	Incident      *string         `json:"incident"`
	LastChange    *time.Time      `json:"last_change"`
}

// RouteUpstream is who passes own space on.
type RouteUpstream struct {
	AS    uint32     `json:"as"`
	Name  string     `json:"name"`
	Share float64    `json:"share" doc:"of the peers that see it"`
	First *time.Time `json:"first" doc:"when it was first seen there; null: not known"`
}

// RouteCount is a number of routes by family.
type RouteCount struct {
	V4 int `json:"v4"`
	V6 int `json:"v6"`
}

// RouteNeighbor is a session and who is at its other end.
type RouteNeighbor struct {
	AS             uint32        `json:"as"`
	Name           string        `json:"name"`
	Relation       string        `json:"relation" enum:"provider,customer,peer,sibling,unknown"`
	RelationSource string        `json:"relation_source" enum:",config,file,learnt"`
	Score          float64       `json:"score" doc:"how sure the relation is, 0 to 1"`
	Address        string        `json:"address"`
	Feed           string        `json:"feed"`
	View           string        `json:"view"`
	Up             bool          `json:"up"`
	Since          *time.Time    `json:"since"`
	Last           *time.Time    `json:"last"`
	Prefixes       RouteCount    `json:"prefixes"`
	Maximum        *RouteCount   `json:"maximum30d" doc:"null: not known yet"`
	MaxPrefix      RouteCount    `json:"max_prefix" doc:"proposed limit; 0: not known"`
	UpdatesS       float64       `json:"updates_s"`
	Resets         uint64        `json:"resets"`
	Transit        *bool         `json:"transit" doc:"it passes others' routes on; null: not known"`
	Incident       *string       `json:"incident"`
	OTC            RouteOTCState `json:"otc"`
}

// RouteOTCState is whether a session marks routes by RFC 9234.
type RouteOTCState struct {
	Role  *string     `json:"role" doc:"of the neighbour; null: none was agreed"`
	Words detect.Text `json:"words"`
}

// RouteFeeds are the sources of routes and of what routes are judged by.
type RouteFeeds struct {
	Feeds     []RouteFeed    `json:"feeds" nullable:"false"`
	RPKI      RouteRPKI      `json:"rpki"`
	Relations RouteRelations `json:"relations"`
	Table     RouteMemory    `json:"table"`
}

// RouteFeed is one source of routes.
type RouteFeed struct {
	Name      string           `json:"name"`
	Kind      string           `json:"kind" enum:"bmp,bgp,ris-live,file,sample"`
	Address   string           `json:"address"`
	State     string           `json:"state" enum:"ok,stale,down,faulty,refused"`
	Words     detect.Text      `json:"words"`
	Advice    []detect.Text    `json:"advice" nullable:"false"`
	Since     *time.Time       `json:"since"`
	Last      *time.Time       `json:"last"`
	Peers     int              `json:"peers"`
	Whole     int              `json:"whole"`
	Routes    int              `json:"routes"`
	Messages  uint64           `json:"messages"`
	Elements  uint64           `json:"elements"`
	Malformed []MalformedCount `json:"malformed" nullable:"false"`
	Dropped   uint64           `json:"dropped"`
	DelayMS   *float64         `json:"delay_ms"`
	SkewMS    *float64         `json:"skew_ms"`
	Resets    uint64           `json:"resets"`
	PeersList []RouteFeedPeer  `json:"peers_list" nullable:"false"`
}

// RouteFeedPeer is a peer that a feed tells of.
type RouteFeedPeer struct {
	AS       uint32  `json:"as"`
	Address  string  `json:"address"`
	View     string  `json:"view"`
	Up       bool    `json:"up"`
	Routes   int     `json:"routes"`
	Elements uint64  `json:"elements"`
	Weight   float64 `json:"weight" doc:"how far it is believed, 0 to 1"`
	Damped   bool    `json:"damped"`
}

// RouteRPKI is what is known of who may announce what.
type RouteRPKI struct {
	Sources []RouteRPKISource `json:"sources" nullable:"false"`
	VRPs    int               `json:"vrps"`
	ASPAs   int               `json:"aspas"`
}

// RouteRPKISource is a cache or file of validated payloads.
type RouteRPKISource struct {
	Name      string       `json:"name"`
	Kind      string       `json:"kind" enum:"rtr,json,csv"`
	State     string       `json:"state" enum:"ok,stale,down,faulty"`
	Words     detect.Text  `json:"words"`
	Version   *int         `json:"version" doc:"of RTR"`
	Serial    *uint32      `json:"serial"`
	VRPs      int          `json:"vrps"`
	ASPAs     int          `json:"aspas"`
	Refreshed *time.Time   `json:"refreshed"`
	Expires   *time.Time   `json:"expires"`
	Error     *detect.Text `json:"error"`
}

// RouteRelations is where relations of ASes come from.
type RouteRelations struct {
	File   *string    `json:"file"`
	Links  int        `json:"links"`
	Learnt int        `json:"learnt"`
	Dated  *time.Time `json:"dated"`
}

// RouteMemory is how large the table of routes is.
type RouteMemory struct {
	Prefixes   int     `json:"prefixes"`
	Routes     int     `json:"routes"`
	Paths      int     `json:"paths"`
	Bytes      uint64  `json:"bytes"`
	BytesRoute float64 `json:"bytes_route"`
}

// RouteSeen is one way to a prefix.
type RouteSeen struct {
	Prefix      string     `json:"prefix" doc:"that matched"`
	Match       string     `json:"match" enum:"exact,cover,inside"`
	PeerAS      uint32     `json:"peer_as"`
	Peer        string     `json:"peer"`
	Feed        string     `json:"feed"`
	View        string     `json:"view"`
	Path        []uint32   `json:"path" nullable:"false"`
	Origin      uint32     `json:"origin"`
	ROV         string     `json:"rov"`
	ASPA        string     `json:"aspa"`
	Communities []string   `json:"communities" nullable:"false"`
	OTC         *uint32    `json:"otc"`
	Since       *time.Time `json:"since"`
	Usual       *bool      `json:"usual" doc:"it is the usual origin; null: not known"`
}

// RouteEvent is one change of a way.
type RouteEvent struct {
	At     time.Time `json:"at"`
	Prefix string    `json:"prefix"`
	PeerAS uint32    `json:"peer_as"`
	Peer   string    `json:"peer"`
	Feed   string    `json:"feed"`
	Kind   string    `json:"kind" enum:"announced,withdrawn,changed"`
	Path   []uint32  `json:"path" nullable:"false"`
	Was    []uint32  `json:"was" nullable:"false"`
}

// RouteSpan is a span of time.
type RouteSpan struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// RouteShown is who saw which way to a prefix at a time.
type RouteShown struct {
	Prefix    string            `json:"prefix"`
	At        time.Time         `json:"at"`
	Now       bool              `json:"now"`
	Kept      *RouteSpan        `json:"kept" doc:"for which time it is kept; null: for none"`
	Routes    []RouteSeen       `json:"routes" nullable:"false"`
	History   []RouteEvent      `json:"history" nullable:"false"`
	Incidents []string          `json:"incidents" nullable:"false"`
	Names     map[string]string `json:"names"`
}

// RouteReadiness is how far one's own ways are protected.
type RouteReadiness struct {
	Paths     int             `json:"paths"`
	ROV       map[string]int  `json:"rov" doc:"ways by state"`
	ASPA      map[string]int  `json:"aspa"`
	OTC       RouteMarked     `json:"otc"`
	Own       []ReadyPrefix   `json:"own" nullable:"false"`
	Customers []ReadyCustomer `json:"customers" nullable:"false"`
	Computed  *time.Time      `json:"computed" doc:"null: there is no table"`
}

// RouteMarked is how many ways carry the mark of RFC 9234.
type RouteMarked struct {
	Marked   int `json:"marked"`
	Unmarked int `json:"unmarked"`
}

// ReadyPrefix is an own prefix and its registration.
type ReadyPrefix struct {
	Prefix     string      `json:"prefix"`
	ROV        string      `json:"rov"`
	ROAMissing bool        `json:"roa_missing"`
	MaxLength  int         `json:"max_length" doc:"the longest that a ROA allows; 0: none"`
	Words      detect.Text `json:"words"`
}

// ReadyCustomer is a customer and what it must register.
type ReadyCustomer struct {
	AS       uint32        `json:"as"`
	Name     string        `json:"name"`
	Prefixes int           `json:"prefixes"`
	ROA      int           `json:"roa" doc:"of them, covered"`
	ASPA     bool          `json:"aspa"`
	Must     []detect.Text `json:"must" nullable:"false"`
}

// RouteDrill is a replay of an incident against an import policy.
type RouteDrill struct {
	ID          string          `json:"id"`
	State       string          `json:"state" enum:"running,done,failed"`
	Done        float64         `json:"done" doc:"0 to 1"`
	Updates     int             `json:"updates"`
	Accepted    int             `json:"accepted"`
	Rejected    int             `json:"rejected"`
	By          []DrillReason   `json:"by" nullable:"false"`
	AcceptedOwn int             `json:"accepted_own" doc:"of one's own space"`
	FirstAlarmS *float64        `json:"first_alarm_s" doc:"from the first update until the incident is named, in its own time; null: it isn't"`
	Incident    *IncidentRow    `json:"incident"`
	Neighbors   []DrillNeighbor `json:"neighbors" nullable:"false"`
	Error       *detect.Text    `json:"error"`
}

// DrillReason is why routes were let in or not.
type DrillReason struct {
	Reason string      `json:"reason"`
	Words  detect.Text `json:"words"`
	Routes int         `json:"routes"`
}

// DrillNeighbor is what one neighbour offered.
type DrillNeighbor struct {
	AS         uint32   `json:"as"`
	Offered    int      `json:"offered"`
	Accepted   int      `json:"accepted"`
	MaxPrefixS *float64 `json:"maxprefix_at_s" doc:"from the first update until its limit closes the session; null: it doesn't"`
}

type (
	watchedBody struct {
		Prefixes []WatchedPrefix `json:"prefixes" nullable:"false"`
		DataTime *time.Time      `json:"data_time"`
	}
	neighborsBody struct {
		Neighbors []RouteNeighbor `json:"neighbors" nullable:"false"`
	}
	feedsBody struct{ RouteFeeds }
	showInput struct {
		Prefix string `query:"prefix" maxLength:"64" doc:"a prefix or an address; needed"`
		At     string `query:"at" maxLength:"40" doc:"RFC 3339; empty: now"`
		Format string `query:"format" enum:"json,csv" doc:"as the Accept header application/json or text/csv"`
	}
	showBody      struct{ RouteShown }
	readinessBody struct{ RouteReadiness }
	csvInput      struct {
		Format string `query:"format" enum:"json,csv" doc:"as the Accept header application/json or text/csv"`
	}
	drillInput struct {
		Body struct {
			Scene  string `json:"scene" enum:"leak-2017,leak-2017-full" default:"leak-2017"`
			Policy string `json:"policy,omitempty" maxLength:"262144" doc:"YAML, as docs/route.md says; empty: the configured one"`
		}
	}
	drillIDInput struct {
		ID string `path:"id" maxLength:"64"`
	}
	drillOutput struct {
		Status int
		Body   RouteDrill
	}
)

func (b *watchedBody) table() [][]string {
	rows := [][]string{{"prefix", "name", "origins", "state", "seen", "whole", "upstreams", "rov", "aspa", "more_specifics", "longest", "incident"}}
	for i := range b.Prefixes {
		p := &b.Prefixes[i]
		var up []string
		for _, u := range p.Upstreams {
			up = append(up, number(u.AS)+"="+figure(u.Share))
		}
		rows = append(rows, []string{p.Prefix, cell(p.Name), numbers(p.Origins), p.State, strconv.Itoa(p.Seen), strconv.Itoa(p.Whole), strings.Join(up, " "), p.ROV, p.ASPA, strconv.Itoa(p.MoreSpecifics), strconv.Itoa(p.Longest), text(p.Incident)})
	}
	return rows
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (b *neighborsBody) table() [][]string {
	rows := [][]string{{"as", "name", "relation", "relation_source", "score", "address", "feed", "view", "up", "prefixes_v4", "prefixes_v6", "maximum30d_v4", "maximum30d_v6", "max_prefix_v4", "max_prefix_v6", "resets", "incident"}}
	for i := range b.Neighbors {
		n := &b.Neighbors[i]
		m4, m6 := "", ""
		if n.Maximum != nil {
			m4, m6 = strconv.Itoa(n.Maximum.V4), strconv.Itoa(n.Maximum.V6)
		}
		rows = append(rows, []string{
			number(n.AS), cell(n.Name), n.Relation, n.RelationSource, figure(n.Score), n.Address, cell(n.Feed), n.View, strconv.FormatBool(n.Up),
			strconv.Itoa(n.Prefixes.V4), strconv.Itoa(n.Prefixes.V6), m4, m6, strconv.Itoa(n.MaxPrefix.V4), strconv.Itoa(n.MaxPrefix.V6), count(n.Resets), text(n.Incident),
		})
	}
	return rows
}

func (b *showBody) table() [][]string {
	rows := [][]string{{"prefix", "match", "peer_as", "peer", "feed", "view", "path", "origin", "rov", "aspa", "communities", "since"}}
	for i := range b.Routes {
		r := &b.Routes[i]
		since := ""
		if r.Since != nil {
			since = instant(*r.Since)
		}
		rows = append(rows, []string{r.Prefix, r.Match, number(r.PeerAS), r.Peer, cell(r.Feed), r.View, numbers(r.Path), number(r.Origin), r.ROV, r.ASPA, strings.Join(r.Communities, " "), since})
	}
	return rows
}

// routeTable is the port, or why there is none.
func (s *Server) routeTable() (Routes, error) {
	if s.deps.Routes == nil {
		return nil, fail("no_routes")
	}
	return s.deps.Routes, nil
}

func (s *Server) watched(ctx context.Context, _ *csvInput) (*output[*watchedBody], error) {
	d, err := s.routeTable()
	if err != nil {
		return nil, err
	}
	list, err := d.Watched(ctx)
	if err != nil {
		return nil, err
	}
	b := &watchedBody{Prefixes: filled(list)}
	for i := range b.Prefixes {
		b.Prefixes[i].Origins, b.Prefixes[i].Upstreams = filled(b.Prefixes[i].Origins), filled(b.Prefixes[i].Upstreams)
	}
	b.DataTime, _ = d.Newest()
	return &output[*watchedBody]{Body: b}, nil
}

func (s *Server) routeNeighbors(ctx context.Context, _ *csvInput) (*output[*neighborsBody], error) {
	d, err := s.routeTable()
	if err != nil {
		return nil, err
	}
	list, err := d.Neighbors(ctx)
	if err != nil {
		return nil, err
	}
	return &output[*neighborsBody]{Body: &neighborsBody{filled(list)}}, nil
}

func (s *Server) routeFeeds(ctx context.Context, _ *struct{}) (*output[feedsBody], error) {
	d, err := s.routeTable()
	if err != nil {
		return nil, err
	}
	f, err := d.Feeds(ctx)
	if err != nil {
		return nil, err
	}
	f.Feeds, f.RPKI.Sources = filled(f.Feeds), filled(f.RPKI.Sources)
	for i := range f.Feeds {
		x := &f.Feeds[i]
		x.Advice, x.Malformed, x.PeersList = filled(x.Advice), filled(x.Malformed), filled(x.PeersList)
	}
	return &output[feedsBody]{Body: feedsBody{f}}, nil
}

func (s *Server) routeShow(ctx context.Context, in *showInput) (*output[*showBody], error) {
	d, err := s.routeTable()
	if err != nil {
		return nil, err
	}
	at, err := instantOf(in.At)
	if err != nil {
		return nil, err
	}
	list, err := prefixes([]string{strings.TrimSpace(in.Prefix)})
	if err != nil {
		return nil, err
	}
	r, err := d.Show(ctx, list[0].Masked().String(), at)
	if err != nil {
		return nil, err
	}
	r.Routes, r.History, r.Incidents = filled(r.Routes), filled(r.History), filled(r.Incidents)
	for i := range r.Routes {
		r.Routes[i].Path, r.Routes[i].Communities = filled(r.Routes[i].Path), filled(r.Routes[i].Communities)
	}
	for i := range r.History {
		r.History[i].Path, r.History[i].Was = filled(r.History[i].Path), filled(r.History[i].Was)
	}
	if r.Names == nil {
		r.Names = map[string]string{}
	}
	return &output[*showBody]{Body: &showBody{r}}, nil
}

func (s *Server) routeReadiness(ctx context.Context, _ *struct{}) (*output[readinessBody], error) {
	d, err := s.routeTable()
	if err != nil {
		return nil, err
	}
	r, err := d.Readiness(ctx)
	if err != nil {
		return nil, err
	}
	r.Own, r.Customers = filled(r.Own), filled(r.Customers)
	for i := range r.Customers {
		r.Customers[i].Must = filled(r.Customers[i].Must)
	}
	return &output[readinessBody]{Body: readinessBody{r}}, nil
}

func (d RouteDrill) filled() RouteDrill {
	d.By, d.Neighbors = filled(d.By), filled(d.Neighbors)
	if d.Incident != nil {
		row := d.Incident.filled()
		d.Incident = &row
	}
	return d
}

func (s *Server) routeDrill(ctx context.Context, in *drillInput) (*drillOutput, error) {
	d, err := s.routeTable()
	if err != nil {
		return nil, err
	}
	r, err := d.Drill(ctx, in.Body.Scene, in.Body.Policy, s.actor(ctx))
	if err != nil {
		return nil, err
	}
	return &drillOutput{Status: 202, Body: r.filled()}, nil
}

func (s *Server) routeDrilled(ctx context.Context, in *drillIDInput) (*output[RouteDrill], error) {
	d, err := s.routeTable()
	if err != nil {
		return nil, err
	}
	r, err := d.Drilled(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &output[RouteDrill]{Body: r.filled()}, nil
}
