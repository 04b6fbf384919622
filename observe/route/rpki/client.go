package rpki

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/rtr"
)

// Times of RFC 8210, 6, and how long we wait for what should come at once.
const (
	defaultRefresh = time.Hour
	defaultRetry   = 10 * time.Minute
	defaultExpire  = 2 * time.Hour
	answerTime     = time.Minute      // between two PDUs of an answer
	dialTime       = 10 * time.Second // for the connection, and the first word on it
	maxOps         = 16 << 20         // announcements and withdrawals in one answer
	notifyPause    = time.Second      // between two queries, however often the cache calls
)

// client keeps one session with a cache and the data it told. One goroutine runs it.
type client struct {
	address string
	tls     *tls.Config
	clock   clock.Clock
	pace    pace // what the cache asks for, within the RFC's bounds
	told    func(clientNews)

	version uint8 // that is spoken
	session uint16
	serial  uint32
	synced  bool // session, serial and data hold
	tried   bool // a word was understood on a connection
	hungUp  int  // how often it did before a word, in this version
	roas    []ROA
	aspas   map[customer][]uint32
}

type pace struct{ refresh, retry, expire time.Duration }

// clientNews is what the rest of the house hears of a session.
type clientNews struct {
	data    *Data // nil: nothing new
	version uint8
	serial  uint32
	at      time.Time // of the end of data
	expires time.Time
	err     error // why there is no session; nil: there is
}

func newClient(address string, secure *tls.Config, clk clock.Clock, told func(clientNews)) *client {
	return &client{address: address, tls: secure, clock: clk, told: told, version: rtr.Newest, pace: pace{defaultRefresh, defaultRetry, defaultExpire}}
}

// What makes the next attempt other than this one.
var (
	errVersion = errors.New("the cache speaks another version")
	errReset   = errors.New("its data don't agree with ours")
	errNoData  = errors.New("the cache has no data yet")
)

// run keeps a session until ctx ends. Attempts that fail are repeated after a growing
// while, at most the retry interval that the cache has asked for.
func (c *client) run(ctx context.Context) {
	wait := time.Second
	for ctx.Err() == nil {
		err := c.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errVersion) && !c.synced { // at once, with the other version
			continue
		}
		if c.tried { // it went well for a while
			wait, c.tried = time.Second, false
		}
		if !c.synced && (c.version == 0 || errors.Is(err, errReset)) {
			c.version = rtr.Newest // it may be another cache by now
		}
		c.told(clientNews{err: err, version: c.version, serial: c.serial})
		pause(ctx, wait+rand.N(wait/4+1)) // #nosec G404 -- spreads attempts, nothing hangs on it
		wait = min(2*wait, c.pace.retry)
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (c *client) connect(ctx context.Context) error {
	d := net.Dialer{Timeout: dialTime}
	var conn net.Conn
	var err error
	if c.tls != nil {
		within, cancel := context.WithTimeout(ctx, 2*dialTime)
		defer cancel()
		conn, err = (&tls.Dialer{NetDialer: &d, Config: c.tls}).DialContext(within, "tcp", c.address)
	} else {
		conn, err = d.DialContext(ctx, "tcp", c.address)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	s := &talk{client: c, conn: conn, buf: make([]byte, 0, 1<<16)}
	err = s.run(ctx)
	if bad, ok := errors.AsType[*protocolError](err); ok {
		_ = conn.SetWriteDeadline(c.clock.Now().Add(dialTime))
		_, _ = conn.Write(rtr.AppendErrorReport(nil, c.version, bad.code, bad.about, bad.Error()))
	}
	if errors.Is(err, errReset) {
		c.synced = false
	}
	return err
}

// protocolError is what the cache did wrong, and is told.
type protocolError struct {
	code  rtr.Code
	about []byte
	err   error
}

func (e *protocolError) Error() string { return e.code.String() + ": " + e.err.Error() }
func (e *protocolError) Unwrap() error { return e.err }

// talk is one connection.
type talk struct {
	*client
	conn net.Conn
	buf  []byte // read, and not parsed yet
	used int
	pdu  rtr.PDU
	raw  []byte // of pdu

	settled bool      // the version is
	asked   time.Time // zero: nothing is
	asks    time.Time // when the next query is due
	called  time.Time // and when, as the cache has called
	whole   bool      // everything was asked for
	answer  bool      // one is coming
	ops     []op
	listed  map[customer][]uint32 // changes of aspas: nil is a withdrawal
}

// customer is whose ASPA it is, of which family: 0 is both.
type customer struct {
	as     uint32
	family uint8
}

// op is one announcement or withdrawal of a ROA.
type op struct {
	ROA
	announce bool
}

// run asks, takes answers, and asks again when it is time or the cache calls.
func (t *talk) run(ctx context.Context) error {
	if err := t.ask(!t.synced); err != nil {
		return err
	}
	next := t.clock.Now().Add(dialTime) // when patience ends, or the next query is due
	for ctx.Err() == nil {
		err := t.read(next)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil:
			if !t.asked.IsZero() {
				return fmt.Errorf("it doesn't answer any more: %w", err)
			}
			if err := t.ask(false); err != nil {
				return err
			}
			next, t.called = t.clock.Now().Add(answerTime), time.Time{}
			continue
		case err != nil:
			if !t.settled && t.version > 0 && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isReset(err)) {
				// An old cache may hang up on a version that it doesn't know. One that is
				// being restarted does so too, but not again and again.
				if t.hungUp++; t.hungUp > 1 {
					t.version, t.synced, t.hungUp = t.version-1, false, 0
					return fmt.Errorf("%w: %w", errVersion, err)
				}
			}
			return err
		}
		if err := t.take(); err != nil {
			return err
		}
		now := t.clock.Now()
		switch {
		case !t.asked.IsZero():
			next = now.Add(answerTime)
		case !t.called.IsZero():
			next = t.called
		default:
			next = t.asks
		}
	}
	return ctx.Err()
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}

// ask sends a query: for everything, or for what is new.
func (t *talk) ask(whole bool) error {
	b := rtr.AppendResetQuery(nil, t.version)
	if !whole {
		b = rtr.AppendSerialQuery(nil, t.version, t.session, t.serial)
	}
	t.whole, t.answer, t.asked = whole, false, t.clock.Now()
	_ = t.conn.SetWriteDeadline(t.asked.Add(dialTime))
	_, err := t.conn.Write(b)
	return err
}

// read waits for one PDU until a time of the clock; its length is known to be sane before
// anything is kept of it.
func (t *talk) read(until time.Time) error {
	if t.used > 0 && t.used == len(t.buf) {
		t.buf, t.used = t.buf[:0], 0
	}
	for {
		n, err := rtr.Parse(t.buf[t.used:], &t.pdu)
		if err == nil {
			t.raw = t.buf[t.used : t.used+n]
			t.used += n
			return nil
		}
		if !errors.Is(err, rtr.ErrMore) {
			return t.broken(err)
		}
		if cap(t.buf)-t.used < n { // what is parsed goes, and if it must be, it grows to one PDU
			t.buf = append(make([]byte, 0, max(cap(t.buf), n)), t.buf[t.used:]...)
			t.used = 0
		}
		if len(t.buf) == cap(t.buf) {
			t.buf = append(t.buf[:0], t.buf[t.used:]...)
			t.used = 0
		}
		// The clock may stand still in a test: it is by how much that counts.
		_ = t.conn.SetReadDeadline(clock.System{}.Now().Add(until.Sub(t.clock.Now())))
		got, err := t.conn.Read(t.buf[len(t.buf):cap(t.buf)])
		t.buf = t.buf[:len(t.buf)+got]
		if got == 0 && err != nil {
			if errors.Is(err, io.EOF) && t.used < len(t.buf) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// broken is an error of form, as the cache is told.
func (t *talk) broken(err error) error {
	code := rtr.CorruptData
	switch {
	case errors.Is(err, rtr.ErrVersion):
		code = rtr.UnsupportedVersion
	case errors.Is(err, rtr.ErrType):
		code = rtr.UnsupportedType
	}
	return &protocolError{code, slices.Clone(t.buf[t.used:]), err}
}

func (t *talk) wrong(code rtr.Code, format string, args ...any) error {
	return &protocolError{code, slices.Clone(t.raw), fmt.Errorf(format, args...)}
}

// take acts on one PDU.
func (t *talk) take() error {
	p := &t.pdu
	if err := t.negotiate(); err != nil {
		return err
	}
	switch p.Type {
	case rtr.SerialNotify:
		return t.notified()
	case rtr.CacheResponse:
		if t.asked.IsZero() || t.answer {
			return t.wrong(rtr.CorruptData, "an answer that nobody asked for")
		}
		if !t.whole && p.Session != t.session {
			t.synced = false
			return fmt.Errorf("%w: another session", errReset)
		}
		t.session, t.answer = p.Session, true
		t.ops, t.listed = t.ops[:0], map[customer][]uint32{}
	case rtr.IPv4Prefix, rtr.IPv6Prefix, rtr.RouterKey, rtr.ASPA:
		return t.payload()
	case rtr.EndOfData:
		if !t.answer || p.Session != t.session {
			return t.wrong(rtr.CorruptData, "an end of data that weren't begun")
		}
		return t.end()
	case rtr.CacheReset:
		t.synced = false
		return t.ask(true)
	case rtr.ErrorReport:
		return t.reported()
	default:
		return t.wrong(rtr.InvalidRequest, "a cache doesn't say this to a router: type %d", p.Type)
	}
	return nil
}

// negotiate agrees on a version: the first answer's, which may be lower than what was
// asked in; after it all must have the same (RFC 8210, 7).
func (t *talk) negotiate() error {
	p := &t.pdu
	if p.Type == rtr.ErrorReport && p.Code == rtr.UnsupportedVersion && !t.settled {
		if t.version == 0 {
			return fmt.Errorf("the cache speaks no version from 0 to %d", rtr.Newest)
		}
		t.version, t.synced = min(t.version-1, p.Version), false
		return errVersion
	}
	if t.settled || p.Type == rtr.ErrorReport {
		if p.Version != t.version && p.Type != rtr.ErrorReport {
			return t.wrong(rtr.UnexpectedVersion, "version %d in a session of version %d", p.Version, t.version)
		}
		return nil
	}
	if p.Type == rtr.SerialNotify {
		return nil // may come in any version before one is agreed on
	}
	if p.Version > t.version {
		return t.wrong(rtr.UnexpectedVersion, "version %d in answer to version %d", p.Version, t.version)
	}
	if p.Version < t.version {
		t.version, t.synced = p.Version, false
		if !t.whole { // serials belong to a version
			return errVersion
		}
	}
	t.settled, t.tried, t.hungUp = true, true, 0
	return nil
}

// notified asks again soon, but no more than once a second however often it calls.
func (t *talk) notified() error {
	if !t.asked.IsZero() || !t.synced || t.pdu.Serial == t.serial && t.pdu.Session == t.session {
		return nil
	}
	if t.pdu.Session != t.session {
		t.synced = false
		return t.ask(true)
	}
	if t.called.IsZero() {
		t.called = t.clock.Now().Add(notifyPause)
	}
	return nil
}

func (t *talk) payload() error {
	p := &t.pdu
	if !t.answer {
		return t.wrong(rtr.CorruptData, "data outside an answer")
	}
	if len(t.ops)+len(t.listed) >= maxOps {
		return t.wrong(rtr.InternalError, "more than %d entries in one answer", maxOps)
	}
	switch p.Type {
	case rtr.ASPA:
		who := customer{p.AS, p.Family}
		if !p.Announce {
			list, ok := t.listed[who]
			if !ok && !t.whole {
				list = t.aspas[who]
			}
			if list == nil {
				return t.gone("ASPA of AS%d", p.AS)
			}
			t.listed[who] = nil
			return nil
		}
		list := make([]uint32, p.Providers())
		for i := range list {
			list[i] = p.Provider(i)
		}
		slices.Sort(list)
		t.listed[who] = slices.Compact(list)
		if len(list) == 0 {
			return t.wrong(rtr.ProviderList, "an ASPA of AS%d without providers", p.AS)
		}
	case rtr.RouterKey: // BGPsec isn't verified here
	default:
		t.ops = append(t.ops, op{ROA{Prefix: p.Prefix, AS: p.AS, MaxLength: p.MaxLength}, p.Announce})
	}
	return nil
}

// gone answers the withdrawal of what isn't there; the session begins anew.
func (t *talk) gone(format string, args ...any) error {
	return errors.Join(errReset, t.wrong(rtr.UnknownWithdrawal, format, args...))
}

// end makes what was told hold, all at once.
func (t *talk) end() error {
	var base []ROA
	var aspas map[customer][]uint32
	if !t.whole {
		base, aspas = t.roas, maps.Clone(t.aspas)
	}
	roas, err := apply(base, t.ops)
	if err != nil {
		var bad *opError
		errors.As(err, &bad)
		if bad.announce {
			return errors.Join(errReset, t.wrong(rtr.DuplicateAnnounced, "%s AS%d", bad.Prefix, bad.AS))
		}
		return t.gone("%s AS%d", bad.Prefix, bad.AS)
	}
	if aspas == nil {
		aspas = map[customer][]uint32{}
	}
	maps.Copy(aspas, t.listed)
	maps.DeleteFunc(aspas, func(_ customer, list []uint32) bool { return list == nil })
	p := &t.pdu
	if t.version > 0 {
		t.pace = pace{bounded(p.Refresh, 1, 86400), bounded(p.Retry, 1, 7200), bounded(p.Expire, 600, 172800)}
	} else {
		t.pace = pace{defaultRefresh, defaultRetry, defaultExpire}
	}
	now := t.clock.Now()
	news := clientNews{version: t.version, serial: p.Serial, at: now, expires: now.Add(t.pace.expire)}
	if t.whole || len(t.ops)+len(t.listed) > 0 {
		t.roas, t.aspas = roas, aspas
		news.data = &Data{ROAs: roas}
		for who, list := range aspas {
			news.data.ASPAs = append(news.data.ASPAs, ASPA{Customer: who.as, Providers: list})
		}
		news.data.ASPAs = arrangeASPAs(news.data.ASPAs)
	}
	t.serial, t.synced, t.answer, t.asked, t.asks = p.Serial, true, false, time.Time{}, now.Add(t.pace.refresh)
	t.ops, t.listed = nil, nil
	t.told(news)
	return nil
}

func bounded(seconds, least, most uint32) time.Duration {
	return time.Duration(min(max(seconds, least), most)) * time.Second
}

// reported hears what the cache says is wrong.
func (t *talk) reported() error {
	p := &t.pdu
	text := p.Text[:min(len(p.Text), 200)]
	if p.Code == rtr.NoData {
		return fmt.Errorf("%w: %s %q", errNoData, p.Code, text)
	}
	t.synced = false // whatever it was: begin anew
	return fmt.Errorf("the cache reports: %s %q", p.Code, text)
}

// opError is an announcement of what is there, or a withdrawal of what isn't.
type opError struct{ op }

func (e *opError) Error() string { return e.Prefix.String() }

// apply gives what ops leave of base, which stays as it is. Of one ROA the operations hold
// in their order.
func apply(base []ROA, ops []op) ([]ROA, error) {
	slices.SortStableFunc(ops, func(a, b op) int { return a.ROA.compare(b.ROA) })
	out := make([]ROA, 0, len(base)+len(ops))
	for i := 0; i < len(ops); {
		n, there := slices.BinarySearchFunc(base, ops[i].ROA, ROA.compare)
		out = append(out, base[:n]...)
		base = base[n:]
		if there {
			base = base[1:]
		}
		first := ops[i]
		for ; i < len(ops) && ops[i].ROA.compare(first.ROA) == 0; i++ {
			if ops[i].announce == there {
				return nil, &opError{ops[i]}
			}
			there = !there
		}
		if there {
			out = append(out, first.ROA)
		}
	}
	return append(out, base...), nil
}
