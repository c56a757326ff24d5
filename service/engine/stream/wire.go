package stream

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	// wireBlock is what is read at once, if so much is there.
	wireBlock = 256 << 10
	// wireRest is the room in a block from which on a new one is begun.
	wireRest = 8 << 10
	// wireLimit is far above what the server sends: a message that claims to be longer is none.
	wireLimit = 1<<31 - 1
	// wireHeader is the length of a message's header: its kind and its length (PostgreSQL manual, 54.7).
	wireHeader = 5
)

// wire reads messages of the server. It reads large blocks that it never uses again: what is given out stays as it is, and needs
// no copy.
type wire struct {
	from  io.Reader
	block []byte
	// block[start:end] is read and not given out.
	start, end int
	came       int // bytes that were read, until somebody else sets it back
}

// peek waits for the next message's header and gives the length of the message. After an error that is a timeout it can be
// called again, as take can.
func (w *wire) peek() (length int, err error) {
	if err := w.fill(wireHeader); err != nil {
		return 0, err
	}
	body := binary.BigEndian.Uint32(w.block[w.start+1:])
	if body < 4 || body > wireLimit-1 {
		return 0, fmt.Errorf("message %q claims to be %d bytes long", w.block[w.start], body)
	}
	return 1 + int(body), nil
}

// ready says whether take would give a message at once.
func (w *wire) ready() bool {
	if w.end-w.start < wireHeader {
		return false
	}
	length, err := w.peek()
	return err != nil || w.end-w.start >= length
}

// take waits for the next message and gives its kind and its body.
func (w *wire) take() (kind byte, body []byte, err error) {
	length, err := w.peek()
	if err != nil {
		return 0, nil, err
	}
	if err := w.fill(length); err != nil {
		return 0, nil, err
	}
	message := w.block[w.start : w.start+length : w.start+length]
	w.start += length
	return message[0], message[wireHeader:], nil
}

// fill reads until n bytes are there.
func (w *wire) fill(n int) error {
	if w.end-w.start >= n {
		return nil
	}
	if len(w.block)-w.start < n || len(w.block)-w.end < wireRest {
		block := make([]byte, max(n, wireBlock))
		w.end = copy(block, w.block[w.start:w.end])
		w.block, w.start = block, 0
	}
	for w.end-w.start < n {
		read, err := w.from.Read(w.block[w.end:])
		w.end += read
		w.came += read
		if err != nil && w.end-w.start < n {
			return err
		}
	}
	return nil
}
