package snapshot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/socket"
)

const (
	// readBlock is the size of the pieces in which rows go from the source to the target.
	readBlock = 256 << 10
	// readRoom is the room in a block below which it is handed on.
	readRoom = 32 << 10
	// answerLimit is far above what the server sends that is no row.
	answerLimit = 16 << 20
	// messageHeader is the length of a message's kind and length (PostgreSQL manual, 54.7).
	messageHeader = 5
)

// rowsReader reads the answer to a COPY TO STDOUT past pgconn, which would make a step of each row: the server sends a message for
// each, and what the messages hold is moved together where it was read.
type rowsReader struct {
	from  io.Reader
	count *Counter
	// block[:moved] is what the messages of rows held, block[start:end] is read and not taken.
	block             []byte
	moved, start, end int
	left              int   // bytes of a row that are still to be taken
	rows              int64 // whose messages began in block[:moved]

	tag pgconn.CommandTag
	err *pgconn.PgError // what the server said
}

// read runs the COPY and writes its rows to w. Unless the error is the server's, the session is of no use any more.
func read(ctx context.Context, source *pgconn.PgConn, sql string, w io.Writer, count *Counter) (rows int64, err error) {
	from, err := socket.Reader(source)
	if err != nil {
		return 0, err
	}
	r := &rowsReader{from: from, count: count, block: make([]byte, readBlock)}
	stop := context.AfterFunc(ctx, func() { _ = source.Conn().SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() {
			err = errors.Join(ctx.Err(), err)
		}
		if err != nil && r.err == nil {
			_ = source.Conn().Close()
		}
	}()
	source.Frontend().SendQuery(&pgproto3.Query{String: sql})
	if err := source.Frontend().Flush(); err != nil {
		return 0, err
	}
	for ready := false; !ready; {
		if ready, err = r.messages(w); err != nil {
			return 0, err
		}
	}
	switch {
	case r.err != nil:
		return 0, r.err
	case r.start != r.end || r.left > 0:
		return 0, errors.New("the server sent more than the answer")
	default:
		return r.tag.RowsAffected(), nil
	}
}

// messages reads once and takes what came. ready says that the answer has ended.
func (r *rowsReader) messages(w io.Writer) (ready bool, err error) {
	if err := r.fill(w); err != nil {
		return false, err
	}
	for !ready {
		if n := min(r.left, r.end-r.start); n > 0 {
			r.moved += copy(r.block[r.moved:], r.block[r.start:r.start+n])
			r.start += n
			r.left -= n
		}
		if r.end-r.start < messageHeader {
			return false, nil
		}
		kind, length := r.block[r.start], r.length()
		if length < messageHeader || kind != 'd' && length > answerLimit {
			return false, fmt.Errorf("message %q claims to be %d bytes long", kind, length)
		}
		if kind == 'd' { // CopyData
			r.start += messageHeader
			r.left = length - messageHeader
			r.rows++
			continue
		}
		if r.end-r.start < length {
			return false, nil
		}
		if ready, err = r.other(kind, r.block[r.start+messageHeader:r.start+length]); err != nil {
			return false, err
		}
		r.start += length
	}
	return true, r.hand(w)
}

// length is that of the message that starts in the block.
func (r *rowsReader) length() int { return 1 + int(binary.BigEndian.Uint32(r.block[r.start+1:])) }

// fill reads what has come, after it has made room.
func (r *rowsReader) fill(w io.Writer) error {
	if len(r.block)-r.end < readRoom {
		if err := r.hand(w); err != nil {
			return err
		}
		r.end = copy(r.block, r.block[r.start:r.end])
		r.start = 0
		if r.end >= messageHeader && r.length() > len(r.block) { // never a row
			r.block = append(r.block, make([]byte, r.length()-len(r.block))...)
		}
	}
	n, err := r.from.Read(r.block[r.end:])
	r.end += n
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// hand writes the rows that were moved together.
func (r *rowsReader) hand(w io.Writer) error {
	if r.moved == 0 {
		return nil
	}
	if _, err := w.Write(r.block[:r.moved]); err != nil {
		return err
	}
	r.count.Bytes.Add(int64(r.moved))
	r.count.Rows.Add(r.rows)
	r.moved, r.rows = 0, 0
	return nil
}

// other takes a message that is no row.
func (r *rowsReader) other(kind byte, body []byte) (ready bool, err error) {
	switch kind {
	case 'H', 'c', 'N', 'S', 'A': // CopyOutResponse, CopyDone, NoticeResponse, ParameterStatus, NotificationResponse
	case 'C': // CommandComplete
		var m pgproto3.CommandComplete
		if err := m.Decode(body); err != nil {
			return false, err
		}
		r.tag = pgconn.NewCommandTag(string(m.CommandTag))
	case 'E':
		var m pgproto3.ErrorResponse
		if err := m.Decode(body); err != nil {
			return false, err
		}
		r.err = pgconn.ErrorResponseToPgError(&m)
	case 'Z': // ReadyForQuery
		return true, nil
	default:
		return false, fmt.Errorf("unexpected answer %q to COPY", kind)
	}
	return false, nil
}
