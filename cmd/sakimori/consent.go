package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/base/yaml"
	"sakimori/lawful"
	"sakimori/lawful/consent"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/vault"
)

func newConsent() *cobra.Command {
	c := &cobra.Command{Use: "consent", Short: "What subscribers consent to: terms, notices, opt-outs / 同意の管理"}
	c.AddCommand(newConsentList(), newConsentTerms(), newConsentNotice(), newConsentSay(true), newConsentSay(false), newConsentShow())
	return c
}

// register opens the register of consents: a running serve asks the same one, so what is
// said here counts at once.
func (f *withBook) register(c *cobra.Command, do func(ctx context.Context, h *office, r *consent.Register, w io.Writer) error) error {
	return f.desk(c, func(ctx context.Context, h *office, w io.Writer) error {
		r, err := consent.Open(ctx, h.db, h.clock, consents{h.book})
		if err != nil {
			return err
		}
		return do(ctx, h, r, w)
	})
}

func newConsentList() *cobra.Command {
	var f withBook
	c := &cobra.Command{
		Use: "list", Short: "List versions of terms, and how many consent / 約款の版と同意数の一覧", Args: noArgs,
		Example: "  sakimori consent list --data sakimori-data",
		RunE: func(c *cobra.Command, _ []string) error {
			return f.register(c, func(ctx context.Context, h *office, r *consent.Register, w io.Writer) error {
				list, err := r.Versions(ctx)
				if err != nil {
					return err
				}
				type row struct {
					consent.Terms

					Counts map[string]consent.Counts `json:"counts"` // of those who said something about each purpose
				}
				all := make([]row, 0, len(list))
				var rows [][]string
				for _, t := range list {
					x := row{t, map[string]consent.Counts{}}
					for _, p := range t.Purposes {
						n, err := r.Count(ctx, p, h.clock.Now())
						if err != nil {
							return err
						}
						x.Counts[p] = n
						rows = append(rows, []string{t.Version, string(t.Ground), t.From.Format(time.RFC3339), p, fmt.Sprint(len(t.Notices)), fmt.Sprint(n.Consenting), fmt.Sprint(n.Outdated), fmt.Sprint(n.Declined)})
					}
					all = append(all, x)
				}
				if f.format == "json" {
					return printJSON(w, all)
				}
				return printRows(w, f.format, []string{"version", "ground", "from", "purpose", "notices", "consenting", "outdated", "declined"}, rows)
			})
		},
	}
	f.flags(c)
	return c
}

// termsFile is a version of terms as somebody writes it down.
type termsFile struct {
	Version            string    `yaml:"version"`
	Ground             string    `yaml:"ground"`
	From               time.Time `yaml:"from"`
	Text               string    `yaml:"text"` // the file of the terms, beside this one
	Purposes           []string  `yaml:"purposes"`
	OptOut             bool      `yaml:"opt_out"`
	OtherwiseUnchanged bool      `yaml:"otherwise_unchanged"`
	Limited            bool      `yaml:"limited"`
	Continues          bool      `yaml:"continues"`
}

func newConsentTerms() *cobra.Command {
	var f withBook
	var path string
	c := &cobra.Command{
		Use: "terms -f TERMS", Short: "Enter a version of terms / 約款の版を登録する", Args: noArgs,
		Long: `Enters a version of the terms, or of the wording of an individual consent:

  version: "2026-04"
  ground: comprehensive_consent     # or individual_consent
  from: 2026-04-01T00:00:00+09:00
  text: terms-2026-04.txt           # its sum is kept, beside this file
  purposes: [cnc_dns]
  opt_out: true                     # may be declined at any time,
  otherwise_unchanged: true         # and nothing else of the terms changes by it
  limited: true                     # to these purposes
  continues: false                  # who consented to the one before must be asked again

約款(個別同意の場合は同意文面)の版を登録します。`,
		Example: "  sakimori consent terms -f terms.yaml --data sakimori-data",
		RunE: func(c *cobra.Command, _ []string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			var t termsFile
			if err := yaml.Decode(b, &t); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if t.Text == "" {
				return fmt.Errorf("%s: name the file of the terms (text)", path)
			}
			text, err := os.ReadFile(filepath.Join(filepath.Dir(path), t.Text))
			if err != nil {
				return err
			}
			return f.register(c, func(ctx context.Context, _ *office, r *consent.Register, _ io.Writer) error {
				return r.AddTerms(ctx, consent.Terms{
					Version: t.Version, Ground: lawful.Ground(t.Ground), From: t.From, TextSum: consent.Sum(text), Purposes: t.Purposes, OptOut: t.OptOut,
					OtherwiseUnchanged: t.OtherwiseUnchanged, Limited: t.Limited, Continues: t.Continues, Who: whoAmI(),
				})
			})
		},
	}
	f.flags(c)
	c.Flags().StringVarP(&path, "file", "f", "", "file that describes the version")
	return c
}

func newConsentNotice() *cobra.Command {
	var f withBook
	var n consent.Notice
	var at string
	c := &cobra.Command{
		Use: "notice VERSION", Short: "Enter that a version was announced / 約款の周知を登録する",
		Example: "  sakimori consent notice 2026-04 --channel mail --reference https://www.example.jp/terms --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 || n.Channel == "" || n.Reference == "" {
				return usage("name one version, --channel and --reference")
			}
			n.At, n.Who = time.Now(), whoAmI()
			if at != "" {
				var err error
				if n.At, err = time.Parse(time.RFC3339, at); err != nil {
					return usage("--at %s: write it like 2026-03-01T09:00:00+09:00", at)
				}
			}
			return f.register(c, func(ctx context.Context, _ *office, r *consent.Register, _ io.Writer) error {
				return r.AddNotice(ctx, args[0], n)
			})
		},
	}
	f.flags(c)
	fl := c.Flags()
	fl.StringVar(&n.Channel, "channel", "", "web, mail or letter")
	fl.StringVar(&n.Reference, "reference", "", "where it can be seen")
	fl.StringVar(&at, "at", "", "when; now when not told")
	return c
}

// subject is a pseudonym that was written, or that of a contract.
func (h *office) subject(written, contract string) (string, error) {
	if (written == "") == (contract == "") {
		return "", errors.New("name a pseudonym (S-…), or a contract with --contract")
	}
	if contract == "" {
		_, err := subscriber.ParseSubject(written)
		return written, err
	}
	keys, err := vault.LoadKeys(filepath.Join(h.dir, vaultKeys), time.Now())
	if err != nil {
		return "", err
	}
	return subscriber.Subject(keys.Pseudonym(contract)), nil
}

// newConsentSay enters that somebody consents, or that they don't.
func newConsentSay(given bool) *cobra.Command {
	var f withBook
	var purpose, version, channel, contract string
	c := &cobra.Command{
		Use: "withdraw [SUBSCRIBER]", Short: "Enter that a subscriber opts out: it counts at once / オプトアウトを登録する(即時)",
		Example: "  sakimori consent withdraw S-… --purpose cnc_dns --channel phone --data sakimori-data",
	}
	if given {
		c.Use, c.Short = "give [SUBSCRIBER]", "Enter that a subscriber consents / 同意を登録する"
		c.Example = "  sakimori consent give --contract taro@example.jp --purpose cnc_dns --version 2026-04 --channel web --data sakimori-data"
		c.Flags().StringVar(&version, "version", "", "of the terms that they consent to")
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 1 || purpose == "" || channel == "" {
			return usage("name one subscriber, --purpose and --channel (see: %s --help)", c.CommandPath())
		}
		return f.register(c, func(ctx context.Context, h *office, r *consent.Register, w io.Writer) error {
			who, err := h.subject(strings.Join(args, ""), contract)
			if err != nil {
				return err
			}
			var e consent.Event
			if given {
				e, err = r.Give(ctx, who, purpose, version, channel, whoAmI())
			} else {
				e, err = r.Withdraw(ctx, who, purpose, channel, whoAmI())
			}
			if err != nil {
				return err
			}
			if f.format == "json" {
				return printJSON(w, e)
			}
			_, err = fmt.Fprintln(w, e.Subject, e.Purpose, e.At.Format(time.RFC3339))
			return err
		})
	}
	f.flags(c)
	fl := c.Flags()
	fl.StringVar(&purpose, "purpose", "", "what they consent to, as the terms name it")
	fl.StringVar(&channel, "channel", "", "how they said it: contract, web, phone")
	fl.StringVar(&contract, "contract", "", "the contract instead of the pseudonym")
	return c
}

func newConsentShow() *cobra.Command {
	var f withBook
	var contract string
	c := &cobra.Command{
		Use: "show [SUBSCRIBER]", Short: "Show what a subscriber said / 加入者の同意の履歴",
		Example: "  sakimori consent show S-… --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("name one subscriber")
			}
			return f.register(c, func(ctx context.Context, h *office, r *consent.Register, w io.Writer) error {
				who, err := h.subject(strings.Join(args, ""), contract)
				if err != nil {
					return err
				}
				list, err := r.History(ctx, who)
				if err != nil {
					return err
				}
				if f.format == "json" {
					return printJSON(w, append([]consent.Event{}, list...))
				}
				var rows [][]string
				for _, e := range list {
					rows = append(rows, []string{e.At.Format(time.RFC3339), e.Purpose, map[bool]string{true: "given", false: "withdrawn"}[e.Given], e.Version, e.Channel, e.Who})
				}
				return printRows(w, f.format, []string{"at", "purpose", "said", "version", "channel", "who"}, rows)
			})
		},
	}
	f.flags(c)
	c.Flags().StringVar(&contract, "contract", "", "the contract instead of the pseudonym")
	return c
}
