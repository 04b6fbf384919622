package dns

// Pending is what wasn't kept yet.
func (o *Observer) Pending() []Row {
	rows := o.taken()
	o.giveBack(rows)
	return rows
}
