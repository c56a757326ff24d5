package progress

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
)

// Board is where the rooms of the engine write down what happens, and where others read how the migration stands. Its methods
// are named after events, and are safe for concurrent use.
type Board struct {
	log *slog.Logger

	mu         sync.Mutex // guards what follows
	phase      Phase
	method     ledger.Method // empty until it is decided
	reason     string        // of the method, for people
	touched    bool
	warnings   []string
	tables     map[uint32]*Table // by OID on the source
	copying    copying
	lag        *lag
	streamed   int64        // transactions applied by earlier streams of this run
	streaming  func() int64 // transactions applied by the stream that runs now; nil without
	finalizing bool
	cutover    cutover
}

// New gives a board for a migration of which nothing is known yet.
func New(log *slog.Logger) *Board {
	return &Board{log: log, phase: Preparing, tables: map[uint32]*Table{}}
}

// Enter says that a phase has begun.
func (b *Board) Enter(p Phase) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase != p {
		b.log.Info("phase", "phase", string(p))
		b.phase = p
	}
}

// Phase gives the phase.
func (b *Board) Phase() Phase {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.phase
}

// MethodChosen says how the migration carries changes. It is decided once, and is in the ledger.
func (b *Board) MethodChosen(method ledger.Method, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.method, b.reason = method, reason
}

// SourceTouched says that something may have been made on the source from now on.
func (b *Board) SourceTouched() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.touched = true
}

// Touched says whether something may have been made on the source in this run.
func (b *Board) Touched() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.touched
}

// maxWarnings bounds the list; the newest are kept.
const maxWarnings = 20

// Warn adds a text for the user, once.
func (b *Board) Warn(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Contains(b.warnings, text) {
		return
	}
	b.warnings = append(b.warnings, text)
	if len(b.warnings) > maxWarnings {
		b.warnings = b.warnings[len(b.warnings)-maxWarnings:]
	}
}

// StreamBegan says that changes are applied; transactions counts them.
func (b *Board) StreamBegan(transactions func() int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.streaming = transactions
}

// StreamEnded says that none are applied any more, so that nothing is known of the lag.
func (b *Board) StreamEnded() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.streaming != nil {
		b.streamed += b.streaming()
	}
	b.streaming, b.lag = nil, nil
}

// Progress gives a copy of what is known of the replication.
func (b *Board) Progress() Progress {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := Progress{
		Phase:               b.phase,
		Method:              string(b.method),
		MethodReason:        b.reason,
		InSync:              b.phase == InSync,
		TransactionsApplied: b.streamed,
		Warnings:            append([]string{}, b.warnings...),
		Tables:              make([]TableProgress, 0, len(b.tables)),
	}
	if b.finalizing && b.phase == InSync {
		p.Phase = Finalizing
	}
	if b.streaming != nil {
		p.TransactionsApplied += b.streaming()
	}
	if b.lag != nil {
		bytes, seconds := b.lag.bytes, b.lag.seconds
		p.LagBytes, p.LagSeconds = &bytes, &seconds
	}
	for _, t := range b.sorted() {
		report := t.report(b.method)
		p.Tables = append(p.Tables, report)
		p.BytesCopied += report.BytesCopied
		p.BytesTotal += report.BytesTotal
		p.RowsCopied += report.RowsCopied
		p.RowsTotal += report.RowsTotal
	}
	b.copying.estimate(&p, time.Now())
	return p
}
