// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"
)

const (
	defaultCommands   = 200_000
	commandsPerStream = 400
)

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// names of the two sides, in the order in which they are asked.
var names = [2]string{"memcached", "cache-server"}

// answer is what one server said to a stream.
type answer struct {
	stream []byte
	err    error
}

// askBoth sends each side its stream, cut in the same places as far as they agree.
func askBoth(addrs [2]string, streams [2][]byte, seed uint64) ([2]answer, error) {
	var answers [2]answer
	done := make(chan int, 2)
	for i := range addrs {
		go func() {
			rng := rand.New(rand.NewPCG(seed, 1))
			answers[i].stream, answers[i].err = exchange(addrs[i], cut(rng, streams[i]))
			done <- i
		}()
	}
	<-done
	<-done
	return answers, errors.Join(answers[0].err, answers[1].err)
}

// casOrder checks that the CAS numbers of both sides change together and rise.
type casOrder struct {
	last [2]map[string]uint64
}

func newCASOrder() *casOrder {
	return &casOrder{last: [2]map[string]uint64{{}, {}}}
}

func (o *casOrder) check(ours, theirs reply) error {
	key := theirs.key
	changed := [2]bool{}
	for i, r := range []reply{theirs, ours} {
		before, known := o.last[i][key]
		if known && r.cas < before {
			return fmt.Errorf("%s: the CAS of %q fell from %d to %d", names[i], key, before, r.cas)
		}
		changed[i] = !known || r.cas != before
		o.last[i][key] = r.cas
	}
	if changed[0] != changed[1] {
		return fmt.Errorf("the CAS of %q changed: %s %v, %s %v", key, names[0], changed[0], names[1], changed[1])
	}
	return nil
}

// compare returns how many replies agree, and where the first does not.
func compare(order *casOrder, answers [2]answer) (int, error) {
	theirs, ours := parseReplies(answers[0].stream), parseReplies(answers[1].stream)
	for i := range min(len(theirs), len(ours)) {
		if theirs[i].text != ours[i].text {
			return i, fmt.Errorf("reply %d: %s says %s, %s says %s", i, names[0], shorten(theirs[i].text),
				names[1], shorten(ours[i].text))
		}
		if theirs[i].key != "" {
			if err := order.check(ours[i], theirs[i]); err != nil {
				return i, fmt.Errorf("reply %d: %w", i, err)
			}
		}
	}
	if len(theirs) != len(ours) {
		return min(len(theirs), len(ours)), fmt.Errorf("%s sends %d replies, %s %d",
			names[0], len(theirs), names[1], len(ours))
	}
	return len(theirs), nil
}

func shorten(text string) string {
	const most = 120
	if len(text) > most {
		return fmt.Sprintf("%q and %d bytes more", text[:most], len(text)-most)
	}
	return fmt.Sprintf("%q", text)
}

// pair is both servers.
type pair struct {
	addrs [2]string
}

// prepare empties both caches and fills them with a few items, and makes the stream for a seed.
func (p *pair) prepare(seed uint64) (*generator, error) {
	warm := newGenerator(seed, [2]map[string]uint64{})
	for _, key := range keys {
		warm.emit("delete %s noreply\r\n", key)
	}
	for range 20 {
		warm.emit("set %s %d 0 2 noreply\r\n%02d\r\n", warm.shortKey(), warm.rng.IntN(9), warm.rng.IntN(99))
	}
	var cas [2]map[string]uint64
	for i, addr := range p.addrs {
		_, err := exchange(addr, [][]byte{warm.out[i].Bytes()})
		if err != nil {
			return nil, fmt.Errorf("prepare %s: %w", names[i], err)
		}
		if cas[i], err = casOf(addr, keys); err != nil {
			return nil, fmt.Errorf("ask %s for CAS numbers: %w", names[i], err)
		}
	}
	g := newGenerator(seed, cas)
	g.emit("version\r\n")
	for range commandsPerStream {
		g.command()
	}
	return g, nil
}

// run sends the first n commands of a seed's stream to both and compares the replies.
func (p *pair) run(order *casOrder, seed uint64, n int) (replies int, difference, err error) {
	g, err := p.prepare(seed)
	if err != nil {
		return 0, nil, err
	}
	answers, err := askBoth(p.addrs, g.prefix(n), seed)
	if err != nil {
		return 0, nil, err
	}
	replies, difference = compare(order, answers)
	return replies, difference, nil
}

// explain finds the first command of a stream after which the replies differ, and shows it with what came
// before.
func (p *pair) explain(t *testing.T, seed uint64) {
	t.Helper()
	lengths := make([]int, commandsPerStream)
	for i := range lengths {
		lengths[i] = i
	}
	first, _ := slices.BinarySearchFunc(lengths, true, func(n int, _ bool) int {
		if _, difference, err := p.run(newCASOrder(), seed, n); difference != nil || err != nil {
			return 0
		}
		return -1
	})
	g, err := p.prepare(seed)
	if err != nil {
		t.Errorf("explain stream %d: %v", seed, err)
		return
	}
	for n := max(first-6, 1); n <= min(first, commandsPerStream); n++ {
		before := len(g.prefix(n - 1)[1])
		t.Logf("stream %d command %d: %s", seed, n, shorten(string(g.prefix(n)[1][before:])))
	}
}

// TestSameRepliesAsMemcached is the heart of the promise to be compatible.
func TestSameRepliesAsMemcached(t *testing.T) {
	p := &pair{addrs: [2]string{startMemcached(t), startOurs(t)}}
	commands := envInt(t, "MEMKEEP_DIFF_COMMANDS", defaultCommands)
	seed := uint64(envInt(t, "MEMKEEP_DIFF_SEED", 1))
	order := newCASOrder()
	started, compared, replies, differences := time.Now(), 0, 0, 0
	for ; compared < commands && differences < 10; seed++ {
		n, difference, err := p.run(order, seed, commandsPerStream)
		if err != nil {
			t.Fatalf("stream %d: %v", seed, err)
		}
		replies += n
		compared += commandsPerStream
		if difference != nil {
			differences++
			t.Errorf("stream %d: %v", seed, difference)
			p.explain(t, seed)
		}
	}
	t.Logf("%d commands compared, %d replies, %d differences, %.1f s",
		compared, replies, differences, time.Since(started).Seconds())
}
