package geo

import "sakimori/base/wire/packet"

// DecodeRaw reads the inside of a compact file, for the fuzzer: it would not
// find its way through zstd.
var DecodeRaw = decodeRaw

// Rebuilt is the table of the built-in data made anew from the compact file, and
// the first and last address of each of its ranges, with those beside them.
func Rebuilt() (*Table, []packet.Addr, error) {
	file, size, err := openBuilt()
	if err != nil {
		return nil, nil, err
	}
	b, err := decodePacked(file, size)
	if err != nil {
		return nil, nil, err
	}
	t := b.Table()
	where, err := t.positions()
	if err != nil {
		return nil, nil, err
	}
	var edges []packet.Addr
	for _, starts := range [][]uint32{t.owners.v4.start, where.v4.start} {
		for _, a := range starts {
			edges = append(edges, packet.V4(a), packet.V4(a-1))
		}
	}
	for _, starts := range [][]packet.Addr{t.owners.v6.start, where.v6.start} {
		for _, a := range starts {
			edges = append(edges, a, prev(a))
		}
	}
	return t, edges, nil
}
