// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"strings"
	"testing"
)

func TestNextKeys(t *testing.T) {
	const get = "\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00a"
	const set = "\x80\x01\x00\x01\x08\x00\x00\x00\x00\x00\x00\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x00\x00\x00\x00\x00\x00\x00\x00bxy"
	rows := []struct {
		name   string
		in     string
		binary bool
		want   string // the keys, parted by spaces
		looked int    // -1 means that all was looked at
	}{
		{"nothing", "", false, "", -1},
		{"gets", "get a\r\nget b\n gets  c\r\n", false, "a b c", -1},
		{"the first key of a get of many", "get a b c\r\nget d\r\n", false, "a d", -1},
		{"what a set stores is no request", "set a 0 0 7\r\nget b\r\n\r\nget c\r\n", false, "a c", -1},
		{"a cas has a data block as well", "cas a 0 0 7 9 noreply\r\nget b\r\n\r\nget c\r\n", false, "a c", -1},
		{"meta commands", "mg a v\r\nms b 7 T0\r\nget x\r\n\r\nmn\r\nmd c\r\n", false, "a b c", -1},
		{"a size that is none", "set a 0 0 x\r\nget b\r\n", false, "a b", -1},
		{"a data block that has not come", "set a 0 0 10\r\nget", false, "a", 26},
		{"a line that has not come", "get a\r\nget b", false, "a", 7},
		{"a key that is too long", "get " + strings.Repeat("k", 251) + "\r\nget b\r\n", false, "b", -1},
		{"no more than there is room for", "get a\r\nget b\r\nget c\r\nget d\r\nget e\r\n", false, "a b c d", 28},
		{"binary requests", get + set + get, true, "a b a", -1},
		{"a binary header that has not come", get + set[:23], true, "a", len(get)},
		{"a binary key that has not come", get + set[:32], true, "a", len(get)},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var keys [4][]byte
			n, looked := NextKeys([]byte(row.in), row.binary, keys[:])
			var got []string
			for _, key := range keys[:n] {
				got = append(got, string(key))
			}
			want := row.looked
			if want < 0 {
				want = len(row.in)
			}
			if strings.Join(got, " ") != row.want || looked != want {
				t.Errorf("found %q in %d bytes, want %q in %d", got, looked, row.want, want)
			}
		})
	}
}

func FuzzNextKeys(f *testing.F) {
	f.Add([]byte("set a 0 0 7\r\nget b\r\n\r\nget c\r\n"), false)
	f.Add([]byte("ms a 4294967295\r\nmg b v\r\n"), false)
	f.Add([]byte("\x80\x00\x00\x01\x00\x00\x00\x00\xff\xff\xff\xff"+
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00a"), true)
	f.Fuzz(func(t *testing.T, in []byte, isBinary bool) {
		var keys [4][]byte
		n, looked := NextKeys(in, isBinary, keys[:])
		if n < 0 || n > len(keys) || looked < 0 || n > 0 && looked == 0 {
			t.Fatalf("found %d keys in %d bytes", n, looked)
		}
		for _, key := range keys[:n] {
			if len(key) == 0 || len(key) > MaxKeyLen {
				t.Fatalf("%q is no key", key)
			}
		}
	})
}
