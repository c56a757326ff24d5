package progress

import (
	"log/slog"
	"testing"
)

// One burst of changes does not end IN-SYNC, and one quiet moment does not begin it.
func TestInSyncIsALastingState(t *testing.T) {
	t.Parallel()
	b := New(slog.New(slog.DiscardHandler))
	const few, many = 100_000, 10_000_000
	for i, m := range []struct {
		bytes   int64
		seconds float64
		inSync  bool
	}{
		{few, 0, false},
		{few, 0, false},
		{many, 0, false},
		{few, 0, false},
		{few, 0, false},
		{few, 0, true},
		{many, 0, true},
		{many, 0, true},
		{few, 0, true},
		{many, 0, true},
		{few, 6, true},
		{many, 6, false},
		{few, 0, false},
	} {
		b.LagMeasured(m.bytes, m.seconds)
		if inSync := b.Progress().InSync; inSync != m.inSync {
			t.Errorf("measurement %d: in sync: %v, want %v", i, inSync, m.inSync)
		}
	}
}
