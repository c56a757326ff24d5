package client

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/go-resty/resty/v2"
)

// longestText is the most characters that a message takes from an answer that is not JSON.
const longestText = 300

// contentType is the media type of an answer, or words for its absence.
func contentType(response *resty.Response) string {
	media, _, err := mime.ParseMediaType(response.Header().Get("Content-Type"))
	if err != nil || media == "" {
		return "no content type"
	}
	return media
}

func isJSON(response *resty.Response) bool {
	media := contentType(response)
	return media == "application/json" || strings.HasSuffix(media, "+json")
}

func looksLikeHTML(response *resty.Response) bool {
	return strings.Contains(contentType(response), "html") ||
		strings.HasPrefix(http.DetectContentType(response.Body()), "text/html")
}

// explain takes the code, the request's id and the text from the body of an error: problem details of the migration
// API, errors of the Cloud Controller or of UAA, or a short plain text. The text is empty if there is none.
func (e *Error) explain(response *resty.Response) string {
	var body struct {
		Title     string `json:"title"`
		Detail    string `json:"detail"`
		Code      any    `json:"code"` // other services put numbers there
		RequestID string `json:"request_id"`

		Errors []struct {
			Title  string `json:"title"`
			Detail string `json:"detail"`
		} `json:"errors"`

		Error       any    `json:"error"`
		Description string `json:"error_description"`
		Message     string `json:"message"`
	}
	if json.Unmarshal(response.Body(), &body) != nil {
		return plainText(response)
	}
	if code, ok := body.Code.(string); ok {
		e.Code = code
	}
	if body.RequestID != "" {
		e.RequestID = body.RequestID
	}
	candidates := []string{body.Detail, body.Title}
	for _, one := range body.Errors {
		candidates = append(candidates, one.Detail, one.Title)
	}
	candidates = append(candidates, body.Description, body.Message)
	if text, ok := body.Error.(string); ok {
		candidates = append(candidates, text)
	}
	for _, text := range candidates {
		if text = strings.TrimSpace(text); text != "" {
			return text
		}
	}
	return ""
}

// plainText is the beginning of a body that is meant to be read; empty for anything else.
func plainText(response *resty.Response) string {
	text := strings.TrimSpace(string(response.Body()))
	if !strings.HasPrefix(contentType(response), "text/plain") || looksLikeHTML(response) || !utf8.ValidString(text) {
		return ""
	}
	if runes := []rune(text); len(runes) > longestText {
		return string(runes[:longestText]) + "..."
	}
	return text
}

// decode reads a JSON answer. check tells what is wrong with it, or gives the empty text.
func decode[T any](r request, body []byte, check func(T) string) (T, error) {
	var value T
	var wrong string
	if len(body) == 0 {
		wrong = "it is empty"
	} else if err := json.Unmarshal(body, &value); err != nil {
		wrong = err.Error()
	} else {
		wrong = check(value)
	}
	if wrong != "" {
		return value, &Error{
			Kind: BadResponse, Doing: r.doing, Status: http.StatusOK,
			Message: "the answer is not what was expected: " + wrong,
		}
	}
	return value, nil
}

// read sends a request and decodes the JSON that it is answered with.
func read[T any](ctx context.Context, s *sender, r request, check func(T) string) (T, error) {
	r.json = true
	body, err := s.send(ctx, r)
	if err != nil {
		var none T
		return none, err
	}
	return decode(r, body, check)
}
