package ui

// Style sets words off by colour, or leaves them as they are.
type Style struct{ color bool }

// Name is for what has a name: instances, orgs, users.
func (s Style) Name(text string) string { return s.paint("1;36", text) }

// Good is for what went well.
func (s Style) Good(text string) string { return s.paint("1;32", text) }

// Bad is for what failed.
func (s Style) Bad(text string) string { return s.paint("1;31", text) }

// Attention is for what wants to be read.
func (s Style) Attention(text string) string { return s.paint("1;33", text) }

// Heading is for headings.
func (s Style) Heading(text string) string { return s.paint("1", text) }

// Status colours a status by what it means.
func (s Style) Status(status string) string {
	switch status {
	case "IN-SYNC", "COMPLETED":
		return s.Good(status)
	case "FAILED":
		return s.Bad(status)
	default:
		return s.Heading(status)
	}
}

func (s Style) paint(code, text string) string {
	if !s.color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
