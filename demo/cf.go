package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
)

// say announces what the demo does next.
func say(format string, arguments ...any) {
	fmt.Printf("\n--- "+format+"\n", arguments...)
}

// cf runs a command of the cf CLI before the eyes of the audience.
func (s *stage) cf(ctx context.Context, arguments ...string) error {
	shown := make([]string, len(arguments))
	for i, argument := range arguments {
		shown[i] = argument
		if strings.ContainsAny(argument, ` "{`) {
			shown[i] = "'" + argument + "'"
		}
	}
	fmt.Printf("\n$ cf %s\n", strings.Join(shown, " "))
	command := s.user.Command(ctx, arguments...)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGINT) }
	command.WaitDelay = 5 * time.Second
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		return fmt.Errorf("running cf %s: %w", strings.Join(shown, " "), err)
	}
	return nil
}

// copied is what the service says about the initial copy.
type copied struct {
	progress api.ReplicationProgress
}

// progress asks the service, by the plugin, how the copy went.
func (s *stage) progress(ctx context.Context) (copied, error) {
	output, err := s.user.Run(ctx, "pg-migrate", "replication", "--json")
	if err != nil {
		return copied{}, err
	}
	var document struct {
		Progress api.ReplicationProgress `json:"progress"`
	}
	if err := json.Unmarshal([]byte(output), &document); err != nil {
		return copied{}, fmt.Errorf("reading the progress: %w", err)
	}
	return copied{document.Progress}, nil
}

func (c copied) print(to io.Writer) {
	p := c.progress
	fmt.Fprintf(to, "Copied %d rows, %.1f MB", p.RowsCopied, megabytes(p.BytesCopied))
	if p.BytesPerSecond != nil {
		fmt.Fprintf(to, ", %.1f MB/s", megabytes(*p.BytesPerSecond))
	}
	fmt.Fprintln(to)
}

func megabytes(bytes int64) float64 { return float64(bytes) / 1e6 }
