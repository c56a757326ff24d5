// Package schematest checks what --json prints against the JSON schema that is published for it.
package schematest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Validate checks a document against the schema that stands in a file of markdown, as its one block of json that
// begins with "$schema". More than one document is an error, too.
func Validate(path string, document []byte) error {
	schema, err := read(path)
	if err != nil {
		return fmt.Errorf("reading the schema in %s: %w", path, err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return fmt.Errorf("reading the document: %w", err)
	}
	return schema.Validate(value)
}

func read(path string) (*jsonschema.Schema, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	_, block, found := strings.Cut(string(text), "```json\n{\n  \"$schema\"")
	block, _, ended := strings.Cut(block, "```")
	if !found || !ended {
		return nil, errors.New("there is none")
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader("{\n  \"$schema\"" + block))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("schema.json", value); err != nil {
		return nil, err
	}
	return compiler.Compile("schema.json")
}
