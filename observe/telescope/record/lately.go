package record

// lately keeps what was asked for lately, up to a weight: what is young, and what
// was young before, which goes next. It is not safe for several goroutines.
type lately[K comparable, V any] struct {
	most       int // weight of young
	weight     int
	young, old map[K]V
}

func (l *lately[K, V]) get(k K, weight func(V) int) (v V, ok bool) {
	if v, ok = l.young[k]; ok {
		return v, true
	}
	if v, ok = l.old[k]; ok {
		l.put(k, v, weight(v))
	}
	return v, ok
}

func (l *lately[K, V]) put(k K, v V, weight int) {
	if l.young == nil || l.weight > l.most {
		l.old, l.young, l.weight = l.young, map[K]V{}, 0
	}
	l.young[k] = v
	l.weight += weight
}

func (l *lately[K, V]) drop(k K) {
	delete(l.young, k)
	delete(l.old, k)
}
