package telescope

import (
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// Glimpse is one packet for a moving picture: who sent it, and what it was.
type Glimpse struct {
	Source  packet.Addr
	Stratum uint8
}

// Strata are the kinds of packet that the map tells apart by colour: SYN,
// answers, other TCP, UDP, ICMP, the rest.
const Strata = 6

// Second is what came to dark space in one second of the data's time, as seen
// by one worker: the true numbers, and a few packets of each stratum, drawn
// evenly (reservoir sampling), so that rare strata stay visible.
type Second struct {
	Unix   int64
	Total  [Strata]uint32
	Sample []Glimpse // at most glimpses of each stratum
}

// glimpses is how many packets of a stratum a worker keeps of each second: with
// two workers six strata make up to 1,200, twice what the map draws.
const glimpses = 100

func stratumOf(k observe.Kind, proto uint8) uint8 {
	switch {
	case k == observe.KindTCPSyn:
		return 0
	case k.Class() == observe.Backscatter || k.Class() == observe.Reflection:
		return 1
	case proto == packet.TCP:
		return 2
	case proto == packet.UDP:
		return 3
	case proto == packet.ICMP || proto == packet.ICMPv6:
		return 4
	}
	return 5
}

// glance is a worker's present second. Its randomness is a fixed sequence: the
// same packets give the same picture.
type glance struct {
	Second
	kept [Strata][]Glimpse
	rng  uint64
}

func (g *glance) see(j *job, out func(Second)) {
	if sec := j.t / 1e9; sec != g.Unix {
		g.show(out)
		g.Unix = sec
	}
	s := stratumOf(j.kind, j.Proto)
	g.Total[s]++
	if n := g.Total[s]; n <= glimpses {
		g.kept[s] = append(g.kept[s], Glimpse{j.Src, s})
	} else {
		g.rng = g.rng*6364136223846793005 + 1442695040888963407
		if at := g.rng >> 33 % uint64(n); at < glimpses {
			g.kept[s][at] = Glimpse{j.Src, s}
		}
	}
}

// show hands the second on and begins another.
func (g *glance) show(out func(Second)) {
	for s := range g.kept {
		g.Sample = append(g.Sample, g.kept[s]...)
		g.kept[s] = g.kept[s][:0]
	}
	if len(g.Sample) > 0 {
		out(g.Second)
	}
	g.Second = Second{}
}
