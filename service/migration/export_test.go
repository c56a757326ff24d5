package migration

import (
	"maps"
	"slices"
)

// Statuses are all that the table knows.
func Statuses() []Status { return slices.Sorted(maps.Keys(table)) }

// What changes a status, for the tests of the table.
var (
	CheckReplication    = checkReplication
	CheckFinalization   = checkFinalization
	StoreReplication    = storeReplication
	StoreFinalization   = storeFinalization
	RequestFinalization = requestFinalization
	ForgetFinalization  = forgetFinalization
	DropFinalization    = dropFinalization
)
