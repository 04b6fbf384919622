package api

import (
	"context"
	"net/http"

	"sakimori/base/clock"
	"sakimori/console"
	"sakimori/lawful"
)

// Office is where subscribers are dealt with: what the API needs of it. A port that
// is nil answers that there is none.
type Office struct {
	Cases       Cases
	Subscribers Subscribers
	Gate        Gate
	Guideline   lawful.Guideline // by which the gate decides
	Consents    Consents
	Ledger      Ledger
	Intake      Intake
	CNC         CNC
	Zones       Zones
	Lookups     Lookups
	Choices     Choices
	Clock       clock.Clock // the office's, by which its grants end; nil the server's
}

// registerOffice lists the routes of the office.
func (s *Server) registerOffice(v1 string) {
	if s.deps.Office == nil {
		s.deps.Office = &Office{}
	}
	if s.deps.Office.Clock == nil {
		s.deps.Office.Clock = s.deps.Clock
	}
	s.registerCases(v1)
	s.registerIntake(v1)
	s.registerCNC(v1)
	s.registerRPZ(v1)
	s.registerDNS(v1)
	s.registerChoice(v1)
	get, post := http.MethodGet, http.MethodPost
	add(s, post, v1+"/who", "who", "Who had an address and port at a time, by pseudonym; with a grant, by contract", s.who)
	add(s, post, v1+"/cases/{id}/identity", "identity", "Who the subscriber of a case is: it takes a grant to name them", s.identity)

	add(s, get, v1+"/lawful/rules", "rules", "What is lawful, by which rule, under which conditions", s.rules)
	add(s, post, v1+"/lawful/ask", "ask", "Ask the gate, or try what it would say", s.ask)
	add(s, post, v1+"/cases/{id}/ask", "askOf", "Ask the gate to name or notify the subscriber of a case", s.askOf)
	add(s, get, v1+"/lawful/grants", "grants", "Grants in force, and requests that wait for a second person", s.grants)
	add(s, post, v1+"/lawful/grants/{id}/approve", "approve", "Agree as the second person", s.approve)
	add(s, post, v1+"/lawful/grants/{id}/decline", "decline", "Say no as the second person", s.decline)
	add(s, post, v1+"/lawful/grants/{id}/revoke", "revoke", "End a grant now", s.revoke)
	add(s, get, v1+"/lawful/consents", "consents", "Versions of terms, and how many consent", s.consents)

	add(s, get, v1+"/ledger", "ledger", "Entries of the ledger, the newest first", s.ledger)
	add(s, get, v1+"/ledger/summary", "ledgerSummary", "What the ledger holds, by kind", s.ledgerSummary)
	add(s, post, v1+"/ledger/verify", "verifyLedger", "Find any entry that was altered, removed or reordered", s.verifyLedger)
	add(s, get, v1+"/ledger/export", "exportLedger", "Entries as a file, after an entry that says so", s.exportLedger)
}

// actor is who acts, as the ledger and the gate know them: role:user, with the role
// that lets them act. What no user answers for says so.
func (s *Server) actor(ctx context.Context) string {
	c := callOf(ctx)
	t := c.who.token
	if who, is := s.local(t); is {
		return who
	}
	if t.UserID == "" {
		return "token:" + t.User
	}
	words := (c.who.roles & permissions[c.pattern] & console.Everyone).Words()
	if len(words) == 0 {
		return t.User
	}
	return words[0] + ":" + t.User
}

func (s *Server) local(t console.Token) (who string, is bool) {
	if s.deps.Local == nil {
		return "", false
	}
	return s.deps.Local(t)
}

// human is the actor, where a machine can't act: a second person is a person.
func (s *Server) human(ctx context.Context) (string, error) {
	t := callOf(ctx).who.token
	if _, local := s.local(t); t.UserID == "" && !local {
		return "", fail("no_account")
	}
	return s.actor(ctx), nil
}

// noOffice is the answer where a part of the office isn't there.
func noOffice() error { return fail("no_office") }
