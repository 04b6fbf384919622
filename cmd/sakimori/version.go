package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"sakimori/console/web"
)

func newVersion() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "version", Short: "Print the version / 版を表示", Args: noArgs, Example: "  sakimori version -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			v := struct {
				Version string `json:"version"`
				Commit  string `json:"commit"`
				Go      string `json:"go"`
				Console bool   `json:"console"` // false: built without the pages
			}{version, commit, runtime.Version(), !web.IsPlaceholder()}
			if format == "json" {
				return printJSON(c.OutOrStdout(), v)
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "sakimori %s (%s, %s)\n", v.Version, v.Commit, v.Go)
			return err
		},
	}
	outputFlag(c, &format)
	return c
}
