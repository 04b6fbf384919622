package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sakimori/respond/rpz"
	"sakimori/respond/rpz/canary"
)

// blockedThen is what resolvers were given of a name at a time, and what each proved last
// before it.
type blockedThen struct {
	Zone      rpz.Zone        `json:"zone"`
	Serial    uint32          `json:"serial"`
	Rule      string          `json:"rule"`
	Action    string          `json:"action"`
	Entry     string          `json:"entry"`
	Basis     *rpz.Basis      `json:"basis"`
	Resolvers []answeringThen `json:"resolvers"`
}

// answeringThen is how a resolver stood.
type answeringThen struct {
	Name   string    `json:"name"`
	At     time.Time `json:"at"`     // of the proof
	Serial uint32    `json:"serial"` // 0 not known
	Had    bool      `json:"had"`
	Proven bool      `json:"proven"` // all was as it must be
}

// proofOf is how long before a moment a proof may lie to say something of it.
const proofOf = 5 * time.Minute

// blockedThen reads it from what is kept, also beside a running serve; nil: no zone that
// was published then says anything of the name.
func (h *office) blockedThen(ctx context.Context, name string, at time.Time) (*blockedThen, error) {
	dir := filepath.Join(h.dir, zonesDir)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // none are kept
	}
	zones, err := rpz.Open(ctx, dir, rpz.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	for _, z := range blockingZones {
		p, err := zones.SerialAt(z, at)
		if errors.Is(err, rpz.ErrUnknown) {
			continue
		}
		if err != nil {
			return nil, err
		}
		v, err := zones.At(z, p.Serial)
		if err != nil {
			return nil, err
		}
		rule, found, err := v.Answer(name)
		if err != nil || !found {
			continue // not a name, or not in it
		}
		out := &blockedThen{Zone: z, Serial: p.Serial, Rule: rule.Name, Action: rule.Action.String(), Entry: rule.Ref, Basis: p.Basis}
		out.Resolvers, err = h.provenThen(ctx, z, p.Serial, at)
		return out, err
	}
	return nil, nil //nolint:nilnil // as said
}

// provenThen are the resolvers that were asked shortly before a moment.
func (h *office) provenThen(ctx context.Context, z rpz.Zone, serial uint32, at time.Time) (list []answeringThen, err error) {
	proofs, err := canary.OpenStore(ctx, h.db)
	if err != nil {
		return nil, err
	}
	const most = 1000
	rounds, err := proofs.Rounds(ctx, "", at.Add(-proofOf), at.Add(1), most)
	seen := map[string]bool{}
	for i := range rounds { // the newest first
		r := &rounds[i]
		if seen[r.Resolver] {
			continue
		}
		seen[r.Resolver] = true
		has, told := r.Serials[z]
		list = append(list, answeringThen{Name: r.Resolver, At: r.At, Serial: has, Had: told && !rpz.After(serial, has), Proven: r.Proven()})
	}
	return list, err
}

// print says it to a person.
func (b *blockedThen) print(w io.Writer) {
	if b == nil {
		fmt.Fprintln(w, say("  その時点のどのゾーンにもありません", "  in no zone that was published then"))
		return
	}
	grant := "-"
	if b.Basis != nil {
		grant = b.Basis.Grant + " (" + b.Basis.Rule + ")"
	}
	fmt.Fprintf(w, say("  ゾーン %s 版 %d、規則 %s → %s、根拠 %s\n", "  zone %s serial %d, rule %s → %s, on %s\n"), b.Zone, b.Serial, b.Rule, b.Action, grant)
	for _, r := range b.Resolvers {
		had := say("まだ持っていなかった", "it didn't have it yet")
		if r.Had {
			had = say("持っていた", "it had it")
		}
		proven := say("期待と違う応答があった", "something deviated")
		if r.Proven {
			proven = say("すべて期待どおり", "all was as it must be")
		}
		fmt.Fprintf(w, say("  リゾルバー %s: 版 %d、%s、%s(%s)\n", "  resolver %s: serial %d, %s, %s (%s)\n"), r.Name, r.Serial, had, proven, r.At.UTC().Format(time.RFC3339))
	}
}
