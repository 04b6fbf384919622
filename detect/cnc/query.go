package cnc

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sakimori/observe"
)

// Order is how a page is sorted.
type Order string

// The orders. What begins with a Text is always sorted by name.
const (
	ByScore Order = "score" // the highest first
	ByAge   Order = "age"   // the newest first
	ByHits  Order = "hits"  // those that blocked most first; what blocked nothing isn't among them
	ByName  Order = "name"
)

// Query selects entries; zero fields select everything.
type Query struct {
	States []State
	Kind   observe.IndicatorKind
	Family string // "-" those of which it isn't known
	Source string // that says so now
	Two    *bool
	Waits  bool   // for a person, in the middle of their life
	Text   string // that the value begins with
	Order  Order
	After  string // the cursor of the page before
	Limit  int    // 0: 100
	Full   bool   // with what sources say, and reviews
}

// small is how many entries are sorted rather than gone through in order.
const small = 8_000

// Page is a part of those that match; next is the cursor of the page after it, "" there
// is none.
func (l *List) Page(ctx context.Context, q Query) (list []Entry, next string, err error) {
	if q.Limit <= 0 {
		q.Limit = 100
	}
	q.Order = q.order()
	column, sign, down := map[Order]string{ByScore: "score", ByAge: "opened", ByHits: "hits", ByName: "value"}[q.Order], "<", " DESC"
	if column == "" {
		return nil, "", fmt.Errorf("order %q: use score, age, hits or name", q.Order)
	}
	if q.Order == ByName {
		sign, down = ">", ""
	}
	c := &conditions{}
	q.where(c)
	if q.After != "" {
		value, key, err := q.cursor()
		if err != nil {
			return nil, "", err
		}
		v, k := c.arg(value), c.arg(key)
		c.add(fmt.Sprintf("(e.%s, e.key) %s (%s, %s)", column, sign, v, k))
	}
	s, err := l.Summary(ctx)
	if err != nil {
		return nil, "", err
	}
	driver, err := l.driver(ctx, s, &q, c)
	if err != nil {
		return nil, "", err
	}
	if driver == "" {
		driver = q.walk(s, c, column, down)
	}
	if driver == "" {
		return nil, "", nil // the counts say that there is none
	}
	text := fmt.Sprintf(`WITH few AS MATERIALIZED (%s) SELECT %s FROM few CROSS JOIN cnc_entry e WHERE few.key = e.key AND %s ORDER BY e.%s%s, e.key%s LIMIT %d`,
		driver, prefixed, c.text(), column, down, down, q.Limit+1)
	rows, err := l.db.Query(ctx, text, c.args...)
	if err != nil {
		return nil, "", fmt.Errorf("read the list: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		e, err := scanEntry(rows)
		if err != nil {
			return nil, "", err
		}
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		return nil, "", err
	}
	if len(list) > q.Limit {
		list = list[:q.Limit]
		next = list[q.Limit-1].cursor(q.Order)
	}
	if q.Full {
		err = l.fill(ctx, list)
	}
	return list, next, err
}

// order is how the page is sorted in the end.
func (q *Query) order() Order {
	switch {
	case q.Text != "":
		return ByName
	case q.Order == "":
		return ByScore
	}
	return q.Order
}

// walk goes through an index in order. By score it goes through the states side by side:
// each of them is in order.
func (q *Query) walk(s *Summary, c *conditions, column, down string) string {
	var parts []string
	add := func(which string) {
		parts = append(parts, fmt.Sprintf(`SELECT * FROM (SELECT e.key FROM cnc_entry e WHERE %s%s ORDER BY e.%s%s, e.key%s LIMIT %d) AS s%d`, which, c.text(), column, down, down, q.Limit+1, len(parts)))
	}
	if q.Order != ByScore || q.Waits || q.Two != nil && *q.Two {
		add("")
		return parts[0]
	}
	done := map[State]bool{}
	for x := range s.counts {
		if q.takes(x) && !done[x.state] {
			done[x.state] = true
			add(`e.state = '` + string(x.state) + `' AND `)
		}
	}
	return strings.Join(parts, " UNION ALL ")
}

// count is how many there are of what is asked for, by kind, family and state alone.
func (s *Summary) count(q *Query) (n int) {
	for x, k := range s.counts {
		if q.takes(x) {
			n += k
		}
	}
	return n
}

// takes tells whether a sort is asked for.
func (q *Query) takes(x sort) bool {
	return (q.Kind == "" || q.Kind == x.kind) && (q.Family == "" || q.family() == x.family) && (len(q.States) == 0 || slices.Contains(q.States, x.state))
}

// family is the one asked for, as it is kept.
func (q *Query) family() string {
	if q.Family == "-" {
		return ""
	}
	return q.Family
}

var prefixed = "e." + strings.ReplaceAll(entryColumns, ", ", ", e.")

// quoted writes states into a statement: they are words of the house.
func quoted(states []State) string {
	out := make([]string, 0, len(states))
	for _, s := range states {
		if slices.Contains(States(), s) {
			out = append(out, "'"+string(s)+"'")
		}
	}
	if len(out) == 0 {
		return "''"
	}
	return strings.Join(out, ", ")
}

// conditions are put together with their arguments.
type conditions struct {
	list []string
	args []any
}

func (c *conditions) arg(v any) string {
	c.args = append(c.args, v)
	return "$" + strconv.Itoa(len(c.args))
}

func (c *conditions) add(s string) { c.list = append(c.list, s) }

func (c *conditions) text() string {
	if len(c.list) == 0 {
		return "1 = 1"
	}
	return strings.Join(c.list, " AND ")
}

// where gives the conditions. Family and state are put so that they choose no index: that
// is for the driver and the walk to do.
func (q *Query) where(c *conditions) {
	if q.Kind != "" {
		c.add("e.kind = " + c.arg(string(q.Kind)))
	}
	if q.Family != "" {
		c.add("(e.family || '') = " + c.arg(q.family()))
	}
	if len(q.States) > 0 {
		c.add("(e.state || '') IN (" + quoted(q.States) + ")")
	}
	if q.Two != nil {
		if *q.Two {
			c.add("e.two <> ''")
		} else {
			c.add("e.two = ''")
		}
	}
	if q.Waits {
		c.add("e.waits <> ''")
	}
	if q.Order == ByHits {
		c.add("e.hits > 0")
	}
	if q.Text != "" {
		c.add("e.value >= " + c.arg(q.Text) + " AND e.value < " + c.arg(q.Text+"\U0010ffff"))
	}
	if q.Source != "" {
		c.add("EXISTS (SELECT 1 FROM cnc_said s WHERE s.source = " + c.arg(q.Source) + " AND s.key = e.key AND s.gone = 0)")
	}
}

// driver is what finds few entries at once, by what the query asks for and there is little
// of; "" when there is much of everything, and going through them in order finds a page
// soon.
func (l *List) driver(ctx context.Context, s *Summary, q *Query, c *conditions) (from string, err error) {
	for _, x := range []struct {
		asked bool
		which string
	}{{q.Two != nil && *q.Two, `two <> ''`}, {q.Waits, `waits <> ''`}} {
		if !x.asked {
			continue
		}
		if q.Order == ByScore {
			return "", nil // an index has them in order
		}
		from = `SELECT key FROM cnc_entry WHERE ` + x.which
		var n int
		if err := l.db.QueryRow(ctx, fmt.Sprintf(`SELECT count(*) FROM (%s LIMIT %d) AS t`, from, l.small+1)).Scan(&n); err != nil {
			return "", fmt.Errorf("count the list: %w", err)
		}
		if n > l.small {
			from = ""
		}
		break
	}
	if from != "" || q.Text != "" {
		return from, nil
	}
	if q.Source != "" && s.listed(q.Source) <= l.small {
		return `SELECT key FROM cnc_said WHERE gone = 0 AND source = ` + c.arg(q.Source), nil
	}
	if q.Kind == "" && q.Family == "" && len(q.States) == 0 || s.count(q) > l.small {
		return "", nil
	}
	which := []string{"n.n > 0"}
	if q.Kind != "" {
		which = append(which, "n.kind = "+c.arg(string(q.Kind)))
	}
	if q.Family != "" {
		which = append(which, "n.family = "+c.arg(q.family()))
	}
	if len(q.States) > 0 {
		which = append(which, "n.state IN ("+quoted(q.States)+")")
	}
	return `SELECT x.key FROM cnc_count n CROSS JOIN cnc_entry x WHERE x.family = n.family AND x.kind = n.kind AND x.state = n.state AND ` + strings.Join(which, " AND "), nil
}

// cursor says where a page ended.
func (e *Entry) cursor(o Order) string {
	v := ""
	switch o {
	case ByScore:
		v = strconv.FormatFloat(e.Score, 'g', -1, 64)
	case ByAge:
		v = strconv.FormatInt(nano(e.Opened), 10)
	case ByHits:
		v = strconv.FormatInt(e.Hits, 10)
	case ByName:
		v = e.Value
	}
	return strconv.FormatInt(e.key, 16) + "," + v
}

func (q *Query) cursor() (value any, key int64, err error) {
	hex, v, _ := strings.Cut(q.After, ",")
	key, err = strconv.ParseInt(hex, 16, 64)
	if err == nil {
		switch q.Order {
		case ByName:
			value = v
		case ByScore:
			value, err = strconv.ParseFloat(v, 64)
		default:
			value, err = strconv.ParseInt(v, 10, 64)
		}
	}
	if err != nil {
		return nil, 0, fmt.Errorf("the cursor %.60q belongs to another list: begin at the first page", q.After)
	}
	return value, key, nil
}

// Total counts those that match, up to most; exact tells whether there aren't more.
func (l *List) Total(ctx context.Context, q Query, most int) (n int, exact bool, err error) {
	q.Order = q.order()
	s, err := l.Summary(ctx)
	if err != nil {
		return 0, false, err
	}
	if q.Source == "" && q.Two == nil && !q.Waits && q.Text == "" && q.Order != ByHits {
		return s.count(&q), true, nil
	}
	c := &conditions{}
	q.where(c)
	driver, err := l.driver(ctx, s, &q, c)
	if err != nil {
		return 0, false, err
	}
	text := `SELECT 1 FROM cnc_entry e WHERE ` + c.text()
	if driver != "" {
		text = `SELECT 1 FROM (` + driver + `) AS few CROSS JOIN cnc_entry e WHERE few.key = e.key AND ` + c.text()
	}
	if err := l.db.QueryRow(ctx, fmt.Sprintf(`SELECT count(*) FROM (%s LIMIT %d) AS t`, text, most+1), c.args...).Scan(&n); err != nil {
		return 0, false, fmt.Errorf("count the list: %w", err)
	}
	return min(n, most), n <= most, nil
}

// Summary is the list in figures.
type Summary struct {
	States   map[State]int `json:"states"`
	Families []FamilyCount `json:"families"` // those with most first
	Sources  []SourceCount `json:"sources"`
	Expiring int           `json:"expiring_7d"` // in force, and ending within a week
	Waiting  int           `json:"waiting"`     // in the middle of their life
	Took     time.Duration `json:"-"`
	At       time.Time     `json:"at"`
	counts   map[sort]int
	backed   map[string]int // see Backed; nil not asked
}

// FamilyCount is how many entries a family has.
type FamilyCount struct {
	Name     string `json:"name"`
	Count    int    `json:"count"`
	Enforced int    `json:"enforced"`
}

// SourceCount is how a source stands.
type SourceCount struct {
	Source
	Read   time.Time `json:"read,omitzero"`
	Listed int       `json:"listed"`
}

func (s *Summary) listed(name string) int {
	for i := range s.Sources {
		if s.Sources[i].Name == name {
			return s.Sources[i].Listed
		}
	}
	return 0
}

// Summary is the list in figures. They may be a little old: reading them takes at most a
// fifth of the time.
func (l *List) Summary(ctx context.Context) (*Summary, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var version int64
	if err := l.db.QueryRow(ctx, `SELECT coalesce(max(value), 0) FROM cnc_meta WHERE name = 'version'`).Scan(&version); err != nil {
		return nil, fmt.Errorf("count the list: %w", err)
	}
	began := l.clock.Now()
	if s := l.sums; s != nil && (l.asOf == version || began.Sub(s.At) < 4*s.Took) {
		return s, nil
	}
	s := &Summary{States: map[State]int{}, counts: map[sort]int{}, Families: []FamilyCount{}, Sources: []SourceCount{}}
	if err := l.countFamilies(ctx, s); err != nil {
		return nil, err
	}
	if err := l.countSources(ctx, s); err != nil {
		return nil, err
	}
	week := l.clock.Now().Add(7 * 24 * time.Hour).UnixNano()
	if err := l.db.QueryRow(ctx, `SELECT count(*) FROM cnc_entry WHERE expires <= $1 AND state = 'enforced'`, week).Scan(&s.Expiring); err != nil {
		return nil, fmt.Errorf("count the list: %w", err)
	}
	if err := l.db.QueryRow(ctx, `SELECT count(*) FROM cnc_entry WHERE waits <> ''`).Scan(&s.Waiting); err != nil {
		return nil, fmt.Errorf("count the list: %w", err)
	}
	s.At = l.clock.Now().UTC()
	s.Took = s.At.Sub(began)
	l.sums, l.asOf = s, version
	return s, nil
}

func (l *List) countFamilies(ctx context.Context, s *Summary) error {
	rows, err := l.db.Query(ctx, `SELECT kind, family, state, n FROM cnc_count WHERE n > 0`)
	if err != nil {
		return fmt.Errorf("count the list: %w", err)
	}
	defer rows.Close()
	at := map[string]int{}
	for rows.Next() {
		var kind, family, state string
		var n int
		if err := rows.Scan(&kind, &family, &state, &n); err != nil {
			return fmt.Errorf("count the list: %w", err)
		}
		i, have := at[family]
		if !have {
			i = len(s.Families)
			at[family] = i
			s.Families = append(s.Families, FamilyCount{Name: family})
		}
		s.Families[i].Count += n
		if State(state) == Enforced {
			s.Families[i].Enforced += n
		}
		s.States[State(state)] += n
		s.counts[sort{observe.IndicatorKind(kind), family, State(state)}] = n
	}
	slices.SortFunc(s.Families, func(a, b FamilyCount) int {
		if a.Count != b.Count {
			return b.Count - a.Count
		}
		return strings.Compare(a.Name, b.Name)
	})
	return rows.Err()
}

func (l *List) countSources(ctx context.Context, s *Summary) error {
	rows, err := l.db.Query(ctx, `SELECT name, at, listed FROM cnc_source ORDER BY name`)
	if err != nil {
		return fmt.Errorf("count the list: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var c SourceCount
		var name string
		var at int64
		if err := rows.Scan(&name, &at, &c.Listed); err != nil {
			return fmt.Errorf("count the list: %w", err)
		}
		c.Source, c.Read = l.SourceOf(name), when(at)
		s.Sources = append(s.Sources, c)
	}
	return rows.Err()
}

// Backed is how many entries in force each source stands behind now; one that is behind
// none isn't among them. An entry counts for each of its sources. One question for all:
// through the entries in force where they are few, through what sources say where not.
func (l *List) Backed(ctx context.Context) (map[string]int, error) {
	s, err := l.Summary(ctx)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.backed != nil {
		return s.backed, nil
	}
	text := `cnc_said s CROSS JOIN cnc_entry e WHERE e.key = s.key`
	if s.States[Enforced] <= l.small {
		text = `cnc_entry e CROSS JOIN cnc_source n CROSS JOIN cnc_said s WHERE s.source = n.name AND s.key = e.key`
	}
	rows, err := l.db.Query(ctx, `SELECT s.source, count(*) FROM `+text+` AND e.state = 'enforced' AND s.gone = 0 GROUP BY s.source`)
	if err != nil {
		return nil, fmt.Errorf("count the list: %w", err)
	}
	defer rows.Close()
	backed := map[string]int{}
	for rows.Next() {
		var source string
		var n int
		if err := rows.Scan(&source, &n); err != nil {
			return nil, fmt.Errorf("count the list: %w", err)
		}
		backed[source] = n
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("count the list: %w", err)
	}
	s.backed = backed
	return backed, nil
}

// Blasted is who'd lose a name, as far as it is counted.
type Blasted struct {
	Clients float64  `json:"clients_day"`
	Error   float64  `json:"error"`
	Known   bool     `json:"known"`
	Beside  []string `json:"beside"` // what else lives there
}

// Losing tells who'd lose a name; nil where nobody counts.
func (l *List) Losing(ctx context.Context, e *Entry) *Blasted {
	if l.cfg.Blast == nil || !e.named() {
		return nil
	}
	var b Blasted
	b.Clients, b.Error, b.Known = l.cfg.Blast.Clients(ctx, e.Value)
	b.Beside = append([]string{}, l.cfg.Blast.Beside(ctx, e.Value)...)
	return &b
}

// Queue is what waits for a person: first what waits in the middle of its life, then what
// weighs enough to be asked about, the weightiest first.
func (l *List) Queue(ctx context.Context, after string, limit int) (list []Entry, next string, err error) {
	if after == "" {
		const most = 500
		if list, _, err = l.Page(ctx, Query{Waits: true, Limit: most, Full: true}); err != nil {
			return nil, "", err
		}
	}
	scored, next, err := l.Page(ctx, Query{States: []State{Scored}, After: after, Limit: limit, Full: true})
	for i := range scored {
		e := &scored[i]
		if e.Score < l.cfg.Review {
			return list, "", err
		}
		if e.Role == observe.RoleC2 && e.Waits == nil {
			list = append(list, *e)
		}
	}
	return list, next, err
}
