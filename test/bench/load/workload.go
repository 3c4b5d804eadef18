// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
)

// Limits on what may be asked of one run.
const (
	maxConnections = 60_000
	maxDepth       = 1_000
	maxBatch       = 1_000
	maxValueSize   = 8 << 20
)

// Workload says what is asked, and how.
type Workload struct {
	Protocol    Protocol
	Connections int
	// Depth is how many requests are sent at once on a connection. Closed loop waits for all their replies.
	Depth int
	// Batch is how many keys one get asks for; 1 and less mean a plain get.
	Batch int
	// Keys is how many different keys there are. Each is of KeyLen bytes.
	Keys int
	// ValueSize is the size of every value in bytes.
	ValueSize int
	// ReadPercent of the requests are gets, the others sets.
	ReadPercent int
	// Zipf is the exponent of the keys' popularity, 0 being uniform.
	Zipf float64
	// Sequential writes every key once in order instead of drawing keys; gets ask for what was written before.
	Sequential bool
	// MustHit makes a miss an error.
	MustHit bool
	// Rate is how many requests leave in a second, at random times, whatever comes back: open loop. 0 is closed loop.
	Rate float64
	// Seed makes a run repeatable.
	Seed uint64

	draws []uint32
}

// Prepare checks the workload and makes its draws, which takes some memory and time.
func (w *Workload) Prepare() error {
	switch {
	case w.Connections < 1 || w.Connections > maxConnections:
		return fmt.Errorf("%d connections: from 1 to %d are possible", w.Connections, maxConnections)
	case w.Depth < 1 || w.Depth > maxDepth:
		return fmt.Errorf("depth %d: from 1 to %d are possible", w.Depth, maxDepth)
	case w.Batch < 0 || w.Batch > maxBatch:
		return fmt.Errorf("%d keys in a get: up to %d are possible", w.Batch, maxBatch)
	case w.Keys < 1 || w.Keys >= writeBit:
		return fmt.Errorf("%d keys: from 1 to %d are possible", w.Keys, writeBit-1)
	case w.ValueSize < 1 || w.ValueSize > maxValueSize:
		return fmt.Errorf("values of %d bytes: from 1 to %d are possible", w.ValueSize, maxValueSize)
	case w.ReadPercent < 0 || w.ReadPercent > 100:
		return fmt.Errorf("%d percent of gets are not possible", w.ReadPercent)
	case w.Rate < 0 || w.Rate > 1e8:
		return fmt.Errorf("%g requests a second are not possible", w.Rate)
	case w.Batch > 1 && w.ReadPercent != 100:
		return errors.New("gets of many keys come without sets")
	case w.Batch > 1 && w.Rate > 0:
		return errors.New("gets of many keys are closed loop only")
	}
	if !w.Sequential && w.draws == nil {
		w.draws = draws(w.Keys, w.Zipf, w.ReadPercent, w.Seed)
	}
	return nil
}

// perRequest is how many replies a request of w can have.
func (w *Workload) perRequest() int {
	if w.Batch > 1 {
		return w.Batch + 1
	}
	return 1
}
