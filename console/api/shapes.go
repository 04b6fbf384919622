package api

import (
	"time"

	"sakimori/detect"
	"sakimori/observe"
)

// The shapes of the API's answers that ports fill or several routes share.

// Panel is what every answer says about itself.
type Panel struct {
	State  string       `json:"state" enum:"ok,zero,none,stale" doc:"zero: looked, and nothing came; none: did not look; stale: older than it should be"`
	Reason *detect.Text `json:"reason,omitempty" doc:"with none and stale: why"`
	AsOf   *time.Time   `json:"as_of,omitempty" doc:"with stale: time of the newest data"`
}

func (p *Panel) stateWord() string { return p.State }

// Input is one source of packets and how it does.
type Input struct {
	Name       string       `json:"name"`
	Kind       string       `json:"kind" enum:"file,live,replay"`
	State      string       `json:"state" enum:"running,idle,stale,failed,done"`
	LastPacket *time.Time   `json:"last_packet" doc:"in the data's time"`
	Packets    uint64       `json:"packets"`
	Malformed  uint64       `json:"malformed"`
	Dropped    Dropped      `json:"dropped"`
	Rate       float64      `json:"rate" doc:"packets/s"`
	Message    *detect.Text `json:"message"`
	// Age is how long ago, by the wall clock, the last packet was read. The
	// data's time can't tell for a replay.
	Age time.Duration `json:"-"`
}

// Dropped counts packets that were lost, by place.
type Dropped struct {
	Kernel uint64 `json:"kernel" doc:"before the program could read them"`
	Late   uint64 `json:"late" doc:"too old for the minute that was still open"`
	Stray  uint64 `json:"stray" doc:"with a date that isn't believed, as it lies far from those around it"`
}

// Dark is the dark space that is watched.
type Dark struct {
	V4Addresses uint64 `json:"v4_addresses"`
	V4Prefixes  int    `json:"v4_prefixes"`
	V6Prefixes  int    `json:"v6_prefixes"`
	Hit         uint64 `json:"hit" doc:"dark addresses that ever received a packet"`
}

// Job is one import.
type Job struct {
	ID         string       `json:"id"`
	Kind       string       `json:"kind" enum:"import"`
	File       string       `json:"file"`
	State      string       `json:"state" enum:"queued,running,stopped,done,failed,duplicate"`
	Bytes      int64        `json:"bytes" doc:"read so far"`
	BytesTotal int64        `json:"bytes_total" doc:"0 when not known"`
	Packets    uint64       `json:"packets"`
	Rate       float64      `json:"rate" doc:"packets/s"`
	Started    time.Time    `json:"started"`
	ETA        *time.Time   `json:"eta"`
	Message    *detect.Text `json:"message"`
	Result     any          `json:"result" doc:"the import's document when it is done, as printed by the command line"`
}

// Sum is the trio of counts of one span.
type Sum struct {
	Packets uint64         `json:"packets"`
	Sources observe.Unique `json:"sources"`
	Targets observe.Unique `json:"targets"`
}

// Row is one key of a ranking.
type Row struct {
	Key     string         `json:"key" doc:"23/tcp, 8.0/icmp (type.code), JP (ZZ unknown), AS4713 (AS0 unknown), tcp, scan"`
	Name    string         `json:"name"`
	NameJA  string         `json:"name_ja"`
	Packets uint64         `json:"packets"`
	Share   float64        `json:"share" doc:"of the packets of the whole span, 0 to 1"`
	Sources observe.Unique `json:"sources"`
	Targets observe.Unique `json:"targets"`
	Before  *uint64        `json:"before" doc:"packets in the span of equal length before; null when nobody looked then"`
	Change  *float64       `json:"change" doc:"(packets - before) / before; null without a before or with zero"`
}

// Event is one scan, or one run of answers.
type Event struct {
	ID           string         `json:"id"`
	Source       string         `json:"source" doc:"masked when own"`
	Own          bool           `json:"own"`
	Port         uint16         `json:"port" doc:"the source's own port in backscatter and reflection; type<<8|code for ICMP"`
	Protocol     uint8          `json:"protocol"`
	Key          string         `json:"key" doc:"as in a ranking by port"`
	Name         string         `json:"name"`
	First        time.Time      `json:"first"`
	Last         time.Time      `json:"last"`
	Packets      uint64         `json:"packets"`
	Targets      observe.Unique `json:"targets"`
	Coverage     float64        `json:"coverage" doc:"targets / dark addresses"`
	Rate         float64        `json:"rate" doc:"packets/s over the event's life"`
	Country      string         `json:"country" doc:"empty when unknown"`
	ASN          uint32         `json:"asn" doc:"0 when unknown"`
	Open         bool           `json:"open"`
	Sample       []string       `json:"sample" nullable:"false"`
	Kind         string         `json:"kind"`
	Class        string         `json:"class"`
	Tool         string         `json:"tool"`
	ToolVersions string         `json:"tool_versions"`
	Flags        []string       `json:"flags" nullable:"false"`
}

// SpanQuery is the query of nearly every route.
type SpanQuery struct {
	From string `query:"from" format:"date-time" doc:"inclusive; by default 24 hours before to"`
	To   string `query:"to" format:"date-time" doc:"exclusive; by default the end of the data"`
}

// CSVQuery is SpanQuery on a route that answers text/csv too.
type CSVQuery struct {
	SpanQuery

	Format string `query:"format" enum:"json,csv" doc:"as the Accept header application/json or text/csv"`
}

// Paging is the query of a list in pages.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Cursor string `query:"cursor" maxLength:"2048" doc:"next of the page before; with the same query"`
}

// output is an answer with a body. Link is set when there is a next page (RFC 8288).
type output[T any] struct {
	Link string `header:"Link"`
	Body T
}
