package migration

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/state"
)

// Status is how a replication or a finalization stands, spelled as in the API.
type Status string

// The statuses. A finalization is never IN-SYNC.
const (
	None      Status = "" // there is no such thing, or not yet
	Waiting   Status = "WAITING"
	Running   Status = "RUNNING"
	InSync    Status = "IN-SYNC"
	Failed    Status = "FAILED"
	Completed Status = "COMPLETED"
)

// rule is what holds for a status.
type rule struct {
	ended       bool // nothing follows by itself, and the time is kept
	needsWorker bool // somebody must be at work: when a worker dies, another one takes the migration
	finalizable bool // of a replication: a finalization may be asked for
	forgets     bool // of a replication: the credentials are deleted, and needed for a removal only

	replication  []Status // what a replication that gets this status may have before
	finalization []Status // what a finalization that gets this status may have before
	takes        []Status // of a replication: a finalization with one of these gets the same status, for the same reason
}

// table says what may follow what. It is the only place that does; the storage compares each change with the row.
//
// A replication:
//
//	              .----------------------.
//	              |                      v
//	create --> WAITING --> RUNNING <--> IN-SYNC --> COMPLETED
//	              |           |            |            |
//	              '-----------+-----+------'            | when it cannot be removed at once
//	                                v                   |
//	                             FAILED <---------------'
//
//	WAITING, RUNNING --> COMPLETED, when an earlier worker has opened the target
//
// A worker says again what it said before, and what its engine says: IN-SYNC at once where nothing is to be copied, and RUNNING
// again after a takeover. The target is the truth about COMPLETED, whatever is stored. A removal may come at any time and has no
// status: when it succeeds the row is gone.
//
// A finalization:
//
//	create --> WAITING --> RUNNING --> COMPLETED
//	            ^   |         |
//	  try again |   v         |
//	           FAILED <-------'
//
//	WAITING, RUNNING, FAILED --> none, when it is given up
//	none, WAITING, FAILED --> COMPLETED, when the target was opened all the same
//
// A worker that takes over says again what the row says, and COMPLETED if the one before it could not say the same of the
// replication. A replication that FAILED takes a finalization that is WAITING or RUNNING with it, and its reason replaces that
// of one that FAILED because of it.
var table = map[Status]rule{
	None: {
		finalization: []Status{None, Waiting, Running, Failed}, // what is gone can be removed again
	},
	Waiting: {
		needsWorker:  true,
		replication:  []Status{None},
		finalization: []Status{None, Failed},
	},
	Running: {
		needsWorker:  true,
		replication:  []Status{Waiting, Running, InSync},
		finalization: []Status{Waiting, Running},
	},
	InSync: {
		needsWorker: true,
		finalizable: true,
		replication: []Status{Waiting, Running, InSync},
	},
	Failed: {
		ended:        true,
		replication:  []Status{Waiting, Running, InSync, Failed, Completed},
		finalization: []Status{Waiting, Running, Failed},
		takes:        []Status{Waiting, Running},
	},
	Completed: {
		ended:        true,
		forgets:      true,
		replication:  []Status{Waiting, Running, InSync},
		finalization: []Status{None, Waiting, Running, Failed, Completed},
	},
}

// Ended says whether nothing follows by itself.
func (s Status) Ended() bool { return table[s].ended }

// NeedsWorker says whether somebody must be at work.
func (s Status) NeedsWorker() bool { return table[s].needsWorker }

// finalizable says whether a finalization of a replication may be asked for.
func (s Status) finalizable() bool { return table[s].finalizable }

// TransitionError says that the table has no way from one status to the other.
type TransitionError struct {
	Of       string // what would change: a replication or a finalization
	From, To Status
}

func (e *TransitionError) Error() string {
	return fmt.Sprintf("a %s does not go from %s to %s", e.Of, cmp.Or(e.From, "none"), cmp.Or(e.To, "none"))
}

const (
	ofReplication  = "replication"
	ofFinalization = "finalization"
)

// checkFinalization gives a *TransitionError if a finalization may not go from one status to the other.
func checkFinalization(from, to Status) error {
	return check(ofFinalization, table[to].finalization, from, to)
}

func check(of string, allowed []Status, from, to Status) error {
	if slices.Contains(allowed, from) {
		return nil
	}
	return &TransitionError{Of: of, From: from, To: to}
}

// replicationTo is what the storage needs to know of a change to a status.
func replicationTo(to Status) state.Change {
	r := table[to]
	return state.Change{To: string(to), From: texts(r.replication), Ended: r.ended, Takes: texts(r.takes)}
}

// finalizationTo is what the storage needs to know of a change to a status.
func finalizationTo(to Status) state.Change {
	r := table[to]
	return state.Change{To: string(to), From: texts(r.finalization), Ended: r.ended}
}

// where gives the statuses that a rule holds for, as the storage takes them.
func where(holds func(rule) bool) (statuses []string) {
	for status, r := range table {
		if status != None && holds(r) {
			statuses = append(statuses, string(status))
		}
	}
	return statuses
}

func texts(statuses []Status) []string {
	out := make([]string, len(statuses))
	for i, s := range statuses {
		out[i] = string(s)
	}
	return out
}
