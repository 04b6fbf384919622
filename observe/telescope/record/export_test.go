package record

import "sakimori/base/store"

// SetHead makes heads so short that tests meet all of their cases. It must come
// before anything is written.
func (r *Record) SetHead(n int) { r.head = n }

// SetKept makes the memory for heads and indexes so small that tests see it full.
func (r *Record) SetKept(rows, bytes int) { r.heads.kept.most, r.indexes.kept.most = rows, bytes }

// Version1 are the tables as the first version made them.
func Version1() []store.Migration { return migrations()[:1] }
