package record

import (
	"math"
	"os"

	"sakimori/base/store"
	"sakimori/observe"
)

// SetHead makes heads so short that tests meet all of their cases. It must come
// before anything is written.
func (r *Record) SetHead(n int) { r.head = n }

// SetKept makes the memory for heads and indexes so small that tests see it full.
func (r *Record) SetKept(rows, bytes int) { r.heads.kept.most, r.indexes.kept.most = rows, bytes }

// Version1 are the tables as the first version made them.
func Version1() []store.Migration { return migrations()[:1] }

// LeafOf is the leaf of some rows.
func LeafOf(rows []Row) ([]byte, error) { return leafOf(rows) }

// LeafRows reads the rows of some keys, in order, or of all from a leaf.
func LeafRows(f *os.File, dim observe.Dim, keys []uint32) (rows []Row, err error) {
	l, d := leaf{name: f.Name(), file: f}, desk{}
	if err := l.open(&d); err != nil {
		return nil, err
	}
	err = l.read(pick{dim, keys}.stretches(), &d, func(some []count) {
		for _, c := range some {
			rows = append(rows, Row{Dim: dim, Key: c.key, Packets: c.packets, Sources: c.sources, Targets: c.targets, SourcesErr: c.sourcesErr, TargetsErr: c.targetsErr})
		}
	})
	return rows, err
}

// LeafBlock reads a block of a leaf.
func LeafBlock(b []byte) (rows int, ok bool) {
	all, ok := readBlock(b, 0, []stretch{{0, math.MaxUint64}}, nil)
	return len(all), ok
}
