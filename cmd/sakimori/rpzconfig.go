package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"sakimori/respond/rpz/resolver"
)

func newRPZConfig() *cobra.Command {
	var path, folder string
	var force bool
	c := &cobra.Command{
		Use: "config bind|unbound|pdns|knot", Short: "Write a resolver's configuration / リゾルバーの設定を書き出す",
		Long: `Writes a complete configuration with which a resolver obeys the policy zones, from
resolvers.site of the configuration: to the screen, or into a folder. What a person
must know besides is said at the end (docs/resolvers.md).

設定ファイルの resolvers.site から、リゾルバーがポリシーゾーンに従うための完全な設定を、
画面またはフォルダーに書き出します。注意点は最後に示します(docs/resolvers.ja.md)。`,
		Example:   "  sakimori rpz config bind --config sakimori.yaml\n  sakimori rpz config knot --config sakimori.yaml -o /etc/knot-resolver",
		ValidArgs: []string{"bind", "unbound", "pdns", "knot"},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(resolver.Vendors(), resolver.Vendor(args[0])) {
				return usage("name one resolver: bind, unbound, pdns or knot")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := readConfig(path, os.Environ())
			if err != nil {
				return &exitError{exitUsage, err}
			}
			site, err := cfg.Resolvers.site()
			if err != nil {
				return &exitError{exitUsage, err}
			}
			files, notes, err := resolver.Config(resolver.Vendor(args[0]), site)
			if err != nil {
				return usage("resolvers.site: %w", err)
			}
			for _, name := range slices.Sorted(maps.Keys(files)) {
				if folder == "" {
					fmt.Fprintf(c.OutOrStdout(), "##### %s\n%s\n", name, files[name])
					continue
				}
				to := filepath.Join(folder, name)
				if err := writeNew(to, files[name], force); err != nil {
					return err
				}
				fmt.Fprintln(c.OutOrStdout(), to)
			}
			for _, n := range notes {
				fmt.Fprintln(c.ErrOrStderr(), "-", pick(n))
			}
			return nil
		},
	}
	c.Flags().StringVar(&path, "config", "", "configuration file / 設定ファイル")
	c.Flags().StringVarP(&folder, "output-dir", "o", "", "folder to write into / 書き込むフォルダー")
	c.Flags().BoolVar(&force, "force", false, "replace files that are there / 既存のファイルを置き換える")
	return c
}

// writeNew writes a file, and replaces one that is there only if told to.
func writeNew(path, text string, force bool) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o640) // #nosec G302 G304 -- where the person says; the resolver's group reads it
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: give --force to replace it", path)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
