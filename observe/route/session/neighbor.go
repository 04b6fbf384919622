package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"sakimori/base/wire/bgp"
	"sakimori/lawful"
)

// neighbor is one that may call. It has one session at most.
type neighbor struct {
	*Listener
	Neighbor
	password string

	mu   sync.Mutex // of all below
	busy *talk      // the session that is, or that comes to be
	seen Status
	held time.Time // until when it is kept out
}

// opening is how long a caller has until the session is established.
const opening = 30 * time.Second

// called takes a connection, unless there is a session already: then the new one goes
// (RFC 4271, 6.8), and the old one ends by itself if the neighbour has forgotten it.
func (n *neighbor) called(ctx context.Context, conn *net.TCPConn) {
	defer conn.Close()
	t := &talk{neighbor: n, conn: conn, frame: make([]byte, bmpHead, bmpHead+bgp.MaxExtended)}
	n.mu.Lock()
	if now := n.clock.Now(); now.Before(n.held) {
		n.mu.Unlock()
		t.say(cease, ceaseReset)
		return
	}
	if n.busy != nil {
		n.seen.Collisions++
		n.mu.Unlock()
		t.say(cease, ceaseCollision)
		return
	}
	n.busy = t
	n.mu.Unlock()
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()

	err := t.run(ctx)
	n.mu.Lock()
	n.busy = nil
	n.mu.Unlock()
	if ctx.Err() != nil { // it is us who stop: nothing has happened to the neighbour
		t.say(cease, ceaseShutdown)
		return
	}
	t.over(err)
}

// talk is one connection.
type talk struct {
	*neighbor
	conn  *net.TCPConn
	frame []byte // head of a BMP message, and room for an UPDATE behind it

	sent, received []byte // OPENs
	open           bgp.Open
	hold           time.Duration
	up             bool
	asked          time.Time // of how many routes there are
	updates, bytes uint64    // that aren't in Status yet
	writing        sync.Mutex
	done           chan struct{} // closed at its end
}

// Codes of NOTIFICATION (RFC 4271, 6; RFC 4486 and 9234).
const (
	headerError, badLength, badType = 1, 2, 3
	openError, badVersion, badPeer  = 2, 1, 2
	badID, badHold, badRole         = 3, 6, 11
	holdExpired                     = 4
	stateError                      = 5
	cease, ceaseMaxPrefix           = 6, 1
	ceaseShutdown, ceaseReset       = 2, 4
	ceaseCollision                  = 7
)

// broken is why we end a session: code and subcode of the NOTIFICATION that says so.
type broken struct {
	code, sub byte
	why       lawful.Text
}

func (b *broken) Error() string { return b.why.EN }

func fault(code, sub byte, ja, en string, args ...any) error {
	return &broken{code, sub, lawful.Text{JA: fmt.Sprintf(ja, args...), EN: fmt.Sprintf(en, args...)}}
}

// ended is the neighbour's own NOTIFICATION.
type ended struct {
	message []byte
	why     lawful.Text
}

func (e *ended) Error() string { return e.why.EN }

// run opens the session and takes what comes until it ends.
func (t *talk) run(ctx context.Context) error {
	t.sent = t.greeting()
	if err := t.write(t.sent); err != nil {
		return err
	}
	buf, used := make([]byte, 64<<10), 0
	opened := deadline(opening)
	t.done = make(chan struct{})
	defer close(t.done)
	for ctx.Err() == nil {
		// Silence is what we wait for, not how long the sink was busy.
		limit := opened
		switch {
		case t.up && t.hold > 0:
			limit = deadline(t.hold)
		case t.up:
			limit = time.Time{}
		}
		if err := t.conn.SetReadDeadline(limit); err != nil {
			return err
		}
		if ctx.Err() != nil { // the end may have come before the deadline was set, and been undone by it
			break
		}
		got, err := t.conn.Read(buf[used:])
		if got == 0 && err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
				if !t.up {
					return fault(holdExpired, 0, "%s 以内にセッションが確立しませんでした", "the session wasn't established within %s", opening)
				}
				return fault(holdExpired, 0, "%s の間、何も届きませんでした", "it said nothing for %s", t.hold)
			}
			return err
		}
		used += got
		now := t.clock.Now()
		rest := buf[:used]
		for {
			var m bgp.Message
			n, err := bgp.Cut(rest, bgp.MaxExtended, &m)
			if errors.Is(err, bgp.ErrShort) {
				break
			}
			if err != nil {
				return fault(headerError, badLength, "BGP のメッセージではないデータが届きました", "what it sent is no BGP message: %v", err)
			}
			if err := t.take(&m, now); err != nil {
				return err
			}
			rest = rest[n:]
		}
		if err := t.note(now); err != nil {
			return err
		}
		if used = copy(buf, rest); used == len(buf) { // one message may have 65,535 bytes
			buf = append(buf, make([]byte, 64<<10)...)
		}
	}
	return ctx.Err()
}

// note brings the status up to date, and looks whether there are too many routes.
func (t *talk) note(now time.Time) error {
	t.mu.Lock()
	t.seen.Last = &now
	t.seen.Updates += t.updates
	t.seen.Bytes += t.bytes
	t.mu.Unlock()
	t.updates, t.bytes = 0, 0
	if !t.up || t.Routes == 0 || t.cfg.Held == nil || now.Sub(t.asked) < time.Second {
		return nil
	}
	t.asked = now
	if n := t.cfg.Held(t.Feed); n > t.Routes {
		t.mu.Lock()
		t.held = now.Add(t.cfg.Pause)
		t.mu.Unlock()
		return fault(cease, ceaseMaxPrefix, "経路が上限（%[2]d）を超えて %[1]d 件あります。しばらく接続を受け付けません", "it has announced %d routes, and %d are allowed: it is kept out for a while", n, t.Routes)
	}
	return nil
}

// alive sends keepalives, whatever the reader waits for.
func (t *talk) alive() {
	tick := time.NewTicker(t.hold / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if t.write(keepalive) != nil {
				return // the reader will notice
			}
		case <-t.done:
			return
		}
	}
}

// take acts on one message.
func (t *talk) take(m *bgp.Message, now time.Time) error {
	switch m.Type {
	case bgp.TypeOpen:
		if t.received != nil {
			return fault(stateError, 0, "OPEN が二度届きました", "it sent an OPEN twice")
		}
		return t.opened(m)
	case bgp.TypeKeepalive:
		if t.received == nil {
			return fault(stateError, 0, "OPEN より前に KEEPALIVE が届きました", "it sent a KEEPALIVE before its OPEN")
		}
		if !t.up {
			t.established(now)
		}
		t.sink.Heard(t.Feed, now)
	case bgp.TypeUpdate:
		if !t.up {
			return fault(stateError, 0, "セッションが確立する前に UPDATE が届きました", "it sent an UPDATE before the session was established")
		}
		t.updates++
		t.bytes += uint64(len(m.Raw))
		t.hand(routeMonitoring, now, m.Raw)
	case bgp.TypeNotification:
		var n bgp.Notification
		if err := n.Parse(m.Body); err != nil {
			return fault(headerError, badLength, "読めない NOTIFICATION が届きました", "its NOTIFICATION can't be read")
		}
		why := lawful.Text{JA: fmt.Sprintf("相手が通知を送って切りました（コード %d/%d）", m.Body[0], m.Body[1]), EN: fmt.Sprintf("it ended the session with a notification, code %d/%d", m.Body[0], m.Body[1])}
		if w := n.Words(); len(w) > 0 {
			why.JA += fmt.Sprintf(": %q", w)
			why.EN += fmt.Sprintf(": %q", w)
		}
		return &ended{slices.Clone(m.Raw), why}
	case bgp.TypeRefresh: // we have said nothing that could be said again
		t.sink.Heard(t.Feed, now)
	default:
		return fault(headerError, badType, "種類 %d のメッセージは BGP にありません", "no message of BGP has type %d", m.Type)
	}
	return nil
}

// opened looks at what the neighbour is able to do, and agrees.
func (t *talk) opened(m *bgp.Message) error {
	err := t.open.Parse(m.Body)
	o := &t.open
	role := roles[t.Role]
	switch {
	case err != nil:
		return fault(openError, 0, "読めない OPEN が届きました", "its OPEN can't be read: %v", err)
	case o.Version != 4:
		return fault(openError, badVersion, "BGP バージョン %d は扱えません", "it speaks version %d of BGP", o.Version)
	case o.AS != t.AS:
		return fault(openError, badPeer, "相手は AS%d と名乗りましたが、設定は AS%d です", "it says that it is AS%d, and AS%d is configured", o.AS, t.AS)
	case o.ID.IsUnspecified() || o.ID == t.cfg.RouterID:
		return fault(openError, badID, "ルーター ID %s は使えません（0 か、こちらと同じ）", "its router id %s is zero, or our own", o.ID)
	case o.HoldTime == 1 || o.HoldTime == 2:
		return fault(openError, badHold, "ホールド時間 %d 秒は短すぎます", "a hold time of %d s is too short", o.HoldTime)
	case t.Role != "" && o.HasRole && o.Role != role.its:
		return fault(openError, badRole, "相手の役割は %s ですが、こちらは %s です（RFC 9234）", "its role is %s, and ours is %s (RFC 9234)", o.Role, t.Role)
	}
	t.received = slices.Clone(m.Raw)
	t.hold = min(t.Hold, time.Duration(o.HoldTime)*time.Second)
	return t.write(keepalive)
}

func (t *talk) established(now time.Time) {
	if t.up = true; t.hold > 0 {
		go t.alive()
	}
	t.mu.Lock()
	t.seen.State, t.seen.Since, t.seen.BGPID, t.seen.Error, t.seen.Role = Established, now, t.open.ID, nil, ""
	if t.open.HasRole {
		t.seen.Role = t.open.Role.String()
	}
	t.mu.Unlock()
	local, remote := t.conn.LocalAddr().(*net.TCPAddr).AddrPort(), t.conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	b := make([]byte, 0, 20+len(t.sent)+len(t.received))
	b = append(b, sixteen(local.Addr())...)
	b = binary.BigEndian.AppendUint16(b, local.Port())
	b = binary.BigEndian.AppendUint16(b, remote.Port())
	t.hand(peerUp, now, append(append(b, t.sent...), t.received...))
	t.log.LogAttrs(context.Background(), slog.LevelInfo, "a BGP session is established", slog.String("feed", t.Feed), slog.String("neighbor", t.Address.String()))
}

// over tells why a session ended, or didn't come to be.
func (t *talk) over(err error) {
	now := t.clock.Now()
	var down []byte
	var why lawful.Text
	bad, ours := errors.AsType[*broken](err)
	end, its := errors.AsType[*ended](err)
	switch {
	case ours:
		why, down = bad.why, append([]byte{1}, t.say(bad.code, bad.sub)...)
	case its:
		why, down = end.why, append([]byte{3}, end.message...)
	case errors.Is(err, io.EOF):
		why, down = lawful.Text{JA: "相手が何も言わずに切りました", EN: "it ended the connection without a word"}, []byte{4}
	default:
		why, down = lawful.Text{JA: "接続が切れました: " + err.Error(), EN: "the connection broke: " + err.Error()}, []byte{4}
	}
	t.mu.Lock()
	t.seen.Updates += t.updates
	t.seen.Bytes += t.bytes
	t.seen.Error = &why
	if t.up {
		t.seen.State, t.seen.Since = Waiting, now
		t.seen.Resets++
	}
	t.mu.Unlock()
	if t.up {
		t.hand(peerDown, now, down)
	}
	t.log.LogAttrs(context.Background(), slog.LevelWarn, "a BGP session ended, or didn't come to be", slog.String("feed", t.Feed), slog.String("neighbor", t.Address.String()), slog.String("why", why.EN))
}

func (n *neighbor) status() Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	st := n.seen
	st.Feed, st.Address, st.AS = n.Feed, n.Address, n.AS
	switch {
	case st.State == Established:
		st.Words = lawful.Text{JA: "接続中", EN: "established"}
	case n.clock.Now().Before(n.held):
		st.State, st.Words = Held, lawful.Text{JA: "経路が多すぎたため、しばらく受け付けません", EN: "it announced too much and is kept out for a while"}
	default:
		st.State, st.Words = Waiting, lawful.Text{JA: "相手からの接続を待っています", EN: "it is to call us"}
	}
	return st
}

func sixteen(a netip.Addr) []byte {
	b := make([]byte, 16)
	if a = a.Unmap(); a.Is4() { // in the last four (RFC 7854, 4.10)
		v := a.As4()
		copy(b[12:], v[:])
	} else {
		v := a.As16()
		copy(b, v[:])
	}
	return b
}
