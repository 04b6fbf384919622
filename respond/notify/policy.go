package notify

import (
	"fmt"
	"slices"
	"time"
)

// Policy says how often and when people are told.
type Policy struct {
	Most      int           // notices to one subscriber within Window, by all channels together
	Window    time.Duration // that Most and Again look back
	Again     int           // notices of one case by one channel within Window; then another channel is due (RFC 6561: two channels)
	QuietFrom time.Duration // after midnight in Zone; nothing that rings is sent from here
	QuietTo   time.Duration // to here; the same as QuietFrom: no quiet hours
	Zone      *time.Location
	Order     []Channel     // in which channels are tried for a case
	Tries     int           // to hand a notice over, before it has failed
	Backoff   time.Duration // before the second try; doubles with each
	Longest   time.Duration // that a try waits for the one before
	TwoPeople bool          // whoever proposed a notice can't approve it
}

// DefaultPolicy is three notices in 30 days, one of a case by each channel, and none
// that rings from 21 to 8 o'clock. The figures are the house's own choice.
func DefaultPolicy(zone *time.Location) Policy {
	return Policy{
		Most: 3, Window: 30 * 24 * time.Hour, Again: 1,
		QuietFrom: 21 * time.Hour, QuietTo: 8 * time.Hour, Zone: zone,
		Order: []Channel{Mail, Letter, Webhook, Portal},
		Tries: 8, Backoff: 5 * time.Minute, Longest: 4 * time.Hour,
	}
}

// Check says what is wrong with a policy.
func (p *Policy) Check() error {
	const day = 24 * time.Hour
	switch {
	case p.Most < 1 || p.Again < 1 || p.Window <= 0 || p.Tries < 1 || p.Backoff <= 0 || p.Longest < p.Backoff:
		return fmt.Errorf("the policy of notices needs positive limits: %+v", *p)
	case p.QuietFrom < 0 || p.QuietFrom >= day || p.QuietTo < 0 || p.QuietTo >= day:
		return fmt.Errorf("quiet hours lie between 0 and 24 o'clock, not from %s to %s", p.QuietFrom, p.QuietTo)
	case len(p.Order) == 0 || slices.ContainsFunc(p.Order, func(c Channel) bool { return !slices.Contains(Channels, c) }):
		return fmt.Errorf("the order of channels names some of %v, not %v", Channels, p.Order)
	case p.Zone == nil:
		return fmt.Errorf("quiet hours need a time zone")
	}
	return nil
}

// rings tells whether a channel makes a noise at the other end.
func (c Channel) rings() bool { return c == Mail || c == Webhook }

// quiet tells whether it is a quiet hour for a channel, and when it ends.
func (p *Policy) quiet(c Channel, now time.Time) (until time.Time, is bool) {
	if !c.rings() || p.QuietFrom == p.QuietTo {
		return time.Time{}, false
	}
	t := now.In(p.Zone)
	of := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
	in := of >= p.QuietFrom && of < p.QuietTo
	if p.QuietFrom > p.QuietTo { // over midnight
		in = of >= p.QuietFrom || of < p.QuietTo
	}
	if !in {
		return time.Time{}, false
	}
	day := t.Day()
	if of >= p.QuietTo {
		day++
	}
	h, m := int(p.QuietTo/time.Hour), int(p.QuietTo%time.Hour/time.Minute)
	return time.Date(t.Year(), t.Month(), day, h, m, 0, 0, p.Zone), true
}

// pause is how long to wait before the next try.
func (p *Policy) pause(attempts int) time.Duration {
	wait := p.Backoff
	for i := 1; i < attempts && wait < p.Longest; i++ {
		wait *= 2
	}
	return min(wait, p.Longest)
}
