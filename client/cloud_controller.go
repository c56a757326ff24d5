package client

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// CloudController is the API of Cloud Foundry, as far as names have to be looked up. It may be used by several
// goroutines at once. Its errors are of type [*Error], or come from the source of the tokens.
type CloudController struct{ sender *sender }

// NewCloudController makes the API at an address. It sends nothing yet.
func NewCloudController(options Options) (*CloudController, error) {
	s, err := newSender(options)
	if err != nil {
		return nil, err
	}
	return &CloudController{s}, nil
}

// Resource is a service instance or a service key.
type Resource struct {
	GUID string `json:"guid"`
	Name string `json:"name"`
	Type string `json:"type"`
}

// mostResources is the largest page that the Cloud Controller gives.
const mostResources = "5000"

// ServiceInstances lists the service instances of a space: those of the given name, or all without one.
func (c *CloudController) ServiceInstances(ctx context.Context, spaceGUID, name string) ([]Resource, error) {
	return c.list(ctx, request{
		doing: "look up the service instances",
		path:  []string{"v3", "service_instances"},
		query: map[string]string{"space_guids": spaceGUID},
	}, name)
}

// ServiceKeys lists the keys of a service instance: those of the given name, or all without one.
func (c *CloudController) ServiceKeys(ctx context.Context, instanceGUID, name string) ([]Resource, error) {
	return c.list(ctx, request{
		doing: "look up the service keys",
		path:  []string{"v3", "service_credential_bindings"},
		query: map[string]string{"type": "key", "service_instance_guids": instanceGUID},
	}, name)
}

func (c *CloudController) list(ctx context.Context, r request, name string) ([]Resource, error) {
	type page struct {
		Resources []Resource `json:"resources"`
	}
	r.method, r.accept = http.MethodGet, []int{http.StatusOK}
	r.query["per_page"] = mostResources
	if name != "" {
		r.query["names"] = escapeName(name)
	}
	answer, err := read(ctx, c.sender, r, func(p page) string {
		if p.Resources == nil {
			return "resources are missing"
		}
		return ""
	})
	return answer.Resources, err
}

// escapeName escapes a name in a list of names, where a comma separates two. The query escapes it once more.
func escapeName(name string) string {
	return strings.ReplaceAll(url.PathEscape(name), "+", "%2B")
}
