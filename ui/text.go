package ui

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/olekukonko/tablewriter/pkg/twwidth"
)

// Clean makes one line of a text that came from a server: control characters, and characters that change the direction
// of writing, would let it write over what stands on the terminal.
func Clean(text string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == unicode.ReplacementChar:
			return -1
		default:
			return r
		}
	}, escapes.ReplaceAllString(text, ""))), " ")
}

// escapes matches the sequences by which a terminal is told to do something.
var escapes = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\^_])`)

// cleanName is like Clean, but keeps spaces as they are: they belong to the name.
func cleanName(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return '?'
		}
		return r
	}, name)
}

// wrap breaks a text into lines of at most width columns, at spaces; a longer word stands alone. Zero means no limit.
func wrap(text string, width int) []string {
	if width <= 0 {
		return []string{text}
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case columns(line)+1+columns(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// cut shortens a text to at most width columns, with two dots at the end of what was cut.
func cut(text string, width int) string { return shorten(text, width, columns) }

// shorten is cut with another measure than columns.
func shorten(text string, width int, measure func(string) int) string {
	if measure(text) <= width {
		return text
	}
	runes := []rune(text)
	for len(runes) > 0 && measure(string(runes)) > width-2 {
		runes = runes[:len(runes)-1]
	}
	return string(runes) + ".."
}

// columns is how many columns a text takes on a terminal, the same everywhere.
func columns(text string) int {
	return twwidth.WidthWithOptions(text, twwidth.Options{})
}

// Bytes writes a size for people, in decimal units.
func Bytes(n int64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	value := float64(n)
	unit := -1
	for value >= 999.95 && unit < len(units)-1 {
		value /= 1000
		unit++
	}
	return fmt.Sprintf("%.1f %cB", value, units[unit])
}

// Count writes a number with commas between the thousands.
func Count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Duration writes a time for people: tenths of a second below ten seconds, else whole seconds.
func Duration(d time.Duration) string {
	if d < 10*time.Second {
		return strconv.FormatFloat(max(d, 0).Seconds(), 'f', 1, 64) + "s"
	}
	text := d.Round(time.Second).String()
	if d >= time.Hour { // days are hours enough
		text = d.Round(time.Minute).String()
		return strings.TrimSuffix(text, "0s")
	}
	return text
}

// seconds is a number of seconds of the API as a duration.
func seconds(n float32) time.Duration {
	return time.Duration(float64(n) * float64(time.Second))
}

// Plural writes a number and what it counts.
func Plural[N int | int64](n N, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(int64(n)) + " " + one + "s"
}

// share is done of total in percent; 100 only if all is done.
func share(done, total int64) int {
	switch {
	case total <= 0:
		return 0
	case done >= total:
		return 100
	default:
		return min(99, int(float64(done)/float64(total)*100))
	}
}

// bar draws done of total in width columns, in plain ASCII.
func bar(done, total int64, width int) string {
	inner := max(width-2, 1)
	filled := inner * share(done, total) / 100
	return "[" + strings.Repeat("#", filled) + strings.Repeat(".", inner-filled) + "]"
}
