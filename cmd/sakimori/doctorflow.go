package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"sakimori/base/udp"
	"sakimori/observe/flow"
)

// examineFlow looks at where flows come from, and at what may be done against floods.
func examineFlow(ctx context.Context, cfg *config) (list []check) {
	if !cfg.Flow.on() {
		return nil
	}
	add := func(name, state, detail string) { list = append(list, check{name, state, detail}) }
	for _, i := range cfg.Flow.Mirror {
		list = append(list, examineInterface(i))
	}
	for _, where := range cfg.Flow.Listen {
		list = append(list, examineUDP(ctx, where))
	}
	if len(cfg.Flow.Listen) > 0 {
		list = append(list, examineBuffer(ctx, cmp.Or(cfg.Flow.Buffer, flow.DefaultReceiving().Buffer)))
		if n := len(cfg.Flow.Exporters); n > 0 {
			add("exporters", "fine", fmt.Sprintf("%d addresses and prefixes may send", n))
		} else {
			add("exporters", "note", "none is named in flow.exporters: only this machine may send, whoever else does is refused")
		}
	}
	if set, err := cfg.floods(); err == nil && len(set.Own) == 0 {
		add("floods", "note", "no own prefixes are set (ddos.own): every destination is protected, and nobody of ours is looked for who takes part")
	}
	return append(list, examineMitigation(&cfg.Mitigation))
}

func examineMitigation(m *mitigationConfig) check {
	if !m.Announce {
		return check{"mitigation", "note", "rehearsal: rules are proposed, and nothing is announced (mitigation.announce)"}
	}
	s := fmt.Sprintf("announced to %d BGP peers and %d hooks; whether they are up the console says, under Attacks", len(m.BGP.Peers), len(m.Hooks))
	if len(m.Protected) == 0 {
		return check{"mitigation", "note", s + ". Nothing is protected from rules (mitigation.protected)"}
	}
	return check{"mitigation", "fine", s}
}

// examineUDP asks for an address without sharing it: shared, the kernel would hand
// exporters' datagrams of a running sakimori to this question.
func examineUDP(ctx context.Context, where string) check {
	name := "flow.listen " + where
	c, err := udp.Listen(ctx, where, 0, false)
	if err != nil {
		if strings.Contains(err.Error(), "in use") {
			return check{name, "note", "in use: if that isn't sakimori itself, choose another one"}
		}
		return check{name, "bad", err.Error()}
	}
	_ = c.Close() // it was only a question
	return check{name, "fine", "free"}
}

// examineBuffer asks the kernel for room, on a port that nobody sends to.
func examineBuffer(ctx context.Context, want int) check {
	const name = "flow.buffer"
	c, err := udp.Listen(ctx, "127.0.0.1:0", want, false)
	if err != nil {
		return check{name, "bad", err.Error()}
	}
	defer c.Close()
	switch got, err := udp.Buffer(c); {
	case err != nil:
		return check{name, "note", "how much the kernel grants can't be told here: " + err.Error()}
	case got < want:
		return check{name, "note", fmt.Sprintf("the kernel grants %d bytes of %d, and a burst may be lost: sysctl net.core.rmem_max=%d", got, want, want)}
	default:
		return check{name, "fine", fmt.Sprintf("%d bytes", got)}
	}
}
