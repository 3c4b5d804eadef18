// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
)

// model is what an engine should hold: a plain map.
type model struct {
	now   int64
	items map[string]*modelItem
	limit int
	flush int64 // when a pending flush is due; 0 if none is
}

type modelItem struct {
	value []byte
	Item
}

func (m *model) get(key string) *modelItem {
	if m.flush != 0 && m.now >= m.flush {
		clear(m.items)
		m.flush = 0
	}
	it := m.items[key]
	if it != nil && it.Expires != 0 && it.Expires <= m.now {
		delete(m.items, key)
		return nil
	}
	return it
}

// apply is what the mutation should answer, but for the CAS of what it stores.
func (m *model) apply(mu *Mutation) Result {
	it := m.get(string(mu.Key))
	if it == nil {
		return m.applyToNothing(mu)
	}
	counts := mu.Verb == Increment || mu.Verb == Decrement
	swaps := mu.Verb == CompareAndSwap
	outdated := false
	switch {
	case mu.Verb == Add:
		it.LastAccess = m.now
		return Result{Outcome: NotStored}
	case counts && len(it.value) == 0:
		return Result{Outcome: NonNumeric}
	case swaps && mu.CAS == 0:
		return Result{Outcome: Exists}
	case (mu.CAS != 0 || mu.HasCAS) && mu.CAS != it.CAS:
		if outdated = swaps && mu.Invalidate && mu.CAS < it.CAS; !outdated {
			return Result{Outcome: Exists}
		}
	}
	switch mu.Verb {
	case Append:
		return m.extend(mu, append(bytes.Clone(it.value), mu.Value...), it)
	case Prepend:
		return m.extend(mu, append(bytes.Clone(mu.Value), it.value...), it)
	case Delete:
		return m.remove(mu, it)
	case Touch:
		it.Expires, it.LastAccess, it.Fetched = mu.Expires, m.now, true
		return Result{Outcome: Touched, CAS: it.CAS, Item: it.Item}
	case Increment, Decrement:
		return m.count(mu, it)
	default:
	}
	old := it.Item
	res := m.store(mu, mu.Value, mu.Flags, mu.Expires)
	if outdated && res.Outcome == Stored {
		now := m.items[string(mu.Key)]
		now.Stale, now.WinSent, now.Expires = true, old.WinSent, old.Expires
		res.Item = now.Item
	}
	return res
}

func (m *model) applyToNothing(mu *Mutation) Result {
	made := Result{Outcome: NotFound}
	switch mu.Verb {
	case Add:
		made = m.store(mu, mu.Value, mu.Flags, mu.Expires)
	case Set:
		if mu.CAS == 0 && !mu.HasCAS {
			made = m.store(mu, mu.Value, mu.Flags, mu.Expires)
		}
	case Replace:
		made.Outcome = NotStored
	case Append, Prepend:
		made.Outcome = NotStored
		if mu.Vivify {
			made = m.store(mu, mu.Value, mu.Flags, mu.VivifyExpires)
		}
	case Increment, Decrement:
		if mu.Vivify {
			made = m.store(mu, strconv.AppendUint(nil, mu.Initial, 10), 0, mu.VivifyExpires)
			made.Number = mu.Initial
		}
	default:
	}
	made.Created = made.Outcome == Stored
	return made
}

func (m *model) extend(mu *Mutation, value []byte, it *modelItem) Result {
	plain := *mu
	plain.BinaryKey = false
	return m.store(&plain, value, it.Flags, it.Expires)
}

func (m *model) remove(mu *Mutation, it *modelItem) Result {
	switch {
	case !mu.Invalidate && !mu.DropValue:
		delete(m.items, string(mu.Key))
		return Result{Outcome: Deleted}
	case mu.DropValue:
		*it = modelItem{Item: Item{
			Flags: mu.Flags, Expires: mu.Expires, CAS: it.CAS, LastAccess: m.now, BinaryKey: mu.BinaryKey,
		}}
	case mu.SetExpiry:
		it.Expires = mu.Expires
	}
	if mu.Invalidate {
		it.Stale, it.WinSent = true, false
		it.CAS = anyCAS
	}
	if mu.HasNewCAS {
		it.CAS = mu.NewCAS
	}
	return Result{Outcome: Deleted, Item: it.Item}
}

func (m *model) count(mu *Mutation, it *modelItem) Result {
	n, ok := numberOf(it.value)
	if !ok || ItemSize(len(mu.Key), len(it.value), it.Flags) > 512<<10 {
		return Result{Outcome: NonNumeric}
	}
	if mu.Verb == Increment {
		n += mu.Delta
	} else {
		n -= min(n, mu.Delta)
	}
	old, size, expires := it.Item, len(it.value), it.Expires
	if mu.SetExpiry {
		expires = mu.Expires
	}
	res := m.store(mu, fmt.Appendf(nil, "%-*d", size, n), it.Flags, expires)
	res.Number = n
	if res.Outcome == Stored {
		res.OldExpires = old.Expires
	}
	if now := m.items[string(mu.Key)]; len(now.value) == size {
		now.Fetched, now.Stale, now.WinSent, now.BinaryKey = old.Fetched, old.Stale, old.WinSent, old.BinaryKey
		res.Item = now.Item
	}
	return res
}

// anyCAS stands for a CAS that the engine is free to choose.
const anyCAS = 1<<64 - 7

func (m *model) store(mu *Mutation, value []byte, flags uint32, expires int64) Result {
	if ItemSize(len(mu.Key), len(value), flags) > m.limit {
		if mu.Verb == Set {
			delete(m.items, string(mu.Key))
		}
		return Result{Outcome: TooLarge}
	}
	it := &modelItem{value: bytes.Clone(value), Item: Item{
		Flags: flags, Expires: expires, CAS: anyCAS, Size: len(value), LastAccess: m.now, BinaryKey: mu.BinaryKey,
	}}
	if mu.HasNewCAS {
		it.CAS = mu.NewCAS
	}
	m.items[string(mu.Key)] = it
	return Result{Outcome: Stored, CAS: it.CAS, Item: it.Item}
}

// read is what a read should answer, but for the CAS of what it makes.
func (m *model) read(r *Read) (ReadResult, []byte) {
	it := m.get(string(r.Key))
	res := ReadResult{Hit: true}
	if it == nil {
		if !r.Vivify {
			return ReadResult{}, nil
		}
		mu := Mutation{Verb: Add, Key: r.Key, NewCAS: r.NewCAS, HasNewCAS: r.HasNewCAS, BinaryKey: r.BinaryKey}
		m.store(&mu, nil, 0, r.VivifyExpires)
		it = m.items[string(r.Key)]
		res.Created, res.Won = true, true
	} else {
		res.OldExpires = it.Expires
		looked := it.Expires
		if r.Touch {
			it.Expires = r.Expires
			if r.RecacheTouched {
				looked = r.Expires
			}
		}
		res.Won = !it.WinSent && (it.Stale || r.Recache && looked != 0 && looked < r.RecacheBefore)
	}
	res.Item = it.Item
	res.HasValue = !r.NoValue && (!r.HasUnlessCAS || r.UnlessCAS != it.CAS)
	it.WinSent = it.WinSent || res.Won
	if !r.NoBump {
		it.Fetched, it.LastAccess = true, m.now
	}
	return res, it.value
}

var numberText = regexp.MustCompile(`(?s)^[ \t-\r]*([+-]?)([0-9]+)([ \t-\r\x00].*)?$`)

// numberOf is what strtoull makes of a value, worked out with big numbers.
func numberOf(value []byte) (uint64, bool) {
	m := numberText.FindSubmatch(value)
	if m == nil {
		return 0, false
	}
	n, _ := new(big.Int).SetString(string(m[2]), 10)
	if !n.IsUint64() {
		return 0, false
	}
	u := n.Uint64()
	if string(m[1]) == "-" {
		u = -u
		return u, u < 1<<63
	}
	return u, true
}
