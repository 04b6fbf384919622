package api

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"sakimori/detect"
)

// The list of C&C servers comes in and leaves as files.

// CNCSheet is how a file of indicators is to be read.
type CNCSheet struct {
	Name   string
	Source string
	Format string // "" told by the file
	Whole  bool   // the file is all that the source says: what isn't in it is gone
	DryRun bool   // nothing is kept
}

// CNCImport is what a file of indicators came to.
type CNCImport struct {
	Format        string       `json:"format"`
	Read          uint64       `json:"read"`
	Accepted      uint64       `json:"accepted"`
	Rejected      []LineError  `json:"rejected" nullable:"false" doc:"the first of them"`
	RejectedTotal uint64       `json:"rejected_total"`
	Protected     []Protected  `json:"protected" nullable:"false" doc:"the first of those that are never listed"`
	New           uint64       `json:"new"`
	Known         uint64       `json:"known"`
	Gone          uint64       `json:"gone"`
	Held          string       `json:"held" doc:"number of the change that waits for a person; empty: nothing waits"`
	Why           *detect.Text `json:"why" doc:"why it waits"`
	DryRun        bool         `json:"dry_run" doc:"nothing was kept"`
}

var cncFormats = []string{"plain", "csv", "ndjson", "stix", "nftables", "suricata", "squid", "flowspec"}

// CNCExport is a file that was made for enforcement elsewhere.
type CNCExport struct {
	Format    string      `json:"format" enum:"plain,csv,ndjson,stix,nftables,suricata,squid,flowspec"`
	Words     detect.Text `json:"words" doc:"for what it is, and what it can't do"`
	Version   uint64      `json:"version" doc:"0: none was made yet"`
	Entries   int         `json:"entries"`
	Omitted   int         `json:"omitted" doc:"in force, and not of a kind or ground that this form can carry"`
	Made      *time.Time  `json:"made"`
	Expires   *time.Time  `json:"expires" doc:"by then it must be out of force wherever it is"`
	Digest    string      `json:"digest" doc:"SHA-256, hexadecimal"`
	Signature string      `json:"signature" doc:"Ed25519, base64"`
	Key       string      `json:"key" doc:"Ed25519 public key, base64"`
	Basis     *CNCBasis   `json:"basis"`
}

// CNCExported is a file on its way out, with what proves it.
type CNCExported struct {
	Name      string
	Type      string // media type
	Body      io.ReadCloser
	Digest    []byte // SHA-256
	Signature []byte // the detached one, a file of its own
}

type (
	cncImportInput struct {
		streamed

		Name   string `query:"name" maxLength:"255" doc:"of the file"`
		Source string `query:"source" required:"true" minLength:"1" maxLength:"64" doc:"whose list it is, as configured"`
		Format string `query:"format" maxLength:"32" doc:"empty: told by the file, or the source's"`
		Whole  bool   `query:"whole" doc:"it is all that the source says: what isn't in it is gone"`
		DryRun bool   `query:"dry_run" doc:"say what would come of it, and keep nothing"`
	}
	cncExportInput struct {
		Format  string `query:"format" required:"true" enum:"plain,csv,ndjson,stix,nftables,suricata,squid,flowspec"`
		Version string `query:"version" pattern:"^[0-9]{1,18}$" doc:"one that was made; without it a new one is"`
		Part    string `query:"part" enum:"file,signature" default:"file" doc:"the file, or the detached signature of a version"`
	}
	cncExportsBody struct {
		Exports []CNCExport `json:"exports" nullable:"false" doc:"the newest of each form"`
	}
)

func (s *Server) registerCNCFiles(v1 string) {
	add(s, http.MethodPost, v1+"/cnc/import", "importCNC", "Take in a file of C&C servers", s.importCNC)
	add(s, http.MethodGet, v1+"/cnc/exports", "cncExports", "Files for enforcement elsewhere", s.cncExports)
	add(s, http.MethodGet, v1+"/cnc/export", "exportCNC", "What is in force as a signed file, after an entry of the ledger that says so", s.exportCNC)
}

func (s *Server) importCNC(ctx context.Context, in *cncImportInput) (*output[CNCImport], error) {
	d, err := s.list()
	if err != nil {
		return nil, err
	}
	st, err := d.Import(ctx, s.limited(in.body), CNCSheet{
		Name: baseName(in.Name), Source: in.Source, Format: in.Format, Whole: in.Whole, DryRun: in.DryRun,
	}, s.actor(ctx))
	if err != nil {
		return nil, err
	}
	st.Rejected, st.Protected, st.DryRun = filled(st.Rejected), filled(st.Protected), in.DryRun
	return &output[CNCImport]{Body: st}, nil
}

func (s *Server) cncExports(ctx context.Context, _ *empty) (*output[cncExportsBody], error) {
	d, err := s.list()
	if err != nil {
		return nil, err
	}
	list, err := d.Exports(ctx)
	return &output[cncExportsBody]{Body: cncExportsBody{filled(list)}}, err
}

func (s *Server) exportCNC(ctx context.Context, in *cncExportInput) (*huma.StreamResponse, error) {
	d, err := s.list()
	if err != nil {
		return nil, err
	}
	var version uint64
	if in.Version != "" {
		if version, err = strconv.ParseUint(in.Version, 10, 63); err != nil {
			return nil, fail("filter_invalid", in.Version, "version", "7")
		}
	}
	if version == 0 && in.Part == "signature" {
		return nil, fail("filter_invalid", in.Version, "version", "7") // a signature is of a file that there is
	}
	f, err := d.Export(ctx, in.Format, version, s.actor(ctx))
	if err != nil {
		return nil, gateProblem(err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer func() { _ = f.Body.Close() }() // it was read
		_, w := humago.Unwrap(hc)
		h := w.Header()
		h.Set("Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(f.Digest)+":") // RFC 9530
		h.Set("Sakimori-Digest", hex.EncodeToString(f.Digest))
		if in.Part == "signature" {
			h.Del("Content-Digest") // it is the file's
			h.Set("Content-Type", "application/json")
			h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s.sig"`, f.Name))
			_, _ = w.Write(f.Signature) // a client that went away needs no answer
			return
		}
		h.Set("Content-Type", f.Type)
		h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s"`, f.Name))
		if _, err := io.Copy(w, f.Body); err != nil {
			if ctx.Err() == nil {
				s.deps.Log.ErrorContext(ctx, "an export broke off", slog.String("request_id", callOf(ctx).requestID), slog.Any("error", err))
			}
			panic(http.ErrAbortHandler) // half a file must not look whole
		}
	}}, nil
}
