package main

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"sakimori/docs"
)

func newDocs() *cobra.Command {
	c := &cobra.Command{
		Use:     "docs [PAGE]",
		Short:   "Read the documentation that is in this binary / 同梱の文書を読む",
		Example: "  sakimori docs\n  sakimori docs walk/telescope",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("name one page: sakimori docs lists them")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			pages, err := docPages()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				for _, p := range pages {
					fmt.Fprintln(c.OutOrStdout(), strings.TrimSuffix(p, ".md"))
				}
				return nil
			}
			text, err := fs.ReadFile(docs.FS, strings.TrimSuffix(args[0], ".md")+".md")
			if err != nil {
				return usage("there is no page %q: sakimori docs lists them", args[0])
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			pages, err := docPages()
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			return pages, cobra.ShellCompDirectiveNoFileComp
		},
	}
	return c
}

func docPages() (pages []string, err error) {
	err = fs.WalkDir(docs.FS, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			pages = append(pages, p)
		}
		return err
	})
	return pages, err
}
