// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package linearizability

import (
	"strconv"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// request is what a client asked.
type request struct {
	verb, key, value string
	cas              uint64 // to compare with
}

// outcome is what a reply means.
type outcome int

const (
	done    outcome = iota // stored, deleted, touched, counted, found
	missing                // there is no item
	refused                // there is one: by add; its CAS is another: by cas
	noNumber
)

// reply is what a client was told. CAS is 0 where the command does not tell.
type reply struct {
	outcome outcome
	value   string
	cas     uint64
}

// item is the state of one key. CAS is 0 while nobody has been told.
type item struct {
	here  bool
	value string
	cas   uint64
}

// checked makes the model of one key. Under pressure an item may go at any moment.
func checked(pressure bool) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return item{} },
		Step: func(state, input, output any) (bool, any) {
			return step(pressure, state.(item), input.(request), output.(reply))
		},
		Partition: byKey,
	}
}

// byKey gives each key its requests. What concerns all keys concerns each.
func byKey(history []porcupine.Operation) [][]porcupine.Operation {
	keys := make(map[string][]porcupine.Operation)
	for _, op := range history {
		if key := op.Input.(request).key; key != "" {
			keys[key] = append(keys[key], op)
		}
	}
	var parts [][]porcupine.Operation
	for key := range keys {
		for _, op := range history {
			if op.Input.(request).key == "" {
				keys[key] = append(keys[key], op)
			}
		}
		parts = append(parts, keys[key])
	}
	return parts
}

// step tells whether a reply is right where the state is before, and what the state is then.
func step(pressure bool, before item, in request, out reply) (bool, item) {
	stored := item{here: true, value: in.value, cas: out.cas}
	switch {
	case in.verb == "flush":
		return true, item{}
	case out.outcome == missing:
		return !before.here || pressure, item{}
	case in.verb == "set":
		return out.outcome == done, stored
	case in.verb == "add" && out.outcome == done:
		return !before.here || pressure, stored
	case !before.here:
		return false, before
	case in.verb == "cas" && out.outcome == refused:
		return before.cas != in.cas, before
	case in.verb == "cas":
		return before.cas == in.cas, stored
	case in.verb == "add":
		return true, before
	}
	return stepHere(before, in, out)
}

// stepHere is step for what needs an item and finds one.
func stepHere(before item, in request, out reply) (bool, item) {
	after := item{here: true, value: before.value, cas: out.cas}
	switch in.verb {
	case "get":
		if before.cas != 0 {
			after.cas = before.cas
		}
		return out.value == before.value && (out.cas == after.cas || out.cas == 0), after
	case "append":
		after.value += in.value
		return out.outcome == done, after
	case "incr":
		n, err := strconv.ParseUint(before.value, 10, 64)
		if out.outcome == noNumber {
			return err != nil, before
		}
		after.value = strconv.FormatUint(n+1, 10)
		return err == nil && after.value == out.value, after
	case "touch":
		return true, before
	default: // delete, expire
		return true, item{}
	}
}

// TestWrongHistoriesAreRejected shows that the model would notice.
func TestWrongHistoriesAreRejected(t *testing.T) {
	const k = "k"
	at := func(client int, call, ret int64, in request, out reply) porcupine.Operation {
		in.key = k
		return porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: ret}
	}
	set := func(v string) request { return request{verb: "set", value: v} }
	get := request{verb: "get"}
	for _, c := range []struct {
		name     string
		pressure bool
		history  []porcupine.Operation
		want     bool
	}{
		{"a read sees what was written", false, []porcupine.Operation{
			at(0, 1, 2, set("x"), reply{}), at(1, 3, 4, get, reply{value: "x", cas: 7})}, true},
		{"a read may see either side of a write beside it", false, []porcupine.Operation{
			at(0, 1, 2, set("x"), reply{}), at(0, 3, 9, set("y"), reply{}), at(1, 4, 5, get, reply{value: "x"}),
			at(1, 6, 7, get, reply{value: "y"})}, true},
		{"a read sees no value that was overwritten before it", false, []porcupine.Operation{
			at(0, 1, 2, set("x"), reply{}), at(0, 3, 4, set("y"), reply{}), at(1, 5, 6, get, reply{value: "x"})}, false},
		{"a value does not come back", false, []porcupine.Operation{
			at(0, 1, 2, set("x"), reply{}), at(0, 3, 9, set("y"), reply{}), at(1, 4, 5, get, reply{value: "y"}),
			at(1, 6, 7, get, reply{value: "x"})}, false},
		{"without pressure nothing goes", false, []porcupine.Operation{
			at(0, 1, 2, set("x"), reply{}), at(1, 3, 4, get, reply{outcome: missing})}, false},
		{"under pressure it may", true, []porcupine.Operation{
			at(0, 1, 2, set("x"), reply{}), at(1, 3, 4, get, reply{outcome: missing})}, true},
		{"what went does not come back", true, []porcupine.Operation{
			at(0, 1, 2, set("x"), reply{}), at(1, 3, 4, get, reply{outcome: missing}),
			at(1, 5, 6, get, reply{value: "x"})}, false},
		{"one of two swaps with one CAS", false, []porcupine.Operation{
			at(0, 1, 2, set("x"), reply{cas: 5}), at(0, 3, 9, request{verb: "cas", value: "y", cas: 5}, reply{cas: 6}),
			at(1, 4, 8, request{verb: "cas", value: "z", cas: 5}, reply{cas: 7})}, false},
		{"two adds do not both store", false, []porcupine.Operation{
			at(0, 1, 4, request{verb: "add", value: "x"}, reply{}),
			at(1, 2, 3, request{verb: "add", value: "y"}, reply{})}, false},
		{"no count is lost", false, []porcupine.Operation{
			at(0, 1, 2, set("1"), reply{}), at(0, 3, 6, request{verb: "incr"}, reply{value: "2"}),
			at(1, 4, 5, request{verb: "incr"}, reply{value: "2"})}, false},
		{"an item is deleted once", false, []porcupine.Operation{
			at(0, 1, 2, set("1"), reply{}), at(0, 3, 6, request{verb: "delete"}, reply{}),
			at(1, 4, 5, request{verb: "delete"}, reply{})}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := porcupine.CheckOperationsTimeout(checked(c.pressure), c.history, time.Minute)
			if (got == porcupine.Ok) != c.want {
				t.Errorf("the history is %s", got)
			}
		})
	}
}
