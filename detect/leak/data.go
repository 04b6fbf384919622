package leak

// What everybody knows, as dated rows: the state of November 2026.

// blackhole is the community BLACKHOLE, 65535:666 (RFC 7999).
const blackhole = 65535<<16 | 666

// specialPrefixes are IANA's special-purpose address registries, those that aren't
// globally reachable, and the space that nobody was given.
var specialPrefixes = []struct{ prefix, source string }{
	{"0.0.0.0/8", "RFC 791"},
	{"10.0.0.0/8", "RFC 1918"},
	{"100.64.0.0/10", "RFC 6598"},
	{"127.0.0.0/8", "RFC 1122"},
	{"169.254.0.0/16", "RFC 3927"},
	{"172.16.0.0/12", "RFC 1918"},
	{"192.0.0.0/24", "RFC 6890"},
	{"192.0.2.0/24", "RFC 5737"},
	{"192.168.0.0/16", "RFC 1918"},
	{"198.18.0.0/15", "RFC 2544"},
	{"198.51.100.0/24", "RFC 5737"},
	{"203.0.113.0/24", "RFC 5737"},
	{"224.0.0.0/4", "RFC 1112"},
	{"240.0.0.0/4", "RFC 1112"},
	{"2001:2::/48", "RFC 5180"},
	{"2001:10::/28", "RFC 4843"},
	{"2001:db8::/32", "RFC 3849"},
	{"3fff::/20", "RFC 9637"},
}

// reservedAS says why nobody may stand in a path with a number, "" where that isn't so.
// AS_TRANS isn't among them: speakers of 2-byte numbers put it there for somebody else.
func reservedAS(as uint32) string {
	switch {
	case as == 0:
		return "RFC 7607"
	case as >= 64496 && as <= 64511, as >= 65536 && as <= 65551:
		return "RFC 5398"
	case as >= 64512 && as <= 65534, as >= 4200000000 && as <= 4294967294:
		return "RFC 6996"
	case as == 65535, as == 4294967295:
		return "RFC 7300"
	}
	return ""
}

// NoTransitRow is an AS that sells no transit: between two others it is out of place,
// whatever is known of their relations.
type NoTransitRow struct {
	AS  uint32
	Who string
}

// NoTransit are content networks that carry their own traffic alone. Those that announce
// customers' space as a service (Cloudflare, Prolexic, hosting companies) aren't among
// them. Source: the networks' own pages and PeeringDB types ("Content"), as of 2026-11.
var NoTransit = []NoTransitRow{
	{15169, "Google"},
	{36040, "Google (YouTube)"},
	{43515, "Google (YouTube)"},
	{19527, "Google"},
	{32934, "Meta"},
	{63293, "Meta"},
	{2906, "Netflix"},
	{40027, "Netflix"},
	{8075, "Microsoft"},
	{8068, "Microsoft"},
	{12076, "Microsoft"},
	{16509, "Amazon"},
	{14618, "Amazon"},
	{714, "Apple"},
	{6185, "Apple"},
	{20940, "Akamai"},
	{16625, "Akamai"},
	{54113, "Fastly"},
	{15133, "Edgecast"},
	{22822, "Limelight"},
	{13414, "Twitter"},
	{14413, "LinkedIn"},
	{36459, "GitHub"},
	{19679, "Dropbox"},
	{46489, "Twitch"},
	{32590, "Valve"},
	{57976, "Blizzard"},
	{6507, "Riot Games"},
	{2635, "Automattic"},
	{14907, "Wikimedia"},
	{19281, "Quad9"},
	{36692, "OpenDNS"},
	{138699, "TikTok"},
	{396986, "ByteDance"},
}

// organisations are ASes under one roof, between which routes may go any way.
var organisations = [][]uint32{
	{701, 702, 703},
	{3356, 3549, 209, 3561},
	{174, 1239},
	{7018, 2686, 2687},
	{3257, 4436},
	{6453, 4755},
	{12956, 3352, 6147},
	{15169, 36040, 43515, 19527, 36492, 396982, 139070, 16591, 36384, 36561},
	{8075, 8068, 8069, 12076, 3598},
	{16509, 14618, 7224, 8987},
	{32934, 63293, 54115},
	{2906, 40027, 55095},
	{714, 6185},
	{20940, 16625, 32787, 63949, 18717, 12222},
	{13414, 35995},
	{138699, 396986},
}

// tier1 are ASes that buy transit from nobody, and hardly ever were anybody's customer
// since 2015: whoever stands between two of them passes on what it shouldn't. They count
// where no file of relations brings its own clique. Source: the cliques of CAIDA's files
// that agree over the years.
var tier1 = []uint32{174, 701, 1299, 2914, 3257, 3320, 3356, 5511, 6453, 6461, 6762, 7018, 12956}

// listsSince is the day from which tier1 and NoTransit hold, in Unix seconds: 1 January 2015.
const listsSince = 1420070400
