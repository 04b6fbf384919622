package record

// SetHead makes heads so short that tests meet all of their cases. It must come
// before anything is written.
func (r *Record) SetHead(n int) { r.head = n }
