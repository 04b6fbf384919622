package geo

import (
	"cmp"
	"slices"
)

// representatives computes one point for each country from the City layer: the
// known position nearest to the median latitude and longitude of the country's
// addresses. IPv4 addresses count where there are any, IPv6 /48s elsewhere. The
// median, unlike the mean, isn't drawn out to sea by an overseas territory; and
// the nearest known position is a place where somebody lives.
func (b *Builder) representatives() map[uint16]position {
	type weighted struct {
		position
		n float64
	}
	v4, v6 := make([]float64, len(b.spots)), make([]float64, len(b.spots))
	l := &b.layers[City]
	for i, v := range l.val {
		if v == 0 || i+1 == len(l.val) {
			continue
		}
		d := sub(l.start[i+1], l.start[i])
		if l.start[i].Is4() {
			v4[v] += float64(d.Lo)
		} else {
			v6[v] += float64(d.Hi)/(1<<16) + float64(d.Lo)/(1<<80)
		}
	}
	gather := func(weight []float64, skip map[uint16]position) map[uint16][]weighted {
		by := make([][]weighted, 1<<16) // by country; a map would cost ten times as much
		for v, p := range b.spots {
			if weight[v] > 0 && p.located && p.country != 0 {
				by[p.country] = append(by[p.country], weighted{p, weight[v]})
			}
		}
		out := map[uint16][]weighted{}
		for cc, ws := range by {
			if _, done := skip[uint16(cc)]; len(ws) > 0 && !done {
				out[uint16(cc)] = ws
			}
		}
		return out
	}
	median := func(ws []weighted, of func(position) int16) int16 {
		slices.SortFunc(ws, func(x, y weighted) int {
			return cmp.Or(cmp.Compare(of(x.position), of(y.position)), cmp.Compare(x.lat, y.lat), cmp.Compare(x.lon, y.lon))
		})
		var total, sum float64
		for _, w := range ws {
			total += w.n
		}
		for _, w := range ws {
			if sum += w.n; sum >= total/2 {
				return of(w.position)
			}
		}
		return of(ws[len(ws)-1].position)
	}
	out := map[uint16]position{}
	for _, weight := range [][]float64{v4, v6} {
		for cc, ws := range gather(weight, out) {
			lat := median(ws, func(p position) int16 { return p.lat })
			lon := median(ws, func(p position) int16 { return p.lon })
			away := func(p position) int {
				dy, dx := int(p.lat)-int(lat), int(p.lon)-int(lon)
				return dy*dy + dx*dx
			}
			out[cc] = slices.MinFunc(ws, func(x, y weighted) int {
				return cmp.Or(cmp.Compare(away(x.position), away(y.position)), cmp.Compare(y.n, x.n),
					cmp.Compare(x.lat, y.lat), cmp.Compare(x.lon, y.lon))
			}).position
		}
	}
	return out
}
