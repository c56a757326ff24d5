package migration

import (
	"maps"
	"slices"
)

// Statuses are all that the table knows.
func Statuses() []Status { return slices.Sorted(maps.Keys(table)) }

// What changes a status, for the tests of the table.
var (
	CheckFinalization   = checkFinalization
	StoreReplication    = storeReplication
	StoreFinalization   = storeFinalization
	RequestFinalization = requestFinalization
	ForgetFinalization  = forgetFinalization
	DropFinalization    = dropFinalization
)

// CheckReplication asks the table what the storage, which has the last word, is given of it.
func CheckReplication(from, to Status) error {
	return check(ofReplication, table[to].replication, from, to)
}
