package telescope

import (
	"math"

	"sakimori/observe"
)

// sighting is what the event of entry i did in its minute.
func (s *shard) sighting(i uint32) observe.Sighting {
	e, a := s.entries.at(i), s.asides.at(i)
	src := s.sources.at(e.source)
	g := observe.Sighting{
		Source: src.addr, Minute: int64(a.minute) * 60, First: a.firstIn, Last: e.last, Since: a.first,
		Packets: a.packets, Targets: uint32(s.targets(e).N), Total: e.total, //nolint:gosec // at most 2^24 dark addresses
		ASN: src.asn, Port: e.port, Proto: e.proto, Kind: observe.Kind(e.kind),
		Tool: tool(&e.evidence, &src.evidence), Flags: s.flags(e, src),
	}
	if k := countryOfIndex(src.place & (1<<placeBits - 1)); k != 0 {
		g.Country = [2]byte{byte(k >> 8), byte(k)} //nolint:gosec // two letters
	}
	for k, n := range a.bins {
		g.Bins[k] = uint32(n)
	}
	if a.first/60e9 == int64(a.minute) {
		g.Flags |= observe.FirstMinute
	}
	return g
}

func (s *shard) flags(e *entry, src *source) observe.Flags {
	f := observe.Flags(src.flags)
	if e.marks&markSpoof != 0 {
		f |= observe.SpoofHint
	}
	if e.solicited() {
		f |= observe.Solicited
	}
	if observe.Kind(e.kind) == observe.KindICMPError && e.marks&markShadow == 0 {
		f |= observe.Solicited // a router's error proves nothing about the router
	}
	baits := s.baits(e)
	if s.asksAmplifiers(e, src) {
		f |= observe.AmplifierAsk
	}
	// Whoever baits has usually asked three addresses before it shows.
	if e.marks&markScanner != 0 && !baits || s.isScan(e) {
		f |= observe.Scanner
	}
	return f
}

// solicited tells whether one in sixteen of an event's packets or more are
// answers to dark addresses that had sent something. Not one packet alone: the
// answers of a flood's victim go everywhere, and reach such an address sooner or
// later.
func (e *entry) solicited() bool {
	return observe.Kind(e.kind).SourcePort() && e.asks > 0 && (e.asks == math.MaxUint16 || 16*uint32(e.asks) >= e.total)
}

// isScan is the telescope's definition of a scan. One host that keeps calling
// one dark address, or two (a primary and its secondary), is misconfigured; a
// scan asks many. So: three addresses on one port, or fifteen ports in five
// minutes, or packets that only a scanning tool sends. A source that asks few
// addresses again and again for an amplified answer may be the intended victim.
func (s *shard) isScan(e *entry) bool {
	if observe.Kind(e.kind).Class() != observe.Scan || e.marks&markShadow != 0 {
		return false
	}
	src := s.sources.at(e.source)
	if src.marks&markPorts != 0 {
		return true
	}
	n := s.targets(e).N
	if s.baits(e) || e.marks&markPeer != 0 && n < peerTargets {
		return false
	}
	if n >= scanTargets {
		return true
	}
	t := tool(&e.evidence, &src.evidence)
	return t != observe.Unknown && t != observe.IrregularSYN
}

const scanTargets = 3

// peerTargets is how many dark addresses a program that talks to peers must ask
// until it is a scanner of peers, and not one whose peers have gone: Zeek's
// number of hosts for an address scan.
const peerTargets = 25

// baits tells whether a source asks few addresses, ten times each and more, for
// an amplified answer: so behaves an attacker who forges the victim's address
// and takes dark addresses for reflectors, not a scanner who looks for them.
func (s *shard) baits(e *entry) bool {
	return observe.Kind(e.kind) == observe.KindUDP && e.asks > 0 && e.total >= 10 && uint64(e.total) >= 10*s.targets(e).N
}

// asksAmplifiers tells whether an event asks for amplified answers, so that it may
// be somebody else's who forges the source. Where nobody can, it is a scan like others.
func (s *shard) asksAmplifiers(e *entry, src *source) bool {
	return observe.Kind(e.kind) == observe.KindUDP && e.asks > 0 && (s.cfg.verified == nil || !s.cfg.verified.contains(src.addr))
}

func (s *shard) targets(e *entry) observe.Unique { return s.blocks.count(&e.targets) }
