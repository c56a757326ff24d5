package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
)

const (
	// The answers to so many statements fit into the sockets' buffers: while one side only writes, the other must not have to wait
	// for it to read.
	unreadStatements = 1000
	unreadBytes      = 4 << 20

	// largeValue is not copied into the buffer for what is sent next but sent from where it is.
	largeValue = 256 << 10
)

// session sends statements to the target without waiting for the answer to each (PostgreSQL manual, 54.2.4). It does itself what
// pgconn's pipeline could do, because that asks for a description of every statement's result and copies large values.
type session struct {
	conn     net.Conn
	frontend *pgproto3.Frontend
	out      []byte
	scratch  []byte            // room for one value, to build it
	sent     int               // bytes of statements since the last sync
	expected []expectation     // of what was written since the last sync
	awaited  []expectation     // of what was synced, and not read yet
	prepared map[string]string // name by statement
	fresh    []string          // statements that were prepared since the last await
	names    int               // number of the last prepared statement
	waiting  bool              // what was synced is not answered yet
	err      error             // the connection's end
}

// expectation is what the answer to a statement must be.
type expectation struct {
	rows      int64  // anyRows, or the number of rows that it must change
	tag       string // what it must answer, if set
	oid       uint32 // of the table
	table     string
	operation string
}

const anyRows = -1

// newSession takes over conn until done is called. When ctx ends the connection is of no use any more.
func newSession(ctx context.Context, conn *pgconn.PgConn) (s *session, done func()) {
	s = &session{conn: conn.Conn(), frontend: conn.Frontend(), prepared: map[string]string{}}
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Unix(1, 0)) })
	return s, func() { stop() }
}

// query sends a statement that is not worth preparing.
func (s *session) query(sql string, e expectation, values ...[]byte) error {
	s.parse("", sql)
	return s.run("", e, values)
}

// execute sends a statement that is prepared when it comes for the first time.
func (s *session) execute(sql string, e expectation, values [][]byte) error {
	name, known := s.prepared[sql]
	if !known {
		s.names++
		name = fmt.Sprintf("s%d", s.names)
		s.parse(name, sql)
		s.prepared[sql] = name
		s.fresh = append(s.fresh, sql)
	}
	return s.run(name, e, values)
}

func (s *session) parse(name, sql string) {
	start := s.begin('P')
	s.out = append(append(s.out, name...), 0)
	s.out = append(append(s.out, sql...), 0)
	s.out = append(s.out, 0, 0) // no types of parameters: the server knows best
	s.end(start, 0)
}

// copyIn sends a COPY FROM STDIN with its rows, without waiting for the server to ask for them: a server that does not come as far
// skips them, as all up to the next sync (PostgreSQL manual, 54.2.6).
func (s *session) copyIn(sql string, e expectation, rows []byte) error {
	s.parse("", sql)
	s.bind("", e, nil)
	start := s.begin('d') // CopyData
	s.out = append(s.out, rows...)
	s.end(start, 0)
	s.out = append(s.out, 'c', 0, 0, 0, 4) // CopyDone
	s.sent += len(rows)
	return s.limit()
}

// run executes a statement with parameters in text form.
func (s *session) run(name string, e expectation, values [][]byte) error {
	s.bind(name, e, values)
	return s.limit()
}

// limit reads the answers when the server must not be given more before.
func (s *session) limit() error {
	if s.err != nil {
		return s.err
	}
	if len(s.expected) >= unreadStatements || s.sent >= unreadBytes {
		return s.settle()
	}
	return nil
}

// bind writes Bind and Execute.
func (s *session) bind(name string, e expectation, values [][]byte) {
	size, large := 0, 0
	for _, v := range values {
		size += 4 + len(v)
		if len(v) >= largeValue {
			large += len(v)
		}
	}
	start := s.begin('B')
	s.out = append(s.out, 0) // the unnamed portal
	s.out = append(append(s.out, name...), 0)
	s.out = append(s.out, 0, 0) // all in text form
	s.out = binary.BigEndian.AppendUint16(s.out, uint16(len(values)))
	header := len(s.out)
	// The length is known before the values are: some of them are never in the buffer.
	binary.BigEndian.PutUint32(s.out[start:], uint32(header-start+size+2))
	for _, v := range values {
		switch {
		case v == nil:
			s.out = binary.BigEndian.AppendUint32(s.out, 1<<32-1)
		case len(v) < largeValue:
			s.out = binary.BigEndian.AppendUint32(s.out, uint32(len(v)))
			s.out = append(s.out, v...)
		default:
			s.out = binary.BigEndian.AppendUint32(s.out, uint32(len(v)))
			s.write(s.out)
			s.write(v)
			s.out = s.out[:0]
		}
	}
	s.out = append(s.out, 0, 0)                           // results in text form
	s.out = append(s.out, 'E', 0, 0, 0, 9, 0, 0, 0, 0, 0) // of the unnamed portal, all rows
	s.expected = append(s.expected, e)
	s.sent += size
}

// begin starts a message; end sets its length.
func (s *session) begin(kind byte) (start int) {
	s.out = append(s.out, kind, 0, 0, 0, 0)
	return len(s.out) - 4
}

func (s *session) end(start, more int) {
	binary.BigEndian.PutUint32(s.out[start:], uint32(len(s.out)-start+more))
}

func (s *session) write(b []byte) {
	if s.err != nil {
		return
	}
	if _, err := s.conn.Write(b); err != nil {
		s.err = fmt.Errorf("sending changes to the target: %w", err)
	}
}

// sync sends what is written, with the mark up to which an error makes the server skip. What was synced before is awaited by now.
func (s *session) sync() error {
	s.out = append(s.out, 'S', 0, 0, 0, 4)
	s.write(s.out)
	if s.out = s.out[:0]; cap(s.out) > 4*unreadBytes {
		s.out = nil
	}
	s.expected, s.awaited = s.awaited[:0], s.expected
	s.sent, s.waiting = 0, true
	return s.err
}

// settle sends what is written and reads all answers.
func (s *session) settle() error {
	if err := s.sync(); err != nil {
		return err
	}
	return s.await()
}

// await reads the answers to all that was synced. The error is that of the first that is wrong; s.err says whether the session
// can still be used.
func (s *session) await() error {
	if !s.waiting {
		return s.err
	}
	wrong := s.readAnswers()
	if wrong != nil {
		// Some may not be prepared. Those that were only waste their names.
		for _, sql := range s.fresh {
			delete(s.prepared, sql)
		}
	}
	s.fresh, s.waiting = s.fresh[:0], false
	return wrong
}

func (s *session) readAnswers() (wrong error) {
	answered := 0
	for {
		message, err := s.frontend.Receive()
		if err != nil {
			s.err = fmt.Errorf("reading the target's answers: %w", err)
			return errors.Join(wrong, s.err)
		}
		switch m := message.(type) {
		case *pgproto3.CommandComplete:
			if answered == len(s.awaited) {
				s.err = fmt.Errorf("the target answered %q to nothing", m.CommandTag)
				return s.err
			}
			if err := s.awaited[answered].check(pgconn.NewCommandTag(string(m.CommandTag))); wrong == nil {
				wrong = err
			}
			answered++
		case *pgproto3.ErrorResponse:
			e := expectation{operation: "a statement"}
			if answered < len(s.awaited) {
				e = s.awaited[answered]
			}
			if wrong == nil {
				wrong = e.refused(pgconn.ErrorResponseToPgError(m))
			}
		case *pgproto3.ReadyForQuery:
			if wrong == nil && answered < len(s.awaited) {
				s.err = fmt.Errorf("the target answered %d of %d statements", answered, len(s.awaited))
				return s.err
			}
			return wrong
		case *pgproto3.ParseComplete, *pgproto3.BindComplete, *pgproto3.CopyInResponse, *pgproto3.ParameterStatus, *pgproto3.NoticeResponse, *pgproto3.NotificationResponse:
		default:
			s.err = fmt.Errorf("unexpected answer %T of the target", message)
			return s.err
		}
	}
}

func (e expectation) check(tag pgconn.CommandTag) error {
	if e.tag != "" && tag.String() != e.tag {
		return fmt.Errorf("the target answered %s to %s", tag, e.operation)
	}
	if e.rows != anyRows && tag.RowsAffected() != e.rows {
		return &MismatchError{OID: e.oid, Table: e.table, Operation: e.operation, Rows: tag.RowsAffected()}
	}
	return nil
}

// refused makes a RefusedError of what the target itself said about the change; a broken connection or a shut-down is left
// to the caller, who tries again.
func (e expectation) refused(err *pgconn.PgError) error {
	if e.table != "" && len(err.Code) == 5 && !database.OfServer(err.Code) {
		return &RefusedError{OID: e.oid, Table: e.table, Operation: e.operation, Err: err}
	}
	return &TargetError{Err: err}
}
