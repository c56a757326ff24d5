package rest_test

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
)

// contract checks answers against api/openapi.yaml.
type contract struct{ *openapi3.T }

func loadContract(t *testing.T) contract {
	t.Helper()
	document, err := openapi3.NewLoader().LoadFromData(api.Contract)
	if err != nil {
		t.Fatal(err)
	}
	if err := document.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return contract{document}
}

// check fails the test when the contract does not know such an answer to such a request.
func (c contract) check(t *testing.T, method, path string, answer *httptest.ResponseRecorder) {
	t.Helper()
	item := c.Paths.Find(strings.TrimPrefix(path, "/v1"))
	if item == nil || item.GetOperation(method) == nil {
		t.Fatalf("the contract has no %s %s", method, path)
	}
	responses := item.GetOperation(method).Responses
	response := responses.Status(answer.Code)
	if response == nil && answer.Code >= http.StatusBadRequest {
		response = responses.Default()
	}
	if response == nil {
		t.Fatalf("the contract has no answer %d to %s %s", answer.Code, method, path)
	}
	for name, header := range response.Value.Headers {
		if header.Value.Required && answer.Header().Get(name) == "" {
			t.Errorf("the header %s is missing", name)
		}
	}
	if response.Value.Content == nil {
		if answer.Body.Len() > 0 {
			t.Errorf("a body that the contract does not know: %s", answer.Body)
		}
		return
	}
	kind, _, err := mime.ParseMediaType(answer.Header().Get("Content-Type"))
	if err != nil {
		t.Fatalf("content type %q: %v", answer.Header().Get("Content-Type"), err)
	}
	content := response.Value.Content[kind]
	if content == nil {
		t.Fatalf("the contract has no content type %q in the answer %d to %s %s", kind, answer.Code, method, path)
	}
	if !strings.HasSuffix(kind, "json") {
		return
	}
	var body any
	decoder := json.NewDecoder(bytes.NewReader(answer.Body.Bytes()))
	decoder.UseNumber()
	if err := decoder.Decode(&body); err != nil {
		t.Fatalf("the answer is not JSON: %v\n%s", err, answer.Body)
	}
	if err := content.Schema.Value.VisitJSON(body, openapi3.EnableFormatValidation()); err != nil {
		t.Errorf("the answer does not keep the contract: %v\n%s", err, answer.Body)
	}
}
