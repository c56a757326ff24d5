package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// pieces gives what the server sent in pieces of a size.
type pieces struct {
	rest []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[:min(p.size, len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}

// readAll takes the answer in sent, as read does.
func readAll(sent []byte, size int) (got []byte, r *rowsReader, err error) {
	var to bytes.Buffer
	r = &rowsReader{from: &pieces{rest: sent, size: size}, count: &Counter{}, block: make([]byte, readBlock)}
	for ready := false; !ready; {
		if ready, err = r.messages(&to); err != nil {
			return nil, r, err
		}
	}
	return to.Bytes(), r, nil
}

func message(kind byte, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body))), body...)
}

func TestRowsOfAnySizeAreMovedTogether(t *testing.T) {
	t.Parallel()
	row := func(n int) string { return string(bytes.Repeat([]byte{byte('a' + n%26)}, n)) }
	sent := append(message('H', "\x00\x00\x00"), message('N', row(100))...)
	want, rows := "", 0
	for _, n := range []int{0, 1, 5, 1000, readBlock - readRoom - 1, readBlock, 3*readBlock + 7, 0, 2, readRoom} {
		for range 3 {
			sent = append(sent, message('d', row(n))...)
			want += row(n)
			rows++
		}
	}
	sent = append(sent, message('S', row(2*readBlock))...)
	sent = append(append(append(sent, message('c', "")...), message('C', "COPY 30\x00")...), message('Z', "T")...)
	for _, size := range []int{1, 4, 5, 6, 1000, readRoom, readBlock - 1, readBlock, len(sent)} {
		got, r, err := readAll(sent, size)
		if err != nil {
			t.Fatalf("pieces of %d: %v", size, err)
		}
		if string(got) != want || r.count.Bytes.Load() != int64(len(want)) || r.count.Rows.Load() != int64(rows) || r.tag.RowsAffected() != int64(rows) {
			t.Errorf("pieces of %d: %d bytes of %d, counted %d rows and %d bytes, tag %s", size, len(got), len(want), r.count.Rows.Load(), r.count.Bytes.Load(), r.tag)
		}
	}
}

func TestAnAnswerThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string][]byte{
		"ends":    message('d', "row"),
		"unknown": message('T', ""),
		"short":   {'d', 0, 0, 0, 3},
		"long":    {'E', 0x7f, 0, 0, 0},
	} {
		if _, _, err := readAll(sent, 1); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The target's refusal ends the reading, and the server's own error leaves the session to be used.
func TestReadingEnds(t *testing.T) {
	t.Parallel()
	failure := (&pgproto3.ErrorResponse{Severity: "ERROR", Code: "42P01", Message: "no such table"})
	encoded, err := failure.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, r, err := readAll(append(encoded, message('Z', "E")...), 3)
	if err != nil || r.err == nil || r.err.Code != "42P01" {
		t.Errorf("the server's error is %v, %v", r.err, err)
	}
	r = &rowsReader{from: &pieces{rest: append(message('d', "row"), message('Z', "T")...), size: 100}, count: &Counter{}, block: make([]byte, readBlock)}
	if _, err := r.messages(refusing{}); !errors.Is(err, errRefused) {
		t.Errorf("the refusal became %v", err)
	}
}

type refusing struct{}

func (refusing) Write([]byte) (int, error) { return 0, errRefused }
