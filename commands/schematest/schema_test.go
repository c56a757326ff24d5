package schematest_test

import (
	"testing"

	"github.com/cf-pg-migrate/cf-pg-migrate/commands/schematest"
)

const path = "../../docs/json.md"

func TestValidate(t *testing.T) {
	const target = `"target": {"api": "", "org": "o", "space": "s", "source_service_instance_name": "a", "source_service_key_name": "b",
		"target_service_instance_name": "c", "target_service_key_name": "d"}`
	for document, valid := range map[string]bool{
		`{"command": "version", "version": "1.2.3"}`:                                         true,
		`{"command": "replication", ` + target + `, "status": "RUNNING"}`:                    true,
		`{"command": "nonsense", "error": {"code": "USAGE", "message": "no"}}`:               true,
		`{"command": "nonsense"}`:                                                            false,
		`{"command": "replication", "status": "RUNNING"}`:                                    false,
		`{"command": "replication", ` + target + `}`:                                         false,
		`{"command": "replication", ` + target + `, "status": "RUNNING", "deleted": true}`:   false,
		`{"command": "replication", ` + target + `, "status": "RUNNING", "more": 1}`:         false,
		`{"command": "delete-replication", ` + target + `}`:                                  false,
		`{"command": "preflight-check", ` + target + `, "ready": true}`:                      false,
		`{"command": "tables", ` + target + `, "status": "RUNNING", "progress": {}}`:         false,
		`{"command": "version", "version": "v1"}`:                                            false,
		`{"command": "version", "version": "1.2.3"} {"command": "version"}`:                  false,
		`{"command": "version", "version": "1.2.3"`:                                          false,
		`{"command": "nonsense", "error": {"code": "NEW", "message": "no"}}`:                 false,
		`{"command": "nonsense", "error": {"code": "USAGE", "message": "no", "because": 1}}`: false,
	} {
		if err := schematest.Validate(path, []byte(document)); (err == nil) != valid {
			t.Errorf("%s: %v", document, err)
		}
	}
	if err := schematest.Validate("schema.go", nil); err == nil {
		t.Error("found a schema in Go")
	}
}
