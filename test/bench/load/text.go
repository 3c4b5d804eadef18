// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import "strconv"

// textCodec speaks the classic text protocol.
type textCodec struct {
	values  *values
	setTail string // what follows the key of a set
	getTail string // what follows the key of a VALUE line
	header  []byte // scratch
}

func newTextCodec(v *values) *textCodec {
	size := strconv.Itoa(v.size)
	return &textCodec{values: v, setTail: " 0 0 " + size + "\r\n", getTail: " 0 " + size + "\r\n"}
}

func (c *textCodec) get(dst []byte, id uint32) []byte {
	dst = append(dst, "get "...)
	return append(appendKey(dst, id), "\r\n"...)
}

func (c *textCodec) multiget(dst []byte, ids []uint32) []byte {
	dst = append(dst, "get"...)
	for _, id := range ids {
		dst = appendKey(append(dst, ' '), id)
	}
	return append(dst, "\r\n"...)
}

func (c *textCodec) set(dst []byte, id uint32) []byte {
	dst = append(appendKey(append(dst, "set "...), id), c.setTail...)
	return append(append(dst, c.values.of(id)...), "\r\n"...)
}

func (c *textCodec) check(in []byte, e *expectation) (int, verdict) {
	switch e.kind {
	case kindSet:
		return checkWord(in, "STORED\r\n", done)
	case kindEnd:
		return checkWord(in, "END\r\n", done)
	case kindKey:
		return c.checkKey(in, e.id)
	default:
		if len(in) > 0 && in[0] == 'E' {
			return checkWord(in, "END\r\n", miss)
		}
		return checkValue(in, c.valueLine(e.id), c.values.of(e.id), "\r\nEND\r\n")
	}
}

// checkKey looks for the value of one key of many. Another one's value, or the end, means that it missed.
func (c *textCodec) checkKey(in []byte, id uint32) (int, verdict) {
	if len(in) > 0 && in[0] == 'E' {
		return 0, miss
	}
	const start = "VALUE "
	if starts(in[:min(len(in), len(start))], start) == wrong {
		return 0, wrong
	}
	if len(in) < len(start)+KeyLen {
		return 0, more
	}
	if !hasKey(in[len(start):], id) {
		return 0, miss
	}
	return checkValue(in, c.valueLine(id), c.values.of(id), "\r\n")
}

func (c *textCodec) valueLine(id uint32) []byte {
	c.header = append(appendKey(append(c.header[:0], "VALUE "...), id), c.getTail...)
	return c.header
}

// checkWord expects one fixed reply.
func checkWord(in []byte, want string, as verdict) (int, verdict) {
	switch v := starts(in, want); v {
	case hit:
		return len(want), as
	default:
		return 0, v
	}
}
