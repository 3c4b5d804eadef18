// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

const (
	expiryStreams  = 16 // of each kind, half of it after each try that was too slow
	expiryCommands = 20 // between two pauses
	expiryPauses   = 4
	// expiryPeriod and expiryTTLs fit together: whatever was stored within the first 0.5 s of a period expires, by
	// clocks that tick once a second and not at the same moment, before or after the first 0.5 s of any later one.
	expiryPeriod = 2500 * time.Millisecond
	expirySlack  = 500 * time.Millisecond
)

var expiryTTLs = []string{"2", "4", "7", "9", "2", "4", "0", "1000", "-1"}

// TestSameRepliesAsItemsExpire compares streams whose items live for a few seconds, with pauses in between. One of the
// pauses ends a delayed flush_all.
func TestSameRepliesAsItemsExpire(t *testing.T) {
	t.Parallel()
	for try := range 4 {
		// Fresh servers: what a try that was too slow has left would not be the same on both.
		p := &pair{addrs: [2]string{startMemcached(t), startOurs(t)}}
		late, err := p.runExpiring(t, expiryStreams>>try)
		switch {
		case err != nil:
			t.Fatal(err)
		case late == 0:
			return
		}
		t.Logf("try %d: the machine was too busy: %v late", try, late)
	}
	t.Skip("the machine is too busy to tell what expires when")
}

// runExpiring returns how much too late it was, in which case nothing is said about the replies.
func (p *pair) runExpiring(t *testing.T, each int) (late time.Duration, err error) {
	t.Helper()
	var streams []*expiring
	for i := range each {
		for _, k := range []kind{textKind, metaKind, binKind} {
			streams = append(streams, &expiring{seen: newSymbols(),
				stream: stream{kind: k, seed: uint64(i), prefix: fmt.Sprintf("%s:%d:", k.name, i)}})
		}
	}
	begin := time.Now()
	var differences []error
	replies := 0
	for part := range expiryPauses + 1 {
		time.Sleep(time.Until(begin.Add(time.Duration(part) * expiryPeriod)))
		count, found, err := p.runParts(streams, part)
		if err != nil {
			return 0, err
		}
		replies += count
		differences = append(differences, found...)
		if part == 1 { // comes into effect before the next part, and long after this one
			for _, addr := range p.addrs {
				if _, err := exchange(addr, [][]byte{[]byte("flush_all 2\r\n")}, textFarewell); err != nil {
					return 0, err
				}
			}
		}
		if took := time.Since(begin) - time.Duration(part)*expiryPeriod; took > expirySlack {
			return took - expirySlack, nil
		}
	}
	t.Logf("%d streams with %d pauses: %d replies compared, %d differences", len(streams), expiryPauses, replies,
		len(differences))
	for _, difference := range differences {
		t.Error(difference)
	}
	return 0, nil
}

// expiring is a stream that goes on after each pause.
type expiring struct {
	stream
	seen *symbols
	over bool // it has differed, or the connection was cut off
}

// runParts runs the same part of all streams, a few at once.
func (p *pair) runParts(streams []*expiring, part int) (replies int, differences []error, err error) {
	var mu sync.Mutex
	var running sync.WaitGroup
	next := make(chan *expiring, len(streams))
	for _, s := range streams {
		next <- s
	}
	close(next)
	for range workers {
		running.Go(func() {
			for s := range next {
				if s.over {
					continue
				}
				g := s.part(part, expiryCommands, s.seen, expiryTTLs...)
				got, failed := p.talk(s.kind, g.streams(), s.seed+uint64(part))
				count, difference := compare(s.seen, s.kind, got)
				s.over = difference != nil || s.kind.cutOff != nil && s.kind.cutOff(got[0])
				mu.Lock()
				replies += count
				if failed != nil {
					err = failed
				}
				if difference != nil {
					differences = append(differences, fmt.Errorf("%s stream %d part %d: %w", s.kind.name, s.seed, part, difference))
				}
				mu.Unlock()
			}
		})
	}
	running.Wait()
	return replies, differences, err
}
