package preflight

import (
	"fmt"
	"time"
)

// offlineRate is how many bytes of the source's database, indexes included, the offline method moves in a second: copy,
// indexes and verification together, measured on two cores and rounded down.
const offlineRate = 20 << 20

// OfflineTime is how long an offline finalization of a database of that many bytes takes, as a rough estimate.
func OfflineTime(bytes int64) time.Duration {
	return time.Duration(bytes/offlineRate+1) * time.Second
}

// OfflineText says in words what the offline method means for a database of that many bytes; 0 means that its size is not
// known.
func OfflineText(bytes int64) string {
	const text = "everything is copied during the finalization"
	if bytes == 0 {
		return text
	}
	duration := "1 minute"
	if minutes := (OfflineTime(bytes) + time.Minute - 1) / time.Minute; minutes > 1 {
		duration = fmt.Sprintf("%d minutes", minutes)
	}
	size := fmt.Sprintf("%d MB", bytes>>20)
	if bytes >= 10<<30 {
		size = fmt.Sprintf("%d GB", bytes>>30)
	}
	return fmt.Sprintf("%s, about %s without writes (%s at %d MB/s)", text, duration, size, offlineRate>>20)
}

// goOffline makes of the findings for which the source cannot replicate what they are with the offline method: they stop
// nothing any more, and what matters to logical decoding alone is left out. It gives the reasons; none means that the source
// can replicate.
func goOffline(all catalog, findings []Finding, bytes int64) (kept []Finding, reasons []string) {
	for _, f := range findings {
		if all[f.ID].leavesOffline && f.Severity == Critical {
			reasons = append(reasons, f.Text)
		}
	}
	if reasons == nil {
		return findings, nil
	}
	for _, f := range findings {
		c := all[f.ID]
		if c.onlyLogical {
			continue
		}
		if c.leavesOffline && f.Severity == Critical {
			f.Severity = Warning
			f.Text += ": " + OfflineText(bytes)
		}
		kept = append(kept, f)
	}
	return kept, reasons
}
