package main

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sakimori/account"
	"sakimori/account/ledger"
)

func newLedger() *cobra.Command {
	c := &cobra.Command{Use: "ledger", Short: "The book of what was done, and why it was allowed / 台帳"}
	c.AddCommand(newLedgerVerify(), newLedgerList(), newLedgerExport(), newLedgerSign(), newLedgerErase(), newLedgerPrune())
	return c
}

// withBook are the flags of commands that work on the ledger. They need no running
// process, nor disturb one.
type withBook struct {
	config, data, format string
	rules                string // of the gate, besides the configuration's
}

func (f *withBook) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.config, "config", "", "configuration file")
	c.Flags().StringVar(&f.data, "data", "", "data folder")
	outputFlag(c, &f.format)
}

// settings are those of the configuration, with what the flags say.
func (f *withBook) settings() (config, error) {
	cfg, err := readConfig(f.config, os.Environ())
	if err != nil {
		return cfg, &exitError{exitUsage, err}
	}
	cfg.Data, cfg.Rules = cmp.Or(f.data, cfg.Data), cmp.Or(f.rules, cfg.Rules)
	return cfg, nil
}

// open opens the ledger; dir is the data folder.
func (f *withBook) open(c *cobra.Command, do func(ctx context.Context, b *ledger.Book, dir string, w io.Writer) error) (err error) {
	cfg, err := f.settings()
	if err != nil {
		return err
	}
	if _, err := os.Stat(cfg.Data); err != nil {
		return fmt.Errorf("there is no data folder %s: name it with --data", cfg.Data)
	}
	h, err := openHouse(c.Context(), &cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	return do(c.Context(), h.book, cfg.Data, c.OutOrStdout())
}

// The files of a ledger in the data folder.
const (
	ledgerKey   = "ledger.key"
	ledgerHeads = "ledger.heads"
)

// signHead signs the newest entry.
func signHead(ctx context.Context, b *ledger.Book, dir string) (ledger.Head, bool, error) {
	key, err := ledger.LoadKey(filepath.Join(dir, ledgerKey))
	if err != nil {
		return ledger.Head{}, false, err
	}
	return b.Sign(ctx, key, filepath.Join(dir, ledgerHeads))
}

func newLedgerVerify() *cobra.Command {
	var f withBook
	var heads, key string
	c := &cobra.Command{
		Use: "verify", Short: "Find any entry that was altered, removed or reordered / 改ざんを調べる", Args: noArgs,
		Long: `Reads the whole ledger, and names each entry that was altered, removed or put
elsewhere. Signed heads show what is missing at the end, or was made anew: keep copies
of the file ledger.heads elsewhere, and give one with --heads. Exit code 3 when
something doesn't hold.

台帳を最初から最後まで読み、書き換え・削除・並べ替えを記録ごとに示します。署名付き先頭値
(ledger.heads)の写しを別の場所に保管し、--heads で照合してください。`,
		Example: "  sakimori ledger verify --data sakimori-data\n  sakimori ledger verify --data sakimori-data --heads /media/safe/ledger.heads --key 3q2+7w==…",
		RunE: func(c *cobra.Command, _ []string) error {
			return f.open(c, func(ctx context.Context, b *ledger.Book, dir string, w io.Writer) error {
				if heads == "" {
					heads = filepath.Join(dir, ledgerHeads)
				}
				list, err := ledger.ReadHeads(heads)
				if err != nil {
					return err
				}
				var believed ed25519.PublicKey
				if key != "" {
					if believed, err = base64.StdEncoding.DecodeString(key); err != nil || len(believed) != ed25519.PublicKeySize {
						return usage("--key %s: an Ed25519 public key in base64, as the heads have it", key)
					}
				}
				bar := newProgress(c.ErrOrStderr(), "auto")
				r, err := b.Verify(ctx, list, believed, func(done uint64) { bar.show(progress{File: "ledger", Step: "verify", Packets: done}) })
				bar.end()
				if err != nil {
					return err
				}
				if err := printVerified(w, f.format, &r); err != nil {
					return err
				}
				if len(r.Faults) > 0 {
					return &exitError{exitFindings, nil}
				}
				return nil
			})
		},
	}
	f.flags(c)
	c.Flags().StringVar(&heads, "heads", "", "file of signed heads (default ledger.heads in the data folder)")
	c.Flags().StringVar(&key, "key", "", "public key that alone is believed, base64")
	return c
}

func printVerified(w io.Writer, format string, r *ledger.Report) error {
	var rows [][]string
	for _, x := range r.Faults {
		rows = append(rows, []string{fmt.Sprint(x.Seq), say(x.JA, x.EN)})
	}
	switch format {
	case "json":
		return printJSON(w, r)
	case "csv":
		return printRows(w, "csv", []string{"entry", "fault"}, rows)
	}
	fmt.Fprintf(w, say("記録 %s 件(%d – %d)、署名との照合 %d 件、個人情報 %d 件(消去済み %d 件)\n", "%s entries (%d to %d), compared with %d signed heads; personal data of %d, erased of %d\n"),
		thousands(r.Entries), min(r.After+1, r.Last), r.Last, r.Heads, r.Private, r.Erased)
	if len(r.Faults) == 0 {
		_, err := fmt.Fprintln(w, say("改ざんは見つかりませんでした。", "the chain holds."))
		return err
	}
	return printRows(w, "table", []string{"entry", "fault"}, rows)
}

// spanned are the flags that select entries.
type spanned struct {
	kinds    []string
	who      string
	from, to string
}

func (s *spanned) flags(c *cobra.Command) {
	fl := c.Flags()
	fl.StringSliceVar(&s.kinds, "kind", nil, "grant, refusal, look-up, notice, approval, act, change, configuration, consent, export, …")
	fl.StringVar(&s.who, "who", "", "who did it")
	fl.StringVar(&s.from, "from", "", "begin, RFC 3339")
	fl.StringVar(&s.to, "to", "", "end, RFC 3339")
}

func (s *spanned) query() (q ledger.Query, err error) {
	for _, k := range s.kinds {
		q.Kinds = append(q.Kinds, account.Kind(k))
	}
	q.Who = s.who
	for _, t := range []struct {
		name, text string
		to         *time.Time
	}{{"--from", s.from, &q.From}, {"--to", s.to, &q.To}} {
		if t.text == "" {
			continue
		}
		if *t.to, err = time.Parse(time.RFC3339, t.text); err != nil {
			return q, usage("%s %s: write it like 2026-11-26T09:00:00+09:00", t.name, t.text)
		}
	}
	return q, nil
}

func newLedgerList() *cobra.Command {
	var f withBook
	var s spanned
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "List entries, the newest first / 記録の一覧", Args: noArgs,
		Example: "  sakimori ledger list --data sakimori-data --kind look-up --from 2026-11-01T00:00:00+09:00",
		RunE: func(c *cobra.Command, _ []string) error {
			q, err := s.query()
			if err != nil {
				return err
			}
			q.Before, q.Limit = 1<<63, limit
			return f.open(c, func(ctx context.Context, b *ledger.Book, _ string, w io.Writer) error {
				list, err := b.Entries(ctx, q)
				if err != nil {
					return err
				}
				var rows [][]string
				type entry struct {
					Seq  uint64    `json:"seq"`
					At   time.Time `json:"at"`
					Kind string    `json:"kind"`
					Who  string    `json:"who"`
					What any       `json:"what"`
					Hash string    `json:"hash"`
				}
				out := make([]entry, 0, len(list))
				for i := range list {
					e := &list[i]
					out = append(out, entry{e.Seq, e.At, string(e.Kind), e.Who, json.RawMessage(e.What), hex.EncodeToString(e.Hash[:])})
					rows = append(rows, []string{fmt.Sprint(e.Seq), e.At.Format(time.RFC3339), string(e.Kind), e.Who, string(e.What)})
				}
				if f.format == "json" {
					return printJSON(w, out)
				}
				if f.format == "table" {
					for i := range rows {
						rows[i][4] = cut(rows[i][4], 100)
					}
				}
				return printRows(w, f.format, []string{"entry", "at", "kind", "who", "what"}, rows)
			})
		},
	}
	f.flags(c)
	s.flags(c)
	c.Flags().IntVar(&limit, "limit", 100, "entries")
	return c
}

func newLedgerExport() *cobra.Command {
	var f withBook
	var s spanned
	var format string
	c := &cobra.Command{
		Use: "export", Short: "Write entries out, without personal data / 書き出す(個人情報は含まない)", Args: noArgs,
		Long: `Writes entries in order as NDJSON or CSV, each with its hash, so that others can check
the chain. That it was exported is an entry, too.

記録を NDJSON または CSV で書き出します。ハッシュも含むので、第三者が検証できます。`,
		Example: "  sakimori ledger export --data sakimori-data --format ndjson > ledger.ndjson",
		RunE: func(c *cobra.Command, _ []string) error {
			q, err := s.query()
			if err != nil {
				return err
			}
			return f.open(c, func(ctx context.Context, b *ledger.Book, _ string, w io.Writer) error {
				_, err := b.Export(ctx, w, format, whoAmI(), q)
				return err
			})
		},
	}
	f.flags(c)
	s.flags(c)
	c.Flags().StringVar(&format, "format", "ndjson", "ndjson or csv")
	return c
}

func newLedgerSign() *cobra.Command {
	var f withBook
	c := &cobra.Command{
		Use: "sign", Short: "Sign the newest entry / 最新の記録に署名する", Args: noArgs,
		Long: `Adds a signed head (Ed25519) of the newest entry to ledger.heads in the data folder, as
serve does once a day. Keep copies of that file, and of the public key, elsewhere.

最新の記録の署名付き先頭値を ledger.heads に加えます。写しは別の場所に保管してください。`,
		Example: "  sakimori ledger sign --data sakimori-data",
		RunE: func(c *cobra.Command, _ []string) error {
			return f.open(c, func(ctx context.Context, b *ledger.Book, dir string, w io.Writer) error {
				head, signed, err := signHead(ctx, b, dir)
				if err != nil {
					return err
				}
				if f.format == "json" {
					return printJSON(w, head)
				}
				if !signed {
					_, err = fmt.Fprintln(w, say("新しい記録はありません。", "there is nothing new to sign."))
					return err
				}
				_, err = fmt.Fprintf(w, say("記録 %d に署名しました。公開鍵 %s\n", "entry %d is signed; the public key is %s\n"), head.Seq, head.Key)
				return err
			})
		},
	}
	f.flags(c)
	return c
}

func newLedgerErase() *cobra.Command {
	var f withBook
	var why string
	c := &cobra.Command{
		Use: "erase ENTRY…", Short: "Erase the personal data of entries / 記録の個人情報を消去する",
		Long: `Removes the personal data that were kept beside entries. The entries stay, and the chain
holds; that it was done, by whom and why is an entry.

記録に付随する個人情報を消去します。記録そのものと連鎖は残ります。`,
		Example: "  sakimori ledger erase 17 18 --why 'the subscriber asked for it' --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			var seqs []uint64
			for _, a := range args {
				n, err := strconv.ParseUint(a, 10, 63)
				if err != nil {
					return usage("%q is no number of an entry", a)
				}
				seqs = append(seqs, n)
			}
			if len(seqs) == 0 || why == "" {
				return usage("name entries, and say --why")
			}
			return f.open(c, func(ctx context.Context, b *ledger.Book, _ string, _ io.Writer) error {
				return b.Erase(ctx, whoAmI(), why, seqs...)
			})
		},
	}
	f.flags(c)
	c.Flags().StringVar(&why, "why", "", "the reason, which is written down")
	return c
}

func newLedgerPrune() *cobra.Command {
	var f withBook
	var before string
	c := &cobra.Command{
		Use: "prune --before TIME", Short: "Remove old entries, without breaking the chain / 古い記録を削除する", Args: noArgs,
		Long: `Removes the entries made before a time. The hash of the last one is kept, so that the
chain still holds, and the removal is an entry.

指定した時刻より前の記録を削除します。連鎖は保たれ、削除したことも記録されます。`,
		Example: "  sakimori ledger prune --before 2021-11-26T00:00:00+09:00 --data sakimori-data",
		RunE: func(c *cobra.Command, _ []string) error {
			t, err := time.Parse(time.RFC3339, before)
			if err != nil {
				return usage("--before %s: write it like 2021-11-26T00:00:00+09:00", before)
			}
			return f.open(c, func(ctx context.Context, b *ledger.Book, _ string, w io.Writer) error {
				n, err := b.Prune(ctx, whoAmI(), t)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(w, say("%d 件を削除しました。\n", "%d entries removed\n"), n)
				return err
			})
		},
	}
	f.flags(c)
	c.Flags().StringVar(&before, "before", "", "RFC 3339")
	return c
}
