// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Engine holds items in memory.
type Engine struct {
	mu    sync.Mutex
	cfg   Config
	items map[string]*entry
	cas   uint64
	live  int64
	bar   uint64
	stats Stats
}

type entry struct {
	Item
	value  []byte
	stored int64
}

// New makes an engine.
func New(cfg Config) (*Engine, error) {
	if cfg.MaxBytes < MinBytes {
		return nil, fmt.Errorf("MaxBytes %d is below the minimum %d", cfg.MaxBytes, MinBytes)
	}
	if cfg.Now == nil {
		start := time.Now()
		base := start.Unix()
		cfg.Now = func() int64 { return base + int64(time.Since(start)/time.Second) }
	}
	return &Engine{cfg: cfg, items: map[string]*entry{}, stats: Stats{LimitBytes: cfg.MaxBytes}}, nil
}

// Close frees everything.
func (e *Engine) Close() error { return nil }

// Now is the engine's clock in seconds.
func (e *Engine) Now() int64 { return e.cfg.Now() }

func (e *Engine) find(key []byte) *entry {
	it := e.items[string(key)]
	if it == nil {
		return nil
	}
	now := e.cfg.Now()
	if it.Expires != 0 && it.Expires <= now || it.CAS <= e.bar ||
		e.live != 0 && e.live <= now && it.stored < e.live {
		e.remove(key)
		return nil
	}
	return it
}

func (e *Engine) remove(key []byte) {
	if it := e.items[string(key)]; it != nil {
		e.stats.CurrItems--
		e.stats.Bytes -= int64(ItemSize(len(key), len(it.value), it.Flags))
		delete(e.items, string(key))
	}
}

// Get appends the value of key to dst. ok is false on a miss.
func (e *Engine) Get(dst, key []byte) (value []byte, it Item, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if i := e.find(key); i != nil {
		return append(dst, i.value...), i.Item, true
	}
	return dst, Item{}, false
}

// GetAndTouch is Get that sets the expiry in the same step.
func (e *Engine) GetAndTouch(dst, key []byte, expires int64) (value []byte, it Item, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if i := e.find(key); i != nil {
		i.Expires = expires
		return append(dst, i.value...), i.Item, true
	}
	return dst, Item{}, false
}

func (e *Engine) put(m *Mutation, value []byte, flags uint32, expires int64) Result {
	size := ItemSize(len(m.Key), len(value), flags)
	if size > e.cfg.MaxItemSize || len(m.Key) > MaxKeyLen {
		if m.Verb == Set {
			e.remove(m.Key)
		}
		e.stats.TooLarge++
		return Result{Outcome: TooLarge}
	}
	e.remove(m.Key)
	for k := range e.items {
		if e.stats.Bytes+int64(size) <= e.stats.LimitBytes {
			break
		}
		e.remove([]byte(k))
		e.stats.Evictions++
	}
	e.cas++
	e.items[string(m.Key)] = &entry{
		Item:  Item{Flags: flags, CAS: e.cas, Expires: expires, Size: len(value)},
		value: value, stored: e.cfg.Now(),
	}
	e.stats.CurrItems++
	e.stats.TotalItems++
	e.stats.Bytes += int64(size)
	return Result{Outcome: Stored, CAS: e.cas}
}

// Apply does one change in one atomic step. It keeps no reference to m or what it points to.
func (e *Engine) Apply(m *Mutation) Result {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.find(m.Key)
	if old == nil {
		switch m.Verb {
		case Set, Add:
			if m.CAS == 0 || m.Verb == Add {
				return e.put(m, append([]byte(nil), m.Value...), m.Flags, m.Expires)
			}
			return Result{Outcome: NotFound}
		case Replace, Append, Prepend:
			return Result{Outcome: NotStored}
		default:
			return Result{Outcome: NotFound}
		}
	}
	if m.Verb == Add {
		return Result{Outcome: NotStored}
	}
	if (m.CAS != 0 || m.Verb == CompareAndSwap) && m.CAS != old.CAS {
		return Result{Outcome: Exists}
	}
	switch m.Verb {
	case Append:
		return e.put(m, append(append([]byte(nil), old.value...), m.Value...), old.Flags, old.Expires)
	case Prepend:
		return e.put(m, append(append([]byte(nil), m.Value...), old.value...), old.Flags, old.Expires)
	case Increment, Decrement:
		return e.count(m, old)
	case Touch:
		old.Expires = m.Expires
		return Result{Outcome: Touched, CAS: old.CAS}
	case Delete:
		e.remove(m.Key)
		return Result{Outcome: Deleted}
	default:
		return e.put(m, append([]byte(nil), m.Value...), m.Flags, m.Expires)
	}
}

func (e *Engine) count(m *Mutation, old *entry) Result {
	text := strings.TrimRight(string(old.value), " ")
	if _, ok := new(big.Int).SetString(text, 10); !ok {
		return Result{Outcome: NonNumeric}
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return Result{Outcome: NonNumeric}
	}
	if m.Verb == Increment {
		n += m.Delta
	} else {
		n -= min(n, m.Delta)
	}
	out := strconv.FormatUint(n, 10)
	for len(out) < len(old.value) {
		out += " "
	}
	r := e.put(m, []byte(out), old.Flags, old.Expires)
	r.Number = n
	return r
}

// FlushAll makes everything stored before at invisible once the clock reaches it; 0 means now.
func (e *Engine) FlushAll(at int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if at == 0 || at <= e.cfg.Now() {
		e.bar = e.cas
		return
	}
	e.live = at
}

// SetBudget changes the budget while serving.
func (e *Engine) SetBudget(bytes int64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if bytes < MinBytes {
		return fmt.Errorf("budget %d is below the minimum %d", bytes, MinBytes)
	}
	e.stats.LimitBytes = bytes
	return nil
}

// Stats are the engine's counters now.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stats
}

// ResetStats sets the counters of events back to 0.
func (e *Engine) ResetStats() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats = Stats{CurrItems: e.stats.CurrItems, Bytes: e.stats.Bytes, LimitBytes: e.stats.LimitBytes}
}

// Range calls fn for every item that is visible, until it returns false. fn must not call the engine.
func (e *Engine) Range(fn func(key []byte, it Item) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for k := range e.items {
		if it := e.find([]byte(k)); it != nil && !fn([]byte(k), it.Item) {
			return
		}
	}
}
