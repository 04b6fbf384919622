package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Prefix stands before every name of ours.
const Prefix = "sakimori_"

// Kind is how a metric moves.
type Kind string

// The kinds.
const (
	Counter Kind = "counter" // only rises, from 0 at the start of the process
	Gauge   Kind = "gauge"   // rises and falls
)

// Metric is one number of the running process. It is read when somebody
// scrapes it: a hot loop keeps its own plain count and never waits for a
// metric.
type Metric struct {
	Name   string // without Prefix, in snake_case; a counter ends in _total
	Help   string // a sentence, with the unit
	Kind   Kind
	Labels map[string]string // fixed; nil for none
	Read   func() float64    // called at each scrape, from any goroutine
}

// Registry holds the metrics of one process.
type Registry struct {
	inner *prometheus.Registry

	mu   sync.Mutex
	list []Metric
}

// NewRegistry also holds what Go and the kernel tell of the process (memory,
// goroutines, open files).
func NewRegistry() *Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Registry{inner: r}
}

var snake = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// forbidden are labels that would name a person or grow without bound.
var forbidden = []string{"address", "ip", "source", "target", "victim", "subscriber", "user", "port", "asn", "country"}

// Add registers the metrics. It refuses, with the name in the error, what the
// house's rules forbid: odd names, a missing sentence, a label with an address
// or another value of the traffic in it, a second metric of the same name and
// labels.
func (r *Registry) Add(metrics ...Metric) error {
	for _, m := range metrics {
		if err := m.check(); err != nil {
			return fmt.Errorf("metric %q: %w", m.Name, err)
		}
		if err := r.inner.Register(m.collector()); err != nil {
			return fmt.Errorf("metric %q: %w", m.Name, err)
		}
		r.mu.Lock()
		r.list = append(r.list, m)
		r.mu.Unlock()
	}
	return nil
}

func (m Metric) check() error {
	switch {
	case !snake.MatchString(m.Name):
		return errors.New("the name must be in snake_case")
	case strings.HasPrefix(m.Name, Prefix):
		return errors.New("the prefix is added by the registry")
	case m.Help == "":
		return errors.New("needs a sentence that says what it counts")
	case m.Read == nil:
		return errors.New("needs a function that reads it")
	case m.Kind != Counter && m.Kind != Gauge:
		return fmt.Errorf("the kind is %q: use %q or %q", m.Kind, Counter, Gauge)
	case (m.Kind == Counter) != strings.HasSuffix(m.Name, "_total"):
		return errors.New("the name of a counter, and of nothing else, ends in _total")
	}
	for l := range m.Labels {
		if !snake.MatchString(l) {
			return fmt.Errorf("label %q must be in snake_case", l)
		}
		if slices.Contains(forbidden, l) {
			return fmt.Errorf("label %q would hold a value of the traffic: count it in the store instead", l)
		}
	}
	return nil
}

func (m Metric) collector() prometheus.Collector {
	if m.Kind == Counter {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: Prefix + m.Name, Help: m.Help, ConstLabels: m.Labels}, m.Read)
	}
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: Prefix + m.Name, Help: m.Help, ConstLabels: m.Labels}, m.Read)
}

// Metrics lists what was added, by name, for the documentation.
func (r *Registry) Metrics() []Metric {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.list)
	slices.SortStableFunc(out, func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Handler answers a scrape, in the text form of Prometheus.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.inner, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Serve answers GET /metrics on l until ctx ends, and closes l. It calls ready
// once it answers, so it is the Run of a component. The metrics have an
// address of their own, by default on the loopback, because a scraper needs no
// session and a console needs no scraper.
func (r *Registry) Serve(ctx context.Context, l net.Listener, ready func()) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", r.Handler())
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second, MaxHeaderBytes: 16 << 10}
	var broken error // why it ended, written before ended is closed
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		broken = s.Serve(l)
	}()
	ready()
	select {
	case <-ended:
		return fmt.Errorf("metrics on %s: %w", l.Addr(), broken)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := s.Shutdown(last)
	<-ended
	if err != nil {
		return fmt.Errorf("metrics on %s: a scrape was still running: %w", l.Addr(), err)
	}
	return nil
}
