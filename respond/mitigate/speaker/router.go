package speaker

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"

	"sakimori/base/clock"
)

// router is GoBGP as we use it: it takes no route from anybody, gives each peer what we say
// with the communities and next hops of that peer, and gives nobody anything else.
type router struct {
	bgp  *server.BgpServer
	stop func()
}

// start opens the sessions, and the socket where one is named.
func start(ctx context.Context, c *Config, log *slog.Logger, seen *sightings, clk clock.Clock) (*router, error) {
	level := new(slog.LevelVar)
	level.Set(slog.LevelDebug) // why a connection fails is said at that level only
	s := server.NewBgpServer(server.LoggerOption(slog.New(&listener{log: log.Handler(), seen: seen}), level))
	served := make(chan struct{})
	go func() { s.Serve(); close(served) }()
	watched, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	r := &router{bgp: s, stop: func() { unwatch(); s.Stop(); <-served }}
	watch := func() error {
		return s.WatchEvent(watched, server.WatchEventMessageCallbacks{
			OnPeerUpdate: func(e *apiutil.WatchEventMessage_PeerEvent, _ time.Time) { seen.peer(e, clk.Now()) },
		}, server.WatchPeer())
	}
	if err := r.configure(ctx, c, watch); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

func (r *router) configure(ctx context.Context, c *Config, watch func() error) error {
	// Port −1: it doesn't listen.
	global := &api.Global{Asn: c.AS, RouterId: c.RouterID.String(), ListenPort: -1}
	if c.Listen.IsValid() {
		global.ListenPort, global.ListenAddresses = int32(c.Listen.Port()), []string{c.Listen.Addr().String()}
	}
	if err := r.bgp.StartBgp(ctx, &api.StartBgpRequest{Global: global}); err != nil {
		return err
	}
	if err := r.policies(ctx, c); err != nil {
		return err
	}
	err := watch()
	for i := range c.Peers {
		if err != nil {
			return err
		}
		err = r.peer(ctx, &c.Peers[i])
	}
	return err
}

// policies: nobody's routes are taken, nothing is given to anybody by default, and each peer
// gets what we say ourselves in its own form.
func (r *router) policies(ctx context.Context, c *Config) error {
	var policies []*api.Policy
	// Whatever has it is to be discarded, whatever hasn't is an own prefix: neither ever goes
	// the other's way.
	err := r.bgp.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: &api.DefinedSet{
		DefinedType: api.DefinedType_DEFINED_TYPE_COMMUNITY, Name: "discarded", List: []string{"^" + blackhole + "$"},
	}})
	for i := range c.Peers {
		n := &c.Peers[i]
		set := "peer " + n.Name
		err = errors.Join(err, r.bgp.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: &api.DefinedSet{
			DefinedType: api.DefinedType_DEFINED_TYPE_NEIGHBOR, Name: set, List: []string{netip.PrefixFrom(n.Address.Addr(), n.Address.Addr().BitLen()).String()},
		}}))
		p := &api.Policy{Name: "to " + n.Name}
		for _, f := range n.Families {
			// Of routes that we made ourselves: should one be taken from somebody against all
			// intent, it still goes to nobody.
			st := statement(n, set, f, n.Communities)
			if f == Unicast4 || f == Unicast6 {
				st.Conditions.CommunitySet = &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: "discarded"}
				hop(st, f, n.NextHop4, n.NextHop6)
			}
			p.Statements = append(p.Statements, st)
			if n.Own != nil && (f == Unicast4 || f == Unicast6) {
				st := statement(n, set, f, n.Own.Communities)
				st.Name = "own " + st.Name
				st.Conditions.CommunitySet = &api.MatchSet{Type: api.MatchSet_TYPE_INVERT, Name: "discarded"}
				hop(st, f, n.Own.NextHop4, n.Own.NextHop6)
				p.Statements = append(p.Statements, st)
			}
		}
		err = errors.Join(err, r.bgp.AddPolicy(ctx, &api.AddPolicyRequest{Policy: p}))
		policies = append(policies, &api.Policy{Name: p.Name})
	}
	return errors.Join(err,
		r.bgp.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
			Name: "global", Direction: api.PolicyDirection_POLICY_DIRECTION_EXPORT, Policies: policies, DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
		}}),
		r.bgp.AddPolicy(ctx, &api.AddPolicyRequest{Policy: &api.Policy{Name: "ours", Statements: []*api.Statement{{
			Name:       "ours",
			Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
			Actions:    &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT},
		}}}}),
		r.bgp.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
			Name: "global", Direction: api.PolicyDirection_POLICY_DIRECTION_IMPORT, Policies: []*api.Policy{{Name: "ours"}}, DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
		}}))
}

// statement accepts what we made ourselves for one peer and family, with communities of its own.
func statement(n *Neighbor, set string, f Family, communities []string) *api.Statement {
	st := &api.Statement{Name: "to " + n.Name + " " + string(f), Conditions: &api.Conditions{
		NeighborSet: &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: set},
		AfiSafiIn:   []*api.Family{family(f)},
		RouteType:   api.Conditions_ROUTE_TYPE_LOCAL,
	}, Actions: &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT}}
	plain, large := kinds(communities)
	if len(plain) > 0 {
		st.Actions.Community = &api.CommunityAction{Type: api.CommunityAction_TYPE_ADD, Communities: plain}
	}
	if len(large) > 0 {
		st.Actions.LargeCommunity = &api.CommunityAction{Type: api.CommunityAction_TYPE_ADD, Communities: large}
	}
	return st
}

// hop sets the next hop of a family's routes, where there is one.
func hop(st *api.Statement, f Family, four, six netip.Addr) {
	a := six
	if f == Unicast4 {
		a = four
	}
	if a.IsValid() {
		st.Actions.Nexthop = &api.NexthopAction{Address: a.String()}
	}
}

func kinds(communities []string) (plain, large []string) {
	for _, c := range communities {
		if strings.Count(c, ":") == 1 {
			plain = append(plain, c)
		} else {
			large = append(large, c)
		}
	}
	return plain, large
}

func family(f Family) *api.Family {
	return &api.Family{Afi: api.Family_Afi(families[f].Afi()), Safi: api.Family_Safi(families[f].Safi())}
}

// retry is the seconds between attempts to connect.
const retry = 3

func (r *router) peer(ctx context.Context, n *Neighbor) error {
	password, err := n.password()
	if err != nil {
		return err
	}
	p := &api.Peer{
		Conf: &api.PeerConf{NeighborAddress: n.Address.Addr().String(), PeerAsn: n.AS, LocalAsn: n.LocalAS, AuthPassword: password, Description: n.Name},
		Transport: &api.Transport{
			PassiveMode: n.Passive, RemotePort: uint32(n.Address.Port()),
		},
		Timers: &api.Timers{Config: &api.TimersConfig{
			HoldTime: uint64(n.Hold.Seconds()), KeepaliveInterval: max(1, uint64(n.Hold.Seconds())/3), ConnectRetry: retry, IdleHoldTimeAfterReset: retry,
		}},
		GracefulRestart: &api.GracefulRestart{Enabled: false},
	}
	if n.Local.IsValid() {
		p.Transport.LocalAddress = n.Local.String()
	}
	if n.Multihop > 0 {
		p.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: uint32(n.Multihop)}
	}
	for _, f := range n.Families {
		p.AfiSafis = append(p.AfiSafis, &api.AfiSafi{
			Config:       &api.AfiSafiConfig{Family: family(f), Enabled: true},
			PrefixLimits: &api.PrefixLimit{Family: family(f), MaxPrefixes: uint32(n.Routes)}, // #nosec G115 -- Config.complete checks it
		})
	}
	return r.bgp.AddPeer(ctx, &api.AddPeerRequest{Peer: p})
}

// add tells routes: all of them, or with an error none.
func (r *router) add(routes ...route) error {
	var told []standing
	for _, x := range routes {
		p := &apiutil.Path{Family: families[x.family], Nlri: x.nlri, Attrs: slices.Clone(x.attrs)}
		if _, err := r.bgp.AddPath(apiutil.AddPathRequest{Paths: []*apiutil.Path{p}}); err != nil {
			return errors.Join(err, r.remove(told...))
		}
		told = append(told, standing{route: x})
	}
	return nil
}

// remove takes routes back.
func (r *router) remove(routes ...standing) error {
	if len(routes) == 0 {
		return nil
	}
	paths := make([]*apiutil.Path, len(routes))
	for i, x := range routes {
		paths[i] = &apiutil.Path{Family: families[x.family], Nlri: x.nlri, Attrs: slices.Clone(x.attrs), Withdrawal: true}
	}
	return r.bgp.DeletePath(apiutil.DeletePathRequest{Paths: paths})
}

// given is how many routes of a family a peer has been given, as GoBGP's Adj-RIB-Out says.
func (r *router) given(n *Neighbor, f Family, each func(key string)) error {
	return r.bgp.ListPath(apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_ADJ_OUT, Name: n.Address.Addr().String(), Family: families[f]}, func(nlri bgp.NLRI, _ []*apiutil.Path) {
		if b, err := nlri.Serialize(); err == nil {
			each(string(f) + " " + string(b))
		}
	})
}

// again lets a peer connect that was shut out because it sent too many routes.
func (r *router) again(ctx context.Context, n *Neighbor) error {
	return r.bgp.EnablePeer(ctx, &api.EnablePeerRequest{Address: n.Address.Addr().String()})
}
