package api

import (
	"context"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"sakimori/detect"
)

// Intake takes in what others report, and logs of who had which address. A file that
// can't be read as it is said to be is a Refusal; rows that can't be used are counted.
// by takes it in, which is written down before.
type Intake interface {
	Reports(ctx context.Context, r io.Reader, o ReportFile, by string) (ReportStats, error)
	Records(ctx context.Context, r io.Reader, o RecordFile, by string) (RecordStats, error)
}

// ReportFile is how a file of reports is to be read.
type ReportFile struct {
	Name   string // of the file, where it tells the type
	Source string // who reports
	Format string
	Type   string // Shadowserver's, where the name doesn't tell it
	Zone   string // of times that don't name one
	// Mapping says which column is what in csv and ndjson: YAML or JSON.
	Mapping string
}

// ReportStats is what a file of reports came to.
type ReportStats struct {
	Format     string      `json:"format"`
	Rows       uint64      `json:"rows"`
	Reports    uint64      `json:"reports" doc:"that were handed on, duplicates too"`
	Malformed  uint64      `json:"malformed"`
	Duplicates uint64      `json:"duplicates" doc:"that were known already"`
	Mediated   uint64      `json:"mediated" doc:"seen through a resolver: they accuse nobody"`
	Other      uint64      `json:"other" doc:"that say nothing which a subscriber would be told"`
	Accusing   uint64      `json:"accusing" doc:"that were given to a subscriber's case"`
	First      *time.Time  `json:"first"`
	Last       *time.Time  `json:"last"`
	Errors     []LineError `json:"errors" nullable:"false" doc:"the first rows that can't be used"`
}

// LineError is a row that can't be used. It never holds what stands there.
type LineError struct {
	Line   int         `json:"line"`
	Reason detect.Text `json:"reason"`
}

// RecordFile is how a log of addresses is to be read.
type RecordFile struct {
	Name   string
	Kind   string
	Source string // the DHCP server or translator, where the file doesn't say it
	Zone   string
	Line   string // what names the contract in RADIUS
	Secret string // of RADIUS
}

// RecordStats is what a log of addresses came to.
type RecordStats struct {
	Records   uint64            `json:"records"`
	Sessions  uint64            `json:"sessions" doc:"uses of an address: sessions, leases, blocks of ports"`
	Open      uint64            `json:"open" doc:"of them, without an end"`
	Inferred  uint64            `json:"inferred_ends"`
	Malformed uint64            `json:"malformed"`
	Ignored   uint64            `json:"ignored"`
	Reasons   map[string]uint64 `json:"reasons"`
	Examples  []string          `json:"examples" nullable:"false"`
	First     *time.Time        `json:"first"`
	Last      *time.Time        `json:"last"`
}

// streamed is a body that is read as it comes: a log doesn't fit into memory.
type streamed struct{ body io.Reader }

// Resolve takes the body.
func (in *streamed) Resolve(ctx huma.Context) []error {
	r, w := humago.Unwrap(ctx)
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // not every connection has one
	in.body = r.Body
	return nil
}

type (
	reportsInput struct {
		streamed

		Name   string `query:"name" maxLength:"255" doc:"of the file: of Shadowserver's it tells the type"`
		Source string `query:"source" required:"true" minLength:"1" maxLength:"64" doc:"who reports"`
		Format string `query:"format" required:"true" enum:"shadowserver,xarf,mail,intelmq,csv,ndjson"`
		Type   string `query:"type" maxLength:"64" doc:"Shadowserver's, where the file's name doesn't tell it"`
		Zone   string `query:"zone" maxLength:"64" doc:"of times that don't name one, like Asia/Tokyo"`

		Mapping string `query:"mapping" maxLength:"4096" doc:"of csv and ndjson: which column is what, as JSON or YAML (see the page on reports in the documentation)"`
	}
	recordsInput struct {
		streamed

		Name   string `query:"name" required:"true" minLength:"1" maxLength:"255" doc:"of the file"`
		Kind   string `query:"kind" enum:"auto,radius,detail,kea,isc,syslog,ipfix" default:"auto"`
		Source string `query:"source" maxLength:"255" doc:"the DHCP server or translator, where the file doesn't say it; by default its name"`
		Zone   string `query:"zone" maxLength:"64" default:"UTC" doc:"of dates that don't name one"`
		Line   string `query:"line" maxLength:"64" default:"user-name" doc:"what names the contract in RADIUS"`
		Secret string `header:"X-Radius-Secret" maxLength:"256" doc:"requests that it doesn't prove are malformed"`
	}
)

// registerIntake lists the routes by which data come in.
func (s *Server) registerIntake(v1 string) {
	add(s, http.MethodPost, v1+"/reports", "importReports", "Take in what others report of our addresses", s.importReports)
	add(s, http.MethodPost, v1+"/subscriber/records", "importRecords", "Take in a log of who had which address", s.importRecords)
}

// baseName is the name of a file, and no way out of a folder.
func baseName(name string) string {
	return path.Base("/" + strings.ReplaceAll(name, `\`, "/"))
}

func (s *Server) importReports(ctx context.Context, in *reportsInput) (*output[ReportStats], error) {
	if s.deps.Office.Intake == nil {
		return nil, noOffice()
	}
	st, err := s.deps.Office.Intake.Reports(ctx, s.limited(in.body), ReportFile{Name: baseName(in.Name), Source: in.Source, Format: in.Format, Type: in.Type, Zone: in.Zone, Mapping: in.Mapping}, s.actor(ctx))
	st.Errors = filled(st.Errors)
	return &output[ReportStats]{Body: st}, err
}

func (s *Server) importRecords(ctx context.Context, in *recordsInput) (*output[RecordStats], error) {
	if s.deps.Office.Intake == nil {
		return nil, noOffice()
	}
	st, err := s.deps.Office.Intake.Records(ctx, s.limited(in.body), RecordFile{
		Name: baseName(in.Name), Kind: in.Kind, Source: in.Source, Zone: in.Zone, Line: in.Line, Secret: in.Secret,
	}, s.actor(ctx))
	st.Examples = filled(st.Examples)
	return &output[RecordStats]{Body: st}, err
}

func (s *Server) limited(body io.Reader) io.Reader {
	return http.MaxBytesReader(nil, io.NopCloser(body), s.deps.ImportBytes)
}
