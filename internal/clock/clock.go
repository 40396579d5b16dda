// Package clock makes time a value that is passed in, so that a rule which
// speaks of hours and years can be tested in microseconds. It promises nothing
// about order: two readings of a wall clock may go backwards.
package clock

import "time"

// Clock tells the time.
type Clock func() time.Time

// System is the machine's clock, in UTC.
func System() time.Time { return time.Now().UTC() }
