// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"bytes"
	"strings"
	"testing"
)

func TestFindProbe(t *testing.T) {
	long := strings.Repeat("x", MaxNonce)
	for _, c := range []struct {
		buf, nonce string
		more       bool
	}{
		{"memkeep-probe a1\r\n", "a1", false}, {"memkeep-probe a1\n", "a1", false},
		{"memkeep-probe a1\r\nset k 0 0 1\r\n", "a1", false},
		{"memkeep-probe " + long + "\r\n", long, false},
		{"", "", true}, {"m", "", true}, {"memkeep-probe", "", true}, {"memkeep-probe ", "", true},
		{"memkeep-probe a1", "", true}, {"memkeep-probe a1\r", "", true}, {"memkeep-probe " + long, "", true},
		{"memkeep-probe " + long + "x", "", false}, {"memkeep-probe " + long + "x\r\n", "", false},
		{"memkeep-probe \r\n", "", false}, {"memkeep-probe a b\r\n", "", false}, {"memkeep-probe a b", "", false},
		{"memkeep-probe  a\r\n", "", false}, {"memkeep-probe a\x00\r\n", "", false}, {"memkeep-probes a\r\n", "", false},
		{"Memkeep-probe a\r\n", "", false}, {"mg k\r\n", "", false}, {" memkeep-probe a\r\n", "", false},
	} {
		nonce, more := FindProbe([]byte(c.buf))
		if string(nonce) != c.nonce || more != c.more {
			t.Errorf("%q: got %q and %v, want %q and %v", c.buf, nonce, more, c.nonce, c.more)
		}
	}
}

// FuzzFindProbe holds that a nonce is letters and digits, that it is found in pieces as in one, and that who says
// that there may be more is right.
func FuzzFindProbe(f *testing.F) {
	for _, seed := range []string{"memkeep-probe a1\r\n", "memkeep-probe ", "get k\r\n", "memkeep-probe \x00\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, buf []byte) {
		nonce, more := FindProbe(buf)
		if nonce != nil {
			line := append(append([]byte(ProbeCommand+" "), nonce...), '\n')
			again, _ := FindProbe(line)
			if len(nonce) == 0 || len(nonce) > MaxNonce || !isAlphanumeric(nonce) || !bytes.Equal(again, nonce) || more {
				t.Fatalf("%q: nonce %q, more %v", buf, nonce, more)
			}
			if len(buf) > MaxProbeLine {
				if same, _ := FindProbe(buf[:MaxProbeLine]); !bytes.Equal(same, nonce) {
					t.Fatalf("%q: the longest line does not hold it", buf)
				}
			}
		}
		for n := range min(len(buf), MaxProbeLine+1) {
			early, open := FindProbe(buf[:n])
			if nonce != nil && early == nil && !open {
				t.Fatalf("%q: given up after %d bytes", buf, n)
			}
			if early != nil && !bytes.Equal(early, nonce) {
				t.Fatalf("%q: %q after %d bytes, then %q", buf, early, n, nonce)
			}
		}
	})
}

func TestIsHTTP(t *testing.T) {
	for line, want := range map[string]bool{
		"get / HTTP/1.1": true, "GET / HTTP/1.0": true, "mg /k HTTP/1.1": true, "delete x HTTP/1.1": true,
		"set / HTTP/2.0": true, " HTTP/1.1": true,
		"get HTTP/1.1k": false, "get HTTP/11": false, "get k": false, "HTTP/1.1": false, "": false,
		"get /HTTP/1.1": false, "get HTTP/x.1": false, "get HTTP/1.x": false,
	} {
		if got := IsHTTP([]byte(line)); got != want {
			t.Errorf("%q: got %v, want %v", line, got, want)
		}
	}
}
