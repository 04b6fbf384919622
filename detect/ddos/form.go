package ddos

import (
	"math"
	"math/bits"
)

// verdict is what the traffic of an object looks like.
type verdict struct {
	attack  bool
	measure measure
	flood   [classes]float64 // packets a second of what came on top that ordinary traffic doesn't explain
	bytes   [classes]float64
	share   float64          // of what came on top, in the measure that crossed
	both    bool             // the other direction is told as well
	known   bool             // what is usual is known, and was taken off
	sources int              // about how many there are, at least
	old     bool             // nothing is known, and it was there when we began to look
	few     bool             // a few of them send most
	quick   bool             // beyond doubt: one second is enough
	sum     float64          // of what has the form, a second, in the measure that crossed
	top     [classes]float64 // what came on top, packets a second
	scan    bool             // they ask many ports, or many addresses: a scan
}

// vouches is for how many packets one packet the other way vouches: acknowledgements of
// TCP and QUIC come at least after every tenth packet or so. Where a few sources send
// most, as in a backup or a speed test, buffers on the way make it fewer still.
const (
	vouches    = 16
	vouchesFew = 64
	perSYN     = 4 // a connection that carries something has so many further packets at least
	// manyServers is how many servers answer at once in no other case than reflection.
	manyServers = 1000
	enough      = 0.6 // the share of what came on top that must have a form of attack
)

// form says what of an object's traffic has the form of an attack. It looks at what came
// on top of what is usual for the object, or at all of it as long as that isn't known.
// What is answered isn't a flood: somebody floods without being listened to.
func (d *Detector) form(w *warm, recent, usual *mix, m measure, line float64) (v verdict) {
	v.measure = m
	v.sources, v.few = w.senders(), w.few()
	v.scan = w.role == hit && v.few && w.ports() > 64 || (w.role == takes || w.role == foreign) && w.targets() > 64
	v.both = d.bothOf(w, usual)

	var x, xb, xf, y [classes]float64
	total := v.take(w, recent, usual, &x, &xb, &xf, &y)
	if !v.known || total[m] < line/4 && w.known < 60 {
		// Nothing is known that could be taken off, or hardly anything came on top.
		v.known = false
		total = v.take(w, recent, &mix{}, &x, &xb, &xf, &y)
		v.known = false
	}
	if total[byPackets] == 0 {
		return v
	}
	// What was there when we began to look may have been so for years.
	v.old = !v.known && w.born < d.begun+epoch
	if v.both {
		v.unanswered(w, d, &x, &y)
	} else {
		v.oneWay(&x, total[byPackets], w.role == takes || w.role == foreign)
	}
	var sum float64
	for c := range classes {
		v.flood[c] = min(max(v.flood[c], 0), x[c])
		if x[c] <= 0 {
			continue
		}
		part := v.flood[c] / x[c]
		v.bytes[c] = part * xb[c]
		switch m {
		case byPackets:
			sum += v.flood[c]
		case byBits:
			sum += 8 * v.bytes[c]
		default:
			sum += part * xf[c]
		}
	}
	v.share, v.sum, v.top = sum/max(total[m], 1e-9), sum, x
	v.attack = v.share >= enough && sum >= line/8 && !d.waits(w, &v)
	v.quick = v.attack && v.doubtless(total[byPackets])
	if m == byFlows && v.sources < carpet && w.role == hit {
		v.attack = false // a few clients in a hurry
	}
	return v
}

// waits tells whether the other half of a few long flows may still be told.
func (d *Detector) waits(w *warm, v *verdict) bool {
	if !v.both || !v.few || w.lumpy() < 0.5 {
		w.suspect = 0
		return false
	}
	if w.suspect == 0 {
		w.suspect = d.now
	}
	return d.now-w.suspect < patience
}

// lumpy is the share of the packets of late in flows that are told after many seconds.
func (w *warm) lumpy() float32 {
	var all float32
	for c := range classes {
		all += w.recent.p[c]
	}
	return w.lumps / max(all, 1)
}

// doubtless tells whether nothing ordinary looks so even for a second: hundreds of
// sources that send nearly nothing but requests, refusals, nonsense or the answers of
// reflectors.
func (v *verdict) doubtless(total float64) bool {
	n := v.flood[synOnly] + v.flood[tcpOdd]
	for c := reflected; c < classes; c++ {
		n += v.flood[c]
	}
	return v.sources >= 200 && !v.few && n > 0.9*total
}

// take makes what came on top: forwards x in packets, xb bytes, xf new flows; y back.
func (v *verdict) take(w *warm, r, u *mix, x, xb, xf, y *[classes]float64) (total [measures]float64) {
	grown := float64(w.grown())
	v.known = w.known >= leastKnown
	for c := range classes {
		x[c] = max(float64(r.p[c])-grown*float64(u.p[c]), 0)
		xb[c] = max(float64(r.b[c])-grown*float64(u.b[c]), 0)
		xf[c] = max(float64(r.f[c])-grown*float64(u.f[c]), 0)
		y[c] = max(float64(r.k[c])-grown*float64(u.k[c]), 0)
		total[byPackets] += x[c]
		total[byBits] += 8 * xb[c]
		total[byFlows] += xf[c]
	}
	return total
}

// unanswered takes off what the packets the other way vouch for.
func (v *verdict) unanswered(w *warm, d *Detector, x, y *[classes]float64) {
	by := float64(vouches)
	if v.few && w.role == hit {
		by = vouchesFew
	}
	tcp := y[tcpData] + y[ackOnly] + y[tcpEmpty]
	var udp float64
	for c := udpAny; c < classes; c++ {
		if kinds[c].proto == 17 {
			udp += y[c]
		}
	}
	f := &v.flood
	established := x[ackOnly] + x[tcpData]
	f[synOnly] = x[synOnly] - (established+x[tcpEmpty])/perSYN
	f[synAck] = x[synAck] - 2*y[synOnly] - y[tcpData]
	f[rstOnly] = x[rstOnly] - y[synOnly] - tcp
	long := 0.0 // how much is answered in the last minutes
	if w.lumpy() > 0.5 {
		long = float64(w.long[1] / max(w.long[0], 1))
	}
	if established > 0 {
		alone := max(1-by*max(tcp/established, long), 0)
		f[ackOnly], f[tcpData] = alone*x[ackOnly], alone*x[tcpData]
	}
	f[tcpOdd], f[tcpEmpty] = x[tcpOdd], x[tcpEmpty]
	asked := x[udpAny] + x[dnsQuery]
	if asked > 0 {
		alone := max(1-by*max(udp/asked, long), 0)
		f[udpAny], f[dnsQuery] = alone*x[udpAny], alone*x[dnsQuery]
	}
	if d.tortured() {
		f[dnsQuery] = x[dnsQuery]
	}
	for c := reflected; c < classes; c++ {
		f[c] = x[c] - by*y[c]
	}
	f[icmpAny] = x[icmpAny] - 4*y[icmpAny]
	f[laterParts] = x[laterParts] - by*(udp+y[laterParts])
	f[greAny] = x[greAny] - by*y[greAny]
	f[ipAny] = x[ipAny] - by*y[ipAny]
	if v.scan {
		f[synOnly], f[tcpEmpty] = 0, 0
	}
}

// oneWay goes by shares alone, as the other direction isn't told: what anybody may get
// much of (acknowledgements, data, tunnels of a few) is never a flood then.
func (v *verdict) oneWay(x *[classes]float64, total float64, out bool) {
	f := &v.flood
	tcp := x[ackOnly] + x[tcpData] + x[tcpEmpty]
	f[synOnly] = x[synOnly] - tcp/perSYN
	f[tcpOdd], f[tcpEmpty], f[icmpAny] = x[tcpOdd], x[tcpEmpty], x[icmpAny]
	for _, c := range []class{synAck, rstOnly} {
		if x[c] > 0.9*total {
			f[c] = x[c]
		}
	}
	many := (v.sources >= carpet && !v.few || out) && !v.old
	var amplified float64
	for c := reflected; c < classes; c++ {
		amplified += x[c]
	}
	if amplified+x[laterParts] > 0.5*total && amplified > 0 && (!v.old || v.sources >= manyServers) {
		for c := reflected; c < classes; c++ {
			f[c] = x[c]
		}
		f[laterParts] = x[laterParts]
	}
	others := []class{udpAny, dnsQuery, laterParts, greAny, ipAny}
	sum := amplified
	for _, c := range others {
		sum += x[c]
	}
	if many && sum > 0.75*total {
		for c := reflected; c < classes; c++ {
			f[c] = x[c]
		}
		for _, c := range others {
			f[c] = x[c]
		}
	}
	if v.scan {
		f[synOnly], f[tcpEmpty] = 0, 0
	}
}

// bothOf tells whether the other direction of an object's traffic is told: as it is of
// others, or as some of it was seen.
func (d *Detector) bothOf(w *warm, u *mix) bool {
	if w.role == link { // answers may leave by another one
		return false
	}
	if d.both {
		return true
	}
	var in, out float64
	for c := range classes {
		in += float64(u.p[c])
		out += float64(u.k[c])
	}
	return w.known >= leastKnown && out > 0.05*in
}

// senders is about how many sources there were of late, up to some thousand.
func (w *warm) senders() int { return different(&w.sources[0].src, &w.sources[1].src) }

// targets is about how many destinations there were of late.
func (w *warm) targets() int { return different(&w.sources[0].dst, &w.sources[1].dst) }

// ports is about how many destination ports there were of late.
func (w *warm) ports() int { return different(&w.sources[0].ports, &w.sources[1].ports) }

// different estimates how many things set the bits of either set (linear counting,
// Whang and others 1990).
func different(a, b *[4]uint64) int {
	set := 0
	for i := range a {
		set += bits.OnesCount64(a[i] | b[i])
	}
	if set == 256 {
		return 1 << 12 // no bit is left: some thousand at least
	}
	return int(math.Round(-256 * math.Log(1-float64(set)/256)))
}

// few tells whether four sources send more than 60 % of the packets.
func (w *warm) few() bool {
	if w.role > foreign {
		return false
	}
	var all, top float32
	for c := range classes {
		all += w.recent.p[c]
	}
	for _, t := range w.top {
		top += t.n
	}
	return top > enough*all
}
