package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/zeebo/xxh3"

	"sakimori/base/clock"
	"sakimori/console/api"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/access"
	"sakimori/respond/subscriber/history"
	"sakimori/respond/subscriber/translation"
	"sakimori/respond/subscriber/translation/event"
	"sakimori/respond/subscriber/translation/syslog"
)

// subscriberFlags say how logs of addresses are read.
type subscriberFlags struct {
	withBook

	secret, line, zone, source, kind, mapping string
}

func newImportSubscriber() *cobra.Command {
	var f subscriberFlags
	c := &cobra.Command{
		Use:   "subscriber FILE…",
		Short: "Import logs of who had which address / 誰がどのアドレスを使っていたかの記録を取り込む",
		Long: `Reads RADIUS accounting (captures, and detail files of FreeRADIUS), leases (Kea's CSV,
ISC dhcpd's file) and logs of address translation (syslog, NetFlow 9 and IPFIX in
captures, any other as a table), and says what they come to.
With --data they are kept, contracts under pseudonyms.

RADIUS 課金記録(pcap、detail)、DHCP リース(Kea、ISC)、NAT のログを読みます。
--data を付けると保存します。契約は仮名で扱います。`,
		Example: `  sakimori import subscriber --data sakimori-data --secret "$SECRET" radius.pcap
  sakimori import subscriber -o json detail-20261126 kea-leases4.csv cgn.log
  sakimori import subscriber --data sakimori-data --kind table --mapping nat.yaml nat.csv`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("name at least one file (see: %s --help)", c.CommandPath())
			}
			return f.run(c, args)
		},
	}
	f.flags(c)
	fl := c.Flags()
	fl.StringVar(&f.secret, "secret", "", "RADIUS shared secret: requests that it doesn't prove are malformed")
	fl.StringVar(&f.line, "line", "user-name", "what names the contract in RADIUS (see the documentation)")
	fl.StringVar(&f.zone, "zone", "UTC", "time zone of dates that don't name one")
	fl.StringVar(&f.source, "source", "", "name of the DHCP server or translator, where the file doesn't say it (default the file's name)")
	fl.StringVar(&f.kind, "kind", "auto", "auto, radius, detail, kea, isc, syslog, ipfix (a capture of NetFlow 9 or IPFIX) or table")
	fl.StringVar(&f.mapping, "mapping", "", "of --kind table: a file that says which column is what (see: sakimori docs subscriber)")
	return c
}

// imported is what an import of logs came to.
type imported struct {
	Records   uint64            `json:"records"`
	Sessions  uint64            `json:"sessions"` // uses of an address: sessions, leases, blocks of ports
	Open      uint64            `json:"open"`     // of them, without an end
	Inferred  uint64            `json:"inferred_ends"`
	Malformed uint64            `json:"malformed"`
	Ignored   uint64            `json:"ignored"`
	Reasons   map[string]uint64 `json:"reasons"`
	Examples  []string          `json:"examples"`
	First     *time.Time        `json:"first"`
	Last      *time.Time        `json:"last"`
}

func (i *imported) add(s *subscriber.Stats) {
	one := imported{Records: s.Records, Malformed: s.Malformed, Ignored: s.Ignored, Reasons: s.Reasons, Examples: s.Examples}
	if s.Records > 0 {
		first, last := s.First.UTC(), s.Last.UTC()
		one.First, one.Last = &first, &last
	}
	i.join(&one)
}

func (i *imported) join(o *imported) {
	i.Records += o.Records
	i.Sessions += o.Sessions
	i.Open += o.Open
	i.Inferred += o.Inferred
	i.Malformed += o.Malformed
	i.Ignored += o.Ignored
	for r, n := range o.Reasons {
		i.Reasons[r] += n
	}
	i.Examples = append(i.Examples, o.Examples...)
	if o.First != nil && (i.First == nil || o.First.Before(*i.First)) {
		i.First = o.First
	}
	if o.Last != nil && (i.Last == nil || o.Last.After(*i.Last)) {
		i.Last = o.Last
	}
}

func (f *subscriberFlags) run(c *cobra.Command, files []string) (err error) {
	if _, err := f.readers(""); err != nil {
		return &exitError{exitUsage, err}
	}
	ctx := c.Context()
	var sinks []access.Sink
	if f.data != "" {
		if cl, err := f.through(c); cl != nil || err != nil {
			return f.hand(c, cl, err, files)
		}
		cfg, err := f.settings()
		if err != nil {
			return err
		}
		h, err := openOffice(ctx, &cfg)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, h.Close()) }()
		if err := h.taking(ctx, whoAmI(), map[string]any{"action": "take in records", "kind": f.kind}); err != nil {
			return err
		}
		sinks = append(sinks, h)
	}
	bar := newProgress(c.ErrOrStderr(), "auto")
	out, err := f.summed(sinks, func(sinks []access.Sink, out *imported) error {
		for _, name := range files {
			file, err := os.Open(name)
			if err != nil {
				return err
			}
			stats, err := f.read(ctx, filepath.Base(name), file, sinks, bar)
			out.add(&stats)
			if err = errors.Join(err, file.Close()); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	bar.end()
	return f.print(c.OutOrStdout(), &out)
}

// hand gives files to the serve that has the office.
func (f *subscriberFlags) hand(c *cobra.Command, cl *client, err error, files []string) error {
	if err == nil && f.kind == "table" {
		err = errors.New(say("--kind table は serve の動作中には使えません(対応表はこの機械のファイルのため)。serve を止めてから実行してください", "--kind table isn't taken while serve runs, as its mapping is a file: stop serve first"))
	}
	if err != nil {
		return err
	}
	sum := imported{Reasons: map[string]uint64{}, Examples: []string{}}
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		var one imported
		err = cl.send(c.Context(), "/api/v1/subscriber/records"+query("name", filepath.Base(name), "kind", f.kind, "source", f.source, "zone", f.zone, "line", f.line),
			map[string]string{"X-Radius-Secret": f.secret}, file, &one)
		if err = errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		sum.join(&one)
	}
	return f.print(c.OutOrStdout(), &sum)
}

// summed gives records to sinks, and finds what they come to by themselves in a history
// of their own.
func (f *subscriberFlags) summed(sinks []access.Sink, read func(sinks []access.Sink, out *imported) error) (out imported, err error) {
	out = imported{Reasons: map[string]uint64{}, Examples: []string{}}
	dir, err := os.MkdirTemp("", "sakimori-import-")
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	own, err := history.Open(dir, history.Options{Pseudonym: transient})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	if err := read(append([]access.Sink{own}, sinks...), &out); err != nil {
		return out, err
	}
	z := own.Sum()
	out.Sessions, out.Open, out.Inferred = z.Sessions, z.Open, z.Inferred
	return out, nil
}

// transient names contracts for a history that is thrown away.
func transient(line string) (id [16]byte) {
	return xxh3.HashString128(line).Bytes()
}

func (f *subscriberFlags) print(w io.Writer, i *imported) error {
	if f.format == "json" {
		return printJSON(w, i)
	}
	span := [2]string{}
	if i.First != nil {
		span = [2]string{i.First.Format(time.RFC3339), i.Last.Format(time.RFC3339)}
	}
	if err := printRows(w, f.format, []string{"records", "sessions", "open", "inferred_ends", "malformed", "first", "last"},
		[][]string{{fmt.Sprint(i.Records), fmt.Sprint(i.Sessions), fmt.Sprint(i.Open), fmt.Sprint(i.Inferred), fmt.Sprint(i.Malformed), span[0], span[1]}}); err != nil {
		return err
	}
	if f.format == "table" {
		for _, e := range i.Examples {
			fmt.Fprintln(w, say("使えない記録: ", "can't be used: ")+e)
		}
	}
	return nil
}

// logReader reads one kind of log.
type logReader func(r io.Reader, emit access.Emit) (subscriber.Stats, error)

// readers are those of all kinds; source names who wrote a log that doesn't say it.
func (f *subscriberFlags) readers(source string) (map[string]logReader, error) {
	zone, err := time.LoadLocation(f.zone)
	if err != nil {
		return nil, fmt.Errorf("--zone %s: name a zone like Asia/Tokyo", f.zone)
	}
	key, err := access.ParseKey(f.line)
	if err != nil {
		return nil, fmt.Errorf("--line: %w", err)
	}
	var mapped logReader
	if f.kind == "table" {
		if mapped, err = tableReader(f.mapping); err != nil {
			return nil, err
		}
	}
	acct, lease := access.Accounting{Line: key}, access.LeaseOptions{Source: source}
	return map[string]logReader{
		"radius": func(r io.Reader, e access.Emit) (subscriber.Stats, error) {
			return access.ReadCapture(r, access.CaptureOptions{Accounting: acct, Secret: []byte(f.secret)}, e)
		},
		"detail": func(r io.Reader, e access.Emit) (subscriber.Stats, error) {
			return access.ReadDetail(r, access.DetailOptions{Accounting: acct, Zone: zone}, e)
		},
		"kea":    func(r io.Reader, e access.Emit) (subscriber.Stats, error) { return access.ReadKea(r, lease, e) },
		"isc":    func(r io.Reader, e access.Emit) (subscriber.Stats, error) { return access.ReadISC(r, lease, e) },
		"syslog": func(r io.Reader, e access.Emit) (subscriber.Stats, error) { return f.syslog(r, source, e) },
		"ipfix": func(r io.Reader, e access.Emit) (subscriber.Stats, error) {
			return event.ReadCapture(r, event.DefaultConfig(), e)
		},
		"table": mapped,
	}, nil
}

func (f *subscriberFlags) syslog(r io.Reader, source string, e access.Emit) (subscriber.Stats, error) {
	p, err := syslog.New(syslog.Config{Zone: f.zone, Source: source})
	if err != nil {
		return subscriber.Stats{}, err
	}
	var failed error
	err = p.Read(r, clock.System{}, func(r *subscriber.Record) {
		if failed == nil {
			failed = e(r)
		}
	})
	return p.Stats(), errors.Join(failed, err)
}

// kindOf tells the kinds of logs apart by how they begin.
func kindOf(head []byte) string {
	text := string(head)
	switch {
	case bytes.HasPrefix(head, []byte{0xd4, 0xc3, 0xb2, 0xa1}), bytes.HasPrefix(head, []byte{0xa1, 0xb2, 0xc3, 0xd4}),
		bytes.HasPrefix(head, []byte{0x4d, 0x3c, 0xb2, 0xa1}), bytes.HasPrefix(head, []byte{0xa1, 0xb2, 0x3c, 0x4d}),
		bytes.HasPrefix(head, []byte{0x0a, 0x0d, 0x0d, 0x0a}), bytes.HasPrefix(head, []byte{0x1f, 0x8b}), bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return "radius"
	case strings.HasPrefix(text, "address,"):
		return "kea"
	case strings.Contains(text, "\nlease ") || strings.HasPrefix(text, "lease ") || strings.Contains(text, "ia-na ") || strings.Contains(text, "ia-pd "):
		return "isc"
	case strings.Contains(text, "\n\t") && strings.Contains(text, " = "):
		return "detail"
	}
	return "syslog"
}

// atOnce is how many records are kept together.
const atOnce = 1000

func (f *subscriberFlags) read(ctx context.Context, name string, from io.Reader, sinks []access.Sink, bar *bar) (stats subscriber.Stats, err error) {
	in := bufio.NewReaderSize(from, 1<<16)
	kind := f.kind
	if kind == "auto" {
		head, err := in.Peek(4096)
		if err != nil && !errors.Is(err, io.EOF) {
			return stats, err
		}
		kind = kindOf(head)
	}
	readers, err := f.readers(cmp.Or(f.source, name))
	if err != nil {
		return stats, err
	}
	read := readers[kind]
	if read == nil {
		return stats, usage("--kind %s: use auto, radius, detail, kea, isc, syslog, ipfix or table", kind)
	}
	lot := make([]subscriber.Record, 0, atOnce)
	n := uint64(0)
	flush := func() error {
		for _, s := range sinks {
			if err := s.Take(ctx, lot); err != nil {
				return fmt.Errorf("%w: %w", errNotKept, err)
			}
		}
		n += uint64(len(lot))
		lot = lot[:0]
		bar.show(progress{File: name, Step: kind, Packets: n})
		return nil
	}
	stats, err = read(in, func(r *subscriber.Record) error {
		lot = append(lot, *r)
		if len(lot) < atOnce {
			return nil
		}
		return flush()
	})
	return stats, errors.Join(err, flush())
}

func newSubscriber() *cobra.Command {
	c := &cobra.Command{Use: "subscriber", Short: "Who had an address at a time / ある時刻のアドレスの利用者"}
	c.AddCommand(newSubscriberWho(), newSubscriberErase(), newSubscriberRotate())
	return c
}

func newSubscriberWho() *cobra.Command {
	var f withBook
	var at, grant string
	var skew time.Duration
	var proto uint8
	c := &cobra.Command{
		Use: "who ADDRESS[:PORT] --at TIME", Short: "Say who had an address, or why it can't be told / 利用者を仮名で示す",
		Long: `Says by pseudonym who had an address, and a port of it, at a time; or that several may
have had it, that the log doesn't reach back, that the address is shared and the port
is missing. It never guesses.

指定した時刻にアドレス(とポート)を使っていた加入者を仮名で示します。特定できないときは、
その理由を示します。推測はしません。`,
		Example: "  sakimori subscriber who 203.0.113.7 --at 2026-11-26T03:00:00+09:00 --data sakimori-data -o json\n  sakimori subscriber who 198.51.100.1:40000 --at 2026-11-26T03:00:00+09:00 --skew 10s",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one address, with :PORT where it is shared")
			}
			addr, port, err := addressPort(args[0])
			if err != nil {
				return err
			}
			t, err := time.Parse(time.RFC3339, at)
			if err != nil {
				return usage("--at %s: write it like 2026-11-26T03:00:00+09:00", at)
			}
			cl, err := f.through(c)
			if err != nil {
				return err
			}
			if cl != nil {
				var a whoAnswer
				if err := cl.call(c.Context(), http.MethodPost, "/api/v1/who", map[string]any{
					"address": addr, "port": port, "protocol": proto, "at": t, "skew_seconds": skew.Seconds(), "grant": grant,
				}, &a); err != nil {
					return err
				}
				return printWho(c.OutOrStdout(), f.format, a)
			}
			return f.office(c, func(ctx context.Context, h *office, w io.Writer) error {
				if err := h.asked(ctx, api.AddressQuery{Address: addr, Port: port, Protocol: proto, At: t, Skew: skew}, whoAmI()); err != nil {
					return err
				}
				a := h.who(addr, port, proto, t, skew)
				if grant != "" && a.Verdict.Certain() {
					g, err := h.gate.Find(ctx, grant)
					if err != nil {
						return err
					}
					if a.Contract, err = h.vault.Contract(ctx, g, a.Pseudonym, whoAmI(), "grant "+grant); err != nil {
						return err
					}
				}
				return printWho(w, f.format, a)
			})
		},
	}
	f.flags(c)
	fl := c.Flags()
	fl.StringVar(&at, "at", "", "time, RFC 3339")
	fl.DurationVar(&skew, "skew", time.Second, "how far the time may be off")
	fl.StringVar(&grant, "grant", "", "a grant to name the subscriber: their contract is shown, and the look is written down")
	fl.Uint8Var(&proto, "protocol", 0, "IANA number of the protocol; 0 not told")
	return c
}

// office opens everything for a command.
func (f *withBook) office(c *cobra.Command, do func(ctx context.Context, h *office, w io.Writer) error) error {
	return f.with(c, openOffice, do)
}

// identities opens who the subscribers are for a command, beside a running serve, too:
// that one has the addresses, so the keys stay as they are.
func (f *withBook) identities(c *cobra.Command, do func(ctx context.Context, h *office, w io.Writer) error) error {
	open := openOffice
	if cl, err := f.through(c); err != nil {
		return err
	} else if cl != nil {
		open = openIdentities
	}
	return f.with(c, open, do)
}

// desk opens the cases for a command: a running serve isn't disturbed by it.
func (f *withBook) desk(c *cobra.Command, do func(ctx context.Context, h *office, w io.Writer) error) error {
	return f.with(c, openDesk, do)
}

func (f *withBook) with(c *cobra.Command, open func(context.Context, *config) (*office, error), do func(ctx context.Context, h *office, w io.Writer) error) (err error) {
	cfg, err := f.settings()
	if err != nil {
		return err
	}
	if _, err := os.Stat(cfg.Data); err != nil {
		return fmt.Errorf("there is no data folder %s: name it with --data", cfg.Data)
	}
	h, err := open(c.Context(), &cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	return do(c.Context(), h, c.OutOrStdout())
}

func addressPort(s string) (netip.Addr, uint16, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a, 0, nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.Addr{}, 0, usage("%q is no address: write 203.0.113.7, 203.0.113.7:40000 or [2001:db8::1]:40000", s)
	}
	return ap.Addr(), ap.Port(), nil
}

// whoAnswer is who had an address.
type whoAnswer struct {
	Verdict   subscriber.Verdict `json:"verdict"`
	Pseudonym string             `json:"pseudonym"`
	Margin    string             `json:"margin"` // how much larger the doubt could be
	Evidence  []piece            `json:"evidence"`
	Contract  string             `json:"contract,omitempty"`
}

// piece is one claim to the address that touches the time.
type piece struct {
	Pseudonym string     `json:"pseudonym"` // or the address before a translator
	Source    string     `json:"source"`
	From      *time.Time `json:"from"`
	To        *time.Time `json:"to"`
	Open      bool       `json:"open"`
	Inferred  bool       `json:"inferred_end"`
	Rule      string     `json:"rule,omitempty"` // of a computed translation
}

// who answers: through a translator, by rule or by its log, to the subscriber behind it.
func (h *office) who(addr netip.Addr, port uint16, proto uint8, at time.Time, skew time.Duration) whoAnswer {
	addr = addr.Unmap()
	if len(h.own) > 0 && !slices.ContainsFunc(h.own, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return whoAnswer{Verdict: subscriber.Foreign, Evidence: []piece{}}
	}
	from, to := at.Add(-skew), at.Add(skew)
	if h.rules != nil {
		rule := h.rules.Ask(translation.Query{Address: addr, Port: port, Proto: proto, At: at, Skew: skew})
		if out, is := h.ruled(rule, from, to); is {
			return out
		}
	}
	d := h.history.Who(addr, port, proto, from, to)
	out := whoAnswer{Verdict: d.Verdict, Evidence: h.pieces(d.Holds), Margin: margin(d.Margin)}
	if inside, is := d.Holder.Address(); is && d.Verdict.Certain() {
		behind := h.history.Who(inside, 0, 0, from, to)
		out.Evidence = append(out.Evidence, h.pieces(behind.Holds)...)
		if !behind.Verdict.Certain() || d.Verdict == subscriber.Unique {
			out.Verdict = behind.Verdict
		}
		if behind.Verdict.Certain() && (behind.Margin >= 0 && behind.Margin < d.Margin || d.Margin < 0) {
			out.Margin = margin(behind.Margin)
		}
		d = behind
	}
	if out.Verdict.Certain() {
		out.Pseudonym = subscriber.Subject(d.Holder.ID)
	}
	return out
}

// ruled is what a computed translation says; false when no rule speaks of the address.
func (h *office) ruled(rule translation.Answer, from, to time.Time) (out whoAnswer, is bool) {
	name := strings.TrimSpace(rule.Rule + " " + rule.Version)
	out.Evidence = []piece{{Pseudonym: rule.Inside.String(), Source: name, Rule: name}}
	switch rule.Reason {
	case translation.Found:
	case translation.NoRule:
		return out, false
	case translation.NoPort:
		out.Verdict = subscriber.NoPort
		return out, true
	case translation.Ambiguous:
		out.Verdict, out.Evidence = subscriber.Ambiguous, []piece{}
		return out, true
	default:
		out.Verdict, out.Evidence[0].Pseudonym = subscriber.Expired, rule.Reason.String()
		return out, true
	}
	d := h.history.Who(rule.Inside.Addr(), 0, 0, from, to)
	out.Verdict, out.Margin, out.Evidence = d.Verdict, margin(d.Margin), append(out.Evidence, h.pieces(d.Holds)...)
	if d.Verdict.Certain() {
		out.Pseudonym = subscriber.Subject(d.Holder.ID)
	}
	return out, true
}

func margin(d time.Duration) string {
	if d < 0 {
		return ""
	}
	return d.String()
}

func (h *office) pieces(holds []subscriber.Hold) []piece {
	out := make([]piece, 0, len(holds))
	for _, x := range holds {
		p := piece{Pseudonym: subscriber.Subject(x.ID), Source: h.history.Source(x.Source), Open: x.Open, Inferred: x.Inferred}
		if a, is := x.Address(); is {
			p.Pseudonym = a.String()
		}
		if x.From <= x.To {
			from, to := time.Unix(0, x.From).UTC(), time.Unix(0, x.To).UTC()
			p.From, p.To = &from, &to
		}
		out = append(out, p)
	}
	return out
}

func printWho(w io.Writer, format string, a whoAnswer) error {
	if format == "json" {
		return printJSON(w, a)
	}
	var rows [][]string
	when := func(t *time.Time) string {
		if t == nil {
			return "?"
		}
		return t.Format(time.RFC3339)
	}
	for _, e := range a.Evidence {
		rows = append(rows, []string{e.Pseudonym, e.Source, when(e.From), when(e.To), fmt.Sprint(e.Open), fmt.Sprint(e.Inferred)})
	}
	if format == "table" {
		fmt.Fprintf(w, "%s  %s  %s\n", a.Verdict, a.Pseudonym, a.Contract)
		if a.Margin != "" {
			fmt.Fprintf(w, say("時刻のずれが %s を超えると結論が変わります\n", "it would change if the time were off by more than %s\n"), a.Margin)
		}
	}
	return printRows(w, format, []string{"pseudonym", "source", "from", "to", "open", "inferred_end"}, rows)
}
