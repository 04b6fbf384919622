package api

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

type (
	jobsBody struct {
		Rows []Job `json:"rows" nullable:"false"`
	}
	jobOutput struct {
		Status int
		Body   Job
	}
	uploadInput struct {
		Name string   `query:"name" required:"true" minLength:"1" maxLength:"255" doc:"file name, for people"`
		Dark []string `query:"dark" maxItems:"256" doc:"dark prefixes, for this import"`
		Own  []string `query:"own" maxItems:"256" doc:"own prefixes, for this import"`

		body io.Reader
	}
	importPathInput struct {
		Body struct {
			Path string   `json:"path" minLength:"1" maxLength:"4096" doc:"a file that the server can read"`
			Dark []string `json:"dark,omitempty" nullable:"false" maxItems:"1024" doc:"dark prefixes, for this import"`
			Own  []string `json:"own,omitempty" nullable:"false" maxItems:"1024" doc:"own prefixes, for this import"`
		}
	}
	jobInput struct {
		ID string `path:"id" maxLength:"128"`
	}
)

// Resolve takes the body as a stream: a capture doesn't fit into memory.
func (in *uploadInput) Resolve(ctx huma.Context) []error {
	r, w := humago.Unwrap(ctx)
	// An upload may take as long as it moves; servers limit the time of others.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // not every connection has one
	in.body = r.Body
	return nil
}

func (s *Server) jobs(context.Context, *empty) (*output[*jobsBody], error) {
	if s.deps.Jobs == nil {
		return &output[*jobsBody]{Body: &jobsBody{Rows: []Job{}}}, nil
	}
	return &output[*jobsBody]{Body: &jobsBody{Rows: filled(s.deps.Jobs.List())}}, nil
}

func (s *Server) upload(ctx context.Context, in *uploadInput) (*jobOutput, error) {
	if s.deps.Jobs == nil {
		return nil, fail("unavailable")
	}
	name := path.Base(strings.ReplaceAll(in.Name, `\`, "/")) // a name, not a way out of a folder
	if name == "." || name == ".." || name == "/" {
		return nil, fail("filter_invalid", in.Name, "name", "capture.pcap")
	}
	dark, err := prefixes(in.Dark)
	if err != nil {
		return nil, err
	}
	own, err := prefixes(in.Own)
	if err != nil {
		return nil, err
	}
	body := http.MaxBytesReader(nil, io.NopCloser(in.body), s.deps.ImportBytes)
	job, err := s.deps.Jobs.Start(ctx, name, body, dark, own)
	return started(job, err)
}

func (s *Server) importPath(ctx context.Context, in *importPathInput) (*jobOutput, error) {
	if s.deps.Jobs == nil {
		return nil, fail("unavailable")
	}
	if c := callOf(ctx); !c.remote.IsLoopback() || c.forwarded {
		return nil, fail("loopback_only")
	}
	dark, err := prefixes(in.Body.Dark)
	if err != nil {
		return nil, err
	}
	own, err := prefixes(in.Body.Own)
	if err != nil {
		return nil, err
	}
	job, err := s.deps.Jobs.StartPath(ctx, in.Body.Path, dark, own)
	return started(job, err)
}

func prefixes(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, aerr := netip.ParseAddr(text)
			if aerr != nil {
				return nil, fail("filter_invalid", text, "prefix", "192.0.2.0/24")
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func started(job Job, err error) (*jobOutput, error) {
	if err != nil {
		return nil, err
	}
	return &jobOutput{Status: http.StatusAccepted, Body: job}, nil
}

func (s *Server) stopJob(_ context.Context, in *jobInput) (*output[Job], error) {
	if s.deps.Jobs == nil {
		return nil, fail("unavailable")
	}
	job, err := s.deps.Jobs.Stop(in.ID)
	if err != nil {
		return nil, err
	}
	return &output[Job]{Body: job}, nil
}

func (s *Server) resumeJob(_ context.Context, in *jobInput) (*output[Job], error) {
	if s.deps.Jobs == nil {
		return nil, fail("unavailable")
	}
	job, err := s.deps.Jobs.Resume(in.ID)
	if err != nil {
		return nil, err
	}
	return &output[Job]{Body: job}, nil
}
