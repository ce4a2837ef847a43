package memgpt

import (
	"context"
	"time"
)

const (
	firstPause = 200 * time.Millisecond
	lastPause  = 3 * time.Second
)

// backoff spaces out attempts and ends them after a time without progress, from the first failure on: a connection that hangs may
// take longer to fail than that.
type backoff struct {
	timeout time.Duration
	since   time.Time // zero until the first failure
	pause   time.Duration
}

func newBackoff(timeout time.Duration) *backoff {
	return &backoff{timeout: timeout, pause: firstPause}
}

// reset notes progress.
func (b *backoff) reset() { b.since, b.pause = time.Time{}, firstPause }

// wait pauses before the next attempt after err. It returns false when the time is used up or the context ends.
func (b *backoff) wait(ctx context.Context, err error) bool {
	pause := max(b.pause, RetryAfter(err))
	b.pause = min(2*b.pause, lastPause)
	if b.since.IsZero() {
		b.since = time.Now()
	}
	if time.Since(b.since)+pause > b.timeout {
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
