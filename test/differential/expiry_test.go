// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	expiryStreams  = 16 // of each kind
	expiryCommands = 20 // between two pauses
	expiryPauses   = 4
	expiryPaces    = 6 // how often the pace is slowed down before the test gives up
)

// pace is how the parts of streams and the times of expiry between them follow each other. Every part begins a period
// after the one before and must be over after the slack. An item expires, by a clock that ticks once a second, up to a
// second before or at its time: all TTLs are whole periods and half a one, so that this comes no sooner than a slack
// after a part that is over, and no later than a slack before the next. So neither server's clock has to be set, and
// what is compared does not depend on the machine's speed: where a part, or this process's own clock, was late, the
// replies say nothing, and all is done again at half the pace.
type pace struct {
	period, slack time.Duration
	ttls          []string
}

// paceOf is 3 s and 0.5 s at first, then 5 s and 1 s, 9 s and 2 s, and so on.
func paceOf(try int) pace {
	seconds := 2<<try + 1
	p := pace{period: time.Duration(seconds) * time.Second, slack: time.Duration(seconds-1) * time.Second / 4}
	for whole := range expiryPauses {
		p.ttls = append(p.ttls, strconv.Itoa(whole*seconds+(seconds+1)/2))
	}
	p.ttls = append(p.ttls, p.ttls[:2]...) // these are seen to expire by more of the parts
	p.ttls = append(p.ttls, "0", "1000", "-1")
	return p
}

// TestSameRepliesAsItemsExpire compares streams whose items live for a few seconds, with pauses in between. One of the
// pauses ends a delayed flush_all.
func TestSameRepliesAsItemsExpire(t *testing.T) {
	t.Parallel()
	for try := range expiryPaces {
		// Fresh servers: what a try that was too slow has left would not be the same on both.
		p := &pair{addrs: [2]string{startMemcached(t), startOurs(t)}}
		late, err := p.runExpiring(t, paceOf(try))
		switch {
		case err != nil:
			t.Fatal(err)
		case late == 0:
			return
		}
		t.Logf("try %d: the machine was too busy: %v late", try, late)
	}
	t.Fatal("nothing was compared: the machine is too busy to tell what expires when, however slow the pace")
}

// runExpiring returns how much too late it was, in which case nothing is said about the replies.
func (p *pair) runExpiring(t *testing.T, pace pace) (late time.Duration, err error) {
	t.Helper()
	var streams []*expiring
	for i := range expiryStreams {
		for _, k := range []kind{textKind, metaKind, binKind} {
			streams = append(streams, &expiring{seen: newSymbols(), stream: stream{kind: k, seed: uint64(i),
				prefix: fmt.Sprintf("%s:%d:", k.name, i), pace: &pace}})
		}
	}
	lag := watchLag(t)
	begin := time.Now()
	var differences []error
	replies := 0
	for part := range expiryPauses + 1 {
		start := time.Duration(part) * pace.period
		time.Sleep(time.Until(begin.Add(start)))
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
		if late := max(time.Since(begin)-start-pace.slack, lag()-pace.slack/2); late > 0 {
			return late, nil
		}
	}
	t.Logf("%d streams with %d pauses of %v: %d replies compared, %d differences", len(streams), expiryPauses,
		pace.period, replies, len(differences))
	for _, difference := range differences {
		t.Error(difference)
	}
	return 0, nil
}

// watchLag tells how late this process has been woken at worst since. The servers' clocks, which this machine has to
// wake as well, are taken to be as late.
func watchLag(t *testing.T) func() time.Duration {
	t.Helper()
	const every = 10 * time.Millisecond
	var worst atomic.Int64
	over := t.Context().Done()
	go func() {
		for last := time.Now(); ; {
			select {
			case <-over:
				return
			case <-time.After(every):
			}
			now := time.Now()
			worst.Store(max(worst.Load(), int64(now.Sub(last)-every)))
			last = now
		}
	}()
	return func() time.Duration { return time.Duration(worst.Load()) }
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
				g := s.part(part, expiryCommands, s.seen)
				got, failed := p.talk(s.kind, g.streams(), s.seed+uint64(part))
				count, difference := p.compare(s.seen, g, s.kind, got)
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
