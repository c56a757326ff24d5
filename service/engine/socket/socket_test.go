package socket_test

import (
	"context"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/socket"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

// slow is a connection whose writes take so long that pgconn begins to read in the background, and goes on with that after them.
type slow struct{ net.Conn }

func (s slow) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	time.Sleep(100 * time.Millisecond)
	return n, err
}

func open(t *testing.T, prepare bool) *pgconn.PgConn {
	t.Helper()
	config, err := pgconn.ParseConfig(postgres.ForTest(t, 15).NewDatabase(t, false).URL())
	if err != nil {
		t.Fatal(err)
	}
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return slow{conn}, err
	}
	if prepare {
		socket.Prepare(config)
	}
	conn, err := pgconn.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// The whole answer must come, after answers that pgconn has read in the background.
func TestNobodyElseReads(t *testing.T) {
	t.Parallel()
	conn := open(t, true)
	for range 3 {
		if _, err := conn.Exec(t.Context(), "SELECT 1").ReadAll(); err != nil {
			t.Fatal(err)
		}
		from, err := socket.Reader(conn)
		if err != nil {
			t.Fatal(err)
		}
		conn.Frontend().SendQuery(&pgproto3.Query{String: "COPY (SELECT 'x' FROM generate_series(1, 100)) TO STDOUT"})
		if err := conn.Frontend().Flush(); err != nil {
			t.Fatal(err)
		}
		// H 1+4+3+2, 100 times d 1+4+2, c 1+4, C 1+4+9, Z 1+4+1
		const answer = 10 + 700 + 5 + 14 + 6
		if err := conn.Conn().SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		read := make([]byte, answer)
		if n, err := io.ReadFull(from, read); err != nil || read[0] != 'H' || read[answer-6] != 'Z' {
			t.Fatalf("%d bytes of %d, %v: %q", n, answer, err, read[:n])
		}
		if err := conn.Conn().SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASessionThatWasNotPrepared(t *testing.T) {
	t.Parallel()
	if _, err := socket.Reader(open(t, false)); err == nil {
		t.Error("there is a reader")
	}
}
