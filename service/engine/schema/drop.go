package schema

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// dropsPerBatch bounds the locks that a transaction takes: a table comes with its indexes, sequences, types and constraints.
const dropsPerBatch = 100

// Drop runs Dump.DropSQL on the target, in several transactions, at the end of each of which check is called. What is gone
// already is no error, so that it can be called again.
func Drop(ctx context.Context, target Beginner, sql string, check func(pgx.Tx) error) error {
	for batch := range slices.Chunk(statements(sql), dropsPerBatch) {
		err := pgx.BeginFunc(ctx, target, func(tx pgx.Tx) error {
			if err := Run(ctx, tx, strings.Join(batch, "")); err != nil {
				return err
			}
			return check(tx)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// statements cuts a script of simple statements, in which names are quoted and nothing holds a function's body. Each piece
// ends with its semicolon but, perhaps, the last.
func statements(script string) []string {
	var all []string
	start, quote := 0, byte(0)
	for i := range len(script) {
		switch c := script[i]; {
		case quote != 0:
			if c == quote {
				quote = 0 // a doubled one opens again at once
			}
		case c == '"', c == '\'':
			quote = c
		case c == ';':
			all = append(all, script[start:i+1])
			start = i + 1
		}
	}
	if rest := script[start:]; strings.TrimSpace(rest) != "" {
		all = append(all, rest)
	}
	return all
}
