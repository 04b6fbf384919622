package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sakimori/base/clock"
	"sakimori/console/api"
)

func newToken() *cobra.Command {
	var path, data, role, user string
	var ttl time.Duration
	c := &cobra.Command{
		Use: "token", Short: "Give somebody access to the console / コンソールの利用権を発行する", Args: noArgs,
		Long: `Makes an access token and prints it once; only its SHA-256 is kept. Run it while
serve is stopped, as the token file belongs to one process.

利用権を発行して一度だけ表示します(保存するのは SHA-256 のみ)。serve の停止中に実行してください。`,
		Example: "  sakimori token --config sakimori.yaml --role viewer --user tanaka",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := readConfig(path, os.Environ())
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if data != "" {
				cfg.Data = data
			}
			r, err := api.ParseRole(role)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if user == "" {
				return usage("say for whom it is with --user")
			}
			k, err := openKeeper(c.Context(), cfg.Data)
			if err != nil {
				return err
			}
			defer k.Close()
			tokens, err := api.OpenTokens(filepath.Join(cfg.Data, "tokens.json"), clock.System{})
			if err != nil {
				return err
			}
			secret, t, err := tokens.Issue(api.Token{Kind: api.APIToken, Role: r, User: user}, ttl)
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), secret)
			fmt.Fprintf(c.ErrOrStderr(), say("%s(%s)、%s まで有効\n", "for %s (%s), until %s\n"), user, r, t.Expires.Format(time.RFC3339))
			return nil
		},
	}
	c.Flags().StringVar(&path, "config", "", "configuration file")
	c.Flags().StringVar(&data, "data", "", "data folder")
	c.Flags().StringVar(&role, "role", "viewer", "wall, viewer, operator or admin")
	c.Flags().StringVar(&user, "user", "", "who gets it")
	c.Flags().DurationVar(&ttl, "ttl", 90*24*time.Hour, "how long it is valid")
	return c
}
