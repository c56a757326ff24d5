package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
)

// say announces what the demo does next.
func say(format string, arguments ...any) {
	fmt.Printf("\n--- "+format+"\n", arguments...)
}

// command is a call of the cf CLI with its own folder for the session, as the user.
func (s *stage) command(ctx context.Context, home string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, s.cfProgram, arguments...)
	// The password goes by the environment, so that it is on no screen.
	command.Env = append(os.Environ(), "CF_HOME="+s.path(home), "CF_USERNAME="+user, "CF_PASSWORD="+s.password)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGINT) }
	command.WaitDelay = 5 * time.Second
	return command
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
	command := s.command(ctx, "home", arguments...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		return fmt.Errorf("cf %s: %w", strings.Join(shown, " "), err)
	}
	return nil
}

// copied is what the service says about the initial copy.
type copied struct {
	progress api.ReplicationProgress
}

// progress asks the service, by the plugin, how the copy went.
func (s *stage) progress(ctx context.Context) (copied, error) {
	output, err := s.command(ctx, "home", "pg-migrate", "replication", "--json").Output()
	if err != nil {
		return copied{}, fmt.Errorf("cf pg-migrate replication --json: %w\n%s", err, output)
	}
	var document struct {
		Progress api.ReplicationProgress `json:"progress"`
	}
	if err := json.Unmarshal(output, &document); err != nil {
		return copied{}, fmt.Errorf("read the progress: %w", err)
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
