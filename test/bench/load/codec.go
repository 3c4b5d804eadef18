// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import "fmt"

// Protocol is one of the three that a memcached speaks.
type Protocol string

// The protocols.
const (
	Text   Protocol = "text"
	Meta   Protocol = "meta"
	Binary Protocol = "binary"
)

// kind says what an expected reply answers.
type kind uint8

const (
	kindGet kind = iota // a get of one key
	kindKey             // one key of a get of many: where it misses there is no reply of its own
	kindEnd             // the end of a get of many
	kindSet             // a store
)

// verdict is what a reply turned out to be.
type verdict uint8

const (
	more  verdict = iota // more input is needed to tell
	wrong                // not an answer to what was asked
	hit
	miss
	done // stored, or the end of a get of many
)

// expectation is one reply that has to come.
type expectation struct {
	at   int64 // when the request was to leave, in nanoseconds of the driver's clock
	id   uint32
	kind kind
}

// codec writes requests and checks replies.
type codec interface {
	get(dst []byte, id uint32) []byte
	multiget(dst []byte, ids []uint32) []byte
	set(dst []byte, id uint32) []byte
	// check looks at the reply at the start of in and says how many bytes it takes.
	check(in []byte, e *expectation) (n int, v verdict)
}

func newCodec(p Protocol, size int) (codec, error) {
	v := newValues(size)
	switch p {
	case Text:
		return newTextCodec(v), nil
	case Meta:
		return newMetaCodec(v), nil
	case Binary:
		return newBinaryCodec(v), nil
	default:
		return nil, fmt.Errorf("%q is no protocol: text, meta and binary are", p)
	}
}

// starts compares as much of in as there is with want. more means that in is a beginning of want.
func starts(in []byte, want string) verdict {
	switch {
	case len(in) >= len(want) && string(in[:len(want)]) == want:
		return hit
	case len(in) < len(want) && string(in) == want[:len(in)]:
		return more
	default:
		return wrong
	}
}

// checkValue compares in with a value, a header before it, and a line end or more behind.
func checkValue(in, header, value []byte, tail string) (int, verdict) {
	n := len(header) + len(value) + len(tail)
	if len(in) < n {
		m := min(len(in), len(header))
		if string(in[:m]) != string(header[:m]) {
			return 0, wrong
		}
		return 0, more
	}
	body := in[len(header):]
	if string(in[:len(header)]) != string(header) || string(body[:len(value)]) != string(value) ||
		string(body[len(value):][:len(tail)]) != tail {
		return 0, wrong
	}
	return n, hit
}
