// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import "strconv"

// maxDigits is the length of the largest number, 2^64-1.
const maxDigits = 20

// parseNumber reads a number as memcached does, which hands the value to strtoull and so takes white
// space before it, a sign, and anything behind it from the first white space or zero byte on. A minus
// counts modulo 2^64, but results of 2^63 and above are refused with it.
func parseNumber(v []byte) (uint64, bool) {
	i, negative := 0, false
	for i < len(v) && isSpace(v[i]) {
		i++
	}
	if i < len(v) && (v[i] == '+' || v[i] == '-') {
		negative = v[i] == '-'
		i++
	}
	var n uint64
	first := i
	for ; i < len(v) && '0' <= v[i] && v[i] <= '9'; i++ {
		d := uint64(v[i] - '0')
		if n > (1<<64-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	if i == first || i < len(v) && !isSpace(v[i]) && v[i] != 0 {
		return 0, false
	}
	if negative {
		n = -n
		if int64(n) < 0 {
			return 0, false
		}
	}
	return n, true
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// count does Increment and Decrement. A result that is not longer than the value is written in its
// place and padded with spaces to its length, a longer one makes a new item; both as in memcached.
func (p *partition) count(m *Mutation, at place, h *header, now int64, buf *[maxDigits]byte) (Result, []byte) {
	r := slotRef(*at.slot)
	// A value in pieces is far too large to be a number.
	if h.bits&bitChain != 0 {
		return Result{Outcome: NonNumeric}, nil
	}
	value := p.a.inline(r, h)
	n, ok := parseNumber(value)
	switch {
	case !ok:
		return Result{Outcome: NonNumeric}, nil
	case m.Verb == Increment:
		n += m.Delta
	default:
		n -= min(n, m.Delta)
	}
	digits := strconv.AppendUint(buf[:0], n, 10)
	res := Result{Outcome: Stored, Number: n}
	if len(digits) > len(value) {
		return res, digits
	}
	for i := copy(value, digits); i < len(value); i++ {
		value[i] = ' '
	}
	h.cas = p.e.cas.Add(1)
	res.CAS = h.cas
	p.use(at, h, now)
	return res, nil
}
