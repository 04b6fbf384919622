// Sakimori watches the network of a telecom operator. This command is the core:
// it imports captures, listens to sensors, keeps what they say, and serves the
// console.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	_ "time/tzdata" // the zone of notices, also where no table of zones is installed

	"github.com/spf13/cobra"
)

// Set by the build (-ldflags -X).
var (
	version = "dev"
	commit  = "unknown"
)

// heapAim is from where on the garbage collector works harder, so that an import
// of a million concurrent events stays below two gibibytes with its store.
// GOMEMLIMIT in the environment replaces it.
const heapAim = 1100 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heapAim)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// The exit codes, the same for every command.
const (
	exitFine     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitFindings = 3
)

// Main runs the command line and gives the exit code.
func Main(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	var code *exitError
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, &code):
		if code.err != nil {
			fmt.Fprintln(errs, "sakimori:", code.err)
		}
		return code.code
	}
	fmt.Fprintln(errs, "sakimori:", err)
	return exitFailed
}

// exitError is an error with an exit code of its own; err nil says nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usage marks an error as a wrong use of the command.
func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// commands is the table of all commands, in the order of the help.
var commands = []func() *cobra.Command{
	newDemo, newServe, newImport, newStats, newFlow, newFinding, newAttack, newReplay, newRoute, newIncident, newExplain, newCase, newNotify, newCNC, newRPZ, newSubscriber, newLawful, newConsent, newLedger, newDoctor, newSim, newUser, newToken, newConfig, newDocs, newVersion,
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "sakimori",
		Short: "Watches a telecom operator's network, lawfully / 通信事業者の網を、法に則って見守る",
		Long: `sakimori watches addresses that nobody uses (a darknet): who scans, with what,
who is under attack, and which of one's own subscribers are infected. In what routers
tell of flows it finds floods within seconds, and proposes the least filter against each.

sakimori は未使用アドレス(ダークネット)に届くパケットを観測し、誰が何でスキャンしているか、
誰が攻撃されているか、自社のどの利用者が感染しているかを示します。ルーターのフロー記録からは
DDoS 攻撃を数秒で見つけ、止めるための最小の規則を提案します。`,
		Example: `  sakimori demo
  sakimori import telescope --dark 198.51.100.0/24 --own 203.0.113.0/24 day.pcap.gz
  sakimori serve --config sakimori.yaml`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("%w (see: %s --help)", err, c.CommandPath())
	})
	for _, c := range commands {
		root.AddCommand(c())
	}
	return root
}

// noArgs refuses arguments with exit code 2.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s takes no arguments, but got %q (see: %s --help)", c.CommandPath(), args, c.CommandPath())
	}
	return nil
}
