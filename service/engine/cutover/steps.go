package cutover

import (
	"context"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/largeobject"
)

// Boundary says what holds from a step on, and so what has to be undone when it, or one after it, fails.
type Boundary int

// The boundaries, in their order.
const (
	// Writable: writers work on the source. There is nothing to undo.
	Writable Boundary = iota
	// Fenced: writers may be kept off. The fence is lifted.
	Fenced
	// Opened: the target is the truth. Nothing is ever undone, and nothing fails any more.
	Opened
)

// Step is one part of a cutover.
type Step struct {
	// Name is shown to people, and is where a test may end a worker.
	Name string
	// From is what holds as soon as the step has begun.
	From Boundary
	// When says whether there is anything to do; nil: always.
	When func(*Cutover, context.Context) (bool, error)
	// Do does it.
	Do func(*Cutover, context.Context) error
}

// Steps gives the steps of every cutover, in their order. What a step leaves behind can be done again by another worker, but for the
// opening, which is one transaction: it begins in "constraints" and ends in "opening".
func Steps() []Step {
	return []Step{
		{Name: "check", Do: (*Cutover).check},
		{Name: "online verification", When: (*Cutover).carries, Do: (*Cutover).verifyBefore},
		{Name: "large objects before the fence", When: (*Cutover).hasLargeObjects, Do: (*Cutover).copyLargeObjects},
		{Name: "fence", From: Fenced, Do: (*Cutover).raiseFence},
		{Name: "drain", From: Fenced, When: (*Cutover).carries, Do: (*Cutover).drain},
		{Name: "deferred tables", From: Fenced, Do: (*Cutover).copyDeferred},
		{Name: "large objects", From: Fenced, When: (*Cutover).hasLargeObjects, Do: (*Cutover).copyLargeObjects},
		{Name: "verification", From: Fenced, Do: (*Cutover).verify},
		{Name: "sequences", From: Fenced, Do: (*Cutover).setSequencesWhileArming},
		{Name: "constraints", From: Fenced, Do: (*Cutover).prepareOpening},
		{Name: "verification of large objects", From: Fenced, When: (*Cutover).hasLargeObjects, Do: (*Cutover).verifyLargeObjects},
		{Name: "opening", From: Fenced, Do: (*Cutover).open},
		{Name: "release", From: Opened, Do: (*Cutover).release},
	}
}

// SourceReleased is the point at which nothing but the ledger is left.
const SourceReleased = "source released"

const (
	hardened      = "hardened"       // the source has the triggers, and the target is not open yet
	openingStored = "opening stored" // the caller knows that the target is the truth
)

// PointsOf gives where a worker may die between two durable steps of this room: where one of the steps begins, and in between.
func PointsOf(steps []Step) []string {
	var points []string
	for _, s := range steps {
		points = append(points, s.Name)
	}
	return append(points, hardened, openingStored, SourceReleased)
}

// carries says whether changes are carried before the fence.
func (c *Cutover) carries(context.Context) (bool, error) { return !c.method.Deferred(), nil }

func (c *Cutover) hasLargeObjects(ctx context.Context) (bool, error) {
	return largeobject.Exist(ctx, c.sides.Source.Conn, c.sides.Target.Conn)
}
