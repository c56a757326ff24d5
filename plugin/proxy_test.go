package plugin_test

import (
	"bytes"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cf-pg-migrate/cf-pg-migrate/client/clienttest"
)

// TestProxyAndOwnCA reaches an API that only a proxy can reach, and that only a CA of one's own has signed (trap P37).
func TestProxyAndOwnCA(t *testing.T) {
	api := clienttest.StartTLS()
	t.Cleanup(api.Close)
	api.On("GET /v1/replication", clienttest.Status("IN-SYNC"))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	proxy := newProxy(t, strings.TrimPrefix(api.URL, "https://"))
	run := homeOf(t, api)
	do := func(env string, args ...string) (string, error) {
		command := run(append([]string{"pg-migrate"}, args...)...)
		command.Env = append(command.Env, "PG_MIGRATE_API=", "HTTPS_PROXY="+env, "https_proxy=", "NO_PROXY=", "no_proxy=")
		var text bytes.Buffer
		command.Stdout, command.Stderr = &text, &text
		err := command.Run()
		return text.String(), err
	}
	// The certificate of httptest is good for example.com.
	if text, err := do("", "api", "https://example.com", "--ca-cert", ca); err != nil {
		t.Fatal(text)
	}
	if text, err := do(proxy.URL, "replication"); err != nil || !strings.HasSuffix(strings.Split(text, "\n\n")[0], "IN-SYNC") {
		t.Errorf("%v\n%s", err, text)
	}
	if got := proxy.hosts(); len(got) != 1 || got[0] != "example.com:443" {
		t.Errorf("the proxy was asked for %v", got)
	}
	if text, err := do("", "api", "https://example.com"); err != nil {
		t.Fatal(text)
	}
	if text, err := do(proxy.URL, "replication"); err == nil || !strings.Contains(text, "--ca-cert FILE") {
		t.Errorf("trusts a stranger: %v\n%s", err, text)
	}
}

// proxy tunnels every host to one address.
type proxy struct {
	*httptest.Server

	mu    sync.Mutex // guards asked
	asked []string
}

func (p *proxy) hosts() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.asked...)
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	p := &proxy{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
			return
		}
		p.mu.Lock()
		p.asked = append(p.asked, r.Host)
		p.mu.Unlock()
		server, err := net.Dial("tcp", to)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer server.Close()
		w.WriteHeader(http.StatusOK)
		plugin, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer plugin.Close()
		go func() { _, _ = io.Copy(server, plugin); _ = server.Close() }()
		_, _ = io.Copy(plugin, server)
	}))
	t.Cleanup(p.Close)
	return p
}
