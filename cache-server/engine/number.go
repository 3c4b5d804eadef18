// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

const (
	// maxDigits is the length of the largest number, 2^64-1.
	maxDigits = 20
	// maxNumberSize is the largest item that is looked at as a number, as ItemSize counts. memcached
	// keeps larger ones in chunks, and counts with none of those.
	maxNumberSize = 512 << 10
)

// numberScan reads a number piece by piece as memcached does, which hands the value to strtoull and so
// takes white space before it, a sign, and anything behind it from the first white space or zero byte
// on. A minus counts modulo 2^64, but results of 2^63 and above are refused with it.
type numberScan struct {
	n                               uint64
	signed, negative, digits, wrong bool
}

// feed reads on. It reports whether all is known.
func (s *numberScan) feed(v []byte) (done bool) {
	for _, c := range v {
		switch {
		case '0' <= c && c <= '9':
			d := uint64(c - '0')
			if s.n > (1<<64-1-d)/10 {
				s.wrong = true
				return true
			}
			s.n = s.n*10 + d
			s.digits = true
		case s.digits:
			s.wrong = !isSpace(c) && c != 0
			return true
		case !s.signed && isSpace(c):
		case !s.signed && (c == '+' || c == '-'):
			s.signed, s.negative = true, c == '-'
		default:
			s.wrong = true
			return true
		}
	}
	return false
}

func (s *numberScan) result() (uint64, bool) {
	n := s.n
	if s.negative {
		n = -n
		s.wrong = s.wrong || int64(n) < 0
	}
	return n, s.digits && !s.wrong
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// number is the number that an item's value is.
func (p *partition) number(h *header) (uint64, bool) {
	var s numberScan
	if h.itemSize() > maxNumberSize {
		return 0, false
	}
	if !s.feed(h.inline()) && h.isChain() {
		for next := h.chain(); next != 0; {
			if s.feed(p.a.fragmentValue(next)) {
				break
			}
			next = p.a.fragment(next).next()
		}
	}
	return s.result()
}

// count is the result of Increment or Decrement. One that is not longer than the value is written in
// its place and padded with spaces to its length, a longer one makes a new item; both as in memcached.
func (p *partition) count(m *Mutation, h *header) (n uint64, ok bool) {
	if h == nil {
		return m.Initial, true
	}
	if n, ok = p.number(h); !ok {
		return 0, false
	}
	if m.Verb == Increment {
		return n + m.Delta, true
	}
	return n - min(n, m.Delta), true
}

// countInPlace writes a result that is not longer than the value.
func (p *partition) countInPlace(
	w *write, m *Mutation, at place, h *header, now int64,
) (res Result, need int, again bool) {
	if more := p.lacks(m, at, h); more != 0 {
		return p.widen(m, w.hash, more, at, h, now)
	}
	r := p.idx.ref(at)
	value := h.inline()
	// Whatever stands in pieces is longer than a number in its first one.
	blank(value[copy(value, w.src.given):])
	if h.isChain() {
		for next := h.chain(); next != 0; {
			blank(p.a.fragmentValue(next))
			next = p.a.fragment(next).next()
		}
	}
	before := p.e.expires(h.exp())
	if m.SetExpiry {
		p.setExpiry(r, h, m.Expires)
	}
	p.renew(m, r, h)
	p.use(at, h, now)
	it := p.item(r, h)
	return Result{Outcome: Stored, CAS: it.CAS, Number: w.number, Item: it, OldExpires: before}, 0, false
}

func blank(v []byte) {
	for i := range v {
		v[i] = ' '
	}
}
