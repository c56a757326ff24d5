package stream

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/jackc/pglogrepl"
)

// change is one message of pgoutput (PostgreSQL manual, 55.9). Which fields are set depends on its type.
type change struct {
	message  pglogrepl.MessageType
	relation uint32 // of Insert, Update, Delete
	old      tuple  // of Delete, and of Update where the source sent it
	row      tuple  // of Insert, Update
	size     int    // bytes of the message
	weight   int64  // what it takes of the budget
	// end is the commit LSN of Begin, and where the transaction ends of Commit.
	end       pglogrepl.LSN
	described *description // of Relation
	truncated []uint32     // of Truncate
}

// keepalive is no message of pgoutput but the source's word that everything before its end was sent.
const keepalive pglogrepl.MessageType = 0

// tuple is a row as the source sends it.
type tuple []column

// column is one value of a tuple.
type column struct {
	state byte   // one of pglogrepl.TupleDataType…
	text  []byte // of TupleDataTypeText
}

// description is how the source describes a table before its first change.
type description struct {
	oid          uint32
	schema, name string
	columns      []describedColumn
}

type describedColumn struct {
	name    string
	typeOID uint32
}

var errCutOff = errors.New("the message is cut off")

// decode reads one message. The values of the change point into data.
func decode(data []byte) (*change, error) {
	in := reader{rest: data}
	c := &change{message: pglogrepl.MessageType(in.byte()), size: len(data)}
	switch c.message {
	case pglogrepl.MessageTypeBegin:
		c.end = pglogrepl.LSN(in.uint64())
	case pglogrepl.MessageTypeCommit:
		in.take(1 + 8) // flags, the commit's LSN
		c.end = pglogrepl.LSN(in.uint64())
	case pglogrepl.MessageTypeRelation:
		c.described = in.description()
	case pglogrepl.MessageTypeInsert:
		c.relation = in.uint32()
		in.mark('N')
		c.row = in.tuple()
	case pglogrepl.MessageTypeUpdate:
		c.relation = in.uint32()
		if next := in.peek(); next == 'K' || next == 'O' {
			in.take(1)
			c.old = in.tuple()
		}
		in.mark('N')
		c.row = in.tuple()
	case pglogrepl.MessageTypeDelete:
		c.relation = in.uint32()
		in.mark('K', 'O')
		c.old = in.tuple()
	case pglogrepl.MessageTypeTruncate:
		n := in.uint32()
		in.take(1) // options: what they say comes as messages of its own
		for range n {
			if c.truncated = append(c.truncated, in.uint32()); in.err != nil {
				break
			}
		}
	case pglogrepl.MessageTypeType, pglogrepl.MessageTypeOrigin:
		return c, nil // nothing to apply
	default:
		return nil, fmt.Errorf("unknown message %q", byte(c.message))
	}
	if in.err == nil && (c.row != nil || c.old != nil) && len(in.rest) > 0 {
		in.err = fmt.Errorf("%d bytes are left over", len(in.rest))
	}
	if in.err != nil {
		return nil, fmt.Errorf("decoding message %s: %w", c.message, in.err)
	}
	return c, nil
}

// reader reads the parts of a message. After its first error it gives zeros.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.fail(errCutOff)
		return nil
	}
	taken := r.rest[:n:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) peek() byte {
	if len(r.rest) == 0 {
		return 0
	}
	return r.rest[0]
}

// mark reads a byte that must be one of these.
func (r *reader) mark(allowed ...byte) {
	b := r.byte()
	for _, a := range allowed {
		if b == a {
			return
		}
	}
	r.fail(fmt.Errorf("%q instead of %q", b, allowed))
}

// string reads a text that ends with a zero byte.
func (r *reader) string() string {
	for i, b := range r.rest {
		if b == 0 {
			s := string(r.rest[:i])
			r.rest = r.rest[i+1:]
			return s
		}
	}
	r.fail(errCutOff)
	return ""
}

func (r *reader) description() *description {
	d := &description{oid: r.uint32(), schema: r.string(), name: r.string()}
	r.take(1) // replica identity
	for range r.uint16() {
		r.take(1) // flags
		c := describedColumn{name: r.string(), typeOID: r.uint32()}
		r.take(4) // type modifier
		if r.err != nil {
			break
		}
		d.columns = append(d.columns, c)
	}
	return d
}

func (r *reader) tuple() tuple {
	n := int(r.uint16())
	if n > len(r.rest) { // each column has one byte at least
		r.fail(errCutOff)
		return nil
	}
	t := make(tuple, n)
	for i := range t {
		switch state := r.byte(); state {
		case pglogrepl.TupleDataTypeNull, pglogrepl.TupleDataTypeToast:
			t[i].state = state
		case pglogrepl.TupleDataTypeText:
			t[i] = column{state: state, text: r.take(int(r.uint32()))}
		default:
			r.fail(fmt.Errorf("value of unknown kind %q", state))
		}
		if r.err != nil {
			return nil
		}
	}
	return t
}

// parameter gives the value as a statement takes it: nil is NULL, an empty text is not nil.
func (c column) parameter() []byte {
	if c.state == pglogrepl.TupleDataTypeText && c.text == nil {
		return []byte{}
	}
	return c.text
}
