package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"sakimori/base/run"
	"sakimori/respond/notify"
	"sakimori/respond/notify/mail"
)

// sendEvery is how often what is due goes out, and bounces are looked for.
const sendEvery = 15 * time.Second

// components are what serve does with notices: first it settles what a crash has left,
// then each channel sends by itself what is due. Letters wait for a person to print them.
func (n *notices) components(log *slog.Logger) []run.Component {
	list := []run.Component{{Name: "notices", Run: func(ctx context.Context, ready func()) error {
		doubted, err := n.recover(ctx)
		if err != nil {
			return err
		}
		for i := range doubted {
			log.WarnContext(ctx, "a notice is in doubt: it may have gone out", slog.String("notice", doubted[i].ID))
		}
		ready()
		return nil
	}}}
	for _, c := range sending(n) {
		list = append(list, run.Component{Name: "notices by " + string(c), Run: func(ctx context.Context, ready func()) error {
			ready()
			return n.send(ctx, c, log)
		}})
	}
	if n.cfg.Mail != nil && n.cfg.Mail.Bounces != "" {
		list = append(list, run.Component{Name: "bounces", Run: func(ctx context.Context, ready func()) error {
			ready()
			return n.bounces(ctx, log)
		}})
	}
	if n.portal != nil {
		n.portal.Log = log
		list = append(list, run.Component{Name: "portal", Run: n.page})
	}
	return list
}

// sending are the channels that send by themselves and are configured.
func sending(n *notices) (list []notify.Channel) {
	for _, c := range []notify.Channel{notify.Mail, notify.Webhook, notify.Portal} {
		if n.Configured(c) {
			list = append(list, c)
		}
	}
	return list
}

// recover settles what a crash has left. It runs before the first Send, and while nobody
// else sends.
func (n *notices) recover(ctx context.Context) ([]notify.Notice, error) {
	doubted, err := n.Recover(ctx)
	return doubted, errors.Join(err, n.follow(ctx))
}

// send sends what is due by one channel, again and again. What fails is said and tried
// again: it stops nothing else.
func (n *notices) send(ctx context.Context, c notify.Channel, log *slog.Logger) error {
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	for {
		t, err := n.SendDue(ctx, c, n, "sakimori")
		if ctx.Err() == nil {
			if t.Sent+t.InDoubt+t.Failed > 0 {
				log.InfoContext(ctx, "notices went out", slog.String("channel", string(c)), slog.Int("sent", t.Sent), slog.Int("in_doubt", t.InDoubt), slog.Int("failed", t.Failed), slog.Int("later", t.Later))
			}
			if err := errors.Join(err, n.follow(ctx)); err != nil {
				log.ErrorContext(ctx, "notices could not be sent", slog.String("channel", string(c)), slog.Any("error", err))
			}
		}
		select {
		case <-ctx.Done():
			if c == notify.Mail {
				return n.ways.mail.Close()
			}
			return nil
		case <-tick.C:
		}
	}
}

// bounces takes what came to the bounce address.
func (n *notices) bounces(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	for {
		got, err := n.takeBounces(ctx, n.cfg.Mail.Bounces)
		if got.Read > 0 {
			log.InfoContext(ctx, "delivery reports were read", slog.Int("read", got.Read), slog.Int("notices", got.Notices), slog.Int("strange", got.Strange))
		}
		if err != nil && ctx.Err() == nil {
			log.ErrorContext(ctx, "delivery reports could not be read", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// reported is what a look into the bounce box came to.
type reported struct{ Read, Notices, Strange int }

// takeBounces reads what is new in a Maildir. A report is moved among what was seen after
// its notice was confirmed, so a crash reads it again, which changes nothing. What is no
// report on a notice stays unread in cur, for a person.
func (n *notices) takeBounces(ctx context.Context, dir string) (got reported, err error) {
	list, err := os.ReadDir(filepath.Join(dir, "new"))
	if errors.Is(err, fs.ErrNotExist) {
		return got, nil // nothing has come yet
	}
	if err != nil {
		return got, err
	}
	for _, e := range list {
		if ctx.Err() != nil || e.IsDir() {
			continue
		}
		flags, err := n.takeBounce(ctx, filepath.Join(dir, "new", e.Name()))
		if err != nil {
			return got, err
		}
		got.Read++
		if flags == "" {
			got.Strange++
		} else {
			got.Notices++
		}
		if err := os.MkdirAll(filepath.Join(dir, "cur"), 0o700); err != nil {
			return got, err
		}
		if err := os.Rename(filepath.Join(dir, "new", e.Name()), filepath.Join(dir, "cur", e.Name()+":2,"+flags)); err != nil {
			return got, err
		}
	}
	return got, n.follow(ctx)
}

// takeBounce confirms the notice that one mail is about, and gives the mail's flags.
func (n *notices) takeBounce(ctx context.Context, path string) (flags string, err error) {
	b, err := readBounce(path)
	if errors.Is(err, mail.ErrNoBounce) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	became, is := becomes(&b)
	if !is { // delayed, or handed on
		return "S", nil
	}
	_, err = n.Desk.Confirm(ctx, b.Notice, became, "bounce box", b.Action+" "+b.Status)
	if errors.Is(err, notify.ErrUnknown) {
		return "", nil
	}
	if errors.Is(err, notify.ErrOrder) { // it was withdrawn, or has failed: known already
		err = nil
	}
	return "S", err
}

func readBounce(path string) (mail.Bounce, error) {
	f, err := os.Open(path)
	if err != nil {
		return mail.Bounce{}, err
	}
	defer f.Close()
	return mail.ReadBounce(f)
}

// becomes is what a report makes of a notice. What was given up after a passing failure
// didn't arrive either.
func becomes(b *mail.Bounce) (notify.State, bool) {
	switch b.Action {
	case "failed":
		return notify.Bounced, true
	case "delivered":
		return notify.Delivered, true
	}
	return "", false
}

// pages are the portal's, and the page on which subscribers choose.
func (n *notices) pages() http.Handler {
	if n.choice == nil {
		return n.portal.Handler()
	}
	mux := http.NewServeMux()
	mux.Handle("/", n.portal.Handler())
	mux.Handle("/choice", n.choice.Handler())
	mux.Handle("/choice/", n.choice.Handler())
	return mux
}

// page serves the portal and the page that checks reference numbers.
func (n *notices) page(ctx context.Context, ready func()) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", n.cfg.Portal.Listen)
	if err != nil {
		return fmt.Errorf("notify.portal: %w: choose another address with listen", err)
	}
	srv := &http.Server{
		Handler: n.pages(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	var ended error
	var serving sync.WaitGroup
	stopped := make(chan struct{})
	serving.Go(func() { ended = srv.Serve(l); close(stopped) })
	ready()
	select {
	case <-stopped:
		return ended
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		return srv.Close()
	}
	serving.Wait()
	return nil
}
