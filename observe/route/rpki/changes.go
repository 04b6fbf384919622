package rpki

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sakimori/lawful"
)

// ChangeKind is what has happened.
type ChangeKind string

// The kinds.
const (
	Added      ChangeKind = "added"       // a ROA that covers one's own space, or is inside it
	Removed    ChangeKind = "removed"     // and one that isn't there any more
	Altered    ChangeKind = "changed"     // the same prefix and AS, another maximum length
	Expires    ChangeKind = "expiring"    // soon, and nobody has renewed it
	Shrunk     ChangeKind = "shrunk"      // a source has lost many ROAs at once
	AnchorLost ChangeKind = "anchor-lost" // many of one trust anchor's are gone at once
	Void       ChangeKind = "stale"       // a source's data are void: nobody renewed them
)

// Change is something that a person should hear of.
type Change struct {
	At     time.Time    `json:"at"`
	Kind   ChangeKind   `json:"kind"`
	Source string       `json:"source,omitempty"` // of which it is told, where it is one's
	Own    netip.Prefix `json:"own,omitzero"`     // whose space it is about
	ROA    *ROA         `json:"roa,omitempty"`
	Was    *ROA         `json:"was,omitempty"` // of Altered
	Words  lawful.Text  `json:"words"`
}

// diff is what changed of the ROAs around and inside one's own space.
func (s *Set) diff(was, is *Table, now time.Time) (list []Change) {
	for _, own := range s.cfg.Own {
		before, after := around(was, own), around(is, own)
		missing := func(in, from []ROA) (out []ROA) {
			for _, r := range in {
				if !slices.ContainsFunc(from, func(o ROA) bool { return o.compare(r) == 0 }) {
					out = append(out, r)
				}
			}
			return out
		}
		gone, come := missing(before, after), missing(after, before)
		for _, r := range gone {
			c := Change{At: now, Kind: Removed, Own: own, ROA: &r, Words: lawful.Text{
				JA: fmt.Sprintf("%s の ROA（AS%d、最大長 %d）がなくなりました。意図したものか確認してください", r.Prefix, r.AS, r.MaxLength),
				EN: fmt.Sprintf("the ROA of %s (AS%d, maximum length %d) is gone: was that meant?", r.Prefix, r.AS, r.MaxLength),
			}}
			if i := slices.IndexFunc(come, func(o ROA) bool { return o.Prefix == r.Prefix && o.AS == r.AS }); i >= 0 {
				n := come[i]
				come = slices.Delete(come, i, i+1)
				c.Kind, c.ROA, c.Was = Altered, &n, &r
				c.Words = lawful.Text{
					JA: fmt.Sprintf("%s の ROA（AS%d）の最大長が %d から %d に変わりました", r.Prefix, r.AS, r.MaxLength, n.MaxLength),
					EN: fmt.Sprintf("the maximum length of the ROA of %s (AS%d) was %d and is %d", r.Prefix, r.AS, r.MaxLength, n.MaxLength),
				}
			}
			list = append(list, c)
		}
		for _, r := range come {
			list = append(list, Change{At: now, Kind: Added, Own: own, ROA: &r, Words: lawful.Text{
				JA: fmt.Sprintf("%s に新しい ROA（AS%d、最大長 %d）があります", r.Prefix, r.AS, r.MaxLength),
				EN: fmt.Sprintf("%s has a new ROA (AS%d, maximum length %d)", r.Prefix, r.AS, r.MaxLength),
			}})
		}
	}
	return list
}

// around are the ROAs that a prefix has to do with: those that cover it and those inside.
func around(t *Table, p netip.Prefix) []ROA {
	list := slices.Concat(t.ROAs(p), t.Inside(p)) // those of p itself are in both
	return arrangeROAs(list)
}

// losses is what a source has lost at once: more than a share of all, or of one trust
// anchor's.
func (s *Set) losses(src *source, was, is *Data) (list []Change) {
	now := s.clock.Now()
	lost := func(was, is int) bool { return float64(was-is) > s.cfg.Shrink*float64(was) }
	if lost(len(was.ROAs), len(is.ROAs)) {
		list = append(list, Change{At: now, Kind: Shrunk, Source: src.Name, Words: lawful.Text{
			JA: fmt.Sprintf("%s の ROA が一度に %d 件から %d 件に減りました。検証器の障害かもしれません", src.Name, len(was.ROAs), len(is.ROAs)),
			EN: fmt.Sprintf("%s had %d ROAs and has %d: is its validator at fault?", src.Name, len(was.ROAs), len(is.ROAs)),
		}})
	}
	var anchors []string
	for a := range was.Anchors {
		if lost(was.Anchors[a], is.Anchors[a]) {
			anchors = append(anchors, a)
		}
	}
	slices.Sort(anchors)
	for _, a := range anchors {
		list = append(list, Change{At: now, Kind: AnchorLost, Source: src.Name, Words: lawful.Text{
			JA: fmt.Sprintf("%s でトラストアンカー %s の ROA が一度に %d 件から %d 件に減りました", src.Name, a, was.Anchors[a], is.Anchors[a]),
			EN: fmt.Sprintf("%s had %d ROAs of trust anchor %s and has %d", src.Name, was.Anchors[a], a, is.Anchors[a]),
		}})
	}
	return list
}

func (s *Set) staled(src *source, now time.Time) Change {
	return Change{At: now, Kind: Void, Source: src.Name, Words: lawful.Text{
		JA: fmt.Sprintf("%s のデータは期限（%s）を過ぎたため使うのをやめました", src.Name, src.expires.UTC().Format(time.RFC3339)),
		EN: fmt.Sprintf("the data of %s were good until %s and aren't used any more", src.Name, src.expires.UTC().Format(time.RFC3339)),
	}}
}

// expiring tells of ROAs of one's own that expire soon, each once.
func (s *Set) expiring(now time.Time) {
	t := s.table.Load()
	if t == nil || t.expires == 0 {
		return
	}
	var list []Change
	soon := map[ROA]bool{}
	for _, own := range s.cfg.Own {
		for _, r := range around(t, own) {
			if r.Expires == 0 || time.Unix(int64(r.Expires), 0).Sub(now) > s.cfg.Expiring || soon[r] {
				continue
			}
			if soon[r] = true; s.warned[r] {
				continue
			}
			list = append(list, Change{At: now, Kind: Expires, Own: own, ROA: &r, Words: lawful.Text{
				JA: fmt.Sprintf("%s の ROA（AS%d）は %s に失効します。更新されているか確認してください", r.Prefix, r.AS, time.Unix(int64(r.Expires), 0).UTC().Format(time.RFC3339)),
				EN: fmt.Sprintf("the ROA of %s (AS%d) expires at %s: does somebody renew it?", r.Prefix, r.AS, time.Unix(int64(r.Expires), 0).UTC().Format(time.RFC3339)),
			}})
		}
	}
	s.warned = soon
	if slices.SortFunc(list, func(a, b Change) int { return cmp.Compare(a.ROA.Expires, b.ROA.Expires) }); len(list) > 0 {
		s.changed(list)
	}
}
