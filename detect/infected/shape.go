package infected

import (
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// A program that makes up the names of its C&C asks for many that nobody has
// registered, all of one shape. Which name is made up can't be told of one; of a dozen
// it can. The shapes that are known:
//
//	random       letters and digits that no language puts next to each other
//	tail         one long tail behind a short head that changes
//	recombined   words out of a small stock, each with several of the others
//
// What lies below one registered name counts as one name: that is how block lists of
// mail servers, antivirus programs, search lists and a browser's own probes ask.

// made is a name that doesn't exist, as far as it may be made up: the label that
// somebody would have to register, and what it is below.
type made struct {
	label, suffix string
}

// dynamic are zones in which anybody gets a name for nothing, and which the list of
// public suffixes doesn't have: what stands below them is registered by itself.
var dynamic = []string{"mooo.com", "dynserv.com", "yi.org", "chickenkiller.com", "strangled.net", "us.to", "my03.com", "3utilities.com", "changeip.com", "dnsdynamic.org"}

// registrable gives what somebody would have to register for a name; false where that
// can't be: names of one label, and of networks of their own.
func registrable(name string) (made, bool) {
	for _, zone := range dynamic {
		if head, is := strings.CutSuffix(name, "."+zone); is {
			return made{head[strings.LastIndexByte(head, '.')+1:], zone}, true
		}
	}
	suffix, managed := publicsuffix.PublicSuffix(name)
	if !managed && !strings.Contains(suffix, ".") || len(suffix) >= len(name) {
		return made{}, false
	}
	head := name[:len(name)-len(suffix)-1]
	return made{head[strings.LastIndexByte(head, '.')+1:], suffix}, head != ""
}

// chance is how much better than a language chance explains a label, in tenths of a
// bit. Of a digit is only known whether letters stand around it: "web2" is a word, and
// "t2q2r" isn't.
func chance(label string) (bits int) {
	changes := 0
	for i := 1; i < len(label); i++ {
		a, b := label[i-1], label[i]
		switch {
		case letter(a) && letter(b):
			bits += int(bigrams[a-'a'][b-'a'])
		case letter(a) && digit(b), digit(a) && letter(b):
			changes++
		}
	}
	const perChange = 30
	return bits + perChange*max(changes-1, 0)
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// The shapes.
const (
	shapeRandom     = "random"
	shapeTail       = "tail"
	shapeRecombined = "recombined"
)

// The bounds of a judgement.
const (
	fewest     = 12 // labels of one shape, of random and tail
	fewestPair = 30 // of recombined: words meet by chance, too
	unlikely   = 30 // tenths of a bit: one popular name in ten is as odd
	tailLength = 10
	wordLength = 4
	mostLabel  = 7 // in ten of all labels that must have the shape
)

// shaped is what many made-up names have in common.
type shaped struct {
	shape string // "" nothing
	count int    // distinct labels that have it
	names []string
}

// judgeNames says which shape most of the names have, which don't exist and are
// distinct. habit is how many distinct ones the client has in an hour otherwise.
func judgeNames(list []made, habit float64) shaped {
	labels := map[string]bool{}
	for _, m := range list {
		labels[m.label] = true
	}
	const times = 4
	enough := func(n, least int) bool {
		return n >= least && float64(n) >= times*habit && n*10 >= mostLabel*len(labels)
	}
	odd := map[string]bool{}
	for l := range labels {
		if chance(l) > unlikely {
			odd[l] = true
		}
	}
	if enough(len(odd), fewest) {
		return shaped{shapeRandom, len(odd), named(list, odd)}
	}
	if tail := tailed(labels); enough(len(tail), fewest) {
		return shaped{shapeTail, len(tail), named(list, tail)}
	}
	if pairs := recombined(list); enough(len(pairs), fewestPair) {
		return shaped{shapeRecombined, len(pairs), named(list, pairs)}
	}
	return shaped{}
}

// named are the whole names of labels, in order.
func named(list []made, labels map[string]bool) (names []string) {
	for _, m := range list {
		if labels[m.label] {
			names = append(names, m.label+"."+m.suffix)
		}
	}
	slices.Sort(names)
	return names
}

// tailed are the labels of the largest group with one long tail and heads of one
// length.
func tailed(labels map[string]bool) map[string]bool {
	type group struct {
		tail   string
		length int
	}
	groups := map[group]map[string]bool{}
	var best map[string]bool
	for _, l := range slices.Sorted(keys(labels)) {
		if len(l) <= tailLength {
			continue
		}
		g := group{l[len(l)-tailLength:], len(l)}
		if groups[g] == nil {
			groups[g] = map[string]bool{}
		}
		groups[g][l] = true
		if len(groups[g]) > len(best) {
			best = groups[g]
		}
	}
	return best
}

// recombined are the labels, of letters alone and below one suffix, that begin as one
// other does and end as a different one does.
func recombined(list []made) map[string]bool {
	bySuffix := map[string][]string{}
	for _, m := range list {
		if len(m.label) >= 2*wordLength && !strings.ContainsFunc(m.label, func(r rune) bool { return r < 'a' || r > 'z' }) {
			bySuffix[m.suffix] = append(bySuffix[m.suffix], m.label)
		}
	}
	var best map[string]bool
	for _, suffix := range slices.Sorted(keys(bySuffix)) {
		heads, tails := map[string]int{}, map[string]int{}
		labels := slices.Compact(slices.Sorted(slices.Values(bySuffix[suffix])))
		for _, l := range labels {
			heads[l[:wordLength]]++
			tails[l[len(l)-wordLength:]]++
		}
		both := map[string]bool{}
		for _, l := range labels {
			if heads[l[:wordLength]] > 1 && tails[l[len(l)-wordLength:]] > 1 {
				both[l] = true
			}
		}
		if len(both) > len(best) {
			best = both
		}
	}
	return best
}

func keys[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// families are the shapes of families whose names are alike enough to say so.
var families = []struct {
	name string
	fits func(m made) bool
}{
	{"gameover", func(m made) bool {
		return len(m.label) >= 20 && len(m.label) <= 28 && strings.ContainsAny(m.label, "0123456789") && slices.Contains([]string{"com", "net", "org", "biz"}, m.suffix)
	}},
	{"kraken", func(m made) bool {
		return slices.Contains([]string{"mooo.com", "dynserv.com", "yi.org", "dyndns.org"}, m.suffix)
	}},
	{"tinba", func(m made) bool {
		return len(m.label) == 12 && slices.Contains([]string{"com", "net", "in", "ru"}, m.suffix)
	}},
}

// familyOf is the family whose names these are like, "unknown" where that can't be
// told.
func familyOf(s *shaped) string {
	if s.shape != shapeRandom {
		return unknown
	}
	for _, f := range families {
		n := 0
		for _, name := range s.names {
			if m, ok := registrable(name); ok && f.fits(m) {
				n++
			}
		}
		const nineOfTen = 9
		if n >= fewest && n*10 >= nineOfTen*len(s.names) {
			return f.name
		}
	}
	return unknown
}

const unknown = "unknown"
