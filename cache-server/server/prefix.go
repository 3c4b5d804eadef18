// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// maxPrefixes bounds how many prefixes stats detail keeps: clients choose them.
const maxPrefixes = 4096

// prefixes counts commands by what stands before the first delimiter of their keys, while stats detail is on.
type prefixes struct {
	delimiter byte
	enabled   atomic.Bool
	mu        sync.Mutex
	byName    map[string]*prefixCounts
}

type prefixCounts struct {
	gets, hits, sets, deletes uint64
}

func (p *prefixes) record(key []byte, count func(*prefixCounts)) {
	i := bytes.IndexByte(key, p.delimiter)
	if i < 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.byName[string(key[:i])]
	if c == nil {
		if len(p.byName) >= maxPrefixes {
			return
		}
		if p.byName == nil {
			p.byName = make(map[string]*prefixCounts)
		}
		c = new(prefixCounts)
		p.byName[string(key[:i])] = c
	}
	count(c)
}

func (p *prefixes) recordGet(key []byte, hit bool) {
	p.record(key, func(c *prefixCounts) {
		c.gets++
		if hit {
			c.hits++
		}
	})
}

func (p *prefixes) recordSet(key []byte) {
	p.record(key, func(c *prefixCounts) { c.sets++ })
}

func (p *prefixes) recordDelete(key []byte) {
	p.record(key, func(c *prefixCounts) { c.deletes++ })
}

func (p *prefixes) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byName = nil
}

// appendDump appends one line a prefix, in the order of their names.
func (p *prefixes) appendDump(dst []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(p.byName)) {
		c := p.byName[name]
		dst = append(dst, "PREFIX "...)
		dst = append(dst, name...)
		for _, n := range []struct {
			label string
			count uint64
		}{{" get ", c.gets}, {" hit ", c.hits}, {" set ", c.sets}, {" del ", c.deletes}} {
			dst = append(dst, n.label...)
			dst = strconv.AppendUint(dst, n.count, 10)
		}
		dst = append(dst, "\r\n"...)
	}
	return dst
}
