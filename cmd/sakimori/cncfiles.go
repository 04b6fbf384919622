package main

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/base/run"
	"sakimori/console"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/detect/cnc"
	"sakimori/detect/cnc/never"
	"sakimori/lawful"
	"sakimori/observe"
	"sakimori/observe/feed/indicator"
	"sakimori/observe/feed/remote"
	"sakimori/respond/blocklist"
)

// pulled gives the list what sources say, whole readings alone.
type pulled struct {
	list *cnc.List
	who  string
}

var _ remote.Sink = pulled{}

func (p pulled) Begin(ctx context.Context, r remote.Reading) (remote.Intake, error) {
	in, err := p.list.Begin(ctx, cnc.Reading{Source: r.Source, At: r.At, Whole: r.Whole, Digest: r.Digest, Who: p.who})
	if err != nil {
		return nil, err
	}
	return &taking{in}, nil
}

// taking is one reading on its way into the list.
type taking struct{ *cnc.Intake }

func (t *taking) Finish(ctx context.Context, _ indicator.Stats) error {
	_, err := t.Intake.Finish(ctx)
	return err
}

// dropWait is how long it may take to forget a reading.
const dropWait = 10 * time.Second

// Drop forgets it. What can't be forgotten now is never counted, and goes with the next
// reading.
func (t *taking) Drop() {
	ctx, cancel := context.WithTimeout(context.Background(), dropWait) // the one who reads may be gone
	defer cancel()
	_ = t.Intake.Drop(ctx)
}

// pulls keeps the feeds fresh.
func (h *office) pulls(cfg *config, log *slog.Logger) ([]run.Component, error) {
	if len(cfg.Feeds) == 0 || h.list == nil {
		return nil, nil
	}
	c, p, err := feedComponent(cfg, pulled{h.list, "sakimori"}, log)
	h.feeds = p
	return []run.Component{c}, err
}

// openCommandList opens the list for `import feed`; without a folder one that is thrown
// away, so that it can be said what it would make of the files.
func openCommandList(ctx context.Context, cfg *config) (feedList, error) {
	trial := ""
	if cfg.Data == "" {
		dir, err := os.MkdirTemp("", "sakimori-trial-")
		if err != nil {
			return nil, err
		}
		trial, cfg.Data, cfg.Database = dir, dir, ""
	}
	h, err := openDesk(ctx, cfg)
	if err == nil {
		if err = h.openList(ctx, cfg); err != nil {
			err = errors.Join(err, h.Close())
		}
	}
	if err != nil {
		return nil, errors.Join(err, gone(trial))
	}
	return &commandList{h, trial}, nil
}

// gone removes the folder of a trial.
func gone(dir string) error {
	if dir == "" {
		return nil
	}
	return os.RemoveAll(dir)
}

type commandList struct {
	h     *office
	trial string
}

func (l *commandList) Close() error { return errors.Join(l.h.Close(), gone(l.trial)) }

func (l *commandList) Begin(ctx context.Context, r remote.Reading) (feedIntake, error) {
	in, err := l.h.list.Begin(ctx, cnc.Reading{Source: r.Source, At: r.At, Whole: r.Whole, Digest: r.Digest, Who: whoAmI()})
	if err != nil {
		return nil, err
	}
	return commandIntake{in}, nil
}

type commandIntake struct{ in *cnc.Intake }

func (i commandIntake) Put(ctx context.Context, list []observe.Indicator) error {
	return i.in.Put(ctx, list)
}

func (i commandIntake) Drop() { (&taking{i.in}).Drop() }

func (i commandIntake) Finish(ctx context.Context, _ indicator.Stats) (out feedResult, err error) {
	r, err := i.in.Finish(ctx)
	out.New, out.Known, out.Gone = r.New, r.Known, r.Gone
	for _, p := range r.Protected {
		out.Protected = append(out.Protected, protectedName{p.Name, p.List})
	}
	if r.Held != "" {
		out.Held = r.Held + ": " + pick(lawful.Text(r.Why))
	}
	return out, err
}

// listFiles are the ways by which the list comes in and leaves as files.
type listFiles struct {
	h    *office
	book *blocklist.Book
}

var _ cncFiles = listFiles{}

// openListFiles opens the folder of files that were made, signed with a key of their own.
func (h *office) openListFiles() (listFiles, error) {
	key, err := ledger.LoadKey(filepath.Join(h.dir, "blocklist.key"))
	if err != nil {
		return listFiles{}, err
	}
	b, err := blocklist.Open(filepath.Join(h.dir, "blocklist"), key, h.clock, guarded{h}, exported{h.book})
	return listFiles{h, b}, err
}

// Import takes a file in, or says what would come of it.
func (x listFiles) Import(ctx context.Context, r io.Reader, o api.CNCSheet, who string) (out api.CNCImport, err error) {
	in, err := x.h.list.Begin(ctx, cnc.Reading{Source: o.Source, At: x.h.clock.Now(), Whole: o.Whole, Who: who})
	if err != nil {
		return out, cncError(err)
	}
	done := false
	defer func() {
		if !done {
			(&taking{in}).Drop()
		}
	}()
	batch := make([]observe.Indicator, 0, 1000)
	opts := indicator.Options{Source: o.Source, Format: indicator.Format(o.Format), Name: o.Name, Role: observe.RoleC2, Came: x.h.clock.Now()}
	st, err := indicator.Read(r, opts, func(i *observe.Indicator) error {
		if batch = append(batch, *i); len(batch) < cap(batch) {
			return nil
		}
		err := in.Put(ctx, batch)
		batch = batch[:0]
		return err
	})
	if err == nil {
		err = in.Put(ctx, batch)
	}
	if bad, is := errors.AsType[*indicator.Unreadable](err); is {
		return out, &api.Refusal{Text: detect.Text{JA: bad.JA, EN: bad.EN}}
	}
	if err != nil {
		return out, cncError(err)
	}
	out = api.CNCImport{Format: string(st.Format), Read: st.Read, Accepted: st.Accepted, RejectedTotal: st.Rejected, DryRun: o.DryRun, Rejected: []api.LineError{}, Protected: []api.Protected{}}
	for _, f := range st.Named {
		out.Rejected = append(out.Rejected, api.LineError{Line: f.Line, Reason: detect.Text{JA: f.Why.JA(), EN: f.Why.EN()}})
	}
	res := in.Result()
	if !o.DryRun {
		done = true
		if res, err = in.Finish(ctx); err != nil {
			return out, cncError(err)
		}
	}
	for _, p := range res.Protected {
		out.Protected = append(out.Protected, api.Protected{Name: p.Name, List: p.List})
	}
	out.New, out.Known, out.Gone, out.Held = uint64(res.New), uint64(res.Known), uint64(res.Gone), res.Held //nolint:gosec // counts
	if res.Held != "" {
		out.Why = &res.Why
	}
	return out, nil
}

// reaching is the ground that reaches furthest: a grant that names its subjects or
// addresses, else the one for everyone who consents.
func (x listFiles) reaching(ctx context.Context) (g blocklist.Ground, err error) {
	now := x.h.clock.Now()
	var best lawful.Grant
	for _, d := range x.h.gate.InForce() {
		if d.Measure != lawful.Block {
			continue
		}
		one, err := x.h.gate.Find(ctx, d.ID)
		if err != nil {
			return g, err
		}
		if all := one.AllowsAll(lawful.Block, now); all && one.Until().After(best.Until()) {
			best = one
		}
	}
	if best.ID() == "" {
		return g, &console.Refusal{Text: detect.Text(noGrant)}
	}
	rule, is := x.h.guideline.Rule(best.Rule())
	if !is {
		return g, lawful.ErrUnknown
	}
	return blocklist.Ground{Grant: best, Rule: *rule}, nil
}

// entries are all that is in force.
func (x listFiles) entries(ctx context.Context) iter.Seq2[blocklist.Entry, error] {
	return func(yield func(blocklist.Entry, error) bool) {
		_, err := x.h.list.Enforced(ctx, func(part []cnc.Entry) error {
			for i := range part {
				e := &part[i]
				if !e.InForce() {
					continue
				}
				if !yield(blocklist.Entry{ID: e.ID, Kind: blocklist.Kind(e.Kind), Value: e.Value, Family: e.Family, Since: e.Changed, Until: e.Expires}, nil) {
					return io.EOF
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, io.EOF) {
			yield(blocklist.Entry{}, err)
		}
	}
}

// Export makes a file, or gives one that was made.
func (x listFiles) Export(ctx context.Context, format string, version uint64, who string) (out api.CNCExported, err error) {
	g, err := x.reaching(ctx)
	if err != nil {
		return out, err
	}
	f := blocklist.Form(format)
	if version == 0 {
		made, err := x.book.Make(ctx, f, g, who, x.entries(ctx))
		if err != nil {
			return out, exportError(err)
		}
		version = made.Version
	}
	body, made, err := x.book.Get(ctx, f, version, g, who)
	if err != nil {
		return out, exportError(err)
	}
	sig, _, err := x.book.Signature(f, version)
	if err != nil {
		return out, errors.Join(err, body.Close())
	}
	sum, err := hex.DecodeString(made.SHA256)
	return api.CNCExported{Name: made.File, Type: "application/octet-stream", Body: body, Digest: sum, Signature: sig}, err
}

func exportError(err error) error {
	switch {
	case errors.Is(err, blocklist.ErrVersion):
		return errors.Join(console.ErrNotFound, err)
	case errors.Is(err, blocklist.ErrGround):
		return refusalOf(err, blocklist.ErrGround, "この許可では、この形式に入れられるものがありません(アドレス・通信中の名前・URL は、リゾルバーでの名前とは別の根拠が必要です)")
	case errors.Is(err, blocklist.ErrExpired):
		return refusalOf(err, blocklist.ErrExpired, "その版は期限を過ぎています。新しく作成してください")
	case errors.Is(err, blocklist.ErrForm):
		return refusalOf(err, blocklist.ErrForm, "その形式はありません")
	}
	return err
}

// Exports are the newest file of each form, and the forms of which there is none.
func (x listFiles) Exports(context.Context) (out []api.CNCExport, err error) {
	list, err := x.book.List()
	if err != nil {
		return nil, err
	}
	made := map[blocklist.Form]*blocklist.Export{}
	for i := range list {
		made[list[i].Form] = &list[i]
	}
	for _, f := range blocklist.Forms() {
		e := api.CNCExport{Format: string(f), Words: f.Words()}
		if m := made[f]; m != nil {
			e.Version, e.Entries, e.Omitted, e.Made, e.Expires, e.Digest, e.Signature, e.Key = m.Version, m.Entries, m.Omitted.Total(), momentOrNull(m.Made), momentOrNull(m.Expires), m.SHA256, m.Sig, m.Key
			e.Basis = &api.CNCBasis{Grant: m.Basis.Grant, Rule: m.Basis.Rule, Source: m.Basis.Source, Until: momentOrNull(m.Basis.Until)}
			e.Basis.Title.JA, e.Basis.Title.EN = m.Basis.Title.JA, m.Basis.Title.EN
		}
		out = append(out, e)
	}
	return out, nil
}

// exported writes down that a file of the list leaves the house.
type exported struct{ book *ledger.Book }

func (e exported) Record(ctx context.Context, x blocklist.Export, who string) error {
	_, err := e.book.Append(ctx, ledger.Line{Kind: account.Exported, Who: who, What: x})
	return err
}

// guarded is what no file holds, whatever the list says.
type guarded struct{ h *office }

func (g guarded) Address(p netip.Prefix) (list string, is bool) {
	for _, own := range g.h.own {
		if own.Overlaps(p) {
			return "subscriber.own", true
		}
	}
	kind := observe.IndicatorPrefix
	if p.IsSingleIP() {
		kind = observe.IndicatorAddress
	}
	return g.on(kind, shortPrefix(p))
}

func (g guarded) Name(name string) (list string, is bool) { return g.on(observe.IndicatorName, name) }

func (g guarded) on(kind observe.IndicatorKind, value string) (list string, is bool) {
	v := g.h.never.Check(kind, value)
	return v.List, v.Class == never.Protected
}

// shortPrefix writes one address without its length.
func shortPrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
