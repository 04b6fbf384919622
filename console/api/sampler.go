package api

import (
	"math/rand/v2"
	"time"
)

// The strata of the map: the protoIndex of an arc.
const (
	MapSYN         = iota // TCP SYN
	MapBackscatter        // SYN-ACK, RST and other answers
	MapTCP                // other TCP
	MapUDP
	MapICMP
	MapOther
	MapStrata // how many there are
)

const (
	arcsPerSecond = 600
	floorPerProto = 10 // arcs a second that a stratum gets before the others share
)

// Arc is one source at work, from where it is estimated to be. It is written
// as [lat, lon, protoIndex, n].
type Arc struct {
	Lat, Lon float32 // degrees
	Proto    uint8   // protoIndex, below MapStrata
	N        uint32  // packets
}

// MapTotals are the true figures of the span that a frame covers.
type MapTotals struct {
	Packets [MapStrata]uint64
	Hosts   uint64 // distinct sources
	Elapsed time.Duration
}

// MapFrame is what the map draws in one step.
type MapFrame struct {
	Time     time.Time          `json:"time"`
	Sampled  bool               `json:"sampled" doc:"some arcs were left out"`
	Shown    int                `json:"shown" doc:"arcs in this frame"`
	TotalPPS float64            `json:"total_pps" doc:"true packets/s, drawn or not"`
	Arcs     []Arc              `json:"arcs"`
	ByProto  [MapStrata]float64 `json:"by_proto" doc:"true packets/s by protoIndex"`
	Rates    [MapStrata]float64 `json:"rates" doc:"share of the offered arcs that is drawn, by protoIndex; 1 when all are"`
	Hosts    uint64             `json:"hosts"`
}

// MapSampler picks the arcs to draw: at most 600 in any span of a second, and
// in each second of the clock at least 10 of each protoIndex that has so many,
// so that the rare ones stay visible. The same seed and calls give the same
// picks. It isn't for concurrent use.
type MapSampler struct {
	rnd    *rand.Rand
	second int64          // of the clock, of the last frame
	floor  [MapStrata]int // drawn under the floor in that second
	recent []drawn        // frames of the last second, oldest first
	last   time.Time
}

// drawn is how much of the shared purse a frame took.
type drawn struct {
	at time.Time
	n  int
}

// NewMapSampler makes a sampler.
func NewMapSampler(seed uint64) *MapSampler {
	return &MapSampler{rnd: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))} //nolint:gosec // a picture, no secret
}

// Frame picks from arcs, whose order it changes. Arcs with a Proto out of range
// are left out. now must not go back.
func (m *MapSampler) Frame(now time.Time, arcs []Arc, t MapTotals) MapFrame {
	strata := split(arcs)
	quota := m.quota(now, strata)
	f := MapFrame{Time: now, Arcs: []Arc{}, Hosts: t.Hosts}
	for i, s := range strata {
		f.Rates[i] = 1
		if quota[i] < len(s) {
			f.Sampled = true
			f.Rates[i] = float64(quota[i]) / float64(len(s))
			m.pick(s, quota[i])
		}
		f.Arcs = append(f.Arcs, s[:quota[i]]...)
		if sec := t.Elapsed.Seconds(); sec > 0 {
			f.ByProto[i] = float64(t.Packets[i]) / sec
			f.TotalPPS += f.ByProto[i]
		}
	}
	f.Shown = len(f.Arcs)
	return f
}

func split(arcs []Arc) (strata [MapStrata][]Arc) {
	for _, a := range arcs {
		if a.Proto < MapStrata {
			strata[a.Proto] = append(strata[a.Proto], a)
		}
	}
	return strata
}

// quota shares out the frame's arcs. There are two purses, so that a flood can't
// spend what the others are promised: 10 for each stratum in a second of the
// clock, which can meet twice in one span of a second, and what is then left of
// the 600 for all by their numbers.
func (m *MapSampler) quota(now time.Time, strata [MapStrata][]Arc) (quota [MapStrata]int) {
	const purse = arcsPerSecond - 2*MapStrata*floorPerProto
	if sec := now.Unix(); sec != m.second {
		m.second, m.floor = sec, [MapStrata]int{}
	}
	shared := m.left(now, purse)
	left := 0 // arcs that the floor didn't serve
	for i, s := range strata {
		quota[i] = min(len(s), floorPerProto-m.floor[i])
		m.floor[i] += quota[i]
		left += len(s) - quota[i]
	}
	use := drawn{at: now}
	for i, s := range strata { // what is left shrinks as it is shared, so the sum is exact
		if left == 0 {
			break
		}
		rest := len(s) - quota[i]
		n := min(rest, (shared*rest+left/2)/left)
		left -= rest
		shared -= n
		quota[i] += n
		use.n += n
	}
	m.recent = append(m.recent, use)
	return quota
}

// left is what a frame may take of the shared purse: what the last second left
// over, but no more than the time since the last frame is worth.
func (m *MapSampler) left(now time.Time, purse int) int {
	for len(m.recent) > 0 && now.Sub(m.recent[0].at) >= time.Second {
		m.recent = m.recent[1:]
	}
	left := purse
	for _, d := range m.recent {
		left -= d.n
	}
	pace := purse / 10 // of a first frame
	if !m.last.IsZero() {
		pace = int(float64(purse) * min(1, now.Sub(m.last).Seconds()))
	}
	m.last = now
	return max(0, min(left, pace))
}

// pick moves n arcs, chosen evenly, to the front.
func (m *MapSampler) pick(s []Arc, n int) {
	for i := range n {
		j := i + m.rnd.IntN(len(s)-i)
		s[i], s[j] = s[j], s[i]
	}
}
