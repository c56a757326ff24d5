// Package api holds the contract of the PostgreSQL Migration REST API: the OpenAPI document and the Go types that are
// generated from it. It is all that the plugin and the service share.
package api

import _ "embed" // for Contract

// Contract is the OpenAPI 3.1 document, YAML in UTF-8, as the service serves it.
//
//go:embed openapi.yaml
var Contract []byte

//go:generate go run -modfile=../tools/go.mod github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen -config oapi-codegen.yaml openapi.yaml
