package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/dnstap"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/policy"
)

// Tap tells somebody of answers, by dnstap. What he can't take in time is dropped, and
// counted: no answer waits for it.
type Tap struct {
	network, address string
	identity         []byte
	zones            map[rpz.Zone][]byte
	log              *slog.Logger
	free, full       chan *told

	mu    sync.Mutex
	open  *told
	state TapState
}

// TapState is how it goes.
type TapState struct {
	Connected bool   `json:"connected"`
	Told      uint64 `json:"told"`    // frames that were handed over
	Dropped   uint64 `json:"dropped"` // that weren't, or perhaps weren't
	Error     string `json:"error,omitempty"`
}

// told is frames that wait to be handed over together.
type told struct {
	frames []byte
	n      uint64
}

// How much may wait, and for how long.
const (
	tapBlocks = 64
	tapBlock  = 64 << 10
	tapPause  = 100 * time.Millisecond
	tapStall  = 5 * time.Second
)

// NewTap makes one for a Unix socket, or for "host:port" by TCP.
func NewTap(socket, address, identity string, log *slog.Logger) (*Tap, error) {
	if (socket == "") == (address == "") {
		return nil, fmt.Errorf("%w: dnstap goes either to a socket or to an address", ErrConfig)
	}
	t := &Tap{network: "unix", address: socket, identity: []byte(identity), log: log, zones: map[rpz.Zone][]byte{}, free: make(chan *told, tapBlocks), full: make(chan *told, tapBlocks)}
	if address != "" {
		t.network, t.address = "tcp", address
	}
	for range tapBlocks {
		t.free <- &told{frames: make([]byte, 0, tapBlock+4096)}
	}
	for _, z := range rpz.Zones() {
		t.zones[z] = z.Name()
	}
	return t, nil
}

// State is how it goes.
func (t *Tap) State() TapState {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state
}

// actions are dnstap's words for ours.
var actions = map[rpz.Action]uint8{rpz.NXDomain: dnstap.ActionNXDomain, rpz.NoData: dnstap.ActionNoData, rpz.Passthru: dnstap.ActionPass, rpz.Drop: dnstap.ActionDrop, rpz.TCPOnly: dnstap.ActionTruncate, rpz.Local: dnstap.ActionLocalData}

// tell tells of an answer; nil: there is none, and so of the question. Of who declined nothing is told: that would be the detection that
// they declined.
func (s *Server) tell(q *question, answer []byte, m policy.Match, hit bool) {
	t := s.cfg.Tap
	if t == nil || hit && m.Zone() == rpz.OptOut {
		return
	}
	x := dnstap.Message{
		Identity: t.identity, Type: dnstap.ClientResponse, TCP: q.tcp, Client: q.from.Addr(), ClientPort: q.from.Port(),
		QueryTime: q.at.UnixNano(), ResponseTime: q.at.UnixNano(), Response: answer,
	}
	if answer == nil {
		x.Type, x.ResponseTime, x.Query = dnstap.ClientQuery, 0, q.msg.Raw
	}
	if hit {
		x.Policy = dnstap.Policy{Kind: kindRPZ, Rule: t.zones[m.Zone()], Action: actions[m.Action()]}
	}
	t.add(&x)
}

var kindRPZ = []byte("RPZ")

func (t *Tap) add(m *dnstap.Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		select {
		case t.open = <-t.free:
		default:
			t.state.Dropped++
			return
		}
	}
	var err error
	if t.open.frames, err = m.AppendFrame(t.open.frames); err != nil {
		t.state.Dropped++
		return
	}
	if t.open.n++; len(t.open.frames) >= tapBlock {
		t.hand()
	}
}

// hand hands over what waits, under the lock.
func (t *Tap) hand() {
	if t.open != nil && t.open.n > 0 {
		t.full <- t.open // never waits: there are as many places as blocks
		t.open = nil
	}
}

// Run connects, again and again, and hands over until ctx ends.
func (t *Tap) Run(ctx context.Context, ready func()) error {
	ready()
	for ctx.Err() == nil {
		err := t.stream(ctx)
		t.mu.Lock()
		t.state.Connected = false
		if err != nil && t.state.Error == "" {
			t.log.WarnContext(ctx, "nobody takes dnstap: answers aren't counted", slog.String("to", t.address), slog.Any("error", err))
		}
		if err != nil {
			t.state.Error = err.Error()
		}
		t.mu.Unlock()
		pause := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
	return nil
}

// stream hands over on one connection.
func (t *Tap) stream(ctx context.Context) (err error) {
	d := net.Dialer{Timeout: tapStall}
	c, err := d.DialContext(ctx, t.network, t.address)
	if err != nil {
		return err
	}
	defer c.Close()
	wait := func() { _ = c.SetDeadline(clock.System{}.Now().Add(tapStall)) } // a connection that is gone says it at the next write
	wait()
	w, err := dnstap.NewWriter(c, c)
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.state.Connected, t.state.Error = true, ""
	t.mu.Unlock()
	tick := time.NewTicker(tapPause)
	defer tick.Stop()
	pass := func(b *told) error {
		wait()
		err := w.Pass(b.frames)
		t.mu.Lock()
		if err == nil {
			t.state.Told += b.n
		} else {
			t.state.Dropped += b.n
		}
		t.mu.Unlock()
		b.frames, b.n = b.frames[:0], 0
		t.free <- b
		return err
	}
	for {
		select {
		case b := <-t.full:
			if err := pass(b); err != nil {
				return err
			}
		case <-tick.C:
			t.mu.Lock()
			t.hand()
			t.mu.Unlock()
		case <-ctx.Done():
			t.mu.Lock()
			t.hand()
			t.mu.Unlock()
			for {
				select {
				case b := <-t.full:
					if err := pass(b); err != nil {
						return err
					}
					continue
				default:
				}
				wait()
				return errors.Join(w.Close(), ctx.Err())
			}
		}
	}
}
