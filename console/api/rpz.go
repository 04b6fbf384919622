package api

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sakimori/detect"
)

// Zones are the DNS policy zones, the resolvers that have them, and the proof that they
// do. Methods return ErrNotFound for what isn't there, and a Refusal for what can't be
// done. Nothing of it but the rules of a zone names a subscriber's address.
type Zones interface {
	Zones(ctx context.Context) (ZonesNow, error)
	// Resolvers is the matrix: what each resolver has, and what it answered.
	Resolvers(ctx context.Context) (Matrix, error)
	Proofs(ctx context.Context, q ProofQuery) (list []Proof, next string, err error)
	// Serials are what was published of a zone, the newest first.
	Serials(ctx context.Context, zone string, limit int, before uint32) (list []ZoneSerial, more bool, err error)
	// Diff is what lies between two serials, at most that many rules of each side.
	Diff(ctx context.Context, zone string, from, to uint32, most int) (added, removed []ZoneRule, truncated bool, err error)

	Publish(ctx context.Context, zone, who, why string) (Zone, error)
	Rollback(ctx context.Context, zone string, serial uint32, who, why string) (Zone, error)
	Pause(ctx context.Context, zone, who, why string) (Zone, error)
	Resume(ctx context.Context, zone, who, why string) (Zone, error)

	// Config is what a vendor's resolver takes to have the zones.
	Config(ctx context.Context, vendor string) (files []ConfigFile, notes []detect.Text, err error)
	// Canary asks every resolver now.
	Canary(ctx context.Context, who string) (Matrix, error)
}

// Zone is one of the policy zones as it stands.
type Zone struct {
	Zone      string       `json:"zone" enum:"optout.,allow.,c2.,emergency."`
	Serial    uint32       `json:"serial"`
	Rules     int          `json:"rules"`
	Published *time.Time   `json:"published"`
	Who       string       `json:"who"`
	Why       string       `json:"why"`
	Basis     *ZoneBasis   `json:"basis" doc:"null: nothing is published that takes one"`
	State     string       `json:"state" enum:"published,empty,paused"`
	Words     detect.Text  `json:"words" doc:"what the state means, and why"`
	Digest    string       `json:"digest"`
	Pending   *ZonePending `json:"pending" doc:"null: there is nothing to publish"`
	Held      *ZoneHeld    `json:"held" doc:"null: it doesn't stand on a roll-back"`
	CanaryOK  *bool        `json:"canary_ok" doc:"on every resolver that was asked; null: not known"`
}

// ZoneBasis is the grant that a zone stands on.
type ZoneBasis struct {
	Grant string     `json:"grant"`
	Rule  string     `json:"rule"`
	Until *time.Time `json:"until"`
}

// ZonePending is what the next publication brings.
type ZonePending struct {
	Added   int        `json:"added"`
	Removed int        `json:"removed"`
	Due     *time.Time `json:"due" doc:"null: when somebody publishes"`
}

// ZoneHeld is the roll-back that a zone stands on: nothing comes in until a person publishes.
type ZoneHeld struct {
	Since   time.Time  `json:"since"`
	Serial  uint32     `json:"serial" doc:"that it was rolled back to"`
	Who     string     `json:"who"`
	Why     string     `json:"why"`
	Added   int        `json:"added" doc:"rules that would come in, were it published"`
	Removed int        `json:"removed"`
	Counted *time.Time `json:"counted" doc:"when that was counted; null: not yet"`
}

// ZonesGround says whether blocking is allowed, and what is missing.
type ZonesGround struct {
	Granted bool          `json:"granted"`
	Grant   string        `json:"grant"`
	Until   *time.Time    `json:"until"`
	Missing []detect.Text `json:"missing" nullable:"false"`
}

// ZonesOptOut says how the zone follows the subscribers who decline.
type ZonesOptOut struct {
	Clients uint64     `json:"clients" doc:"addresses that are left alone now"`
	Changed *time.Time `json:"changed"`
	Lag     *int64     `json:"lag_ms" doc:"of the last move, from the record to the publication; null: none yet"`
	Unknown uint64     `json:"unknown" doc:"of the clients: nobody says who has them"`
}

// ZonesConsent counts what subscribers say to blocking.
type ZonesConsent struct {
	Consenting uint64 `json:"consenting"`
	Declined   uint64 `json:"declined"`
}

// ZonesNow is how the zones stand.
type ZonesNow struct {
	Zones   []Zone       `json:"zones" nullable:"false" doc:"in the order in which a resolver has them"`
	Ground  ZonesGround  `json:"ground"`
	OptOut  ZonesOptOut  `json:"optout"`
	Consent ZonesConsent `json:"consent"`
}

// ResolverZone is a zone as one resolver has it.
type ResolverZone struct {
	Zone       string     `json:"zone"`
	Serial     *uint32    `json:"serial" doc:"null: not known"`
	LagSerials *uint32    `json:"lag_serials"`
	Lag        *float64   `json:"lag_seconds"`
	At         *time.Time `json:"at" doc:"when that was seen"`
	Stale      bool       `json:"stale" doc:"that was before a restart, and nothing was heard since"`
	Transfer   string     `json:"transfer" enum:",axfr,ixfr" doc:"the last one"`
	Bytes      uint64     `json:"bytes"`
	MS         float64    `json:"ms"`
}

// Probe is what one client was answered by one resolver.
type Probe struct {
	Client   string    `json:"client" enum:"in,out" doc:"in: who consents; out: who opted out"`
	Zone     string    `json:"zone"`
	Expected string    `json:"expected"`
	Got      string    `json:"got"`
	OK       bool      `json:"ok"`
	Serial   uint32    `json:"serial" doc:"0 not known"`
	At       time.Time `json:"at"`
	MS       float64   `json:"ms"`
}

// Trouble is something that went wrong.
type Trouble struct {
	At time.Time `json:"at"`
	JA string    `json:"ja"`
	EN string    `json:"en"`
}

// Resolver is one that has the zones, with the proof of it.
type Resolver struct {
	Name        string         `json:"name"`
	Vendor      string         `json:"vendor" enum:"bind,unbound,pdns,knot,sakimori,other"`
	Pool        string         `json:"pool"`
	Address     string         `json:"address"`
	Zones       []ResolverZone `json:"zones" nullable:"false"`
	Probes      []Probe        `json:"probes" nullable:"false" doc:"the last of each client and zone"`
	State       string         `json:"state" enum:"ok,behind,deviates,silent,unknown"`
	Words       detect.Text    `json:"words"`
	Errors      []Trouble      `json:"errors" nullable:"false" doc:"the newest first"`
	Full        uint64         `json:"full_transfers"`
	Incremental uint64         `json:"incremental_transfers"`
}

// Matrix is all resolvers.
type Matrix struct {
	Resolvers []Resolver `json:"resolvers" nullable:"false"`
	Checked   *time.Time `json:"checked"`
	Next      *time.Time `json:"next" doc:"when they are asked again; null: when somebody asks"`
}

// ProofQuery selects proofs; zero fields select everything.
type ProofQuery struct {
	Resolver string
	From, To time.Time
	OK       *bool
	Limit    int
	After    string
}

// Proof is one probe as it is kept.
type Proof struct {
	At       time.Time `json:"at"`
	Resolver string    `json:"resolver"`
	Zone     string    `json:"zone"`
	Client   string    `json:"client" enum:"in,out"`
	Name     string    `json:"name"`
	Expected string    `json:"expected"`
	Got      string    `json:"got"`
	Serial   uint32    `json:"serial"`
	OK       bool      `json:"ok"`
}

// ZoneSerial is one publication.
type ZoneSerial struct {
	Serial  uint32    `json:"serial"`
	At      time.Time `json:"at"`
	Who     string    `json:"who"`
	Why     string    `json:"why"`
	Grant   string    `json:"grant"`
	Rule    string    `json:"rule"`
	Added   int       `json:"added"`
	Removed int       `json:"removed"`
	Rules   int       `json:"rules"`
	Digest  string    `json:"digest"`
}

// ZoneRule is one rule of a zone: it triggers on a name, or on a client.
type ZoneRule struct {
	Name   string
	Client netip.Prefix
	Action string
	Ref    string // what it rests on
}

// ConfigFile is one file of a resolver's configuration.
type ConfigFile struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

const diffMost = 500 // rules of each side that an answer holds

type (
	proofsInput struct {
		CSVQuery
		Paging

		Resolver string `query:"resolver" maxLength:"128"`
		OK       string `query:"ok" enum:"true,false"`
	}
	proofsBody struct {
		Proofs []Proof `json:"proofs" nullable:"false" doc:"the newest first"`
		Next   string  `json:"next" doc:"cursor of the next page; empty on the last"`
	}
	serialsInput struct {
		Paging

		Zone string `path:"zone" maxLength:"16"`
	}
	serialsBody struct {
		Serials []ZoneSerial `json:"serials" nullable:"false"`
		Next    string       `json:"next"`
	}
	diffInput struct {
		Zone string `path:"zone" maxLength:"16"`
		From uint32 `query:"from" required:"true"`
		To   uint32 `query:"to" required:"true"`
	}
	zoneRuleBody struct {
		Trigger string `json:"trigger" doc:"a name, or a client's prefix; own subscribers' are masked"`
		Action  string `json:"action"`
		Ref     string `json:"ref" doc:"the entry, or the consent"`
	}
	diffBody struct {
		Added     []zoneRuleBody `json:"added" nullable:"false"`
		Removed   []zoneRuleBody `json:"removed" nullable:"false"`
		Truncated bool           `json:"truncated" doc:"there are more"`
	}
	zoneWhyInput struct {
		Zone string `path:"zone" maxLength:"16" doc:"optout, allow, c2 or emergency"`
		Body struct {
			Why string `json:"why" minLength:"1" maxLength:"1000"`
		}
	}
	rollbackInput struct {
		Zone string `path:"zone" maxLength:"16"`
		Body struct {
			Serial uint32 `json:"serial" doc:"one that was published; its rules are published again, by a new serial"`
			Why    string `json:"why" minLength:"1" maxLength:"1000"`
		}
	}
	zoneBody struct {
		Zone Zone `json:"zone"`
	}
	configInput struct {
		Vendor string `path:"vendor" maxLength:"16" doc:"bind, unbound, pdns or knot"`
	}
	configBody struct {
		Files []ConfigFile  `json:"files" nullable:"false"`
		Notes []detect.Text `json:"notes" nullable:"false"`
	}
)

// registerRPZ lists the routes of the policy zones.
func (s *Server) registerRPZ(v1 string) {
	get, post := http.MethodGet, http.MethodPost
	add(s, get, v1+"/rpz", "zones", "The DNS policy zones, and the ground that they stand on", s.zones)
	add(s, get, v1+"/rpz/resolvers", "resolvers", "What each resolver has, and what it answered: the proof", s.resolvers)
	add(s, get, v1+"/rpz/proofs", "proofs", "Probes as they are kept, the newest first", s.proofs)
	add(s, get, v1+"/rpz/zones/{zone}/serials", "zoneSerials", "What was published of a zone", s.zoneSerials)
	add(s, get, v1+"/rpz/zones/{zone}/diff", "zoneDiff", "What lies between two serials", s.zoneDiff)
	add(s, post, v1+"/rpz/zones/{zone}/publish", "publishZone", "Publish what waits, now", s.publishZone)
	add(s, post, v1+"/rpz/zones/{zone}/rollback", "rollbackZone", "Publish the rules of an earlier serial again", s.rollbackZone)
	add(s, post, v1+"/rpz/zones/{zone}/pause", "pauseZone", "Empty a zone until somebody resumes it", s.pauseZone)
	add(s, post, v1+"/rpz/zones/{zone}/resume", "resumeZone", "End a pause", s.resumeZone)
	add(s, get, v1+"/rpz/config/{vendor}", "resolverConfig", "What a resolver takes to have the zones", s.resolverConfig)
	add(s, post, v1+"/rpz/canary", "canary", "Ask every resolver now", s.canary)
}

func (b *proofsBody) table() [][]string {
	rows := [][]string{{"at", "resolver", "zone", "client", "name", "expected", "got", "serial", "ok"}}
	for i := range b.Proofs {
		p := &b.Proofs[i]
		rows = append(rows, []string{instant(p.At), cell(p.Resolver), p.Zone, p.Client, cell(p.Name), cell(p.Expected), cell(p.Got), serial(p.Serial), yes(p.OK)})
	}
	return rows
}

func serial(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// publisher is the port, or why there is none.
func (s *Server) publisher() (Zones, error) {
	if s.deps.Office.Zones == nil {
		return nil, fail("no_rpz")
	}
	return s.deps.Office.Zones, nil
}

// zoneIn reads the name of a zone, with the dot at its end or without.
func zoneIn(word string) (string, error) {
	switch z := strings.ToLower(strings.TrimSuffix(word, ".")) + "."; z {
	case "optout.", "allow.", "c2.", "emergency.":
		return z, nil
	}
	return "", fail("not_found")
}

func (m Matrix) filled() Matrix {
	m.Resolvers = filled(m.Resolvers)
	for i := range m.Resolvers {
		r := &m.Resolvers[i]
		r.Zones, r.Probes, r.Errors = filled(r.Zones), filled(r.Probes), filled(r.Errors)
	}
	return m
}

func (s *Server) zones(ctx context.Context, _ *empty) (*output[ZonesNow], error) {
	d, err := s.publisher()
	if err != nil {
		return nil, err
	}
	z, err := d.Zones(ctx)
	if err != nil {
		return nil, err
	}
	z.Zones, z.Ground.Missing = filled(z.Zones), filled(z.Ground.Missing)
	return &output[ZonesNow]{Body: z}, nil
}

func (s *Server) resolvers(ctx context.Context, _ *empty) (*output[Matrix], error) {
	d, err := s.publisher()
	if err != nil {
		return nil, err
	}
	m, err := d.Resolvers(ctx)
	return &output[Matrix]{Body: m.filled()}, err
}

func (s *Server) canary(ctx context.Context, _ *empty) (*output[Matrix], error) {
	d, err := s.publisher()
	if err != nil {
		return nil, err
	}
	m, err := d.Canary(ctx, s.actor(ctx))
	return &output[Matrix]{Body: m.filled()}, err
}

func (s *Server) proofs(ctx context.Context, in *proofsInput) (*output[*proofsBody], error) {
	d, err := s.publisher()
	if err != nil {
		return nil, err
	}
	q := ProofQuery{Resolver: in.Resolver, Limit: in.Limit}
	if in.OK != "" {
		ok := in.OK == "true"
		q.OK = &ok
	}
	if q.From, q.To, err = s.between(in.SpanQuery, 0); err != nil {
		return nil, err
	}
	at, err := s.keyset(in.Paging, "proofs", in.Resolver, in.OK, in.From, in.To)
	if err != nil {
		return nil, err
	}
	q.After = at.After
	list, next, err := d.Proofs(ctx, q)
	if err != nil {
		return nil, err
	}
	b := &proofsBody{Proofs: filled(list), Next: s.beyond(at, next)}
	return &output[*proofsBody]{Link: link(ctx, orNull(b.Next)), Body: b}, nil
}

func (s *Server) zoneSerials(ctx context.Context, in *serialsInput) (*output[serialsBody], error) {
	d, err := s.publisher()
	if err != nil {
		return nil, err
	}
	zone, err := zoneIn(in.Zone)
	if err != nil {
		return nil, err
	}
	at, err := s.keyset(in.Paging, "serials", zone)
	if err != nil {
		return nil, err
	}
	var before uint64
	if at.After != "" {
		if before, err = strconv.ParseUint(at.After, 10, 32); err != nil {
			return nil, fail("cursor_invalid")
		}
	}
	list, more, err := d.Serials(ctx, zone, in.Limit, uint32(before))
	if err != nil {
		return nil, err
	}
	b := serialsBody{Serials: filled(list)}
	if more && len(list) > 0 {
		b.Next = s.beyond(at, serial(list[len(list)-1].Serial))
	}
	return &output[serialsBody]{Link: link(ctx, orNull(b.Next)), Body: b}, nil
}

func (s *Server) zoneDiff(ctx context.Context, in *diffInput) (*output[diffBody], error) {
	d, err := s.publisher()
	if err != nil {
		return nil, err
	}
	zone, err := zoneIn(in.Zone)
	if err != nil {
		return nil, err
	}
	added, removed, more, err := d.Diff(ctx, zone, in.From, in.To, diffMost)
	if err != nil {
		return nil, err
	}
	return &output[diffBody]{Body: diffBody{s.rulesOf(added), s.rulesOf(removed), more}}, nil
}

// rulesOf writes rules for people. A client is somebody's address: the form that it has
// in a zone, backwards and with its length first, isn't one that a mask would find.
func (s *Server) rulesOf(list []ZoneRule) []zoneRuleBody {
	out := make([]zoneRuleBody, 0, len(list))
	for _, r := range list {
		b := zoneRuleBody{r.Name, r.Action, r.Ref}
		if r.Client.IsValid() {
			b.Trigger = s.own.Addr(r.Client.Addr()) + "/" + strconv.Itoa(r.Client.Bits())
		}
		out = append(out, b)
	}
	return out
}

func (s *Server) publishZone(ctx context.Context, in *zoneWhyInput) (*output[zoneBody], error) {
	return s.rezoned(ctx, in.Zone, func(d Zones, zone, who string) (Zone, error) { return d.Publish(ctx, zone, who, in.Body.Why) })
}

func (s *Server) rollbackZone(ctx context.Context, in *rollbackInput) (*output[zoneBody], error) {
	return s.rezoned(ctx, in.Zone, func(d Zones, zone, who string) (Zone, error) {
		return d.Rollback(ctx, zone, in.Body.Serial, who, in.Body.Why)
	})
}

func (s *Server) pauseZone(ctx context.Context, in *zoneWhyInput) (*output[zoneBody], error) {
	return s.rezoned(ctx, in.Zone, func(d Zones, zone, who string) (Zone, error) { return d.Pause(ctx, zone, who, in.Body.Why) })
}

// resumeZone ends a pause, which a person does: a machine may have begun it for cause.
func (s *Server) resumeZone(ctx context.Context, in *zoneWhyInput) (*output[zoneBody], error) {
	if _, err := s.human(ctx); err != nil {
		return nil, err
	}
	return s.rezoned(ctx, in.Zone, func(d Zones, zone, who string) (Zone, error) { return d.Resume(ctx, zone, who, in.Body.Why) })
}

// rezoned answers with a zone as it is after an act.
func (s *Server) rezoned(ctx context.Context, word string, do func(d Zones, zone, who string) (Zone, error)) (*output[zoneBody], error) {
	d, err := s.publisher()
	if err != nil {
		return nil, err
	}
	zone, err := zoneIn(word)
	if err != nil {
		return nil, err
	}
	z, err := do(d, zone, s.actor(ctx))
	if err != nil {
		return nil, gateProblem(err)
	}
	return &output[zoneBody]{Body: zoneBody{z}}, nil
}

func (s *Server) resolverConfig(ctx context.Context, in *configInput) (*output[configBody], error) {
	d, err := s.publisher()
	if err != nil {
		return nil, err
	}
	files, notes, err := d.Config(ctx, in.Vendor)
	return &output[configBody]{Body: configBody{filled(files), filled(notes)}}, err
}
