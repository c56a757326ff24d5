package engine

// OnReached makes the engine call f between the durable steps of its migrations.
func (e *Engine) OnReached(f func(point string)) { e.reached = f }

// Measured records a measurement of the lag and says whether the replication is in sync then.
func (r *Replication) Measured(bytes int64, seconds float64) bool {
	(&attempt{Replication: r}).measured(bytes, seconds)
	return r.Progress().InSync
}
