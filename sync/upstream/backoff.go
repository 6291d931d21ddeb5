package upstream

import (
	"math/rand/v2"
	"time"
)

// backoff is how long to wait after the given number of failures in a row (1 is the first): it doubles from base up to
// most, and a random half of it is left out, so that a city's gateways do not come back in one moment.
func backoff(failures int, base, most time.Duration) time.Duration {
	d := base
	for i := 1; i < failures && d < most; i++ {
		d *= 2
	}
	d = min(d, most)
	return d - time.Duration(rand.Int64N(int64(d)/2+1))
}

// Where waits begin.
const (
	dialBackoff  = 250 * time.Millisecond // between attempts to reach the centre
	holdBackoff  = time.Second            // before a held partition is tried again
	loadBackoff  = 250 * time.Millisecond // before positions are asked for again
	closeBackoff = 100 * time.Millisecond // before sending on, after the producer was replaced
)
