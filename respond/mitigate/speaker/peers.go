package speaker

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"sakimori/detect"
	"sakimori/respond"
)

// Peer is how it stands with a router.
type Peer struct {
	Name     string       `json:"name"`
	Address  netip.Addr   `json:"address"`
	AS       uint32       `json:"as"`
	State    State        `json:"state"`
	Words    detect.Text  `json:"words"`
	Since    time.Time    `json:"since"`    // it is in this state
	Families []Family     `json:"families"` // that are agreed on; those of the configuration while it isn't connected
	Held     int          `json:"held"`     // rules, and own prefixes, that it has been given and that stand; what it does with them it doesn't tell
	Limit    int          `json:"limit"`    // of them
	Error    *detect.Text `json:"error"`    // what is wrong, or was last; nil nothing
}

// State is that of a session.
type State string

// The states of a session.
const (
	Established State = "established"
	Connecting  State = "connecting" // or waiting to be called
	Down        State = "down"       // nothing is tried: the speaker doesn't run, or it must wait first
)

func (s State) words() detect.Text {
	switch s {
	case Established:
		return detect.Text{JA: "接続中", EN: "established"}
	case Connecting:
		return detect.Text{JA: "接続を試行中", EN: "connecting"}
	}
	return detect.Text{JA: "停止", EN: "down"}
}

// sightings are what is known of the peers. GoBGP tells of them from goroutines of its own.
type sightings struct {
	mu   sync.Mutex
	list []sighting
}

type sighting struct {
	*Neighbor
	state  State
	since  time.Time
	agreed []Family
	wrong  *detect.Text
	shut   time.Time // it sent too many routes: not before then again
}

func (s *sightings) reset(peers []Neighbor, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = nil
	for i := range peers {
		s.list = append(s.list, sighting{Neighbor: &peers[i], state: Down, since: now})
	}
}

// of finds a peer by its address; the mutex must be held.
func (s *sightings) of(a netip.Addr) *sighting {
	i := slices.IndexFunc(s.list, func(p sighting) bool { return p.Address.Addr() == a.Unmap() })
	if i < 0 {
		return nil
	}
	return &s.list[i]
}

// carries tells whether a peer is connected and agreed on a family.
func (s *sightings) carries(name string, f Family) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.list, func(p sighting) bool { return p.Name == name && p.state == Established && slices.Contains(p.agreed, f) })
}

// pause is how long a peer is left alone that sent too many routes.
const pause = time.Minute

// peer takes what GoBGP tells of a session.
func (s *sightings) peer(e *apiutil.WatchEventMessage_PeerEvent, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.of(e.Peer.State.NeighborAddress)
	if p == nil || e.Type == apiutil.PEER_EVENT_END_OF_INIT {
		return
	}
	state := Connecting
	switch {
	case e.Peer.State.SessionState == bgp.BGP_FSM_ESTABLISHED:
		state = Established
	case e.Peer.State.AdminState == api.PeerState_ADMIN_STATE_PFX_CT:
		state = Down
		p.shut = now.Add(pause)
		p.wrong = &detect.Text{
			JA: fmt.Sprintf("経路が %d を超えて届いたため切断しました。経路は受け取りません。相手側で送信しないよう設定してください", p.Routes),
			EN: fmt.Sprintf("shut out because it sent more than %d routes: none are taken, let it send none", p.Routes),
		}
	}
	if p.state == Established && state != Established {
		if p.shut.IsZero() {
			p.wrong = lost(e.Peer.State.DisconnectReason, e.Peer.State.DisconnectMessage, p.Hold)
		}
		p.agreed = nil
	}
	if state == Established && p.state != Established {
		p.shut, p.wrong = time.Time{}, nil
		p.agreed = agreed(p.Families, e.Peer.State.RemoteCap)
		if missing := slices.DeleteFunc(slices.Clone(p.Families), func(f Family) bool { return slices.Contains(p.agreed, f) }); len(missing) > 0 {
			p.wrong = &detect.Text{JA: fmt.Sprintf("相手が対応していないアドレスファミリー: %v", missing), EN: fmt.Sprintf("it doesn't take %v, though configured", missing)}
		}
	}
	if state != p.state {
		p.state, p.since = state, now
	}
}

// agreed are those families that the other side has too. One that tells none speaks IPv4
// unicast (RFC 4760, section 8).
func agreed(ours []Family, theirs []bgp.ParameterCapabilityInterface) []Family {
	var list []Family
	for _, f := range ours {
		if slices.ContainsFunc(theirs, func(c bgp.ParameterCapabilityInterface) bool {
			m, ok := c.(*bgp.CapMultiProtocol)
			return ok && m.CapValue == families[f]
		}) {
			list = append(list, f)
		}
	}
	if !slices.ContainsFunc(theirs, func(c bgp.ParameterCapabilityInterface) bool { return c.Code() == bgp.BGP_CAP_MULTIPROTOCOL }) && slices.Contains(ours, Unicast4) {
		list = append(list, Unicast4)
	}
	return list
}

// lost says why a session ended.
func lost(why api.PeerState_DisconnectReason, message string, hold time.Duration) *detect.Text {
	switch why {
	case api.PeerState_DISCONNECT_REASON_HOLD_TIMER_EXPIRED:
		return &detect.Text{JA: fmt.Sprintf("%s の間、相手から何も届きませんでした", hold), EN: fmt.Sprintf("nothing was heard of it within the hold time of %s at most", hold)}
	case api.PeerState_DISCONNECT_REASON_NOTIFICATION_RECEIVED:
		return &detect.Text{JA: "相手が切断しました: " + message, EN: "it ended the session: " + message}
	case api.PeerState_DISCONNECT_REASON_NOTIFICATION_SENT, api.PeerState_DISCONNECT_REASON_INVALID_MSG, api.PeerState_DISCONNECT_REASON_BAD_PEER_AS:
		return &detect.Text{JA: "相手の発言が受け入れられず、切断しました: " + message, EN: "we ended the session over what it said: " + message}
	}
	return &detect.Text{JA: "接続が切れました: " + message, EN: "the connection was lost: " + message}
}

// unreached takes why a connection didn't come about.
func (s *sightings) unreached(a netip.Addr, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.of(a); p != nil && p.state != Established {
		p.wrong = &detect.Text{
			JA: fmt.Sprintf("接続できません (%s)。相手が動いているか、こちらのアドレスを知っているか、パスワードが同じかを確認してください", why),
			EN: fmt.Sprintf("no connection (%s): does it run, does it know our address, is the password the same?", why),
		}
	}
}

// retry lets those in again that were shut out long enough.
func (s *sightings) retry(ctx context.Context, out *router, now time.Time) {
	s.mu.Lock()
	var again []*Neighbor
	for i := range s.list {
		if p := &s.list[i]; !p.shut.IsZero() && now.After(p.shut) {
			p.shut = now.Add(pause)
			again = append(again, p.Neighbor)
		}
	}
	s.mu.Unlock()
	for _, n := range again {
		_ = out.again(ctx, n) // it is tried again after the next pause
	}
}

// Peers are all configured peers, in the order of the configuration.
func (s *Speaker) Peers() []Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Peer, len(s.cfg.Peers))
	for i, p := range s.seen.now() {
		list[i] = Peer{Name: p.Name, Address: p.Address.Addr(), AS: p.AS, State: p.state, Words: p.state.words(), Since: p.since, Families: p.agreed, Limit: p.Rules, Error: p.wrong}
		if p.state != Established {
			list[i].Families = slices.Clone(p.Families)
		}
		list[i].Held = len(s.given(&p))
	}
	return list
}

func (s *sightings) now() []sighting {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// given are the keys of the routes that a peer has been given.
func (s *Speaker) given(p *sighting) map[string]bool {
	keys := map[string]bool{}
	if s.out == nil || p.state != Established {
		return keys
	}
	for _, f := range p.agreed {
		if err := s.out.given(p.Neighbor, f, func(key string) { keys[key] = true }); err != nil {
			s.log.LogAttrs(context.Background(), slog.LevelError, "what a peer was given can't be listed", slog.String("peer", p.Name), slog.Any("err", err))
		}
	}
	return keys
}

// Held is what stands now: for each act and each peer that takes one of its rules, how many it
// has been given. 0 are with a peer that isn't connected, and gets them when it comes.
func (s *Speaker) Held(ctx context.Context) ([]respond.Held, error) {
	var list []respond.Held
	err := s.held(ctx, false, func(id, peer string, given int, at time.Time) {
		list = append(list, respond.Held{ID: id, Peer: peer, Rules: given, At: at})
	})
	slices.SortFunc(list, func(a, b respond.Held) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Peer, b.Peer)) })
	return list, err
}

// held calls f with each act of rules, or of own prefixes, and each peer that takes some of it.
func (s *Speaker) held(ctx context.Context, own bool, f func(id, peer string, given int, at time.Time)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil {
		return ErrStopped
	}
	for _, p := range s.seen.now() {
		given := s.given(&p)
		for id, a := range s.acts {
			if a.own != own {
				continue
			}
			at, its, has := a.since, 0, 0
			if at.Before(p.since) { // it was given them when it came
				at = p.since
			}
			for _, k := range a.routes {
				r := s.said[k]
				if r.goes(p.Neighbor) {
					its++
				}
				if given[k] {
					has++
				}
			}
			if its > 0 {
				f(id, p.Name, has, at)
			}
		}
	}
	return nil
}

// listener takes GoBGP's log: what an operator should read goes to ours, and why a connection
// failed, which it says nowhere else, to the peer's state.
type listener struct {
	log  slog.Handler
	seen *sightings
	peer netip.Addr
}

// Enabled is true for all, as what is wanted is said on the lowest level.
func (l *listener) Enabled(context.Context, slog.Level) bool { return true }

// Handle takes one line.
func (l *listener) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "failed to connect" {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "Error" {
				l.seen.unreached(l.peer, a.Value.String())
			}
			return true
		})
	}
	if r.Level < slog.LevelWarn || !l.log.Enabled(ctx, r.Level) {
		return nil
	}
	return l.log.Handle(ctx, r)
}

// WithAttrs learns whose line it is.
func (l *listener) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *l
	n.log = l.log.WithAttrs(attrs)
	for _, a := range attrs {
		if a.Key == "Key" {
			if at, err := netip.ParseAddr(a.Value.String()); err == nil {
				n.peer = at.Unmap()
			}
		}
	}
	return &n
}

// WithGroup isn't used by GoBGP.
func (l *listener) WithGroup(name string) slog.Handler {
	n := *l
	n.log = l.log.WithGroup(name)
	return &n
}
