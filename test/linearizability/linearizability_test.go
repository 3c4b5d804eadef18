// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package linearizability

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/memkeep/memkeep/test/inprocess"
	"github.com/memkeep/memkeep/test/lane"
)

const (
	clients         = 8
	defaultRequests = 3000 // of each client
	checkFor        = 2 * time.Minute
)

var keys = []string{"a", "b", "c", "d"}

// scenario is what happens beside the clients.
type scenario struct {
	name     string
	pressure bool // items may be evicted
	flushes  bool
	// beside is called again and again until the clients are done.
	beside func(c *client, round int) error
}

var scenarios = []scenario{
	{name: "few keys and nothing beside"},
	{name: "flush_all among them", flushes: true},
	{name: "while the index grows", beside: func(c *client, round int) error {
		if round >= 100 { // 200,000 items, which fit
			time.Sleep(time.Millisecond)
			return nil
		}
		return c.fill(round, 2000, 8)
	}},
	{name: "while others evict and the budget falls and rises", pressure: true, beside: func(c *client, round int) error {
		if round%16 == 15 {
			if _, err := c.ask(fmt.Sprintf("cache_memlimit %d\r\n", []int{16, 64}[round/16%2])); err != nil {
				return err
			}
		}
		return c.fill(round, 100, 20_000)
	}},
}

func TestHistoriesAreLinearizable(t *testing.T) {
	requests := lane.Number(t, "MEMKEEP_LINEAR_REQUESTS", defaultRequests)
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			addr := inprocess.Serve(t, 64).String()
			history := record(t, addr, s, requests)
			switch got := porcupine.CheckOperationsTimeout(checked(s.pressure), history, checkFor); got {
			case porcupine.Ok:
				t.Logf("%d requests on %d keys by %d clients are linearizable", len(history), len(keys), clients)
			case porcupine.Unknown:
				t.Errorf("no verdict on %d requests within %v", len(history), checkFor)
			default:
				t.Errorf("there is no order of these %d requests that explains all replies", len(history))
			}
			evictions := stat(t, addr, "evictions")
			if (evictions > 0) != s.pressure {
				t.Errorf("%d items were evicted", evictions)
			}
			spoil(t, s, history)
		})
	}
}

// spoil changes one reply in a history to one that cannot be, and looks that it is noticed.
func spoil(t *testing.T, s scenario, history []porcupine.Operation) {
	t.Helper()
	for i, op := range history {
		out := op.Output.(reply)
		if op.Input.(request).verb != "get" || out.outcome != done || i < len(history)/2 {
			continue
		}
		spoilt := append([]porcupine.Operation{}, history...)
		out.value += "?"
		spoilt[i].Output = out
		if porcupine.CheckOperationsTimeout(checked(s.pressure), spoilt, checkFor) == porcupine.Ok {
			t.Error("a reply that nobody can have had is explained")
		}
		return
	}
	t.Error("no get found anything")
}

// record runs the clients and returns what they asked and were told.
func record(t *testing.T, addr string, s scenario, requests int) []porcupine.Operation {
	t.Helper()
	histories := make([][]porcupine.Operation, clients)
	begin := time.Now()
	var running, besides sync.WaitGroup
	var over atomic.Bool
	if s.beside != nil {
		besides.Go(func() {
			c := dial(t, addr)
			for round := 0; !over.Load(); round++ {
				if err := s.beside(c, round); err != nil {
					t.Errorf("beside the clients: %v", err)
					return
				}
			}
		})
	}
	for id := range clients {
		running.Go(func() {
			w := worker{client: dial(t, addr), id: id, rng: rand.New(rand.NewPCG(uint64(id), 42)), seen: map[string]uint64{}}
			for n := range requests {
				in := w.request(n, s.flushes)
				call := time.Since(begin).Nanoseconds()
				out, err := w.send(in)
				if err != nil {
					t.Errorf("client %d, %v: %v", id, in, err)
					return
				}
				histories[id] = append(histories[id], porcupine.Operation{
					ClientId: id, Input: in, Call: call, Output: out, Return: time.Since(begin).Nanoseconds(),
				})
			}
		})
	}
	running.Wait()
	over.Store(true)
	besides.Wait()
	var all []porcupine.Operation
	for _, h := range histories {
		all = append(all, h...)
	}
	return all
}

// worker is one client, and what it has seen.
type worker struct {
	*client
	id   int
	rng  *rand.Rand
	seen map[string]uint64 // the last CAS of each key
}

// request chooses what to ask next. No two clients write the same value, except numbers.
func (w *worker) request(n int, flushes bool) request {
	in := request{key: keys[w.rng.IntN(len(keys))], value: fmt.Sprintf("%d.%d,", w.id, n)}
	switch p := w.rng.IntN(100); {
	case p < 25:
		in.verb = "get"
	case p < 40:
		in.verb = "set"
		if w.rng.IntN(2) == 0 {
			in.value = strconv.Itoa(n)
		}
	case p < 50:
		in.verb = "add"
	case p < 60:
		in.verb = "append"
	case p < 75:
		in.verb = "cas"
		if in.cas = w.seen[in.key]; in.cas == 0 {
			in.verb = "get"
		}
	case p < 87:
		in.verb = "incr"
	case p < 93:
		in.verb = "delete"
	case p < 96:
		in.verb = "touch"
	case p < 98 || !flushes:
		in.verb = "expire"
	default:
		return request{verb: "flush"}
	}
	return in
}

// send asks in meta commands or in classic ones, and reads the reply.
func (w *worker) send(in request) (reply, error) {
	line, err := w.ask(wording(in, w.rng.IntN(2) == 0))
	if err != nil {
		return reply{}, err
	}
	out, err := w.understand(in, line)
	if out.cas != 0 {
		w.seen[in.key] = out.cas
	}
	return out, err
}

// wording is a request as the protocol has it.
func wording(in request, meta bool) string {
	size := len(in.value)
	switch in.verb {
	case "flush":
		return "flush_all\r\n"
	case "touch":
		return "touch " + in.key + " 0\r\n"
	case "expire":
		return "touch " + in.key + " -1\r\n"
	case "append":
		return fmt.Sprintf("ms %s %d c MA\r\n%s\r\n", in.key, size, in.value)
	}
	if meta {
		switch in.verb {
		case "get":
			return "mg " + in.key + " v c\r\n"
		case "delete":
			return "md " + in.key + "\r\n"
		case "incr":
			return "ma " + in.key + " v c\r\n"
		case "cas":
			return fmt.Sprintf("ms %s %d c C%d\r\n%s\r\n", in.key, size, in.cas, in.value)
		}
		mode := map[string]string{"set": "MS", "add": "ME"}[in.verb]
		return fmt.Sprintf("ms %s %d c %s\r\n%s\r\n", in.key, size, mode, in.value)
	}
	switch in.verb {
	case "get":
		return "gets " + in.key + "\r\n"
	case "delete":
		return "delete " + in.key + "\r\n"
	case "incr":
		return "incr " + in.key + " 1\r\n"
	case "cas":
		return fmt.Sprintf("cas %s 0 0 %d %d\r\n%s\r\n", in.key, size, in.cas, in.value)
	}
	return fmt.Sprintf("%s %s 0 0 %d\r\n%s\r\n", in.verb, in.key, size, in.value)
}

// understand reads a reply whose first line has come.
func (w *worker) understand(in request, line string) (reply, error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return reply{}, fmt.Errorf("an empty reply")
	}
	out := reply{}
	if last := words[len(words)-1]; last[0] == 'c' && len(words) > 1 {
		out.cas, _ = strconv.ParseUint(last[1:], 10, 64)
	}
	var err error
	switch words[0] {
	case "HD", "STORED", "DELETED", "TOUCHED", "OK":
	case "VA":
		out.value, err = w.line()
	case "VALUE":
		out.cas, _ = strconv.ParseUint(words[4], 10, 64)
		if out.value, err = w.line(); err == nil {
			_, err = w.line() // END
		}
	case "EN", "NF", "END", "NOT_FOUND":
		out = reply{outcome: missing}
	case "NS", "NOT_STORED":
		out = reply{outcome: refused}
		if in.verb == "append" {
			out.outcome = missing
		}
	case "EX", "EXISTS":
		out = reply{outcome: refused}
	case "CLIENT_ERROR":
		out = reply{outcome: noNumber}
	default:
		if in.verb != "incr" {
			return out, fmt.Errorf("it says %q", line)
		}
		out.value = words[0]
	}
	return out, err
}
