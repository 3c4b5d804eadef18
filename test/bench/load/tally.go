// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package load

// tally gathers what one read brought, so that shared counters and the histogram are touched once a read.
type tally struct {
	record                             bool
	now                                int64
	requests, keys, hits, misses, sets uint64
	at                                 int64 // when the requests below were to leave
	alike                              int64 // how many there are of them
}

// note counts one reply.
func (t *tally) note(d *driver, v verdict, e *expectation) {
	switch v {
	case hit:
		t.hits++
	case miss:
		t.misses++
	default:
	}
	switch e.kind {
	case kindSet:
		t.sets++
		t.keys++
	case kindKey:
		t.keys++
		return // the request ends with kindEnd
	case kindEnd:
	case kindGet:
		t.keys++
	}
	t.requests++
	if e.at != t.at {
		t.latency(d)
		t.at = e.at
	}
	t.alike++
}

func (t *tally) latency(d *driver) {
	if t.record && t.alike > 0 {
		_ = d.latency.RecordValues(min(t.now-t.at, maxLatency), t.alike)
	}
	t.alike = 0
}

// flush hands everything to the driver.
func (t *tally) flush(d *driver) {
	t.latency(d)
	d.requests.Add(t.requests)
	d.keys.Add(t.keys)
	d.hits.Add(t.hits)
	d.misses.Add(t.misses)
	d.sets.Add(t.sets)
}
