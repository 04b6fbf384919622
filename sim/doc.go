// Package sim is a seeded small Internet with known truth: it writes captures
// of what a network telescope would see, and says what everybody in them is.
//
// It never sends anything but to this machine itself. A Scene has Actors (scanners, bots, flooded servers,
// misconfigured hosts); each of them generates its next packet when asked, so a
// capture of any length is written in bounded memory, in order of time, and the
// same seed gives the same bytes. What was written is added up in a Truth, from
// the packets themselves: a detector's findings are measured against it.
//
// A Town is an access network beside it: its Life is lines with sessions, addresses
// that pass on, a translator, devices that are infected, cleaned and infected again.
// It writes the logs that an operator would have of that, and a TownTruth.
//
// A FlowScene is what passes an operator's routers, and how they tell of it: attacks,
// the busy and the ordinary, as NetFlow, IPFIX and sFlow, and a FlowTruth.
//
// A RouteScene is a small Internet's routing: ASes that choose and pass on, leaks, hijacks
// and what only looks like one, as MRT files and BMP, and a RouteTruth.
//
// Everything is synthetic. Who plays a role by name (infected subscribers,
// victims, research scanners) lives in documentation and benchmark ranges
// (RFC 5737, RFC 2544, RFC 3849); the mass of sources is drawn at random from
// country blocks so that a map looks like one, and stands for nobody.
package sim
