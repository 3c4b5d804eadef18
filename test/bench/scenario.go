// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"regexp"
	"time"

	"github.com/memkeep/memkeep/test/bench/load"
)

// metric names the figure of a scenario that its target is about.
type metric string

const (
	perKey metric = "CPU per key"
	tail   metric = "p99.9"
)

// scenario is one load, with the most that our figure may be in proportion to memcached's.
type scenario struct {
	name   string
	about  string
	work   load.Workload
	metric metric
	target float64 // 0 where there is none
	// open paces requests at a share of what memcached did at most in the closed loop named by saturation.
	open bool
	// resize lowers and raises the memory limit meanwhile.
	resize bool
	// long makes the measured time longer by this factor; a tail needs many samples.
	long int
	// full leaves the scenario out of a quick run.
	full bool
}

// group is a pair of fresh servers and what is done to them in order.
type group struct {
	name      string
	memoryMiB int
	preload   *load.Workload // nil for empty servers
	scenarios []scenario
}

const (
	saturation = "get90-d1"
	openShare  = 0.6

	defaultKeys       = 1_000_000
	smallMemory       = 1024  // MiB, much more than the keys with small values take
	commonConnections = 2_000 // -c of the servers
	seed              = 20
)

// common is the workload that most scenarios vary: 50 clients, keys of zipfian popularity, 100 bytes each.
func common(keys int, edit func(*load.Workload)) load.Workload {
	w := load.Workload{
		Protocol: load.Text, Connections: 50, Depth: 1, Keys: keys, ValueSize: 100, ReadPercent: 90,
		Zipf: 0.99, MustHit: true, Seed: seed,
	}
	edit(&w)
	return w
}

func preload(keys, size int) *load.Workload {
	w := common(keys, func(w *load.Workload) {
		w.Connections, w.Depth, w.ValueSize, w.ReadPercent, w.Sequential = 4, 50, size, 0, true
	})
	if size > 1<<12 {
		w.Depth = 1
	}
	return &w
}

// groups is everything that is measured in rounds.
func groups(keys int) []group {
	all := []group{
		{name: "small values", memoryMiB: smallMemory, preload: preload(keys, 100), scenarios: smallValues(keys)},
		{name: "filling", memoryMiB: 2048, scenarios: []scenario{{
			name: "fill", about: "empty at first, four of five requests add a key: the index grows",
			work: common(keys, func(w *load.Workload) { w.Keys, w.ReadPercent, w.Sequential = 1<<30, 20, true }),
			open: true, metric: tail, target: 1, long: 2,
		}}},
	}
	for _, large := range []struct {
		name       string
		keys, size int
	}{{"4k", 50_000, 4 << 10}, {"64k", 4_000, 64 << 10}, {"512k", 400, 512 << 10}} {
		all = append(all, group{
			name: "values of " + large.name, memoryMiB: 1024, preload: preload(large.keys, large.size),
			scenarios: []scenario{{
				name: "large-" + large.name, about: "90 % get, values of " + large.name + ", 16 clients", metric: perKey,
				full: large.name != "64k",
				work: common(large.keys, func(w *load.Workload) { w.Connections, w.ValueSize = 16, large.size }),
			}},
		})
	}
	return all
}

func smallValues(keys int) []scenario {
	return append(closedLoops(keys),
		scenario{
			name: "open-60", about: "90 % get, open loop at 60 % of memcached's most", open: true, metric: tail, target: 1,
			long: 2, work: common(keys, func(*load.Workload) {}),
		},
		scenario{
			name: "resize", about: "half gets, open loop at 60 %, while the memory limit goes down in steps and up again",
			open: true, resize: true, metric: tail, target: 1, long: 4,
			work: common(keys, func(w *load.Workload) { w.ReadPercent, w.MustHit = 50, false }),
		},
	)
}

func closedLoops(keys int) []scenario {
	row := func(name, about string, target float64, full bool, edit func(*load.Workload)) scenario {
		return scenario{name: name, about: about, metric: perKey, target: target, full: full, work: common(keys, edit)}
	}
	depth := func(n int) func(*load.Workload) { return func(w *load.Workload) { w.Depth = n } }
	speak := func(p load.Protocol, depth, batch int) func(*load.Workload) {
		return func(w *load.Workload) {
			w.Protocol, w.Depth, w.Batch = p, depth, batch
			if batch > 1 {
				w.ReadPercent = 100
			}
		}
	}
	write := func(depth, reads int) func(*load.Workload) {
		return func(w *load.Workload) { w.Depth, w.ReadPercent = depth, reads }
	}
	return []scenario{
		row(saturation, "90 % get, one request at a time", 1, false, depth(1)),
		row("get90-d10", "90 % get, ten requests at a time", 0.7, false, depth(10)),
		row("get90-d60", "90 % get, sixty requests at a time", 0.45, false, depth(60)),
		row("multiget-16", "get of 16 keys", 0.6, false, speak(load.Text, 1, 16)),
		row("multiget-100", "get of 100 keys", 0.6, false, speak(load.Text, 1, 100)),
		row("set-d1", "sets alone, one at a time", 1, false, write(1, 0)),
		row("set-d60", "sets alone, sixty at a time", 0.6, false, write(60, 0)),
		row("mixed-d10", "half sets, ten requests at a time", 0, true, write(10, 50)),
		row("clients-1000", "90 % get, one at a time, 1,000 clients", 0, true,
			func(w *load.Workload) { w.Connections = 1000 }),
		row("meta-d1", "mg and ms, 90 % get, one at a time", 0, true, speak(load.Meta, 1, 1)),
		row("meta-d60", "mg and ms, 90 % get, sixty at a time", 0, false, speak(load.Meta, 60, 1)),
		row("meta-100", "mg with k and q for 100 keys, then mn", 0, true, speak(load.Meta, 1, 100)),
		row("binary-d1", "binary GET and SET, 90 % get, one at a time", 0, true, speak(load.Binary, 1, 1)),
		row("binary-d60", "binary GET and SET, 90 % get, sixty at a time", 0, false, speak(load.Binary, 60, 1)),
		row("binary-100", "binary GETQ for 100 keys, then NOOP", 0, true, speak(load.Binary, 1, 100)),
	}
}

// choose keeps the scenarios that are wanted, and what has to run before them.
func choose(all []group, wanted *regexp.Regexp, quick bool) []group {
	var kept []group
	for _, g := range all {
		var scenarios []scenario
		for _, s := range g.scenarios {
			if quick && s.full || !wanted.MatchString(s.name) {
				continue
			}
			scenarios = append(scenarios, s)
		}
		if g.scenarios = scenarios; len(scenarios) > 0 {
			kept = append(kept, g)
		}
	}
	return kept
}

// span is how long a scenario is measured.
func (s *scenario) span(unit time.Duration) time.Duration {
	return unit * time.Duration(max(s.long, 1))
}
