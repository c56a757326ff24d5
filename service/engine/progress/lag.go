package progress

// IN-SYNC wants this, for so many measurements in a row; it ends when it is not so for as many. One large transaction more or
// less is no reason to turn away a finalization that a script asks for after it saw IN-SYNC.
const (
	inSyncBytes        = 1 << 20
	inSyncSeconds      = 5.0
	inSyncMeasurements = 3
)

// lag is the newest measurement of how far the target is behind.
type lag struct {
	bytes   int64
	seconds float64
	against int // measurements in a row that speak against the present phase, IN-SYNC or not
}

// LagMeasured records how many bytes of WAL, and seconds, the target is behind, and decides on IN-SYNC.
func (b *Board) LagMeasured(bytes int64, seconds float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	good := bytes < inSyncBytes && seconds < inSyncSeconds
	inSync := b.phase == InSync
	against := 0
	if good != inSync {
		if against = 1; b.lag != nil {
			against += b.lag.against
		}
	}
	if against >= inSyncMeasurements {
		inSync, against = good, 0
	}
	b.lag = &lag{bytes: bytes, seconds: seconds, against: against}
	phase := CatchingUp
	if inSync {
		phase = InSync
	}
	if b.phase != phase {
		b.log.Info("phase", "phase", string(phase), "lag_bytes", bytes, "lag_seconds", seconds)
		b.phase = phase
	}
}
