package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/observe/telescope"
)

// jobs are the imports of the console, one after the other. A file that was
// uploaded stays in the data folder until it is counted, so that a stopped or
// killed import can go on.
type jobs struct {
	s     *station
	queue chan *job

	mu   sync.Mutex
	list []*job
	next int
}

type job struct {
	api.Job

	path   string
	upload bool // the file is ours, and goes when it is counted
	engine telescope.Config
	stop   context.CancelFunc
	rate   struct {
		at      time.Time
		packets uint64
	}
}

// jobsAtOnce bounds the queue.
const jobsAtOnce = 100

func newJobs(s *station) *jobs { return &jobs{s: s, queue: make(chan *job, jobsAtOnce)} }

// List gives the jobs, newest first.
func (j *jobs) List() []api.Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := make([]api.Job, 0, len(j.list))
	for _, x := range slices.Backward(j.list) {
		out = append(out, x.Job)
	}
	return out
}

// Start takes an upload.
func (j *jobs) Start(_ context.Context, name string, body io.Reader, dark, own []netip.Prefix) (api.Job, error) {
	dir := filepath.Join(j.s.cfg.Data, "uploads")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return api.Job{}, err
	}
	f, err := os.CreateTemp(dir, "capture-*")
	if err != nil {
		return api.Job{}, err
	}
	_, err = io.Copy(f, body)
	if err = errors.Join(err, f.Close()); err != nil {
		return api.Job{}, errors.Join(err, os.Remove(f.Name()))
	}
	return j.add(name, f.Name(), true, j.engine(dark, own))
}

// engine is the configuration with the prefixes of one import, where it names any.
func (j *jobs) engine(dark, own []netip.Prefix) telescope.Config {
	e := j.s.engine
	if len(dark) > 0 {
		e.Dark = nil
		for _, p := range dark {
			e.Dark = append(e.Dark, telescope.DarkPrefix{Prefix: p})
		}
	}
	if len(own) > 0 {
		e.Own = own
	}
	return e
}

// StartPath takes a file of this machine, with prefixes of its own if given.
func (j *jobs) StartPath(_ context.Context, path string, dark, own []netip.Prefix) (api.Job, error) {
	if _, err := os.Stat(path); err != nil {
		return api.Job{}, refuse("ファイルが読めません: %v", "the file can't be read: %v", err)
	}
	return j.add(filepath.Base(path), path, false, j.engine(dark, own))
}

func refuse(ja, en string, args ...any) error {
	return &api.Refusal{Text: detect.Textf(ja, en, args...)}
}

func (j *jobs) add(name, path string, upload bool, engine telescope.Config) (api.Job, error) {
	if _, err := telescope.Empty(engine); err != nil {
		return api.Job{}, refuse("取り込めません: %v", "can't be imported: %v", err)
	}
	var size int64
	if info, err := os.Stat(path); err == nil {
		size = info.Size()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.next++
	x := &job{Job: api.Job{
		ID: strconv.Itoa(j.next), Kind: "import", File: name, State: "queued", BytesTotal: size, Started: time.Now().UTC(),
	}, path: path, upload: upload, engine: engine}
	if err := j.enqueue(x); err != nil {
		return api.Job{}, err
	}
	j.list = append(j.list, x)
	j.forget()
	j.s.live.Publish(api.TopicJobs, x.Job)
	return x.Job, nil
}

func (j *jobs) enqueue(x *job) error {
	select {
	case j.queue <- x:
		return nil
	default:
		return refuse("待ち行列が一杯です(%d件)。取り込みが終わってからやり直してください", "the queue is full (%d imports): try again when some are done", jobsAtOnce)
	}
}

// forget lets go of jobs that ended long ago.
func (j *jobs) forget() {
	const most = 200
	for i := 0; len(j.list) > most && i < len(j.list); {
		switch j.list[i].State {
		case "done", "failed", "duplicate":
			j.list = slices.Delete(j.list, i, i+1)
		default:
			i++
		}
	}
}

func (j *jobs) find(id string) (*job, error) {
	for _, x := range j.list {
		if x.ID == id {
			return x, nil
		}
	}
	return nil, api.ErrNotFound
}

// Stop makes a running import stop at its next checkpoint.
func (j *jobs) Stop(id string) (api.Job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	x, err := j.find(id)
	if err != nil {
		return api.Job{}, err
	}
	switch x.State {
	case "running":
		x.stop()
	case "queued":
		x.State = "stopped"
	default:
		return api.Job{}, refuse("止められるのは実行中か待機中の取り込みだけです", "only an import that runs or waits can be stopped")
	}
	return x.Job, nil
}

// Resume queues a stopped import again.
func (j *jobs) Resume(id string) (api.Job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	x, err := j.find(id)
	if err != nil {
		return api.Job{}, err
	}
	if x.State != "stopped" {
		return api.Job{}, refuse("再開できるのは停止した取り込みだけです", "only a stopped import can be resumed")
	}
	if err := j.enqueue(x); err != nil {
		return api.Job{}, err
	}
	x.State = "queued"
	j.s.live.Publish(api.TopicJobs, x.Job)
	return x.Job, nil
}

// run works the queue off.
func (j *jobs) run(ctx context.Context, ready func()) error {
	ready()
	for {
		select {
		case <-ctx.Done():
			return nil
		case x := <-j.queue:
			j.work(ctx, x)
		}
	}
}

func (j *jobs) change(x *job, f func()) {
	j.mu.Lock()
	f()
	now := x.Job
	j.mu.Unlock()
	j.s.live.Publish(api.TopicJobs, now)
}

func (j *jobs) work(ctx context.Context, x *job) {
	j.mu.Lock()
	if x.State != "queued" {
		j.mu.Unlock()
		return
	}
	ctx, x.stop = context.WithCancel(ctx)
	x.State = "running"
	x.rate.at, x.rate.packets = time.Now(), x.Packets
	stop := x.stop
	j.mu.Unlock()
	defer stop()
	g := j.s.gauge(x.File, "file")
	g.set(func(in *api.Input) { in.State = "running" })
	engine := x.engine
	engine.Detail = true
	im := &importer{
		cfg: engine, rules: rulesDigest(engine), keeper: j.s.keeper, now: time.Now, every: 30 * time.Second,
		tell:  func(p progress) { j.progress(x, g, p) },
		found: j.s.tell, watching: j.s.watching,
	}
	files, err := look([]string{x.path}, nil)
	var doc report
	if err == nil {
		for i := range files {
			files[i].name = x.File
		}
		doc, err = im.run(ctx, files)
	}
	j.ended(x, g, doc.Document, err)
}

func (j *jobs) progress(x *job, g *gauge, p progress) {
	now := time.Now()
	j.change(x, func() {
		x.Bytes, x.BytesTotal, x.Packets = p.Done, p.Total, p.Packets
		if s := now.Sub(x.rate.at).Seconds(); s > 0.05 {
			x.Rate = float64(p.Packets-min(x.rate.packets, p.Packets)) / s
			x.rate.at, x.rate.packets = now, p.Packets
		}
		if spent := now.Sub(x.Started); p.Done > 0 && p.Total > p.Done {
			eta := now.Add(time.Duration(float64(spent) * float64(p.Total-p.Done) / float64(p.Done))).UTC()
			x.ETA = &eta
		}
	})
	g.set(func(in *api.Input) { in.Packets, in.Rate = p.Packets, x.Rate })
}

func (j *jobs) ended(x *job, g *gauge, doc telescope.Document, err error) {
	state, message := "done", (*detect.Text)(nil)
	switch {
	case errors.Is(err, errStopped):
		state = "stopped"
	case err != nil:
		state = "failed"
		t := detect.Textf("取り込みに失敗しました: %v", "the import failed: %v", err)
		message = &t
	case len(doc.DuplicateOf) > 0:
		state = "duplicate"
		t := detect.Textf("同じ内容は %s に取り込み済みです。数え直していません", "the same content was imported on %s: it was not counted again", doc.DuplicateOf[0].Imported.Format(time.DateTime))
		message = &t
	case len(doc.Errors) > 0:
		t := detect.Textf("途中までは取り込みました: %s", "imported as far as it can be read: %s", doc.Errors[0].Message)
		message = &t
	}
	j.change(x, func() {
		x.State, x.Message, x.ETA = state, message, nil
		if err == nil {
			x.Result, x.Bytes = doc, x.BytesTotal
		}
	})
	g.set(func(in *api.Input) {
		in.State, in.Message, in.Malformed, in.Dropped.Late, in.Dropped.Stray = map[string]string{"done": "done", "duplicate": "done", "stopped": "idle", "failed": "failed"}[state], message, doc.Malformed, doc.Late, doc.Stray
		if doc.Last != nil {
			in.LastPacket = doc.Last
		}
		if doc.Packets > 0 {
			in.Packets = doc.Packets
		}
		in.Rate = 0
	})
	if x.upload && (state == "done" || state == "duplicate") {
		if err := os.Remove(x.path); err != nil {
			j.s.log.Error("an uploaded capture could not be removed", slog.Any("error", err))
		}
	}
}
