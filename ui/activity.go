package ui

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/briandowns/spinner"
)

// reminder is how often a line is printed off a terminal although nothing changed: whoever reads a log sees that it
// is alive, and systems that end silent jobs leave it alone.
const reminder = time.Minute

// Activity shows that something goes on: a spinner with progress on a terminal, plain lines elsewhere. Use by one
// goroutine at a time.
type Activity struct {
	streams *Streams
	now     func() time.Time
	spinner *spinner.Spinner // nil off a terminal

	key  string
	last time.Time
}

// State is what an activity shows.
type State struct {
	// Key is what counts as a change: off a terminal a change is printed at once.
	Key string

	// Line sums the state up.
	Line string

	// Details are more lines, for a terminal only. They depend on its width.
	Details func(width int) []string
}

// Activity begins to show something; Stop ends it.
func (s *Streams) Activity(now func() time.Time) *Activity {
	a := &Activity{streams: s, now: now}
	file, isFile := s.Err.(*os.File)
	if isFile && s.ErrTerminal && s.Animated {
		a.spinner = spinner.New(spinner.CharSets[9], 100*time.Millisecond, spinner.WithWriterFile(file))
	}
	return a
}

// Show shows the state as it is now.
func (a *Activity) Show(state State) {
	if a.spinner == nil {
		if now := a.now(); state.Key != a.key || now.Sub(a.last) >= reminder {
			fmt.Fprintln(a.streams.Err, state.Line)
			a.key, a.last = state.Key, now
		}
		return
	}
	// One column stays free: a line that fills the terminal would wrap with the spinner's sign before it.
	width := max(a.streams.Width()-3, 10)
	lines := []string{state.Line}
	if state.Details != nil && runtime.GOOS != "windows" { // old consoles cannot go back by lines
		lines = append(lines, state.Details(width)...)
	}
	for i, line := range lines {
		lines[i] = fitBytes(line, width)
	}
	a.spinner.Lock()
	a.spinner.Suffix = " " + strings.Join(lines, "\n")
	a.spinner.Unlock()
	a.spinner.Start()
}

// Stop takes the spinner away. Nothing is shown after it.
func (a *Activity) Stop() {
	if a.spinner != nil {
		a.spinner.Stop()
	}
}

// fitBytes shortens a line to at most width bytes: the spinner counts bytes when it computes how many lines to erase.
func fitBytes(line string, width int) string {
	return shorten(line, width, func(text string) int { return len(text) })
}
