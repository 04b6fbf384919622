package flow

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sakimori/base/wire/ipfix"
)

// What a snapshot may hold at most: many times what real networks need.
const (
	snapshotForm  = 1
	snapshotBytes = 256 << 20
)

// ErrSnapshot says that bytes are no snapshot of this program.
var ErrSnapshot = errors.New("flow: what was kept of exporters can't be read: their templates and sampling rates are awaited anew")

// snapshot is what is kept over a restart, as JSON.
type snapshot struct {
	Form      int           `json:"form"`
	Next      uint32        `json:"next"` // the last number that was given
	Exporters []keptNumber  `json:"exporters"`
	Addresses []keptAddress `json:"addresses"`
}

type keptNumber struct {
	Number uint32         `json:"number"`
	Key    netip.AddrPort `json:"key"`
	keptDomain
}

type keptDomain struct {
	Protocol Protocol   `json:"protocol"`
	Agent    netip.Addr `json:"agent"`
	Domain   uint32     `json:"domain"`
}

type keptAddress struct {
	Key       netip.AddrPort `json:"key"`
	Templates []keptTemplate `json:"templates"`
	Sampling  []keptSampling `json:"sampling"`
}

type keptTemplate struct {
	Domain  uint32 `json:"domain"`
	Version uint16 `json:"version"`
	Options bool   `json:"options,omitempty"`
	Raw     []byte `json:"raw"`
}

type keptSampling struct {
	keptDomain
	All      uint32            `json:"all,omitempty"`
	Samplers map[uint64]uint32 `json:"samplers,omitempty"`
	Faces    map[uint32]uint32 `json:"faces,omitempty"`
	Names    []keptName        `json:"names,omitempty"`
}

type keptName struct {
	Index uint32 `json:"index"`
	Name  string `json:"name"`
	About string `json:"about"`
}

func (d domain) kept() keptDomain { return keptDomain{d.protocol, d.agent, d.number} }

func (k keptDomain) domain() domain { return domain{k.Protocol, k.Agent, k.Domain} }

// Snapshot is what a restart must not forget, as of when collectors last published: numbers
// of exporters, their templates, sampling rates and names of interfaces.
func (d *Directory) Snapshot() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := snapshot{Form: snapshotForm, Next: d.next, Exporters: []keptNumber{}, Addresses: []keptAddress{}}
	for id, n := range d.numbers {
		s.Exporters = append(s.Exporters, keptNumber{n.number, id.key, id.kept()})
	}
	slices.SortFunc(s.Exporters, func(a, b keptNumber) int { return cmp.Compare(a.Number, b.Number) })
	for _, l := range d.open {
		for i := range l.memory {
			s.Addresses = append(s.Addresses, l.memory[i].kept())
		}
	}
	for _, m := range d.saved {
		s.Addresses = append(s.Addresses, m.kept())
	}
	slices.SortFunc(s.Addresses, func(a, b keptAddress) int { return a.Key.Compare(b.Key) })
	b, err := json.Marshal(s)
	if err != nil {
		return nil // of these types it can't be
	}
	return b
}

func (m *memory) kept() keptAddress {
	k := keptAddress{Key: m.key}
	for _, t := range m.templates {
		k.Templates = append(k.Templates, keptTemplate{t.Domain, t.Version, t.Options, t.Raw})
	}
	slices.SortFunc(k.Templates, func(a, b keptTemplate) int {
		return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Version, b.Version), slices.Compare(a.Raw, b.Raw))
	})
	for _, o := range m.sampling {
		s := keptSampling{keptDomain: o.domain.kept(), All: o.all, Samplers: o.samplers, Faces: o.faces}
		for _, n := range o.names {
			s.Names = append(s.Names, keptName{n.Index, n.Name, n.About})
		}
		slices.SortFunc(s.Names, func(a, b keptName) int { return cmp.Compare(a.Index, b.Index) })
		k.Sampling = append(k.Sampling, s)
	}
	slices.SortFunc(k.Sampling, func(a, b keptSampling) int {
		return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Protocol, b.Protocol), a.Agent.Compare(b.Agent))
	})
	return k
}

// Restore takes what Snapshot gave before a restart, before the first datagram comes.
// Templates count at once, but one that a set of data doesn't fit is forgotten. With an
// error nothing was taken.
func (d *Directory) Restore(b []byte) error {
	var s snapshot
	if len(b) > snapshotBytes {
		return fmt.Errorf("%w: %d bytes", ErrSnapshot, len(b))
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	if s.Form != snapshotForm {
		return fmt.Errorf("%w: form %d, not %d", ErrSnapshot, s.Form, snapshotForm)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.next > 0 {
		return errors.New("flow: restore before the first datagram comes")
	}
	numbers := map[identity]numbered{}
	taken := map[uint32]bool{}
	for _, k := range s.Exporters {
		if k.Number == 0 || k.Number > s.Next || taken[k.Number] || !k.Key.Addr().IsValid() || int(k.Protocol) >= len(protocolNames) {
			return fmt.Errorf("%w: exporter %d", ErrSnapshot, k.Number)
		}
		taken[k.Number] = true
		if len(numbers) < d.cfg.MaxExporters {
			numbers[identity{k.Key, k.domain()}] = numbered{number: k.Number}
		}
	}
	saved := map[netip.AddrPort]*memory{}
	for _, k := range s.Addresses {
		m, err := k.memory(d.cfg.MaxFields)
		if err != nil {
			return err
		}
		if len(saved) < d.cfg.MaxExporters {
			saved[k.Key] = m
		}
	}
	d.next, d.numbers, d.saved = s.Next, numbers, saved
	return nil
}

// memory checks what was kept of an address.
func (k *keptAddress) memory(fields int) (*memory, error) {
	m := &memory{key: k.Key}
	check := ipfix.NewCache[struct{}](fields, nil)
	for _, t := range k.Templates {
		s := ipfix.Saved{Exporter: k.Key, Domain: t.Domain, Version: t.Version, Options: t.Options, Raw: t.Raw}
		if err := check.Restore(s); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrSnapshot, k.Key, err)
		}
		m.templates = append(m.templates, s)
	}
	for _, o := range k.Sampling {
		if len(o.Samplers) > mostSamplers || len(o.Faces) > mostInterfaces || len(o.Names) > mostInterfaces || int(o.Protocol) >= len(protocolNames) {
			return nil, fmt.Errorf("%w: %s: too much", ErrSnapshot, k.Key)
		}
		s := saved{domain: o.domain(), all: o.All, samplers: o.Samplers, faces: o.Faces}
		for _, n := range o.Names {
			s.names = append(s.names, Counts{Index: n.Index, Name: text([]byte(n.Name)), About: text([]byte(n.About))})
		}
		m.sampling = append(m.sampling, s)
	}
	return m, nil
}
