package commands

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
)

// Document is what --json prints. Fields that a command has nothing to say about are left out.
type Document struct {
	Command string          `json:"command"`
	Target  *TargetDocument `json:"target,omitempty"`

	// Status is that of the replication or the finalization.
	Status string `json:"status,omitempty"`

	// Progress is what the service tells beyond the status, as it tells it.
	Progress any `json:"progress,omitempty"`

	// The preflight check.
	Ready                *bool               `json:"ready,omitempty"`
	SourceDatabaseIssues *api.DatabaseIssues `json:"sourceDatabaseIssues,omitempty"`
	TargetDatabaseIssues *api.DatabaseIssues `json:"targetDatabaseIssues,omitempty"`

	// Accepted tells that the service has taken on what was asked for.
	Accepted bool `json:"accepted,omitempty"`

	// Deleted tells whether what had to be deleted is gone.
	Deleted *bool `json:"deleted,omitempty"`

	// API is the address of the migration API.
	API *APIDocument `json:"api,omitempty"`

	Version  string            `json:"version,omitempty"`
	Commands []CommandDocument `json:"commands,omitempty"`

	Error *Failure `json:"error,omitempty"`
}

// TargetDocument is the migration that a command is about.
type TargetDocument struct {
	API string `json:"api"`
	api.Instances
}

// APIDocument is an address of the migration API and where it comes from.
type APIDocument struct {
	URL string `json:"url"`

	// Origin is environment, saved or derived.
	Origin            Origin `json:"origin"`
	SkipSSLValidation bool   `json:"skip_ssl_validation"`
	CACert            string `json:"ca_cert,omitempty"`
}

// CommandDocument is the help of a subcommand.
type CommandDocument struct {
	Name    string         `json:"name"`
	Usage   []string       `json:"usage"`
	Summary string         `json:"summary"`
	Flags   []FlagDocument `json:"flags"`
}

// FlagDocument is the help of a flag.
type FlagDocument struct {
	Name  string `json:"name"`
	Short string `json:"short,omitempty"`
	Value string `json:"value,omitempty"`
	Text  string `json:"text"`
}

// write prints the document.
func (d *Document) write(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(d); err != nil {
		return fmt.Errorf("writing the JSON document: %w", err)
	}
	return nil
}
