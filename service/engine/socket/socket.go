// Package socket lets a session's messages be read past pgconn, in larger blocks and without a step for each.
package socket

import (
	"context"
	"errors"
	"io"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

const readerKey = "cf-pg-migrate reader"

// Prepare makes the sessions that config opens give their Reader. No two may be opened with it at the same time.
func Prepare(config *pgconn.Config) {
	var reader io.Reader
	build, connected := config.BuildFrontend, config.AfterConnect
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		reader = r
		return build(r, w)
	}
	config.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		conn.CustomData()[readerKey] = reader
		if connected == nil {
			return nil
		}
		return connected(ctx, conn)
	}
}

// Reader gives what pgconn reads from. That is not the socket: when a write takes long, pgconn begins to read in the background,
// and that goroutine may still wait for the socket long after. Whoever reads the socket itself shares the bytes with it.
//
// It may be read while pgconn waits for nothing, and must then be read to the end of an answer before pgconn is used again.
func Reader(conn *pgconn.PgConn) (io.Reader, error) {
	reader, ok := conn.CustomData()[readerKey].(io.Reader)
	if !ok {
		return nil, errors.New("the session was not prepared to be read past pgconn")
	}
	return reader, nil
}
