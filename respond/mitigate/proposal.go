package mitigate

import "sakimori/detect"

// Proposal is a set of rules with what it would do. It changes nothing.
type Proposal struct {
	Rules        []Rule         `json:"rules"` // those that let pass first
	Stops        detect.Measure `json:"stops"` // share of the attack, of packets or of bytes: whichever is over its line, or less
	Collateral   Collateral     `json:"collateral"`
	Alternatives []Alternative  `json:"alternatives"` // what else was weighed, and why it doesn't do
	Refused      bool           `json:"refused"`
	Why          detect.Text    `json:"why"`
	Forms        Forms          `json:"forms"`
	Conditions   []Condition    `json:"conditions"` // of the guideline, as far as they can be tried
	Rule         string         `json:"rule"`       // of the guideline, that would be its ground
	RuleTitle    detect.Text    `json:"rule_title"`
}

// Collateral is how much of what is ordinary for the object the rules would hit.
type Collateral struct {
	// Share of packets or of bytes, whichever is more. The upper bound, N + Error, is
	// what counts. Where nothing ordinary is known it is 1: all of it may be.
	Share    detect.Measure `json:"share"`
	Limit    float64        `json:"limit"`
	Known    bool           `json:"known"`
	Ordinary int            `json:"ordinary_samples"`
	Method   detect.Text    `json:"method"`
}

// Upper is the share that counts.
func (c *Collateral) Upper() float64 { return min(1, c.Share.N+c.Share.Error) }

// Alternative is a means that was weighed and isn't proposed.
type Alternative struct {
	Text       string         `json:"text"` // the rules
	Words      detect.Text    `json:"words"`
	Stops      detect.Measure `json:"stops"`
	Collateral detect.Measure `json:"collateral"`
	Why        detect.Text    `json:"why"`
}

// Condition is one of the guideline's, and whether it is met.
type Condition struct {
	Name  string      `json:"name"`
	Met   bool        `json:"met"`
	Words detect.Text `json:"words"`
}

// Forms are the rules as they are written for others. One that can't carry them says so
// in a comment.
type Forms struct {
	FlowSpec string      `json:"flowspec"`
	RTBH     string      `json:"rtbh"`
	NFTables string      `json:"nftables"`
	IPTables string      `json:"iptables"`
	Request  detect.Text `json:"request"`
}
