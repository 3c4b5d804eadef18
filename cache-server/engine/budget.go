// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import "fmt"

// SetBudget changes the budget while serving. It returns at once; where the budget falls, the keeper
// evicts and gives pages back to the kernel in small steps, and Stats.MappedBytes shows how far it
// got. Budgets lie between what the partitions or two of the largest items need, and the address
// space that New reserved: four times the budget of the start, and no less than 1 GiB.
func (e *Engine) SetBudget(bytes int64) error {
	least := leastBudget(e.maxItem, len(e.parts), e.arena.shift)
	if bytes < least {
		return fmt.Errorf("budget %d is below the minimum %d", bytes, least)
	}
	if bytes > e.arena.reserved {
		return fmt.Errorf("budget %d is above the maximum %d reserved at the start", bytes, e.arena.reserved)
	}
	e.pool.setBudget(bytes)
	e.keeper.wake()
	return nil
}

// Budget is the budget and how much of the arena may be resident in memory, both in bytes. While the budget
// falls the second is larger.
func (e *Engine) Budget() (budget, mapped int64) { return e.pool.sizes() }

// leastBudget is what the partitions or two of the largest items need.
func leastBudget(maxItem, parts int, shift uint) int64 {
	return max(MinBytes, 2*int64(maxItem), int64(parts*unitsLeast)<<shift)
}

// gather collects units for a large value from all partitions. It returns a list of them, or 0 if
// there are not enough to be had.
func (e *Engine) gather(count int) unit {
	var list unit
	for got := 0; got < count; {
		u := e.pool.alloc(false)
		if u != 0 {
			e.arena.desc(u).next = list
			list = u
			got++
			continue
		}
		if e.noEvict || !e.evictSomewhere() {
			e.ungather(list)
			return 0
		}
	}
	return list
}

func (e *Engine) ungather(list unit) {
	for list != 0 {
		next := e.arena.desc(list).next
		e.pool.free(list)
		list = next
	}
}

// accept takes what was gathered.
func (p *partition) accept(list unit) {
	for list != 0 {
		next := p.a.desc(list).next
		p.pushSpare(list)
		p.units.Add(1)
		list = next
	}
}

// evictSomewhere takes a bounded step in the partition with the most units that can still give. It
// returns false if none can.
func (e *Engine) evictSomewhere() bool {
	now := e.tick()
	tried := make([]bool, len(e.parts))
	for range e.parts {
		best, most := -1, -1
		for i := range e.parts {
			if n := int(e.parts[i].units.Load()); !tried[i] && n > most {
				best, most = i, n
			}
		}
		tried[best] = true
		if e.parts[best].giveSome(now) {
			return true
		}
	}
	return false
}

// giveSome empties a little of a partition for the others.
func (p *partition) giveSome(now int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	defer p.mend()
	before := p.units.Load()
	more := p.trimIndex()
	more = p.reclaim(keeperRecords, now) || more
	p.trim(1)
	return more || p.units.Load() < before
}
