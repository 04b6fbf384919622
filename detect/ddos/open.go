package ddos

// Open are the ids of the attacks under way, in no order that means anything.
func (d *Detector) Open() (ids []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.attacks {
		if a != nil {
			ids = append(ids, d.id(a))
		}
	}
	return ids
}
