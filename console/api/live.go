package api

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/detect"
)

// Topic is one kind of news on the stream.
type Topic string

// The topics. Of map and status only the newest counts, so a slow client misses
// some; nothing else is ever dropped.
const (
	TopicMap      Topic = "map"
	TopicStatus   Topic = "status"
	TopicFindings Topic = "findings"
	TopicJobs     Topic = "jobs"
	TopicAttacks  Topic = "attacks"
	TopicRoutes   Topic = "routes"
)

// eventName is the SSE event of a topic.
func (t Topic) eventName() string {
	switch t {
	case TopicFindings:
		return "finding"
	case TopicJobs:
		return "job"
	case TopicAttacks:
		return "attack"
	case TopicRoutes:
		return "incident"
	default:
		return string(t)
	}
}

func (t Topic) lossless() bool { return t != TopicMap && t != TopicStatus }

const (
	replayFor    = time.Minute
	replayAtMost = 10_000 // events kept, and events waiting for one client
	streamsMost  = 256
)

// news is one thing that happened.
type news struct {
	seq   uint64 // 0 for what isn't kept
	at    time.Time
	topic Topic
	event any
}

// Live hands what happens to everybody who listens. Publishing never waits for
// a listener.
type Live struct {
	clock clock.Clock
	epoch string // of this run: an id of another run can't be continued

	mu      sync.Mutex
	seq     uint64
	kept    []news // of the last minute, oldest first
	clients map[*listener]struct{}
}

// NewLive makes a hub with nobody listening.
func NewLive(c clock.Clock) *Live {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return &Live{clock: c, epoch: hex.EncodeToString(b[:]), clients: map[*listener]struct{}{}}
}

// Publish tells the listeners of topic. The event is a MapFrame, Status, Found,
// Job or AttackRow and must not be changed afterwards.
func (l *Live) Publish(topic Topic, event any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := news{at: l.clock.Now(), topic: topic, event: event}
	if topic.lossless() {
		l.seq++
		n.seq = l.seq
		l.forget(n.at)
		if len(l.kept) >= replayAtMost {
			l.kept = l.kept[1:]
		}
		l.kept = append(l.kept, n)
	}
	for c := range l.clients {
		c.offer(n)
	}
}

// Find publishes a finding, so that a detector can report here.
func (l *Live) Find(f detect.Finding) { l.Publish(TopicFindings, Found{Finding: f}) }

func (l *Live) forget(now time.Time) {
	i := 0
	for i < len(l.kept) && now.Sub(l.kept[i].at) > replayFor {
		i++
	}
	l.kept = l.kept[i:]
}

// listener is one open stream.
type listener struct {
	topics map[Topic]bool
	wake   chan struct{} // holds one

	mu      sync.Mutex
	waiting []news         // lossless, in order
	newest  map[Topic]news // the rest: only the newest
	dropped uint64         // frames that a newer one replaced
	cut     bool           // too far behind: it has to come again and load afresh
}

var errTooManyStreams = errors.New("too many streams")

// listen joins. last is the id that the client saw last, "" for none; reset
// says that what came after it can't be told any more.
func (l *Live) listen(topics map[Topic]bool, last string) (c *listener, id string, reset bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.clients) >= streamsMost {
		return nil, "", false, errTooManyStreams
	}
	c = &listener{topics: topics, wake: make(chan struct{}, 1), newest: map[Topic]news{}}
	if last != "" {
		l.forget(l.clock.Now())
		seen, ok := l.parseID(last)
		oldest := l.seq + 1
		if len(l.kept) > 0 {
			oldest = l.kept[0].seq
		}
		if reset = !ok || seen > l.seq || seen+1 < oldest; !reset {
			for _, n := range l.kept {
				if n.seq > seen {
					c.offer(n)
				}
			}
		}
	}
	l.clients[c] = struct{}{}
	return c, l.id(l.seq), reset, nil
}

func (l *Live) leave(c *listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.clients, c)
}

func (l *Live) id(seq uint64) string { return l.epoch + "/" + strconv.FormatUint(seq, 10) }

func (l *Live) parseID(s string) (uint64, bool) {
	rest, ok := strings.CutPrefix(s, l.epoch+"/")
	if !ok {
		return 0, false
	}
	seq, err := strconv.ParseUint(rest, 10, 64)
	return seq, err == nil
}

func (c *listener) offer(n news) {
	if !c.topics[n.topic] {
		return
	}
	c.mu.Lock()
	switch {
	case !n.topic.lossless():
		if _, behind := c.newest[n.topic]; behind {
			c.dropped++
		}
		c.newest[n.topic] = n
	case len(c.waiting) >= replayAtMost:
		c.cut = true
	default:
		c.waiting = append(c.waiting, n)
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// take empties the queue: what must not be lost first, then the newest rest.
func (c *listener) take() (list []news, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list, c.waiting = c.waiting, nil
	for _, t := range [...]Topic{TopicStatus, TopicMap} {
		if n, ok := c.newest[t]; ok {
			list = append(list, n)
			delete(c.newest, t)
		}
	}
	return list, c.cut
}

// MarshalJSON writes [lat, lon, protoIndex, n], with a hundredth of a degree:
// more would feign a precision that an estimate doesn't have.
func (a Arc) MarshalJSON() ([]byte, error) {
	return json.Marshal([4]any{round2(a.Lat), round2(a.Lon), a.Proto, a.N})
}

func round2(v float32) float64 {
	return math.Round(float64(v)*100) / 100
}
