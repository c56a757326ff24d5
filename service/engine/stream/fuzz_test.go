package stream

import (
	"bytes"
	_ "embed" // for the messages
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
)

// What PostgreSQL 15 sent of the changes that the tests of folding make, one message a line, in hexadecimal.
//
//go:embed testdata/messages.txt
var realMessages string

func messages(t testing.TB) (all [][]byte) {
	t.Helper()
	for line := range strings.FieldsSeq(realMessages) {
		message, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, message)
	}
	return all
}

// relationOf is a table that fits a change, with a key of its first columns.
func relationOf(t testing.TB, columns, keys int) *relation {
	t.Helper()
	table := catalog.Table{OID: 1, Schema: "s", Name: `a "b"`}
	d := &description{schema: table.Schema, name: table.Name}
	target := &targetTable{}
	for i := range columns {
		name := fmt.Sprintf("c%d", i)
		table.Columns = append(table.Columns, catalog.Column{Name: name, TypeOID: 25, Type: "text"})
		d.columns = append(d.columns, describedColumn{name, 25})
		target.columns = append([]string{name}, target.columns...)
		if i < keys {
			table.Key = append(table.Key, name)
		}
	}
	r, err := newRelation(table, d)
	if err != nil {
		t.Fatal(err)
	}
	r.setTarget(target)
	return r
}

// FuzzDecode takes what the source may send, and what it should not, as far as the statements for the target.
func FuzzDecode(f *testing.F) {
	for _, m := range messages(f) {
		f.Add(m, byte(1))
		f.Add(m[:len(m)-1], byte(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, keys byte) {
		c, err := decode(data)
		if err != nil {
			return
		}
		if c.described != nil {
			_, _ = newRelation(catalog.Table{Schema: "public", Name: "keyed", Key: []string{"id"}}, c.described)
			return
		}
		if c.row == nil && c.old == nil {
			return
		}
		if c.message == pglogrepl.MessageTypeUpdate && c.row == nil || c.message == pglogrepl.MessageTypeInsert && c.row == nil {
			t.Fatalf("%s without a row", c.message)
		}
		width := max(len(c.row), len(c.old))
		r := relationOf(t, width, int(keys)%(width+1))
		if r.checkWidth(c.old, c.row) != nil {
			return
		}
		w := newWindow(0)
		for range foldItems + foldRows {
			again, err := decode(bytes.Clone(data))
			if err != nil {
				t.Fatal(err)
			}
			w.add(r, again)
		}
		s := &session{conn: silent{}, prepared: map[string]string{}}
		_ = w.send(s)
	})
}

// FuzzWire reads any bytes as the stream of the source.
func FuzzWire(f *testing.F) {
	var stream []byte
	for _, m := range messages(f) {
		body := append(append([]byte{'w'}, make([]byte, 24)...), m...)
		message := append(binary.BigEndian.AppendUint32([]byte{'d'}, uint32(len(body)+4)), body...)
		f.Add(message, 7)
		stream = append(stream, message...)
	}
	f.Add(stream, 1000)
	f.Add(append([]byte{'d', 0, 0, 0, 22, 'k'}, make([]byte, 17)...), 3)
	f.Fuzz(func(t *testing.T, data []byte, chunk int) {
		r := &receiver{in: wire{from: &chunked{data, max(chunk, 1)}}}
		read := 0
		for range len(data) + 1 {
			length, err := r.in.peek()
			if err != nil {
				return
			}
			if length > len(data) {
				return // room is made for what a message claims to be; the source is trusted so far
			}
			if _, err := r.message(); err == nil {
				read += length
			} else if errors.Is(err, io.EOF) {
				return
			}
			if read > len(data) {
				t.Fatalf("%d of %d bytes were read", read, len(data))
			}
		}
	})
}

// silent is a connection that takes everything.
type silent struct{ net.Conn }

func (silent) Write(b []byte) (int, error) { return len(b), nil }

type chunked struct {
	rest []byte
	size int
}

func (c *chunked) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.rest[:min(c.size, len(c.rest))])
	c.rest = c.rest[n:]
	return n, nil
}

// FuzzRows reads literals back as PostgreSQL does.
func FuzzRows(f *testing.F) {
	f.Add("", "plain", true)
	f.Add(`a "quoted" \ back`, `\`, false)
	f.Add(`"`, `,()`, false)
	f.Add("{}", "NULL", true)
	f.Fuzz(func(t *testing.T, a, b string, null bool) {
		r := relationOf(t, 3, 1)
		last := column{state: pglogrepl.TupleDataTypeNull}
		if !null {
			last = text("x")
		}
		rows := []tuple{{text(a), text(b), last}, {text(b), {state: pglogrepl.TupleDataTypeToast}, text(a)}}
		literal := string(r.appendRows(nil, rows, anyColumn))
		got, err := readRows(literal)
		if err != nil {
			t.Fatalf("%s: %v", literal, err)
		}
		for i, row := range rows {
			for j, position := range r.literal {
				want := row[position]
				if (got[i][j] == nil) != (want.state != pglogrepl.TupleDataTypeText) || got[i][j] != nil && *got[i][j] != string(want.text) {
					t.Fatalf("%s gives %v in row %d, column %d", literal, got[i][j], i, j)
				}
			}
		}
	})
}

func text(s string) column {
	return column{state: pglogrepl.TupleDataTypeText, text: []byte(s)}
}

// FuzzCopyRows reads rows back as COPY does.
func FuzzCopyRows(f *testing.F) {
	f.Add("", "plain", true)
	f.Add("a\tb\nc\rd\\", `\.`, false)
	f.Add(`\N`, `\\`, true)
	f.Fuzz(func(t *testing.T, a, b string, null bool) {
		last := column{state: pglogrepl.TupleDataTypeNull}
		if !null {
			last = text("x")
		}
		rows := []tuple{{text(a), text(b), last}, {text(b), last, text(a)}}
		sent := string(appendCopy(nil, rows))
		lines := strings.Split(sent, "\n")
		if len(lines) != len(rows)+1 || lines[len(rows)] != "" {
			t.Fatalf("%q is not of %d lines", sent, len(rows))
		}
		for i, row := range rows {
			fields := strings.Split(lines[i], "\t")
			if len(fields) != len(row) {
				t.Fatalf("%q is not of %d columns", lines[i], len(row))
			}
			for j, field := range fields {
				if (field == `\N`) != (row[j].state == pglogrepl.TupleDataTypeNull) {
					t.Fatalf("%q is NULL or not", field)
				}
				if field != `\N` && readCopy(field) != string(row[j].text) {
					t.Fatalf("%q is read as %q", field, readCopy(field))
				}
			}
		}
	})
}

// readCopy takes the backslashes of a field as CopyReadAttributesText does.
func readCopy(field string) string {
	var value strings.Builder
	for i := 0; i < len(field); i++ {
		c := field[i]
		if c == '\\' && i+1 < len(field) {
			i++
			c = field[i]
			if at := strings.IndexByte("bfnrtv", c); at >= 0 {
				c = "\b\f\n\r\t\v"[at]
			}
		}
		value.WriteByte(c)
	}
	return value.String()
}

// readRows reads a literal of an array of rows by the rules of PostgreSQL's array_in and record_in.
func readRows(literal string) (rows [][]*string, err error) {
	if len(literal) < 2 || literal[0] != '{' || literal[len(literal)-1] != '}' {
		return nil, errors.New("no braces")
	}
	inner := literal[1 : len(literal)-1]
	for inner != "" {
		if inner[0] != '"' {
			return nil, fmt.Errorf("no quote at %q", inner)
		}
		var element strings.Builder
		i := 1
		for ; i < len(inner) && inner[i] != '"'; i++ {
			if inner[i] == '\\' {
				i++
			}
			element.WriteByte(inner[i])
		}
		inner = strings.TrimPrefix(inner[i+1:], ",")
		row, err := readRow(element.String())
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func readRow(s string) (fields []*string, err error) {
	if s == "" || s[0] != '(' {
		return nil, fmt.Errorf("no parenthesis at %q", s)
	}
	i := 1
	for {
		if s[i] == ',' || s[i] == ')' {
			fields = append(fields, nil)
		} else {
			var field strings.Builder
			for quoted := false; quoted || s[i] != ',' && s[i] != ')'; i++ {
				switch {
				case s[i] == '\\':
					i++
					field.WriteByte(s[i])
				case s[i] != '"':
					field.WriteByte(s[i])
				case !quoted:
					quoted = true
				case s[i+1] == '"':
					i++
					field.WriteByte('"')
				default:
					quoted = false
				}
			}
			value := field.String()
			fields = append(fields, &value)
		}
		if s[i] == ')' {
			break
		}
		i++
	}
	if i != len(s)-1 {
		return nil, fmt.Errorf("something behind the row %q", s)
	}
	return fields, nil
}

// FuzzFold applies changes one by one to one copy of a table, and folded to another.
func FuzzFold(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3}, []byte{0, 0, 1, 0, 2, 0, 0, 0, 1, 8})
	f.Add([]byte{}, []byte{0, 0, 1, 9, 2, 0, 0, 3, 1, 17, 0, 5, 2, 5})
	f.Fuzz(func(t *testing.T, start, changes []byte) {
		const unchanged = "unchanged"
		want, got := map[byte][2]string{}, map[byte][2]string{}
		for i, key := range start {
			want[key%8] = [2]string{fmt.Sprint("start ", i), "large"}
		}
		maps.Copy(got, want)
		r := relationOf(t, 3, 1)
		fold := newFold(r)
		row := func(key byte, values [2]string) tuple {
			result := tuple{text(string('a' + rune(key))), text(values[0]), text(values[1])}
			if values[1] == unchanged {
				result[2] = column{state: pglogrepl.TupleDataTypeToast}
			}
			return result
		}
		for i := 0; i+1 < len(changes); i += 2 {
			key, variant := changes[i+1]%8, changes[i+1]/8
			old, exists := want[key]
			values := [2]string{fmt.Sprint("v", i), fmt.Sprint("large ", i)}
			var c *change
			switch changes[i] % 3 {
			case 0:
				if exists {
					continue
				}
				c = &change{message: pglogrepl.MessageTypeInsert, row: row(key, values)}
				want[key] = values
			case 1:
				if !exists {
					continue
				}
				c = &change{message: pglogrepl.MessageTypeUpdate}
				if variant%2 == 0 {
					c.row = row(key, [2]string{values[0], unchanged})
					values[1] = old[1]
				} else {
					c.row = row(key, values)
				}
				if variant%4 > 1 {
					c.old = row(key, old)
				}
				want[key] = values
			default:
				if !exists {
					continue
				}
				c = &change{message: pglogrepl.MessageTypeDelete, old: row(key, old)}
				delete(want, key)
			}
			if !fold.add(c) {
				t.Fatalf("change %d was not folded", i)
			}
		}
		deletes, updates, inserts := fold.changes()
		at := func(row tuple, there bool, what string) byte {
			key := row[0].text[0] - 'a'
			if _, exists := got[key]; exists != there {
				t.Fatalf("%s of key %d, which is there: %t", what, key, exists)
			}
			return key
		}
		for _, row := range deletes {
			delete(got, at(row, true, "DELETE"))
		}
		for _, m := range slices.Sorted(maps.Keys(updates)) {
			for _, row := range updates[m] {
				key := at(row, true, "UPDATE")
				values := got[key]
				for i := range values {
					if m[i+1] == '.' {
						values[i] = string(row[i+1].text)
					}
				}
				got[key] = values
			}
		}
		for _, row := range inserts {
			got[at(row, false, "INSERT")] = [2]string{string(row[1].text), string(row[2].text)}
		}
		if !maps.Equal(want, got) {
			t.Fatalf("one by one %v, folded %v", want, got)
		}
	})
}
