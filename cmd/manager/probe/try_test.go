// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// accepting answers every connection with reply, and returns its address.
func accepting(t *testing.T, reply string) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = conn.Read(make([]byte, 256))
				_, _ = io.WriteString(conn, reply)
				_ = conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

// closed is an address where nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func newTrial(out io.Writer) *trial {
	return &trial{limit: 700 * time.Millisecond, out: out, permitted: func(netip.Addr) error { return nil }}
}

const asACache = "STORED\r\nVALUE memkeep-test 0 6\r\nstored\r\nEND\r\n"

func TestAClientSaysWhetherItWasServed(t *testing.T) {
	tests := map[string]struct {
		cache func(*testing.T) string
		want  string
	}{
		"by a cache": {func(t *testing.T) string { return accepting(t, asACache) }, ""},
		"by something else": {
			func(t *testing.T) string { return accepting(t, "memkeep-decoy\r\n") }, `it said "memkeep-decoy"`,
		},
		"by one that hangs up":   {func(t *testing.T) string { return accepting(t, "STORED\r\n") }, "read: EOF"},
		"by nobody":              {closed, "no client was served"},
		"by one that was not up": {func(*testing.T) string { return "no.such.host.invalid:1" }, "no client was served"},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := newTrial(&out).client(t.Context(), c.cache(t))
			if c.want == "" && (err != nil || !strings.Contains(out.String(), "stored an item")) {
				t.Errorf("got %v, said %q", err, &out)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestAStrangerSaysWhetherItGotIn(t *testing.T) {
	decoy, open, shut := accepting(t, "memkeep-decoy\r\n"), accepting(t, ""), closed(t)
	tests := map[string]struct {
		decoy   string
		targets []string
		want    string
	}{
		"nowhere but to the decoy":         {decoy, []string{shut}, ""},
		"to a target":                      {decoy, []string{shut, open}, open + " (" + open + ") accepted"},
		"to a target, and with no decoy":   {"", []string{open}, "a stranger got in"},
		"nowhere at all":                   {closed(t), []string{shut}, "nothing is shown"},
		"to a target that nobody can find": {decoy, []string{"no.such.host.invalid:1"}, "find no.such.host.invalid"},
		"to what is no target":             {decoy, []string{"127.0.0.1"}, "write host:port"},
		"to no targets":                    {decoy, nil, "needs targets"},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := newTrial(&out).stranger(t.Context(), c.decoy, c.targets)
			switch {
			case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			case c.want == "" && strings.Count(out.String(), "reaches the decoy") != 2:
				t.Errorf("the decoy was not tried before and after: %s", &out)
			}
		})
	}
	if err := newTrial(io.Discard).stranger(t.Context(), decoy, []string{open}); !errors.Is(err, errOpen) {
		t.Errorf("got %v, want errOpen", err)
	}
}
