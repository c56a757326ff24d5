package progress

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// cutover is what is known of the newest finalization.
type cutover struct {
	expected time.Duration // what it needs on top of its usual limit
	steps    []Step
	verified []TableVerification
	fenced   time.Duration
	fencedAt time.Time // zero: not fenced now
}

// CutoverExpected says how long a finalization will take on top of what one usually may.
func (b *Board) CutoverExpected(more time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cutover.expected = more
}

// ExpectedCutover gives what CutoverExpected said last; 0: nothing.
func (b *Board) ExpectedCutover() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cutover.expected
}

// FinalizationAsked says that a finalization was asked for. It gives false when there is one already.
func (b *Board) FinalizationAsked() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.finalizing {
		return false
	}
	b.finalizing = true
	b.cutover.steps, b.cutover.verified = nil, nil
	if b.cutover.fencedAt.IsZero() {
		b.cutover.fenced = 0
	}
	return true
}

// FinalizationEnded says that the finalization is over.
func (b *Board) FinalizationEnded() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.finalizing = false
}

// Finalizing says whether a finalization was asked for and is not over.
func (b *Board) Finalizing() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.finalizing
}

// Finalizable says that a finalization can begin: the target is in sync, and no fence of before is left.
func (b *Board) Finalizable() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.phase == InSync && b.cutover.fencedAt.IsZero()
}

// StepBegan ends the step before and begins the named one.
func (b *Board) StepBegan(name string) {
	b.StepEnded()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log.Info("finalization", "step", name)
	b.cutover.steps = append(b.cutover.steps, Step{Name: name, StartedAt: time.Now().UTC()})
}

// StepEnded ends the step that runs, if one does.
func (b *Board) StepEnded() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.cutover.steps); n > 0 && b.cutover.steps[n-1].Seconds == nil {
		seconds := time.Since(b.cutover.steps[n-1].StartedAt).Seconds()
		b.cutover.steps[n-1].Seconds = &seconds
	}
}

// Fenced starts the clock of the fence: writers may be held back from now on.
func (b *Board) Fenced() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cutover.fencedAt = time.Now()
}

// Unfenced stops the clock of the fence, now that writers are known to be let in again, or at the target.
func (b *Board) Unfenced() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.cutover.fencedAt.IsZero() {
		b.cutover.fenced += time.Since(b.cutover.fencedAt)
		b.cutover.fencedAt = time.Time{}
	}
}

// Verified records the verification of a table by the finalization.
func (b *Board) Verified(v TableVerification) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cutover.verified = append(b.cutover.verified, v)
}

// FinalizationProgress gives a copy of what is known of the newest finalization.
func (b *Board) FinalizationProgress() FinalizationProgress {
	b.mu.Lock()
	defer b.mu.Unlock()
	fenced := b.cutover.fenced
	if !b.cutover.fencedAt.IsZero() {
		fenced += time.Since(b.cutover.fencedAt)
	}
	verified := append([]TableVerification{}, b.cutover.verified...)
	slices.SortFunc(verified, func(x, y TableVerification) int {
		return cmp.Or(strings.Compare(x.Schema, y.Schema), strings.Compare(x.Name, y.Name))
	})
	return FinalizationProgress{
		Steps:         append([]Step{}, b.cutover.steps...),
		FencedSeconds: fenced.Seconds(),
		Verification:  verified,
	}
}
