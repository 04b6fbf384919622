package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// NamedRouteScene is a route scene with what it is for.
type NamedRouteScene struct {
	Name   string
	JA, EN string
	Scene  RouteScene
}

// RouteScenes are the labelled ones: leaks, hijacks and other events, and what only looks
// like one. The small drill is among them.
func RouteScenes() []NamedRouteScene {
	return namedRoutes(slices.Concat(leakScenes(), hijackScenes(), otherScenes(), calmScenes(), troubleScenes(), drillScenes()))
}

// AllRouteScenes are the labelled scenes and those that are too large for a test.
func AllRouteScenes() []NamedRouteScene { return namedRoutes(append(RouteScenes(), fullScenes()...)) }

func namedRoutes(list []NamedRouteScene) []NamedRouteScene {
	for i := range list {
		list[i].Scene.Name, list[i].Scene.Seed = list[i].Name, uint64(i)+1
	}
	return list
}

// RouteNames are the scenes that RouteSceneByName knows.
func RouteNames() (names []string) {
	for _, s := range AllRouteScenes() {
		names = append(names, s.Name)
	}
	return names
}

// RouteSceneByName is the route scene of that name, made from the seed. An unknown name is
// an error that lists the known ones.
func RouteSceneByName(name string, seed uint64) (RouteScene, error) {
	for _, s := range AllRouteScenes() {
		if s.Name == name {
			s.Scene.Seed = seed
			return s.Scene, nil
		}
	}
	return RouteScene{}, fmt.Errorf("there is no route scene %q: use one of %s", name, strings.Join(RouteNames(), ", "))
}

// The usual times: quiet at first, an event, and long enough after it for everything to be over.
const (
	routeAt   = 5 * time.Minute
	routeFor  = 8 * time.Minute
	routeLong = 22 * time.Minute
)

func routes(name, ja, en string, events ...RouteEvent) NamedRouteScene {
	return NamedRouteScene{Name: name, JA: ja, EN: en, Scene: RouteScene{
		Start: time.Date(2026, 11, 2, 3, 0, 0, 0, time.UTC), Duration: routeLong,
		Events: append(events, RouteChurn{Count: 6}),
	}}
}

// in has a scene in another world.
func (s NamedRouteScene) in(w RouteWorld) NamedRouteScene {
	s.Scene.World = w
	return s
}

func (s NamedRouteScene) lasting(d time.Duration) NamedRouteScene {
	s.Scene.Duration = d
	return s
}

func leakScenes() []NamedRouteScene {
	leak := func(kind, prefixes int) RouteLeak {
		return RouteLeak{Type: kind, Prefixes: prefixes, At: routeAt, For: routeFor, Within: 10 * time.Second}
	}
	with := func(l RouteLeak, f func(*RouteLeak)) RouteLeak {
		f(&l)
		return l
	}
	all, bare := RouteWorld{ASPAs: 1}, RouteWorld{ROAs: -1, ASPAs: -1}
	return []NamedRouteScene{
		routes("leak-1", "RFC 7908 type 1: 提供者から提供者へ", "RFC 7908 type 1: from a provider to a provider", leak(1, 200)),
		routes("leak-2", "type 2: ピアからピアへ", "type 2: from a peer to a peer", leak(2, 10)).in(bare),
		routes("leak-3", "type 3: 提供者からピアへ", "type 3: from a provider to a peer", leak(3, 12)).in(bare),
		routes("leak-4", "type 4: ピアから提供者へ", "type 4: from a peer to a provider", leak(4, 30)),
		routes("leak-5", "type 5: 自分の経路として再広告(50 網)", "type 5: announced as one's own (of 50 networks)", RouteHijack{Form: "exact", Whose: "other", Victims: 50, At: routeAt, For: routeFor, Big: true}),
		routes("leak-6", "type 6: 内部の細かい経路の流出", "type 6: internal more-specifics get out", RouteInternals{Prefixes: 400, At: routeAt, For: routeFor}),
		routes("leak-own", "自網と顧客の経路が漏れる", "own and customers' routes leak", with(leak(1, 10), func(l *RouteLeak) { l.Own = true })),
		routes("leak-5-prefixes", "5 経路だけの漏れ", "a leak of five prefixes", leak(1, 5)).in(bare),
		routes("leak-20000", "2 万経路の漏れ", "a leak of 20,000 prefixes", with(leak(1, 20_000), func(l *RouteLeak) { l.Within = 40 * time.Second })).in(RouteWorld{Prefixes: 30_000, Peers: 8}),
		routes("leak-one-peer", "20 の観測点の 1 つだけが見る漏れ", "seen by one vantage point of twenty", with(leak(3, 6), func(l *RouteLeak) { l.Alone = true })),
		routes("leak-pulse", "現れては消える漏れ", "a leak that comes and goes", with(leak(1, 40), func(l *RouteLeak) { l.For, l.Times, l.Pause = 90*time.Second, 4, 60*time.Second })),
		routes("leak-two", "同時の二つの漏れ", "two leaks at once", leak(1, 60), with(leak(4, 20), func(l *RouteLeak) { l.At += 40 * time.Second })),
		routes("leak-all-upstreams", "すべての提供者への漏れ", "to all its providers", with(leak(1, 60), func(l *RouteLeak) { l.Both = true })),
		routes("leak-slow", "4 分かけて広がる漏れ", "a leak that grows over four minutes", with(leak(1, 150), func(l *RouteLeak) { l.Within = 4 * time.Minute })),
		routes("leak-short", "40 秒で直る漏れ", "corrected after 40 seconds", with(leak(1, 60), func(l *RouteLeak) { l.For = 40 * time.Second })),
		routes("leak-otc", "OTC の付いた経路の漏れ(関係は不明)", "routes marked OTC (the relation is in no file)", with(leak(1, 20), func(l *RouteLeak) { l.Marked, l.Signals = true, []string{"otc"} })).in(RouteWorld{ASPAs: -1}),
		routes("leak-aspa", "ASPA だけで分かる漏れ", "what only ASPA tells", with(leak(1, 60), func(l *RouteLeak) { l.Hidden, l.Signals = true, []string{"aspa-invalid"} })).in(all),
	}
}

func hijackScenes() []NamedRouteScene {
	h := func(form, whose string, more ...func(*RouteHijack)) RouteHijack {
		x := RouteHijack{Form: form, Whose: whose, At: routeAt, For: routeFor}
		for _, f := range more {
			f(&x)
		}
		return x
	}
	bare := RouteWorld{ROAs: -1, ASPAs: -1}
	return []NamedRouteScene{
		routes("hijack-own", "自網の経路の乗っ取り(同じ長さ)", "own prefixes, exactly", h("exact", "own")),
		routes("hijack-customer", "顧客の経路の乗っ取り", "a customer's, exactly", h("exact", "customer")),
		routes("hijack-other", "他網の経路の乗っ取り", "somebody else's, exactly", h("exact", "other")),
		routes("hijack-other-bare", "他網の乗っ取り(ROA なし)", "somebody else's, with no ROA anywhere", h("exact", "other")).in(bare),
		routes("hijack-part-own", "自網の一部の乗っ取り", "a part of an own prefix", h("more-specific", "own")),
		routes("hijack-part-customer", "顧客の一部の乗っ取り", "a part of a customer's", h("more-specific", "customer")),
		routes("hijack-part-other", "他網の一部の乗っ取り", "a part of somebody else's", h("more-specific", "other")),
		routes("hijack-part-6", "IPv6 の一部の乗っ取り", "a part of an own IPv6 prefix", h("more-specific", "own", func(x *RouteHijack) { x.IPv6, x.Bits = true, 8 })),
		routes("squatting", "使われていない自網の空間", "own space that nobody announced", h("squatting", "own")),
		routes("forged-hop", "発信元を偽る経路", "the owner's number behind the hijacker's", h("first-hop", "own")),
		routes("forged-hop-other", "他網の発信元を偽る経路", "the same of somebody else", h("first-hop", "other")).in(RouteWorld{ASPAs: 1}),
		routes("forged-deeper", "その先まで偽る経路", "with the owner's provider between them", h("deeper", "own")).in(RouteWorld{ASPAs: 1}),
		routes("hijack-mass", "110 網の大量の再広告", "110 networks' prefixes announced at once", h("exact", "other", func(x *RouteHijack) { x.Victims, x.Big = 110, true })),
		routes("hijack-pulse", "現れては消える乗っ取り", "a hijack that comes and goes", h("more-specific", "own", func(x *RouteHijack) { x.For, x.Times, x.Pause = time.Minute, 4, time.Minute })),
		routes("hijack-and-leak", "乗っ取りと漏れが同時に", "a hijack and a leak at once", h("more-specific", "own"), RouteLeak{Type: 1, Prefixes: 40, At: routeAt + 20*time.Second, For: routeFor}),
	}
}

func otherScenes() []NamedRouteScene {
	return []NamedRouteScene{
		routes("outage-own", "自網の経路が消える", "own prefixes vanish", RouteOutage{At: routeAt, For: routeFor}),
		routes("outage-part", "自網の経路の半分が消える", "half of the own prefixes vanish", RouteOutage{At: routeAt, For: routeFor, Share: 50}),
		routes("blackhole", "破棄用 /32 の流出", "a /32 to be discarded gets out", RouteEscape{What: "blackhole", At: routeAt, For: routeFor}),
		routes("blackhole-own", "顧客の破棄用 /32 の流出", "the same of an own customer", RouteEscape{What: "blackhole", Own: true, At: routeAt, For: routeFor}),
		routes("bogon", "プライベート空間の広告", "private space is announced", RouteEscape{What: "bogon", At: routeAt, For: routeFor}),
		routes("bogon-as", "プライベート AS 番号の流出", "a private AS number gets out", RouteEscape{What: "private-as", At: routeAt, For: routeFor}),
	}
}

func calmScenes() []NamedRouteScene {
	move := func(what string) RouteMove { return RouteMove{What: what, At: routeAt, For: routeFor} }
	return []NamedRouteScene{
		routes("calm", "普段の日", "an ordinary day", RouteChurn{Count: 40}),
		routes("flap", "繰り返す断続", "one AS flaps", RouteFlap{At: routeAt, Times: 12, Every: 30 * time.Second}),
		routes("flap-own", "顧客の断続", "an own customer flaps", RouteFlap{At: routeAt, Times: 8, Every: 40 * time.Second, Own: true}),
		routes("core-link", "基幹の切断(経路の探索)", "a core link fails: paths are hunted for", RouteCut{What: "core", At: routeAt, For: routeFor}),
		routes("uplink", "上流の切断", "a transit AS loses an uplink", RouteCut{What: "uplink", At: routeAt, For: routeFor}),
		routes("own-uplink", "自網の上流の切断", "the operator loses a provider", RouteCut{What: "own", At: routeAt, For: routeFor}),
		routes("maintenance", "予告した作業", "maintenance that was told", move("maintenance")),
		routes("new-peering", "正当な新しいピア", "a legitimate new peering", RouteMove{What: "peering", At: routeAt}),
		routes("new-customer", "新しい顧客網", "a new network with its providers", RouteMove{What: "customer", At: routeAt}),
		routes("new-upstream", "自網の新しい提供者", "the operator's new provider", RouteMove{What: "upstream", At: routeAt}),
		routes("deaggregation", "持ち主による分割広告", "the owner splits its space", move("deaggregation")),
		routes("prepending", "経路長の変更", "a path is made longer", move("prepending")),
		routes("sibling", "同じ組織の AS への移管", "prefixes go over to a sibling", RouteMove{What: "sibling", At: routeAt}),
		routes("anycast", "エニーキャストの新しい拠点", "one more origin of an anycast prefix", move("anycast")),
		routes("backup", "予備の回線への切替", "a backup link takes over", move("backup")),
		routes("provider-change", "提供者の変更", "a change of provider", RouteMove{What: "provider", At: routeAt}),
		routes("mitigation", "DDoS 対策事業者による広告", "a mitigation provider announces a customer's /24", move("mitigation")),
	}
}

func troubleScenes() []NamedRouteScene {
	return []NamedRouteScene{
		routes("reset", "セッションの切断と全経路の再送", "a session ends and its whole table comes again", RouteSession{What: "reset", Peer: 2, At: routeAt, For: 20 * time.Second}, RouteSession{What: "reset", Peer: 7, At: routeAt + 3*time.Minute, For: 5 * time.Second}),
		routes("reset-in-leak", "漏れの最中のセッション切断", "a session ends in mid-leak", RouteLeak{Type: 1, Prefixes: 60, At: routeAt, For: routeFor}, RouteSession{What: "reset", Peer: 0, At: routeAt + 2*time.Minute, For: 20 * time.Second}, RouteSession{What: "reset", Peer: 1, At: routeAt + 2*time.Minute, For: 20 * time.Second}),
		routes("silent", "黙ってしまう観測点", "a peer falls silent", RouteSession{What: "silent", Peer: 3, At: routeAt}),
		routes("clock-behind", "時計の遅れた観測点", "a peer whose clock is ten minutes behind", RouteSession{What: "clock", Peer: 4, At: routeAt, For: -10 * time.Minute}, RouteChurn{Count: 30}),
		routes("clock-ahead", "時計の進んだ観測点", "a peer whose clock is ten minutes ahead", RouteSession{What: "clock", Peer: 4, At: routeAt, For: 10 * time.Minute}, RouteChurn{Count: 30}),
		routes("damaged", "壊れた属性(RFC 7606)", "damaged attributes (RFC 7606)", RouteDamage{Peer: 1, At: routeAt, Count: 30}),
		routes("garbage", "でたらめを伝える観測点", "a peer tells nonsense", RouteGarbage{Peer: 6, At: routeAt, For: routeFor, Prefixes: 300}),
		routes("garbage-and-leak", "でたらめの中の本当の漏れ", "a real leak amid a peer's nonsense", RouteLeak{Type: 1, Prefixes: 60, At: routeAt, For: routeFor}, RouteGarbage{Peer: 6, At: routeAt, For: routeFor, Prefixes: 300}),
	}
}

// drill2017 is the drill at a size.
func drill2017(name, ja, en string, w RouteWorld, prefixes, own int) NamedRouteScene {
	s := routes(name, ja, en, RouteDrill{Prefixes: prefixes, Own: own, At: 2*time.Minute + 54*time.Second}).in(w).lasting(25 * time.Minute)
	s.Scene.Start = time.Date(2017, 8, 25, 3, 20, 0, 0, time.UTC)
	return s
}

func drillScenes() []NamedRouteScene {
	return []NamedRouteScene{
		drill2017("leak-2017", "2017年8月25日の形(小)", "the shape of 25 August 2017, small", RouteWorld{Peers: 8}, 3200, 500),
		drill2017("leak-2017-historical", "同(公開記録の AS 番号、小)", "the same with the AS numbers of the public record, small", RouteWorld{Peers: 8, Historical: true}, 3200, 500),
	}
}

func fullScenes() []NamedRouteScene {
	full := RouteWorld{Tier1: 8, Transit: 60, Regional: 200, Content: 12, Stubs: 1500, Peers: 8, Prefixes: 650_000}
	historical := full
	historical.Historical = true
	mass := full
	mass.Prefixes, mass.Peers, mass.Sharing = 960_000, 4, 6
	storm := routes("storm", "100 万経路×4 の表と 50 万の更新(性能試験用)", "a table of a million routes × 4 and 500,000 messages, for benchmarks", RouteStorm{Messages: 500_000, Each: 4}).in(mass).lasting(2 * time.Hour)
	return []NamedRouteScene{
		drill2017("leak-2017-full", "2017年8月25日の形(65 万経路、16 万の細かい経路)", "the shape of 25 August 2017: 160,000 more-specifics over a table of 650,000", full, 160_000, 25_000),
		drill2017("leak-2017-historical-full", "同(公開記録の AS 番号)", "the same with the AS numbers of the public record", historical, 160_000, 25_000),
		storm,
	}
}
