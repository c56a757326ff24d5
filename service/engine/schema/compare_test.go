package schema

import (
	"reflect"
	"testing"
)

func TestCompare(t *testing.T) {
	entry := func(kind, name, statements string) Entry { return Entry{kind, "s", name, statements} }
	earlier := []Entry{
		entry("VIEW", "same", "1"), entry("VIEW", "changed", "1"), entry("VIEW", "gone", "1"), entry("INDEX", "same", "1"),
		entry("CAST", "two of a name", "1"), entry("CAST", "two of a name", "2"), entry("VIEW", "gone, too", "1"),
	}
	later := []Entry{
		entry("VIEW", "new", "1"), entry("CAST", "two of a name", "2"), entry("CAST", "two of a name", "3"), entry("VIEW", "same", "1"),
		entry("VIEW", "changed", "2"), entry("INDEX", "same", "1"), entry("TABLE", "same", "1"),
	}
	got := Compare(earlier, later)
	want := Difference{
		Added:   []Entry{later[0], later[6]},
		Changed: []Entry{later[2], later[4]},
		Removed: []Entry{earlier[6], earlier[2]},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestWaysToChangeAnObject(t *testing.T) {
	for _, test := range []struct {
		entry           Entry
		replacing, drop string
	}{
		{Entry{"VIEW", "s", `o"dd`, "CREATE VIEW s.x AS SELECT 1"}, "CREATE OR REPLACE VIEW s.x AS SELECT 1", `DROP VIEW IF EXISTS "s"."o""dd"`},
		{Entry{"FUNCTION", "s", "f(integer)", "CREATE FUNCTION s.f(n integer) …"}, "CREATE OR REPLACE FUNCTION s.f(n integer) …", ""},
		{Entry{"INDEX", "s", "i", "CREATE INDEX …"}, "", `DROP INDEX IF EXISTS "s"."i"`},
		{Entry{"COMMENT", "s", "TABLE t", "COMMENT ON TABLE s.t IS 'it is IS ''it'''"}, "COMMENT ON TABLE s.t IS 'it is IS ''it'''", "COMMENT ON TABLE s.t IS NULL"},
		{Entry{"TABLE", "s", "t", "CREATE TABLE …"}, "", ""},
	} {
		if got := test.entry.Replacing(); got != test.replacing {
			t.Errorf("replacing %s: %s", test.entry, got)
		}
		if got := test.entry.Drop(); got != test.drop {
			t.Errorf("dropping %s: %s", test.entry, got)
		}
	}
}
