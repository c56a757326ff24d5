package ui

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Confirm asks a question on Err and reads the answer from In; anything but y or yes is No. It returns early with the
// context's cause.
func (s *Streams) Confirm(ctx context.Context, question string) (bool, error) {
	var lines []string
	for _, line := range strings.Split(question+" [y/N]:", "\n") {
		lines = append(lines, wrap(line, s.ErrWidth())...)
	}
	fmt.Fprint(s.Err, strings.Join(lines, "\n")+" ")
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := bufio.NewReader(s.In).ReadString('\n')
		answers <- answer{text, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(s.Err)
		return false, context.Cause(ctx)
	case a := <-answers:
		if a.err != nil {
			fmt.Fprintln(s.Err) // the line that nobody ended
			if !errors.Is(a.err, io.EOF) {
				return false, fmt.Errorf("reading the answer: %w", a.err)
			}
		}
		word := strings.ToLower(strings.TrimSpace(a.text))
		return word == "y" || word == "yes", nil
	}
}
