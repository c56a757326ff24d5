package rest

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/cloudfoundry"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/migration"
)

// retryAfter is what a caller that comes too early is told to wait, in seconds.
const retryAfter = "5"

// writeError is the one place that maps errors to HTTP statuses.
func (s *server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	var (
		request     *requestError
		forbidden   *cloudfoundry.ForbiddenError
		nothing     *cloudfoundry.NotFoundError
		key         *cloudfoundry.UnusableKeyError
		unavailable *cloudfoundry.UnavailableError
		none        *migration.NotFoundError
		conflict    *migration.ConflictError
		busy        *migration.BusyError
	)
	switch {
	case errors.As(err, &request):
		if request.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		writeProblem(w, r, request.status, codes[request.status], request.text)
	case errors.As(err, &forbidden):
		writeProblem(w, r, http.StatusForbidden, "NOT_AUTHORIZED", forbidden.Text)
	case errors.As(err, &nothing):
		writeProblem(w, r, http.StatusNotFound, "NAME_NOT_FOUND", nothing.Text)
	case errors.As(err, &none):
		writeProblem(w, r, http.StatusNotFound, none.Code, none.Text)
	case errors.As(err, &key):
		writeProblem(w, r, http.StatusConflict, "UNUSABLE_KEY", key.Text)
	case errors.As(err, &conflict):
		writeProblem(w, r, http.StatusConflict, "CONFLICT", conflict.Text)
	case errors.As(err, &busy):
		w.Header().Set("Retry-After", retryAfter)
		writeProblem(w, r, http.StatusTooManyRequests, "BUSY", busy.Text)
	case errors.As(err, &unavailable):
		s.Log.Warn("the Cloud Controller cannot be asked", "request_id", requestID(r.Context()), "error", err)
		w.Header().Set("Retry-After", retryAfter)
		writeProblem(w, r, http.StatusServiceUnavailable, "UNAVAILABLE", "Cloud Foundry does not answer at this moment; try again in a few seconds")
	case r.Context().Err() != nil:
		// The caller is gone.
	default:
		s.Log.Error("request failed", "request_id", requestID(r.Context()), "error", err)
		w.Header().Set("Retry-After", retryAfter)
		writeProblem(w, r, http.StatusServiceUnavailable, "UNAVAILABLE", "The service cannot answer at this moment; try again in a few seconds, or give the operator the request id")
	}
}

// codes are those of requests that do not keep the contract.
var codes = map[int]string{
	http.StatusBadRequest:            "BAD_REQUEST",
	http.StatusUnauthorized:          "NOT_AUTHENTICATED",
	http.StatusRequestEntityTooLarge: "TOO_LARGE",
	http.StatusUnsupportedMediaType:  "UNSUPPORTED_MEDIA_TYPE",
}

// writeProblem answers with problem details (RFC 9457).
func writeProblem(w http.ResponseWriter, r *http.Request, status int, code, detail string) {
	write(w, status, "application/problem+json", api.Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Code: code, RequestId: requestID(r.Context()),
	})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	write(w, status, "application/json", body)
}

func write(w http.ResponseWriter, status int, contentType string, body any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller may be gone
}
