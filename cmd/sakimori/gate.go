package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/lawful"
	"sakimori/lawful/consent"
	"sakimori/lawful/register"
	"sakimori/observe"
)

// openGate opens the gate of a house: what was granted before is in force again, unless
// it was altered.
func (h *office) openGate(ctx context.Context, cfg *config) error {
	g, err := readGuideline(cfg.Rules)
	if err != nil {
		return err
	}
	key, err := secretFile(filepath.Join(h.dir, "gate.key"))
	if err != nil {
		return err
	}
	kept, err := register.Open(ctx, h.db)
	if err != nil {
		return err
	}
	if h.consents, err = consent.Open(ctx, h.db, cfg.now(), consents{h.book}); err != nil {
		return err
	}
	h.guideline = g
	h.gate, err = lawful.New(lawful.Deps{
		Guideline: g, Recorder: decisions{h.book}, Findings: known{h}, Consents: h.consents, Keeper: kept, Key: key, Clock: cfg.now(), Withdraw: mitigationEnds{h},
	})
	if err != nil {
		return err
	}
	return h.gate.Restore(ctx)
}

// secretFile reads 32 secret bytes, or makes them.
func secretFile(path string) ([]byte, error) {
	const size = 32
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		b = make([]byte, size)
		if _, err := rand.Read(b); err != nil {
			return nil, err
		}
		return b, os.WriteFile(path, b, 0o600)
	}
	if err == nil && len(b) != size {
		return nil, fmt.Errorf("%s isn't a key of %d bytes: restore it from its copy", path, size)
	}
	return b, err
}

// decisions writes down what the gate decides. Scope and facts can name addresses and
// subscribers: they are kept apart.
type decisions struct{ book *ledger.Book }

func (d decisions) Record(ctx context.Context, x lawful.Decision) error {
	all, err := json.Marshal(x)
	if err != nil {
		return err
	}
	kinds := map[lawful.Outcome]account.Kind{
		lawful.Granted: account.Granted, lawful.Refused: account.Refused, lawful.Waiting: account.Approved, lawful.Declined: account.Approved,
		lawful.Lapsed: account.Approved, lawful.Revoked: account.Revoked, lawful.Expired: account.Revoked,
	}
	open := x
	open.Scope, open.Facts, open.Proofs, open.Missing = lawful.Scope{}, nil, nil, nil
	for _, m := range x.Missing { // figures and ids stay apart
		open.Missing = append(open.Missing, lawful.Lack{Condition: m.Condition, Missing: m.Missing, Satisfy: m.Satisfy})
	}
	_, err = d.book.Append(ctx, ledger.Line{Kind: kinds[x.Outcome], Who: x.Who, What: open, Private: all})
	return err
}

// consents writes down what subscribers say.
type consents struct{ book *ledger.Book }

func (c consents) Record(ctx context.Context, x consent.Change) error {
	all, err := json.Marshal(x)
	if err != nil {
		return err
	}
	_, err = c.book.Append(ctx, ledger.Line{Kind: account.Consented, Who: "consents", What: map[string]any{"what": x.What, "count": x.Count}, Private: all})
	return err
}

// known tells the gate how things stand: a case of which something was seen lately is an
// infection that lasts. A device that only stands open attacks nobody.
type known struct{ h *office }

// errNoFloods says that it can't be told whether an attack lasts.
var errNoFloods = errors.New("whether an attack lasts is known while serve looks at flows")

func (k known) Open(ctx context.Context, id string) (lawful.Finding, error) {
	if strings.HasPrefix(id, attackPrefix) {
		if k.h.attacks == nil {
			return lawful.Finding{}, errNoFloods
		}
		return k.h.attacks.Open(ctx, id)
	}
	if strings.HasPrefix(id, incidentPrefix) {
		if k.h.incidents == nil {
			return lawful.Finding{}, errNoFloods
		}
		return k.h.incidents.Open(ctx, id)
	}
	c, _, signs, err := k.h.desk.Get(ctx, id)
	if isUnknown(err) {
		return lawful.Finding{}, nil
	}
	f := lawful.Finding{Detector: "exposed", Subject: c.Subject, Open: k.h.desk.Lasts(&c)}
	for i := range signs {
		if !signs[i].Withdrawn && signs[i].Claim != string(observe.ClaimExposed) {
			f.Detector = "infected"
		}
	}
	return f, err
}

func newLawfulGrant(rules *string) *cobra.Command {
	var f withBook
	var path string
	c := &cobra.Command{
		Use: "grant -f FACTS", Short: "Ask the gate, and get a grant / 許可を求める", Args: noArgs,
		Long: `Asks the gate of a data folder. It verifies what it can (a case must be open, consent be
given), writes its decision into the ledger, and gives the number of a grant. A refusal
says what is missing.

データフォルダの判定に許可を求めます。確認できるものは照会し、判断を台帳に記録したうえで、
許可番号を返します。認められないときは、足りないものを示します。`,
		Example: "  sakimori lawful grant -f facts.yaml --data sakimori-data -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			q, err := readQuestion(c, path)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			r, err := q.request()
			if err != nil {
				return &exitError{exitUsage, err}
			}
			r.Who = whoAmI()
			f.rules = *rules
			cl, err := f.through(c)
			if err != nil {
				return err
			}
			if cl != nil {
				return askThrough(c, cl, &r, f.format)
			}
			return f.office(c, func(ctx context.Context, h *office, w io.Writer) error {
				g, err := h.gate.Ask(ctx, r)
				if p, is := errors.AsType[*lawful.Pending](err); is {
					return printWaiting(w, p.Decision.ID)
				}
				if x, is := errors.AsType[*lawful.Refusal](err); is {
					return errors.New(pick(x.Text()))
				}
				if err != nil {
					return err
				}
				return printGrant(w, f.format, g.ID(), g.Rule(), g.Until())
			})
		},
	}
	f.flags(c)
	c.Flags().StringVarP(&path, "facts", "f", "", "file with the measure, its scope and the facts")
	return c
}

func printGrant(w io.Writer, format, id, rule string, until time.Time) error {
	if format == "json" {
		return printJSON(w, map[string]any{"grant": id, "rule": rule, "until": until})
	}
	_, err := fmt.Fprintf(w, say("%s(規則 %s、%s まで)\n", "%s, by rule %s, until %s\n"), id, rule, until.Format(time.RFC3339))
	return err
}

// printWaiting says that nothing is granted yet.
func printWaiting(w io.Writer, id string) error {
	fmt.Fprintf(w, say("%s は二人目の承認待ちです。\n", "%s waits for a second person.\n"), id)
	return &exitError{exitFailed, nil}
}

// askThrough asks the gate of a running serve.
func askThrough(c *cobra.Command, cl *client, r *lawful.Request, format string) error {
	body := map[string]any{"measure": r.Measure, "purpose": r.Purpose, "rule": r.Rule, "scope": r.Scope, "facts": r.Facts}
	if !r.Until.IsZero() {
		body["until"] = r.Until
	}
	var a struct {
		Outcome  lawful.Outcome
		ID, Rule string
		Until    time.Time
		Text     lawful.Text
	}
	if err := cl.call(c.Context(), http.MethodPost, "/api/v1/lawful/ask", body, &a); err != nil {
		return err
	}
	switch a.Outcome {
	case lawful.Granted:
		return printGrant(c.OutOrStdout(), format, a.ID, a.Rule, a.Until)
	case lawful.Waiting:
		return printWaiting(c.OutOrStdout(), a.ID)
	}
	return errors.New(pick(a.Text))
}

func newLawfulGrants(rules *string) *cobra.Command {
	var f withBook
	c := &cobra.Command{
		Use: "grants", Short: "List grants in force, and requests that wait / 有効な許可の一覧", Args: noArgs,
		Example: "  sakimori lawful grants --data sakimori-data",
		RunE: func(c *cobra.Command, _ []string) error {
			f.rules = *rules
			cl, err := f.through(c)
			if err != nil {
				return err
			}
			if cl != nil {
				var all struct{ Grants, Waiting []lawful.Decision }
				if err := cl.call(c.Context(), http.MethodGet, "/api/v1/lawful/grants", nil, &all); err != nil {
					return err
				}
				return printDecisions(c.OutOrStdout(), f.format, append(all.Grants, all.Waiting...))
			}
			return f.office(c, func(ctx context.Context, h *office, w io.Writer) error {
				if _, err := h.gate.Recheck(ctx); err != nil {
					return err
				}
				return printDecisions(w, f.format, append(h.gate.InForce(), h.gate.Waiting()...))
			})
		},
	}
	f.flags(c)
	return c
}

func printDecisions(w io.Writer, format string, list []lawful.Decision) error {
	if format == "json" {
		return printJSON(w, append([]lawful.Decision{}, list...))
	}
	var rows [][]string
	for i := range list {
		d := &list[i]
		rows = append(rows, []string{d.ID, string(d.Outcome), string(d.Measure), d.Rule, d.Who, d.Until.Format(time.RFC3339), d.Purpose})
	}
	return printRows(w, format, []string{"grant", "outcome", "measure", "rule", "who", "until", "purpose"}, rows)
}

func newLawfulRevoke(rules *string) *cobra.Command {
	var f withBook
	var why string
	c := &cobra.Command{
		Use: "revoke GRANT", Short: "End a grant now / 許可を取り消す", Example: "  sakimori lawful revoke G-… --why 'it was the wrong subscriber' --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 || why == "" {
				return usage("name one grant, and say --why")
			}
			f.rules = *rules
			cl, err := f.through(c)
			if err != nil {
				return err
			}
			if cl != nil {
				return cl.call(c.Context(), http.MethodPost, "/api/v1/lawful/grants/"+url.PathEscape(args[0])+"/revoke", map[string]string{"why": why}, nil)
			}
			return f.office(c, func(ctx context.Context, h *office, _ io.Writer) error {
				return h.gate.Revoke(ctx, args[0], whoAmI(), why)
			})
		},
	}
	f.flags(c)
	c.Flags().StringVar(&why, "why", "", "the reason, which is written down")
	return c
}

func newLawfulApprove(rules *string) *cobra.Command {
	var f withBook
	c := &cobra.Command{
		Use: "approve REQUEST", Short: "Agree as the second person / 二人目として承認する", Example: "  sakimori lawful approve G-… --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one request")
			}
			f.rules = *rules
			cl, err := f.through(c)
			if err != nil {
				return err
			}
			if cl != nil {
				if err := cl.call(c.Context(), http.MethodPost, "/api/v1/lawful/grants/"+url.PathEscape(args[0])+"/approve", nil, nil); err != nil {
					return err
				}
				_, err := fmt.Fprintln(c.OutOrStdout(), args[0])
				return err
			}
			return f.office(c, func(ctx context.Context, h *office, w io.Writer) error {
				g, err := h.gate.Approve(ctx, args[0], whoAmI())
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(w, g.ID())
				return err
			})
		},
	}
	f.flags(c)
	return c
}
