// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

// FuzzDesired feeds what the operator may want. What is taken can be told to
// clients without being taken for anything else.
func FuzzDesired(f *testing.F) {
	f.Add([]byte(`{"membership":{"version":1,"nodes":[{"host":"a-0.a.n.svc","address":"10.0.0.1","port":11211}]}}`))
	f.Add([]byte(`{"membership":{"version":1,"nodes":[{"host":"a|b c","port":1}]}}`))
	f.Add([]byte(`{"peers":{"verified":true,"revision":1,"addresses":["10.0.0.1","fe80::1%eth0"]},"gate":{"open":true}}`))
	f.Add([]byte(`{"limits":{"memoryBytes":-1}}`))
	identity, err := controlapi.NewIdentity("uid", controlapi.NewBundle("/absent").Roots)
	if err != nil {
		f.Fatal(err)
	}
	p := &port{server: controlapi.NewServer(controlapi.ServerConfig{
		Identity: identity, Logger: slog.New(slog.DiscardHandler),
	})}
	f.Fuzz(func(t *testing.T, text []byte) {
		d := &controlapi.Desired{}
		if controlapi.Decode(bytes.NewReader(text), d) != nil {
			return
		}
		if _, err := p.steps(d); err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("an error has more than one line: %q", err)
			}
			return
		}
		if d.Membership == nil {
			return
		}
		list, err := parseMembership(d.Membership)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			if m.Host == "" || strings.ContainsAny(m.Host+m.IP, "| \r\n\t\x00") || m.Port == 0 {
				t.Fatalf("a member that clients misread: %+v", m)
			}
		}
	})
}
