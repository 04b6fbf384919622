package flow

import (
	"fmt"
	"time"

	"sakimori/lawful"
)

// State is how an exporter fares, in the words of the API.
type State string

// The states.
const (
	OK     State = "ok"
	Stale  State = "stale"  // silent for longer than exporters usually are
	Faulty State = "faulty" // something is missing or wrong: see Advice
)

// silence is how long an exporter may say nothing: twice as long as many keep a flow that
// nothing ends.
const silence = 2 * time.Minute

// State judges an exporter as of now.
func (h *Health) State(now time.Time) State {
	switch {
	case now.Sub(h.Last) > silence:
		return Stale
	case len(h.Advice()) > 0:
		return Faulty
	}
	return OK
}

// Advice is what a person can do about what is missing or wrong, the gravest first; nothing
// where all is well. Losses below a thousandth aren't worth a person's time.
func (h *Health) Advice() (list []lawful.Text) {
	say := func(is bool, ja, en string, args ...any) {
		if is {
			list = append(list, lawful.Text{JA: fmt.Sprintf(ja, args...), EN: fmt.Sprintf(en, args...)})
		}
	}
	some := func(n, of uint64) bool { return n > 0 && n*1000 >= of }
	malformed := uint64(0)
	for _, m := range h.Malformed {
		malformed += m.Count
	}
	say(h.Protocol == Unknown.String(),
		"NetFlow 5・9、IPFIX、sFlow 5 のどれでもないデータが届いています。送信元の設定を確認してください",
		"what it sends is neither NetFlow 5 or 9 nor IPFIX nor sFlow 5: look at its settings")
	say(h.Protocol != Unknown.String() && some(malformed, h.Datagrams),
		"読めない部分が %d 件あります。途中で切られていないか（MTU、フラグメント）、送信元の版を確認してください",
		"%d parts can't be read: are datagrams cut on the way (MTU, fragments)? Is its software up to date?", malformed)
	say(some(h.RateUnknown, h.Flows),
		"サンプリング率が分からないフローが %d 件あり、1 対 1 として数えています。装置にオプションを送らせるか、設定で rate を与えてください（間引いていなければ 1）",
		"how %d flows were sampled isn't known, they count as unsampled: have it send options, or set its rate (1 where every packet is looked at)", h.RateUnknown)
	say(h.Waiting > 0 || some(h.WaitedLost, h.Records),
		"テンプレートが届かず %d 組が待ち、%d 組を捨てました。装置のテンプレート再送間隔を 1 分以下にしてください",
		"%d sets wait for their template, %d had to go: have it send templates again each minute or more often", h.Waiting, h.WaitedLost)
	say(some(h.Limited, h.Records+h.Limited),
		"上限（limit）を超えた %d 件を読んでいません。上限を上げるか、装置のサンプリングを粗くしてください",
		"%d records beyond its limit weren't read: raise the limit, or have it sample less", h.Limited)
	sent := h.Datagrams
	if h.GapsOf != "datagrams" {
		sent = h.Records
	}
	say(some(h.Gaps, sent+h.Gaps),
		"途中で %d 件（%s）が失われました。経路とソケットの取りこぼし（drops）を確認してください",
		"%d %s were lost on the way: look at the path, and at drops of the socket", h.Gaps, h.gapsOf())
	say(h.Restarts+h.Late > 10 && (h.Restarts+h.Late)*10 > h.Datagrams,
		"連番が頻繁に戻ります。同じ住所の後ろに複数の送信元があるなら per_port を設定してください",
		"its sequence goes back again and again: if several exporters stand behind the address, set per_port")
	say(some(h.ClockIgnored, h.Records),
		"時刻があり得ない %d 件は到着時刻で数えています。装置の時刻を NTP で合わせてください",
		"the times of %d records can't be right, their arrival counts: set its clock by NTP", h.ClockIgnored)
	say(h.Skew != nil && (*h.Skew > 5000 || *h.Skew < -5000) && !some(h.ClockIgnored, h.Records),
		"時計が %d ミリ秒ずれています（補正して数えています）。NTP で合わせてください",
		"its clock is off by %d ms (which is taken off): set it by NTP", h.skew())
	say(h.sampledOtherwise(),
		"実際のサンプリング率は約 1 対 %.0f で、装置の申告と違います",
		"it really samples about 1 in %.0f, which isn't what it says", h.PoolRate)
	say(some(h.Missed, h.Samples),
		"装置が資源不足で送れなかったサンプルが %d 件あります。サンプリングを粗くしてください",
		"it couldn't send %d samples for want of resources: have it sample less", h.Missed)
	return list
}

func (h *Health) skew() int64 {
	if h.Skew == nil {
		return 0
	}
	return *h.Skew
}

// gapsOf is what is lost, for people.
func (h *Health) gapsOf() string {
	if h.GapsOf == "" {
		return "datagrams"
	}
	return h.GapsOf
}

// sampledOtherwise tells whether what an agent counts contradicts the one rate that it says.
func (h *Health) sampledOtherwise() bool {
	const enough, off = 1000, 1.25
	if h.PoolRate == 0 || len(h.Rates) != 1 || h.Samples < enough {
		return false
	}
	said := float64(h.Rates[0].Rate)
	return h.PoolRate > said*off || h.PoolRate*off < said
}
