package stream

import (
	"bytes"
	"encoding/binary"

	"github.com/jackc/pglogrepl"
)

// fold is the net effect of a run of changes to one table: at most one change for each key. Deletes come first, then updates,
// then inserts. That the rows' order changes harms nobody: no other session sees what is in between, and where a unique index
// does not take that order, the changes are applied again one by one.
//
// Of a table without a key only inserts are folded.
type fold struct {
	relation *relation
	rows     map[string]*outcome
	order    []*outcome
}

// outcome is what becomes of one row.
type outcome struct {
	existed bool  // before the fold
	whole   bool  // row was inserted: it has all its values
	key     tuple // the first image of a row that existed: it has the key
	row     tuple // the last image, nil when the row is gone
}

func newFold(r *relation) *fold { return &fold{relation: r, rows: map[string]*outcome{}} }

// add folds one change in, if that is possible.
func (f *fold) add(c *change) bool {
	if len(f.relation.key) == 0 {
		if c.message != pglogrepl.MessageTypeInsert {
			return false
		}
		f.order = append(f.order, &outcome{whole: true, row: c.row})
		return true
	}
	image := c.row
	if c.old != nil {
		image = c.old
	}
	var room [64]byte
	key, ok := f.relation.appendKey(room[:0], image)
	if !ok || c.message == pglogrepl.MessageTypeUpdate && c.old != nil && !f.relation.sameKeyAs(c.old, c.row) {
		return false
	}
	if c.message == pglogrepl.MessageTypeUpdate {
		f.relation.fillKey(c.row, image)
	}
	n := f.rows[string(key)]
	known := n != nil
	if !known {
		n = &outcome{existed: c.message != pglogrepl.MessageTypeInsert, key: image}
	}
	// A change that contradicts what is known of the row is left to the target to refuse.
	switch c.message {
	case pglogrepl.MessageTypeInsert:
		if n.row != nil {
			return false
		}
		n.row, n.whole = c.row, true
	case pglogrepl.MessageTypeUpdate:
		if known {
			if n.row == nil {
				return false
			}
			for i := range c.row {
				if c.row[i].state == pglogrepl.TupleDataTypeToast {
					c.row[i] = n.row[i]
				}
			}
		}
		n.row = c.row
	case pglogrepl.MessageTypeDelete:
		if known && n.row == nil {
			return false
		}
		n.row, n.whole = nil, false
	default:
		return false
	}
	if !known {
		f.rows[string(key)] = n
		f.order = append(f.order, n)
	}
	return true
}

// changes are the rows to delete, to update by mask, and to insert.
func (f *fold) changes() (deletes []tuple, updates map[string][]tuple, inserts []tuple) {
	updates = map[string][]tuple{}
	for _, n := range f.order {
		if n.existed && (n.row == nil || n.whole) {
			deletes = append(deletes, n.key)
		}
		switch {
		case n.row == nil:
		case n.whole:
			inserts = append(inserts, n.row)
		default:
			m := mask(n.row)
			updates[m] = append(updates[m], n.row)
		}
	}
	return deletes, updates, inserts
}

// appendKey writes the texts of the key's values so that two keys differ when one of their texts does.
func (r *relation) appendKey(out []byte, image tuple) (key []byte, ok bool) {
	for i, k := range r.key {
		if image[k].state != pglogrepl.TupleDataTypeText {
			return nil, false
		}
		if i < len(r.key)-1 {
			out = binary.AppendUvarint(out, uint64(len(image[k].text)))
		}
		out = append(out, image[k].text...)
	}
	return out, true
}

// sameKeyAs says whether an update leaves the key as it is.
func (r *relation) sameKeyAs(old, row tuple) bool {
	for _, k := range r.key {
		if row[k].state != pglogrepl.TupleDataTypeToast && !bytes.Equal(old[k].text, row[k].text) {
			return false
		}
	}
	return true
}

// fillKey puts key values that the source did not send again, large ones, into the row.
func (r *relation) fillKey(row, image tuple) {
	for _, k := range r.key {
		if row[k].state == pglogrepl.TupleDataTypeToast {
			row[k] = image[k]
		}
	}
}
