package schema

import "strings"

// When says at which point of a migration an entry is created.
type When int

// The points.
const (
	BeforeData  When = iota // in the order of the dump
	Statistics              // before the copy, because ANALYZE fills them after it
	Indexes                 // after the copy, in any order and several at once
	Attachments             // after all indexes, in the order of the dump
	Opening                 // in the finalization, in the order of the dump: it would act on rows that are applied one by one
)

// When gives the point for e, which comes after the data. What is not known to be harmless waits for the opening.
func (e Entry) When() When {
	switch e.Kind {
	case "CONSTRAINT":
		// One that is NOT NULL and NOT VALID (from 18 on) has no index, and rows of before it may break it.
		if strings.HasSuffix(e.Statements, " NOT VALID;") {
			return Opening
		}
		return Indexes
	case "INDEX":
		return Indexes
	case "INDEX ATTACH":
		return Attachments
	case "STATISTICS":
		return Statistics
	default:
		return Opening
	}
}
