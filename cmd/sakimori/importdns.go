package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/base/clock"
	"sakimori/base/store"
	"sakimori/detect"
	"sakimori/detect/infected"
	"sakimori/observe"
	"sakimori/observe/dns"
)

type dnsFlags struct {
	config, data, format, zone, own string
}

func newImportDNS() *cobra.Command {
	var f dnsFlags
	c := &cobra.Command{
		Use:   "dns FILE…",
		Short: "Import what resolvers tell of who asked / リゾルバーの記録を取り込む",
		Long: `Reads what resolvers tell of questions and answers: dnstap (frame streams), captures
of packets, logs of BIND and Unbound; plain, gzip or zstd. It prints the totals, and
what a policy kept back by the resolver's own marks.

What one client asked is a communication of somebody. It is looked at only on a ground:
  --data FOLDER    the grants that are in force in this folder decide, client by client:
                   match_names to compare a name with the list, store_hits to say whose it
                   was (docs/dns.md). Each content is counted once, and kept.
  --own-traffic X  all of it is traffic of your own machines, or of people who agreed to
                   this; X says whose, and is printed with the result. Nothing is kept.
Without either no client is told, and no made-up names (DGA) are looked for.

リゾルバーの記録(dnstap、pcap、BIND・Unbound のログ)を読み、集計を表示します。
個々の利用者の問い合わせは通信の秘密に当たるため、--data のフォルダーで有効な許可
(match_names、store_hits)がある利用者か、--own-traffic で自分の通信だと示した場合に
限って見ます。どちらもなければ集計だけです。`,
		Example: `  sakimori import dns -o json resolver.fstrm
  sakimori import dns --data sakimori-data resolver1.fstrm.zst queries.log
  sakimori import dns --own-traffic "malware lab, host 3" lab.pcap`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("name at least one file (see: %s --help)", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args) },
	}
	outputFlag(c, &f.format)
	fl := c.Flags()
	fl.StringVar(&f.config, "config", "", "configuration file")
	fl.StringVar(&f.data, "data", "", "folder whose grants decide who is looked at, and in which counts are kept")
	fl.StringVar(&f.zone, "zone", "UTC", "time zone of a log's times that don't name one")
	fl.StringVar(&f.own, "own-traffic", "", "whose traffic it is: your own, or of people who agreed")
	return c
}

// dnsDocument is what an import came to.
type dnsDocument struct {
	Queries   uint64             `json:"queries"`
	Responses uint64             `json:"responses"`
	Malformed uint64             `json:"malformed"`
	Unread    uint64             `json:"unread"` // fragments, and pieces of TCP without their beginning
	Broken    uint64             `json:"broken"` // streams that end without saying so
	Clients   uint64             `json:"clients"`
	NXDomain  uint64             `json:"nxdomain"`
	Blocked   dnsBlocked         `json:"blocked"`
	Would     uint64             `json:"would"`
	Sinkholed uint64             `json:"sinkholed"`
	Reached   uint64             `json:"reached"`
	Suspects  []infected.Suspect `json:"dga_suspects"`
	First     *time.Time         `json:"first"`
	Last      *time.Time         `json:"last"`
	Ground    string             `json:"ground"` // why clients were looked at; "" none was
	Known     []string           `json:"known"`  // files whose content was counted before
	Errors    []string           `json:"errors"`
}

type dnsBlocked struct {
	Total    uint64            `json:"total"`
	ByZone   map[string]uint64 `json:"by_zone"`
	ByFamily map[string]uint64 `json:"by_family"`
	ByClient []clientBlocked   `json:"by_client,omitempty"` // of those who permit it
}

type clientBlocked struct {
	Client  netip.Addr `json:"client"`
	Blocked uint64     `json:"blocked"`
}

// everybody may be looked at in one way: by the resolver's own marks, or wholly.
type everybody struct{ hits bool }

func (e everybody) May(netip.Addr, time.Time) (match, hits bool) { return true, e.hits }

// blocks counts contacts by client, of those that may be, and hands lookups on.
type blocks struct {
	to    observe.Lookups
	count map[netip.Addr]uint64
}

func (b *blocks) Look(batch []observe.Lookup) {
	for i := range batch {
		if batch[i].Contact == observe.Blocked {
			b.count[batch[i].Client]++
		}
	}
	b.to.Look(batch)
}

// dnsImport is an import under way.
type dnsImport struct {
	zone    *time.Location
	clients dns.Clients
	listed  dns.Policy
	office  *office // nil: nothing is kept
	keeper  *keeper
	record  *dns.Record
	cfg     infected.CallersConfig
	found   []detect.Finding
	doc     dnsDocument
}

// Find keeps a finding until the file is read.
func (i *dnsImport) Find(f detect.Finding) { i.found = append(i.found, f) }

func (f *dnsFlags) run(c *cobra.Command, files []string) (err error) {
	ctx := c.Context()
	i := &dnsImport{clients: everybody{}, doc: dnsDocument{
		Blocked: dnsBlocked{ByZone: map[string]uint64{}, ByFamily: map[string]uint64{}}, Suspects: []infected.Suspect{}, Known: []string{}, Errors: []string{},
	}}
	if i.zone, err = time.LoadLocation(f.zone); err != nil {
		return usage("--zone %q: name one like Asia/Tokyo", f.zone)
	}
	f.own = strings.TrimSpace(f.own)
	switch {
	case f.own != "" && f.data != "":
		return usage("--own-traffic and --data are two grounds: name one")
	case f.own != "":
		i.clients, i.doc.Ground = everybody{hits: true}, "own traffic: "+f.own
	case f.data != "":
		if err := i.open(ctx, f); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, i.keeper.Close(), i.office.Close()) }()
	}
	for _, path := range files {
		if err := i.file(ctx, path); err != nil {
			return err
		}
	}
	if i.doc.Blocked.ByClient != nil {
		slices.SortFunc(i.doc.Blocked.ByClient, func(a, b clientBlocked) int { return a.Client.Compare(b.Client) })
	}
	if err := i.print(c.OutOrStdout(), f.format); err != nil {
		return err
	}
	if len(i.doc.Errors) > 0 {
		for _, e := range i.doc.Errors {
			fmt.Fprintln(c.ErrOrStderr(), "sakimori:", e)
		}
		return &exitError{exitFailed, nil}
	}
	return nil
}

// open opens the data folder whose grants decide.
func (i *dnsImport) open(ctx context.Context, f *dnsFlags) error {
	cfg, err := readConfig(f.config, os.Environ())
	if err != nil {
		return &exitError{exitUsage, err}
	}
	cfg.Data = f.data
	if i.cfg, err = cfg.DNS.callers(); err != nil {
		return &exitError{exitUsage, err}
	}
	i.keeper, err = openKeeper(ctx, f.data)
	if _, busy := errors.AsType[*store.ErrBusy](err); busy {
		return fmt.Errorf("%w: let it listen to the resolvers (dns.sources), or stop it and import then", err)
	}
	if err != nil {
		return err
	}
	if i.office, err = openOffice(ctx, &cfg); err == nil {
		i.record, err = dns.Open(ctx, i.office.db, clock.System{})
	}
	if err != nil {
		err = errors.Join(err, i.keeper.Close())
		if i.office != nil {
			err = errors.Join(err, i.office.Close())
		}
		return err
	}
	i.clients, i.listed, i.doc.Ground = newConsenting(i.office), i.office.listed, "grants: "+f.data
	return nil
}

// file takes in one file. What is wrong with it is in the document; the others go on.
func (i *dnsImport) file(ctx context.Context, path string) error {
	bad := func(err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		i.doc.Errors = append(i.doc.Errors, err.Error())
		return nil
	}
	in, err := os.Open(path)
	if err != nil {
		return bad(err)
	}
	defer in.Close()
	digest := ""
	if i.office != nil {
		sum := sha256.New()
		if _, err := io.Copy(sum, in); err != nil {
			return bad(fmt.Errorf("%s: %w", path, err))
		}
		if _, err := in.Seek(0, io.SeekStart); err != nil {
			return bad(fmt.Errorf("%s: %w: name a file, not a pipe", path, err))
		}
		digest = hex.EncodeToString(sum.Sum(nil))
		taken, err := i.record.Taken(ctx, digest)
		if err != nil {
			return err
		}
		if taken {
			i.doc.Known = append(i.doc.Known, path)
			return nil
		}
		if err := i.office.takingFile(ctx, whoAmI(), digest); err != nil {
			return err
		}
	}
	callers := infected.NewCallers(i.cfg, i)
	tell := &blocks{callers, map[netip.Addr]uint64{}}
	cfg := dns.Config{}
	if i.office == nil {
		cfg.Names = -1 // nobody asks for it
	}
	o, err := dns.New(cfg, i.clients, i.listed, tell, clock.System{})
	if err != nil {
		return err
	}
	st, err := o.File(ctx, in, dns.FileOptions{Name: filepath.Base(path), Zone: i.zone})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		if err := bad(err); err != nil {
			return err
		}
	}
	if st.Frames == 0 && err != nil {
		return nil
	}
	callers.Finish()
	i.add(o, callers, tell)
	if i.office == nil {
		return nil
	}
	return i.keep(ctx, o, dns.File{Digest: digest, Name: filepath.Base(path)})
}

// add adds a file to the document.
func (i *dnsImport) add(o *dns.Observer, callers *infected.Callers, tell *blocks) {
	d := &i.doc
	for _, r := range o.Pending() {
		t := &r.Tally
		d.Queries += t.Queries
		d.Responses += t.Responses
		d.Malformed += t.Malformed
		d.Unread += t.Unread
		d.Broken += t.Broken
		d.NXDomain += t.NXDomain
		d.Blocked.Total += t.Blocked
		d.Would += t.Would
		d.Sinkholed += t.Sinkholed
		d.Reached += t.Reached
		if t.Blocked > 0 {
			d.Blocked.ByZone[r.Zone] += t.Blocked
			if r.Family != "" {
				d.Blocked.ByFamily[r.Family] += t.Blocked
			}
		}
	}
	d.Clients += o.Seen() // of each file by itself
	d.Suspects = append(d.Suspects, callers.Suspects()...)
	for a, n := range tell.count {
		d.Blocked.ByClient = append(d.Blocked.ByClient, clientBlocked{a, n})
	}
	if first, last := o.Span(); !first.IsZero() {
		if d.First == nil || first.Before(*d.First) {
			d.First = &first
		}
		if d.Last == nil || last.After(*d.Last) {
			d.Last = &last
		}
	}
}

// keep keeps the counts of a file, and gives the findings to cases.
func (i *dnsImport) keep(ctx context.Context, o *dns.Observer, file dns.File) error {
	list := i.found
	i.found = nil
	if err := i.keeper.store.Tx(ctx, func(tx *store.Tx) error { return i.keeper.register.Write(tx, list) }); err != nil {
		return err
	}
	for n := range list {
		if err := i.office.finding(ctx, &list[n]); err != nil {
			return err
		}
	}
	// Last: until then the file counts as not taken in, and is read again.
	return i.record.Keep(ctx, o, &file)
}

// print tells the whole.
func (i *dnsImport) print(w io.Writer, format string) error {
	d := &i.doc
	if format == "json" {
		return printJSON(w, d)
	}
	rows := [][]string{
		{say("問い合わせ", "queries"), thousands(d.Queries)},
		{say("応答", "responses"), thousands(d.Responses)},
		{say("利用者", "clients"), thousands(d.Clients)},
		{say("存在しない名前", "names that don't exist"), thousands(d.NXDomain)},
		{say("遮断", "blocked"), thousands(d.Blocked.Total)},
		{say("シンクホール", "sinkholed"), thousands(d.Sinkholed)},
		{say("遮断の見込み(観察中)", "would be blocked"), thousands(d.Would)},
		{say("遮断されるはずが応答あり", "enforced, and yet answered"), thousands(d.Reached)},
		{say("読めない", "malformed"), thousands(d.Malformed)},
		{say("組み立てられない断片", "pieces not put together"), thousands(d.Unread)},
		{say("途切れた記録", "streams that broke off"), thousands(d.Broken)},
	}
	if err := printRows(w, format, []string{say("項目", "what"), say("件数", "count")}, rows); err != nil || format == "csv" {
		return err
	}
	if d.Ground == "" {
		fmt.Fprintln(w, say("利用者ごとの内容は見ていません(--data か --own-traffic が要ります)。", "No client was looked at: that takes --data or --own-traffic."))
	}
	for _, k := range d.Known {
		fmt.Fprintf(w, say("%s は取り込み済みです。\n", "%s was taken in before: not counted again.\n"), k)
	}
	rows = nil
	for _, s := range d.Suspects {
		rows = append(rows, []string{s.Client.String(), fmt.Sprint(s.NX), s.Shape, strings.Join(s.Names[:min(len(s.Names), 3)], " ")})
	}
	return section(w, say("名前を計算で作る(DGA)疑い", "clients that ask for made-up names (DGA)"), []string{"client", "nx", "shape", "names"}, rows, len(rows))
}
