package blocklist

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // a UUID of version 5 is made by it (RFC 9562, section 5.5)
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// stixTime is a timestamp of STIX 2.1: UTC, with milliseconds.
func stixTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// stixID is an id that stays the same for the same thing.
func stixID(typ string, parts ...string) string {
	// A namespace of our own; STIX's is for observables.
	namespace := [16]byte{0x6e, 0x0a, 0x54, 0x1d, 0x9c, 0x1b, 0x4f, 0x0b, 0xa3, 0x5e, 0x2f, 0x41, 0x70, 0xd6, 0xc8, 0x13}
	h := sha1.New() //nolint:gosec // as above
	_, _ = h.Write(namespace[:])
	_, _ = h.Write([]byte(typ + "\n" + strings.Join(parts, "\n")))
	u := h.Sum(nil)[:16]
	u[6], u[8] = u[6]&0x0f|0x50, u[8]&0x3f|0x80
	return fmt.Sprintf("%s--%x-%x-%x-%x-%x", typ, u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

type stixIdentity struct {
	Type     string `json:"type"`
	Spec     string `json:"spec_version"`
	ID       string `json:"id"`
	Created  string `json:"created"`
	Modified string `json:"modified"`
	Name     string `json:"name"`
	Class    string `json:"identity_class"`
}

type stixMarking struct {
	Type       string            `json:"type"`
	Spec       string            `json:"spec_version"`
	ID         string            `json:"id"`
	Created    string            `json:"created"`
	By         string            `json:"created_by_ref"`
	Kind       string            `json:"definition_type"`
	Definition map[string]string `json:"definition"`
}

type stixIndicator struct {
	Type        string         `json:"type"`
	Spec        string         `json:"spec_version"`
	ID          string         `json:"id"`
	By          string         `json:"created_by_ref"`
	Created     string         `json:"created"`
	Modified    string         `json:"modified"`
	Name        string         `json:"name"`
	Description string         `json:"description"`
	Types       []string       `json:"indicator_types"`
	Pattern     string         `json:"pattern"`
	PatternType string         `json:"pattern_type"`
	From        string         `json:"valid_from"`
	Until       string         `json:"valid_until"`
	Phases      []stixPhase    `json:"kill_chain_phases"`
	Labels      []string       `json:"labels,omitempty"`
	Markings    []string       `json:"object_marking_refs"`
	External    []stixExternal `json:"external_references"`
}

type stixPhase struct {
	Chain string `json:"kill_chain_name"`
	Phase string `json:"phase_name"`
}

// commands is the phase in which a C&C server is called.
var commands = []stixPhase{{"lockheed-martin-cyber-kill-chain", "command-and-control"}}

type stixExternal struct {
	Source string `json:"source_name"`
	ID     string `json:"external_id"`
}

// writeSTIX writes a bundle of indicators, each marked with a statement of the basis.
func writeSTIX(w *bufio.Writer, x *Export, list []item) error {
	made, epoch := stixTime(x.Made), "2026-01-01T00:00:00.000Z" // who we are doesn't change
	me := stixIdentity{"identity", "2.1", stixID("identity", "sakimori"), epoch, epoch, "sakimori", "system"}
	statement := strings.Join(x.head(), "\n")
	mark := stixMarking{"marking-definition", "2.1", stixID("marking-definition", statement), made, me.ID, "statement", map[string]string{"statement": statement}}
	fmt.Fprintf(w, "{\"type\": \"bundle\", \"id\": %q, \"objects\": [\n", stixID("bundle", string(x.Form), fmt.Sprint(x.Version), made, x.Basis.Grant))
	first := true
	put := func(v any) error {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if !first {
			_, _ = w.WriteString(",\n")
		}
		first = false
		_, _ = w.Write(raw) // the writer keeps its first error for Flush
		return nil
	}
	for _, v := range []any{me, mark} {
		if err := put(v); err != nil {
			return err
		}
	}
	for i := range list {
		it := &list[i]
		since := it.Since
		if since.IsZero() || !since.Before(it.Until) {
			since = x.Made
		}
		ind := stixIndicator{
			Type: "indicator", Spec: "2.1", ID: stixID("indicator", string(it.Kind), it.Value), By: me.ID, Created: stixTime(since), Modified: made, Name: it.Value,
			Description: described(it), Types: []string{"malicious-activity"}, Pattern: pattern(it), PatternType: "stix", From: stixTime(since), Until: stixTime(it.Until),
			Phases: commands, Labels: labels(it), Markings: []string{mark.ID}, External: []stixExternal{{"sakimori", it.ID}},
		}
		if since.After(x.Made) {
			ind.Modified = ind.Created
		}
		if err := put(ind); err != nil {
			return err
		}
	}
	_, _ = w.WriteString("\n]}\n")
	return nil
}

// labels say what STIX has no word for, in tags of MISP as its own bundles have them: the
// family, and that a name is meant alone.
func labels(x *item) (list []string) {
	if x.Family != "" {
		list = append(list, `misp-galaxy:botnet="`+x.Family+`"`)
	}
	if x.Kind == Host {
		list = append(list, `misp:type="hostname"`)
	}
	return list
}

// described says what a pattern can't.
func described(x *item) string {
	var s string
	switch x.Kind {
	case Name:
		s = "C&C server: this name and all below it"
	case Host:
		s = "C&C server: this name alone, nothing below it"
	default:
		s = "C&C server"
	}
	return s + "; may be used for: " + x.reach.words()
}

// pattern writes an entry in STIX's pattern language.
func pattern(x *item) string {
	family := func() string {
		if x.prefix.Addr().Is4() {
			return "ipv4-addr"
		}
		return "ipv6-addr"
	}
	switch x.Kind {
	case Name, Host:
		return "[domain-name:value = " + literal(x.Value) + "]"
	case Endpoint:
		return fmt.Sprintf("[network-traffic:dst_ref.type = '%s' AND network-traffic:dst_ref.value = '%s' AND network-traffic:dst_port = %d]", family(), x.prefix.Addr(), x.port)
	case Prefix:
		return fmt.Sprintf("[%s:value ISSUBSET '%s']", family(), x.prefix)
	case URL:
		return "[url:value = " + literal(x.Value) + "]"
	case Address:
	}
	return fmt.Sprintf("[%s:value = '%s']", family(), x.prefix.Addr())
}

func literal(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
