package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// table is a table of the report.
type table struct {
	title string
	head  []string
	rows  [][]string
}

// report prints the tables and writes the raw figures.
func (b *bench) report() error {
	raw, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	if err := os.WriteFile(b.file("figures.json"), raw, 0o644); err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	tables := b.tables()
	for _, f := range b.Machine {
		fmt.Printf("%s: %s\n", f.Name, f.Value)
	}
	for _, t := range tables {
		t.print(os.Stdout)
	}
	if !b.markdown {
		return nil
	}
	var text strings.Builder
	for _, f := range b.Machine {
		fmt.Fprintf(&text, "* %s: %s\n", f.Name, f.Value)
	}
	for _, t := range tables {
		t.markdown(&text)
	}
	if err := os.WriteFile(b.file("tables.md"), []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("writing the tables: %w", err)
	}
	return nil
}

// columns are what the report shows of each part.
var columns = map[string][]struct {
	head   string
	digits int
	value  func(figure) float64
}{
	"copy": {
		{"s", 2, seconds},
		{"MB/s", 0, value("MB/s")},
		{"CPU s of the tool", 1, func(f figure) float64 { return f.CPU.Client }},
		{"of the source", 1, func(f figure) float64 { return f.CPU.Source }},
		{"of the target", 1, func(f figure) float64 { return f.CPU.Target }},
		{"of others", 1, func(f figure) float64 { return f.CPU.Others }},
	},
	"apply": {
		{"s", 2, seconds},
		{"transactions/s", 0, value("transactions/s")},
		{"CPU s of the tool", 1, func(f figure) float64 { return f.CPU.Client }},
		{"of the source", 1, func(f figure) float64 { return f.CPU.Source }},
		{"of the target", 1, func(f figure) float64 { return f.CPU.Target }},
		{"of others", 1, func(f figure) float64 { return f.CPU.Others }},
	},
	"lag": {
		{"tps reached", 0, value("tps")},
		{"p50 s", 3, value("p50")},
		{"p95 s", 3, value("p95")},
		{"max s", 3, value("max")},
		{"rest after the load s", 3, value("drain")},
	},
	"cutover": {
		{"s", 2, seconds},
		{"s without verification", 2, value("without verification")},
		{"tps before", 0, value("tps")},
	},
}

func seconds(f figure) float64 { return f.Seconds }

func value(name string) func(figure) float64 {
	return func(f figure) float64 { return f.Values[name] }
}

// tables makes a table for each database in each part.
func (b *bench) tables() []table {
	var tables []table
	type key struct{ part, database string }
	var keys []key
	for _, f := range b.Figures {
		if k := (key{f.Part, f.Database}); !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		t := table{title: k.part + " of " + k.database, head: []string{"tool"}}
		for _, c := range columns[k.part] {
			t.head = append(t.head, c.head)
		}
		t.head = append(t.head, "each run", "steps of the median run")
		for _, name := range toolNames() {
			figures := b.figures(k.part, k.database, name)
			if len(figures) == 0 {
				continue
			}
			row := []string{name}
			for _, c := range columns[k.part] {
				row = append(row, fmt.Sprintf("%.*f", c.digits, median(figures, c.value)))
			}
			first := columns[k.part][0]
			var each []string
			for _, f := range figures {
				each = append(each, fmt.Sprintf("%.*f", first.digits, first.value(f)))
			}
			slices.SortFunc(figures, func(f, g figure) int { return int(1000 * (first.value(f) - first.value(g))) })
			t.rows = append(t.rows, append(row, strings.Join(each, " "), figures[len(figures)/2].steps()))
		}
		tables = append(tables, t)
	}
	return tables
}

// figures gives those of one tool that are right.
func (b *bench) figures(part, database, tool string) []figure {
	var figures []figure
	for _, f := range b.Figures {
		if f.Part == part && f.Database == database && f.Tool == tool && f.Error == "" {
			figures = append(figures, f)
		}
	}
	return figures
}

func median(figures []figure, value func(figure) float64) float64 {
	values := make([]float64, len(figures))
	for i, f := range figures {
		values[i] = value(f)
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 0 {
		return (values[middle-1] + values[middle]) / 2
	}
	return values[middle]
}

func (t table) print(to io.Writer) {
	fmt.Fprintf(to, "\n%s\n", t.title)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.head}, t.rows...) {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush()
}

func (t table) markdown(to io.Writer) {
	fmt.Fprintf(to, "\n### %s\n\n| %s |\n|%s\n", t.title, strings.Join(t.head, " | "), strings.Repeat("---|", len(t.head)))
	for _, row := range t.rows {
		fmt.Fprintf(to, "| %s |\n", strings.Join(row, " | "))
	}
}
