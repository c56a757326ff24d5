// Package preflight checks both databases for what would hinder a migration: one file of SQL and one text for each check.
package preflight

// Severity says whether a finding keeps the replication from starting.
type Severity string

// The severities.
const (
	Critical Severity = "critical"
	Warning  Severity = "warning"
)

// Side is the database that a finding belongs to.
type Side string

// The sides.
const (
	Source Side = "source"
	Target Side = "target"
)

// Finding is one check that did not pass.
type Finding struct {
	ID       string   `json:"id"` // for instance S19
	Side     Side     `json:"side"`
	Severity Severity `json:"severity"`
	Text     string   `json:"text"`            // one line for the user, without a secret
	Count    int64    `json:"count,omitempty"` // of the objects concerned
	Names    []string `json:"names,omitempty"` // of the objects concerned, 10 at most
	Hint     string   `json:"hint,omitempty"`  // what the user can do
}

// Report is the outcome of a preflight check, in the order of the checks.
type Report struct {
	Findings []Finding `json:"findings"`
	// Offline are the reasons for which the source cannot replicate, so that everything is copied during the finalization.
	// None: it can, or it may not be done without.
	Offline []string `json:"offline,omitempty"`
}

// Texts gives the texts of one side's findings of one severity, never nil.
func (r Report) Texts(side Side, severity Severity) []string {
	texts := []string{}
	for _, f := range r.Findings {
		if f.Side == side && f.Severity == severity {
			texts = append(texts, f.Text)
		}
	}
	return texts
}

// Critical says whether any finding is critical.
func (r Report) Critical() bool {
	for _, f := range r.Findings {
		if f.Severity == Critical {
			return true
		}
	}
	return false
}
