package ui

import (
	"io"
	"os"
	"runtime"

	"golang.org/x/term"
)

// defaultWidth is taken for a terminal that does not tell its width, in columns.
const defaultWidth = 80

// Streams are the plugin's ways in and out. Tests put buffers there. Use by one goroutine at a time.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer

	// Whether each of them is a terminal.
	InTerminal, OutTerminal, ErrTerminal bool

	// Width gives the terminal's width in columns at this moment.
	Width func() int

	// Color allows colours where there is a terminal.
	Color bool

	// Animated allows lines that change, where Err is a terminal.
	Animated bool
}

// System gives the process's own streams. getenv is os.Getenv outside of tests.
func System(getenv func(string) string) *Streams {
	return &Streams{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		InTerminal:  isTerminal(os.Stdin),
		OutTerminal: isTerminal(os.Stdout),
		ErrTerminal: isTerminal(os.Stderr),
		Width:       systemWidth,
		Color:       allowsColor(getenv, runtime.GOOS),
		Animated:    getenv("TERM") != "dumb",
	}
}

// Interactive tells whether there is somebody to ask.
func (s *Streams) Interactive() bool { return s.InTerminal && s.OutTerminal }

// OutWidth is how wide lines on Out may be, 0 for no limit: nothing is cut that goes into a file or a pipe.
func (s *Streams) OutWidth() int { return s.limit(s.OutTerminal) }

// ErrWidth is how wide lines on Err may be, 0 for no limit.
func (s *Streams) ErrWidth() int { return s.limit(s.ErrTerminal) }

func (s *Streams) limit(terminal bool) int {
	if !terminal {
		return 0
	}
	return s.Width()
}

// OutStyle is how words on Out are set off.
func (s *Streams) OutStyle() Style { return Style{s.Color && s.OutTerminal} }

// ErrStyle is how words on Err are set off.
func (s *Streams) ErrStyle() Style { return Style{s.Color && s.ErrTerminal} }

func isTerminal(f *os.File) bool {
	return term.IsTerminal(int(f.Fd()))
}

func systemWidth() int {
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return defaultWidth
}

// allowsColor follows no-color.org, and cf's own variable.
func allowsColor(getenv func(string) string, system string) bool {
	switch {
	case getenv("NO_COLOR") != "", getenv("CF_COLOR") == "false", getenv("TERM") == "dumb":
		return false
	case system == "windows": // old consoles show the codes themselves
		return getenv("WT_SESSION") != "" || getenv("TERM") != ""
	default:
		return true
	}
}
