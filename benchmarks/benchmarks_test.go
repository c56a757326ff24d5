package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestEveryPartRuns runs all parts with all tools once on a tiny database.
func TestEveryPartRuns(t *testing.T) {
	o := defaults()
	o.scale, o.runs, o.backlog, o.rates, o.seconds = 1, 1, 400, list{"100"}, 2
	o.databases = list{"mixed"} // the others use pgbench's anyway
	o.settings.Beat = 100 * time.Millisecond
	o.out, o.markdown, o.profile = t.TempDir(), true, true
	if err := run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(o.out, "figures.json"))
	if err != nil {
		t.Fatal(err)
	}
	var b bench
	if err := json.Unmarshal(raw, &b); err != nil {
		t.Fatal(err)
	}
	// Five tools copy, two apply and lag, and three cut over.
	if got, want := len(b.Figures), 5+2+2+3; got != want {
		t.Errorf("%d figures instead of %d", got, want)
	}
	for _, f := range b.Figures {
		if f.Error != "" || (f.Part != "lag" && f.Seconds <= 0) {
			t.Errorf("no figure: %v", f)
		}
	}
	for _, name := range []string{"tables.md", "copy-mixed-1.pprof", "apply-1.pprof"} {
		if info, err := os.Stat(filepath.Join(o.out, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s is missing or empty: %v", name, err)
		}
	}
}
