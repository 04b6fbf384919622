package sim

import "fmt"

// Knows is what the operator of the scene knows, and who tells, before any of it is
// played: a truth without incidents and counts.
func (s RouteScene) Knows() (RouteTruth, error) {
	n, err := s.set()
	if err != nil {
		return RouteTruth{}, fmt.Errorf("route scene %q: %w", s.Name, err)
	}
	t := n.finish()
	t.Incidents, t.Innocents, t.Peers = nil, nil, nil
	for i := range n.peers {
		t.Peers = append(t.Peers, n.peers[i].RoutePeer)
	}
	return t, nil
}
