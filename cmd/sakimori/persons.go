package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/base/clock"
	"sakimori/respond/subscriber/vault"
)

// personColumns are what a file of people may hold; only the contract must be there.
var personColumns = []string{"contract", "name", "mail", "phone", "postal_code", "address1", "address2", "address3", "language", "line"}

// peopleRead is what an import of them came to.
type peopleRead struct {
	Rows      uint64   `json:"rows"`
	Kept      uint64   `json:"kept"`
	Malformed uint64   `json:"malformed"`
	Reasons   []string `json:"reasons"` // the first ones, with their lines and nobody's data
}

const mostReasons = 20

func (p *peopleRead) bad(line int, why string) {
	p.Malformed++
	if len(p.Reasons) < mostReasons {
		p.Reasons = append(p.Reasons, fmt.Sprintf(say("%d行: %s", "line %d: %s"), line, why))
	}
}

func newImportPeople() *cobra.Command {
	var f withBook
	var mapping []string
	c := &cobra.Command{
		Use:   "people FILE.csv",
		Short: "Import whom contracts belong to / 契約者の連絡先を取り込む",
		Long: `Reads from the customer system's export whom a contract belongs to and how they are
reached. The contract is what RADIUS or the leases call the line. All of it is sealed, apart
from everything else, and read with a grant alone. Columns: ` + strings.Join(personColumns, ", ") + `.
Others are passed over; --map names those that are called something else.

契約(RADIUS 等での回線名)ごとの契約者と連絡先を顧客システムの CSV から取り込みます。
暗号化して別に保管し、許可なしには読み出せません。`,
		Example: "  sakimori import people --data sakimori-data customers.csv\n  sakimori import people --data sakimori-data --map contract=LINE_ID --map mail=EMAIL customers.csv",
		RunE: func(c *cobra.Command, files []string) error {
			if len(files) != 1 {
				return usage("name one file (see: %s --help)", c.CommandPath())
			}
			names := map[string]string{}
			for _, m := range mapping {
				ours, theirs, is := strings.Cut(m, "=")
				if !is || !slices.Contains(personColumns, ours) {
					return usage("--map %s: write it as contract=COLUMN, with one of %s", m, strings.Join(personColumns, ", "))
				}
				names[ours] = theirs
			}
			return f.identities(c, func(ctx context.Context, h *office, w io.Writer) error {
				return h.importPeople(ctx, files[0], names, f.format, w, newProgress(c.ErrOrStderr(), "auto"))
			})
		},
	}
	f.flags(c)
	c.Flags().StringArrayVar(&mapping, "map", nil, "a column's own name: contract=LINE_ID")
	return c
}

func (h *office) importPeople(ctx context.Context, path string, names map[string]string, format string, w io.Writer, bar *bar) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	// That such data came in is written down, whose they are isn't.
	if _, err := h.book.Append(ctx, ledger.Line{Kind: account.Configured, Who: whoAmI(), What: map[string]string{"what": "people", "file": filepath.Base(path)}}); err != nil {
		return err
	}
	var p peopleRead
	lot := make([]vault.Holder, 0, atOnce)
	flush := func() error {
		if err := h.vault.KeepPeople(ctx, lot); err != nil {
			return err
		}
		p.Kept += uint64(len(lot))
		lot = lot[:0]
		bar.show(progress{File: filepath.Base(path), Step: "people", Packets: p.Kept})
		return nil
	}
	err = readPeople(file, names, &p, func(x vault.Holder) error {
		if lot = append(lot, x); len(lot) < atOnce {
			return nil
		}
		return flush()
	})
	if err := errors.Join(err, flush()); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	bar.end()
	if format == "json" {
		return printJSON(w, &p)
	}
	if err := printRows(w, format, []string{"rows", "kept", "malformed"}, [][]string{{fmt.Sprint(p.Rows), fmt.Sprint(p.Kept), fmt.Sprint(p.Malformed)}}); err != nil || format != "table" {
		return err
	}
	for _, r := range p.Reasons {
		fmt.Fprintln(w, r)
	}
	return nil
}

// readPeople reads a file of people. A line that can't be used is counted, and no word of
// it is repeated.
func readPeople(in io.Reader, names map[string]string, p *peopleRead, each func(vault.Holder) error) error {
	r := csv.NewReader(skipMark(in))
	r.FieldsPerRecord, r.ReuseRecord = -1, true
	head, err := r.Read()
	if err != nil {
		return errors.New(say("見出し行を読めません", "the line of column names can't be read"))
	}
	at := map[string]int{}
	for _, ours := range personColumns {
		theirs, named := names[ours]
		if !named {
			theirs = ours
		}
		i := slices.Index(head, theirs)
		if i >= 0 {
			at[ours] = i
		} else if named || ours == "contract" {
			return fmt.Errorf(say("列 %s がありません: --map で指定してください", "there is no column %s: name it with --map"), theirs)
		}
	}
	width := len(head)
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		line, _ := r.FieldPos(0)
		broken := (*csv.ParseError)(nil)
		if errors.As(err, &broken) {
			p.Rows++
			p.bad(broken.StartLine, say("引用符が閉じていないか、CSV ではありません", "a quote isn't closed, or it isn't CSV"))
			continue
		}
		if err != nil {
			return err
		}
		p.Rows++
		if len(row) != width {
			p.bad(line, fmt.Sprintf(say("列数が %d (見出しは %d)", "%d columns, and the head has %d"), len(row), width))
			continue
		}
		x, why := holder(row, at)
		if why != "" {
			p.bad(line, why)
			continue
		}
		if err := each(x); err != nil {
			return err
		}
	}
}

// skipMark passes over the mark that spreadsheets put before UTF-8.
func skipMark(in io.Reader) io.Reader {
	b := bufio.NewReader(in)
	if head, err := b.Peek(3); err == nil && string(head) == "\ufeff" {
		_, _ = b.Discard(len(head)) // they were peeked
	}
	return b
}

// holder makes a person of a row, or says what is wrong.
func holder(row []string, at map[string]int) (x vault.Holder, why string) {
	get := func(name string) string {
		i, there := at[name]
		if !there {
			return ""
		}
		return strings.Clone(strings.TrimSpace(row[i]))
	}
	x = vault.Holder{Contract: get("contract"), Person: vault.Person{
		Name: get("name"), Mail: get("mail"), Phone: get("phone"), Code: get("postal_code"), Language: get("language"), Sensitive: get("line"),
	}}
	for _, n := range []string{"address1", "address2", "address3"} {
		if l := get(n); l != "" {
			x.Person.Lines = append(x.Person.Lines, l)
		}
	}
	p := &x.Person
	switch {
	case x.Contract == "":
		return x, say("契約がありません", "no contract")
	case p.Language != "" && p.Language != "ja" && p.Language != "en":
		return x, say("language は ja か en です", "language is ja or en")
	case p.Sensitive != "" && !slices.Contains([]string{"home", "business", "medical", "alarm"}, p.Sensitive):
		return x, say("line は home、business、medical、alarm のいずれかです", "line is home, business, medical or alarm")
	}
	if p.Mail != "" {
		if a, err := mail.ParseAddress(p.Mail); err != nil || a.Address != p.Mail {
			return x, say("メールアドレスではありません", "mail is no address")
		}
	}
	return x, ""
}

func newSubscriberErase() *cobra.Command {
	var f withBook
	var why string
	c := &cobra.Command{
		Use: "erase PSEUDONYM", Short: "Remove who a subscriber is / 契約者の情報を消去する",
		Long: `Removes a subscriber's contract and contact. What was done stays in the ledger, under a
pseudonym that tells nothing then. It can't be undone.

契約と連絡先を消去します。台帳の記録は残りますが、仮名から契約者は分からなくなります。元に戻せません。`,
		Example: "  sakimori subscriber erase S-… --why 'the contract ended a year ago' --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 || why == "" {
				return usage("name one pseudonym, and say --why")
			}
			return f.identities(c, func(ctx context.Context, h *office, _ io.Writer) error {
				if _, err := h.book.Append(ctx, ledger.Line{Kind: account.Erased, Who: whoAmI(), What: map[string]string{"subject": args[0], "why": why}}); err != nil {
					return err
				}
				return h.vault.Erase(ctx, args[0])
			})
		},
	}
	f.flags(c)
	c.Flags().StringVar(&why, "why", "", "the reason, which is written down")
	return c
}

func newSubscriberRotate() *cobra.Command {
	var f withBook
	var drop bool
	c := &cobra.Command{
		Use: "rotate", Short: "Seal all identities with a new key / 鍵を更新する", Args: noArgs,
		Long: `Makes a new key and seals everything with it. With --drop the old keys are forgotten
afterwards: keep no copy of the key file that has them.

新しい鍵を作り、すべて封をし直します。--drop を付けると、そのあと古い鍵を捨てます。`,
		Example: "  sakimori subscriber rotate --drop --data sakimori-data",
		RunE: func(c *cobra.Command, _ []string) error {
			return f.office(c, func(ctx context.Context, h *office, w io.Writer) error {
				if _, err := h.book.Append(ctx, ledger.Line{Kind: account.Configured, Who: whoAmI(), What: map[string]any{"what": "rotate keys", "drop": drop}}); err != nil {
					return err
				}
				if err := h.keys.Next(time.Now()); err != nil {
					return err
				}
				bar := newProgress(c.ErrOrStderr(), "auto")
				done, err := h.vault.Rotate(ctx, func(n int) { bar.show(progress{Step: "rotate", Packets: uint64(n)}) }) //nolint:gosec // not negative
				bar.end()
				if err == nil && drop {
					err = h.keys.Drop()
				}
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(w, say("%d 件に封をし直しました。\n", "%d identities were sealed with the new key\n"), done)
				return err
			})
		},
	}
	f.flags(c)
	c.Flags().BoolVar(&drop, "drop", false, "forget the old keys")
	return c
}

// forget removes what was kept of addresses for longer than the operator keeps it; 0 is
// for ever. That it was removed is written down before.
func (h *office) forget(ctx context.Context, keep time.Duration, c clock.Clock) error {
	if keep <= 0 {
		return nil
	}
	before := c.Now().Add(-keep)
	z := h.history.Size()
	if z.Rows == 0 {
		return nil
	}
	if _, err := h.book.Append(ctx, ledger.Line{Kind: account.Pruned, Who: "sakimori", What: map[string]any{"what": "addresses", "before": before, "rows": z.Rows}}); err != nil {
		return err
	}
	return h.history.Forget(before)
}
