package ui

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

// gap separates two columns.
const gap = "   "

// narrowest is how far the first column may be cut, in columns of the terminal.
const narrowest = 12

// column is a column of a table.
type column struct {
	title string
	right bool // numbers

	// dropped first, from the highest on, where the terminal is too narrow; 0 stays always.
	drop int
}

// printTable prints rows without borders, in at most width columns of the terminal; 0 for no limit. What does not fit
// is left out: first whole columns, then the end of the first column's texts.
func printTable(w io.Writer, width int, cols []column, rows [][]string) {
	cols, rows = fit(width, cols, rows)
	alignment := make([]tw.Align, len(cols))
	titles := make([]string, len(cols))
	for i, c := range cols {
		titles[i] = c.title
		alignment[i] = tw.AlignLeft
		if c.right {
			alignment[i] = tw.AlignRight
		}
	}
	var text bytes.Buffer
	cell := tw.CellConfig{
		Formatting: tw.CellFormatting{AutoWrap: tw.WrapNone, AutoFormat: tw.Off},
		Alignment:  tw.CellAlignment{PerColumn: alignment},
		Padding:    tw.CellPadding{Global: tw.Padding{Left: tw.Empty, Right: gap, Overwrite: true}},
	}
	table := tablewriter.NewTable(&text,
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{
			Borders:  tw.BorderNone,
			Symbols:  tw.NewSymbols(tw.StyleNone),
			Settings: tw.Settings{Lines: tw.LinesNone, Separators: tw.SeparatorsNone},
		})),
		tablewriter.WithConfig(tablewriter.Config{Header: cell, Row: cell, Behavior: tw.Behavior{TrimSpace: tw.Off}}),
		tablewriter.WithEastAsian(tw.Off),
	)
	table.Header(titles)
	err := table.Bulk(rows)
	if err == nil {
		err = table.Render()
	}
	if err != nil { // cannot be: cells are strings, and a buffer takes all
		fmt.Fprintln(w, err)
		return
	}
	for line := range strings.Lines(text.String()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \r\n"))
	}
}

// fit leaves out columns, and cuts the first one, until a line takes no more than width.
func fit(width int, cols []column, rows [][]string) ([]column, [][]string) {
	if width <= 0 {
		return cols, rows
	}
	for {
		over := lineWidth(cols, rows) - width
		if over <= 0 {
			return cols, rows
		}
		least := 0
		for i, c := range cols {
			if c.drop > cols[least].drop {
				least = i
			}
		}
		if cols[least].drop == 0 {
			return cols, cutFirst(cols, rows, over)
		}
		cols = without(cols, least)
		for i := range rows {
			rows[i] = without(rows[i], least)
		}
	}
}

// cutFirst takes what is too much from the first column.
func cutFirst(cols []column, rows [][]string, over int) [][]string {
	room := max(columnWidth(cols, rows, 0)-over, narrowest)
	for i := range rows {
		rows[i] = append([]string{cut(rows[i][0], room)}, rows[i][1:]...)
	}
	return rows
}

func without[T any](list []T, i int) []T {
	return append(append([]T{}, list[:i]...), list[i+1:]...)
}

func lineWidth(cols []column, rows [][]string) int {
	width := len(gap) * (len(cols) - 1)
	for i := range cols {
		width += columnWidth(cols, rows, i)
	}
	return width
}

func columnWidth(cols []column, rows [][]string, i int) int {
	width := columns(cols[i].title)
	for _, row := range rows {
		width = max(width, columns(row[i]))
	}
	return width
}
