package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// knownToken is an API token as the API writes one.
type knownToken struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	User     string     `json:"user"`
	Roles    []string   `json:"roles"`
	ReadOnly bool       `json:"read_only"`
	Expires  time.Time  `json:"expires"`
	Used     *time.Time `json:"used"`
}

func newToken() *cobra.Command {
	c := &cobra.Command{
		Use: "token", Short: "Access to the API for programs and walls / プログラムや壁面表示の利用権",
		Long: `Works on API tokens: through the API of serve while it runs, or in the data folder
itself. A token is printed once; only its SHA-256 is kept.

API トークンを管理します。発行時に一度だけ表示し、SHA-256 のみを保存します。`,
	}
	c.AddCommand(newTokenAdd(), newTokenList(), newTokenRevoke())
	return c
}

func newTokenAdd() *cobra.Command {
	var w peopleWork
	var roles []string
	var user string
	var readOnly bool
	var ttl time.Duration
	c := &cobra.Command{
		Use: "add NAME", Short: "Make a token for what NAME says, and print it / 発行する",
		Example: "  sakimori token add hall --role wall --ttl 8760h\n  sakimori token add report --user tanaka --role legal --read-only",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("say in one word or in quotes what the token is for (see: %s --help)", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkRoles(roles); err != nil {
				return err
			}
			if ttl < time.Hour || ttl > 366*24*time.Hour {
				return usage("--ttl %s: give an hour to 8784h, that is 366 days", ttl)
			}
			return w.do(c, func() error {
				body := map[string]any{"name": args[0], "roles": roles, "read_only": readOnly, "hours": int(ttl / time.Hour)}
				if user != "" {
					u, err := w.named(user)
					if err != nil {
						return err
					}
					body["user_id"] = u.ID
				}
				var made struct {
					Secret string     `json:"secret"`
					Token  knownToken `json:"token"`
				}
				if err := w.send(http.MethodPost, "/api/v1/tokens", body, &made); err != nil {
					return err
				}
				fmt.Fprintln(c.OutOrStdout(), made.Secret)
				fmt.Fprintf(c.ErrOrStderr(), say("%s(%s)、%s まで有効\n", "for %s (%s), until %s\n"), made.Token.Name, strings.Join(made.Token.Roles, ","), made.Token.Expires.Format(time.RFC3339))
				return nil
			})
		},
	}
	w.where(c)
	rolesFlag(c, &roles)
	c.Flags().StringVar(&user, "user", "", "whose it is; without, it is nobody's: for machines and walls")
	c.Flags().BoolVar(&readOnly, "read-only", false, "it can't change anything")
	c.Flags().DurationVar(&ttl, "ttl", 90*24*time.Hour, "how long it is good")
	return c
}

func newTokenList() *cobra.Command {
	var w peopleWork
	c := &cobra.Command{
		Use: "list", Short: "List the tokens / 一覧", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return w.do(c, func() error {
				var list struct {
					Rows []knownToken `json:"rows"`
				}
				if err := w.send(http.MethodGet, "/api/v1/tokens", nil, &list); err != nil {
					return err
				}
				if w.format == "json" {
					return printJSON(c.OutOrStdout(), list.Rows)
				}
				var rows [][]string
				for _, t := range list.Rows {
					mode := "read-write"
					if t.ReadOnly {
						mode = "read-only"
					}
					rows = append(rows, []string{t.ID, t.Name, t.User, strings.Join(t.Roles, " "), mode, t.Expires.Format(time.RFC3339), when(t.Used)})
				}
				return printRows(c.OutOrStdout(), w.format, []string{"id", "name", "user", "roles", "mode", "expires", "used"}, rows)
			})
		},
	}
	w.flags(c)
	return c
}

func newTokenRevoke() *cobra.Command {
	var w peopleWork
	c := &cobra.Command{
		Use: "revoke ID", Short: "End a token, and the sessions opened with it / 失効させる",
		Example: "  sakimori token revoke 5f1c0a9b2e3d",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("%s takes the id of one token (see: sakimori token list)", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return w.do(c, func() error {
				return w.send(http.MethodDelete, "/api/v1/tokens/"+url.PathEscape(args[0]), nil, nil)
			})
		},
	}
	w.where(c)
	return c
}
