package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"sakimori/base/wire/dns"
	"sakimori/sim"
)

func newSimCamera() *cobra.Command {
	var resolver, from, output string
	var camera sim.Camera
	c := &cobra.Command{
		Use: "camera NAME…", Args: cobra.MinimumNArgs(1),
		Short: "Ask a resolver of this machine as an infected camera does / 感染したカメラの名前解決を模擬する",
		Long: `Asks a resolver for names, from an address that a household would have, and says what
it was told. It stays on the loopback interface: both addresses must be of that. It goes
nowhere with what it learns.

感染したカメラのように、契約者のアドレスからリゾルバーに名前を問い合わせ、得た答えを表示します。
ループバックインターフェースのアドレスだけを使い、得た宛先には接続しません。`,
		Example: `  sakimori sim camera --resolver 127.0.0.1:5300 --from 127.0.0.7 c2.example`,
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if camera.Resolver, err = netip.ParseAddrPort(resolver); err != nil {
				return usage("--resolver %q: write an address and a port, like 127.0.0.1:53", resolver)
			}
			if from != "" {
				if camera.From, err = netip.ParseAddr(from); err != nil {
					return usage("--from %q: write an address, like 127.0.0.7", from)
				}
			}
			camera.Names = args
			list, err := camera.Call(c.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(c.OutOrStdout(), list)
			}
			rows := make([][]string, len(list))
			for i, x := range list {
				rows[i] = []string{x.Name, toldOf(&x)}
			}
			return printRows(c.OutOrStdout(), output, []string{"name", "answer"}, rows)
		},
	}
	fl := c.Flags()
	fl.StringVar(&resolver, "resolver", "127.0.0.1:53", "the resolver")
	fl.StringVar(&from, "from", "", "the household's address")
	fl.IntVar(&camera.Rounds, "rounds", 1, "how often it goes through the names")
	fl.DurationVar(&camera.Every, "every", 100*time.Millisecond, "between two questions")
	outputFlag(c, &output)
	return c
}

// toldOf is an answer for a person.
func toldOf(x *sim.Called) string {
	switch {
	case x.Silent:
		return say("返事なし", "no answer")
	case x.Rcode == dns.NXDomain:
		return say("存在しない名前 (NXDOMAIN)", "no such name (NXDOMAIN)")
	case x.Rcode != dns.NoError:
		return fmt.Sprintf(say("エラー %d", "error %d"), x.Rcode)
	case len(x.Addresses) == 0:
		return say("アドレスなし", "no address")
	}
	return fmt.Sprint(x.Addresses)
}
