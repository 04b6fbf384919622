package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/console"
)

// welcomePath is the page of the console that takes a one-time link.
const welcomePath = "/welcome#"

// knownUser is a user as the API writes one.
type knownUser struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	Roles    []string   `json:"roles"`
	State    string     `json:"state"`
	Issuer   string     `json:"issuer"`
	SignedIn *time.Time `json:"signed_in"`
}

func newUser() *cobra.Command {
	c := &cobra.Command{
		Use: "user", Short: "Who may use the console / コンソールの利用者",
		Long: `Works on the users of the console: through the API of serve while it runs, or in the
data folder itself. Roles: wall, viewer, operator, abuse, network, legal, admin.

コンソールの利用者を管理します。serve の動作中はその API を、停止中はデータフォルダを使います。`,
	}
	c.AddCommand(newUserAdd(), newUserList(), newUserRoles(),
		newUserAct("lock NAME", "Keep a user out; their sessions end / ロックする", func(w *peopleWork, u knownUser) error { return w.act(u, "lock") }),
		newUserAct("unlock NAME", "Let a locked user in again / ロックを解除する", func(w *peopleWork, u knownUser) error { return w.act(u, "unlock") }),
		newUserAct("reset NAME", "Give a link to choose a new password / パスワード再設定のリンクを出す", func(w *peopleWork, u knownUser) error {
			return w.link("/api/v1/users/"+url.PathEscape(u.ID)+"/reset", map[string]any{})
		}),
		newUserAct("remove NAME", "Remove a user for good / 削除する", func(w *peopleWork, u knownUser) error {
			_, err := w.ask(w.c.Context(), http.MethodDelete, "/api/v1/users/"+url.PathEscape(u.ID), nil, "application/json")
			return err
		}))
	return c
}

// peopleWork is a command on users or tokens, under way.
type peopleWork struct {
	asking

	c   *cobra.Command
	ask asker
}

// do finds who answers, and works with it.
func (w *peopleWork) do(c *cobra.Command, work func() error) error {
	w.c, w.people = c, true
	ask, done, err := w.open(c)
	if err != nil {
		return err
	}
	w.ask = ask
	return errors.Join(work(), done())
}

// send asks for something with a body; out, if not nil, takes the answer.
func (w *peopleWork) send(method, path string, body, out any) error {
	b, err := w.ask(w.c.Context(), method, path, body, "application/json")
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(b, out)
}

func (w *peopleWork) act(u knownUser, verb string) error {
	return w.send(http.MethodPost, "/api/v1/users/"+url.PathEscape(u.ID)+"/"+verb, map[string]any{}, nil)
}

// link asks for a one-time link, and prints it for the one who is to get it.
func (w *peopleWork) link(path string, body any) error {
	var made struct {
		User knownUser `json:"user"`
		Path string    `json:"path"`
	}
	if err := w.send(http.MethodPost, path, body, &made); err != nil {
		return err
	}
	fmt.Fprintln(w.c.OutOrStdout(), w.base+made.Path)
	fmt.Fprintf(w.c.ErrOrStderr(), say("上のリンクを %s 本人に渡してください。一度だけ使えます。\n", "Hand this link to %s: it works once.\n"), made.User.Name)
	return nil
}

func (w *peopleWork) users() ([]knownUser, error) {
	var list struct {
		Rows []knownUser `json:"rows"`
	}
	err := w.send(http.MethodGet, "/api/v1/users", nil, &list)
	return list.Rows, err
}

// named finds a user by name.
func (w *peopleWork) named(name string) (knownUser, error) {
	list, err := w.users()
	if err != nil {
		return knownUser{}, err
	}
	for _, u := range list {
		if strings.EqualFold(u.Name, name) {
			return u, nil
		}
	}
	return knownUser{}, fmt.Errorf(say("%s という利用者はいません(sakimori user list で確認できます)", "there is no user called %s (see: sakimori user list)"), name)
}

// oneName takes exactly one argument.
func oneName(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("%s takes the name of one user (see: %s --help)", c.CommandPath(), c.CommandPath())
	}
	return nil
}

func rolesFlag(c *cobra.Command, roles *[]string) {
	c.Flags().StringSliceVar(roles, "role", nil, strings.Join(console.Given, ", "))
}

func checkRoles(words []string) error {
	if len(words) == 0 {
		return usage("say with --role what they may: %s", strings.Join(console.Given, ", "))
	}
	if _, err := console.ParseRoles(words...); err != nil {
		return &exitError{exitUsage, err}
	}
	return nil
}

func newUserAdd() *cobra.Command {
	var w peopleWork
	var roles []string
	c := &cobra.Command{
		Use: "add NAME", Short: "Invite somebody, and print their one-time link / 利用者を招待する", Args: oneName,
		Example: "  sakimori user add tanaka --role operator --role legal",
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkRoles(roles); err != nil {
				return err
			}
			return w.do(c, func() error { return w.link("/api/v1/users", map[string]any{"name": args[0], "roles": roles}) })
		},
	}
	w.where(c)
	rolesFlag(c, &roles)
	return c
}

func newUserList() *cobra.Command {
	var w peopleWork
	c := &cobra.Command{
		Use: "list", Short: "List the users / 利用者の一覧", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return w.do(c, func() error {
				list, err := w.users()
				if err != nil {
					return err
				}
				if w.format == "json" {
					return printJSON(c.OutOrStdout(), list)
				}
				var rows [][]string
				for _, u := range list {
					rows = append(rows, []string{u.Name, strings.Join(u.Roles, " "), u.State, u.Issuer, when(u.SignedIn)})
				}
				return printRows(c.OutOrStdout(), w.format, []string{"name", "roles", "state", "issuer", "signed_in"}, rows)
			})
		},
	}
	w.flags(c)
	return c
}

func when(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func newUserRoles() *cobra.Command {
	var w peopleWork
	var roles []string
	c := &cobra.Command{
		Use: "roles NAME", Short: "Give a user other roles; their sessions end / 権限を変更する", Args: oneName,
		Example: "  sakimori user roles tanaka --role abuse",
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkRoles(roles); err != nil {
				return err
			}
			return w.do(c, func() error {
				u, err := w.named(args[0])
				if err != nil {
					return err
				}
				return w.send(http.MethodPost, "/api/v1/users/"+url.PathEscape(u.ID)+"/roles", map[string]any{"roles": roles}, nil)
			})
		},
	}
	w.where(c)
	rolesFlag(c, &roles)
	return c
}

// newUserAct makes a command that does one thing to one user.
func newUserAct(use, short string, act func(w *peopleWork, u knownUser) error) *cobra.Command {
	var w peopleWork
	verb, _, _ := strings.Cut(use, " ")
	c := &cobra.Command{
		Use: use, Short: short, Args: oneName,
		Example: "  sakimori user " + verb + " tanaka",
		RunE: func(c *cobra.Command, args []string) error {
			return w.do(c, func() error {
				u, err := w.named(args[0])
				if err != nil {
					return err
				}
				return act(&w, u)
			})
		},
	}
	w.where(c)
	return c
}
