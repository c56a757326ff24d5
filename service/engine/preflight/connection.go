package preflight

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// What the server calls the reasons for which it refuses something.
const (
	invalidAuthorization  = "28000"
	invalidPassword       = "28P01"
	noSuchDatabase        = "3D000"
	insufficientPrivilege = "42501"
	tooManyConnections    = "53300"
	limitExceeded         = "53400"
	wrongState            = "55000"
	undefinedObject       = "42704"
	invalidParameter      = "22023"
	undefinedFile         = "58P01"
	notSupported          = "0A000"
)

// slotLimit is how long the source may take to make a replication slot.
const slotLimit = 10 * time.Second

// connectReason is why a connection could not be made, without anything that could be a secret.
func connectReason(err error) string {
	var (
		refused     *pgconn.PgError
		unknownHost *net.DNSError
		network     net.Error
	)
	switch {
	case errors.As(err, &refused):
		switch refused.Code {
		case invalidPassword:
			return "password authentication failed"
		case invalidAuthorization:
			return "the server does not admit the login, or not from here or without TLS"
		case noSuchDatabase:
			return "no such database"
		default:
			return refused.Message
		}
	case isTLS(err):
		return "no TLS connection: the server has no TLS or its certificate is not trusted"
	case errors.As(err, &unknownHost):
		return "could not be reached: host not found"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "could not be reached: connection refused"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "could not be reached: timeout"
	default:
		return "could not be reached"
	}
}

func isTLS(err error) bool {
	var (
		authority   x509.UnknownAuthorityError
		host        x509.HostnameError
		invalid     x509.CertificateInvalidError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		alert       tls.AlertError
	)
	return errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) ||
		errors.As(err, &certificate) || errors.As(err, &record) || errors.As(err, &alert) ||
		strings.Contains(err.Error(), "server refused TLS connection")
}

// checkReplication tries what the replication will do first: it makes a slot, which goes with its connection.
func (i *inspection) checkReplication(ctx context.Context) {
	err := tryReplication(ctx, i.dialer)
	if err == nil || ctx.Err() != nil {
		return
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch {
		case refused.Code == insufficientPrivilege, refused.Code == invalidAuthorization,
			strings.Contains(refused.Message, "must be superuser or replication role"):
			i.report("S06", result{values: map[string]string{"detail": i.facts.login}})
			return
		case i.explained(refused.Code):
			return
		}
	}
	if errors.Is(err, errSlotLimit) {
		i.checkRunningTransactions(ctx)
		return
	}
	i.report("S78", result{values: map[string]string{"detail": reason(err)}})
}

// checkRunningTransactions names the transactions that a new slot waits for. Everybody may see their
// locks, but not when they began.
func (i *inspection) checkRunningTransactions(ctx context.Context) {
	if i.found("S14") {
		return // prepared transactions do not end by themselves
	}
	const runningSQL = `
SELECT count(*), (array_agg('process ' || pid ORDER BY pid))[1:10]
FROM pg_locks
WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted AND pid <> pg_backend_pid()`
	var r result
	if err := i.queryRow(ctx, runningSQL, []any{&r.count, &r.names}); err != nil {
		i.fail("S79", err)
		return
	}
	i.report("S79", r)
}

// explained says whether an earlier finding is the reason for a slot that could not be made.
func (i *inspection) explained(code string) bool {
	switch code {
	case wrongState:
		return i.found("S04") || i.found("S05")
	case limitExceeded:
		return i.found("S07")
	case tooManyConnections:
		return i.found("S08") || i.found("S09")
	default:
		return false
	}
}

func (i *inspection) found(id string) bool {
	return slices.ContainsFunc(i.findings, func(f Finding) bool { return f.ID == id })
}

var errSlotLimit = errors.New("the replication slot was not made in time")

// tryReplication opens a replication connection and makes a temporary slot.
func tryReplication(ctx context.Context, dialer Dialer) error {
	connectCtx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := dialer.ConnectReplication(connectCtx)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if err := conn.Exec(connectCtx, "IDENTIFY_SYSTEM").Close(); err != nil {
		return err
	}
	slotCtx, cancel := context.WithTimeout(ctx, slotLimit)
	defer cancel()
	slot := "pgmig_preflight_" + strings.ToLower(rand.Text()[:10])
	err = conn.Exec(slotCtx, "CREATE_REPLICATION_SLOT "+slot+" TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT").Close()
	if err != nil && slotCtx.Err() != nil {
		return errSlotLimit
	}
	return err
}

// snapshotProbes is how many connections must find the snapshot. An address that leads to two servers
// is found out with a probability of 15 in 16.
const snapshotProbes = 4

// checkSnapshot sees whether other connections reach the same server: they import a snapshot.
func (i *inspection) checkSnapshot(ctx context.Context) {
	if i.found("S04") {
		return // a standby exports no snapshots
	}
	ctx, cancel := context.WithTimeout(ctx, statementLimit)
	defer cancel()
	err := pgx.BeginTxFunc(ctx, i.conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var snapshot string
		if err := tx.QueryRow(ctx, "SELECT pg_export_snapshot()", pgx.QueryExecModeExec).Scan(&snapshot); err != nil {
			return err
		}
		for range snapshotProbes {
			if err := importSnapshot(ctx, i.dialer, snapshot); err != nil {
				return err
			}
		}
		return nil
	})
	var refused *pgconn.PgError
	switch {
	case err == nil:
	case errors.As(err, &refused) && slices.Contains([]string{undefinedObject, undefinedFile, invalidParameter, notSupported}, refused.Code):
		i.report("S71", result{})
	case errors.As(err, &refused) && refused.Code == tooManyConnections && i.found("S09"):
	default:
		i.fail("S71", err)
	}
}

func importSnapshot(ctx context.Context, dialer Dialer, snapshot string) error {
	conn, err := dialer.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '"+snapshot+"'; ROLLBACK",
		pgx.QueryExecModeSimpleProtocol)
	return err
}
