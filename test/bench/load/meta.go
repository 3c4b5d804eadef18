// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import "strconv"

// metaCodec speaks the meta commands: mg, ms and mn.
type metaCodec struct {
	values *values
	size   string
	header []byte // scratch
}

func newMetaCodec(v *values) *metaCodec {
	return &metaCodec{values: v, size: strconv.Itoa(v.size)}
}

func (c *metaCodec) get(dst []byte, id uint32) []byte {
	return append(appendKey(append(dst, "mg "...), id), " v\r\n"...)
}

// multiget asks for each key and to be told of hits alone, and for a sign that all were looked at.
func (c *metaCodec) multiget(dst []byte, ids []uint32) []byte {
	for _, id := range ids {
		dst = append(appendKey(append(dst, "mg "...), id), " k q v\r\n"...)
	}
	return append(dst, "mn\r\n"...)
}

func (c *metaCodec) set(dst []byte, id uint32) []byte {
	dst = append(appendKey(append(dst, "ms "...), id), ' ')
	dst = append(append(dst, c.size...), "\r\n"...)
	return append(append(dst, c.values.of(id)...), "\r\n"...)
}

func (c *metaCodec) check(in []byte, e *expectation) (int, verdict) {
	switch e.kind {
	case kindSet:
		return checkWord(in, "HD\r\n", done)
	case kindEnd:
		return checkWord(in, "MN\r\n", done)
	case kindKey:
		return c.checkKey(in, e.id)
	default:
		if len(in) > 0 && in[0] == 'E' {
			return checkWord(in, "EN\r\n", miss)
		}
		c.header = append(append(append(c.header[:0], "VA "...), c.size...), "\r\n"...)
		return checkValue(in, c.header, c.values.of(e.id), "\r\n")
	}
}

// checkKey looks for the value of one key of many, of which only hits are told, each with its key.
func (c *metaCodec) checkKey(in []byte, id uint32) (int, verdict) {
	if len(in) > 0 && in[0] == 'M' {
		return 0, miss
	}
	c.header = append(append(append(c.header[:0], "VA "...), c.size...), " k"...)
	start := len(c.header)
	if len(in) >= start+KeyLen && string(in[:start]) == string(c.header) && !hasKey(in[start:], id) {
		return 0, miss
	}
	c.header = append(appendKey(c.header, id), "\r\n"...)
	return checkValue(in, c.header, c.values.of(id), "\r\n")
}
