package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const (
	heartbeat   = 15 * time.Second
	statusEvery = 2 * time.Second
	writeWithin = 30 * time.Second
)

type (
	streamInput struct {
		Topics      string `query:"topics" maxLength:"128" default:"map,findings,jobs,status" doc:"by commas: map, findings, jobs, status, attacks"`
		LastEventID string `header:"Last-Event-ID" maxLength:"64" doc:"findings and jobs of the last 60 s after it are sent again"`
	}
	streamOutput struct {
		Body func(huma.Context)
	}
)

func parseTopics(s string) (map[Topic]bool, error) {
	topics := map[Topic]bool{}
	for word := range strings.SplitSeq(s, ",") {
		switch t := Topic(strings.TrimSpace(word)); t {
		case TopicMap, TopicFindings, TopicJobs, TopicStatus, TopicAttacks, TopicRoutes:
			topics[t] = true
		default:
			return nil, fail("filter_invalid", word, "topics", "map,findings,jobs,status,attacks")
		}
	}
	return topics, nil
}

func (s *Server) stream(ctx context.Context, in *streamInput) (*streamOutput, error) {
	topics, err := parseTopics(in.Topics)
	if err != nil {
		return nil, err
	}
	if !callOf(ctx).who.roles.Any(readers) {
		delete(topics, TopicJobs) // the route of the jobs isn't theirs either
	}
	l, id, reset, err := s.deps.Live.listen(topics, in.LastEventID)
	if errors.Is(err, errTooManyStreams) {
		return nil, fail("too_many_streams")
	}
	if err != nil {
		return nil, err
	}
	return &streamOutput{func(hc huma.Context) {
		defer s.deps.Live.leave(l)
		_, w := humago.Unwrap(hc)
		h := w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("X-Accel-Buffering", "no") // nginx would hold the events back
		w.WriteHeader(http.StatusOK)
		out := &eventWriter{w: w, rc: http.NewResponseController(w), s: s}
		if in.LastEventID == "" || reset {
			// An id without data is remembered by the browser and not dispatched.
			out.text("retry: 2000\nid: " + id + "\n\n")
		}
		if reset {
			out.text("event: reset\ndata: {}\n\n")
		}
		out.flush()
		s.pump(ctx, l, topics, out)
		_ = out.rc.SetWriteDeadline(time.Time{}) // the connection may serve another request
	}}, nil
}

// pump writes until the client goes, falls too far behind, or may no longer look.
func (s *Server) pump(ctx context.Context, l *listener, topics map[Topic]bool, out *eventWriter) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	state := time.NewTicker(statusEvery)
	defer state.Stop()
	roles := callOf(ctx).who.token.Roles
	if topics[TopicStatus] {
		out.event(news{topic: TopicStatus, event: s.statusFor(roles)})
		out.flush()
	}
	for out.err == nil {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			if !s.stillAllowed(ctx) {
				return
			}
			out.text(": hb\n\n")
		case <-state.C:
			if topics[TopicStatus] {
				out.event(news{topic: TopicStatus, event: s.statusFor(roles)})
			}
		case <-l.wake:
			list, cut := l.take()
			for _, n := range list {
				out.event(n)
			}
			if cut {
				out.flush()
				return
			}
		}
		out.flush()
	}
}

// stillAllowed looks whether the token was revoked or has expired meanwhile.
func (s *Server) stillAllowed(ctx context.Context) bool {
	who := callOf(ctx).who
	_, err := s.deps.Tokens.Redeem(ctx, who.secret, who.token.Kind)
	return err == nil
}

// eventWriter writes server-sent events (WHATWG HTML §9.2). After the first
// error it writes no more.
type eventWriter struct {
	w   io.Writer
	rc  *http.ResponseController
	s   *Server
	err error
}

func (o *eventWriter) text(t string) {
	if o.err == nil {
		// A client that takes nothing for so long is gone.
		_ = o.rc.SetWriteDeadline(o.s.deps.Clock.Now().Add(writeWithin)) // not every connection has one
		_, o.err = io.WriteString(o.w, t)
	}
}

func (o *eventWriter) event(n news) {
	if f, ok := n.event.(Found); ok {
		n.event = o.s.shown(f)
	}
	if a, ok := n.event.(AttackRow); ok {
		n.event = o.s.attackRow(&a)
	}
	raw, err := json.Marshal(n.event)
	if err != nil {
		o.err = err
		return
	}
	head := "event: " + n.topic.eventName() + "\n"
	if n.seq > 0 {
		head = "id: " + o.s.deps.Live.id(n.seq) + "\n" + head
	}
	o.text(head + "data: " + string(raw) + "\n\n")
}

func (o *eventWriter) flush() {
	if o.err == nil {
		o.err = o.rc.Flush()
	}
}
