package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/base/clock"
	"sakimori/base/yaml"
	"sakimori/console"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/observe"
	"sakimori/observe/feed"
	"sakimori/respond/subscriber/access"
)

// intake takes in files that come through the API.
type intake struct {
	h    *office
	seen *feed.Seen // what was handed on, over the files
}

// How long, and how many, reports are known again.
const (
	seenWindow = 30 * 24 * time.Hour
	seenMost   = 1 << 20
)

func newIntake(h *office) *intake { return &intake{h, feed.NewSeen(seenWindow, seenMost)} }

// taking writes down that a source of knowledge is taken in, before it is.
func (h *office) taking(ctx context.Context, by string, what map[string]any) error {
	_, err := h.book.Append(ctx, ledger.Line{Kind: account.SourceChanged, Who: by, What: what})
	return err
}

// Reports keeps the file for as long as it is read: an archive is read from its end.
func (i *intake) Reports(ctx context.Context, r io.Reader, o api.ReportFile, by string) (st api.ReportStats, err error) {
	st = api.ReportStats{Format: o.Format}
	options := feed.Options{Source: o.Source, Format: feed.Format(o.Format), Name: o.Name, Type: o.Type, Public: i.h.own}
	if o.Zone != "" {
		if options.Zone, err = time.LoadLocation(o.Zone); err != nil {
			return st, console.Refuse("タイムゾーン %q が分かりません。Asia/Tokyo のように指定してください。", "There is no time zone %q: name one like Asia/Tokyo.", o.Zone)
		}
	}
	if options.Mapping, err = mappingOf(o.Format, []byte(o.Mapping)); err != nil {
		return st, console.Refuse("列の対応(mapping)に誤りがあります: %v", "The mapping can't be used: %v", err)
	}
	path, err := spool(i.h.dir, r)
	if err != nil {
		return st, err
	}
	defer func() { err = errors.Join(err, os.Remove(path)) }()
	if err := i.h.taking(ctx, by, map[string]any{"action": "take in reports", "source": o.Source, "format": o.Format}); err != nil {
		return st, err
	}
	sink := reports{h: i.h, told: func(b *observe.Report, id string) {
		if id != "" {
			st.Accusing++
		}
		at := b.At // the batch is used again
		if st.First == nil || at.Before(*st.First) {
			st.First = &at
		}
		if st.Last == nil || at.After(*st.Last) {
			st.Last = &at
		}
	}}
	s, err := feed.NewIntake(sink, i.seen, clock.System{}).File(ctx, path, options)
	st.Rows, st.Reports, st.Malformed, st.Duplicates, st.Mediated, st.Other = s.Rows, s.Reports, s.Malformed, s.Duplicates, s.Mediated, s.Other
	for _, f := range s.Named {
		st.Errors = append(st.Errors, api.LineError{Line: f.Line, Reason: detect.Text{JA: f.Why.JA(), EN: f.Why.EN()}})
	}
	if u, is := errors.AsType[*feed.Unreadable](err); is {
		return st, &console.Refusal{Text: detect.Text{JA: u.JA, EN: u.EN}}
	}
	return st, err
}

// mappingOf reads which column is what; nil where a format says it itself.
func mappingOf(format string, text []byte) (*feed.Mapping, error) {
	if f := feed.Format(format); f != feed.CSV && f != feed.NDJSON {
		if len(text) > 0 {
			return nil, fmt.Errorf("%s says itself which column is what", format)
		}
		return nil, nil //nolint:nilnil // none is needed
	}
	var m feed.Mapping
	if err := yaml.Decode(text, &m); err != nil {
		return nil, err
	}
	return &m, m.Check()
}

// spool puts what comes into a file that only its owner reads.
func spool(dir string, r io.Reader) (path string, err error) {
	f, err := os.CreateTemp(dir, "upload-") // 0600
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func (i *intake) Records(ctx context.Context, r io.Reader, o api.RecordFile, by string) (api.RecordStats, error) {
	f := subscriberFlags{secret: o.Secret, line: o.Line, zone: o.Zone, source: o.Source, kind: o.Kind}
	if _, err := f.readers(""); err != nil {
		return api.RecordStats{}, console.Refuse("読み方の指定に誤りがあります: %v", "It can't be read like this: %v", err)
	}
	if err := i.h.taking(ctx, by, map[string]any{"action": "take in records", "kind": o.Kind}); err != nil {
		return api.RecordStats{}, err
	}
	out, err := f.summed([]access.Sink{i.h}, func(sinks []access.Sink, out *imported) error {
		stats, err := f.read(ctx, o.Name, r, sinks, newProgress(io.Discard, "none"))
		out.add(&stats)
		return err
	})
	tooLarge := (*http.MaxBytesError)(nil)
	if err != nil && !errors.Is(err, errNotKept) && !errors.As(err, &tooLarge) && ctx.Err() == nil {
		err = console.Refuse("ファイルを読めません: %v", "The file can't be read: %v", err)
	}
	return api.RecordStats(out), err
}

// errNotKept tells what couldn't be kept from what couldn't be read.
var errNotKept = errors.New("records could not be kept")
