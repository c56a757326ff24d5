package engine

// OnReached makes the engine call f between the durable steps of its migrations.
func (e *Engine) OnReached(f func(point string)) { e.reached = f }
