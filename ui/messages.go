package ui

import (
	"fmt"
	"strings"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
)

// Banner writes what is about to be done, as cf does: "Getting replication status from SOURCE to TARGET in org O /
// space S as U...".
func (s *Streams) Banner(doing string, m api.Instances, user string) {
	style := s.ErrStyle()
	name := func(text string) string { return style.Name(cleanName(text)) }
	text := fmt.Sprintf("%s from %s to %s in org %s / space %s",
		doing, name(m.SourceServiceInstanceName), name(m.TargetServiceInstanceName), name(m.Org), name(m.Space))
	if user != "" { // cf cannot read some names out of the token
		text += " as " + name(user)
	}
	fmt.Fprintln(s.Err, text+"...")
}

// OK says on Err that what the banner announced is done.
func (s *Streams) OK() { fmt.Fprintln(s.Err, s.ErrStyle().Good("OK")) }

// Note writes a line on Err.
func (s *Streams) Note(format string, values ...any) {
	for _, line := range wrap(fmt.Sprintf(format, values...), s.ErrWidth()) {
		fmt.Fprintln(s.Err, line)
	}
}

// Next says on Err what to do now. Commands stand in the text as they are typed, and are never broken.
func (s *Streams) Next(format string, values ...any) {
	fmt.Fprintln(s.Err, "\n"+s.ErrStyle().Heading("Next: ")+fmt.Sprintf(format, values...))
}

// Failed writes an error on Err as cf does, with what to do about it.
func (s *Streams) Failed(message, hint string) {
	fmt.Fprintln(s.Err, s.ErrStyle().Bad("FAILED"))
	for _, line := range wrap(Clean(message), s.ErrWidth()) {
		fmt.Fprintln(s.Err, line)
	}
	if hint = strings.TrimSpace(hint); hint != "" {
		fmt.Fprintln(s.Err, Clean(hint))
	}
}

// pairs writes "key:   value" lines with the values below each other; pairs without a value are left out. Long values
// wrap.
func (s *Streams) pairs(list [][2]string) {
	widest := 0
	for _, pair := range list {
		if pair[1] != "" {
			widest = max(widest, len(pair[0])+1)
		}
	}
	room := s.OutWidth()
	if room > 0 {
		room = max(room-widest-len(gap), 20)
	}
	for _, pair := range list {
		if pair[1] == "" {
			continue
		}
		key := pair[0] + ":"
		for _, line := range wrap(pair[1], room) {
			fmt.Fprintf(s.Out, "%-*s%s%s\n", widest, key, gap, line)
			key = ""
		}
	}
}

// list writes texts as a list on Out.
func (s *Streams) list(indent string, sign string, texts []string) {
	room := s.OutWidth()
	if room > 0 {
		room = max(room-len(indent)-len(sign)-1, 20)
	}
	for _, text := range texts {
		before := sign
		for _, line := range wrap(Clean(text), room) {
			fmt.Fprintf(s.Out, "%s%-*s %s\n", indent, len(sign), before, line)
			before = ""
		}
	}
}

// Target prints the saved target on Out. migrationAPI is empty where it is not known.
func (s *Streams) Target(m api.Instances, cfAPI, migrationAPI string) {
	style := s.OutStyle()
	name := func(text string) string { return style.Name(cleanName(text)) }
	s.pairs([][2]string{
		{"source", name(m.SourceServiceInstanceName) + " with key " + name(m.SourceServiceKeyName)},
		{"target", name(m.TargetServiceInstanceName) + " with key " + name(m.TargetServiceKeyName)},
		{"org", name(m.Org)},
		{"space", name(m.Space)},
		{"cf api", cfAPI},
		{"api", migrationAPI},
	})
}

// API prints the address of the migration API on Out, and where it comes from.
func (s *Streams) API(url, origin string, skipSSLValidation bool, caCert string) {
	certificates := ""
	if skipSSLValidation {
		certificates = s.OutStyle().Attention("not checked")
	}
	s.pairs([][2]string{
		{"api", url},
		{"origin", origin},
		{"certificates", certificates},
		{"ca file", caCert},
	})
}
