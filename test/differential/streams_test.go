// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/memkeep/memkeep/test/lane"
)

const (
	defaultCommands  = 200_000 // of each kind
	partsPerStream   = 4
	commandsPerPart  = 100
	workers          = 4
	mostDifferences  = 10
	progressInterval = 10 * time.Second
)

// stream is a sequence of conversations that follows from its seed. CAS numbers of one are used by the next.
type stream struct {
	kind   kind
	seed   uint64
	prefix string // of its keys
	alone  bool   // no other stream runs beside it
	newer  bool   // the reference is a 1.6.45
	pace   *pace  // where items expire between the parts
}

// part makes one conversation, cut off after some commands.
func (s stream) part(n int, commands int, seen *symbols) *generator {
	g := newGenerator(s.seed, uint64(n), s.prefix, seen)
	g.pace, g.alone, g.newer = s.pace, s.alone, s.newer
	if n == 0 {
		s.kind.open(g)
	}
	g.mark()
	for range commands {
		s.kind.command(g)
		g.mark()
	}
	s.kind.close(g)
	return g
}

// pair is both servers.
type pair struct {
	addrs [2]string
	newer bool // the reference is a 1.6.45
}

// startPair runs both, and asks the reference for its version.
func startPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{addrs: [2]string{startReference(t), startOurs(t)}}
	got, err := exchange(p.addrs[0], [][]byte{[]byte("version\r\n")}, textFarewell)
	if err != nil {
		t.Fatalf("ask for the version: %v", err)
	}
	p.newer = !strings.HasPrefix(string(got), "VERSION 1.6.18")
	return p
}

// talk sends each side its stream, cut in the same places as far as they agree, and parses the replies.
func (p *pair) talk(k kind, streams [2][]byte, seed uint64) (replies [2][]reply, err error) {
	err = onBoth(func(side int) error {
		rng := rand.New(rand.NewPCG(seed, 1))
		got, err := exchange(p.addrs[side], cut(rng, streams[side]), k.farewell)
		replies[side] = k.replies(got)
		return err
	})
	return replies, err
}

// run sends the first commands of a stream to both sides and compares the replies.
func (p *pair) run(s stream, commands int) (replies int, difference, err error) {
	seen := newSymbols()
	for n := 0; n < partsPerStream && (n == 0 || commands > 0); n++ {
		g := s.part(n, min(commands, commandsPerPart), seen)
		commands -= commandsPerPart
		got, err := p.talk(s.kind, g.streams(), s.seed+uint64(n))
		if err != nil {
			return replies, nil, err
		}
		count, difference := p.compare(seen, g, s.kind, got)
		replies += count
		if difference != nil {
			return replies, difference, nil
		}
		if k := s.kind; k.cutOff != nil && k.cutOff(got[0]) {
			break // what was executed before the end is not certain
		}
	}
	return replies, nil, nil
}

// errFewer marks that memcached's replies are ours, but not all of them.
var errFewer = errors.New("replies are missing")

// compare returns how many replies to a conversation agree, and where the first does not.
func (p *pair) compare(seen *symbols, g *generator, k kind, replies [2][]reply) (int, error) {
	theirs, ours := replies[0], replies[1]
	others := 0 // that many replies may be a refusal in other words
	if !p.newer {
		others = otherWords(g.streams()[1])
	}
	if k.cutOff != nil && k.cutOff(theirs) && k.cutOff(ours) {
		shared := max(min(len(theirs), len(ours))-1, 0) // the last may be cut off itself
		theirs, ours = theirs[:shared], ours[:shared]
	}
	for i := range min(len(theirs), len(ours)) {
		if others > 0 && theirs[i].text == olderRefusal && ours[i].text == newerRefusal {
			others--
			continue
		}
		if !same(theirs[i], ours[i]) {
			return i, fmt.Errorf("reply %d: %s says %v, %s says %v", i, names[0], theirs[i], names[1], ours[i])
		}
		for j := range theirs[i].cas {
			if err := seen.match(theirs[i].key, [2]uint64{theirs[i].cas[j], ours[i].cas[j]}); err != nil {
				return i, fmt.Errorf("reply %d, %v: %w", i, theirs[i], err)
			}
		}
	}
	if len(theirs) != len(ours) {
		shared := min(len(theirs), len(ours))
		longer := theirs
		if len(ours) > shared {
			longer = ours
		}
		err := fmt.Errorf("%s sends %d replies, %s %d: %v comes after %v",
			names[0], len(theirs), names[1], len(ours), longer[shared], longer[:shared][max(shared-1, 0):])
		if len(theirs) < len(ours) {
			err = fmt.Errorf("%w: %w", errFewer, err)
		}
		return shared, err
	}
	return len(theirs), nil
}

func shorten(text string) string {
	const most = 160
	if len(text) > most {
		return fmt.Sprintf("%q and %d bytes more", text[:most], len(text)-most)
	}
	return fmt.Sprintf("%q", text)
}

// explain finds the first command of a stream after which the replies differ, and shows it with what came
// before.
func (p *pair) explain(t *testing.T, s stream) {
	t.Helper()
	least, most := 0, partsPerStream*commandsPerPart
	for least < most {
		middle := (least + most) / 2
		if _, difference, err := p.run(s, middle); difference != nil || err != nil {
			most = middle
		} else {
			least = middle + 1
		}
	}
	// The commands before depend on the CAS numbers that were seen: they are made once more.
	seen := newSymbols()
	for n := range partsPerStream {
		g := s.part(n, commandsPerPart, seen)
		if least <= (n+1)*commandsPerPart || n == partsPerStream-1 {
			last := min(least-n*commandsPerPart, commandsPerPart)
			for i := max(last-8, 0); i < last; i++ {
				t.Logf("%s stream %d command %d: %s", s.kind.name, s.seed, n*commandsPerPart+i+1,
					shorten(string(g.out[1].Bytes()[g.ends[i][1]:g.ends[i+1][1]])))
			}
			return
		}
		got, err := p.talk(s.kind, g.streams(), s.seed+uint64(n))
		if err != nil {
			t.Errorf("explain stream %d: %v", s.seed, err)
			return
		}
		_, _ = p.compare(seen, g, s.kind, got)
	}
}

// tally counts what was compared.
type tally struct {
	commands, replies, differences, again atomic.Int64
}

// compareStreams runs a share of the streams one by one with commands for the whole cache among them, and the rest
// several at once, each with keys of its own.
func compareStreams(t *testing.T, p *pair, k kind, commands int, seed uint64) {
	t.Helper()
	const each = partsPerStream * commandsPerPart
	var done tally
	started, shown := time.Now(), time.Now()
	var mu sync.Mutex // of shown
	one := func(s stream) {
		replies, difference, err := p.run(s, each)
		if difference != nil && errors.Is(difference, errFewer) {
			// memcached drops the replies of a connection that it closes while it is still sending, now and then.
			done.again.Add(1)
			replies, difference, err = p.run(s, each)
		}
		if err != nil {
			t.Errorf("%s stream %d: %v", k.name, s.seed, err)
			done.differences.Add(1)
			return
		}
		done.replies.Add(int64(replies))
		n := done.commands.Add(each)
		if difference != nil {
			done.differences.Add(1)
			t.Errorf("%s stream %d: %v", k.name, s.seed, difference)
			p.explain(t, s)
		}
		mu.Lock()
		defer mu.Unlock()
		if time.Since(shown) > progressInterval {
			shown = time.Now()
			t.Logf("%s: %d of %d commands", k.name, n, commands)
		}
	}
	streams := uint64((commands + each - 1) / each)
	var next atomic.Uint64
	turn := func(last uint64, prefix string, alone bool) {
		for done.differences.Load() < mostDifferences {
			n := next.Add(1)
			if n > last {
				return
			}
			one(stream{kind: k, seed: seed + n - 1, prefix: prefix, alone: alone, newer: p.newer})
		}
	}
	turn((streams+1)/2, "", true)
	next.Store((streams + 1) / 2)
	var running sync.WaitGroup
	for i := range workers {
		running.Go(func() { turn(streams, fmt.Sprintf("%d:", i), false) })
	}
	running.Wait()
	t.Logf("%s: %d commands compared, %d replies, %d differences, %d streams twice, %.1f s", k.name, done.commands.Load(),
		done.replies.Load(), done.differences.Load(), done.again.Load(), time.Since(started).Seconds())
}

// TestSameRepliesAsMemcached is the heart of the promise to be compatible.
func TestSameRepliesAsMemcached(t *testing.T) {
	commands := lane.Number(t, "MEMKEEP_DIFF_COMMANDS", defaultCommands)
	seed := uint64(lane.Number(t, "MEMKEEP_DIFF_SEED", 1))
	for _, k := range []kind{textKind, metaKind, binKind} {
		t.Run(k.name, func(t *testing.T) {
			p := startPair(t)
			compareStreams(t, p, k, commands, seed)
		})
	}
}
