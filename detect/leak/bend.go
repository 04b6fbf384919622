package leak

import "sakimori/observe"

// step is what is known of one step of a route, from one AS to the next: that it doesn't
// climb from a customer to its provider, or that it doesn't come down from a provider to
// its customer; and by which witness.
type step struct {
	notUp, notDown   float64 // how sure, 0 not known
	upSign, downSign sign
}

// stepOf asks relations, the clique and ASPAs about the step from a to b.
func (d *Detector) stepOf(a, b uint32) (s step) {
	s.upSign, s.downSign = signValley, signValley
	rel, score := d.related(b, a)
	switch rel {
	case observe.ASProvider:
		s.notDown = score
	case observe.ASCustomer:
		s.notUp = score
	case observe.ASPeer:
		s.notUp, s.notDown = score, score
	case observe.ASSibling:
		return s
	case observe.ASUnknown:
		// Nobody is a tier 1's provider, so a step to one never comes down, and one from it
		// never climbs.
		if d.tier1(b) {
			s.notDown, s.downSign = 0.95, signTier1
		}
		if d.tier1(a) {
			s.notUp, s.upSign = 0.95, signTier1
		}
	}
	if d.ports.Hop == nil {
		return s
	}
	up, down := d.ports.Hop(a, b), d.ports.Hop(b, a)
	if up == observe.ASPAValid && down == observe.ASPAValid { // each other's: anything goes
		return step{}
	}
	// What ASes have registered counts more than what was inferred.
	switch {
	case up == observe.ASPAValid:
		s.notUp, s.notDown, s.downSign = 0, 1, signASPA
	case up == observe.ASPAInvalid && s.notUp < 1:
		s.notUp, s.upSign = 1, signASPA
	}
	switch {
	case down == observe.ASPAValid:
		s.notDown, s.notUp, s.upSign = 0, 1, signASPA
	case down == observe.ASPAInvalid && s.notDown < 1:
		s.notDown, s.downSign = 1, signASPA
	}
	return s
}

// bend finds where a way goes on up or sideways after it had gone sideways or down: the AS
// there passed on what it may not. It gives its place, -1 where there is none.
//
// Between the two steps there may be some of which nothing is known. Then the last AS
// before the way goes up again is taken for the leaker, as what came down to it is the
// likelier the further it came, and the score is less.
func (d *Detector) bend(e *path, way []uint32, t *observe.RoutePath) int {
	top, sure, by := -1, 0.0, signValley
	for i := 0; i+1 < len(way); i++ {
		s := d.stepOf(way[i], way[i+1])
		if top >= 0 && s.notDown > 0 {
			score := min(sure, s.notDown)
			if i > top+1 {
				score *= 0.8
			}
			e.score = uint8(score * 255)
			w := s.downSign
			switch {
			case by == signOTC || w == signOTC:
				w = signOTC
			case by == signASPA || w == signASPA:
				w = signASPA
			case by == signTier1:
				w = signTier1
			}
			e.signs |= bit(w)
			return i
		}
		// OTC says that its AS told the route to a customer or a peer (RFC 9234).
		if t.HasOTC && t.OTC == way[i] && s.notUp < 1 {
			s.notUp, s.upSign = 1, signOTC
		}
		if s.notUp > sure {
			// The first place counts; a surer witness further on replaces a doubtful one.
			if top < 0 || s.notUp > sure+0.3 {
				top, sure, by = i, s.notUp, s.upSign
			}
		}
	}
	return -1
}

// forged finds an origin, or somebody behind it, that registered its providers and stands
// behind an AS that isn't one of them, was never seen beside it, and is nothing to it by
// any data: then the path is made up. It takes a bend behind it: a new peering that was
// told to customers alone is as it should be.
func (d *Detector) forged(e *path, way []uint32, bent int) {
	if !e.warm || d.ports.Hop == nil {
		return
	}
	for i := 0; i < min(bent, 2); i++ {
		a, b := way[i], way[i+1]
		if d.ports.Hop(a, b) != observe.ASPAInvalid || d.ports.Hop(b, a) == observe.ASPAValid || d.relation(a, b) != observe.ASUnknown || d.pairs.find(pairKey(b, a)) != nil || d.pairs.find(pairKey(a, b)) != nil {
			continue
		}
		e.signs = e.signs&^leakSigns | bit(signFirstHop)
		e.from, e.leaker, e.to = a, b, 0
		if i+2 < len(way) {
			e.to = way[i+2]
		}
		return
	}
}

// offered judges the last step, from a neighbour to a router of ours, by the roles that
// were written down (RFC 9234): from a customer or peer, what it had of a provider or peer
// is a leak.
func (d *Detector) offered(e *path, t *observe.RoutePath, way []uint32) {
	if len(way) < 2 {
		return
	}
	rel, ok := d.rules.neighbors[way[len(way)-1]]
	if !ok || rel != observe.ASCustomer && rel != observe.ASPeer {
		return
	}
	if t.HasOTC && (rel == observe.ASCustomer || t.OTC != way[len(way)-1]) {
		e.offer |= bit(signOTC)
	}
	for i := 0; i+1 < len(way); i++ {
		if s := d.stepOf(way[i], way[i+1]); s.notUp >= 0.5 {
			e.offer |= bit(s.upSign)
			e.score = max(e.score, uint8(s.notUp*255))
			break
		}
	}
}
