package ui

import (
	"fmt"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
)

// Preflight prints the issues of both databases on Out.
func (s *Streams) Preflight(m api.Instances, check api.PreflightCheck) {
	s.issues("source database "+m.SourceServiceInstanceName, check.SourceDatabaseIssues)
	fmt.Fprintln(s.Out)
	s.issues("target database "+m.TargetServiceInstanceName, check.TargetDatabaseIssues)
}

func (s *Streams) issues(title string, issues api.DatabaseIssues) {
	style := s.OutStyle()
	fmt.Fprintln(s.Out, style.Heading(cleanName(title)))
	s.list("  ", "critical", issues.Critical)
	s.list("  ", "warning ", issues.Warning)
	if len(issues.Critical)+len(issues.Warning) == 0 {
		fmt.Fprintln(s.Out, "  "+style.Good("no issues"))
	}
}
