package main

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the plugin index knows no other sum
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"code.cloudfoundry.org/cli/plugin"
	yaml "github.com/oasdiff/yaml3"
)

// entryFile is the name of the file with the entry.
const entryFile = "plugin-index-entry.yml"

// entry is what the plugin index says of a plugin. Here and below, the fields are in the order of the alphabet, which
// the index checks.
type entry struct {
	Authors     []author      `yaml:"authors"`
	Binaries    []indexBinary `yaml:"binaries"`
	Company     *string       `yaml:"company"`
	Created     time.Time     `yaml:"created"`
	Description string        `yaml:"description"`
	Homepage    string        `yaml:"homepage"`
	Name        string        `yaml:"name"`
	Updated     time.Time     `yaml:"updated"`
	Version     string        `yaml:"version"`
}

type author struct {
	Contact  *string `yaml:"contact"`
	Homepage string  `yaml:"homepage"`
	Name     string  `yaml:"name"`
}

type indexBinary struct {
	Checksum string `yaml:"checksum"` // SHA-1
	Platform string `yaml:"platform"`
	URL      string `yaml:"url"`
}

// newEntry gives the entry of a plugin whose binaries lie in the folder of the release. What the plugin tells cf of
// itself is what the index says of it.
func newEntry(metadata plugin.PluginMetadata, r *release) (*entry, error) {
	v := metadata.Version
	e := &entry{
		Authors:     []author{{Homepage: homepage, Name: "cf-pg-migrate contributors"}},
		Created:     r.date,
		Description: metadata.Commands[0].HelpText,
		Homepage:    homepage,
		Name:        metadata.Name,
		Updated:     r.date,
		Version:     fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Build),
	}
	for _, t := range append(slices.Clone(targets), universal) {
		if t.platform == "" {
			continue
		}
		name := t.file(r.version)
		address, err := url.JoinPath(r.base, name)
		if err != nil {
			return nil, fmt.Errorf("making the URL of %s: %w", name, err)
		}
		sum, err := sumFile(sha1.New(), filepath.Join(r.out, name)) //nolint:gosec // the plugin index knows no other sum
		if err != nil {
			return nil, err
		}
		e.Binaries = append(e.Binaries, indexBinary{Checksum: sum, Platform: t.platform, URL: address})
	}
	slices.SortFunc(e.Binaries, func(a, b indexBinary) int { return strings.Compare(a.Platform, b.Platform) })
	return e, nil
}

// write writes the entry as an element of the list that the index is.
func (e *entry) write(path string) error {
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode([]*entry{e}); err != nil {
		return fmt.Errorf("writing the entry for the plugin index: %w", err)
	}
	if err := encoder.Close(); err != nil {
		return fmt.Errorf("writing the entry for the plugin index: %w", err)
	}
	if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the entry for the plugin index: %w", err)
	}
	return nil
}
