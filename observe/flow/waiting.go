package flow

import "slices"

// waiting are sets of an address that came before their template, as they came.
type waiting struct {
	sets []set
	size int // bytes
}

// set is one of them.
type set struct {
	exporter *exporter
	id       uint16
	when     moment
	body     []byte
}

// setCost is what a set costs besides its bytes.
const setCost = 96

// wait keeps a set until its template comes. When there is no room, those of the address
// go that wait longest.
func (c *Collector) wait(x *exporter, id uint16, when moment, body []byte) {
	x.counts.unknown++
	w, cost := &x.source.waiting, len(body)+setCost
	if cost > c.cfg.MaxWaiting {
		x.counts.waitedLost++
		return
	}
	for w.size+cost > c.cfg.MaxWaiting || c.waiting+cost > c.cfg.MaxWaitingAll && len(w.sets) > 0 {
		c.drop(w)
	}
	if c.waiting+cost > c.cfg.MaxWaitingAll { // others' all of it
		x.counts.waitedLost++
		return
	}
	w.sets = append(w.sets, set{x, id, when, slices.Clone(body)})
	w.size += cost
	c.waiting += cost
}

// drop drops the oldest set.
func (c *Collector) drop(w *waiting) {
	cost := len(w.sets[0].body) + setCost
	w.sets[0].exporter.counts.waitedLost++
	w.sets[0] = set{}
	w.sets = w.sets[1:]
	w.size -= cost
	c.waiting -= cost
}

// come reads what waited for the templates of an exporter that are there now.
func (c *Collector) come(x *exporter) {
	w := &x.source.waiting
	if len(w.sets) == 0 {
		return
	}
	// What is read may not wait again: options among it only make more known.
	left := w.sets[:0:0]
	for _, s := range w.sets {
		if s.exporter == x {
			if e := x.source.templates.Find(x.source.key, &c.message, s.id); e != nil {
				cost := len(s.body) + setCost
				w.size -= cost
				c.waiting -= cost
				x.counts.waited++
				c.read(x, e.Template, e.Plan, &s.when, s.body)
				continue
			}
		}
		left = append(left, s)
	}
	w.sets = left
}

// of is how many sets of an exporter wait.
func (w *waiting) of(x *exporter) (n int) {
	for i := range w.sets {
		if w.sets[i].exporter == x {
			n++
		}
	}
	return n
}
