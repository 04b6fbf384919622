package policy

import (
	"bytes"
	"hash/maphash"
	"slices"

	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
)

// Edit begins a zone that differs from another by a few records, and costs a copy of it instead
// of a compilation. The other stays as it is. So many names may be gone from it that it is to be
// compiled anew: then ok is false.
func (z *Zone) Edit() (b *Builder, ok bool) {
	const spare = 1000
	if z.gone > len(z.entries)/4+spare {
		return nil, false
	}
	b, err := NewBuilder(z.name)
	if err != nil {
		return nil, false
	}
	next := *z
	next.entries, next.slots = slices.Clone(z.entries), slices.Clone(z.slots)
	// What is only added to is copied when something is.
	next.names, next.refs, next.outcomes = slices.Clip(z.names), slices.Clip(z.refs), slices.Clip(z.outcomes)
	b.z, b.edits = &next, true
	for i := range next.outcomes {
		b.known[next.outcomes[i].form()] = uint32(i) // #nosec G115 -- it was one
	}
	return b, true
}

// Remove takes a record away, as Record takes it. It tells whether that could be done: of
// local data, which may be one record of several, it can't.
func (b *Builder) Remove(owner dns.Name, typ uint16, data []byte) bool {
	if !owner.Below(b.apex) {
		return false
	}
	if len(owner) == len(b.apex) {
		return true
	}
	o, ok := outcomeOf(typ, data)
	if !ok {
		b.z.passed--
		return true
	}
	trigger := append(bytes.Clone(owner[:len(owner)-len(b.apex)]), 0)
	labels := split(trigger)
	switch last := string(labels[len(labels)-1]); last {
	case "rpz-client-ip":
		p, err := prefixOf(labels[:len(labels)-1])
		if err != nil {
			return false
		}
		old, ok := b.z.clients.Get(p)
		if !ok || o.action == rpz.Local || old.out != b.outcome(o) {
			return false
		}
		b.z.clients = b.z.clients.DeletePersist(p)
		b.z.rules--
		return true
	case "rpz-ip", "rpz-nsip", "rpz-nsdname":
		b.z.passed--
		return true
	}
	kind, name := exact, trigger
	if len(name) >= 3 && name[0] == 1 && name[1] == '*' {
		kind, name = wild, name[2:]
	}
	e := b.z.entry(maphash.Bytes(seed, name), dns.Name(name))
	if e == nil || o.action == rpz.Local || e.out[kind] != b.outcome(o)+1 {
		return false
	}
	e.out[kind], e.ref[kind] = 0, 0
	b.z.rules--
	b.z.gone++
	return true
}
