package cnc

// Sorted sets how many entries are sorted rather than gone through in order.
func (l *List) Sorted(n int) { l.small = n }
