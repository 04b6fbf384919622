package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"time"

	"sakimori/base/telemetry"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/publish"
)

// A zone that was rolled back takes nothing in until a person publishes it again: new C&C
// servers aren't blocked meanwhile. That is easily forgotten once the trouble is over, so it
// is said everywhere, and after a while as a finding.

// heldAlarm is after how long.
const heldAlarm = 10 * time.Minute

// heldWords say what it means, and what is to be done.
func heldWords(z rpz.Zone, h *publish.Held) detect.Text {
	t := detect.Textf("版 %d に巻き戻されたままです。公開し直すまで、新しい C&C は遮断されません", "it stands rolled back to serial %d: no new C&C is blocked until somebody publishes it again", h.Serial)
	switch {
	case h.Counted.IsZero():
	case h.Added+h.Removed == 0:
		t.JA += "(待機中の変更はありません)"
		t.EN += " (nothing waits)"
	default:
		t.JA += fmt.Sprintf("(公開すると +%d −%d 規則)", h.Added, h.Removed)
		t.EN += fmt.Sprintf(" (that would be +%d −%d rules)", h.Added, h.Removed)
	}
	t.JA += ": `sakimori rpz publish " + string(z) + " --why …`"
	t.EN += ": `sakimori rpz publish " + string(z) + " --why …`"
	return t
}

// heldOf is what a zone's roll-back is, without what would come in.
func heldOf(s *rpz.Store, z rpz.Zone) (publish.Held, bool) {
	p, held := s.Held(z)
	return publish.Held{Since: p.At, Serial: p.Of, Who: p.Who, Why: p.Why}, held
}

// rolledBack is a zone's roll-back, with what would come in as far as that was counted.
func (h *office) rolledBack(z rpz.Zone) (publish.Held, bool) {
	x, held := heldOf(h.zones, z)
	if z != rpz.C2 && z != rpz.Emergency { // these two follow the list; the others take in what comes
		held = false
	}
	if s, known := h.publisher.Status().Held[z]; known && s.Since.Equal(x.Since) {
		x = s
	}
	return x, held
}

// heldNow are the zones that stand rolled back, as the files of the data folder have it, with
// what would come in where a serve that runs tells it.
func heldNow(ctx context.Context, s *rpz.Store, serve func() (*client, error)) map[rpz.Zone]publish.Held {
	all := map[rpz.Zone]publish.Held{}
	for _, z := range []rpz.Zone{rpz.C2, rpz.Emergency} {
		if x, held := heldOf(s, z); held {
			all[z] = x
		}
	}
	if len(all) == 0 {
		return all
	}
	var now api.ZonesNow
	if cl, err := serve(); err != nil || cl == nil || cl.call(ctx, http.MethodGet, "/api/v1/rpz", nil, &now) != nil {
		return all // what the files say is said all the same
	}
	for i := range now.Zones {
		z := &now.Zones[i]
		if x, held := all[rpz.Zone(z.Zone)]; held && z.Held != nil && z.Held.Counted != nil {
			x.Added, x.Removed, x.Counted = z.Held.Added, z.Held.Removed, *z.Held.Counted
			all[rpz.Zone(z.Zone)] = x
		}
	}
	return all
}

// examineHeld is what doctor says of them.
func examineHeld(ctx context.Context, dir string) (list []check) {
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	s, err := rpz.Open(ctx, dir, rpz.Options{ReadOnly: true})
	if err != nil {
		return []check{{"policy zones", "bad", err.Error()}}
	}
	defer s.Close()
	for _, z := range []rpz.Zone{rpz.C2, rpz.Emergency} {
		if x, held := heldOf(s, z); held {
			w := heldWords(z, &x)
			list = append(list, check{"policy zone " + string(z), "note", say(w.JA, w.EN)})
		}
	}
	if len(list) == 0 {
		list = append(list, check{"policy zones", "fine", say("巻き戻されたままのものはありません", "none stands rolled back")})
	}
	return list
}

// heldMetrics are for who watches by figures.
func (h *office) heldMetrics() (list []telemetry.Metric) {
	for _, z := range []rpz.Zone{rpz.C2, rpz.Emergency} {
		list = append(list, telemetry.Metric{
			Name: "rpz_held_seconds_" + string(z[:len(z)-1]), Kind: telemetry.Gauge, Help: "For how long the policy zone stands rolled back, and takes nothing in; 0: it doesn't.",
			Read: func() float64 {
				if x, held := heldOf(h.zones, z); held {
					return h.clock.Now().Sub(x.Since).Seconds()
				}
				return 0
			},
		})
	}
	return append(list, counter("rpz_mended_total", "Policy zones that were found to differ from the list, and made anew.", func() uint64 {
		if h.publisher == nil {
			return 0
		}
		return h.publisher.Status().Mended
	}))
}

// tellsHeld raises a finding of each zone that stands rolled back for long, and closes it
// when it doesn't any more, also of before a restart.
func (h *office) tellsHeld(ctx context.Context, ready func(), log *slog.Logger) error {
	ready()
	raised := map[rpz.Zone]string{rpz.C2: "?", rpz.Emergency: "?"} // "?": it isn't known
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		for z := range raised {
			id, err := h.tellHeld(ctx, z, raised[z])
			if err != nil && ctx.Err() == nil {
				log.ErrorContext(ctx, "that a policy zone stands rolled back couldn't be told", slog.String("zone", string(z)), slog.Any("error", err))
				continue
			}
			raised[z] = id
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// tellHeld does so of one zone; before is the id of the finding that is open, and it gives
// the one that is then.
func (h *office) tellHeld(ctx context.Context, z rpz.Zone, before string) (string, error) {
	if h.alarm == nil {
		return "", nil
	}
	x, held := heldOf(h.zones, z)
	id := ""
	if held && h.clock.Now().Sub(x.Since) >= heldAlarm {
		id = heldID(z, x.Since)
	}
	if before == id {
		return id, nil
	}
	if before != "" { // another one, or of before a restart
		if err := h.closeHeld(ctx, z, id); err != nil {
			return before, err
		}
	}
	if id == "" {
		return id, nil
	}
	if f, is, err := h.alarmed(ctx, id); err != nil || is && f.State != detect.Closed { // before a restart
		return id, err
	}
	x, _ = h.rolledBack(z)
	return id, h.alarm(ctx, heldFinding(z, &x, h.clock.Now()))
}

func heldID(z rpz.Zone, since time.Time) string {
	return fmt.Sprintf("rpz:held:%s:%d", z, since.Unix())
}

func heldFinding(z rpz.Zone, x *publish.Held, now time.Time) detect.Finding {
	f := detect.Finding{
		ID: heldID(z, x.Since), Detector: "rpz", Subject: string(z), State: detect.Opened, Severity: detect.Soon, Confidence: 1,
		Opened: x.Since.UTC(), Changed: now.UTC(), Why: heldWords(z, x),
		Title: detect.Textf("%s は巻き戻されたままです", "%s stands rolled back", string(z)),
		Evidence: []detect.Fact{
			{Key: "zone", Value: string(z)}, {Key: "serial", Value: fmt.Sprint(x.Serial)}, {Key: "by", Value: x.Who}, {Key: "why", Value: x.Why},
		},
	}
	if !x.Counted.IsZero() {
		f.Evidence = append(f.Evidence, detect.Fact{Key: "waits", Value: fmt.Sprintf("+%d -%d", x.Added, x.Removed)})
	}
	return f
}

// closeHeld closes the findings of roll-backs that are over.
func (h *office) closeHeld(ctx context.Context, z rpz.Zone, but string) error {
	list, err := h.zones.Serials(z)
	if err != nil {
		return err
	}
	ended := time.Time{}
	for i := range slices.Backward(list) {
		p := &list[i]
		if p.Kind != rpz.RolledBack {
			if !slices.Contains(p.Refs, rpz.HeldRef) {
				ended = p.At
			}
			continue
		}
		id := heldID(z, p.At)
		if id == but {
			continue
		}
		if ended.IsZero() {
			ended = h.clock.Now()
		}
		f, is, err := h.alarmed(ctx, id)
		if err != nil {
			return err
		}
		if is && f.State != detect.Closed {
			f.State, f.Closed, f.Changed = detect.Closed, ended.UTC(), h.clock.Now().UTC()
			return h.alarm(ctx, f)
		}
		if is || h.clock.Now().Sub(p.At) > 31*24*time.Hour {
			return nil // what was before is closed, too
		}
	}
	return nil
}
