// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import "fmt"

// symbol stands for a CAS number: the k-th that the two servers have shown, each its own.
type symbol int

// symbols are the CAS numbers that a stream has seen. The servers count differently, so that numbers are not
// compared: where one server shows a number again, the other must show its counterpart.
type symbols struct {
	values [][2]uint64
	known  [2]map[uint64]symbol
	// current is the last that was shown for a key.
	current map[string]symbol
	// last is the highest that a server has given to a key, where no client has set it.
	last [2]map[string]uint64
}

// literalCAS is where the CAS numbers lie that clients choose: no server counts that far.
const literalCAS = 1 << 60

func newSymbols() *symbols {
	return &symbols{
		known:   [2]map[uint64]symbol{{}, {}},
		current: make(map[string]symbol),
		last:    [2]map[string]uint64{{}, {}},
	}
}

// match notes one CAS of a reply, or tells why the two cannot be counterparts. key may be empty.
func (s *symbols) match(key string, cas [2]uint64) error {
	at, known := [2]symbol{}, [2]bool{}
	for i := range cas {
		at[i], known[i] = s.known[i][cas[i]]
	}
	switch {
	case !known[0] && !known[1]:
		s.values = append(s.values, cas)
		for i := range cas {
			at[i] = symbol(len(s.values) - 1)
			s.known[i][cas[i]] = at[i]
		}
	case known != [2]bool{true, true} || at[0] != at[1]:
		return fmt.Errorf("CAS %d of %s and CAS %d of %s were no counterparts before", cas[0], names[0], cas[1], names[1])
	}
	if key == "" {
		return nil
	}
	s.current[key] = at[0]
	for i, number := range cas {
		if number >= literalCAS || number == 0 {
			continue
		}
		if number < s.last[i][key] {
			return fmt.Errorf("%s: the CAS of %q fell from %d to %d", names[i], key, s.last[i][key], number)
		}
		s.last[i][key] = number
	}
	return nil
}

// number is what a server calls a symbol.
func (s *symbols) number(side int, k symbol) uint64 {
	if k < 0 || int(k) >= len(s.values) {
		return literalCAS - 1
	}
	return s.values[k][side]
}
