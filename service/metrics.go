package main

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what an operator watches, for Prometheus.
type metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.HistogramVec
	takeovers prometheus.Counter
}

// counter counts migrations; *state.Store is one.
type counter interface {
	CountByStatus(ctx context.Context) (map[string]int, error)
}

func newMetrics(store counter) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "pg_migrate_request_duration_seconds", Help: "Requests to the API by route and status.",
			Buckets: []float64{.005, .02, .1, .5, 2, 10, 60},
		}, []string{"route", "status"}),
		takeovers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pg_migrate_takeovers_total", Help: "Migrations that were found without a worker and queued again.",
		}),
	}
	m.registry.MustRegister(m.requests, m.takeovers, migrationsCollector{store}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) observe(route string, status int, took time.Duration) {
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Observe(took.Seconds())
}

func (m *metrics) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	return mux
}

// migrationsCollector asks the store at every scrape.
type migrationsCollector struct{ store counter }

const scrapeLimit = 5 * time.Second

func (c migrationsCollector) description() *prometheus.Desc {
	return prometheus.NewDesc("pg_migrate_migrations", "Migrations by the status of their replication.", []string{"status"}, nil)
}

// Describe gives the one description.
func (c migrationsCollector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- c.description()
}

// Collect counts the migrations.
func (c migrationsCollector) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeLimit)
	defer cancel()
	counts, err := c.store.CountByStatus(ctx)
	if err != nil {
		metrics <- prometheus.NewInvalidMetric(c.description(), err)
		return
	}
	for status, n := range counts {
		metrics <- prometheus.MustNewConstMetric(c.description(), prometheus.GaugeValue, float64(n), status)
	}
}
