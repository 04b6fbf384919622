package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/primary"
	"sakimori/respond/rpz/publish"
)

// zonesRead opens the zones to look at them; who writes them isn't disturbed.
func (f *withBook) zonesRead(c *cobra.Command) (*rpz.Store, string, error) {
	cfg, err := f.settings()
	if err != nil {
		return nil, "", err
	}
	dir := filepath.Join(cfg.Data, zonesDir)
	if _, err := os.Stat(dir); err != nil {
		return nil, "", errors.New(say("ポリシーゾーンがありません: ", "there are no policy zones: ") + dir + say("(rpz.listen を設定して serve を動かしてください)", " (set rpz.listen and run serve)"))
	}
	s, err := rpz.Open(c.Context(), dir, rpz.Options{ReadOnly: true})
	return s, dir, err
}

func newRPZStatus() *cobra.Command {
	var f withBook
	var limit int
	c := &cobra.Command{
		Use: "status [ZONE]", Short: "What is published, and what each resolver has / 公開内容と各リゾルバーの状態",
		Long: `Shows the four zones and what each resolver has of them; with ZONE its serials, the
newest first, with who published them and why.

四つのゾーンと、各リゾルバーが持つ版を示します。ZONE を指定すると、その版の履歴を新しい順に示します。`,
		Example: "  sakimori rpz status --data sakimori-data\n  sakimori rpz status c2 --data sakimori-data -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, dir, err := f.zonesRead(c)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				z, err := parseZone(args[0])
				if err != nil {
					return usage("%w", err)
				}
				list, err := s.Serials(z)
				if err != nil {
					return err
				}
				slices.Reverse(list)
				return printSerials(c.OutOrStdout(), f.format, list[:min(len(list), limit)])
			}
			peers, err := readPeers(filepath.Join(dir, zonesPeers))
			if err != nil {
				return err
			}
			held := heldNow(c.Context(), s, func() (*client, error) { return f.through(c) })
			return printZones(c.OutOrStdout(), f.format, s, peers, held)
		},
	}
	f.flags(c)
	c.Flags().IntVar(&limit, "limit", 50, "how many serials / 表示する版の数")
	return c
}

// readPeers reads what serve wrote down of the resolvers; none where it never ran.
func readPeers(path string) (list []primary.PeerState, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return list, json.Unmarshal(b, &list)
}

func printSerials(w io.Writer, format string, list []rpz.Publication) error {
	if format == "json" {
		return printJSON(w, list)
	}
	var rows [][]string
	for i := range list {
		p := &list[i]
		basis := "-"
		if p.Basis != nil {
			basis = p.Basis.Grant
		}
		rows = append(rows, []string{
			fmt.Sprint(p.Serial), p.At.Format(time.RFC3339), kindWord(p), fmt.Sprint(p.Rules), fmt.Sprintf("+%d -%d", p.Added, p.Removed), p.Who, p.Why, basis, p.Digest[:12],
		})
	}
	return printRows(w, format, []string{"serial", "at", "what", "rules", "change", "who", "why", "grant", "digest"}, rows)
}

func kindWord(p *rpz.Publication) string {
	words := map[rpz.Kind][2]string{
		rpz.Begun: {"作成", "begun"}, rpz.Published: {"公開", "published"}, rpz.RolledBack: {"巻き戻し", "rolled back"},
		rpz.Emptied: {"空にした", "emptied"}, rpz.Paused: {"一時停止", "paused"}, rpz.Resumed: {"再開", "resumed"},
	}
	x := words[p.Kind]
	if s := say(x[0], x[1]); p.Of == 0 {
		return s
	}
	return fmt.Sprintf("%s (%d)", say(x[0], x[1]), p.Of)
}

// shownBack is a zone that stands rolled back, as it is printed; Added and Removed are null
// where no serve runs that counts them.
type shownBack struct {
	Zone    rpz.Zone  `json:"zone"`
	Since   time.Time `json:"since"`
	Serial  uint32    `json:"serial"`
	Who     string    `json:"who"`
	Why     string    `json:"why"`
	Added   *int      `json:"added"`
	Removed *int      `json:"removed"`
}

func printZones(w io.Writer, format string, s *rpz.Store, peers []primary.PeerState, held map[rpz.Zone]publish.Held) error {
	var list []rpz.Publication
	var rows [][]string
	for _, z := range rpz.Zones() {
		v := s.Current(z)
		if v == nil {
			continue
		}
		list = append(list, v.Publication)
		rows = append(rows, []string{string(z), fmt.Sprint(v.Serial), kindWord(&v.Publication), thousands(uint64(v.Rules)), v.At.Format(time.RFC3339), v.Who, v.Why}) // #nosec G115 -- counted
	}
	if format == "json" {
		shown := []shownBack{}
		for _, z := range rpz.Zones() {
			if x, is := held[z]; is {
				h := shownBack{Zone: z, Since: x.Since, Serial: x.Serial, Who: x.Who, Why: x.Why}
				if !x.Counted.IsZero() {
					h.Added, h.Removed = &x.Added, &x.Removed
				}
				shown = append(shown, h)
			}
		}
		return printJSON(w, map[string]any{"zones": list, "resolvers": peers, "held": shown})
	}
	if err := printRows(w, format, []string{"zone", "serial", "what", "rules", "at", "who", "why"}, rows); err != nil || format == "csv" {
		return err
	}
	for _, z := range rpz.Zones() {
		if x, is := held[z]; is {
			words := heldWords(z, &x)
			fmt.Fprintf(w, "\n⚠ %s %s (%s, %s): %s\n", z, x.Since.Format(time.RFC3339), x.Who, x.Why, say(words.JA, words.EN))
		}
	}
	if len(peers) == 0 {
		return nil
	}
	rows = nil
	for i := range peers {
		p := &peers[i]
		for _, z := range p.Zones {
			has, lag, last := say("不明", "unknown"), "-", "-"
			if z.Serial != 0 {
				has = fmt.Sprint(z.Serial)
				if z.How == primary.Kept {
					has += " (" + say("再起動前 ", "before a restart, seen ") + z.At.Format(time.RFC3339) + ")"
				}
				if v := s.Current(z.Zone); v != nil {
					lag = fmt.Sprint(v.Serial - z.Serial)
				}
			}
			if z.Last != nil {
				last = fmt.Sprintf("%s %d B %s", z.Last.Kind, z.Last.Bytes, z.Last.Took.Round(time.Millisecond))
			}
			rows = append(rows, []string{p.Name, p.Vendor, p.Pool, string(z.Zone), has, lag, last})
		}
	}
	fmt.Fprintln(w)
	if err := printRows(w, format, []string{"resolver", "vendor", "pool", "zone", "has", "behind", "last"}, rows); err != nil {
		return err
	}
	for i := range peers {
		if n := len(peers[i].Errors); n > 0 {
			e := peers[i].Errors[n-1]
			fmt.Fprintf(w, "%s %s: %s\n", e.At.Format(time.RFC3339), peers[i].Name, say(e.JA, e.EN))
		}
	}
	return nil
}

func newRPZDiff() *cobra.Command {
	var f withBook
	c := &cobra.Command{
		Use: "diff ZONE FROM TO", Short: "What changed between two serials / 二つの版の差分", Args: cobra.ExactArgs(3),
		Example: "  sakimori rpz diff c2 41 42 --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			z, err := parseZone(args[0])
			if err != nil {
				return usage("%w", err)
			}
			from, err := parseSerial(args[1])
			if err != nil {
				return err
			}
			to, err := parseSerial(args[2])
			if err != nil {
				return err
			}
			s, _, err := f.zonesRead(c)
			if err != nil {
				return err
			}
			d, err := s.Diff(z, from, to)
			if err != nil {
				return err
			}
			return printDelta(c.OutOrStdout(), f.format, d)
		},
	}
	f.flags(c)
	return c
}

func parseSerial(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, usage("%q is no serial: see which are by `sakimori rpz status ZONE`", s)
	}
	return uint32(n), nil
}

// shownRule is a rule as it is printed.
type shownRule struct {
	Change  string   `json:"change"`
	Trigger string   `json:"trigger"`
	Action  string   `json:"action"`
	Data    []string `json:"data,omitempty"`
	Ref     string   `json:"ref"`
}

func printDelta(w io.Writer, format string, d *rpz.Delta) error {
	list := []shownRule{}
	for _, part := range []struct {
		sign string
		set  *rpz.Set
	}{{"-", d.Removed}, {"+", d.Added}} {
		for r := range part.set.All() {
			x := shownRule{part.sign, r.Name, r.Action.String(), r.Data, r.Ref}
			if r.Client.IsValid() {
				x.Trigger = r.Client.String()
			}
			list = append(list, x)
		}
	}
	if format == "json" {
		return printJSON(w, list)
	}
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{r.Change, r.Trigger, r.Action, strings.Join(r.Data, "; "), r.Ref})
	}
	return printRows(w, format, []string{"", "trigger", "action", "data", "ref"}, rows)
}

// zoneAct are the flags of commands that publish.
type zoneAct struct {
	withBook
	why, grant string
}

func (f *zoneAct) flags(c *cobra.Command, grant bool) {
	f.withBook.flags(c)
	c.Flags().StringVar(&f.why, "why", "", "why it is done, for the ledger / 理由(台帳に残ります)")
	_ = c.MarkFlagRequired("why") // fails only for an unknown flag
	if grant {
		c.Flags().StringVar(&f.grant, "grant", "", "the grant that blocks rest on / 遮断の根拠となる許可")
	}
}

// do does it: through the serve that runs, or on the data folder.
func (f *zoneAct) do(c *cobra.Command, zone, path string, body map[string]any, act func(ctx context.Context, s *rpz.Store, z rpz.Zone, g rpz.Ground, by rpz.By) (rpz.Publication, error)) error {
	z, err := parseZone(zone)
	if err != nil {
		return usage("%w", err)
	}
	cl, err := f.through(c)
	if err != nil {
		return err
	}
	if cl != nil {
		if path == "" {
			return errors.New(say("動作中の serve がリストから公開します。ファイルからの公開は serve を止めて行ってください", "the running serve publishes from the list: stop it to publish from a file"))
		}
		if body == nil {
			body = map[string]any{}
		}
		body["why"] = f.why
		var out json.RawMessage
		if err := cl.call(c.Context(), http.MethodPost, "/api/v1/rpz/zones/"+string(z)+"/"+path, body, &out); err != nil {
			return err
		}
		return printJSON(c.OutOrStdout(), out)
	}
	return f.office(c, func(ctx context.Context, h *office, w io.Writer) error {
		if h.zones == nil {
			if err := h.openZones(ctx); err != nil {
				return err
			}
		}
		var g rpz.Ground
		if f.grant != "" {
			x, err := h.gate.Find(ctx, f.grant)
			if err != nil {
				return err
			}
			g = x
		}
		p, err := act(ctx, h.zones, z, g, rpz.By{Who: whoAmI(), Why: f.why})
		if err != nil {
			return err
		}
		return printSerials(w, f.format, []rpz.Publication{p})
	})
}

func newRPZPublish() *cobra.Command {
	var f zoneAct
	var rules string
	var whole bool
	c := &cobra.Command{
		Use: "publish ZONE", Short: "Publish what waits, or rules of a file / 待機中の変更、またはファイルのルールを公開する", Args: cobra.ExactArgs(1),
		Long: `While serve runs, publishes at once what waits for its time. Else the rules come from a
file of --rules (- is standard input): CSV of trigger, action, ref and local data, one
rule a line; an action of "remove" takes a rule away. --whole: the file is all of the
zone. Blocks need a grant in force.

serve の動作中は、待機中の変更を直ちに公開します。停止中は --rules のファイル(CSV:
対象, 動作, 根拠, データ)から公開します。遮断には有効な許可が必要です。`,
		Example: "  sakimori rpz publish emergency --why \"worm, ticket 71\"\n  sakimori rpz publish allow --rules allow.csv --whole --why \"yearly review\" --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			path := "publish"
			if rules != "" {
				path = ""
			}
			return f.do(c, args[0], path, nil, func(ctx context.Context, s *rpz.Store, z rpz.Zone, g rpz.Ground, by rpz.By) (rpz.Publication, error) {
				if rules == "" {
					return rpz.Publication{}, usage("no serve runs, so nothing waits: name a file with --rules")
				}
				ch, lines, err := readRules(c.InOrStdin(), rules, whole)
				if err == nil {
					err = nestedRules(s, z, ch, lines)
				}
				if err != nil {
					return rpz.Publication{}, err
				}
				return s.Publish(ctx, z, g, ch, by)
			})
		},
	}
	f.flags(c, true)
	c.Flags().StringVar(&rules, "rules", "", "file of rules, CSV / ルールの CSV")
	c.Flags().BoolVar(&whole, "whole", false, "the file is all that the zone is to have / ファイルの内容で置き換える")
	return c
}

// nestedRules says which rule would stand below another's wildcard.
func nestedRules(s *rpz.Store, z rpz.Zone, ch rpz.Change, lines map[string]int) error {
	below, above, is, err := s.Nested(z, ch)
	if err != nil || !is {
		return err
	}
	at := func(r rpz.Rule) string {
		if n := lines[r.Name]; n > 0 {
			return fmt.Sprintf(say("%d 行目の %s", "line %d: %s"), n, r.Name)
		}
		return fmt.Sprintf(say("ゾーンに既にある %s", "%s, which is in the zone already,"), r.Name)
	}
	advice := fmt.Sprintf(say("%s が既に覆っているので、その行を消してください", "take that rule away, as %s covers it"), above.Name)
	if below.Action != above.Action {
		advice = say("例外は allow. に、その名前とその下(*.)の両方を書いてください", "exceptions belong into allow., as the name and all below it (*.)")
	}
	return fmt.Errorf(say("%s は %s の下にあり、リゾルバーによって読み方が異なります(RFC 4592。BIND と Unbound は上のワイルドカードを隠す)。公開していません。%s",
		"%s stands below %s: resolvers differ there (RFC 4592: to BIND and Unbound it hides the wildcard above it). Nothing was published: %s"), at(below), above.Name, advice)
}

// readRules reads a change, and on which line each name comes.
func readRules(in io.Reader, path string, whole bool) (ch rpz.Change, lines map[string]int, err error) {
	lines = map[string]int{}
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return ch, nil, err
		}
		defer f.Close()
		in = f
	}
	r := csv.NewReader(in)
	r.FieldsPerRecord, r.TrimLeadingSpace, r.Comment = -1, true, '#'
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return ch, nil, err
		}
		line, _ := r.FieldPos(0)
		if len(row) < 2 {
			return ch, nil, fmt.Errorf("line %d: write trigger, action, ref", line)
		}
		var x rpz.Rule
		if p, err := parsePrefix(row[0], "client"); err == nil {
			x.Client = p
		} else {
			x.Name = row[0]
			if n, err := dns.ParseName(row[0]); err == nil {
				x.Name = n.String() // as it is published, and found again
			}
		}
		if len(row) > 2 {
			x.Ref, x.Data = row[2], row[3:]
		}
		if row[1] == "remove" && !whole {
			ch.Remove = append(ch.Remove, x)
			continue
		}
		if x.Action, err = rpz.ParseAction(row[1]); err != nil {
			return ch, nil, fmt.Errorf("line %d: %w", line, err)
		}
		ch.Add, lines[x.Name] = append(ch.Add, x), line
	}
	if whole {
		ch.Whole, ch.Add = slices.Values(ch.Add), nil
	}
	return ch, lines, nil
}

func newRPZRollback() *cobra.Command {
	var f zoneAct
	c := &cobra.Command{
		Use: "rollback ZONE SERIAL", Short: "Publish what a zone was before / 以前の版に戻す", Args: cobra.ExactArgs(2),
		Example: "  sakimori rpz rollback c2 41 --why \"serial 42 stopped a shop\" --grant G-7 --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			serial, err := parseSerial(args[1])
			if err != nil {
				return err
			}
			return f.do(c, args[0], "rollback", map[string]any{"serial": serial}, func(ctx context.Context, s *rpz.Store, z rpz.Zone, g rpz.Ground, by rpz.By) (rpz.Publication, error) {
				return s.Rollback(ctx, z, g, serial, by)
			})
		},
	}
	f.flags(c, true)
	return c
}

func newRPZPause() *cobra.Command {
	var f zoneAct
	c := &cobra.Command{
		Use: "pause ZONE", Short: "Empty a zone until it is resumed / ゾーンを一時的に空にする", Args: cobra.ExactArgs(1),
		Example: "  sakimori rpz pause c2 --why \"customers can't reach their bank\" --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			return f.do(c, args[0], "pause", nil, func(ctx context.Context, s *rpz.Store, z rpz.Zone, _ rpz.Ground, by rpz.By) (rpz.Publication, error) {
				return s.Pause(ctx, z, by)
			})
		},
	}
	f.flags(c, false)
	return c
}

func newRPZResume() *cobra.Command {
	var f zoneAct
	c := &cobra.Command{
		Use: "resume ZONE", Short: "Publish again what was there before the pause / 一時停止を終える", Args: cobra.ExactArgs(1),
		Example: "  sakimori rpz resume c2 --why \"withdrawn, ticket 72\" --grant G-7 --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			return f.do(c, args[0], "resume", nil, func(ctx context.Context, s *rpz.Store, z rpz.Zone, g rpz.Ground, by rpz.By) (rpz.Publication, error) {
				return s.Resume(ctx, z, g, rpz.Change{}, by)
			})
		},
	}
	f.flags(c, true)
	return c
}
