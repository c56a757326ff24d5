package schema

// When says at which point of a migration an entry that comes after the data is created.
type When int

// The points.
const (
	Indexes     When = iota // after the copy, in any order and several at once
	Attachments             // after all indexes, in the order of the dump
	Opening                 // in the finalization, in the order of the dump: it would act on rows that are applied one by one
)

// When gives the point for e. What is not known to be harmless waits for the opening.
func (e Entry) When() When {
	switch e.Kind {
	case "INDEX", "CONSTRAINT":
		return Indexes
	case "INDEX ATTACH", "STATISTICS":
		return Attachments
	default:
		return Opening
	}
}
