// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/memkeep/memkeep/cache-server/server"
)

// taker does what a word asks for.
type taker func(c *server.Config, value string) error

// suboption says what a word of -o takes and does. Words of which memcached is merely told how to run its slabs,
// queues and hash table have no effect but to be shown.
type suboption struct {
	// take is what is done with the value; nil does nothing.
	take taker
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
	"no_chunked_items":        {take: wholePages},
	"tail_repair_time":        {take: number("tail_repair_time", bounds{10, 1<<31 - 1})},
	"hash_algorithm":          {take: hashAlgorithm},
	"lru_crawler":             {take: crawler(true)},
	"no_lru_crawler":          {take: crawler(false)},
	"lru_crawler_sleep":       {take: crawlerSleep},
	"lru_crawler_tocrawl":     {take: crawlerLimit},
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
	"track_sizes":             {take: trackSizes},
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

// parseExtended reads what the -o flags say, in their order, into c.
func parseExtended(flags []string, c *server.Config) error {
	c.CrawlerSleep, c.Settings.Given = 100, make(map[string]string)
	for _, flag := range flags {
		for word := range strings.SplitSeq(flag, ",") {
			if word == "" {
				continue
			}
			name, value, _ := strings.Cut(word, "=")
			if err := takeOption(c, name, value); err != nil {
				return fmt.Errorf("-o %s: %w", name, err)
			}
		}
	}
	return nil
}

func takeOption(c *server.Config, name, value string) error {
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
	return option.take(c, value)
}

func shown(name, value string) taker {
	return func(c *server.Config, _ string) error {
		c.Settings.Given[name] = value
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

func number(name string, b bounds) taker {
	return scaled(name, b, 1)
}

func kibibytes(name string) taker {
	return scaled(name, bounds{0, 1 << 21}, 1<<10)
}

func mebibytes(name string) taker {
	return scaled(name, bounds{0, 1 << 21}, 1<<20)
}

// scaled keeps a number in units for stats settings.
func scaled(name string, b bounds, unit int64) taker {
	return func(c *server.Config, value string) error {
		n, err := within(value, b)
		if err != nil {
			return err
		}
		c.Settings.Given[name] = strconv.FormatInt(n*unit, 10)
		return nil
	}
}

func fraction(name string, most float64) taker {
	return func(c *server.Config, value string) error {
		n, err := strconv.ParseFloat(value, 64)
		if err != nil || n <= 0 || n > most {
			return fmt.Errorf("%q is no number above 0 and up to %g", value, most)
		}
		c.Settings.Given[name] = strconv.FormatFloat(n, 'f', 2, 64)
		return nil
	}
}

func crawlerSleep(c *server.Config, value string) (err error) {
	c.CrawlerSleep, err = within(value, bounds{0, 1_000_000})
	return err
}

func crawlerLimit(c *server.Config, value string) (err error) {
	c.CrawlerLimit, err = within(value, bounds{0, 1<<32 - 1})
	return err
}

func trackSizes(c *server.Config, _ string) error {
	c.TrackSizes = true
	return nil
}

// wholePages asks for items that are never parted into chunks.
func wholePages(c *server.Config, _ string) error {
	c.Settings.SlabChunkMax = 1 << 20
	return nil
}

func crawler(on bool) taker {
	return func(c *server.Config, _ string) error {
		c.NoCrawler = !on
		return nil
	}
}

func watcherBuffer(c *server.Config, value string) error {
	n, err := within(value, bounds{0, 1 << 20})
	if err != nil {
		return err
	}
	c.WatcherBuffer = int(n) << 10
	return nil
}

func automove(c *server.Config, value string) error {
	if value == "" {
		value = "1"
	}
	return number("slab_automove", bounds{0, 2})(c, value)
}

func chunkMax(c *server.Config, value string) error {
	n, err := within(value, bounds{1, 1 << 20})
	if err != nil {
		return err
	}
	if n <= 1<<10 {
		n <<= 10 // 1.6.45 counts kibibytes and takes no more of them; older releases count bytes
	}
	c.Settings.SlabChunkMax = int(n)
	return nil
}

func hashAlgorithm(_ *server.Config, value string) error {
	switch value {
	case "jenkins", "murmur3", "xxh3":
		return nil // the hash is keyed and of our own choice in any case
	default:
		return fmt.Errorf("%q is none of jenkins, murmur3 and xxh3", value)
	}
}

func maintainer(on bool) taker {
	return func(c *server.Config, _ string) error {
		c.Settings.NoMaintainer = !on
		return nil
	}
}

func temporaryTTL(c *server.Config, value string) error {
	n, err := within(value, bounds{0, 1<<31 - 1})
	if err != nil {
		return err
	}
	c.Settings.Given["temp_lru"], c.Settings.Given["temporary_ttl"] = "yes", strconv.FormatInt(n, 10)
	return nil
}

func idleTimeout(c *server.Config, value string) error {
	n, err := within(value, bounds{0, 1<<31 - 1})
	if err != nil {
		return err
	}
	c.IdleTimeout = time.Duration(n) * time.Second
	return nil
}

// noModern asks for memcached's older defaults.
func noModern(c *server.Config, _ string) error {
	c.NoCrawler, c.Settings.NoMaintainer = true, true
	if c.Settings.SlabChunkMax == 0 {
		c.Settings.SlabChunkMax = 1 << 20
	}
	for _, name := range []string{"slab_reassign", "maxconns_fast"} {
		c.Settings.Given[name] = "no"
	}
	c.Settings.Given["slab_automove"] = "0"
	return nil
}
