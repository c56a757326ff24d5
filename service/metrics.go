package main

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/state"
)

// metrics are what an operator watches, for Prometheus.
type metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.HistogramVec
	takeovers prometheus.Counter
}

// counter counts migrations; *state.Store is one.
type counter interface {
	Totals(ctx context.Context) (state.Totals, error)
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
	m.registry.MustRegister(m.requests, m.takeovers, newMigrationsCollector(store), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
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

// migrationsCollector asks the store at every scrape. All instances of the service give the same figures.
type migrationsCollector struct {
	store                   counter
	migrations, copied, lag *prometheus.Desc
}

const scrapeLimit = 5 * time.Second

func newMigrationsCollector(store counter) migrationsCollector {
	return migrationsCollector{
		store:      store,
		migrations: prometheus.NewDesc("pg_migrate_migrations", "Migrations by the status of their replication.", []string{"status"}, nil),
		copied:     prometheus.NewDesc("pg_migrate_copied_bytes", "Bytes that the initial copies of all present migrations have carried.", nil, nil),
		lag:        prometheus.NewDesc("pg_migrate_lag_bytes", "WAL that is not applied yet, of the migration that is the farthest behind.", nil, nil),
	}
}

// Describe gives the descriptions.
func (c migrationsCollector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.migrations, c.copied, c.lag} {
		descriptions <- d
	}
}

// Collect counts the migrations.
func (c migrationsCollector) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeLimit)
	defer cancel()
	totals, err := c.store.Totals(ctx)
	if err != nil {
		metrics <- prometheus.NewInvalidMetric(c.migrations, err)
		return
	}
	for status, n := range totals.ByStatus {
		metrics <- prometheus.MustNewConstMetric(c.migrations, prometheus.GaugeValue, float64(n), status)
	}
	metrics <- prometheus.MustNewConstMetric(c.copied, prometheus.GaugeValue, float64(totals.CopiedBytes))
	metrics <- prometheus.MustNewConstMetric(c.lag, prometheus.GaugeValue, float64(totals.LagBytes))
}
