// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// extended is what -o says, beside what is kept for stats settings alone.
type extended struct {
	idleTimeout   time.Duration
	trackSizes    bool
	noCrawler     bool
	noMaintainer  bool
	crawlerSleep  int64 // microseconds
	crawlerLimit  int64 // items of a class, 0 for all
	watcherBuffer int64 // bytes
	chunkMax      int64 // bytes, 0 unless given
	// given are settings as stats settings shows them, by their names there.
	given map[string]string
}

// suboption says what a word of -o takes and does. Words of which memcached is merely told how to run its slabs,
// queues and hash table have no effect but to be shown.
type suboption struct {
	// take is what is done with the value; nil does nothing.
	take func(e *extended, value string) error
	// refused is why the word is not taken at all.
	refused string
}

// bounds of a number, inclusive.
type bounds struct{ least, most int64 }

const (
	noTLS     = "there is no TLS yet, and a server that was asked for it must not speak without it"
	noStorage = "there is no external storage: everything is kept in memory"
	noProxy   = "there is no proxy"
)

// suboptions are memcached 1.6.45's words for -o.
var suboptions = map[string]suboption{
	"maxconns_fast":           {take: shown("maxconns_fast", "yes")},
	"no_maxconns_fast":        {take: shown("maxconns_fast", "no")},
	"hashpower":               {take: number("hashpower_init", bounds{12, 32})},
	"no_hashexpand":           {},
	"slab_reassign":           {take: shown("slab_reassign", "yes")},
	"no_slab_reassign":        {take: shown("slab_reassign", "no")},
	"slab_automove":           {take: automove},
	"no_slab_automove":        {take: shown("slab_automove", "0")},
	"slab_automove_ratio":     {take: fraction("slab_automove_ratio", 1)},
	"slab_automove_window":    {take: number("slab_automove_window", bounds{3, 1800})},
	"slab_automove_freeratio": {take: fraction("slab_automove_freeratio", 1)},
	"slab_sizes":              {},
	"slab_chunk_max":          {take: chunkMax},
	"no_chunked_items":        {take: func(e *extended, _ string) error { e.chunkMax = 1 << 20; return nil }},
	"tail_repair_time":        {take: number("tail_repair_time", bounds{10, 1<<31 - 1})},
	"hash_algorithm":          {take: hashAlgorithm},
	"lru_crawler":             {take: func(e *extended, _ string) error { e.noCrawler = false; return nil }},
	"no_lru_crawler":          {take: func(e *extended, _ string) error { e.noCrawler = true; return nil }},
	"lru_crawler_sleep":       {take: count(func(e *extended) *int64 { return &e.crawlerSleep }, bounds{0, 1_000_000}, 1)},
	"lru_crawler_tocrawl":     {take: count(func(e *extended) *int64 { return &e.crawlerLimit }, bounds{0, 1<<32 - 1}, 1)},
	"lru_maintainer":          {take: maintainer(true)},
	"no_lru_maintainer":       {take: maintainer(false)},
	"hot_lru_pct":             {take: number("hot_lru_pct", bounds{1, 79})},
	"warm_lru_pct":            {take: number("warm_lru_pct", bounds{1, 79})},
	"hot_max_factor":          {take: fraction("hot_max_factor", 1<<20)},
	"warm_max_factor":         {take: fraction("warm_max_factor", 1<<20)},
	"temporary_ttl":           {take: temporaryTTL},
	"idle_timeout":            {take: idleTimeout},
	"watcher_logbuf_size":     {take: watcherBuffer},
	"worker_logbuf_size":      {take: kibibytes("worker_logbuf_size")},
	"track_sizes":             {take: func(e *extended, _ string) error { e.trackSizes = true; return nil }},
	"inline_ascii_resp":       {},
	"no_inline_ascii_resp":    {},
	"modern":                  {},
	"no_modern":               {take: noModern},
	"relaxed_privileges":      {},
	"no_drop_privileges":      {},
	"drop_privileges":         {refused: "no filter on system calls is built in: use systemd's or the container's"},
	"resp_obj_mem_limit":      {},
	"read_buf_mem_limit":      {take: mebibytes("read_buf_mem_limit")},
	"sock_cookie_id":          {refused: "there are no socket cookies"},
}

// refusedPrefixes begin words that belong to what is not there.
var refusedPrefixes = map[string]string{"ssl_": noTLS, "ext_": noStorage, "proxy_": noProxy}

// parseExtended reads what the -o flags say, in their order.
func parseExtended(flags []string) (*extended, error) {
	e := &extended{crawlerSleep: 100, watcherBuffer: 256 << 10, given: make(map[string]string)}
	for _, flag := range flags {
		for word := range strings.SplitSeq(flag, ",") {
			if word == "" {
				continue
			}
			name, value, _ := strings.Cut(word, "=")
			if err := e.apply(name, value); err != nil {
				return nil, fmt.Errorf("-o %s: %w", name, err)
			}
		}
	}
	return e, nil
}

func (e *extended) apply(name, value string) error {
	option, known := suboptions[name]
	if !known {
		for prefix, reason := range refusedPrefixes {
			if strings.HasPrefix(name, prefix) {
				return errors.New(reason)
			}
		}
		return errors.New("there is no such option")
	}
	if option.refused != "" {
		return errors.New(option.refused)
	}
	if option.take == nil {
		return nil
	}
	return option.take(e, value)
}

func shown(name, value string) func(*extended, string) error {
	return func(e *extended, _ string) error {
		e.given[name] = value
		return nil
	}
}

// within reads a number within bounds.
func within(value string, b bounds) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < b.least || n > b.most {
		return 0, fmt.Errorf("%q is no number from %d to %d", value, b.least, b.most)
	}
	return n, nil
}

func number(name string, b bounds) func(*extended, string) error {
	return scaled(name, b, 1)
}

func kibibytes(name string) func(*extended, string) error {
	return scaled(name, bounds{0, 1 << 21}, 1<<10)
}

func mebibytes(name string) func(*extended, string) error {
	return scaled(name, bounds{0, 1 << 21}, 1<<20)
}

// scaled keeps a number in units for stats settings.
func scaled(name string, b bounds, unit int64) func(*extended, string) error {
	return func(e *extended, value string) error {
		n, err := within(value, b)
		if err != nil {
			return err
		}
		e.given[name] = strconv.FormatInt(n*unit, 10)
		return nil
	}
}

// count keeps a number in units where field points.
func count(field func(*extended) *int64, b bounds, unit int64) func(*extended, string) error {
	return func(e *extended, value string) error {
		n, err := within(value, b)
		if err != nil {
			return err
		}
		*field(e) = n * unit
		return nil
	}
}

func fraction(name string, most float64) func(*extended, string) error {
	return func(e *extended, value string) error {
		n, err := strconv.ParseFloat(value, 64)
		if err != nil || n <= 0 || n > most {
			return fmt.Errorf("%q is no number above 0 and up to %g", value, most)
		}
		e.given[name] = strconv.FormatFloat(n, 'f', 2, 64)
		return nil
	}
}

func watcherBuffer(e *extended, value string) error {
	return count(func(e *extended) *int64 { return &e.watcherBuffer }, bounds{0, 1 << 20}, 1<<10)(e, value)
}

func automove(e *extended, value string) error {
	if value == "" {
		value = "1"
	}
	return number("slab_automove", bounds{0, 2})(e, value)
}

func chunkMax(e *extended, value string) error {
	n, err := within(value, bounds{1, 1 << 20})
	if err != nil {
		return err
	}
	if n <= 1<<10 {
		n <<= 10 // 1.6.45 counts kibibytes and takes no more of them; older releases count bytes
	}
	e.chunkMax = n
	return nil
}

func hashAlgorithm(_ *extended, value string) error {
	switch value {
	case "jenkins", "murmur3", "xxh3":
		return nil // the hash is keyed and of our own choice in any case
	default:
		return fmt.Errorf("%q is none of jenkins, murmur3 and xxh3", value)
	}
}

func maintainer(on bool) func(*extended, string) error {
	return func(e *extended, _ string) error {
		e.noMaintainer = !on
		return nil
	}
}

func temporaryTTL(e *extended, value string) error {
	n, err := within(value, bounds{0, 1<<31 - 1})
	if err != nil {
		return err
	}
	e.given["temp_lru"], e.given["temporary_ttl"] = "yes", strconv.FormatInt(n, 10)
	return nil
}

func idleTimeout(e *extended, value string) error {
	n, err := within(value, bounds{0, 1<<31 - 1})
	if err != nil {
		return err
	}
	e.idleTimeout = time.Duration(n) * time.Second
	return nil
}

// noModern asks for memcached's older defaults.
func noModern(e *extended, _ string) error {
	e.noCrawler, e.noMaintainer = true, true
	if e.chunkMax == 0 {
		e.chunkMax = 1 << 20
	}
	for _, name := range []string{"slab_reassign", "maxconns_fast"} {
		e.given[name] = "no"
	}
	e.given["slab_automove"] = "0"
	return nil
}
