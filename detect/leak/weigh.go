package leak

import (
	"math"

	"sakimori/detect"
)

// sign is one kind of evidence.
type sign uint8

// The signs.
const (
	signUnexpected sign = iota
	signNewTransit
	signValley
	signTier1
	signOTC
	signASPA
	signBurst
	signJump
	signOrigin
	signMoreSpecific
	signSquat
	signFirstHop
	signUpstream
	signROV
	signLength
	signMOAS
	signHolder
	signMass
	signOwn
	signBlackhole
	signBogonPrefix
	signBogonAS
	signVisibility
	signSilent
	signCount
)

// signs is a set of them.
type signs uint32

func bit(s sign) signs { return 1 << s }

func (s signs) has(x sign) bool { return s&bit(x) != 0 }

const (
	// leakSigns are of a path that goes where it may not.
	leakSigns = signs(1<<signUnexpected | 1<<signNewTransit | 1<<signValley | 1<<signTier1 | 1<<signOTC | 1<<signASPA)
	// strong are those that may make an incident without any burst.
	strong = leakSigns &^ (1 << signNewTransit)
	// lasting stay although they have always been there.
	lasting = signs(1<<signBlackhole | 1<<signBogonAS)
)

// table says of each sign its name in the API, how sure it makes by itself, whether it
// decides (then a lone peer is believed), the group in which only the strongest counts, as
// they rest on the same, and its words, with the number of routes that show it.
var table = [signCount]struct {
	name    string
	score   float64
	decides bool
	group   uint8
	ja, en  string
}{
	signUnexpected:   {"unexpected-transit", 0.7, false, 0, "他網に経路を中継しない AS が 2 つの AS の間に立つ(%d 経路)", "an AS that sells no transit stands between two others (%d routes)"},
	signNewTransit:   {"new-transit", 0.35, false, 0, "これまで誰も通らなかった中継(%d 経路)", "a way through three ASes that nobody was seen to take (%d routes)"},
	signValley:       {"valley", 0.75, false, 1, "AS 間の関係に反して上り直す(谷のある経路、%d 経路)", "it climbs again after it came down, against the relations of the ASes (%d routes)"},
	signTier1:        {"between-tier1s", 0.85, false, 1, "Tier 1 の間に、Tier 1 でない AS が立つ(%d 経路)", "an AS that is no tier 1 stands between tier 1 networks (%d routes)"},
	signOTC:          {"otc", 0.9, true, 1, "OTC(RFC 9234)が、顧客だけに渡すべき経路だと示す(%d 経路)", "OTC (RFC 9234) says that it may go to customers only (%d routes)"},
	signASPA:         {"aspa-invalid", 0.75, false, 2, "登録された上位事業者(ASPA)に合わない(%d 経路)", "it doesn't fit the providers that the ASes registered (ASPA) (%d routes)"},
	signBurst:        {"more-specific-burst", 0.5, false, 0, "60 秒間に新しい細かい経路が集中(%d 経路)", "new more-specifics came in a burst of 60 seconds (%d routes)"},
	signJump:         {"adjacency-jump", 0.4, false, 0, "隣接を通る経路が 30 日間の最大の 100 倍以上(%d 経路)", "the adjacency has over a hundred times its maximum of 30 days (%d routes)"},
	signOrigin:       {"origin-change", 0.5, false, 3, "生成元がこれまでの AS でない(%d 経路)", "the origin isn't who announced it until now (%d routes)"},
	signMoreSpecific: {"more-specific", 0.45, false, 3, "他の AS の経路の内側を、別の AS が細かく広告(%d 経路)", "inside somebody's route another AS announces a part of it (%d routes)"},
	signSquat:        {"squatting", 0.7, false, 3, "広告されていない空間を、他の AS が広告(%d 経路)", "space that its owner doesn't announce is announced by another (%d routes)"},
	signFirstHop:     {"first-hop", 0.75, false, 3, "生成元の隣に、隣接したことがなく登録もない AS(%d 経路)", "beside the origin stands an AS that never was its neighbour, and isn't registered as one (%d routes)"},
	signUpstream:     {"new-upstream", 0.6, false, 3, "自網の経路が、設定にない隣接 AS を通る(%d 経路)", "own space is seen through an AS that isn't a neighbour (%d routes)"},
	signROV:          {"rov-invalid", 0.55, false, 4, "ROA に生成元がない(ROV Invalid、%d 経路)", "the ROAs don't know the origin (ROV invalid, %d routes)"},
	signLength:       {"rov-invalid-length", 0.5, false, 4, "ROA の最大長を超える(ROV Invalid、%d 経路)", "it is longer than the ROAs allow (ROV invalid, %d routes)"},
	signMOAS:         {"moas-conflict", 0.3, false, 0, "元の生成元も同時に広告している(%d 経路)", "the origin until now announces it too (%d routes)"},
	signHolder:       {"not-the-holder", 0.5, false, 0, "公開データでは、その空間は競う生成元の AS のもの(%d 経路)", "by open data the space is of the other AS that announces it (%d routes)"},
	signMass:         {"many-owners", 0.5, false, 0, "多数の所有者の空間を一度に(%d 経路)", "space of many owners at once (%d routes)"},
	signOwn:          {"own-space", 0.3, false, 0, "自網・顧客の空間が影響を受ける(%d 経路)", "own or customers' space is hit (%d routes)"},
	signBlackhole:    {"blackhole-out-of-place", 0.8, false, 0, "廃棄を求める経路(BLACKHOLE)が、その網の外へ漏れた(%d 経路)", "a route that asks to discard traffic left its scope (%d routes)"},
	signBogonPrefix:  {"bogon-prefix", 0.8, false, 0, "誰も広告してはならない空間(%d 経路)", "space that nobody may announce (%d routes)"},
	signBogonAS:      {"bogon-as", 0.7, false, 0, "誰にも割り当てられない AS 番号が経路にある(%d 経路)", "the path has an AS number that nobody may use (%d routes)"},
	signVisibility:   {"visibility", 0.9, true, 0, "見えていたピアから経路が消えた(%d ピア)", "peers that saw the route have lost it (%d peers)"},
	signSilent:       {"dark-silent", 0.5, false, 0, "その空間のダークネット観測が途絶えた(%d)", "dark space in it has fallen silent (%d)"},
}

// ownOrigin is the score of an own prefix with somebody else's origin: what was written
// down decides.
const ownOrigin = 0.85

// tally is what a case shows of a sign.
type tally struct {
	Count int
	Score float64 // the highest
}

// evidence joins the signs: 1 − Π(1 − s), in each group the strongest alone.
func evidence(t *[signCount]tally) (sum float64, decides bool) {
	none := 1.0
	var group [5]float64
	for s := range t {
		if t[s].Count == 0 {
			continue
		}
		decides = decides || table[s].decides
		if g := table[s].group; g != 0 {
			group[g] = max(group[g], t[s].Score)
		} else {
			none *= 1 - t[s].Score
		}
	}
	for _, g := range group {
		none *= 1 - g
	}
	return 1 - none, decides
}

// witness joins the peers: one of each AS, 1 − Π(1 − 0.8·weight).
func witness(weights map[uint32]float64) float64 {
	none := 1.0
	for _, w := range weights {
		none *= 1 - 0.8*w
	}
	return 1 - none
}

// weight is how far a peer is believed: less when it flaps, when it sends damaged messages,
// and hardly at all when it alone tells of many wrongs at once.
func (d *Detector) weight(n uint32) float64 {
	w := 1.0
	p := &d.peers[n]
	if p.solo > soloMost {
		w = 0.1
	}
	d.regard(n)
	if p.damped {
		w = min(w, 0.2)
	}
	if p.broken {
		w = min(w, 0.3)
	}
	return w
}

// regard looks how a peer does, as long as the table may be asked.
func (d *Detector) regard(n uint32) {
	if d.table == nil {
		return
	}
	if t := d.table.Peer(n); t != nil {
		p := &d.peers[n]
		p.damped, p.broken, p.whole = t.Damped, t.Elements > 0 && t.Malformed*100 > t.Elements, t.ServesAll
	}
}

// soloMost is how many cases of its own a peer may have within soloTime seconds.
// After soloAfter seconds nobody else has told of one.
const (
	soloMost  = 4
	soloTime  = 600
	soloAfter = 3
)

func round(x float64) float64 { return math.Round(x*1000) / 1000 }

// signal is a sign as an incident shows it.
func (t *tally) signal(s sign) detect.Signal {
	x := &table[s]
	return detect.Signal{Name: x.name, Score: round(t.Score), Count: t.Count, Words: detect.Textf(x.ja, x.en, t.Count)}
}
