package cloudfoundry_test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/cloudfoundry"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
)

const (
	goodToken = "good.token"
	password  = "hunter2-the-password"
)

var names = cloudfoundry.Names{
	Org: "acme", Space: "dev", SourceInstance: "db, old", SourceKey: "k1", TargetInstance: "db-new", TargetKey: "k2",
}

// controller is a Cloud Controller as far as the service asks it.
type controller struct {
	mu       sync.Mutex // guards what follows
	requests []string
	status   map[string]int // of the answers, by path
	hidden   bool           // details are hidden
	raw      string         // instead of any answer
	keys     map[string]any // what the keys hold, by GUID
}

func newController(t *testing.T) (*controller, *cloudfoundry.Client) {
	t.Helper()
	c := &controller{status: map[string]int{}, keys: map[string]any{
		"guid-k1": map[string]any{"uri": "postgres://u1:" + password + "@db1.example.com:5433/d1"},
		"guid-k2": map[string]any{"uri": "postgres://u2:" + password + "@db2.example.com/d2"},
	}}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	return c, cloudfoundry.New(server.URL+"/", false, cloudfoundry.TLSPolicy{Mode: database.TLSVerifyFull})
}

func (c *controller) asked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.requests)
}

func (c *controller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, r.Method+" "+r.URL.String())
	if c.raw != "" {
		_, _ = w.Write([]byte(c.raw))
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+goodToken {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if status := c.status[r.URL.Path]; status != 0 {
		w.WriteHeader(status)
		return
	}
	answer := func(body any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(body)
	}
	if guid, ok := strings.CutPrefix(r.URL.Path, "/v3/service_credential_bindings/"); ok {
		guid = strings.TrimSuffix(guid, "/details")
		if c.hidden {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		answer(map[string]any{"credentials": c.keys[guid]})
		return
	}
	// A list is filtered by names, which are split at commas and then decoded once more. Like a database whose
	// collation knows no case, this controller finds more than was asked for.
	want := map[string]string{
		"/v3/organizations": "acme", "/v3/spaces?guid-acme": "dev",
		"/v3/service_instances?guid-dev":                   "db, old;db-new",
		"/v3/service_credential_bindings?guid-db, old key": "k1", "/v3/service_credential_bindings?guid-db-new key": "k2",
	}
	q := r.URL.Query()
	place := r.URL.Path
	for _, filter := range []string{"organization_guids", "space_guids", "service_instance_guids"} {
		if value := q.Get(filter); value != "" {
			place += "?" + value
		}
	}
	if kind := q.Get("type"); kind != "" {
		place += " " + kind
	}
	resources := []map[string]string{}
	for name := range strings.SplitSeq(want[place], ";") {
		for part := range strings.SplitSeq(q.Get("names"), ",") {
			if decoded, err := url.QueryUnescape(part); err == nil && strings.EqualFold(decoded, name) {
				resources = append(resources, map[string]string{"guid": "guid-" + name, "name": name})
			}
		}
	}
	answer(map[string]any{"resources": resources})
}

func TestLook(t *testing.T) {
	t.Parallel()
	c, client := newController(t)
	access, err := client.Look(t.Context(), goodToken, names)
	if err != nil {
		t.Fatal(err)
	}
	want := database.Database{Host: "db1.example.com", Port: 5433, Name: "d1", User: "u1", Password: password, TLS: database.TLS{Mode: database.TLSVerifyFull}}
	if access.SourceGUID != "guid-db, old" || access.TargetGUID != "guid-db-new" || access.Source != want || access.Target.Port != 5432 || access.Target.User != "u2" {
		t.Errorf("source %s %v, target %s %v", access.SourceGUID, access.Source, access.TargetGUID, access.Target)
	}
	if c.asked() != 8 {
		t.Errorf("%d requests:\n%s", c.asked(), strings.Join(c.requests, "\n"))
	}
	for _, line := range c.requests {
		if !strings.HasPrefix(line, "GET ") {
			t.Errorf("%s changes something", line)
		}
	}
}

func TestTheAnswerIsKeptForItsCallerOnly(t *testing.T) {
	t.Parallel()
	c, client := newController(t)
	for range 3 {
		if _, err := client.Look(t.Context(), goodToken, names); err != nil {
			t.Fatal(err)
		}
	}
	if c.asked() != 8 {
		t.Errorf("%d requests for one answer", c.asked())
	}
	var forbidden *cloudfoundry.ForbiddenError
	if _, err := client.Look(t.Context(), "bad.token", names); !errors.As(err, &forbidden) {
		t.Errorf("another's token: %v", err)
	}
	other := names
	other.TargetKey = "k3"
	var missing *cloudfoundry.NotFoundError
	for range 2 { // an error is not kept
		before := c.asked()
		if _, err := client.Look(t.Context(), goodToken, other); !errors.As(err, &missing) || c.asked() == before {
			t.Errorf("another key: %v", err)
		}
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	for change, want := range map[*cloudfoundry.Names]string{
		{Org: "x"}:               `org "x"`,
		{Space: "x"}:             `space "x" in org "acme"`,
		{SourceInstance: "x"}:    `service instance "x" in space "dev"`,
		{TargetInstance: "x"}:    `service instance "x" in space "dev"`,
		{SourceKey: "x"}:         `service key "x" of service instance "db, old"`,
		{TargetKey: "x"}:         `service key "x" of service instance "db-new"`,
		{TargetKey: "K2"}:        `service key "K2" of`, // the case counts
		{Org: "acme,other"}:      `org "acme,other"`,    // a comma is part of the name
		{Org: "%61cme"}:          `org "%61cme"`,        // and so is an escape
		{TargetInstance: "db,x"}: `service instance "db,x"`,
	} {
		asked := names
		for _, field := range []struct{ to, from *string }{
			{&asked.Org, &change.Org},
			{&asked.Space, &change.Space},
			{&asked.SourceInstance, &change.SourceInstance},
			{&asked.TargetInstance, &change.TargetInstance},
			{&asked.SourceKey, &change.SourceKey},
			{&asked.TargetKey, &change.TargetKey},
		} {
			if *field.from != "" {
				*field.to = *field.from
			}
		}
		_, client := newController(t)
		_, err := client.Look(t.Context(), goodToken, asked)
		var missing *cloudfoundry.NotFoundError
		if !errors.As(err, &missing) || !strings.Contains(missing.Text, want) {
			t.Errorf("%+v: %v", *change, err)
		}
	}
}

func TestWhatTheControllerRefuses(t *testing.T) {
	t.Parallel()
	forbidden := func(err error) bool { return errors.As(err, new(*cloudfoundry.ForbiddenError)) }
	unavailable := func(err error) bool { return errors.As(err, new(*cloudfoundry.UnavailableError)) }
	for name, c := range map[string]struct {
		token  string
		change func(*controller)
		want   func(error) bool
		text   string
	}{
		"token":          {"old.token", func(*controller) {}, forbidden, "cf oauth-token"},
		"details hidden": {goodToken, func(c *controller) { c.hidden = true }, forbidden, "Space Developer"},
		"forbidden":      {goodToken, func(c *controller) { c.status["/v3/spaces"] = 403 }, forbidden, "space"},
		"broken":         {goodToken, func(c *controller) { c.status["/v3/organizations"] = 500 }, unavailable, "500"},
		"overloaded":     {goodToken, func(c *controller) { c.status["/v3/organizations"] = 429 }, unavailable, "429"},
		"gateway":        {goodToken, func(c *controller) { c.status["/v3/service_instances"] = 502 }, unavailable, "502"},
		"redirected":     {goodToken, func(c *controller) { c.status["/v3/organizations"] = 302 }, unavailable, ""},
		"no JSON":        {goodToken, func(c *controller) { c.raw = "<html>" + password }, unavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			controller, client := newController(t)
			c.change(controller)
			_, err := client.Look(t.Context(), c.token, names)
			if !c.want(err) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%T: %v", err, err)
			}
			if err != nil && (strings.Contains(err.Error(), password) || strings.Contains(err.Error(), c.token)) {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

func TestAControllerThatIsNotThere(t *testing.T) {
	t.Parallel()
	client := cloudfoundry.New("http://127.0.0.1:1", false, cloudfoundry.TLSPolicy{})
	var unavailable *cloudfoundry.UnavailableError
	if _, err := client.Look(t.Context(), goodToken, names); !errors.As(err, &unavailable) {
		t.Errorf("%v", err)
	}
}

func TestTheControllersCertificateIsChecked(t *testing.T) {
	t.Parallel()
	c := &controller{status: map[string]int{"/v3/organizations": http.StatusUnauthorized}}
	server := httptest.NewTLSServer(c)
	t.Cleanup(server.Close)
	server.Config.ErrorLog = nil
	var (
		unavailable *cloudfoundry.UnavailableError
		forbidden   *cloudfoundry.ForbiddenError
	)
	if _, err := cloudfoundry.New(server.URL, false, cloudfoundry.TLSPolicy{}).Look(t.Context(), goodToken, names); !errors.As(err, &unavailable) || c.asked() > 0 {
		t.Errorf("an unknown certificate: %v", err)
	}
	if _, err := cloudfoundry.New(server.URL, true, cloudfoundry.TLSPolicy{}).Look(t.Context(), goodToken, names); !errors.As(err, &forbidden) {
		t.Errorf("without checks: %v", err)
	}
}

func certificate(t *testing.T) string {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

func TestShapesOfCredentials(t *testing.T) {
	t.Parallel()
	ca := certificate(t)
	const uri = "postgres://us%20er:p%40ss%2Fword@uri.example.com:6432/da%20ta?sslmode=require"
	for name, c := range map[string]struct {
		credentials map[string]any
		want        database.Database // Roots apart
	}{
		"uri": {
			map[string]any{"uri": uri},
			database.Database{Host: "uri.example.com", Port: 6432, Name: "da ta", User: "us er", Password: "p@ss/word"},
		},
		"fields": {
			map[string]any{"hostname": "h", "port": "6000", "dbname": "d", "username": "u", "password": "p"},
			database.Database{Host: "h", Port: 6000, Name: "d", User: "u", Password: "p"},
		},
		"other fields, port as number": {
			map[string]any{"host": "h", "port": 6000, "database": "d", "user": "u", "password": "p", "jdbcUrl": "jdbc:postgresql://x"},
			database.Database{Host: "h", Port: 6000, Name: "d", User: "u", Password: "p"},
		},
		"no port": {
			map[string]any{"host": "h", "database": "d", "user": "u", "password": "p"},
			database.Database{Host: "h", Port: 5432, Name: "d", User: "u", Password: "p"},
		},
		"url of the other scheme, IPv6": {
			map[string]any{"url": "postgresql://u:p@[::1]:6000/d"},
			database.Database{Host: "::1", Port: 6000, Name: "d", User: "u", Password: "p"},
		},
		"field before uri": {
			map[string]any{"uri": "postgres://a:b@c:1/d", "username": "u", "password": "p"},
			database.Database{Host: "c", Port: 1, Name: "d", User: "u", Password: "p"},
		},
		"name is the instance's, not the database's": {
			map[string]any{"uri": "postgres://u:p@h:1/d", "name": "my-instance"},
			database.Database{Host: "h", Port: 1, Name: "d", User: "u", Password: "p"},
		},
		"certificate authority": {
			map[string]any{"uri": "postgres://u:p@h:1/d", "sslrootcert": ca},
			database.Database{Host: "h", Port: 1, Name: "d", User: "u", Password: "p", TLS: database.TLS{Mode: database.TLSVerifyFull, RootsPEM: ca}},
		},
		"plain on loopback": {
			map[string]any{"uri": "postgres://u:p@127.0.0.1:1/d?sslmode=disable"},
			database.Database{Host: "127.0.0.1", Port: 1, Name: "d", User: "u", Password: "p", TLS: database.TLS{Mode: database.TLSDisable}},
		},
		"plain elsewhere is not taken over": {
			map[string]any{"uri": "postgres://u:p@h:1/d?sslmode=disable"},
			database.Database{Host: "h", Port: 1, Name: "d", User: "u", Password: "p"},
		},
		"sslmode as a field": {
			map[string]any{"host": "localhost", "port": 1, "database": "d", "user": "u", "password": "p", "sslmode": "disable"},
			database.Database{Host: "localhost", Port: 1, Name: "d", User: "u", Password: "p", TLS: database.TLS{Mode: database.TLSDisable}},
		},
		"the key asks for more than the operator": {
			map[string]any{"uri": "postgres://u:p@h:1/d?sslmode=verify-full"},
			database.Database{Host: "h", Port: 1, Name: "d", User: "u", Password: "p", TLS: database.TLS{Mode: database.TLSVerifyFull}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := &controller{status: map[string]int{}, keys: map[string]any{"guid-k1": c.credentials, "guid-k2": c.credentials}}
			server := httptest.NewServer(fake)
			t.Cleanup(server.Close)
			client := cloudfoundry.New(server.URL, false, cloudfoundry.TLSPolicy{Mode: database.TLSRequire})
			access, err := client.Look(t.Context(), goodToken, names)
			if err != nil {
				t.Fatal(err)
			}
			if c.want.TLS.Mode == "" {
				c.want.TLS.Mode = database.TLSRequire
			}
			got := access.Source
			if (got.TLS.Roots != nil) != (c.want.TLS.RootsPEM != "") {
				t.Error("the certificate authority is not what checks")
			}
			got.TLS.Roots = nil
			if got != c.want {
				t.Errorf("%s:%d %s %s %+v instead of %s:%d %s %s %+v", got.Host, got.Port, got.Name, got.User, got.TLS, c.want.Host, c.want.Port, c.want.Name, c.want.User, c.want.TLS)
			}
			if got.Password != c.want.Password {
				t.Error("another password")
			}
		})
	}
}

func TestKeysThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	whole := func() map[string]any {
		return map[string]any{"hostname": "h", "port": 1, "dbname": "d", "username": "u", "password": password}
	}
	for what, change := range map[string]func(map[string]any){
		"hostname":              func(c map[string]any) { delete(c, "hostname") },
		"dbname":                func(c map[string]any) { c["dbname"] = "" },
		"username":              func(c map[string]any) { c["username"] = nil },
		"password":              func(c map[string]any) { delete(c, "password") },
		"port":                  func(c map[string]any) { c["port"] = password },
		"port ":                 func(c map[string]any) { c["port"] = 65536 },
		"port in":               func(c map[string]any) { c["port"] = 0 },
		"certificate authority": func(c map[string]any) { c["cacert"] = "-----BEGIN CERTIFICATE-----\n" + password },
	} {
		credentials := whole()
		change(credentials)
		fake, client := newController(t)
		fake.keys["guid-k2"] = credentials
		_, err := client.Look(t.Context(), goodToken, names)
		var unusable *cloudfoundry.UnusableKeyError
		if !errors.As(err, &unusable) || !strings.Contains(unusable.Text, strings.TrimSpace(what)) || !strings.Contains(unusable.Text, `service key "k2"`) {
			t.Errorf("%s: %v", what, err)
		}
		if strings.Contains(fmt.Sprint(err), password) {
			t.Errorf("%s: the error tells a secret: %v", what, err)
		}
	}
	fake, client := newController(t)
	fake.keys["guid-k2"] = nil
	var unusable *cloudfoundry.UnusableKeyError
	if _, err := client.Look(t.Context(), goodToken, names); !errors.As(err, &unusable) {
		t.Errorf("a key without credentials: %v", err)
	}
}

func TestCredentialsAreNotPrinted(t *testing.T) {
	t.Parallel()
	_, client := newController(t)
	access, err := client.Look(t.Context(), goodToken, names)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, access); strings.Contains(text, password) {
			t.Errorf("%s prints the password", format)
		}
	}
}
