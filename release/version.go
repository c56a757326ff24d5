package main

import (
	"fmt"
	"regexp"
	"strings"
)

// semantic is the pattern that semver.org gives, behind the v of the tag.
var semantic = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?` +
	`(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`)

// version is a semantic version in the form of its tag.
type version string

func parseVersion(text string) (version, error) {
	if !semantic.MatchString(text) {
		return "", fmt.Errorf("the version %q is not semantic: it has to look like v1.2.3 or v1.2.3-rc.1", text)
	}
	return version(text), nil
}

// tag is the version with its v.
func (v version) tag() string { return string(v) }

// number is the version without the v.
func (v version) number() string { return strings.TrimPrefix(string(v), "v") }

// final tells whether the version is three numbers and nothing else.
func (v version) final() bool { return !strings.ContainsAny(string(v), "-+") }
