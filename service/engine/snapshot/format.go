package snapshot

import (
	"fmt"
	"slices"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
)

// binaryTypes are the built-in types whose binary form is the same in all supported versions and does not depend on
// object identifiers or settings of one server. Types of users are left to the text form, which every type has: on targets
// before 14 arrays of them are refused in binary ("wrong element type").
var binaryTypes = []uint32{
	16,   // boolean
	17,   // bytea
	18,   // "char"
	19,   // name
	20,   // bigint
	21,   // smallint
	23,   // integer
	25,   // text
	26,   // oid
	114,  // json
	600,  // point
	601,  // lseg
	602,  // path
	603,  // box
	604,  // polygon
	628,  // line
	650,  // cidr
	700,  // real
	701,  // double precision
	718,  // circle
	774,  // macaddr8
	829,  // macaddr
	869,  // inet
	1042, // character
	1043, // character varying
	1082, // date
	1083, // time
	1114, // timestamp
	1184, // timestamptz
	1186, // interval
	1266, // timetz
	1560, // bit
	1562, // bit varying
	1700, // numeric
	2950, // uuid
	3802, // jsonb

	1000, // boolean[]
	1001, // bytea[]
	1005, // smallint[]
	1007, // integer[]
	1009, // text[]
	1014, // character[]
	1015, // character varying[]
	1016, // bigint[]
	1021, // real[]
	1022, // double precision[]
	1115, // timestamp[]
	1182, // date[]
	1185, // timestamptz[]
	1231, // numeric[]
	2951, // uuid[]
	3807, // jsonb[]

	3904, // int4range
	3906, // numrange
	3908, // tsrange
	3910, // tstzrange
	3912, // daterange
	3926, // int8range
}

const characterType = 1042

// inBinary tells whether all columns of a table can be carried in binary, which spares both servers the conversion.
func inBinary(t catalog.Table) bool {
	columns := t.Writable()
	return len(columns) > 0 && !slices.ContainsFunc(columns, func(c catalog.Column) bool {
		return !slices.Contains(binaryTypes, c.BaseTypeOID)
	})
}

// trimsBytes is the first version that takes bytes off the end of a bytea. A cast to text would take the blanks off too, but needs
// ten times as long as PostgreSQL looks for the characters first.
const trimsBytes = 14

// padded tells whether the values of a column end with blanks that need not be carried, because each is stored with exactly as
// many characters as the type has, and the target fills it up again (PostgreSQL manual, Character Types). They cost the target
// most where a column holds little else; a short column gains nothing.
func padded(c catalog.Column) bool {
	var length int
	_, err := fmt.Sscanf(c.Type, "character(%d)", &length) // without a length the type is called bpchar, and keeps its blanks
	return err == nil && c.TypeOID == characterType && length > 8
}
