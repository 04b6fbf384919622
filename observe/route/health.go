package route

import (
	"fmt"
	"time"

	"sakimori/lawful"
)

// Health is how a feed fares, in the words of the API.
type Health struct {
	Name         string        `json:"name"`
	Kind         Kind          `json:"kind"`
	Address      string        `json:"address"`
	State        State         `json:"state"`
	Words        lawful.Text   `json:"words"`
	Advice       []lawful.Text `json:"advice"`
	Since        *time.Time    `json:"since"`
	Last         *time.Time    `json:"last"`
	Peers        int           `json:"peers"`
	Up           int           `json:"up"`
	Silent       int           `json:"silent"`   // peers that tell keepalives and fell silent
	Expected     int           `json:"expected"` // peers as configured, 0 not known
	Whole        int           `json:"whole"`
	Routes       int           `json:"routes"`
	Messages     uint64        `json:"messages"`
	Elements     uint64        `json:"elements"`
	Malformed    []Fault       `json:"malformed"`
	Dropped      uint64        `json:"dropped"`
	Resets       uint64        `json:"resets"`
	ClockIgnored uint64        `json:"clock_ignored"` // times that were off by more than a day
	Delay        *int64        `json:"delay_ms"`      // after the fastest of the last minutes
	Skew         *int64        `json:"skew_ms"`       // of its clock, with the least delay
	Silence      time.Duration `json:"-"`             // longer, and it is one
	List         []PeerHealth  `json:"peers_list"`
}

// PeerHealth is how a peer fares.
type PeerHealth struct {
	Number    uint32    `json:"number"`
	AS        uint32    `json:"as"`
	Address   string    `json:"address"`
	View      string    `json:"view"`
	Up        bool      `json:"up"`
	Silent    bool      `json:"silent"`
	Last      time.Time `json:"last"`
	Routes    int       `json:"routes"`
	Elements  uint64    `json:"elements"`
	Malformed uint64    `json:"malformed"`
	Resets    uint64    `json:"resets"`
	Whole     bool      `json:"whole"`
	Damped    bool      `json:"damped"`
	Weight    float64   `json:"weight"`
}

// State is how a feed fares.
type State string

// The states.
const (
	OK     State = "ok"
	Stale  State = "stale"  // silent for longer than it usually is
	Down   State = "down"   // it was never heard of, or no session of it is up
	Faulty State = "faulty" // something is missing or wrong: see Advice
)

var stateWords = map[State]lawful.Text{
	OK:     {JA: "受信中", EN: "receiving"},
	Stale:  {JA: "途絶（沈黙は警報です）", EN: "silent, which is an alarm"},
	Down:   {JA: "未接続", EN: "not connected"},
	Faulty: {JA: "受信中ですが問題があります", EN: "receiving, with trouble"},
}

// judge gives a feed's state, and what a person can do about it, the gravest first.
func (h *Health) judge(now time.Time) (State, []lawful.Text) {
	list := []lawful.Text{}
	say := func(is bool, ja, en string, args ...any) {
		if is {
			list = append(list, lawful.Text{JA: fmt.Sprintf(ja, args...), EN: fmt.Sprintf(en, args...)})
		}
	}
	switch {
	case h.Last == nil:
		say(true, "一度も受信していません。接続先、許可アドレス、経路装置の設定を確認してください",
			"nothing ever came: look at its address, at who may connect, and at the router's settings")
		return Down, list
	case now.Sub(*h.Last) > h.Silence:
		say(true, "%s 受信していません（通常の沈黙は %s 以下）。この間の経路の変化は分かりません。セッションと経路装置を確認してください",
			"nothing came for %s (it is usually silent for no more than %s): what changed since isn't known; look at the session and at the router",
			now.Sub(*h.Last).Round(time.Second), h.Silence)
		return Stale, list
	case h.Peers > 0 && h.Up == 0:
		say(true, "すべての BGP セッションが切れています", "all of its BGP sessions are down")
		return Down, list
	}
	some := func(n, of uint64) bool { return n > 0 && n*1000 >= of }
	malformed := uint64(0)
	for _, f := range h.Malformed {
		malformed += f.Count
	}
	say(h.Dropped > 0, "処理が追いつかず %d 件を捨てました。この間の変化は分かりません", "%d messages were dropped, as they came too fast: what changed in them isn't known", h.Dropped)
	say(h.Expected > h.Up, "%d セッションのうち %d しか上がっていません", "of %d sessions only %d are up", h.Expected, h.Up)
	say(h.Silent > 0, "キープアライブの途絶えたピアが %d あります", "%d peers send no keepalives any more", h.Silent)
	say(some(malformed, h.Elements), "読めないメッセージが %d 件あります（RFC 7606 に従って処理）。相手の装置の版と ADD-PATH・4 バイト AS の設定を確認してください",
		"%d messages were damaged (taken as RFC 7606 says): is the other side's software up to date, do both agree on ADD-PATH and 4-byte AS numbers?", malformed)
	say(h.Resets >= 10, "セッションが %d 回切れています。回線と保持時間を確認してください", "its sessions ended %d times: look at the line and at the hold time", h.Resets)
	say(some(h.ClockIgnored, h.Messages), "時刻があり得ない %d 件は到着時刻で扱っています。装置の時刻を NTP で合わせてください",
		"the times of %d messages can't be right, their arrival counts: set its clock by NTP", h.ClockIgnored)
	say(h.Skew != nil && (*h.Skew > 5000 || *h.Skew < -5000), "時計が %d ミリ秒ずれています（補正しています）。NTP で合わせてください",
		"its clock is off by %d ms (which is taken off): set it by NTP", deref(h.Skew))
	damped := 0
	for _, p := range h.List {
		if p.Damped {
			damped++
		}
	}
	say(damped > 0, "経路が揺れ続けているピアが %d あり、単独の申告は信用していません", "%d peers flap: what they alone say isn't believed", damped)
	if len(list) > 0 {
		return Faulty, list
	}
	return OK, list
}

func deref(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}
