package plugin_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/client/clienttest"
)

// most is how much longer than an empty plugin and the service's answer a status may take.
const most = 1.15

// BenchmarkStartUp compares cf pg-migrate replication with a plugin that does nothing and the service's own answer, run
// by turns: what the plugin adds. It fails where that is too much.
func BenchmarkStartUp(b *testing.B) {
	api, run := home(b)
	api.On("GET /v1/replication", clienttest.Status("RUNNING"))
	nothing := filepath.Join(b.TempDir(), "empty")
	command := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", nothing, "./testdata/empty")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := command.CombinedOutput(); err != nil {
		b.Fatalf("build the empty plugin: %v\n%s", err, text)
	}
	if text, err := run("install-plugin", "-f", nothing).CombinedOutput(); err != nil {
		b.Fatalf("install the empty plugin: %v\n%s", err, text)
	}

	status := func() {
		if err := run("pg-migrate", "replication").Run(); err != nil {
			b.Fatal(err)
		}
	}
	idle := func() {
		if err := run("empty").Run(); err != nil {
			b.Fatal(err)
		}
	}
	answer := func() { ask(b, api.URL+"/v1/replication") }
	status() // the first run of each reads files that no later one has to read
	idle()
	var statuses, idles, answers []float64
	for range b.N {
		idles = append(idles, milliseconds(idle))
		statuses = append(statuses, milliseconds(status))
		answers = append(answers, milliseconds(answer))
	}
	ratio := median(statuses) / (median(idles) + median(answers))
	b.ReportMetric(0, "ns/op") // says nothing here
	b.ReportMetric(median(idles), "empty-ms")
	b.ReportMetric(median(answers), "answer-ms")
	b.ReportMetric(median(statuses), "replication-ms")
	b.ReportMetric(ratio, "ratio")
	if b.N > 1 && ratio > most { // go test runs it once before it counts
		b.Errorf("cf pg-migrate replication takes %.1f ms: %.2f times an empty plugin (%.1f ms) and the answer (%.1f ms), at most %.2f is allowed",
			median(statuses), ratio, median(idles), median(answers), most)
	}
}

// ask gets an answer over a connection of its own, as every run of the plugin does.
func ask(b *testing.B, url string) {
	b.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		b.Fatal(err)
	}
}

func milliseconds(do func()) float64 {
	began := time.Now()
	do()
	return float64(time.Since(began).Microseconds()) / 1000
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
