package stream

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/jackc/pglogrepl"
)

// Many rows that are changed or deleted go to the target in one parameter: an array of the table's own row type. So each value is read by its column's
// own input function with the column's modifiers, whatever its type, as if it came alone.

// appendRows writes the rows as a literal of an array of the table's row type. Columns that are not wanted or were not sent are
// NULL.
func (r *relation) appendRows(out []byte, rows []tuple, wanted func(position int) bool) []byte {
	out = append(out, '{')
	for i, row := range rows {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '"', '(')
		for j, position := range r.literal {
			if j > 0 {
				out = append(out, ',')
			}
			if position != notSent && wanted(position) && row[position].state == pglogrepl.TupleDataTypeText {
				out = appendField(out, row[position].text)
			}
		}
		out = append(out, ')', '"')
	}
	return append(out, '}')
}

func (r *relation) isKey(position int) bool { return slices.Contains(r.key, position) }

func anyColumn(int) bool { return true }

// plain are the bytes that need no quotes in a row.
var plain = func() (plain [256]bool) {
	for i := range plain {
		c := byte(i)
		plain[i] = c >= 0x80 || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.IndexByte("-+.:_/", c) >= 0
	}
	return plain
}()

// appendField writes one value, quoted for the row and once more for the array around it.
func appendField(out, text []byte) []byte {
	quotes := len(text) == 0 // nothing at all would be NULL
	for _, c := range text {
		if !plain[c] {
			quotes = true
			break
		}
	}
	if !quotes {
		return append(out, text...)
	}
	out = append(out, '\\', '"')
	start := 0
	for i, c := range text {
		var escaped string
		switch c {
		case '"':
			escaped = `\"\"`
		case '\\':
			escaped = `\\\\`
		default:
			continue
		}
		out = append(append(out, text[start:i]...), escaped...)
		start = i + 1
	}
	out = append(out, text[start:]...)
	return append(out, '\\', '"')
}

// Rows that are new come by COPY.

func (r *relation) copyRows() string {
	names := make([]string, len(r.columns))
	for i := range r.columns {
		names[i] = r.column(i)
	}
	return "COPY " + r.name + " (" + strings.Join(names, ", ") + ") FROM STDIN"
}

// appendCopy writes the rows in the text format of COPY (PostgreSQL manual, COPY, File Formats).
func appendCopy(out []byte, rows []tuple) []byte {
	for _, row := range rows {
		for i, c := range row {
			if i > 0 {
				out = append(out, '\t')
			}
			if c.state != pglogrepl.TupleDataTypeText {
				out = append(out, '\\', 'N')
				continue
			}
			out = appendEscaped(out, c.text)
		}
		out = append(out, '\n')
	}
	return out
}

func appendEscaped(out, text []byte) []byte {
	start := 0
	for i, c := range text {
		var letter byte
		switch c {
		case '\\':
			letter = '\\'
		case '\t':
			letter = 't'
		case '\n':
			letter = 'n'
		case '\r':
			letter = 'r'
		default:
			continue
		}
		out = append(append(out, text[start:i]...), '\\', letter)
		start = i + 1
	}
	return append(out, text[start:]...)
}

// sortByKey brings rows into an order in which neighbours are neighbours in the index too: that of integers, and of any type whose
// texts sort as its values do. Any order is right.
func (r *relation) sortByKey(rows []tuple) {
	slices.SortFunc(rows, func(x, y tuple) int {
		for _, k := range r.key {
			a, b := x[k].text, y[k].text
			if order := cmp.Or(cmp.Compare(len(a), len(b)), bytes.Compare(a, b)); order != 0 {
				return order
			}
		}
		return 0
	})
}

// The statements for many rows are not prepared: each is planned for the table as large as it is at that moment.

func (r *relation) updateRows(mask string) string {
	var set []string
	for i := range r.columns {
		if mask[i] != pglogrepl.TupleDataTypeToast {
			set = append(set, r.column(i)+" = d."+r.column(i))
		}
	}
	return "UPDATE ONLY " + r.name + " AS t SET " + strings.Join(set, ", ") + " FROM " + r.rows() + " WHERE " + r.sameKey()
}

func (r *relation) deleteRows() string {
	return "DELETE FROM ONLY " + r.name + " AS t USING " + r.rows() + " WHERE " + r.sameKey()
}

func (r *relation) rows() string { return "pg_catalog.unnest($1::" + r.name + "[]) AS d" }

func (r *relation) sameKey() string {
	conditions := make([]string, len(r.key))
	for i, k := range r.key {
		conditions[i] = "t." + r.column(k) + " = d." + r.column(k)
	}
	return strings.Join(conditions, " AND ")
}
