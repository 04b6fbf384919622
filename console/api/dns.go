package api

import (
	"context"
	"net/http"
	"time"

	"sakimori/detect"
)

// Lookups count what resolvers were asked, without saying by whom.
type Lookups interface {
	// Blocks counts by day, in UTC, also those days on which nothing came.
	Blocks(ctx context.Context, from, to time.Time) (BlockCounts, error)
}

// BlockDay is one day's requests.
type BlockDay struct {
	At        time.Time         `json:"at"`
	Queries   uint64            `json:"queries" doc:"that were seen at all"`
	Blocked   uint64            `json:"blocked"`
	Would     uint64            `json:"would" doc:"that entries in the shadow would have blocked"`
	Sinkholed uint64            `json:"sinkholed" doc:"for names that lead to a sinkhole, and aren't blocked"`
	Zones     map[string]uint64 `json:"zones" doc:"blocked, by policy zone"`
}

// BlockFamily is what was blocked of one family.
type BlockFamily struct {
	Name      string `json:"name" doc:"empty: not known"`
	Blocked   uint64 `json:"blocked"`
	Sinkholed uint64 `json:"sinkholed"`
}

// BlockZone is what was blocked by one policy zone.
type BlockZone struct {
	Zone    string `json:"zone"`
	Blocked uint64 `json:"blocked"`
}

// BlockResolver is one that tells what it was asked.
type BlockResolver struct {
	Name    string     `json:"name"`
	Queries uint64     `json:"queries"`
	Blocked uint64     `json:"blocked"`
	Lost    uint64     `json:"lost" doc:"frames that are known to be lost"`
	Source  string     `json:"source" enum:"dnstap,protobuf,log,file"`
	Last    *time.Time `json:"last"`
}

// BlockLoss is what one source lost.
type BlockLoss struct {
	Source    string     `json:"source"`
	Frames    uint64     `json:"frames"`
	Lost      uint64     `json:"lost"`
	Malformed uint64     `json:"malformed"`
	At        *time.Time `json:"at" doc:"of the last loss; null: none"`
}

// BlockHits says whether it is kept who asked.
type BlockHits struct {
	On         bool        `json:"on"`
	Consenting uint64      `json:"consenting" doc:"to that, which is a consent of its own"`
	Grant      string      `json:"grant"`
	Until      *time.Time  `json:"until"`
	Words      detect.Text `json:"words"`
}

// BlockCounts is what resolvers were asked and what was blocked within a span.
type BlockCounts struct {
	Days      []BlockDay      `json:"days" nullable:"false"`
	Families  []BlockFamily   `json:"families" nullable:"false"`
	Zones     []BlockZone     `json:"zones" nullable:"false"`
	Resolvers []BlockResolver `json:"resolvers" nullable:"false"`
	Total     uint64          `json:"total" doc:"blocked"`
	Losses    []BlockLoss     `json:"losses" nullable:"false"`
	Hits      BlockHits       `json:"hits"`
}

// blocksThen is a figure that was published, to compare with.
type blocksThen struct {
	From   string      `json:"from" doc:"month"`
	To     string      `json:"to" doc:"month, included"`
	Blocks uint64      `json:"blocks"`
	PerDay float64     `json:"per_day"`
	Source detect.Text `json:"source"`
}

// thenBlocks are the blocks of the ACTIVE project: about 208.06 million accesses of
// infected users from February 2016 to September 2017.
func thenBlocks() blocksThen {
	from := time.Date(2016, 2, 1, 0, 0, 0, 0, time.UTC)
	to := time.Date(2017, 10, 1, 0, 0, 0, 0, time.UTC)
	const blocks = 208_060_000
	return blocksThen{
		From: "2016-02", To: "2017-09", Blocks: blocks, PerDay: blocks / (to.Sub(from).Hours() / 24),
		Source: detect.Text{JA: "総務省(2017年)：ACTIVE によるマルウェア感染者の C&C サーバーへの通信の遮断、約2億806万件", EN: "Ministry of Internal Affairs and Communications (2017): accesses of infected users to C&C servers that ACTIVE blocked, about 208.06 million"},
	}
}

type (
	blocksInput struct {
		CSVQuery

		By string `query:"by" enum:"day" default:"day"`
	}
	blocksBody struct {
		From time.Time `json:"from"`
		To   time.Time `json:"to"`
		BlockCounts

		Then blocksThen `json:"then"`
	}
)

// registerDNS lists the routes of what resolvers were asked.
func (s *Server) registerDNS(v1 string) {
	add(s, http.MethodGet, v1+"/dns/blocks", "blocks", "Requests for C&C servers by day, beside the figure of 2016 and 2017", s.blocks)
}

func (b *blocksBody) table() [][]string {
	zones := []string{"optout.", "allow.", "c2.", "emergency."}
	rows := [][]string{append([]string{"at", "queries", "blocked", "would", "sinkholed"}, zones...)}
	for _, d := range b.Days {
		row := []string{instant(d.At), count(d.Queries), count(d.Blocked), count(d.Would), count(d.Sinkholed)}
		for _, z := range zones {
			row = append(row, count(d.Zones[z]))
		}
		rows = append(rows, row)
	}
	return rows
}

func (s *Server) blocks(ctx context.Context, in *blocksInput) (*output[*blocksBody], error) {
	if s.deps.Office.Lookups == nil {
		return nil, fail("no_dns")
	}
	from, to, err := s.between(in.SpanQuery, 30*day)
	if err != nil {
		return nil, err
	}
	c, err := s.deps.Office.Lookups.Blocks(ctx, from, to)
	if err != nil {
		return nil, err
	}
	c.Days, c.Families, c.Zones, c.Resolvers, c.Losses = filled(c.Days), filled(c.Families), filled(c.Zones), filled(c.Resolvers), filled(c.Losses)
	for i := range c.Days {
		if c.Days[i].Zones == nil {
			c.Days[i].Zones = map[string]uint64{}
		}
	}
	return &output[*blocksBody]{Body: &blocksBody{from, to, c, thenBlocks()}}, nil
}
