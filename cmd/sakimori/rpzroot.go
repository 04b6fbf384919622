package main

import "github.com/spf13/cobra"

func newRPZ() *cobra.Command {
	c := &cobra.Command{Use: "rpz", Short: "DNS policy zones, and the resolvers that obey them / DNS ポリシーゾーンとリゾルバー"}
	c.AddCommand(newRPZStatus(), newRPZDiff(), newRPZPublish(), newRPZRollback(), newRPZPause(), newRPZResume(), newRPZConfig(), newRPZCanary())
	return c
}
