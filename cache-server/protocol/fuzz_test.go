// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"bytes"
	"reflect"
	"testing"
)

// FuzzRequest checks what a server relies on, whatever the bytes are.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{"get a b\r\n", "set k 0 0 5 noreply\r\nhello\r\n", "cas k 1 2 3 4\r\n", "gat 1 a\n",
		"incr k 18446744073709551615\r\n", "delete k 0 noreply\r\n", "flush_all noreply\r\n", "stats detail dump\r\n",
		"GET / HTTP/1.1\r\n", "\x80\x00", "\x16\x03\x01", "\x00\r\n", "verbosity 1\r\n", "cache_memlimit 64\r\n",
		"mg k v q\r\n", "ms Zm9v 5 b T30 I C9 MS\r\nhello\r\n", "md k I T0 x\n",
		"ma k N0 J1 D2 M- t c v\r\n", "me Zm9v b\r\n", "mn\r\n", "mg k N30 R10 T5 Oopaque k s f h l u\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, buf []byte) {
		line, consumed, scan := NextLine(buf, 0)
		switch scan {
		case Complete:
			checkLine(t, buf, line, consumed)
		case Incomplete:
			if len(buf) > MaxLineLen || bytes.IndexByte(buf, '\n') >= 0 {
				t.Errorf("%d bytes are called incomplete", len(buf))
			}
		case TooLong, LongGet:
			if len(buf) <= MaxLineLen || consumed != 0 {
				t.Errorf("%d bytes are called too long, %d consumed", len(buf), consumed)
			}
		}
		LooksForeign(buf, true)
	})
}

func checkLine(t *testing.T, buf, line []byte, consumed int) {
	if consumed < 1 || consumed > len(buf) || buf[consumed-1] != '\n' || len(line) >= consumed {
		t.Fatalf("line of %d bytes, %d consumed of %d", len(line), consumed, len(buf))
	}
	if bytes.IndexByte(line, 0) >= 0 || bytes.IndexByte(line, '\n') >= 0 {
		t.Errorf("line %q holds an end", line)
	}
	var r Request
	Parse(line, &r)
	checkMeta(t, line, &r)
	if r.Problem != "" {
		if r.Command.IsStore() {
			t.Errorf("%q: a malformed store would take data", line)
		}
		return
	}
	if r.Command == Unknown {
		t.Errorf("%q is unknown and has no reply", line)
	}
	if r.Size < 0 || r.Size > 1<<31-3 || !r.Command.IsStore() && r.Size != 0 {
		t.Errorf("%q: size %d", line, r.Size)
	}
	if r.Command.IsStore() || r.Command >= Incr && r.Command <= Delete ||
		r.Command >= MetaDebug && r.Command <= MetaArithmetic {
		if len(r.Key) == 0 || len(r.Key) > MaxKeyLen || bytes.ContainsAny(r.Key, " \n\x00") {
			t.Errorf("%q: key %q", line, r.Key)
		}
	}
	for word, rest := NextToken(r.Keys); len(word) > 0; word, rest = NextToken(rest) {
		if bytes.ContainsAny(word, " \n\x00") {
			t.Errorf("%q: word %q", line, word)
		}
	}
}

// checkMeta checks what only meta commands have: all of it lies within the line, and spaces alone do not change what
// it means.
func checkMeta(t *testing.T, line []byte, r *Request) {
	if r.Swallow != 0 && (r.Problem == "" || r.Swallow < 2 || r.Swallow > 1<<31-1) {
		t.Errorf("%q: %d bytes to be thrown away", line, r.Swallow)
	}
	if r.Command < MetaNoop || r.Command > MetaArithmetic || r.Problem != "" {
		return
	}
	if r.Meta.Flags != nil && !bytes.HasSuffix(line, r.Meta.Flags) {
		t.Errorf("%q: flags %q", line, r.Meta.Flags)
	}
	seen := map[byte]bool{}
	var flags [][]byte
	for word, rest := NextToken(r.Meta.Flags); len(word) > 0; word, rest = NextToken(rest) {
		if seen[word[0]] || len(flags) >= MaxMetaWords {
			t.Errorf("%q: flag %q", line, word)
		}
		seen[word[0]] = true
		flags = append(flags, word)
	}
	if key := DecodeKey(nil, r.Key); r.Meta.Binary && (len(key) == 0 || len(key) > MaxKeyLen) {
		t.Errorf("%q: key %q", line, key)
	}
	var again Request
	Parse(bytes.Join(bytes.Fields(line), []byte(" ")), &again)
	r.Meta.Flags, again.Meta.Flags = nil, nil
	if spaced := bytes.ContainsAny(line, "\t\v\f\r\x85\xa0"); !spaced && !reflect.DeepEqual(*r, again) {
		t.Errorf("%q: %+v, with single spaces %+v", line, r, again)
	}
}
