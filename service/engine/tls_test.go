package engine_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
)

// certificate makes a certificate for 127.0.0.1 and gives it in PEM, with the paths of it and its key as the server reads them.
func certificate(t *testing.T) (text, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	folder, err := os.MkdirTemp("", "pg-migrate-tls-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	certFile, keyFile = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	for file, content := range map[string]string{certFile: text, keyFile: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		giveToServer(t, file)
	}
	giveToServer(t, folder)
	return text, certFile, keyFile
}

// giveToServer lets the user that runs the servers read a file: as root, that is another one.
func giveToServer(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		if account, err = user.Lookup("nobody"); err != nil {
			t.Fatal(err)
		}
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
}

func TestConnectionsAreCheckedByCertificate(t *testing.T) {
	t.Parallel()
	text, certFile, keyFile := certificate(t)
	other, _, _ := certificate(t)
	server, err := postgres.Start(t.Context(), postgres.Options{Major: sourceMajor, Settings: map[string]string{
		"ssl": "on", "ssl_cert_file": certFile, "ssl_key_file": keyFile,
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	login, err := server.CreateOwnerDatabase(t.Context(), "app", true)
	if err != nil {
		t.Fatal(err)
	}
	execute(t, login, `CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)`)

	run := func(tls database.TLS) *running {
		tls.Restore()
		p := &pair{engine: newEngine(t), source: login, target: postgres.ForTest(t, targetMajor).NewDatabase(t, false)}
		p.migration = engine.Migration{
			ID: fmt.Sprintf("%08x", mathrand.Uint32()), Epoch: 1,
			Databases: func(context.Context) (database.Database, database.Database, error) {
				source := databaseOf(p.source)
				source.TLS = tls
				return source, databaseOf(p.target), nil
			},
		}
		r := p.run(t)
		t.Cleanup(func() {
			r.stop()
			_ = r.ended(t)
			if tls.RootsPEM != text {
				return // it never came to the source
			}
			p.migration.Epoch++
			if err := p.engine.Remove(context.Background(), p.migration, true); err != nil {
				t.Error(err)
			}
		})
		return r
	}
	// pg_dump has to accept the certificate too, so that all of the way to IN-SYNC counts.
	r := run(database.TLS{Mode: database.TLSVerifyFull, RootsPEM: text})
	r.waitInSync(t)
	encrypted := query(t, login, `SELECT bool_and(s.ssl)::text FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) WHERE a.application_name LIKE 'pgmig%'`)
	if encrypted != "true" {
		t.Errorf("all sessions encrypted: %s", encrypted)
	}
	wantFailure(t, run(database.TLS{Mode: database.TLSVerifyFull, RootsPEM: other}).ended(t), failure.PreflightCritical, "Cannot connect to the source database")
	wantFailure(t, run(database.TLS{}).ended(t), failure.PreflightCritical, "Cannot connect to the source database")
}
