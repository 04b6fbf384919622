package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"sakimori/base/store"
	"sakimori/console/api"
	"sakimori/respond/notify"
	"sakimori/respond/notify/mail"
)

func newNotify() *cobra.Command {
	c := &cobra.Command{
		Use: "notify", Short: "Tell subscribers, once or not at all / 加入者への通知",
		Long: `Notices to subscribers: proposed for a case, approved by a person whom the gate allows it,
sent once, and followed. All but send and check work beside a running serve, too,
through its API.

加入者への通知です。案件から提案し、許可を得て承認し、一度だけ送り、結果を案件に反映します。
send と check 以外は、動作中の serve の API を通しても使えます。`,
	}
	c.AddCommand(newNotifyList(), newNotifyShow(), newNotifyPropose(), newNotifyPreview(), newNotifyApprove(), newNotifySend(), newNotifyLetters(),
		newNotifyWithdraw(), newNotifyResolve(), newNotifyConfirm(), newNotifyCheck(), newNotifyChannels())
	return c
}

// once does one request of the API, of the running process or one for the moment.
func (a *asking) once(c *cobra.Command, method, path string, body any, accept string) (b []byte, err error) {
	ask, done, err := a.open(c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	return ask(c.Context(), method, path, body, accept)
}

// asTable writes an answer as JSON, or hands it to who writes a table of it.
func asTable[T any](w io.Writer, format string, b []byte, table func(T) error) error {
	if format == "json" {
		_, err := w.Write(append(b, '\n'))
		return err
	}
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	return table(v)
}

// fixed completes a flag by fixed words.
func fixed(c *cobra.Command, flag string, list ...string) {
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)) // fails only for an unknown flag
}

func channelNames() (list []string) {
	for _, c := range notify.Channels {
		list = append(list, string(c))
	}
	return list
}

func instantOf(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func printNotices(w io.Writer, format string, list []api.Notice) error {
	rows := make([][]string, 0, len(list))
	for i := range list {
		n := &list[i]
		rows = append(rows, []string{n.ID, n.Case, n.Channel, n.State, n.Reference, instantOf(n.Sent), n.Reason})
	}
	return printRows(w, format, []string{"notice", "case", "channel", "state", "reference", "sent", "reason"}, rows)
}

func newNotifyList() *cobra.Command {
	a := asking{office: true}
	var of, state, channel string
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "List notices, the newest first / 一覧", Args: noArgs,
		Example: "  sakimori notify list --data sakimori-data --state in_doubt\n  sakimori notify list --data sakimori-data --case C-2026-000001 -o csv",
		RunE: func(c *cobra.Command, _ []string) error {
			path := "/api/v1/notices" + query("case", of, "state", state, "channel", channel, "limit", fmt.Sprint(limit))
			accept := "application/json"
			if a.format == "csv" {
				accept = "text/csv"
			}
			b, err := a.once(c, http.MethodGet, path, nil, accept)
			if err != nil {
				return err
			}
			if a.format == "csv" {
				_, err := c.OutOrStdout().Write(b)
				return err
			}
			return asTable(c.OutOrStdout(), a.format, b, func(v struct{ Notices []api.Notice }) error {
				return printNotices(c.OutOrStdout(), a.format, v.Notices)
			})
		},
	}
	a.flags(c)
	fl := c.Flags()
	fl.StringVar(&of, "case", "", "of one case")
	fl.StringVar(&state, "state", "", "proposed, approved, sending, in_doubt, sent, delivered, bounced, failed, unprintable or withdrawn")
	fl.StringVar(&channel, "channel", "", "mail, letter, portal or webhook")
	fl.IntVar(&limit, "limit", 100, "rows, at most 500")
	fixed(c, "state", "proposed", "approved", "sending", "in_doubt", "sent", "delivered", "bounced", "failed", "unprintable", "withdrawn")
	fixed(c, "channel", channelNames()...)
	return c
}

func newNotifyShow() *cobra.Command {
	a := asking{office: true}
	c := &cobra.Command{
		Use: "show NOTICE", Short: "Show a notice with its history / 経緯を見る", Args: oneNotice, Example: "  sakimori notify show 7x… --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			b, err := a.once(c, http.MethodGet, "/api/v1/notices/"+url.PathEscape(args[0]), nil, "application/json")
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			return asTable(w, a.format, b, func(v struct {
				Notice  api.Notice
				History []api.NoticeChange
			},
			) error {
				n := &v.Notice
				if a.format == "table" {
					fmt.Fprintf(w, "%s  %s  %s  %s  %s\n%s %s\n\n", n.ID, n.Case, n.Channel, n.State, n.Reference, say(n.Words.JA, n.Words.EN), n.Reason)
				}
				var rows [][]string
				for _, h := range v.History {
					rows = append(rows, []string{h.At.Format(time.RFC3339), h.From, h.To, h.Who, h.Said, h.Reason})
				}
				return printRows(w, a.format, []string{"at", "from", "to", "who", "said", "reason"}, rows)
			})
		},
	}
	a.flags(c)
	return c
}

func oneNotice(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("name one notice: sakimori notify list shows them")
	}
	return nil
}

// deciding makes a command by which a person decides something, which is written down.
func deciding(use, short, long, example string, flags func(c *cobra.Command), do func(id, why string) (path string, body map[string]any, err error)) *cobra.Command {
	a := asking{office: true}
	var why string
	c := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 || why == "" {
				return usage("%s takes one argument, and --why (see: %s --help)", c.CommandPath(), c.CommandPath())
			}
			path, body, err := do(url.PathEscape(args[0]), why)
			if err != nil {
				return err
			}
			body["why"] = why
			b, err := a.once(c, http.MethodPost, path, body, "application/json")
			if err != nil {
				return err
			}
			return asTable(c.OutOrStdout(), a.format, b, func(v struct{ Notice api.Notice }) error {
				return printNotices(c.OutOrStdout(), a.format, []api.Notice{v.Notice})
			})
		},
	}
	a.flags(c)
	c.Flags().StringVar(&why, "why", "", "the reason, which is written down")
	if flags != nil {
		flags(c)
	}
	return c
}

func newNotifyPropose() *cobra.Command {
	var channel, language string
	return deciding("propose CASE", "Propose a notice to the subscriber of a case / 通知を提案する",
		`Proposes a notice by the channel that is due, or by --channel. Nobody is told before
somebody has approved it.

次に使うべき手段(または --channel)で通知を提案します。承認されるまで送られません。`,
		"  sakimori notify propose C-2026-000001 --why 'reported twice' --data sakimori-data\n  sakimori notify propose C-2026-000001 --channel letter --language en --why 'the mail came back'",
		func(c *cobra.Command) {
			c.Flags().StringVar(&channel, "channel", "", "mail, letter, portal or webhook (default the one that is due)")
			c.Flags().StringVar(&language, "language", "", "ja or en (default the person's own)")
			fixed(c, "channel", channelNames()...)
			fixed(c, "language", "ja", "en")
		},
		func(id, _ string) (string, map[string]any, error) {
			return "/api/v1/cases/" + id + "/notices", map[string]any{"channel": channel, "language": language}, nil
		})
}

func newNotifyApprove() *cobra.Command {
	var harm, necessity string
	return deciding("approve NOTICE", "Let a notice go out, if the gate allows it / 承認する",
		`Approves a notice. The gate is asked first, for a grant to notify this subscriber: the
case must be open, and harm and necessity be stated here or in the configuration
(notify.ground). A refusal says what is missing, and the notice stays as it is.

通知を承認します。先に許可を求めます。侵害と必要性を、ここか設定(notify.ground)で示してください。
認められないときは、足りないものを示し、通知はそのままです。`,
		"  sakimori notify approve 7x… --why 'looked at' --harm 'scans of 23/tcp against others' --necessity 'one session at the time of the report' --data sakimori-data",
		func(c *cobra.Command) {
			c.Flags().StringVar(&harm, "harm", "", "what harm is done to whose facilities")
			c.Flags().StringVar(&necessity, "necessity", "", "why this extent is needed and fitting")
		},
		func(id, _ string) (string, map[string]any, error) {
			facts := map[string]any{}
			for name, text := range map[string]string{"harm": harm, "necessity": necessity} {
				if text != "" {
					facts[name] = text
				}
			}
			return "/api/v1/notices/" + id + "/approve", map[string]any{"facts": facts}, nil
		})
}

func newNotifyWithdraw() *cobra.Command {
	return deciding("withdraw NOTICE", "Take a notice back / 取り消す",
		`Takes a notice back. If it was sent, whoever checks its number reads that nothing needs
to be done.

通知を取り消します。送った後であれば、番号を確認した人には対応不要と表示されます。`,
		"  sakimori notify withdraw 7x… --why 'the report was wrong' --data sakimori-data", nil,
		func(id, _ string) (string, map[string]any, error) {
			return "/api/v1/notices/" + id + "/withdraw", map[string]any{}, nil
		})
}

func newNotifyResolve() *cobra.Command {
	var sent, never bool
	return deciding("resolve NOTICE", "Settle a notice that is in doubt / 送られたか不明な通知を確定する",
		`Says, after a look into the log of the next hop, that a notice in doubt was sent (--sent)
or never went out (--never).

次の中継先のログを確かめたうえで、送られた(--sent)か、送られなかった(--never)かを確定します。`,
		"  sakimori notify resolve 7x… --sent --why 'the log of the MTA has it' --data sakimori-data",
		func(c *cobra.Command) {
			c.Flags().BoolVar(&sent, "sent", false, "it went out")
			c.Flags().BoolVar(&never, "never", false, "it never went out")
		},
		func(id, _ string) (string, map[string]any, error) {
			if sent == never {
				return "", nil, usage("say either --sent or --never")
			}
			return "/api/v1/notices/" + id + "/resolve", map[string]any{"sent": sent}, nil
		})
}

func newNotifyConfirm() *cobra.Command {
	a := asking{office: true}
	var became, why, report string
	c := &cobra.Command{
		Use: "confirm NOTICE --became STATE", Short: "Say what became of a notice that went out / 届いたかを記録する",
		Long: `Says that a notice was delivered or bounced: a letter that came back, a receipt. With
--report a delivery report (RFC 3464) is read from a file, and tells by itself.

届いた、または戻ったことを記録します。--report では配送状況通知(RFC 3464)のファイルを読みます。`,
		Example: "  sakimori notify confirm 7x… --became bounced --why 'the letter came back' --data sakimori-data\n  sakimori notify confirm --report bounce.eml --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			id := ""
			if report != "" && len(args) == 0 {
				b, err := readBounce(report)
				if errors.Is(err, mail.ErrNoBounce) {
					return errors.New(say("通知の配送状況通知ではありません: ", "this is no delivery report on a notice: ") + report)
				}
				if err != nil {
					return err
				}
				state, is := becomes(&b)
				if !is {
					return errors.New(say("まだ結果ではありません: ", "it is no outcome yet: ") + b.Action)
				}
				id, became, why = b.Notice, string(state), b.Action+" "+b.Status
			} else if len(args) == 1 && report == "" {
				id = args[0]
			}
			if id == "" || why == "" || became != "delivered" && became != "bounced" {
				return usage("name one notice with --became delivered or bounced, and --why; or give --report (see: %s --help)", c.CommandPath())
			}
			b, err := a.once(c, http.MethodPost, "/api/v1/notices/"+url.PathEscape(id)+"/confirm", map[string]any{"became": became, "why": why}, "application/json")
			if err != nil {
				return err
			}
			return asTable(c.OutOrStdout(), a.format, b, func(v struct{ Notice api.Notice }) error {
				return printNotices(c.OutOrStdout(), a.format, []api.Notice{v.Notice})
			})
		},
	}
	a.flags(c)
	fl := c.Flags()
	fl.StringVar(&became, "became", "", "delivered or bounced")
	fl.StringVar(&why, "why", "", "the reason, which is written down")
	fl.StringVar(&report, "report", "", "file with a delivery report")
	fixed(c, "became", "delivered", "bounced")
	return c
}

func newNotifyPreview() *cobra.Command {
	a := asking{office: true}
	var grant, out string
	c := &cobra.Command{
		Use: "preview NOTICE", Short: "Show a notice as it would go out / 送る内容を見る", Args: oneNotice,
		Long: `Shows a notice as it would go out now, without the person. With a grant to notify this
subscriber the person stands in it, and the look is an entry of the ledger.

いま送るとした内容を示します。宛名は伏せます。--grant で宛名も示し、閲覧を台帳に記録します。`,
		Example: "  sakimori notify preview 7x… --data sakimori-data\n  sakimori notify preview 7x… --out letter.pdf --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			path, method, body := "/api/v1/notices/"+url.PathEscape(args[0])+"/preview", http.MethodGet, any(nil)
			if grant != "" {
				method, body = http.MethodPost, map[string]string{"grant": grant}
			}
			b, err := a.once(c, method, path, body, "application/json")
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			return asTable(w, a.format, b, func(p api.NoticePreview) error {
				content := []byte(p.Text)
				switch {
				case len(p.PDF) > 0:
					content = p.PDF
				case p.HTML != "":
					content = []byte(p.HTML)
				}
				switch {
				case out != "":
					return os.WriteFile(out, content, 0o600)
				case len(p.PDF) > 0:
					_, err := fmt.Fprintf(w, say("PDF %d バイト。--out でファイルに書き出してください。\n", "a PDF of %d bytes: name a file with --out\n"), len(p.PDF))
					return err
				}
				_, err := fmt.Fprintf(w, "%s\n\n%s\n", p.Subject, content)
				return err
			})
		},
	}
	a.flags(c)
	c.Flags().StringVar(&grant, "grant", "", "a grant to notify this subscriber")
	c.Flags().StringVar(&out, "out", "", "file for the letter, page or text")
	return c
}

func newNotifyLetters() *cobra.Command {
	a := asking{office: true}
	c := &cobra.Command{
		Use: "letters", Short: "Write the letters that are due into a batch / 郵便の束を作る", Args: noArgs,
		Long: `Writes the letters that are due as PDF into a folder of a batch. Print what its
manifest.json names. A batch that a crash cut off is finished first.

送るべき郵便を PDF にして一束にまとめます。manifest.json にあるものだけを印刷してください。`,
		Example: "  sakimori notify letters --data sakimori-data",
		RunE: func(c *cobra.Command, _ []string) error {
			b, err := a.once(c, http.MethodPost, "/api/v1/notices/letters", map[string]any{}, "application/json")
			if err != nil {
				return err
			}
			return asTable(c.OutOrStdout(), a.format, b, func(x api.NoticeBatch) error {
				return printRows(c.OutOrStdout(), a.format, []string{"batch", "letters", "unprintable", "later"}, [][]string{{x.Batch, fmt.Sprint(x.Letters), fmt.Sprint(x.Unprintable), fmt.Sprint(x.Later)}})
			})
		},
	}
	a.flags(c)
	return c
}

func newNotifyChannels() *cobra.Command {
	a := asking{office: true}
	c := &cobra.Command{
		Use: "channels", Short: "How subscribers can be told / 使える手段", Args: noArgs, Example: "  sakimori notify channels --config sakimori.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			b, err := a.once(c, http.MethodGet, "/api/v1/notices/channels", nil, "application/json")
			if err != nil {
				return err
			}
			return asTable(c.OutOrStdout(), a.format, b, func(v struct{ Channels []api.NoticeChannel }) error {
				var rows [][]string
				for _, x := range v.Channels {
					rows = append(rows, []string{x.Channel, fmt.Sprint(x.Configured), say(x.Reason.JA, x.Reason.EN)})
				}
				return printRows(c.OutOrStdout(), a.format, []string{"channel", "configured", "reason"}, rows)
			})
		},
	}
	a.flags(c)
	return c
}

// sentBy is what one channel's round came to.
type sentBy struct {
	Channel string         `json:"channel"`
	Sent    int            `json:"sent"`
	InDoubt int            `json:"in_doubt"`
	Failed  int            `json:"failed"`
	Later   int            `json:"later"`
	Errors  map[string]int `json:"errors"`
}

func newNotifySend() *cobra.Command {
	var f withBook
	c := &cobra.Command{
		Use: "send", Short: "Send what is due, where no serve runs / 送るべき通知を送る", Args: noArgs,
		Long: `Sends what was approved and is due, once, by the channels that send by themselves, and
says what became of it. Only one process sends: a running serve does so by itself.

承認済みの通知を一度だけ送ります。送るのは一つのプロセスだけです。serve の動作中は serve が送ります。`,
		Example: "  sakimori notify send --config sakimori.yaml",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			cfg, err := f.settings()
			if err != nil {
				return err
			}
			if _, err := os.Stat(cfg.Data); err != nil {
				return fmt.Errorf("there is no data folder %s: name it with --data", cfg.Data)
			}
			k, err := openKeeper(c.Context(), cfg.Data) // nobody else sends while this is held
			if busy, is := errors.AsType[*store.ErrBusy](err); is {
				_, err := fmt.Fprintf(c.OutOrStdout(), say("動作中のプロセス(pid %d)が自動で送ります。\n", "the running process (pid %d) sends by itself\n"), busy.PID)
				return err
			}
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, k.Close()) }()
			return f.office(c, func(ctx context.Context, h *office, w io.Writer) error {
				list, err := h.notices.round(ctx, whoAmI())
				return errors.Join(err, printSent(w, f.format, list))
			})
		},
	}
	f.flags(c)
	return c
}

// round sends what is due by every channel that sends by itself.
func (n *notices) round(ctx context.Context, who string) (list []sentBy, err error) {
	if _, err := n.recover(ctx); err != nil {
		return nil, err
	}
	for _, ch := range sending(n) {
		t, failed := n.SendDue(ctx, ch, n, who)
		list = append(list, sentBy{string(ch), t.Sent, t.InDoubt, t.Failed, t.Later, t.Errors})
		err = errors.Join(err, failed)
	}
	if n.ways.mail != nil {
		err = errors.Join(err, n.ways.mail.Close())
	}
	return list, errors.Join(err, n.follow(ctx))
}

func printSent(w io.Writer, format string, list []sentBy) error {
	if format == "json" {
		return printJSON(w, append([]sentBy{}, list...))
	}
	var rows [][]string
	for _, s := range list {
		rows = append(rows, []string{s.Channel, fmt.Sprint(s.Sent), fmt.Sprint(s.InDoubt), fmt.Sprint(s.Failed), fmt.Sprint(s.Later)})
	}
	if err := printRows(w, format, []string{"channel", "sent", "in_doubt", "failed", "later"}, rows); err != nil || format != "table" {
		return err
	}
	for _, s := range list {
		for why, n := range s.Errors {
			fmt.Fprintf(w, "%s: %d × %s\n", s.Channel, n, why)
		}
	}
	return nil
}

func newNotifyCheck() *cobra.Command {
	var f withBook
	c := &cobra.Command{
		Use: "check NUMBER", Short: "Is this number of a notice of ours? / 番号を確かめる",
		Long: `Tells what whoever checks a reference number reads, and nothing of whose it is. Asked at
the desk, it is no answer of the subscriber's.

問い合わせ番号を確認した人に表示される内容を示します。窓口での確認は、加入者の応答にはなりません。`,
		Example: "  sakimori notify check 4821-0937-5516 --data sakimori-data",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one reference number")
			}
			return f.office(c, func(ctx context.Context, h *office, w io.Writer) error {
				x, err := h.notices.Check(ctx, args[0])
				if errors.Is(err, notify.ErrMistyped) {
					return errors.New(say("番号が正しくありません。12桁の数字です。", err.Error()))
				}
				if err != nil {
					return err
				}
				if f.format == "json" {
					return printJSON(w, map[string]any{"known": x.Known, "withdrawn": x.Withdrawn, "on": x.On, "text": x.Text})
				}
				if f.format == "csv" {
					return printRows(w, "csv", []string{"known", "withdrawn", "on"}, [][]string{{fmt.Sprint(x.Known), fmt.Sprint(x.Withdrawn), x.On}})
				}
				_, err = fmt.Fprintln(w, say(x.Text.JA, x.Text.EN))
				return err
			})
		},
	}
	f.flags(c)
	return c
}
