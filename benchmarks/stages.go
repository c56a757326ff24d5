package main

import (
	"context"
	"log/slog"
)

// stages is a log that also tells which phase of a replication and which step of a finalization begins, in the moment it does:
// asking for the progress that often would be work of its own.
type stages struct {
	slog.Handler
	begins chan string
}

// newStages has room for all stages of a migration, so that the engine never waits for whoever reads them.
func newStages(log slog.Handler) stages { return stages{log, make(chan string, 1000)} }

// Handle looks for the records that announce a stage.
func (s stages) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "phase" || r.Message == "finalization" {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "phase" || a.Key == "step" {
				select {
				case s.begins <- a.Value.String():
				default:
				}
			}
			return true
		})
	}
	return s.Handler.Handle(ctx, r)
}

// WithAttrs keeps telling.
func (s stages) WithAttrs(attrs []slog.Attr) slog.Handler {
	return stages{s.Handler.WithAttrs(attrs), s.begins}
}

// WithGroup keeps telling.
func (s stages) WithGroup(name string) slog.Handler {
	return stages{s.Handler.WithGroup(name), s.begins}
}
